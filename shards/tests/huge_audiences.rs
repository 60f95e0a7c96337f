//! What is broadcast to a huge audience is written in slices, and what concerns others goes between.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use shardwire_protocol::websocket::frame::Kind;
use shardwire_shards::ShardSettings;
use shardwire_shards::vocabulary::{Effect, Input};
use support::{PeerId, World, masked, open_settings};

const SLICE: usize = 4;

/// Ten in one channel, and one in another.
struct Setting {
    world: World,
    publisher: PeerId,
    crowd: Vec<PeerId>,
    alone: PeerId,
}

fn setting() -> Setting {
    let settings = ShardSettings {
        flush_slice: SLICE,
        ..open_settings()
    };
    let mut world = World::with(1, settings);
    let publisher = world.connect(0);
    let crowd: Vec<PeerId> = (0..10).map(|_| world.connect(0)).collect();
    let alone = world.connect(0);
    for &peer in &crowd {
        world.subscribe(peer, "huge");
    }
    world.subscribe(alone, "small");
    Setting {
        world,
        publisher,
        crowd,
        alone,
    }
}

impl Setting {
    /// Hands in a message, and takes no effect out.
    fn say(&mut self, peer: PeerId, message: &Value) {
        let connection = self.world.id(peer);
        let mut bytes = masked(Kind::Text, message.to_string().as_bytes());
        let input = Input::Bytes {
            connection,
            bytes: &mut bytes,
        };
        let now = self.world.now();
        self.world.shards[0].handle(now, input);
    }

    fn publish(&mut self, channel: &str, n: u64) {
        let message = json!({"type": "publish", "channel": channel, "message": n});
        self.say(self.publisher, &message);
    }

    /// Carries out one turn: whose sockets were written to, in this order, and how many messages each got.
    fn turn(&mut self) -> Vec<(PeerId, usize)> {
        let now = self.world.now();
        if self.goes_on() {
            self.world.shards[0].handle(now, Input::Deadline);
        }
        let mut written = self.carry_out();
        // Whoever asks once more for effects is not given another slice.
        written.extend(self.carry_out());
        written
    }

    fn carry_out(&mut self) -> Vec<(PeerId, usize)> {
        let now = self.world.now();
        let mut written = Vec::new();
        while let Some(effect) = self.world.shards[0].poll_effect() {
            let Effect::Flush { connection, .. } = effect else {
                continue;
            };
            let shard = &mut self.world.shards[0];
            let pending: Vec<u8> = shard.pending(connection).flatten().copied().collect();
            shard.sent(now, connection, pending.len(), false);
            let all = self.crowd.iter().chain([&self.alone, &self.publisher]);
            let mut all = all.copied();
            let peer = all.find(|peer| self.world.id(*peer) == connection).unwrap();
            let text = String::from_utf8_lossy(&pending);
            written.push((peer, text.matches("\"type\"").count()));
        }
        written
    }

    /// Whether the shard has more to do at once.
    fn goes_on(&self) -> bool {
        let now = self.world.now();
        self.world.shards[0].next_deadline(now) == Some(now.ms)
    }
}

fn each(peers: &[PeerId], messages: usize) -> Vec<(PeerId, usize)> {
    peers.iter().map(|peer| (*peer, messages)).collect()
}

#[test]
fn a_small_channel_goes_between_the_slices_of_a_huge_one() {
    let mut setting = setting();
    let (crowd, alone) = (setting.crowd.clone(), setting.alone);
    setting.publish("huge", 1);
    assert_eq!(setting.turn(), each(&crowd[..4], 1));
    assert!(setting.goes_on());
    setting.publish("small", 2);
    let mut second = vec![(alone, 1)];
    second.extend(each(&crowd[4..8], 1));
    assert_eq!(setting.turn(), second);
    assert_eq!(setting.turn(), each(&crowd[8..], 1));
    assert!(!setting.goes_on(), "nobody waits any more");
    assert_eq!(setting.turn(), []);
}

#[test]
fn an_answer_does_not_wait_for_the_row_and_takes_along_what_waits_there() {
    let mut setting = setting();
    let crowd = setting.crowd.clone();
    setting.publish("huge", 1);
    assert_eq!(setting.turn(), each(&crowd[..4], 1));
    setting.say(crowd[9], &json!({"type": "ping"}));
    let mut second = vec![(crowd[9], 2)];
    second.extend(each(&crowd[4..8], 1));
    assert_eq!(setting.turn(), second);
    assert_eq!(setting.turn(), each(&crowd[8..9], 1), "and nothing twice");
}

#[test]
fn what_is_published_meanwhile_is_held_until_everybody_is_written_to() {
    let mut setting = setting();
    let (crowd, alone) = (setting.crowd.clone(), setting.alone);
    setting.publish("huge", 1);
    assert_eq!(setting.turn(), each(&crowd[..4], 1));
    setting.publish("huge", 2);
    assert_eq!(setting.turn(), each(&crowd[4..8], 1));
    setting.publish("huge", 3);
    setting.publish("small", 4);
    // The last ones get the first; then the others follow, as one.
    let mut third = vec![(alone, 1)];
    third.extend(each(&crowd[8..], 1));
    third.extend(each(&crowd[..4], 2));
    assert_eq!(setting.turn(), third);
    assert_eq!(setting.turn(), each(&crowd[4..8], 2));
    assert_eq!(setting.turn(), each(&crowd[8..], 2));
    assert!(!setting.goes_on());
}

