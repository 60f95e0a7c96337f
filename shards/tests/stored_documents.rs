//! Documents with a store: nothing is told before it is there, what is refused has not happened, and everything comes back.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shardwire_shards::ShardSettings;
use shardwire_shards::collaboration::{CollaborationSettings, DocumentSettings};
use shardwire_shards::vocabulary::{
    Answer, AnswerId, Command, DocumentCommand, DocumentQuestion, Input, LogName, Position,
    RestoredLog, StoreOutcome, StoreRequest, StoredRecord,
};
use support::{PeerId, World, open_settings, user};

/// What is on the disk.
#[derive(Default)]
struct Disk {
    logs: BTreeMap<LogName, (Position, Vec<StoredRecord>)>,
}

impl Disk {
    /// Carries out the oldest request; an append as this says.
    fn step(&mut self, world: &mut World, outcome: StoreOutcome) {
        let (shard, request) = world.store.remove(0);
        match request {
            StoreRequest::Append {
                ticket,
                log,
                epoch,
                record,
            } => {
                if outcome == StoreOutcome::Stored {
                    let (head, records) = self.logs.get_mut(&log).expect("a log begins first");
                    assert!(head.epoch == epoch && record.offset > head.offset);
                    head.offset = record.offset;
                    records.push(record);
                }
                world.hand_in(shard, Input::Stored { ticket, outcome });
            }
            StoreRequest::Begin { log, position } => {
                self.logs.insert(log, (position, Vec::new()));
            }
            StoreRequest::Trim { log, through } => {
                let (_, records) = self.logs.get_mut(&log).unwrap();
                records.retain(|record| record.offset > through.offset);
            }
            StoreRequest::Forget { log, .. } => {
                self.logs.remove(&log);
            }
        }
    }

    fn keep_all(&mut self, world: &mut World) {
        world.settle();
        while !world.store.is_empty() {
            self.step(world, StoreOutcome::Stored);
            world.settle();
        }
    }

    /// A new process, with so many shards.
    fn restart(&self, shards: u16) -> World {
        let mut world = World::with(shards, settings());
        for (log, (head, records)) in &self.logs {
            let restored = RestoredLog {
                log: log.clone(),
                head: *head,
                records: records.clone(),
            };
            let home = world.placement.home_of_log(log);
            let now = world.now();
            world.shards[home.index()].restore(now, restored);
        }
        world
    }
}

fn settings() -> ShardSettings {
    ShardSettings {
        collaboration: Some(CollaborationSettings {
            document: DocumentSettings {
                stored: true,
                ..DocumentSettings::default()
            },
            ..CollaborationSettings::default()
        }),
        heartbeat_interval_ms: 10_000_000,
        ..open_settings()
    }
}

fn ask(world: &mut World, peer: PeerId, message: &Value) -> Vec<Value> {
    world.say(peer, &message.to_string());
    world.settle();
    world.messages(peer)
}

fn join(world: &mut World, peer: PeerId, fields: &Value) -> Value {
    let mut message = json!({"type": "join-document", "documentId": "d"});
    for (name, value) in fields.as_object().unwrap() {
        message[name] = value.clone();
    }
    ask(world, peer, &message).remove(0)
}

fn edit(sequence: u64, version: u64, text: &str) -> Value {
    json!({"type": "edit", "documentId": "d", "version": version, "sequence": sequence, "operation": [text]})
}

#[test]
fn nothing_is_told_before_the_store_has_it() {
    let mut world = World::with(2, settings());
    let mut disk = Disk::default();
    let ann = world.connect_as(0, user("ann"));
    let bob = world.connect_as(1, user("bob"));
    join(&mut world, ann, &json!({}));
    join(&mut world, bob, &json!({}));
    world.messages(ann);
    assert_eq!(ask(&mut world, ann, &edit(1, 0, "a")), Vec::<Value>::new());
    assert_eq!(world.messages(bob), Vec::<Value>::new());
    // Nor to who comes meanwhile.
    let cleo = world.connect_as(1, user("cleo"));
    let join_it = json!({"type": "join-document", "documentId": "d"});
    assert_eq!(ask(&mut world, cleo, &join_it), Vec::<Value>::new());
    disk.keep_all(&mut world);
    assert_eq!(world.messages(ann)[0]["type"], "edit-ack");
    assert_eq!(world.messages(bob)[0]["type"], "edit");
    assert_eq!(world.messages(cleo)[0]["content"], "a");
}

