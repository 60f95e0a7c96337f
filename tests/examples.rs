//! The examples do what they say.
#![allow(clippy::unwrap_used)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use program::Program;
use serde_json::{Value, json};
use shardwire::config::PlacementRule;
use shardwire::{Context, Engine, HandlerError, Message};
use support::{Client, PATIENCE, TestEngine, config, eventually};

/// A running example, ended with its test.
struct Example(Child);

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn http(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

/// Starts an example, and waits for the line it prints when it is ready.
fn run(name: &str, arguments: &[String]) -> (Example, String) {
    let mut child = Command::new(program(name))
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (Example(child), line.trim().to_owned())
}

/// As Ctrl-C does.
fn interrupt(example: &Example) {
    let pid = example.0.id().to_string();
    let sent = Command::new("kill").args(["-s", "INT", &pid]).status();
    assert!(sent.unwrap().success());
}

/// The built example.
fn program(name: &str) -> std::path::PathBuf {
    // A run of all tests has built the examples already; a test that is run alone builds the one it needs.
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_shardwire"))
        .with_file_name("examples")
        .join(name);
    if !program.exists() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--quiet", "--example", name])
            .status()
            .unwrap();
        assert!(built.success());
    }
    program
}

/// Starts an example that prints the addresses of its HTTP service and of its engine.
fn start(name: &str) -> (Example, SocketAddr, SocketAddr) {
    let (example, line) = run(name, &["127.0.0.1:0".into(), "127.0.0.1:0".into()]);
    let (service, engine) = line
        .trim()
        .strip_prefix("http on ")
        .unwrap()
        .split_once(", websocket on ws://")
        .unwrap();
    let engine = engine.strip_suffix("/ws").unwrap();
    (example, service.parse().unwrap(), engine.parse().unwrap())
}

fn connect(engine: SocketAddr, path: &str) -> Client {
    let stream = TcpStream::connect(engine).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Client::over(stream, path)
}

