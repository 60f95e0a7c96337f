//! Documents over real sockets: with the embedding service as one of those that edit, and across a restart with other shards.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use serde_json::{Value, json};
use shardwire::config::{ByteSize, Config, Persistence, PlacementRule};
use shardwire::text::Operation;
use shardwire::{DocumentError, DocumentText};
use support::{Client, TestEngine, config};
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
        let text = engine.0.document(document).unwrap().wait();
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
        assert_eq!(engine.0.document(document).unwrap().wait().version, 0);
        assert_eq!(engine.0.forget_document(document).unwrap().wait(), 0);
    }
    assert!(matches!(engine.0.document(""), Err(DocumentError::Name(_))));
    let mut without = documents(1, None);
    without.collaboration.enabled = Some(false);
    let off = TestEngine::start(without);
    let edit = Operation::replacement(0, 0, "x").unwrap();
    let refused = off.0.edit_document("a", None, edit).unwrap();
    assert!(matches!(refused.wait(), Err(DocumentError::Disabled)));
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
        let text = engine.0.document(document).unwrap().wait();
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
    assert_eq!(engine.0.document("a").unwrap().wait().version, 0);
}