#[test]
fn a_restart_keeps_documents_and_who_has_edited_them() {
    for shards in [1, 3] {
        let mut world = World::with(2, settings());
        let mut disk = Disk::default();
        let ann = world.connect_as(0, user("ann"));
        let epoch = join(&mut world, ann, &json!({"replica": "r"}))["epoch"].clone();
        // More than two whole documents are stored on the way.
        for number in 1..=1_700 {
            world.say(ann, &edit(number, number - 1, "x").to_string());
            disk.keep_all(&mut world);
        }
        assert_eq!(world.messages(ann).last().unwrap()["version"], 1_700);
        let records = &disk.logs.values().next().unwrap().1;
        assert!((1_000..1_400).contains(&records.len()), "{}", records.len());
        // One more arrives, and its acknowledgement does not.
        world.say(ann, &edit(1_701, 1_700, "!").to_string());
        disk.keep_all(&mut world);

        let mut world = disk.restart(shards);
        let ann = world.connect_as(0, user("ann"));
        let since =
            json!({"replica": "r", "sequence": 1_700, "since": {"version": 1_700, "epoch": epoch}});
        let missed = join(&mut world, ann, &since);
        assert_eq!(missed["edits"][0]["sequence"], 1_701, "{missed}");
        let again = ask(&mut world, ann, &edit(1_701, 1_700, "!")).remove(0);
        assert_eq!(
            (&again["type"], &again["version"]),
            (&json!("edit-ack"), &json!(1_701))
        );
        // Who has been away for long is still told edit by edit.
        let bob = world.connect_as(0, user("bob"));
        let long = join(
            &mut world,
            bob,
            &json!({"since": {"version": 800, "epoch": epoch}}),
        );
        assert_eq!(long["type"], "document-edits", "{}", long["version"]);
        assert_eq!(long["edits"].as_array().unwrap().len(), 901);
        let longer = join(
            &mut world,
            bob,
            &json!({"since": {"version": 10, "epoch": epoch}}),
        );
        assert_eq!(longer["content"].as_str().unwrap().len(), 1_701);
        // And it goes on.
        world.say(ann, &edit(1_702, 1_701, "?").to_string());
        disk.keep_all(&mut world);
        let told = world.messages(ann);
        assert_eq!(told.last().unwrap()["version"], 1_702, "{told:?}");
    }
}