#[test]
fn whoever_comes_or_leaves_gets_what_was_published_while_it_was_there() {
    let mut setting = setting();
    let crowd = setting.crowd.clone();
    setting.publish("huge", 1);
    assert_eq!(setting.turn(), each(&crowd[..4], 1));
    setting.publish("huge", 2);
    setting.say(
        setting.alone,
        &json!({"type": "subscribe", "channel": "huge"}),
    );
    setting.publish("huge", 3);
    setting.say(crowd[0], &json!({"type": "unsubscribe", "channel": "huge"}));
    setting.publish("huge", 4);
    let mut got = vec![0; 12];
    let mut turns = 0;
    loop {
        for (peer, messages) in setting.turn() {
            let all: Vec<PeerId> = crowd.iter().copied().chain([setting.alone]).collect();
            got[all.iter().position(|it| *it == peer).unwrap()] += messages;
        }
        turns += 1;
        assert!(turns < 20, "{got:?}");
        if !setting.goes_on() {
            break;
        }
    }
    // The first has had one before, and is answered; so are three others in the middle of it, and the newcomer is answered, too.
    assert_eq!(got[0], 2 + 1, "the second, the third, and an answer");
    assert_eq!(got[1..4], [3; 3]);
    assert_eq!(got[4..10], [4; 6]);
    assert_eq!(got[10], 1 + 2, "an answer, the third and the fourth");
}

#[test]
fn a_publication_of_another_kind_goes_behind_what_is_held() {
    let mut setting = setting();
    let crowd = setting.crowd.clone();
    setting.publish("huge", 1);
    assert_eq!(setting.turn(), each(&crowd[..4], 1));
    setting.publish("huge", 2);
    // Too long to be gathered.
    let long = "x".repeat(20 << 10);
    setting.say(
        setting.publisher,
        &json!({"type": "publish", "channel": "huge", "message": long}),
    );
    assert_eq!(setting.turn(), each(&crowd[4..8], 3));
    let mut third = each(&crowd[8..], 3);
    third.extend(each(&crowd[..2], 2));
    assert_eq!(setting.turn(), third);
    assert_eq!(setting.turn(), each(&crowd[2..4], 2));
    assert!(!setting.goes_on());
}

#[test]
fn a_shard_that_does_not_keep_up_writes_everything_at_once() {
    let mut setting = setting();
    let long = "x".repeat(20 << 10);
    let mut emptied = 0;
    for _ in 0..20 {
        setting.say(
            setting.publisher,
            &json!({"type": "publish", "channel": "huge", "message": long}),
        );
        setting.turn();
        // A slice a turn is less than what comes in each: the row would never be empty, and what waits grow for ever.
        emptied += usize::from(!setting.goes_on());
    }
    assert!((2..=5).contains(&emptied), "{emptied}");
}

#[test]
fn what_is_held_is_bounded_and_given_in_order() {
    let mut setting = setting();
    let first = setting.crowd[0];
    let id = setting.world.id(first);
    let filler = "x".repeat(1 << 10);
    let mut heard = Vec::new();
    let mut said = 0;
    let hear = |setting: &mut Setting, heard: &mut Vec<u64>| {
        let now = setting.world.now();
        if setting.goes_on() {
            setting.world.shards[0].handle(now, Input::Deadline);
        }
        while let Some(effect) = setting.world.shards[0].poll_effect() {
            let Effect::Flush { connection, .. } = effect else {
                continue;
            };
            let shard = &mut setting.world.shards[0];
            let pending: Vec<u8> = shard.pending(connection).flatten().copied().collect();
            shard.sent(now, connection, pending.len(), false);
            if connection == id {
                let text = String::from_utf8_lossy(&pending);
                let numbers = text.split("\"n\":").skip(1).map(|rest| {
                    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                    digits.parse::<u64>().unwrap()
                });
                heard.extend(numbers);
            }
        }
    };
    for _ in 0..50 {
        for _ in 0..5 {
            said += 1;
            let message = json!({"n": said, "filler": filler});
            setting.say(
                setting.publisher,
                &json!({"type": "publish", "channel": "huge", "message": message}),
            );
        }
        hear(&mut setting, &mut heard);
        // What is held, what waits behind it, and a few waves.
        assert!(
            said - heard.len() as u64 <= 6 * 16,
            "{said} {}",
            heard.len()
        );
    }
    while setting.goes_on() {
        hear(&mut setting, &mut heard);
    }
    assert_eq!(heard, (1..=said).collect::<Vec<u64>>());
}

#[test]
fn whoever_leaves_is_passed_over_in_the_row() {
    let mut setting = setting();
    let crowd = setting.crowd.clone();
    setting.publish("huge", 1);
    assert_eq!(setting.turn(), each(&crowd[..4], 1));
    let connection = setting.world.id(crowd[5]);
    let now = setting.world.now();
    setting.world.shards[0].handle(now, Input::Closed { connection });
    let second = [crowd[4], crowd[6], crowd[7], crowd[8]];
    assert_eq!(setting.turn(), each(&second, 1));
    assert_eq!(setting.turn(), each(&crowd[9..], 1));
}
