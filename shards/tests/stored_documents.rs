//! Documents with a store: nothing is told before it is there, what is refused has not happened, and everything comes back.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use shardwire_shards::bounds::{DOCUMENT_LOADS_MAX, DOCUMENT_WAITING_BYTES_MAX};
use shardwire_shards::collaboration::{CollaborationSettings, DocumentSettings};
use shardwire_shards::vocabulary::{
    Answer, AnswerId, Command, DocumentCommand, DocumentQuestion, DocumentText, Input, RestoredLog,
    StoreOutcome, StoreRequest,
};
use shardwire_shards::{ShardSettings, StoreModel};
use support::{PeerId, World, open_settings, user};

/// What is on the disk.
#[derive(Default)]
struct Disk(StoreModel);

impl Disk {
    /// Carries out the oldest request, or refuses it as this says.
    fn step(&mut self, world: &mut World, outcome: StoreOutcome) {
        let (shard, request) = world.store.remove(0);
        if let Some(answer) = self.0.carry_out(request, outcome) {
            world.hand_in(shard, answer);
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
        for kept in self.0.logs() {
            // Documents are read when somebody wants them.
            let restored = RestoredLog {
                records: Vec::new(),
                ..kept.clone()
            };
            let home = world.placement.home_of_log(&kept.log);
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

fn join_message(fields: &Value) -> Value {
    let mut message = json!({"type": "join-document", "documentId": "d"});
    for (name, value) in fields.as_object().unwrap() {
        message[name] = value.clone();
    }
    message
}

/// Joins a document that is in memory.
fn join(world: &mut World, peer: PeerId, fields: &Value) -> Value {
    ask(world, peer, &join_message(fields)).remove(0)
}

/// Joins one that the disk has to read first.
fn come_back(world: &mut World, disk: &mut Disk, peer: PeerId, fields: &Value) -> Value {
    assert_eq!(ask(world, peer, &join_message(fields)), Vec::<Value>::new());
    disk.keep_all(world);
    world.messages(peer).remove(0)
}

fn at_home(world: &mut World, command: DocumentCommand) {
    let home = world.placement.home_of_channel("$document:d").index();
    let question = DocumentQuestion {
        document: "$document:d".into(),
        command,
        answer: Some(AnswerId(5)),
    };
    world.command(home, Command::Document(Box::new(question)));
}

fn text(content: &str, version: u64) -> Answer {
    Answer::Document(Ok(DocumentText {
        content: content.to_owned(),
        version,
    }))
}

/// Documents in memory, documents known by name only, and bytes of both.
fn held(world: &World) -> (u64, u64, u64) {
    world.shards.iter().fold((0, 0, 0), |sum, shard| {
        let it = shard.gauges();
        (
            sum.0 + it.documents,
            sum.1 + it.documents_unloaded,
            sum.2 + it.document_bytes,
        )
    })
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
        let records = &disk.0.logs().next().unwrap().records;
        assert!((1_000..1_400).contains(&records.len()), "{}", records.len());
        // One more arrives, and its acknowledgement does not.
        world.say(ann, &edit(1_701, 1_700, "!").to_string());
        disk.keep_all(&mut world);

        let mut world = disk.restart(shards);
        let ann = world.connect_as(0, user("ann"));
        let since =
            json!({"replica": "r", "sequence": 1_700, "since": {"version": 1_700, "epoch": epoch}});
        let missed = come_back(&mut world, &mut disk, ann, &since);
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
    assert_eq!(
        come_back(&mut other, &mut disk, cleo, &json!({}))["content"],
        "a"
    );

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
    assert_eq!(
        come_back(&mut other, &mut disk, cleo, &json!({}))["content"],
        "ba"
    );
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
    let state = come_back(&mut world, &mut disk, bob, &json!({}));
    assert_eq!(state["content"], "a");
    let operation = serde_json::from_str(r#"["b"]"#).unwrap();
    at_home(
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
    at_home(
        &mut world,
        DocumentCommand::Edit {
            version: Some(2),
            operation: long,
        },
    );
    assert!(matches!(world.answers.pop(), Some(Answer::Edited(Err(_)))));
    at_home(&mut world, DocumentCommand::Read);
    assert_eq!(world.answers.pop(), Some(text("ba", 2)));
    // An answer that comes when the document is another is not for that one.
    world.say(bob, &edit(1, 2, "late").to_string());
    world.settle();
    at_home(&mut world, DocumentCommand::Forget);
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
    assert_eq!(
        come_back(&mut other, &mut disk, cleo, &json!({}))["content"],
        "new"
    );
}

/// A document with one text that has been let go of, and a world for it.
fn unloaded(disk: &mut Disk, shards: u16, content: &str) -> (World, Value) {
    let mut world = World::with(shards, settings());
    let ann = world.connect_as(0, user("ann"));
    let epoch = join(&mut world, ann, &json!({"replica": "r"}))["epoch"].clone();
    world.say(ann, &edit(1, 0, content).to_string());
    disk.keep_all(&mut world);
    world.lose(ann);
    world.pass(59_999);
    assert_eq!(held(&world).1, 0, "not before its time");
    world.pass(100_000);
    (world, epoch)
}

#[test]
fn what_nobody_is_in_takes_no_more_memory_than_its_name() {
    let mut disk = Disk::default();
    let long = "x".repeat(30_000);
    let (mut world, epoch) = unloaded(&mut disk, 2, &long);
    let (documents, names, bytes) = held(&world);
    assert_eq!((documents, names), (0, 1));
    assert!(bytes < 300, "{bytes}");
    assert!(world.store.is_empty(), "nothing is asked of the store");
    // Who comes back is told of what it missed only, and the document is there again.
    let ann = world.connect_as(1, user("ann"));
    let has =
        json!({"replica": "r", "sequence": 1, "since": {"version": 1, "epoch": epoch.clone()}});
    let missed = come_back(&mut world, &mut disk, ann, &has);
    assert_eq!(
        (&missed["type"], &missed["edits"]),
        (&json!("document-edits"), &json!([]))
    );
    let (documents, names, bytes) = held(&world);
    assert_eq!((documents, names), (1, 0));
    assert!(bytes > 30_000);
    // What was acknowledged before is known for what it is.
    assert_eq!(
        ask(&mut world, ann, &edit(1, 0, &long)).remove(0)["version"],
        1
    );
    world.lose(ann);
    world.pass(100_000);
    assert_eq!(held(&world).1, 1, "and is let go of again");
}

#[test]
fn what_is_asked_of_an_unloaded_document_is_done_in_its_order_when_it_is_read() {
    for shards in [1, 3] {
        let mut disk = Disk::default();
        let (mut world, _) = unloaded(&mut disk, shards, "a");
        let last = usize::from(shards) - 1;
        let ann = world.connect_as(0, user("ann"));
        let bob = world.connect_as(last, user("bob"));
        let cleo = world.connect_as(last, user("cleo"));
        // In one breath: what comes behind a joining waits, too.
        world.say(ann, &join_message(&json!({"replica": "r"})).to_string());
        world.say(ann, &edit(2, 1, "b").to_string());
        world.settle();
        world.say(bob, &join_message(&json!({"id": 7})).to_string());
        world.say(cleo, &join_message(&json!({})).to_string());
        world.say(cleo, r#"{"type":"leave-document","documentId":"d"}"#);
        world.settle();
        at_home(&mut world, DocumentCommand::Read);
        world.settle();
        assert_eq!(world.store.len(), 1, "it is read once: {:?}", world.store);
        disk.keep_all(&mut world);
        assert_eq!(world.answers.pop(), Some(text("ba", 2)));
        let told = world.messages(ann);
        assert_eq!(
            (&told[0]["content"], &told[0]["version"]),
            (&json!("a"), &json!(1))
        );
        assert!(told.iter().any(|it| it["type"] == "edit-ack"), "{told:?}");
        let told = world.messages(bob);
        assert_eq!(
            (&told[0]["content"], &told[0]["id"]),
            (&json!("ba"), &json!(7))
        );
        // Who is gone before the answer is no member.
        assert_eq!(world.messages(cleo).len(), 1, "its leaving");
        for peer in [ann, bob] {
            world.lose(peer);
        }
        world.pass(100_000);
        assert_eq!(held(&world).1, 1, "nobody is left behind");
    }
}

#[test]
fn a_document_that_cannot_be_read_is_refused_and_read_again_when_it_is_wanted_again() {
    for (outcome, code, temporary) in [
        (StoreOutcome::Full, 118, json!(true)),
        (StoreOutcome::Failed, 119, json!(true)),
    ] {
        let mut disk = Disk::default();
        let (mut world, _) = unloaded(&mut disk, 2, "a");
        let ann = world.connect_as(0, user("ann"));
        world.say(ann, &join_message(&json!({"id": 1})).to_string());
        world.say(ann, &edit(1, 1, "b").to_string());
        world.settle();
        at_home(&mut world, DocumentCommand::Read);
        let operation = serde_json::from_str(r#"["c"]"#).unwrap();
        let edited = DocumentCommand::Edit {
            version: None,
            operation,
        };
        at_home(&mut world, edited);
        world.settle();
        disk.step(&mut world, outcome);
        world.settle();
        let told = world.messages(ann);
        assert_eq!(told.len(), 2, "{told:?}");
        for message in &told {
            assert_eq!(
                (&message["code"], &message["temporary"]),
                (&json!(code), &temporary)
            );
        }
        assert_eq!(told[0]["id"], 1);
        let answers = std::mem::take(&mut world.answers);
        assert!(
            matches!(
                answers.as_slice(),
                [Answer::Document(Err(_)), Answer::Edited(Err(_))]
            ),
            "{answers:?}"
        );
        // It is as before, and nobody is in it.
        assert_eq!(held(&world).1, 1);
        assert_eq!(ask(&mut world, ann, &edit(1, 1, "b"))[0]["code"], 120);
        let state = come_back(&mut world, &mut disk, ann, &json!({}));
        assert_eq!(state["content"], "a");
    }
}

#[test]
fn an_unloaded_document_is_ended_without_being_read() {
    let mut disk = Disk::default();
    let (mut world, epoch) = unloaded(&mut disk, 2, "a");
    at_home(&mut world, DocumentCommand::Forget);
    assert_eq!(world.answers.pop(), Some(Answer::Count(1)));
    disk.keep_all(&mut world);
    assert_eq!((disk.0.logs().count(), held(&world)), (0, (0, 0, 0)));
    at_home(&mut world, DocumentCommand::Forget);
    assert_eq!(world.answers.pop(), Some(Answer::Count(0)));
    // While it is being read: who was coming is in a new one, and what the store answers to the old question is nothing to it.
    let (mut world, _) = unloaded(&mut disk, 2, "a");
    let ann = world.connect_as(0, user("ann"));
    world.say(ann, &join_message(&json!({})).to_string());
    world.settle();
    let StoreRequest::Load { ticket, log, .. } = world.store[0].1.clone() else {
        panic!("it is read");
    };
    let kept = disk.0.logs().find(|kept| kept.log == log);
    let RestoredLog { head, records, .. } = kept.unwrap().clone();
    at_home(&mut world, DocumentCommand::Forget);
    world.settle();
    let told = world.messages(ann);
    assert_eq!(
        (&told[0]["content"], &told[0]["version"]),
        (&json!(""), &json!(0))
    );
    assert_ne!(told[0]["epoch"], epoch);
    let (shard, _) = world.store.remove(0);
    let outcome = Ok(RestoredLog { log, head, records });
    world.hand_in(shard, Input::Loaded { ticket, outcome });
    world.say(ann, &edit(1, 0, "new").to_string());
    disk.keep_all(&mut world);
    at_home(&mut world, DocumentCommand::Read);
    assert_eq!(world.answers.pop(), Some(text("new", 1)));
}

#[test]
fn so_many_documents_are_read_at_a_time_and_the_others_wait_for_their_turn() {
    let mut disk = Disk::default();
    let mut world = World::with(1, settings());
    let ann = world.connect_as(0, user("ann"));
    let say = |world: &mut World, peer, fields: &Value, document: usize| {
        let mut message = fields.clone();
        message["documentId"] = json!(format!("d{document}"));
        world.say(peer, &message.to_string());
    };
    let count = DOCUMENT_LOADS_MAX + 5;
    for document in 0..count {
        say(&mut world, ann, &join_message(&json!({})), document);
        say(&mut world, ann, &edit(1, 0, "x"), document);
        disk.keep_all(&mut world);
    }
    world.lose(ann);
    world.pass(100_000);
    assert_eq!(held(&world).1, count as u64);
    let bob = world.connect_as(0, user("bob"));
    for document in 0..count {
        say(&mut world, bob, &join_message(&json!({})), document);
    }
    world.settle();
    assert_eq!(world.store.len(), DOCUMENT_LOADS_MAX);
    disk.keep_all(&mut world);
    let told = world.messages(bob);
    assert_eq!(told.len(), count);
    assert!(told.iter().all(|state| state["content"] == "x"));
}

#[test]
fn what_waits_for_documents_is_bounded_and_who_leaves_is_never_forgotten() {
    let mut disk = Disk::default();
    let (mut world, _) = unloaded(&mut disk, 1, "a");
    let ann = world.connect_as(0, user("ann"));
    world.say(ann, &join_message(&json!({"replica": "r"})).to_string());
    let long = "x".repeat(60_000);
    let mut refused = 0;
    for number in 2..400 {
        world.say(ann, &edit(number, number - 1, &long).to_string());
        world.settle();
        let told = world.messages(ann);
        refused += told.iter().filter(|it| it["code"] == 110).count();
    }
    assert!((200..398).contains(&refused), "{refused}");
    assert!(held(&world).2 < DOCUMENT_WAITING_BYTES_MAX as u64 + (1 << 10));
    world.lose(ann);
    disk.keep_all(&mut world);
    world.pass(100_000);
    disk.keep_all(&mut world);
    assert_eq!(held(&world).0, 0, "nobody is in it");
    assert!(held(&world).2 < 300, "nothing waits: {:?}", held(&world));
}

#[test]
fn nothing_is_read_while_documents_take_as_much_as_they_may() {
    let mut tight = settings();
    tight.collaboration.as_mut().unwrap().memory = 20_000;
    let mut disk = Disk::default();
    let mut world = World::with(1, tight);
    let ann = world.connect_as(0, user("ann"));
    let long = "x".repeat(30_000);
    join(&mut world, ann, &json!({}));
    world.say(ann, &edit(1, 0, &long).to_string());
    disk.keep_all(&mut world);
    world.lose(ann);
    world.pass(100_000);
    let bob = world.connect_as(0, user("bob"));
    let other = json!({"type": "join-document", "documentId": "other"});
    ask(&mut world, bob, &other);
    let write = json!({"type": "edit", "documentId": "other", "version": 0, "operation": [long]});
    world.say(bob, &write.to_string());
    disk.keep_all(&mut world);
    world.messages(bob);
    let told = ask(&mut world, bob, &join_message(&json!({"id": 3})));
    assert_eq!((&told[0]["code"], &told[0]["id"]), (&json!(110), &json!(3)));
    assert!(world.store.is_empty());
    world.say(bob, r#"{"type":"leave-document","documentId":"other"}"#);
    world.pass(100_000);
    world.messages(bob);
    let state = come_back(&mut world, &mut disk, bob, &json!({}));
    assert_eq!(state["version"], 1);
}
