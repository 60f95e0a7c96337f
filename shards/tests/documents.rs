//! Documents over several shards: who may, who is told what, in which order, and what is left when everybody has gone.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use shardwire_shards::ShardSettings;
use shardwire_shards::collaboration::{CollaborationSettings, DocumentSettings};
use shardwire_shards::permissions::{Action, Grant, Permissions, Rule};
use shardwire_shards::vocabulary::Identity;
use support::{PeerId, Who, World, compressing, open_settings, user, verified};

fn settings() -> ShardSettings {
    ShardSettings {
        collaboration: Some(CollaborationSettings::default()),
        heartbeat_interval_ms: 10_000_000,
        ..open_settings()
    }
}

/// Says it, and what is answered when everything has come to rest.
fn ask(world: &mut World, peer: PeerId, message: &Value) -> Vec<Value> {
    world.say(peer, &message.to_string());
    world.settle();
    world.messages(peer)
}

fn join(world: &mut World, peer: PeerId, document: &str) -> Value {
    let message = json!({"type": "join-document", "documentId": document});
    let mut told = ask(world, peer, &message);
    assert_eq!(told.len(), 1, "{told:?}");
    told.remove(0)
}

fn edit(document: &str, version: u64, operation: &Value) -> Value {
    json!({"type": "edit", "documentId": document, "version": version, "operation": operation})
}

fn code(told: &[Value]) -> u64 {
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["type"], "error", "{told:?}");
    told[0]["code"].as_u64().unwrap()
}

#[test]
fn contract_l3_to_l7_and_d4_on_any_shard_with_the_contracts_fields_alone() {
    for shards in [1, 2, 4] {
        for document in ["plan", "a", "größe 1", "x:y"] {
            let mut world = World::with(shards, settings());
            let ann = world.connect_as(0, user("ann"));
            let bob = world.connect_as(usize::from(shards) - 1, user("bob"));
            let state = join(&mut world, ann, document);
            assert_eq!(state["type"], "document-state");
            assert_eq!(state["documentId"], document);
            assert_eq!(
                (&state["content"], &state["version"]),
                (&json!(""), &json!(0))
            );
            assert_eq!(state["users"], json!(["ann"]));
            join(&mut world, bob, document);
            let joined = json!({"type": "user-joined", "documentId": document, "userId": "bob"});
            assert_eq!(world.messages(ann), [joined]);

            let acknowledged = ask(&mut world, ann, &edit(document, 0, &json!(["abc"])));
            let ack =
                json!({"type": "edit-ack", "documentId": document, "version": 1, "sequence": 1});
            assert_eq!(acknowledged, [ack]);
            let told = json!({"type": "edit", "documentId": document, "version": 1,
                "operation": ["abc"], "userId": "ann"});
            assert_eq!(world.messages(bob), [told]);

            // Both edit version 1. The second is brought behind the first.
            world.say(ann, &edit(document, 1, &json!([1, "X"])).to_string());
            world.settle();
            world.say(bob, &edit(document, 1, &json!([2, {"d": 1}])).to_string());
            world.settle();
            let at_anns = world.messages(ann);
            assert_eq!(at_anns[0]["type"], "edit-ack");
            assert_eq!(at_anns[1]["operation"], json!([3, {"d": 1}]));
            assert_eq!(
                (&at_anns[1]["version"], &at_anns[1]["userId"]),
                (&json!(3), &json!("bob"))
            );
            let at_bobs = world.messages(bob);
            assert_eq!(
                (&at_bobs[0]["type"], &at_bobs[0]["version"]),
                (&json!("edit"), &json!(2))
            );
            assert_eq!(
                (&at_bobs[1]["type"], &at_bobs[1]["version"]),
                (&json!("edit-ack"), &json!(3))
            );

            let moved = json!({"type": "cursor-move", "documentId": document, "position": 2});
            assert_eq!(ask(&mut world, bob, &moved), Vec::<Value>::new());
            let update = json!({"type": "cursor-update", "documentId": document, "userId": "bob",
                "position": 2, "version": 3});
            assert_eq!(world.messages(ann), [update]);

            let cleo = world.connect(0);
            let state = join(&mut world, cleo, document);
            assert_eq!(state["content"], "aXb");
            assert_eq!(state["cursors"], json!({"bob": 2}));
            let guest = format!("guest:{}", world.id(cleo));
            world.messages(ann);
            let leave = json!({"type": "leave-document", "documentId": document, "id": 7});
            let left = json!({"type": "document-left", "documentId": document, "id": 7});
            assert_eq!(ask(&mut world, cleo, &leave), [left]);
            let gone =
                |who: &str| json!({"type": "user-left", "documentId": document, "userId": who});
            assert_eq!(world.messages(ann), [gone(&guest)]);
            // A connection that ends has left.
            world.lose(bob);
            world.settle();
            assert_eq!(world.messages(ann), [gone("bob")]);
            assert_eq!(join(&mut world, ann, document)["cursors"], json!({}));
        }
    }
}

