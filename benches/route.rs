//! From a client's JSON text to what is done about it: `shards/routing`, with the frame around it and the answer.

mod support;

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use shardwire_protocol::websocket::frame;

use support::{Bench, masked};

const UNHEARD: &str = "publish, nobody listens";

fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for (name, text) in [
        ("ping", r#"{"type":"ping","id":1}"#),
        ("echo", r#"{"type":"echo","data":"hello there"}"#),
        (
            "publish, one subscriber",
            r#"{"type":"publish","channel":"c","message":"hello there"}"#,
        ),
        (
            UNHEARD,
            r#"{"type":"publish","channel":"d","message":"hello there","id":1}"#,
        ),
        ("subscribe again", r#"{"type":"subscribe","channel":"c"}"#),
        ("a type nobody knows", r#"{"type":"dance","id":1}"#),
    ] {
        let mut bench = Bench::subscribed(1);
        let connection = bench.connections[0];
        let wire = masked(frame::Kind::Text, text.as_bytes());
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || wire.clone(),
                |wire| {
                    bench.receive(connection, wire);
                    // Of what nobody hears, not even its publisher is told.
                    let written = black_box(bench.write_everything());
                    assert_eq!(written > 0, name != UNHEARD);
                },
                BatchSize::SmallInput,
            );
        });
    }
    let mut bench = Bench::subscribed(1);
    let message = Bytes::from_static(br#""hello there""#);
    group.bench_function("publish from outside, one subscriber", |bencher| {
        bencher.iter(|| {
            bench.publish(&message);
            assert!(black_box(bench.write_everything()) > 0);
        });
    });
    group.finish();
}

criterion_group!(benches, route);
criterion_main!(benches);
