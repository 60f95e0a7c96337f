//! What the shard itself does for an echo and for a broadcast, without any socket: `shards/`.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use shardwire_protocol::websocket::frame;
use shardwire_shards::mesh::MailboxEnds;
use shardwire_shards::placement::{Placement, Rule};
use shardwire_shards::vocabulary::{
    Command, ConnectionId, Effect, Input, Mode, Now, Opening, SocketToken,
};
use shardwire_shards::{NodeCount, Shard, ShardSettings};

const NOW: Now = Now {
    ms: 1,
    unix_ms: 1_790_000_000_000,
};

fn shard(connections: usize, mode: Mode, subscribe: bool) -> (Shard, Vec<ConnectionId>) {
    let settings = ShardSettings {
        max_connections: usize::MAX,
        max_connections_per_user: None,
        max_connections_per_ip: None,
        ..ShardSettings::default()
    };
    let ends = MailboxEnds::connect(1).remove(0);
    let mut shard = Shard::new(
        Arc::new(settings),
        Placement::new(Rule::Accept, 1),
        ends,
        NodeCount::default(),
    );
    let mut ids = Vec::new();
    for n in 0..connections {
        assert!(shard.admit());
        let opening = Opening::new(SocketToken(n as u64), mode, IpAddr::from([127, 0, 0, 1]));
        shard.handle(NOW, Input::Opened(opening));
        while let Some(effect) = shard.poll_effect() {
            if let Effect::Opened { connection, .. } = effect {
                ids.push(connection);
            }
        }
        if subscribe {
            let mut wire = Vec::new();
            frame::write_client(
                &mut wire,
                frame::Kind::Text,
                br#"{"type":"subscribe","channel":"c"}"#,
                [1, 2, 3, 4],
            );
            let connection = ids[n];
            shard.handle(
                NOW,
                Input::Bytes {
                    connection,
                    bytes: &mut wire,
                },
            );
            write_everything(&mut shard);
        }
    }
    (shard, ids)
}

/// A world whose sockets take everything.
fn write_everything(shard: &mut Shard) -> usize {
    let mut written = 0;
    while let Some(effect) = shard.poll_effect() {
        if let Effect::Flush { connection, .. } = effect {
            let waiting = shard.pending(connection).map(<[u8]>::len).sum();
            shard.sent(NOW, connection, waiting, false);
            written += waiting;
        }
    }
    written
}

fn echo(criterion: &mut Criterion) {
    let (mut shard, ids) = shard(1, Mode::Echo, false);
    let mut wire = Vec::new();
    frame::write_client(&mut wire, frame::Kind::Binary, &[7; 64], [1, 2, 3, 4]);
    criterion.bench_function("echo 64 B through one shard", |bencher| {
        bencher.iter_batched_ref(
            || wire.clone(),
            |wire| {
                shard.handle(
                    NOW,
                    Input::Bytes {
                        connection: ids[0],
                        bytes: wire,
                    },
                );
                black_box(write_everything(&mut shard));
            },
            BatchSize::SmallInput,
        );
    });
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("broadcast 64 B, per delivery");
    for subscribers in [100, 1_000, 10_000] {
        let (mut shard, _) = shard(subscribers, Mode::Json, true);
        let message = Bytes::from(format!("\"{}\"", "x".repeat(62)));
        group.throughput(Throughput::Elements(subscribers as u64));
        group.bench_function(format!("{subscribers} subscribers"), |bencher| {
            bencher.iter(|| {
                let command = Command::Publish {
                    channel: "c".into(),
                    message: message.clone(),
                    exclude: Vec::new(),
                    answer: None,
                };
                shard.handle(NOW, Input::Command(command));
                black_box(write_everything(&mut shard));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, echo, fan_out);
criterion_main!(benches);
