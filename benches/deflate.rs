//! permessage-deflate of one message, both directions: `protocol/websocket/deflate`.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use shardwire_protocol::websocket::deflate::{Deflater, Inflater, WINDOW_BITS_MAX};
use shardwire_protocol::websocket::{Decoder, Lent, Role, Rules, frame};

/// JSON as services send it: names repeat, values do not.
fn document(size: usize) -> String {
    let mut text = String::new();
    let mut number = 1_u64;
    while text.len() < size {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let _ = write!(
            text,
            r#"{{"id":{},"name":"user-{}","online":true}},"#,
            number >> 40,
            number >> 56
        );
    }
    text.truncate(size);
    text
}

fn deflate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deflate");
    for size in [256, 4 << 10, 64 << 10] {
        let text = document(size);
        let mut deflater = Deflater::new(1);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size} B"), |bencher| {
            bencher.iter(|| {
                let short = deflater.deflate(black_box(text.as_bytes()), WINDOW_BITS_MAX);
                assert!(black_box(short).is_some());
            });
        });
    }
    group.finish();
}

fn inflate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inflate a frame");
    let rules = Rules {
        role: Role::Server,
        max_message_size: 1 << 20,
    };
    for size in [256, 4 << 10, 64 << 10] {
        let text = document(size);
        let mut deflater = Deflater::new(1);
        let short = deflater
            .deflate(text.as_bytes(), WINDOW_BITS_MAX)
            .expect("it shrinks");
        let mut wire = Vec::new();
        frame::write_client_deflated(&mut wire, frame::Kind::Text, short, [1, 2, 3, 4]);
        let (mut decoder, mut inflater) = (Decoder::default(), Inflater::default());
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size} B"), |bencher| {
            bencher.iter_batched_ref(
                || wire.clone(),
                |wire| {
                    let lent = Lent {
                        inflater: &mut inflater,
                        context: None,
                    };
                    let decoded = decoder
                        .decode_with(&rules, Some(lent), wire)
                        .expect("a good frame");
                    assert!(black_box(decoded.event).is_some());
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, deflate, inflate);
criterion_main!(benches);
