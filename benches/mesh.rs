//! One message between two shards, both on this thread: the cost of the queues without the cost of sharing a cache line.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shardwire_shards::mesh::{Lane, MailboxEnds};
use shardwire_shards::vocabulary::{ShardId, ShardMessage};

fn mesh(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mail between shards");
    for shards in [2, 16, 64] {
        let mut ends = MailboxEnds::connect(shards);
        let mut receiver = ends.pop().expect("the last one");
        let mut sender = ends.pop().expect("the one before");
        let to = ShardId(shards - 1);
        let mut got = Vec::new();
        group.throughput(Throughput::Elements(32));
        group.bench_function(format!("32 messages, {shards} shards"), |bencher| {
            bencher.iter(|| {
                for round in 0..32 {
                    let message = ShardMessage::CountQuery {
                        shard: ShardId(0),
                        round,
                    };
                    sender
                        .send(to, Lane::Control, message)
                        .expect("there is room");
                }
                assert_eq!(sender.poll_ring(), None);
                receiver.take_batch(&mut got);
                black_box(got.drain(..).count());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, mesh);
criterion_main!(benches);
