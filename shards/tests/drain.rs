//! Emptying shards: everybody is told, the closes are spread evenly, and nothing that waits is lost.
#![allow(clippy::unwrap_used)]

mod support;

use shardwire_protocol::codes::close;
use shardwire_shards::vocabulary::Command;
use support::{Frame, World, close as close_frame, echo};

fn drain(world: &mut World, window_ms: u64) {
    for shard in 0..world.shards.len() {
        world.command(shard, Command::Drain { window_ms });
    }
}

fn advice(frames: &[Frame]) -> Option<u64> {
    frames.iter().find_map(|frame| match frame {
        Frame::Text(text) => text
            .strip_prefix(r#"{"type":"reconnect","delay":"#)?
            .strip_suffix('}')?
            .parse()
            .ok(),
        _ => None,
    })
}

fn closed(frames: &[Frame]) -> bool {
    frames.contains(&Frame::Close(close::DRAINING, "draining".into()))
}

#[test]
fn every_client_is_told_its_moment_and_closed_at_it() {
    let mut world = World::new(2);
    // More than one batch, and shards of unequal size.
    let peers: Vec<_> = (0..700)
        .map(|n| world.connect(usize::from(n >= 500)))
        .collect();
    drain(&mut world, 1_000);
    let mut delays = Vec::new();
    let mut gone = vec![None; peers.len()];
    world.pass(0);
    for &peer in &peers {
        let heard = world.heard(peer);
        delays.push(advice(&heard).unwrap());
        if closed(&heard) {
            gone[peer] = Some(0);
        }
    }
    for ms in (20..=1_000).step_by(20) {
        world.pass(20);
        for &peer in &peers {
            if gone[peer].is_none() && closed(&world.heard(peer)) {
                gone[peer] = Some(ms);
            }
        }
    }
    let mut in_tenth = [0; 10];
    for &peer in &peers {
        let (delay, at) = (delays[peer], gone[peer].expect("closed within the window"));
        assert!(
            delay <= at && at < delay + 21,
            "told {delay}, closed at {at}"
        );
        in_tenth[(delay / 100) as usize] += 1;
    }
    assert!(
        in_tenth.iter().all(|count| (69..=71).contains(count)),
        "{in_tenth:?}"
    );
}

#[test]
fn without_a_window_all_go_at_once_and_a_second_order_changes_nothing() {
    let mut world = World::new(1);
    let (json, plain) = (world.connect(0), world.connect_as(0, echo()));
    drain(&mut world, 0);
    drain(&mut world, 5_000);
    let heard = world.heard(json);
    assert_eq!((advice(&heard), closed(&heard)), (Some(0), true));
    // The echo path has no words of ours: it is only closed.
    let heard = world.heard(plain);
    assert_eq!((advice(&heard), closed(&heard)), (None, true));
}

#[test]
fn whoever_comes_while_the_shard_is_emptied_goes_at_once() {
    let mut world = World::new(1);
    let early = world.connect(0);
    drain(&mut world, 5_000);
    let late = world.connect(0);
    let heard = world.heard(late);
    assert_eq!((advice(&heard), closed(&heard)), (Some(0), true));
    world.pass(5_000);
    assert!(
        closed(&world.heard(early)),
        "its moment came, or was there at once"
    );
}

#[test]
fn what_is_published_while_shards_are_emptied_arrives_until_the_close() {
    let mut world = World::new(2);
    let channel = world.channel_at(1);
    let (ann, bob) = (world.connect(0), world.connect(1));
    let cid = world.connect(0);
    for peer in [ann, bob, cid] {
        world.subscribe(peer, &channel);
    }
    drain(&mut world, 900);
    let mut heard = vec![Vec::new(); 3];
    for published in 0..50 {
        // Bob is the first to be told of shard 1 and leaves in the middle; the service publishes on.
        world.command(
            1,
            Command::Publish {
                channel: channel.as_str().into(),
                message: published.to_string().into(),
                exclude: Vec::new(),
                options: None,
                answer: None,
            },
        );
        world.pass(20);
        for peer in [ann, bob, cid] {
            heard[peer].extend(world.heard(peer));
        }
    }
    for peer in [ann, bob, cid] {
        let mut expected = 0;
        let frames = &heard[peer];
        let end = frames
            .iter()
            .position(|frame| matches!(frame, Frame::Close(..)))
            .unwrap();
        assert_eq!(end, frames.len() - 1, "nothing follows the close");
        for frame in &frames[..end] {
            if let Frame::Text(text) = frame
                && text.contains("broadcast")
            {
                assert!(
                    text.contains(&format!(r#""message":{expected},"#)),
                    "{text} instead of {expected}"
                );
                expected += 1;
            }
        }
        assert!(
            frames
                .iter()
                .any(|frame| matches!(frame, Frame::Text(text) if text.contains("reconnect")))
        );
    }
    for peer in [ann, bob, cid] {
        world.bytes(peer, &close_frame(close::DRAINING, ""));
    }
    world.pass(10_000);
    assert_eq!(world.residue().connections, 0);
    assert_eq!(world.node_count.get(), 0);
}
