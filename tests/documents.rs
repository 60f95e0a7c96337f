//! Documents over real sockets: with the embedding service as one of those that edit, and across a restart with other shards.
#![allow(clippy::unwrap_used)]

#[path = "support/http.rs"]
mod http;
mod support;

use std::path::Path;
use std::time::Duration;

use http::Admin;
use serde_json::{Value, json};
use shardwire::config::{ByteSize, Config, Persistence, PlacementRule, Secret, TextDuration};
use shardwire::telemetry::ShardReport;
use shardwire::text::Operation;
use shardwire::{DocumentError, DocumentText};
use shardwire_client::collaboration::SharedDocument;
use shardwire_client::text::Content;
use support::{Client, PATIENCE, TestEngine, config};
use tempfile::TempDir;

fn documents(shards: usize, directory: Option<&Path>) -> Config {
    let mut config = config(shards, PlacementRule::UserHash);
    config.collaboration.enabled = Some(true);
    if let Some(directory) = directory {
        config.collaboration.persistence = Persistence::Disk;
        config.storage.directory = Some(directory.to_owned());
        config.storage.keep_free = ByteSize::bytes(0);
    }
    config
}

fn join(client: &mut Client, document: &str, fields: &Value) -> Value {
    let mut message = json!({"type": "join-document", "documentId": document});
    for (name, value) in fields.as_object().unwrap() {
        message[name] = value.clone();
    }
    client.ask(&message)
}

fn edit(document: &str, sequence: u64, version: u64, operation: &Value) -> Value {
    json!({"type": "edit", "documentId": document, "sequence": sequence, "version": version, "operation": operation})
}

#[test]
fn the_service_reads_edits_and_ends_documents() {
    let engine = TestEngine::start(documents(2, None));
    for document in ["a", "b", "c"] {
        let mut ann = engine.client("/ws?user=ann");
        join(&mut ann, document, &json!({}));
        ann.ask(&edit(document, 1, 0, &json!(["hello"])));
        let text = engine.0.document(document).unwrap().wait().unwrap();
        let expected = DocumentText {
            content: "hello".to_owned(),
            version: 1,
        };
        assert_eq!(text, expected);
        let shout = Operation::replacement(5, 0, "!").unwrap();
        let edited = engine.0.edit_document(document, Some(1), shout).unwrap();
        assert_eq!(edited.wait().unwrap(), 2);
        let told = ann.receive();
        assert_eq!(
            (&told["type"], &told["userId"], &told["operation"]),
            (&json!("edit"), &json!("$server"), &json!([5, "!"]))
        );
        let beyond = Operation::replacement(70, 0, "!").unwrap();
        let refused = engine.0.edit_document(document, None, beyond).unwrap();
        assert!(matches!(refused.wait(), Err(DocumentError::OutOfStep)));
        assert_eq!(engine.0.forget_document(document).unwrap().wait(), 1);
        assert_eq!(ann.receive()["reason"], "forgotten");
        assert_eq!(
            engine.0.document(document).unwrap().wait().unwrap().version,
            0
        );
        assert_eq!(engine.0.forget_document(document).unwrap().wait(), 0);
    }
    assert!(matches!(engine.0.document(""), Err(DocumentError::Name(_))));
    let mut without = documents(1, None);
    without.collaboration.enabled = Some(false);
    let off = TestEngine::start(without);
    let edit = Operation::replacement(0, 0, "x").unwrap();
    let refused = off.0.edit_document("a", None, edit).unwrap();
    assert!(matches!(refused.wait(), Err(DocumentError::Disabled)));
    let read = off.0.document("a").unwrap();
    assert!(matches!(read.wait(), Err(DocumentError::Disabled)));
}

#[test]
fn documents_on_disk_are_there_after_a_restart_with_other_shards() {
    let directory = TempDir::new().unwrap();
    let mut epochs = Vec::new();
    let names = ["a", "b", "c", "d"];
    {
        let engine = TestEngine::start(documents(3, Some(directory.path())));
        let mut ann = engine.client("/ws?user=ann");
        for document in names {
            let state = join(&mut ann, document, &json!({"replica": "r"}));
            epochs.push(state["epoch"].clone());
            for number in 1..=20 {
                let told = ann.ask(&edit(document, number, number - 1, &json!(["😭"])));
                assert_eq!(
                    (&told["type"], &told["version"]),
                    (&json!("edit-ack"), &json!(number))
                );
            }
        }
    }
    let engine = TestEngine::start(documents(2, Some(directory.path())));
    for (document, epoch) in names.into_iter().zip(&epochs) {
        let text = engine.0.document(document).unwrap().wait().unwrap();
        assert_eq!((text.content, text.version), ("😭".repeat(20), 20));
        let mut ann = engine.client("/ws?user=ann");
        let since =
            json!({"replica": "r", "sequence": 19, "since": {"version": 19, "epoch": epoch}});
        let missed = join(&mut ann, document, &since);
        assert_eq!(missed["edits"][0]["sequence"], 20, "{missed}");
        // Acknowledged before the restart; it counts once.
        let again = ann.ask(&edit(document, 20, 19, &json!(["😭"])));
        assert_eq!(again["version"], 20);
        let next = ann.ask(&edit(document, 21, 20, &json!(["x"])));
        assert_eq!(next["version"], 21);
        assert_eq!(engine.0.forget_document(document).unwrap().wait(), 1);
    }
    drop(engine);
    let engine = TestEngine::start(documents(1, Some(directory.path())));
    assert_eq!(engine.0.document("a").unwrap().wait().unwrap().version, 0);
}

