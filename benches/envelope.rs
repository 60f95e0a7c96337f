//! One JSON message in, one envelope out: `protocol/envelope`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use shardwire_protocol::envelope::{outbound, parse};
use shardwire_protocol::websocket::frame;

fn envelope(criterion: &mut Criterion) {
    let short = r#"{"type":"publish","channel":"room:42","message":"hello there"}"#;
    let long = format!(
        r#"{{"type":"publish","channel":"room:42","message":{{"text":"{}","n":[1,2,3]}}}}"#,
        "x".repeat(4000)
    );
    criterion.bench_function("parse publish, 62 B", |bencher| {
        bencher.iter(|| {
            black_box(
                parse(black_box(short))
                    .expect("good JSON")
                    .message
                    .is_some(),
            )
        });
    });
    criterion.bench_function("parse publish, 4 KiB", |bencher| {
        bencher.iter(|| {
            black_box(
                parse(black_box(&long))
                    .expect("good JSON")
                    .message
                    .is_some(),
            )
        });
    });
    let mut out = Vec::with_capacity(256);
    criterion.bench_function("encode broadcast, 62 B", |bencher| {
        bencher.iter(|| {
            out.clear();
            frame::write_text_with(&mut out, |out| {
                outbound::broadcast(
                    out,
                    "room:42",
                    black_box(r#""hello there""#),
                    1_790_000_000_000,
                    None,
                );
            });
            black_box(&out);
        });
    });
}

criterion_group!(benches, envelope);
criterion_main!(benches);
