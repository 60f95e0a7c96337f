//! The admin port over real sockets: probes, metrics, the key, and every call of the HTTP API with its effect on real clients.
#![allow(clippy::unwrap_used)]

#[path = "support/http.rs"]
mod http;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use http::Admin;
use serde_json::{Value, json};
use shardwire::config::{ByteSize, Config, PlacementRule, Secret};
use shardwire::{Phase, StartError};
use support::{Client, PATIENCE, TestEngine, config, eventually};

const KEY: &str = "correct-horse-battery-staple";

fn with_admin(shards: usize) -> Config {
    let mut config = config(shards, PlacementRule::UserHash);
    config.admin.address = Some("127.0.0.1:0".parse().unwrap());
    config.admin.key = Some(Secret::new(KEY));
    config
}

fn start(config: Config) -> (TestEngine, Admin) {
    let engine = TestEngine::start(config);
    let admin = Admin {
        address: engine.0.admin_address().unwrap(),
        key: Some(KEY.to_owned()),
    };
    (engine, admin)
}

fn user(engine: &TestEngine, name: &str) -> Client {
    let mut client = engine.client(&format!("/ws?user={name}"));
    assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
    client
}

#[test]
fn probes_tell_the_phase() {
    let (engine, admin) = start(with_admin(2));
    assert_eq!(
        admin.ask("/health"),
        json!({"phase": "running", "stalled_shards": []})
    );
    assert_eq!(
        admin.ask("/ready"),
        json!({"phase": "running", "ready": true})
    );
    let mut lingerer = user(&engine, "ann");
    engine.0.drain();
    assert_eq!(engine.0.phase(), Phase::Draining);
    let ready = admin.get("/ready");
    assert_eq!(
        (ready.status, ready.json()),
        (503, json!({"phase": "draining", "ready": false}))
    );
    assert_eq!(admin.get("/health").status, 200, "it is still alive");
    assert_eq!(lingerer.receive()["type"], "reconnect");
    assert_eq!(lingerer.read_close().0, 4200);
    drop(lingerer);
    engine.0.wait().unwrap();
    assert_eq!(engine.0.phase(), Phase::Stopped);
    TcpStream::connect(admin.address).unwrap_err();
}

#[test]
fn metrics_are_scraped_from_every_shard() {
    let (engine, admin) = start(with_admin(3));
    let mut ann = user(&engine, "ann");
    ann.subscribe("news");
    let scrape = admin.get("/metrics");
    assert!(
        scrape.head.contains("text/plain; version=0.0.4"),
        "{}",
        scrape.head
    );
    let sum = |name: &str| -> f64 {
        let of_it = scrape
            .body
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name));
        of_it
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum()
    };
    assert_eq!(sum("shardwire_engine_shard_up"), 3.0);
    assert_eq!(sum("shardwire_engine_shard_stalled"), 0.0);
    assert_eq!(sum("shardwire_connections_opened_total"), 1.0);
    assert_eq!(sum("shardwire_channels_subscriptions"), 1.0);
    assert_eq!(sum("shardwire_engine_connections"), 1.0);
    assert!(sum("shardwire_engine_turn_seconds_count") > 3.0);
    assert_eq!(sum("shardwire_connections_messages_received_total"), 2.0);
    // The library tells the same.
    let text = engine.0.snapshot(Duration::from_secs(5)).to_text();
    assert!(text.contains("shardwire_channels_subscriptions"));
}

#[test]
fn the_api_needs_the_key_and_without_one_there_is_none() {
    let (_engine, admin) = start(with_admin(1));
    for key in [
        None,
        Some(""),
        Some("correct-horse-battery-stapl"),
        Some("Correct-horse-battery-staple"),
    ] {
        let caller = Admin {
            key: key.map(str::to_owned),
            ..admin.clone()
        };
        let refused = caller.get("/v1/shards");
        assert_eq!(refused.status, 401, "{key:?}");
        assert!(
            refused
                .head
                .to_lowercase()
                .contains("www-authenticate: bearer")
        );
        assert_eq!(caller.get("/metrics").status, 200, "on loopback");
        assert_eq!(caller.get("/ready").status, 200);
    }
    let mut config = with_admin(1);
    config.admin.key = None;
    let (_engine, admin) = start(config);
    assert_eq!(admin.get("/v1/shards").status, 403);
    assert_eq!(admin.get("/metrics").status, 200);
}

#[test]
fn where_strangers_reach_the_port_metrics_need_the_key_too() {
    let mut config = with_admin(1);
    config.admin.address = Some("0.0.0.0:0".parse().unwrap());
    let (_engine, mut admin) = start(config);
    admin.address.set_ip("127.0.0.1".parse().unwrap());
    assert_eq!(admin.get("/metrics").status, 200);
    admin.key = None;
    assert_eq!(admin.get("/metrics").status, 401);
    assert_eq!(admin.get("/health").status, 200);
}

