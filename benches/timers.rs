//! Arming and firing with many timers alive: `shards/timers`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use shardwire_shards::timers::Wheel;

fn timers(criterion: &mut Criterion) {
    for alive in [1_000_u32, 1_000_000] {
        let mut wheel = Wheel::default();
        let mut now = 0;
        for n in 0..alive {
            // Heartbeats of 30 s, spread over the interval.
            wheel.arm(1 + n % 1875, n);
        }
        let mut due = Vec::new();
        criterion.bench_function(
            &format!("fire and arm again, {alive} alive, one tick"),
            |bencher| {
                bencher.iter(|| {
                    now += 1;
                    wheel.advance(now, |entry| due.push(entry));
                    for entry in due.drain(..) {
                        wheel.arm(now + 1875, black_box(entry));
                    }
                });
            },
        );
    }
}

criterion_group!(benches, timers);
criterion_main!(benches);