#[test]
fn contract_d5_who_has_not_joined_may_not_edit_and_rules_say_who_may() {
    let rule = |pattern: &str| Rule::about(pattern.parse().unwrap());
    let grants = |words: &[&str]| {
        words
            .iter()
            .map(|word| Grant::from_text(word))
            .collect::<Vec<_>>()
    };
    let permissions = Permissions::new(
        [rule("document:*")
            .allow(Action::Subscribe, grants(&["read", "write"]))
            .allow(Action::Edit, grants(&["write"]))],
        false,
    );
    let mut world = World::with(
        2,
        ShardSettings {
            permissions,
            ..settings()
        },
    );
    let who = |name: &'static str, may: &'static str| {
        verified(Identity::new(name).with_permissions([may]))
    };
    let writer = world.connect_as(0, who("ann", "write"));
    let reader = world.connect_as(1, who("bob", "read"));
    let stranger = world.connect_as(1, who("cleo", "nothing"));
    let join_it = json!({"type": "join-document", "documentId": "d"});
    assert_eq!(code(&ask(&mut world, stranger, &join_it)), 115);
    assert_eq!(
        code(&ask(&mut world, writer, &edit("d", 0, &json!(["x"])))),
        120
    );
    let cursor = json!({"type": "cursor-move", "documentId": "d", "position": 0});
    assert_eq!(code(&ask(&mut world, writer, &cursor)), 120);
    assert_eq!(join(&mut world, writer, "d")["readOnly"], false);
    assert_eq!(join(&mut world, reader, "d")["readOnly"], true);
    let refused = ask(&mut world, reader, &edit("d", 0, &json!(["x"])));
    assert_eq!(code(&refused), 115);
    world.messages(writer);
    ask(&mut world, writer, &edit("d", 0, &json!(["x"])));
    assert_eq!(world.messages(reader)[0]["type"], "edit");
    // A reader's cursor is seen.
    ask(&mut world, reader, &cursor);
    assert_eq!(world.messages(writer)[0]["userId"], "bob");
    // Nobody comes into the channel behind the document otherwise.
    for kind in ["subscribe", "publish", "unsubscribe", "history"] {
        let message = json!({"type": kind, "channel": "$document:d", "message": 1});
        assert_eq!(code(&ask(&mut world, writer, &message)), 111, "{kind}");
    }
}