#[test]
fn contract_b4_d10_what_is_published_reaches_subscribers_but_the_excluded() {
    let (engine, admin) = start(with_admin(2));
    let (mut ann, mut bob) = (user(&engine, "ann"), user(&engine, "bob"));
    ann.subscribe("news");
    bob.subscribe("news");
    let bobs = engine.0.user_connections("bob").wait()[0].to_string();
    let told = admin.post(
        "/v1/publish",
        &json!({"channel": "news", "message": {"n": 1}, "exclude": [bobs]}),
    );
    assert_eq!(told, json!({"published": 1}));
    assert_eq!(ann.receive()["message"], json!({"n": 1}));
    let batch: Vec<Value> = (0..6_000)
        .map(|n| json!({"channel": "news", "message": n}))
        .collect();
    let told = admin.post("/v1/publish/batch", &json!(batch));
    assert_eq!(told, json!({"published": 6_000, "refused": []}));
    for client in [&mut ann, &mut bob] {
        for n in 0..6_000 {
            assert_eq!(client.receive()["message"], n);
        }
    }
}

#[test]
fn what_cannot_be_published_is_told_with_its_place() {
    let mut config = with_admin(2);
    config.connections.max_outgoing_message_size = Some(ByteSize::kib(64));
    let (engine, admin) = start(config);
    let mut ann = user(&engine, "ann");
    ann.subscribe("news");
    let deep = format!("{}1{}", "[".repeat(128), "]".repeat(128));
    let deep: Box<serde_json::value::RawValue> =
        serde_json::value::RawValue::from_string(deep).unwrap();
    let body = format!(
        r#"[{{"channel":"news","message":1}},{{"channel":"$shards","message":1}},{{"channel":"","message":1}},
            {{"channel":"news","message":"{}"}},{{"channel":"news","message":{deep}}},{{"channel":"news","message":1,"exclude":["me"]}},
            {{"channel":"news","message":2}}]"#,
        "x".repeat(65_536)
    );
    let told = admin.call("POST", "/v1/publish/batch", &body).json();
    assert_eq!(told["published"], 2, "{told}");
    let places: Vec<_> = told["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["index"].as_u64().unwrap())
        .collect();
    assert_eq!(places, [1, 2, 3, 4, 5]);
    assert_eq!(
        [ann.receive(), ann.receive()].map(|message| message["message"].clone()),
        [json!(1), json!(2)]
    );
    for (body, status) in [
        ("", 400),
        ("[]", 400),
        (r#"{"channel":"news"}"#, 400),
        (r#"{"channel":"news","message":1,"exlude":[]}"#, 400),
        (r#"{"channel":"$x","message":1}"#, 400),
        ("{\"channel\":\"news\",\"message\":\u{0}}", 400),
    ] {
        assert_eq!(
            admin.call("POST", "/v1/publish", body).status,
            status,
            "{body}"
        );
    }
    let long = json!({"channel": "news", "message": "x".repeat(65_536)});
    assert_eq!(
        admin.call("POST", "/v1/publish", &long.to_string()).status,
        413
    );
    assert_eq!(
        admin
            .call("POST", "/v1/publish", &"x".repeat(9 << 20))
            .status,
        413
    );
}

#[test]
fn contract_m23_m24_people_are_found_sent_to_and_kicked() {
    let (engine, admin) = start(with_admin(3));
    let (mut ann, mut anns_phone) = (user(&engine, "ann"), user(&engine, "ann"));
    let mut bob = user(&engine, "bob");
    assert_eq!(
        admin.ask("/v1/users"),
        json!({"users": [{"user": "ann", "connections": 2}, {"user": "bob", "connections": 1}], "unanswered_shards": []})
    );
    assert_eq!(admin.ask("/v1/users?prefix=b")["users"][0]["user"], "bob");
    let anns = admin.ask("/v1/users/ann")["connections"].clone();
    assert_eq!(anns.as_array().unwrap().len(), 2);
    assert_eq!(admin.get("/v1/users/eve").status, 404);

    let hello = json!({"type": "hello"});
    assert_eq!(
        admin.post("/v1/users/ann/send", &json!({"message": hello})),
        json!({"sent": 2})
    );
    assert_eq!(
        [ann.receive(), anns_phone.receive()],
        [hello.clone(), hello.clone()]
    );
    assert_eq!(
        admin.post("/v1/users/eve/send", &json!({"message": 1})),
        json!({"sent": 0})
    );
    admin.post("/v1/broadcast", &json!({"message": "all"}));
    for client in [&mut ann, &mut anns_phone, &mut bob] {
        assert_eq!(client.receive(), "all");
    }
    admin.post(
        "/v1/broadcast",
        &json!({"message": "only bob", "users": ["bob"]}),
    );
    assert_eq!(bob.receive(), "only bob");

    let stays = anns[0].as_str().unwrap();
    let told = admin.post(
        "/v1/users/ann/kick",
        &json!({"code": 4321, "reason": "one is enough", "except": [stays]}),
    );
    assert_eq!(told, json!({"closed": 1}));
    eventually("one of two is left", || {
        admin.ask("/v1/users/ann")["connections"] == json!([stays])
    });
    let told = admin.post(
        &format!("/v1/connections/{stays}/send"),
        &json!({"message": "you stay"}),
    );
    assert_eq!(told, json!({"sent": 1}));
    // One of the two was closed, the other was told.
    let heard = [&mut ann, &mut anns_phone].map(|client| match client.0.read().unwrap() {
        tungstenite::Message::Close(frame) => {
            let frame = frame.unwrap();
            (u16::from(frame.code), frame.reason.to_string())
        }
        other => (0, other.into_text().unwrap().to_string()),
    });
    assert!(
        heard.contains(&(4321, "one is enough".to_owned())),
        "{heard:?}"
    );
    assert!(heard.contains(&(0, "\"you stay\"".to_owned())), "{heard:?}");

    let bobs = engine.0.user_connections("bob").wait()[0];
    assert_eq!(
        admin
            .call("POST", &format!("/v1/connections/{bobs}/kick"), "")
            .json(),
        json!({"closed": 1})
    );
    assert_eq!(bob.read_close(), (4500, "kicked".to_owned()));
    for (path, body, status) in [
        (format!("/v1/connections/{bobs}/kick"), "", 404),
        ("/v1/connections/99:0.0/kick".to_owned(), "", 404),
        ("/v1/connections/bob/kick".to_owned(), "", 400),
        ("/v1/users/ann/kick".to_owned(), r#"{"code":1005}"#, 400),
        ("/v1/users/ann/kick".to_owned(), r#"{"code":42}"#, 400),
        ("/v1/close".to_owned(), r#"{"code":999}"#, 400),
    ] {
        assert_eq!(
            admin.call("POST", &path, body).status,
            status,
            "{path} {body}"
        );
    }
}

#[test]
fn connections_channels_and_shards_are_listed() {
    let (engine, admin) = start(with_admin(2));
    let clients: Vec<Client> = (0..10)
        .map(|n| {
            let mut client = user(&engine, &format!("user-{n}"));
            client.subscribe("lobby");
            client.subscribe(&format!("room:{n}/x y"));
            client
        })
        .collect();
    let all = admin.ask("/v1/connections");
    assert_eq!(all["connections"].as_array().unwrap().len(), 10);
    let one =
        admin.ask("/v1/connections?user=user-3&channel=lobby&sort=pending&limit=5")["connections"]
            .clone();
    assert_eq!(
        (&one[0]["user"], &one[0]["stage"], &one[0]["channels"]),
        (&json!("user-3"), &json!("open"), &json!(2))
    );
    assert_eq!(
        (&one[0]["path"], &one[0]["pending_bytes"]),
        (&json!("/ws"), &json!(0))
    );
    assert_eq!(
        admin.ask("/v1/connections?min_pending=1")["connections"],
        json!([])
    );
    assert_eq!(
        admin.ask("/v1/connections?lagging=true&sort=behind")["connections"],
        json!([]),
        "all keep up"
    );
    for bad in [
        "limit=0",
        "lagging=maybe",
        "limit=1001",
        "sort=name",
        "usr=x",
        "address=here",
    ] {
        assert_eq!(
            admin.get(&format!("/v1/connections?{bad}")).status,
            400,
            "{bad}"
        );
    }
    let lobby = admin.ask("/v1/channels/lobby");
    assert_eq!(lobby["subscribers"], 10);
    assert_eq!(lobby["home"], engine.0.channel_home("lobby"));
    let per_shard = lobby["subscribers_per_shard"].as_array().unwrap();
    assert_eq!(
        per_shard.iter().map(|n| n.as_u64().unwrap()).sum::<u64>(),
        10
    );
    assert_eq!(admin.ask("/v1/channels/room%3A4%2Fx%20y")["subscribers"], 1);
    assert_eq!(admin.get("/v1/channels/room").status, 404);
    let page = admin.ask("/v1/channels?prefix=room&limit=4");
    assert_eq!(page["channels"].as_array().unwrap().len(), 4);
    assert_eq!(page["channels"][3]["channel"], "room:3/x y");
    let rest = admin.ask("/v1/channels?prefix=room&after=room%3A3%2Fx%20y");
    assert_eq!(rest["channels"].as_array().unwrap().len(), 6);

    let table = admin.ask("/v1/shards");
    assert_eq!(table["shards"].as_array().unwrap().len(), 2);
    assert_eq!(table["connections"], 10);
    assert_eq!(table["shards"][0]["up"], true);
    let held = |shard: usize| table["shards"][shard]["connections"].as_f64().unwrap();
    let imbalance = table["imbalance"]["connections"].as_f64().unwrap();
    assert!(
        (imbalance - held(0).max(held(1)) / 5.0).abs() < 0.01,
        "{table}"
    );
    drop(clients);
}

#[test]
fn contract_m25_everybody_is_closed_and_the_engine_drained_by_http() {
    let (engine, admin) = start(with_admin(2));
    let mut ann = user(&engine, "ann");
    assert_eq!(
        admin.post("/v1/close", &json!({"code": 4000, "reason": "go"}))["connections"],
        1
    );
    assert_eq!(ann.read_close(), (4000, "go".to_owned()));
    let mut bob = user(&engine, "bob");
    assert_eq!(
        admin.call("POST", "/v1/drain", "").json()["phase"],
        "draining"
    );
    assert_eq!(bob.receive()["type"], "reconnect");
    assert_eq!(bob.read_close().0, 4200);
    drop((ann, bob));
    engine.0.wait().unwrap();
}

#[test]
fn a_port_that_is_taken_is_told_and_nothing_is_left_running() {
    let (_engine, admin) = start(with_admin(1));
    let mut config = with_admin(1);
    config.admin.address = Some(admin.address);
    let error = shardwire::Engine::builder(config).start().unwrap_err();
    assert!(matches!(&error, StartError::Preflight(_)), "{error:?}");
    assert!(
        error
            .to_string()
            .contains(&admin.address.port().to_string()),
        "{error}"
    );
}

#[test]
fn idle_and_half_sent_requests_do_not_keep_others_out() {
    let (_engine, admin) = start(with_admin(1));
    let mut idle: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(admin.address).unwrap())
        .collect();
    for stream in &mut idle {
        stream.write_all(b"GET /health HTTP/1.1\r\nHo").unwrap();
    }
    assert_eq!(admin.get("/health").status, 200);
    let mut stream = TcpStream::connect(admin.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"NOT HTTP\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    for (method, path, status) in [
        ("GET", "/", 404),
        ("POST", "/health", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/drain", 405),
    ] {
        assert_eq!(
            admin.call(method, path, "").status,
            status,
            "{method} {path}"
        );
    }
}

#[test]
fn a_shard_that_stands_still_is_told_by_readiness_health_and_metrics() {
    let config = with_admin(2);
    let blocks = async |_: shardwire::Context, _: shardwire::Message| {
        // What a handler must never do: it stops its whole shard.
        std::thread::sleep(Duration::from_secs(7));
        Ok(())
    };
    let engine = TestEngine(
        shardwire::Engine::builder(config)
            .route("block", blocks)
            .start()
            .unwrap(),
    );
    let admin = Admin {
        address: engine.0.admin_address().unwrap(),
        key: Some(KEY.to_owned()),
    };
    let mut ann = user(&engine, "ann");
    let shard = usize::from(engine.0.user_connections("ann").wait()[0].shard().0);
    ann.send(&json!({"type": "block"}));
    eventually("the watchdog has seen it", || {
        admin.get("/ready").status == 503
    });
    let health = admin.get("/health");
    assert_eq!(
        (health.status, &health.json()["stalled_shards"]),
        (503, &json!([shard]))
    );
    let scrape = admin.get("/metrics").body;
    for line in [
        format!("shardwire_engine_shard_up{{shard=\"{shard}\"}} 0"),
        format!("shardwire_engine_shard_up{{shard=\"{}\"}} 1", 1 - shard),
        format!("shardwire_engine_shard_stalled{{shard=\"{shard}\"}} 1"),
    ] {
        assert!(scrape.lines().any(|told| told == line), "{line}\n{scrape}");
    }
    let table = admin.ask("/v1/shards");
    assert_eq!(
        table["shards"][shard],
        json!({"shard": shard, "up": false, "stalled": true})
    );
    // The other shard answers on, and so does the API.
    let found = admin.ask("/v1/users?limit=5");
    assert_eq!(
        found["unanswered_shards"].as_array().unwrap().len(),
        0,
        "it has come back by now"
    );
    eventually("it turns again", || admin.get("/ready").status == 200);
    assert_eq!(ann.ask(&json!({"type": "ping"}))["type"], "pong");
}