#[test]
fn embed_joins_a_tokio_http_service_and_the_engine() {
    let (_example, service, engine) = start("embed");
    let mut client = connect(engine, "/ws?user=ann");
    client.subscribe("news");

    assert_eq!(
        http(service, "POST", "/channels/news", r#"{"title":"hello"}"#).0,
        202
    );
    assert_eq!(client.receive()["message"], json!({"title": "hello"}));
    assert_eq!(http(service, "POST", "/channels/$shards", "1").0, 400);
    let counts: Value = serde_json::from_str(&http(service, "GET", "/connections", "").1).unwrap();
    assert_eq!(counts["active"], 1);
    let anns: Value =
        serde_json::from_str(&http(service, "GET", "/users/ann/connections", "").1).unwrap();
    assert_eq!(anns.as_array().unwrap().len(), 1);
}

#[test]
fn collaboration_lets_a_service_write_into_what_people_edit() {
    let (_example, service, engine) = start("collaboration");
    let mut client = connect(engine, "/ws?user=ann");
    client.ask(&json!({"type": "join-document", "documentId": "notes"}));
    let edit =
        json!({"type": "edit", "documentId": "notes", "version": 0, "operation": ["by ann\n"]});
    assert_eq!(client.ask(&edit)["type"], "edit-ack");
    let (status, answer) = http(service, "POST", "/documents/notes", "by the service");
    assert_eq!((status, answer.as_str()), (200, r#"{"version":2}"#));
    let told = client.receive();
    assert_eq!(told["operation"], json!([7, "by the service\n"]));
    let read = || -> Value {
        serde_json::from_str(&http(service, "GET", "/documents/notes", "").1).unwrap()
    };
    assert_eq!(
        read(),
        json!({"content": "by ann\nby the service\n", "version": 2})
    );
    assert_eq!(http(service, "DELETE", "/documents/notes", "").0, 204);
    assert_eq!(client.receive()["type"], "document-left");
    assert_eq!(read()["version"], 0);
}

#[test]
fn custom_auth_asks_the_services_own_sessions() {
    let (_example, service, engine) = start("custom_auth");
    let login = |user: &str| {
        let (status, token) = http(service, "POST", "/login", user);
        assert_eq!(status, 200);
        token
    };
    let enter = |token: &str| {
        let mut client = connect(engine, "/ws");
        client.send(&json!({"type": "auth", "token": token}));
        client
    };
    let (mut ann, mut bob) = (enter(&login("ann")), enter(&login("bob")));
    assert_eq!(ann.receive()["user"], "ann");
    assert_eq!(bob.receive()["user"], "bob");
    bob.subscribe("room:1");
    bob.subscribe("inbox:bob");
    let refused = bob.ask(&json!({"type": "subscribe", "channel": "inbox:ann"}));
    assert_eq!(refused["error"], "Not permitted");
    let refused = bob.ask(&json!({"type": "publish", "channel": "room:1", "message": 1}));
    assert_eq!(refused["error"], "Not permitted");
    ann.send(&json!({"type": "publish", "channel": "room:1", "message": "hello"}));
    assert_eq!(bob.receive()["message"], "hello");
    let answer = ann.ask(&json!({"type": "refresh", "token": login("ann")}));
    assert_eq!(answer["type"], "refreshed");
    assert_eq!(enter("made up").read_close().0, 4501);
}

#[test]
fn chat_lets_staff_in_keeps_quiet_and_announces() {
    let (_example, line) = run("chat", &["127.0.0.1:0".into()]);
    let engine = line.strip_prefix("websocket on ws://").unwrap();
    let engine: SocketAddr = engine.strip_suffix("/ws").unwrap().parse().unwrap();
    let mut ann = connect(engine, "/ws?user=ann");
    let mut sue = connect(engine, "/ws?user=staff-sue");
    let join = |room: &str| json!({"type": "join-room", "roomId": room});
    assert_eq!(ann.ask(&join("staff-only"))["error"], "Not permitted");
    let listen = json!({"type": "subscribe", "channel": "room:staff-only"});
    assert_eq!(ann.ask(&listen)["error"], "Not permitted");
    assert_eq!(sue.ask(&join("staff-only"))["type"], "user-joined");
    assert_eq!(sue.ask(&join("lobby"))["type"], "user-joined");
    assert_eq!(ann.ask(&join("lobby"))["userId"], "ann");
    assert_eq!(sue.receive()["userId"], "ann");
    let say = |content: &str| json!({"type": "send-message", "content": content});
    assert_eq!(ann.ask(&say("hey!!!"))["error"], "Please do not shout");
    assert_eq!(ann.ask(&say("hey"))["content"], "hey");
    assert_eq!(sue.receive()["content"], "hey");
    let announce = json!({"type": "announce", "room": "lobby", "text": "closing at six"});
    assert_eq!(ann.ask(&announce)["error"], "Only staff announces");
    sue.send(&announce);
    let heard = ann.receive();
    assert_eq!(heard["type"], "broadcast");
    assert_eq!(heard["message"], json!({"notice": "closing at six"}));
}

#[test]
fn middleware_checks_slows_tags_and_tells() {
    let (_example, line) = run("middleware", &["127.0.0.1:0".into(), "127.0.0.1:0".into()]);
    let engine = line.strip_prefix("websocket on ws://").unwrap();
    let engine: SocketAddr = engine.strip_suffix("/ws").unwrap().parse().unwrap();
    let (mut ann, mut mia) = (
        connect(engine, "/ws?user=ann"),
        connect(engine, "/ws?user=mia"),
    );
    for client in [&mut ann, &mut mia] {
        assert_eq!(client.receive()["type"], "subscribed");
    }
    let refused = ann.ask(&json!({"type": "chat", "message": 7}));
    assert_eq!(refused["error"], "Invalid chat message");
    ann.send(&json!({"type": "chat", "message": "hello"}));
    let line = json!({"from": "ann", "message": "hello"});
    for client in [&mut ann, &mut mia] {
        assert_eq!(client.receive()["message"], line);
    }
    let refused = ann.ask(&json!({"type": "chat", "message": "again"}));
    assert_eq!(refused["error"], "Slow mode: one message a second");

    let news = json!({"type": "publish", "channel": "news", "message": 1});
    assert_eq!(ann.ask(&news)["error"], "Not permitted");
    mia.subscribe("news");
    assert_eq!(mia.ask(&news)["type"], "broadcast");

    ann.send(&json!({"type": "announce", "message": "help"}));
    assert_eq!(mia.receive(), json!({"type": "notice", "message": "help"}));
    ann.0.close(None).unwrap();
    assert_eq!(mia.receive()["message"]["left"], "ann");
}

/// Whether a connection has asked who is there: health checks and connections in reserve never do.
#[derive(Default)]
struct Asked(bool);

/// A backend that knows its name, and counts the connections that asked for it and ended.
fn backend(name: &'static str) -> (TestEngine, Arc<AtomicUsize>) {
    let ended = Arc::new(AtomicUsize::new(0));
    let counted = ended.clone();
    let who = async move |context: Context, _: Message| {
        context.data::<Asked>().0 = true;
        let answer = json!({"type": "who", "backend": name});
        context.send(&answer).map_err(HandlerError::failed)
    };
    let end = async |context: Context, _: Message| {
        context.close(4242, "as asked");
        Ok(())
    };
    let builder = Engine::builder(config(1, PlacementRule::Accept))
        .route("who", who)
        .route("end", end)
        .on_close(async move |context: Context, _| {
            let asked = context.data::<Asked>().0;
            counted.fetch_add(usize::from(asked), Ordering::Relaxed);
        });
    (TestEngine(builder.start().unwrap()), ended)
}

#[test]
fn gateway_spreads_clients_over_backends_and_does_without_one_that_stops() {
    let ((first, ended), (second, _)) = (backend("first"), backend("second"));
    let (_example, gateway) = gateway(&[first.0.local_address(), second.0.local_address()]);
    let who = |client: &mut Client| {
        let answer = client.ask(&json!({"type": "who"}));
        answer["backend"].as_str().unwrap().to_owned()
    };

    let mut clients: Vec<Client> = (0..4).map(|_| connect(gateway, "/ws")).collect();
    let mut served: Vec<String> = clients.iter_mut().map(who).collect();
    served.sort();
    assert_eq!(served, ["first", "first", "second", "second"]);

    // Channels are the backend's, and so are errors and closes.
    let (mut to_first, mut to_second) = (Vec::new(), Vec::new());
    for mut client in clients {
        match who(&mut client).as_str() {
            "first" => to_first.push(client),
            _ => to_second.push(client),
        }
    }
    to_first[0].subscribe("room");
    to_first[1].send(&json!({"type": "publish", "channel": "room", "message": "hello"}));
    assert_eq!(to_first[0].receive()["message"], "hello");
    assert_eq!(to_first[1].ask(&json!({"type": "shout"}))["code"], 103);
    to_second[0].send(&json!({"type": "end"}));
    assert_eq!(to_second[0].read_close(), (4242, "as asked".into()));

    // A client that leaves takes its connection to the backend along: it is not another one's.
    assert_eq!(ended.load(Ordering::Relaxed), 0);
    drop(to_first.remove(0));
    eventually("the backend's connection ends", || {
        ended.load(Ordering::Relaxed) == 1
    });

    // A backend that stops says so to its clients; those that come then are the other one's.
    drop(second);
    assert_eq!(to_second[1].read_close().0, 4200);
    for _ in 0..6 {
        assert_eq!(who(&mut connect(gateway, "/ws")), "first");
    }
}

/// Starts the gateway before these backends.
fn gateway(backends: &[SocketAddr]) -> (Example, SocketAddr) {
    let urls = backends.iter().map(|address| format!("ws://{address}/ws"));
    let arguments: Vec<String> = ["127.0.0.1:0".into()].into_iter().chain(urls).collect();
    let (example, line) = run("gateway", &arguments);
    let address = line.strip_prefix("gateway on ws://").unwrap();
    let address = address.strip_suffix("/ws").unwrap();
    (example, address.parse().unwrap())
}

#[test]
fn gateway_tells_clients_of_a_killed_backend_to_come_back_and_leaves_in_order_itself() {
    let (one, other) = (Program::start(&[]), Program::start(&[]));
    let (mut example, gateway) = gateway(&[one.address, other.address]);
    let mut clients = [connect(gateway, "/ws"), connect(gateway, "/ws")];
    for client in &mut clients {
        client.subscribe("room");
    }
    // Which of the two is whose: what is published there comes to one of them.
    let mut at_one = connect(one.address, "/ws");
    at_one.send(&json!({"type": "publish", "channel": "room", "message": 1}));
    let mut at_other = connect(other.address, "/ws");
    at_other.send(&json!({"type": "publish", "channel": "room", "message": 2}));
    let [mut first, mut second] = clients;
    let heard = [&mut first, &mut second].map(|client| client.receive()["message"].clone());
    if heard == [2, 1] {
        std::mem::swap(&mut first, &mut second);
    } else {
        assert_eq!(heard, [1, 2]);
    }
    one.signal("KILL");
    assert_eq!(first.read_close().0, 1012);
    // It comes back, and is the other one's.
    let mut again = connect(gateway, "/ws");
    again.subscribe("room");
    at_other.send(&json!({"type": "publish", "channel": "room", "message": 3}));
    assert_eq!(again.receive()["message"], 3);

    interrupt(&example);
    assert_eq!(again.read_close().0, 4200);
    drop(second);
    assert!(example.0.wait().unwrap().success());
}

#[test]
fn gateway_without_backends_closes_its_clients_with_1013() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let (_example, gateway) = gateway(&[address]);
    let closed = connect(gateway, "/ws").read_close();
    assert_eq!(closed, (1013, "no backend".into()));
}

/// How long the others' echoes take is for a quiet machine to tell; that all come back while handlers hang and panic, here.
#[test]
fn misbehaving_handlers_leave_everybody_else_their_echoes() {
    let output = Command::new(program("misbehaving"))
        .arg("1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<_> = table.lines().skip(1).collect();
    assert_eq!(rows.len(), 9, "{table}");
    for (n, row) in rows.iter().enumerate() {
        let mut words = row.split_whitespace();
        assert_eq!(
            words.next(),
            Some(["None", "Behaving", "Misbehaving"][n % 3])
        );
        assert!(words.next().unwrap().parse::<usize>().unwrap() > 0);
    }
}

#[test]
fn notifications_wait_for_who_is_away_and_all_connections_know_what_is_unread() {
    let (_example, line) = run("notifications", &["127.0.0.1:0".into()]);
    let engine = line.strip_prefix("websocket on ws://").unwrap();
    let engine: SocketAddr = engine.strip_suffix("/ws").unwrap().parse().unwrap();
    let mut ann = connect(engine, "/ws?user=ann");
    let ship = json!({"type": "ship", "to": "bob", "order": 4711});
    assert_eq!(ann.ask(&ship), json!({"type": "shipped", "connections": 0}));
    let mut bob = connect(engine, "/ws?user=bob");
    let waiting = bob.receive();
    assert_eq!(waiting["title"], "Your parcel is on its way");
    assert_eq!(waiting["data"], json!({"order": 4711}));
    let unread = |count: usize| json!({"type": "unread-count", "unread": count});
    assert_eq!(bob.receive(), unread(1));
    let mut other = connect(engine, "/ws?user=bob");
    assert_eq!(other.receive()["unread"], 1);
    bob.send(&json!({"type": "mark-read", "notificationIds": [waiting["id"]]}));
    assert_eq!(other.receive(), unread(0));
}
