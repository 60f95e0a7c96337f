//! Histories on disk, through the server: killed and started again, with another number of shards, damaged, full, shared by mistake.
#![allow(clippy::unwrap_used)]

#[path = "support/small_disk.rs"]
mod small_disk;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shardwire::config::{ByteSize, ChannelsRule, Config, Persistence, PlacementRule};
use shardwire::{PublishOptions, StorageHealth};
use small_disk::SmallDisk;
use support::{Client, PATIENCE, TestEngine, config};
use tempfile::TempDir;

/// A configuration that keeps `room:*` on disk, and `memory:*` in memory.
fn on_disk(directory: &Path, shards: usize) -> Config {
    let mut config = config(shards, PlacementRule::Accept);
    let rule = |channel: &str, persistence| ChannelsRule {
        channel: channel.to_owned(),
        max_messages: Some(100_000),
        max_age: None,
        max_bytes: Some(ByteSize::mib(64)),
        persistence: Some(persistence),
        slow: None,
    };
    config.channels.rules = vec![
        rule("room:*", Persistence::Disk),
        rule("memory:*", Persistence::Memory),
    ];
    config.storage.directory = Some(directory.to_owned());
    config.storage.keep_free = ByteSize::bytes(0);
    config
}

/// The server program, killed at the end if it has not been before.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn command(directory: &Path, shards: usize) -> Command {
        let file = directory.with_extension(format!("{shards}.toml"));
        let text = format!(
            "[listen]\naddress = \"127.0.0.1:0\"\n[shards]\ncount = {shards}\npin = false\n\
             [storage]\ndirectory = {:?}\nkeep_free = \"0B\"\n\
             [[channels.rules]]\nchannel = \"room:*\"\nmax_messages = 100000\nmax_bytes = \"64MiB\"\npersistence = \"disk\"\n",
            directory.display().to_string()
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_shardwire"));
        command.arg("--config").arg(file);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SHARDWIRE_") {
                command.env_remove(name);
            }
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(directory: &Path, shards: usize) -> Self {
        let mut child = Self::command(directory, shards).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let Some(address) = line
            .trim()
            .rsplit(' ')
            .next()
            .filter(|text| text.contains(':'))
        else {
            let mut errors = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut errors)
                .unwrap();
            panic!("the server did not start: {errors}");
        };
        let address = address.to_owned();
        // Nobody reads what it logs; it must not wait for that.
        let mut log = child.stderr.take().unwrap();
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address }
    }

    fn client(&self) -> Client {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client::over(stream, "/ws")
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a server that does not start: its exit code and what it says.
fn refused(directory: &Path) -> (i32, String) {
    let output = Server::command(directory, 1).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    (output.status.code().expect("it ends by itself"), told)
}

fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    (directory, store)
}

/// What was acknowledged: channel and offset, with the message.
type Acknowledged = Mutex<BTreeMap<(String, u64), Value>>;

