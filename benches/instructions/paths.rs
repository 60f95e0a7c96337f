//! The paths that are counted. Each builds its fixture, warms it, and hands the work to [`counted`].

use std::hint::black_box;

use bytes::Bytes;
use shardwire_protocol::envelope::parse;
use shardwire_protocol::websocket::deflate::{Deflater, Inflater, WINDOW_BITS_MAX};
use shardwire_protocol::websocket::{Decoder, Lent, Role, Rules, frame};
use shardwire_shards::mesh::{Lane, MailboxEnds};
use shardwire_shards::timers::Wheel;
use shardwire_shards::vocabulary::{Mode, ShardId, ShardMessage};

use crate::support::{Bench, masked};

/// One hot path.
pub struct Path {
    /// What one message of it is.
    pub name: &'static str,
    /// How many messages one run counts.
    pub messages: u64,
    /// One run.
    pub run: fn(),
}

impl Path {
    /// Its name without what a file name cannot hold.
    pub fn file_name(&self) -> String {
        self.name
            .replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
    }
}

/// Everything that is counted. How often each path runs makes its fixed share small beside a message.
pub const PATHS: &[Path] = &[
    Path {
        name: "decode 64 B",
        messages: 1_000,
        run: || decode(64, 1_000),
    },
    Path {
        name: "decode 16 KiB",
        messages: 100,
        run: || decode(16 << 10, 100),
    },
    Path {
        name: "parse publish, 62 B",
        messages: 1_000,
        run: parse_publish,
    },
    Path {
        name: "echo 64 B",
        messages: 1_000,
        run: || echo(64, 1_000),
    },
    Path {
        name: "echo 16 KiB",
        messages: 100,
        run: || echo(16 << 10, 100),
    },
    Path {
        name: "publish by a client, 1 delivery",
        messages: 1_000,
        run: publish_by_client,
    },
    Path {
        name: "fan-out, per delivery of 1,000",
        messages: 20 * 1_000,
        run: fan_out,
    },
    Path {
        name: "fan-out, per delivery of 16 x 1,000",
        messages: 10 * 16 * 1_000,
        run: fan_out_of_a_turn,
    },
    Path {
        name: "encode 64 B",
        messages: 1_000,
        run: encode,
    },
    Path {
        name: "deflate 4 KiB",
        messages: 50,
        run: deflate,
    },
    Path {
        name: "inflate 3 KiB",
        messages: 50,
        run: inflate,
    },
    Path {
        name: "mail to another shard",
        messages: 64 * 16,
        run: mail,
    },
    Path {
        name: "timer, fire and arm again",
        messages: 10_000,
        run: timers,
    },
];

/// The only place whose instructions count. Not inlined, since it is found by its name.
#[inline(never)]
fn counted(work: impl FnOnce()) {
    work();
}

fn decode(size: usize, messages: usize) {
    let rules = Rules {
        role: Role::Server,
        max_message_size: 1 << 20,
    };
    let wire = masked(frame::Kind::Text, &vec![b'x'; size]);
    let mut wires = vec![wire; messages];
    let mut decoder = Decoder::default();
    counted(|| {
        for wire in &mut wires {
            let decoded = decoder.decode(&rules, wire).expect("a good frame");
            assert!(black_box(decoded.event).is_some());
        }
    });
}

fn parse_publish() {
    let text = r#"{"type":"publish","channel":"room:42","message":"hello there"}"#;
    counted(|| {
        for _ in 0..1_000 {
            let parsed = parse(black_box(text)).expect("good JSON");
            assert!(black_box(parsed.message.is_some()));
        }
    });
}

fn echo(size: usize, messages: usize) {
    let mut bench = Bench::new(1, Mode::Echo);
    let connection = bench.connections[0];
    let mut wires = vec![masked(frame::Kind::Binary, &vec![7; size]); messages + 10];
    let (warm, wires) = wires.split_at_mut(10);
    let mut through = |wires: &mut [Vec<u8>]| {
        for wire in wires {
            bench.receive(connection, wire);
            assert!(black_box(bench.write_everything()) > size);
        }
    };
    through(warm);
    counted(|| through(wires));
}

