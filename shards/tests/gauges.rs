//! What a shard says it holds is what it holds.
#![allow(clippy::unwrap_used)]

mod support;

use shardwire_protocol::codes::close;
use shardwire_shards::metrics::{EndKind, Gauges};
use shardwire_shards::vocabulary::Command;
use support::{World, close as close_frame, user};

fn gauges(world: &World) -> Gauges {
    let mut sum = Gauges::default();
    for shard in &world.shards {
        sum += shard.gauges();
    }
    sum
}

#[test]
fn gauges_follow_what_is_held_and_end_at_zero() {
    let mut world = World::new(2);
    let channel = world.channel_at(1);
    let ann = world.connect_as(0, user("ann"));
    let bob = world.connect_as(1, user("bob"));
    world.subscribe(ann, &channel);
    world.subscribe(bob, &channel);
    world.subscribe(bob, "other");
    world.ask(bob, r#"{"type":"unsubscribe","channel":"other"}"#);
    let held = gauges(&world);
    assert_eq!((held.connections, held.users), (2, 2));
    assert_eq!((held.subscriptions, held.local_channels), (2, 2));
    assert_eq!((held.homed_channels, held.waiting_bytes), (1, 0));

    world.peers[ann].room = Some(0);
    world.publish(bob, &channel, "\"for ann, who does not read\"");
    world.settle();
    let waiting = world.waiting(ann);
    assert!(waiting > 0);
    assert_eq!(gauges(&world).waiting_bytes, waiting as u64);

    world.make_room(ann, None);
    world.bytes(ann, &close_frame(1000, ""));
    world.lose(bob);
    world.settle();
    world.pass(60_000);
    assert_eq!(
        gauges(&world),
        Gauges {
            timers: 0,
            ..Gauges::default()
        }
    );
}

#[test]
fn ends_are_counted_by_who_ended_and_how() {
    let mut world = World::new(1);
    let (leaves, breaks, told) = (world.connect(0), world.connect(0), world.connect(0));
    world.bytes(leaves, &close_frame(1000, ""));
    world.lose(breaks);
    world.command(
        0,
        Command::CloseAll {
            code: close::DRAINING,
            reason: "draining".into(),
        },
    );
    world.bytes(told, &close_frame(close::DRAINING, ""));
    let ends: Vec<_> = world.shards[0]
        .ends()
        .counts()
        .filter(|(_, count)| *count > 0)
        .collect();
    assert_eq!(
        ends,
        [
            (EndKind::Peer, 1),
            (EndKind::Lost, 1),
            (EndKind::Us(close::DRAINING), 1)
        ]
    );
}