/// A gauge of all shards together.
fn held(engine: &TestEngine, gauge: impl Fn(&ShardReport) -> u64) -> u64 {
    let reports = engine.0.reports().wait(PATIENCE);
    let shards = reports.iter().map(|it| it.as_ref().unwrap());
    shards.map(gauge).sum()
}

#[test]
fn what_nobody_is_in_is_on_the_disk_only_and_comes_back_when_it_is_wanted() {
    let directory = TempDir::new().unwrap();
    let mut config = documents(2, Some(directory.path()));
    config.collaboration.unload_after = TextDuration::from_secs(1);
    let engine = TestEngine::start(config.clone());
    let long = "😭 and so on; ".repeat(2_000);
    let names: Vec<String> = (0..20).map(|number| format!("d{number}")).collect();
    let mut ann = engine.client("/ws?user=ann");
    for name in &names {
        join(&mut ann, name, &json!({}));
        ann.ask(&edit(name, 1, 0, &json!([long])));
    }
    assert_eq!(held(&engine, |it| it.gauges.documents), 20);
    assert!(held(&engine, |it| it.gauges.document_bytes) > 20 * 32_000);
    drop(ann);
    let begun = std::time::Instant::now();
    while held(&engine, |it| it.gauges.documents_unloaded) < 20 {
        assert!(begun.elapsed() < PATIENCE, "they are not let go of");
    }
    assert_eq!(held(&engine, |it| it.gauges.documents), 0);
    assert!(held(&engine, |it| it.gauges.document_bytes) < 20 * 300);
    let mut bob = engine.client("/ws?user=bob");
    for name in &names {
        assert_eq!(join(&mut bob, name, &json!({}))["content"], long);
        let edited = bob.ask(&edit(name, 1, 1, &json!(["!"])));
        assert_eq!(edited["version"], 2);
    }
    let text = engine.0.document(&names[3]).unwrap().wait().unwrap();
    assert_eq!(text.content, format!("!{long}"));
    drop(bob);
    drop(engine);
    // A start reads no document either, and ends with one what nobody reads.
    let engine = TestEngine::start(config);
    assert_eq!(held(&engine, |it| it.gauges.documents_unloaded), 20);
    let operation = Operation::replacement(0, 1, "?").unwrap();
    let edited = engine.0.edit_document(&names[0], None, operation).unwrap();
    assert_eq!(edited.wait().unwrap(), 3);
    assert_eq!(engine.0.forget_document(&names[1]).unwrap().wait(), 1);
    let ended = engine.0.document(&names[1]).unwrap().wait().unwrap();
    assert_eq!(ended.version, 0);
}

#[test]
fn operators_list_documents_and_read_one() {
    let directory = TempDir::new().unwrap();
    let mut config = documents(3, Some(directory.path()));
    config.admin.address = Some("127.0.0.1:0".parse().unwrap());
    config.admin.key = Some(Secret::new("correct-horse-battery-staple"));
    let admin_of = |engine: &TestEngine| Admin {
        address: engine.0.admin_address().unwrap(),
        key: Some("correct-horse-battery-staple".to_owned()),
    };
    let engine = TestEngine::start(config.clone());
    let mut ann = engine.client("/ws?user=ann");
    for name in ["plan/1", "plan/2", "plan/3", "todo"] {
        join(&mut ann, name, &json!({}));
        ann.ask(&edit(name, 1, 0, &json!(["hello"])));
    }
    let admin = admin_of(&engine);
    let row = |name: &str| json!({"document": name, "open": true, "version": 1, "members": 1});
    let page = admin.ask("/v1/documents?prefix=plan&limit=2");
    assert_eq!(page["documents"], json!([row("plan/1"), row("plan/2")]));
    let rest = admin.ask("/v1/documents?after=plan%2F2");
    assert_eq!(rest["documents"], json!([row("plan/3"), row("todo")]));
    let text = json!({"document": "plan/1", "version": 1, "content": "hello"});
    assert_eq!(admin.ask("/v1/documents/plan%2F1"), text);
    assert_eq!(admin.get("/v1/documents/nothing").status, 404);
    let long = format!("/v1/documents/{}", "x".repeat(201));
    assert_eq!(admin.get(&long).status, 400);
    drop(ann);
    drop(engine);
    // After a start they are known by name.
    let engine = TestEngine::start(config);
    let admin = admin_of(&engine);
    let row = |name: &str| json!({"document": name, "open": false, "members": 0});
    let page = admin.ask("/v1/documents?prefix=plan&limit=2");
    assert_eq!(page["documents"], json!([row("plan/1"), row("plan/2")]));
    let rest = admin.ask("/v1/documents?prefix=plan&after=plan%2F2");
    assert_eq!(rest["documents"], json!([row("plan/3")]));
    assert_eq!(admin.ask("/v1/documents/plan%2F1"), text);
    let now = admin.ask("/v1/documents?limit=1");
    assert_eq!(
        (
            &now["documents"][0]["open"],
            &now["documents"][0]["version"]
        ),
        (&json!(true), &json!(1))
    );
    let off = TestEngine::start({
        let mut config = documents(1, None);
        config.collaboration.enabled = Some(false);
        config.admin.address = Some("127.0.0.1:0".parse().unwrap());
        config.admin.key = Some(Secret::new("correct-horse-battery-staple"));
        config
    });
    assert_eq!(admin_of(&off).get("/v1/documents/a").status, 404);
    assert_eq!(admin_of(&off).ask("/v1/documents")["documents"], json!([]));
}