#[test]
fn what_is_no_request_is_refused_with_its_reason() {
    let collaboration = Some(CollaborationSettings {
        document: DocumentSettings {
            max_bytes: 10,
            max_members: 1,
            ..DocumentSettings::default()
        },
        ..CollaborationSettings::default()
    });
    let mut world = World::with(
        2,
        ShardSettings {
            collaboration,
            max_channels: 2,
            ..settings()
        },
    );
    let ann = world.connect_as(0, user("ann"));
    let bob = world.connect_as(1, user("bob"));
    join(&mut world, ann, "d");
    for (message, expected) in [
        (json!({"type": "join-document"}), 112),
        (json!({"type": "join-document", "documentId": ""}), 112),
        (json!({"type": "join-document", "documentId": 5}), 112),
        (json!({"type": "join-document", "documentId": "a\n"}), 112),
        (
            json!({"type": "join-document", "documentId": "x".repeat(201)}),
            112,
        ),
        (
            json!({"type": "join-document", "documentId": "d", "replica": ""}),
            112,
        ),
        (
            json!({"type": "join-document", "documentId": "d", "replica": "x".repeat(65)}),
            112,
        ),
        (
            json!({"type": "join-document", "documentId": "d", "since": 5}),
            112,
        ),
        (
            json!({"type": "edit", "documentId": "d", "version": 0}),
            122,
        ),
        (
            json!({"type": "edit", "documentId": "d", "operation": ["x"]}),
            112,
        ),
        (edit("d", 0, &json!("x")), 122),
        (edit("d", 0, &json!([3])), 122),
        (
            edit(
                "d",
                0,
                &json!([
                    -9_223_372_036_854_775_808_i64,
                    9_223_372_036_854_775_807_i64,
                    1,
                    "x"
                ]),
            ),
            122,
        ),
        (
            edit("d", 0, &json!([18_446_744_073_709_551_615_u64, "abc", 2])),
            122,
        ),
        (edit("d", 0, &json!(["\u{1}"])), 122),
        (edit("d", 1, &json!(["x"])), 123),
        (edit("d", 0, &json!([{"d": 1}])), 123),
        (edit("d", 0, &json!(["01234567890"])), 124),
        (edit("elsewhere", 0, &json!(["x"])), 120),
        (
            json!({"type": "edit", "documentId": "d", "version": 0, "operation": ["x"], "sequence": 2}),
            123,
        ),
        (json!({"type": "cursor-move", "documentId": "d"}), 112),
        (
            json!({"type": "cursor-move", "documentId": "d", "position": -1}),
            112,
        ),
    ] {
        let told = ask(&mut world, ann, &message);
        assert_eq!(code(&told), expected, "{message}");
    }
    let refused = ask(
        &mut world,
        bob,
        &json!({"type": "join-document", "documentId": "d", "id": "j"}),
    );
    assert_eq!((code(&refused), &refused[0]["id"]), (121, &json!("j")));
    // A refused joining leaves nothing behind: it does not count among what one may be in.
    for document in ["e", "f"] {
        join(&mut world, bob, document);
    }
    let refused = ask(
        &mut world,
        bob,
        &json!({"type": "join-document", "documentId": "g"}),
    );
    assert_eq!(code(&refused), 109);
    // Without documents, their messages are unknown.
    let mut world = World::new(1);
    let ann = world.connect(0);
    assert_eq!(
        code(&ask(&mut world, ann, &edit("d", 0, &json!(["x"])))),
        103
    );
}

#[test]
fn who_comes_in_between_gets_the_document_and_then_every_later_edit_in_order() {
    for shards in [1_usize, 3] {
        let mut world = World::with(shards as u16, settings());
        let writers: Vec<PeerId> = (0..3)
            .map(|n| world.connect_as(n % shards, Who::default()))
            .collect();
        let mut versions = vec![0; writers.len()];
        for &writer in &writers {
            join(&mut world, writer, "d");
        }
        let mut late = Vec::new();
        for round in 0..60 {
            for (n, &writer) in writers.iter().enumerate() {
                for message in world.messages(writer) {
                    if let Some(version) = message["version"].as_u64() {
                        assert_eq!(version, versions[n] + 1, "{message}");
                        versions[n] = version;
                    }
                }
                if (round + n) % 2 == 0 {
                    let message = edit("d", versions[n], &json!([format!("{n}")]));
                    world.say(writer, &message.to_string());
                }
                // Shards look into their mail at odd times.
                world.turn((round + n) % shards);
            }
            if round % 5 == 0 {
                let who = if round % 2 == 0 {
                    compressing()
                } else {
                    Who::default()
                };
                let peer = world.open(round % shards, who);
                world.turn(round % shards);
                if world.peers[peer].connection.is_some() {
                    let message = json!({"type": "join-document", "documentId": "d"});
                    world.say(peer, &message.to_string());
                    late.push(peer);
                }
            }
        }
        world.settle();
        let mut last = Vec::new();
        for peer in late {
            let told = world.messages(peer);
            assert_eq!(told[0]["type"], "document-state", "{told:?}");
            let mut version = told[0]["version"].as_u64().unwrap();
            for message in told.iter().filter(|message| message["type"] == "edit") {
                version += 1;
                assert_eq!(message["version"], version, "{told:?}");
            }
            last.push(version);
        }
        assert!(
            last.len() >= 6 && last[0] > 30 && last.iter().all(|it| *it == last[0]),
            "{last:?}"
        );
    }
}

