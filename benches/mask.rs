//! The mask of a client's frame, taken off in place: `protocol/websocket/mask`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shardwire_protocol::websocket::mask;

fn masks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    for size in [16, 64, 1 << 10, 16 << 10, 256 << 10] {
        let mut bytes = vec![b'x'; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size} B"), |bencher| {
            bencher.iter(|| mask(black_box(&mut bytes), black_box([1, 2, 3, 4]), 1));
        });
    }
    group.finish();
}

criterion_group!(benches, masks);
criterion_main!(benches);