/// Publishes until the connection ends, and notes what was acknowledged.
fn publish(
    server: &Server,
    publisher: usize,
    round: usize,
    acknowledged: &Acknowledged,
    stop: &AtomicBool,
) {
    let mut client = server.client();
    for number in 0.. {
        let channel = format!("room:{}", (publisher + number) % 5);
        let message = json!(format!("{publisher}/{round}/{number}"));
        let publication =
            json!({"type": "publish", "channel": channel, "message": message, "id": number});
        if client
            .0
            .send(tungstenite::Message::text(publication.to_string()))
            .is_err()
        {
            return;
        }
        let Ok(tungstenite::Message::Text(answer)) = client.0.read() else {
            return;
        };
        let answer: Value = serde_json::from_str(answer.as_str()).unwrap();
        assert_eq!(answer["type"], "published", "{answer}");
        let offset = answer["offset"].as_u64().unwrap();
        let before = acknowledged
            .lock()
            .unwrap()
            .insert((channel, offset), message);
        assert_eq!(before, None, "an offset was given away twice");
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Everything in a channel from this place on, and whether the server says that nothing is missing.
fn recover(server: &Server, channel: &str, since: &Value) -> (Value, BTreeMap<u64, Value>) {
    let mut client = server.client();
    let answer = client.ask(&json!({"type": "subscribe", "channel": channel, "since": since}));
    assert_eq!(answer["type"], "subscribed", "{answer}");
    // Who asks for nothing that was is told how far the channel is.
    let now = server
        .client()
        .ask(&json!({"type": "subscribe", "channel": channel}));
    let last = now["offset"].as_u64().unwrap();
    if answer["recovered"] != true {
        return (answer, BTreeMap::new());
    }
    let mut messages = BTreeMap::new();
    let mut next = since["offset"].as_u64().unwrap() + 1;
    while next <= last {
        let message = client.receive();
        assert_eq!(message["type"], "broadcast", "{message}");
        let offset = message["offset"].as_u64().unwrap();
        assert!(offset >= next, "in order, and none twice");
        next = offset + 1;
        messages.insert(offset, message["message"].clone());
    }
    (answer, messages)
}

#[test]
fn what_was_acknowledged_is_recovered_after_kill_9_with_any_number_of_shards() {
    let (_guard, store) = directory();
    let acknowledged = Acknowledged::default();
    let mut epochs: BTreeMap<String, Value> = BTreeMap::new();
    for (round, shards) in [2, 1, 3, 2, 4, 2].into_iter().enumerate() {
        let mut server = Server::start(&store, shards);
        for (channel, epoch) in &epochs {
            let (answer, messages) =
                recover(&server, channel, &json!({"offset": 0, "epoch": epoch}));
            assert_eq!(answer["recovered"], true, "{answer}");
            let acknowledged = acknowledged.lock().unwrap();
            let expected = acknowledged.iter().filter(|((of, _), _)| of == channel);
            for ((_, offset), message) in expected {
                assert_eq!(
                    messages.get(offset),
                    Some(message),
                    "round {round}: {channel} {offset}: {answer} {:?}",
                    messages.keys()
                );
            }
        }
        let stop = AtomicBool::new(false);
        let before = acknowledged.lock().unwrap().len();
        std::thread::scope(|scope| {
            for publisher in 0..6 {
                let (server, acknowledged, stop) = (&server, &acknowledged, &stop);
                scope.spawn(move || publish(server, publisher, round, acknowledged, stop));
            }
            let begun = Instant::now();
            while acknowledged.lock().unwrap().len() < before + 200 {
                assert!(begun.elapsed() < PATIENCE, "nothing is acknowledged");
                std::thread::sleep(Duration::from_millis(3));
            }
            if epochs.is_empty() {
                for room in 0..5 {
                    let channel = format!("room:{room}");
                    let answer = server
                        .client()
                        .ask(&json!({"type": "subscribe", "channel": channel}));
                    epochs.insert(channel, answer["epoch"].clone());
                }
            }
            // While all of them publish.
            let pid = server.child.id().to_string();
            let killed = Command::new("kill").args(["-9", &pid]).status().unwrap();
            assert!(killed.success());
        });
        server.kill();
    }
    assert!(acknowledged.lock().unwrap().len() >= 1200);
}

#[test]
fn a_server_that_is_drained_leaves_everything_behind() {
    let (_guard, store) = directory();
    let places: Vec<_> = {
        let engine = TestEngine::start(on_disk(&store, 2));
        let publish = |number: u64| {
            let key = Some(format!("key-{number}").into());
            let options = PublishOptions {
                key,
                ..PublishOptions::default()
            };
            engine
                .0
                .publish_with("room:1", &number, options)
                .unwrap()
                .wait()
                .unwrap()
                .unwrap()
        };
        (1..=30).map(publish).collect()
    };
    let engine = TestEngine::start(on_disk(&store, 3));
    // Known by its key: told the same place as before the restart.
    let again = PublishOptions {
        key: Some("key-17".into()),
        ..PublishOptions::default()
    };
    let told = engine
        .0
        .publish_with("room:1", &0, again)
        .unwrap()
        .wait()
        .unwrap()
        .unwrap();
    assert_eq!(told, places[16]);
    // The epoch is the same, and offsets go on.
    let next = engine
        .0
        .publish_with("room:1", &31, PublishOptions::default());
    let next = next.unwrap().wait().unwrap().unwrap();
    assert_eq!((next.epoch, next.offset), (places[0].epoch, 31));
    assert_eq!(engine.0.storage_health(), Some(StorageHealth::Working));
    assert_eq!(engine.0.storage_counts().unwrap().records, 1);
}

#[test]
fn a_history_that_is_to_be_on_disk_no_more_is_forgotten() {
    let (_guard, store) = directory();
    let publish = |config: Config| {
        let engine = TestEngine::start(config);
        let place = engine
            .0
            .publish_with("room:1", &"x", PublishOptions::default());
        place.unwrap().wait().unwrap().unwrap()
    };
    let first = publish(on_disk(&store, 1));
    assert_eq!(publish(on_disk(&store, 1)).epoch, first.epoch);
    let mut in_memory = on_disk(&store, 1);
    in_memory.channels.rules[0].persistence = Some(Persistence::Memory);
    assert_ne!(publish(in_memory).epoch, first.epoch);
    // What was published in between is not in the old history: nobody may take that for whole.
    let last = publish(on_disk(&store, 1));
    assert_ne!(last.epoch, first.epoch);
    assert_eq!(last.offset, 1);
}

#[test]
fn damage_is_told_with_its_place_and_the_server_does_not_start() {
    let (_guard, store) = directory();
    {
        let engine = TestEngine::start(on_disk(&store, 1));
        for number in 0..50 {
            let stored = engine
                .0
                .publish_with("room:1", &number, PublishOptions::default());
            stored.unwrap().wait().unwrap();
        }
    }
    let journal = store.join("database/0.jnl");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[1000] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    let (code, told) = refused(&store);
    assert_eq!(code, 78, "{told}");
    for word in [
        "0.jnl, byte ",
        "damaged",
        "Restore the directory from a backup",
        "move it away",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert_eq!(fs::read(&journal).unwrap(), bytes, "nothing is cut");
    // As it says: moved away, the server starts, and says that it knows nothing of what was.
    fs::rename(&store, store.with_extension("damaged")).unwrap();
    let server = Server::start(&store, 1);
    let (answer, messages) = recover(
        &server,
        "room:1",
        &json!({"offset": 0, "epoch": "0123456789abcdef"}),
    );
    assert_eq!((&answer["recovered"], messages.len()), (&json!(false), 0));
}

#[test]
fn two_servers_do_not_share_a_directory() {
    let (_guard, store) = directory();
    let _engine = TestEngine::start(on_disk(&store, 1));
    let (code, told) = refused(&store);
    assert_eq!(code, 69, "{told}");
    assert!(told.contains("another process uses it"), "{told}");
}

#[test]
fn a_rule_for_the_disk_needs_a_directory() {
    let mut config = on_disk(Path::new("unused"), 1);
    config.storage.directory = None;
    let error = shardwire::Engine::builder(config).start().unwrap_err();
    assert!(error.to_string().contains("storage.directory"), "{error}");
}

#[test]
fn a_full_disk_refuses_publishers_and_nobody_else_and_is_left_behind() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let engine = TestEngine::start(on_disk(&disk.store(), 2));
    let mut publisher = engine.client("/ws");
    let mut subscriber = engine.client("/ws");
    let epoch = subscriber.ask(&json!({"type": "subscribe", "channel": "room:1"}))["epoch"].clone();
    disk.fill(300_000);
    let mut publish = |number: usize| {
        publisher.ask(&json!({"type": "publish", "channel": "room:1", "message": "x".repeat(4000), "id": number}))
    };
    let mut stored = 0;
    let refusal = (0..1000)
        .map(&mut publish)
        .inspect(|answer| stored += usize::from(answer["type"] == "published"))
        .find(|answer| answer["type"] != "published")
        .expect("the disk becomes full");
    assert_eq!(refusal["type"], "error", "{refusal}");
    assert_eq!(refusal["code"], 118, "{refusal}");
    assert_eq!(engine.0.storage_health(), Some(StorageHealth::Full));
    let metrics = engine.0.snapshot(PATIENCE).to_text();
    for line in [
        "shardwire_storage_state{state=\"full\"} 1\n",
        "shardwire_storage_state{state=\"working\"} 0\n",
        &format!("shardwire_storage_records_total {stored}\n"),
        "shardwire_storage_refused_total{reason=\"full\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    // Everything that needs no disk goes on.
    let place = engine
        .0
        .publish_with("memory:1", &"still here", PublishOptions::default());
    assert_eq!(place.unwrap().wait().unwrap().unwrap().offset, 1);
    disk.empty();
    let begun = Instant::now();
    while publish(5000)["type"] != "published" {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "not back after 5 seconds"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(engine.0.storage_health(), Some(StorageHealth::Working));
    // Subscribers got what was stored, each once, and nothing of what was refused.
    for _ in 0..=stored {
        let message = subscriber.receive();
        assert_eq!(
            (&message["type"], &message["epoch"]),
            (&json!("broadcast"), &epoch)
        );
    }
}