fn publish_by_client() {
    let mut bench = Bench::subscribed(1);
    let connection = bench.connections[0];
    let wire = masked(
        frame::Kind::Text,
        br#"{"type":"publish","channel":"c","message":"hello there"}"#,
    );
    let mut wires = vec![wire; 1_010];
    let (warm, wires) = wires.split_at_mut(10);
    let mut through = |wires: &mut [Vec<u8>]| {
        for wire in wires {
            bench.receive(connection, wire);
            assert!(black_box(bench.write_everything()) > 0);
        }
    };
    through(warm);
    counted(|| through(wires));
}

fn fan_out() {
    let mut bench = Bench::subscribed(1_000);
    let message = Bytes::from(format!("\"{}\"", "x".repeat(62)));
    let mut publish = |times: usize| {
        for _ in 0..times {
            bench.publish(&message);
            assert!(black_box(bench.write_everything()) > 1_000 * 64);
        }
    };
    publish(2);
    counted(|| publish(20));
}

/// Several publications in one turn, as under load.
fn fan_out_of_a_turn() {
    let mut bench = Bench::subscribed(1_000);
    let message = Bytes::from(format!("\"{}\"", "x".repeat(62)));
    let mut publish = |turns: usize| {
        for _ in 0..turns {
            for _ in 0..16 {
                bench.publish(&message);
            }
            assert!(black_box(bench.write_everything()) > 16 * 1_000 * 64);
        }
    };
    publish(2);
    counted(|| publish(10));
}

fn encode() {
    let payload = [b'x'; 64];
    let mut out = Vec::with_capacity(128);
    counted(|| {
        for _ in 0..1_000 {
            out.clear();
            frame::write_server(&mut out, frame::Kind::Text, black_box(&payload));
            black_box(&out);
        }
    });
}

fn compressible() -> String {
    r#"{"id":1234567,"name":"somebody","online":true},"#.repeat(90)
}

fn deflate() {
    let text = compressible();
    let mut deflater = Deflater::new(1);
    let mut through = |times: usize| {
        for _ in 0..times {
            let short = deflater.deflate(black_box(&text.as_bytes()[..4 << 10]), WINDOW_BITS_MAX);
            assert!(black_box(short).is_some());
        }
    };
    through(2);
    counted(|| through(50));
}

fn inflate() {
    let rules = Rules {
        role: Role::Server,
        max_message_size: 64 << 10,
    };
    let text = compressible();
    let mut deflater = Deflater::new(1);
    let short = deflater.deflate(&text.as_bytes()[..3 << 10], WINDOW_BITS_MAX);
    let mut wire = Vec::new();
    let short = short.expect("it shrinks");
    frame::write_client_deflated(&mut wire, frame::Kind::Text, short, [1, 2, 3, 4]);
    let mut wires = vec![wire; 52];
    let (mut decoder, mut inflater) = (Decoder::default(), Inflater::default());
    let mut through = |wires: &mut [Vec<u8>]| {
        for wire in wires {
            let lent = Lent {
                inflater: &mut inflater,
                context: None,
            };
            let decoded = decoder.decode_with(&rules, Some(lent), wire);
            assert!(black_box(decoded.expect("a good frame").event).is_some());
        }
    };
    through(&mut wires[..2]);
    counted(|| through(&mut wires[2..]));
}

fn mail() {
    let mut ends = MailboxEnds::connect(2);
    let mut receiver = ends.pop().expect("the last one");
    let mut sender = ends.pop().expect("the one before");
    let mut got = Vec::with_capacity(64);
    let mut send = |batches: usize| {
        for _ in 0..batches {
            for round in 0..16 {
                let message = ShardMessage::CountQuery {
                    shard: ShardId(0),
                    round,
                };
                sender
                    .send(ShardId(1), Lane::Control, message)
                    .expect("there is room");
            }
            receiver.take_batch(&mut got);
            assert_eq!(black_box(got.drain(..).count()), 16);
        }
    };
    send(4);
    counted(|| send(64));
}

fn timers() {
    let mut wheel = Wheel::default();
    for n in 0..100_000_u32 {
        // Heartbeats of 30 s, spread over the interval.
        wheel.arm(1 + n % 1875, n);
    }
    let mut due = Vec::with_capacity(100);
    counted(|| {
        let mut fired = 0;
        let mut tick = 0;
        while fired < 10_000 {
            tick += 1;
            wheel.advance(tick, |entry| due.push(entry));
            fired += due.len();
            for entry in due.drain(..) {
                wheel.arm(tick + 1875, black_box(entry));
            }
        }
    });
}
