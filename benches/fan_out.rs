//! What the shard itself does for an echo and for a broadcast, without any socket: `shards/`.

mod support;

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use shardwire_protocol::websocket::frame;
use shardwire_shards::vocabulary::Mode;

use support::{Bench, masked};

fn echo(criterion: &mut Criterion) {
    let mut bench = Bench::new(1, Mode::Echo);
    let connection = bench.connections[0];
    let wire = masked(frame::Kind::Binary, &[7; 64]);
    criterion.bench_function("echo 64 B through one shard", |bencher| {
        bencher.iter_batched_ref(
            || wire.clone(),
            |wire| {
                bench.receive(connection, wire);
                black_box(bench.write_everything());
            },
            BatchSize::SmallInput,
        );
    });
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("broadcast 64 B, per delivery");
    for subscribers in [100, 1_000, 10_000] {
        let mut bench = Bench::subscribed(subscribers);
        let message = Bytes::from(format!("\"{}\"", "x".repeat(62)));
        group.throughput(Throughput::Elements(subscribers as u64));
        group.bench_function(format!("{subscribers} subscribers"), |bencher| {
            bencher.iter(|| {
                bench.publish(&message);
                black_box(bench.write_everything());
                while bench.go_on() {
                    black_box(bench.write_everything());
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, echo, fan_out);
criterion_main!(benches);
