//! One inbound frame and one outbound frame: `protocol/websocket`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use shardwire_protocol::websocket::{Decoder, Event, Role, Rules, frame};

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode a masked text frame");
    let rules = Rules {
        role: Role::Server,
        max_message_size: 1 << 20,
    };
    for size in [64, 512, 4 << 10, 64 << 10] {
        let mut wire = Vec::new();
        frame::write_client(
            &mut wire,
            frame::Kind::Text,
            &vec![b'x'; size],
            [1, 2, 3, 4],
        );
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size} B"), |bencher| {
            let mut decoder = Decoder::default();
            bencher.iter_batched_ref(
                || wire.clone(),
                |wire| {
                    let decoded = decoder.decode(&rules, wire).expect("a good frame");
                    assert!(matches!(black_box(decoded.event), Some(Event::Text(_))));
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode a server frame");
    for size in [64, 4 << 10] {
        let payload = vec![b'x'; size];
        let mut out = Vec::with_capacity(size + 16);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size} B"), |bencher| {
            bencher.iter(|| {
                out.clear();
                frame::write_server(&mut out, frame::Kind::Text, black_box(&payload));
                black_box(&out);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