#[test]
fn a_replica_that_comes_back_is_told_what_it_missed_and_its_edit_counts_once() {
    let mut world = World::with(2, settings());
    let ann = world.connect_as(0, user("ann"));
    let bob = world.connect_as(1, user("bob"));
    let first = json!({"type": "join-document", "documentId": "d", "replica": "r1"});
    let state = ask(&mut world, ann, &first).remove(0);
    let epoch = state["epoch"].as_str().unwrap().to_owned();
    assert_eq!(epoch.len(), 16);
    assert_eq!(state["sequence"], Value::Null);
    join(&mut world, bob, "d");
    let edit_it = |sequence, version, text: &str| json!({"type": "edit", "documentId": "d", "version": version, "sequence": sequence, "operation": [text]});
    ask(&mut world, ann, &edit_it(1, 0, "a"));
    ask(&mut world, bob, &edit("d", 1, &json!(["b"])));
    // Ann's second edit arrives, its acknowledgement does not.
    world.say(ann, &edit_it(2, 1, "c").to_string());
    world.lose(ann);
    world.settle();
    let back = world.connect_as(0, user("ann"));
    let again = json!({"type": "join-document", "documentId": "d", "replica": "r1", "sequence": 1,
        "since": {"version": 1, "epoch": epoch}, "id": 5});
    let missed = ask(&mut world, back, &again).remove(0);
    assert_eq!(
        (&missed["type"], &missed["version"], &missed["id"]),
        (&json!("document-edits"), &json!(3), &json!(5))
    );
    let edits = json!([
        {"version": 2, "operation": ["b"], "userId": "bob"},
        {"version": 3, "operation": [1, "c"], "userId": "ann", "sequence": 2},
    ]);
    // A concurrent insert at one place: what the server has already stands first.
    assert_eq!(missed["edits"][0], edits[0]);
    assert_eq!(missed["edits"][1]["sequence"], edits[1]["sequence"]);
    let repeated = ask(&mut world, back, &edit_it(2, 1, "c")).remove(0);
    assert_eq!(
        (&repeated["type"], &repeated["version"]),
        (&json!("edit-ack"), &json!(3))
    );
    // Of another life: everything.
    let other = json!({"type": "join-document", "documentId": "d", "replica": "r1",
        "since": {"version": 1, "epoch": "0000000000000000"}});
    let state = ask(&mut world, back, &other).remove(0);
    assert_eq!(
        (&state["type"], &state["sequence"]),
        (&json!("document-state"), &json!(2))
    );
    // The same replica on another connection takes its place.
    let third = world.connect_as(1, user("ann"));
    ask(&mut world, third, &first);
    let left = json!({"type": "document-left", "documentId": "d", "reason": "replaced"});
    assert_eq!(world.messages(back), [left]);
    assert_eq!(code(&ask(&mut world, back, &edit_it(3, 3, "x"))), 120);
    ask(&mut world, bob, &edit("d", 3, &json!(["!"])));
    assert_eq!(world.messages(third).len(), 1);
    assert_eq!(world.messages(back), Vec::<Value>::new());
}