#[test]
fn what_the_store_refuses_has_not_happened() {
    let mut world = World::with(2, settings());
    let mut disk = Disk::default();
    let ann = world.connect_as(0, user("ann"));
    let bob = world.connect_as(1, user("bob"));
    for peer in [ann, bob] {
        join(&mut world, peer, &json!({"replica": "r"}));
    }
    world.say(ann, &edit(1, 0, "a").to_string());
    disk.keep_all(&mut world);
    world.messages(ann);
    world.messages(bob);
    world.say(ann, &edit(2, 1, "b").to_string());
    world.settle();
    world.say(bob, &edit(1, 1, "c").to_string());
    world.settle();
    // The disk has no room for the first, and has some again for the second: that one has nothing to stand on.
    disk.step(&mut world, StoreOutcome::Full);
    disk.step(&mut world, StoreOutcome::Stored);
    world.settle();
    for (peer, name) in [(ann, "ann"), (bob, "bob")] {
        let told = world.messages(peer);
        assert_eq!(
            (told.len(), &told[0]["code"], &told[0]["temporary"]),
            (1, &json!(118), &json!(true)),
            "{name}: {told:?}"
        );
    }
    // Until the store has what stands, nothing more is taken.
    assert_eq!(ask(&mut world, ann, &edit(2, 1, "b"))[0]["code"], 118);
    // After a crash now, it is as it was told.
    let mut other = disk.restart(1);
    let cleo = other.connect_as(0, user("cleo"));
    assert_eq!(join(&mut other, cleo, &json!({}))["content"], "a");

    world.pass(1_000);
    disk.step(&mut world, StoreOutcome::Failed);
    assert_eq!(ask(&mut world, ann, &edit(2, 1, "b"))[0]["code"], 119);
    world.pass(1_000);
    disk.keep_all(&mut world);
    world.say(ann, &edit(2, 1, "b").to_string());
    disk.keep_all(&mut world);
    assert_eq!(world.messages(ann)[0]["version"], 2);
    assert_eq!(world.messages(bob)[0]["version"], 2);
    let mut other = disk.restart(1);
    let cleo = other.connect_as(0, user("cleo"));
    assert_eq!(join(&mut other, cleo, &json!({}))["content"], "ba");
}

#[test]
fn a_stored_document_stays_when_nobody_is_in_it_until_it_is_forgotten() {
    let mut world = World::with(2, settings());
    let mut disk = Disk::default();
    let ann = world.connect_as(0, user("ann"));
    join(&mut world, ann, &json!({}));
    world.say(ann, &edit(1, 0, "a").to_string());
    disk.keep_all(&mut world);
    world.lose(ann);
    world.pass(100_000);
    let bob = world.connect_as(1, user("bob"));
    assert_eq!(join(&mut world, bob, &json!({}))["content"], "a");
    let command = |world: &mut World, command| {
        let document = "$document:d".into();
        let home = world.placement.home_of_channel("$document:d").index();
        let answer = Some(AnswerId(5));
        let question = DocumentQuestion {
            document,
            command,
            answer,
        };
        world.command(home, Command::Document(Box::new(question)));
    };
    let operation = serde_json::from_str(r#"["b"]"#).unwrap();
    command(
        &mut world,
        DocumentCommand::Edit {
            version: None,
            operation,
        },
    );
    assert_eq!(world.answers, [], "not before it is stored");
    disk.keep_all(&mut world);
    assert_eq!(world.answers.pop(), Some(Answer::Edited(Ok(2))));
    assert_eq!(world.messages(bob)[0]["userId"], "$server");
    let long = serde_json::from_str(r#"[9,"b"]"#).unwrap();
    command(
        &mut world,
        DocumentCommand::Edit {
            version: Some(2),
            operation: long,
        },
    );
    assert!(matches!(world.answers.pop(), Some(Answer::Edited(Err(_)))));
    command(&mut world, DocumentCommand::Read);
    let Some(Answer::Document(text)) = world.answers.pop() else {
        panic!("no text");
    };
    assert_eq!((text.content.as_str(), text.version), ("ba", 2));
    // An answer that comes when the document is another is not for that one.
    world.say(bob, &edit(1, 2, "late").to_string());
    world.settle();
    command(&mut world, DocumentCommand::Forget);
    assert_eq!(world.answers.pop(), Some(Answer::Count(1)));
    world.settle();
    let left = json!({"type": "document-left", "documentId": "d", "reason": "forgotten"});
    assert_eq!(world.messages(bob), [left]);
    join(&mut world, bob, &json!({}));
    world.say(bob, &edit(1, 0, "new").to_string());
    world.settle();
    disk.step(&mut world, StoreOutcome::Stored);
    assert_eq!(world.messages(bob), Vec::<Value>::new());
    disk.keep_all(&mut world);
    assert_eq!(world.messages(bob)[0]["version"], 1);
    let mut other = disk.restart(1);
    let cleo = other.connect_as(0, user("cleo"));
    assert_eq!(join(&mut other, cleo, &json!({}))["content"], "new");
}