/// Somebody with an editor, and what carries it.
struct Editor {
    user: &'static str,
    screen: Content,
    document: SharedDocument,
    connection: Option<Client>,
}

impl Editor {
    fn new(user: &'static str, name: &str) -> Self {
        Self {
            user,
            screen: Content::default(),
            document: SharedDocument::new("shared", name),
            connection: None,
        }
    }

    fn connect(&mut self, engine: &TestEngine) {
        let client = engine.client(&format!("/ws?user={}", self.user));
        // Short: what has come is read, and nothing is waited for.
        let timeout = Some(Duration::from_millis(2));
        client.0.get_ref().set_read_timeout(timeout).unwrap();
        self.connection = Some(client);
        self.document.connected();
        self.carry();
    }

    fn cut(&mut self) {
        self.connection = None;
        self.document.disconnected();
    }

    /// Sends what is to be sent, hears what has come, and shows what has changed.
    fn carry(&mut self) {
        while let Some(connection) = &mut self.connection {
            while let Some(text) = self.document.poll_message() {
                connection.0.send(tungstenite::Message::text(text)).unwrap();
            }
            match connection.0.read() {
                Ok(tungstenite::Message::Text(text)) => assert!(self.document.receive(&text)),
                Ok(_) => {}
                Err(_) => break,
            }
            if self.document.is_postponed() {
                self.document.try_again();
            }
        }
        self.screen.apply(&self.document.take_change()).unwrap();
        assert_eq!(&self.screen, self.document.replica().content());
    }

    fn type_text(&mut self, position: u32, deleted: u32, text: &str) {
        self.carry();
        let length = self.screen.length();
        let position = position % (length + 1);
        let deleted = deleted.min(length - position);
        let operation = Operation::replacement(position, deleted, text).unwrap();
        self.screen.apply(&operation).unwrap();
        self.document.edit(&operation).unwrap();
        self.document.move_cursor(position);
        self.carry();
    }
}

#[test]
fn editors_of_the_rust_client_that_are_cut_off_end_with_one_text() {
    let engine = TestEngine::start(documents(2, None));
    let mut editors = [
        Editor::new("ann", "1"),
        Editor::new("bob", "2"),
        Editor::new("ann", "3"),
    ];
    for editor in &mut editors {
        editor.connect(&engine);
    }
    let mut chance = 1_u32;
    for step in 0..300 {
        chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let editor = &mut editors[(chance >> 8) as usize % 3];
        match editor.connection {
            None if step % 3 == 0 => editor.connect(&engine),
            Some(_) if step % 17 == 0 => editor.cut(),
            _ => editor.type_text(chance >> 12, chance >> 30, ["x", "😭", "\n", ""][step % 4]),
        }
    }
    for editor in &mut editors {
        if editor.connection.is_none() {
            editor.connect(&engine);
        }
    }
    let begin = std::time::Instant::now();
    loop {
        for editor in &mut editors {
            editor.carry();
        }
        let text = engine.0.document("shared").unwrap().wait().unwrap();
        let done = editors.iter().all(|editor| {
            let replica = editor.document.replica();
            replica.is_settled() && replica.version() == text.version
        });
        if done {
            for editor in &editors {
                assert_eq!(editor.screen.to_string(), text.content);
                assert_eq!(editor.document.users().collect::<Vec<_>>(), ["ann", "bob"]);
            }
            assert!(text.version > 50, "{}", text.version);
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "they do not come to rest");
    }
}