#[test]
fn contract_d20_a_document_goes_some_time_after_the_last_leave() {
    for shards in [1, 2] {
        let mut world = World::with(shards, settings());
        let ann = world.connect_as(0, user("ann"));
        join(&mut world, ann, "d");
        ask(&mut world, ann, &edit("d", 0, &json!(["x"])));
        let gauge = |world: &World| -> (u64, u64, u64) {
            let gauges = world.shards.iter().map(|shard| shard.gauges());
            gauges.fold((0, 0, 0), |sum, it| {
                (
                    sum.0 + it.documents,
                    sum.1 + it.document_members,
                    sum.2 + it.document_bytes,
                )
            })
        };
        let (documents, members, bytes) = gauge(&world);
        assert!((documents, members) == (1, 1) && bytes > 100);
        world.lose(ann);
        world.pass(59_000);
        assert_eq!(gauge(&world).0, 1);
        assert_eq!(world.residue().document_members, 0);
        assert_eq!(world.residue().homed_channels, 0);
        let back = world.connect_as(0, user("ann"));
        assert_eq!(join(&mut world, back, "d")["content"], "x");
        world.pass(120_000);
        assert_eq!(gauge(&world).0, 1, "somebody is in it");
        let leave = json!({"type": "leave-document", "documentId": "d"});
        ask(&mut world, back, &leave);
        world.pass(60_001);
        assert_eq!(gauge(&world), (0, 0, 0));
        assert_eq!(join(&mut world, back, "d")["content"], "");
        // One that nobody has written into goes at once.
        ask(&mut world, back, &leave);
        world.pass(1);
        assert_eq!(gauge(&world), (0, 0, 0));
    }
}

#[test]
fn contract_l6_l8_cursors_are_told_at_their_last_place_and_not_more_often_than_seen() {
    let mut world = World::with(2, settings());
    let ann = world.connect_as(0, user("ann"));
    let bob = world.connect_as(1, user("bob"));
    join(&mut world, ann, "d");
    join(&mut world, bob, "d");
    ask(&mut world, ann, &edit("d", 0, &json!(["0123456789"])));
    world.pass(1000);
    world.messages(bob);
    for position in 0..10 {
        let moved =
            json!({"type": "cursor-move", "documentId": "d", "position": position, "version": 1});
        ask(&mut world, ann, &moved);
    }
    world.pass(1000);
    let told = world.messages(bob);
    let positions: Vec<_> = told
        .iter()
        .map(|message| message["position"].as_u64().unwrap())
        .collect();
    assert_eq!(positions, [0, 9]);
    // It stays with the text it is in, and goes with its connection.
    ask(&mut world, bob, &edit("d", 1, &json!(["> "])));
    let cleo = world.connect_as(1, user("cleo"));
    assert_eq!(join(&mut world, cleo, "d")["cursors"], json!({"ann": 11}));
    world.lose(ann);
    world.settle();
    world.messages(cleo);
    assert_eq!(join(&mut world, cleo, "d")["cursors"], json!({}));
}

#[test]
fn new_permissions_count_at_once() {
    let rule = |pattern: &str| Rule::about(pattern.parse().unwrap());
    let grants = |words: &[&str]| {
        words
            .iter()
            .map(|word| Grant::from_text(word))
            .collect::<Vec<_>>()
    };
    let permissions = Permissions::new(
        [rule("document:*")
            .allow(Action::Subscribe, grants(&["read"]))
            .allow(Action::Edit, grants(&["write"]))],
        false,
    );
    let authentication = Some(Default::default());
    let mut world = World::with(
        2,
        ShardSettings {
            permissions,
            authentication,
            ..settings()
        },
    );
    let identity = |may: &[&str]| Identity::new("ann").with_permissions(may.iter().copied());
    let ann = world.connect_as(0, verified(identity(&["read", "write"])));
    join(&mut world, ann, "d");
    for (may, expected) in [(&["read"][..], 115), (&[][..], 120)] {
        world.say(ann, &json!({"type": "refresh", "token": "t"}).to_string());
        world.verdict(Ok(identity(may)));
        world.settle();
        let told = world.messages(ann);
        if may.is_empty() {
            let left =
                json!({"type": "document-left", "documentId": "d", "reason": "not-permitted"});
            assert_eq!(told[1..], [left]);
        }
        assert_eq!(
            code(&ask(&mut world, ann, &edit("d", 0, &json!(["x"])))),
            expected
        );
    }
}
