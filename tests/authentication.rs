//! Who may connect, over real sockets (contract M5 to M11, decision D18). Goal: nobody comes in who should not, whoever does
//! lives where its verified user lives, and a verifier that is slow, broken or gone harms nobody but those it is asked about.
//! Method: engines with each kind of verifier, clients that show their tokens in every place and tokens of every wrong kind.
#![allow(clippy::unwrap_used)]

mod support;

#[path = "support/tokens.rs"]
mod tokens;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use shardwire::auth::{Attempt, Denied, Identity, Source};
use shardwire::config::{
    ApiKey, AuthenticationType, Config, JwtAlgorithm, JwtKey, PlacementRule, Secret, Texts,
};
use shardwire::{Engine, StartError};
use shardwire_shards::placement::{Placement, Rule};
use support::{Client, PATIENCE, TestEngine, config, eventually};
use tokens::{SECRET, abuses, claims, now, rsa_keys, signed, signed_by, with};

fn with_jwt(shards: usize, placement: PlacementRule) -> Config {
    let mut config = config(shards, placement);
    let authentication = &mut config.authentication;
    authentication.kind = Some(AuthenticationType::Jwt);
    authentication.secret = Some(Secret::new(SECRET));
    authentication.issuer = Some(Texts::One("your-app".to_owned()));
    authentication.audience = Some(Texts::One("websocket".to_owned()));
    config
}

/// An upgrade request with these header lines; what came of it, and the socket behind it.
fn upgrade(engine: &TestEngine, target: &str, headers: &str) -> (u16, String, TcpStream) {
    let mut stream = engine.socket();
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, stream)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// A client that came in; the first thing it heard was `hello`.
fn enter(engine: &TestEngine, target: &str, headers: &str) -> (Client, Value) {
    let (status, head, stream) = upgrade(engine, target, headers);
    assert_eq!(status, 101, "{head}");
    let mut client = Client::behind_upgrade(stream);
    let hello = client.receive();
    assert_eq!(hello["type"], "hello");
    (client, hello)
}

fn refused(engine: &TestEngine, target: &str, headers: &str) -> (u16, String) {
    let (status, head, mut stream) = upgrade(engine, target, headers);
    let mut body = String::new();
    stream.read_to_string(&mut body).unwrap();
    (status, head + &body)
}

/// A client that says who it is in its first frame.
fn first_frame(engine: &TestEngine, token: &str) -> Client {
    let mut client = engine.client("/ws");
    client.send(&json!({"type": "auth", "token": token, "id": 1}));
    client
}

#[test]
fn contract_m9_d18_a_token_is_taken_from_every_place() {
    let mut config = with_jwt(2, PlacementRule::Accept);
    config.authentication.cookie = Some("session".to_owned());
    config.authentication.query = Some("token".to_owned());
    let engine = TestEngine::start(config);
    let token = signed(&claims());
    for (target, headers) in [
        ("/ws".to_owned(), bearer(&token)),
        (
            "/ws".to_owned(),
            format!("Sec-WebSocket-Protocol: chat, bearer.{token}\r\n"),
        ),
        (
            "/ws".to_owned(),
            format!("Cookie: a=b; session={token}\r\n"),
        ),
        (format!("/ws?token={token}"), String::new()),
    ] {
        let (status, head, stream) = upgrade(&engine, &target, &headers);
        assert_eq!(status, 101);
        assert!(!head.contains(&token) && !head.contains("bearer"), "{head}");
        let mut client = Client::behind_upgrade(stream);
        let hello = client.receive();
        assert_eq!(
            (&hello["type"], &hello["user"]),
            (&json!("hello"), &json!("ann"))
        );
        assert_eq!(hello["name"], "Ann");
        assert_eq!(
            hello["limits"],
            json!({"maxMessageSize": 65536, "maxChannels": 128})
        );
        assert_eq!(
            hello["heartbeat"],
            json!({"interval": 30000, "timeout": 10000, "presence": 30000})
        );
        assert!(hello["serverTime"].as_u64().unwrap() > 1_600_000_000_000);
        assert_eq!(
            hello["expires"].as_u64().unwrap() / 1000,
            claims()["exp"].as_u64().unwrap()
        );
        assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
    }
    let mut client = first_frame(&engine, &token);
    let hello = client.receive();
    assert_eq!(
        (&hello["type"], &hello["user"], &hello["id"]),
        (&json!("hello"), &json!("ann"), &json!(1))
    );
    eventually("all are Ann's", || {
        engine.0.user_connections("ann").wait().len() == 1
    });
}

#[test]
fn every_abuse_is_refused_in_both_doors_as_documented() {
    let rsa = rsa_keys();
    let file = std::env::temp_dir().join(format!("shardwire-e2e-{}.pem", std::process::id()));
    std::fs::write(&file, &rsa.public).unwrap();
    let mut config = with_jwt(2, PlacementRule::Accept);
    config.authentication.keys = vec![JwtKey {
        id: "r1".to_owned(),
        algorithm: JwtAlgorithm::RS256,
        secret: None,
        secret_file: None,
        public_key_file: Some(file.clone()),
    }];
    let engine = TestEngine::start(config);
    std::fs::remove_file(&file).unwrap();
    enter(&engine, "/ws", &bearer(&signed(&claims())));
    enter(
        &engine,
        "/ws",
        &bearer(&signed_by(
            &claims(),
            Algorithm::RS256,
            Some("r1"),
            &rsa.signing,
        )),
    );
    for (what, token) in abuses(&rsa) {
        // A huge one does not even fit into a request head.
        let expected = if what == "huge" { 431 } else { 401 };
        let (status, answer) = refused(&engine, "/ws", &bearer(&token));
        assert_eq!(status, expected, "{what}");
        if expected == 401 {
            assert!(
                answer.contains("WWW-Authenticate: Bearer error=\"invalid_token\"\r\n"),
                "{what}: {answer}"
            );
            assert!(
                answer.ends_with("Authentication failed"),
                "{what}: {answer}"
            );
        }
        assert_eq!(first_frame(&engine, &token).read_close().0, 4501, "{what}");
    }
    let expired = signed(&with(claims(), "exp", json!(now() - 60)));
    let (status, answer) = refused(&engine, "/ws", &bearer(&expired));
    assert_eq!(status, 401);
    assert!(answer.contains("The token expired"), "{answer}");
    assert_eq!(first_frame(&engine, &expired).read_close().0, 4001);
    // And it still serves.
    enter(&engine, "/ws", &bearer(&signed(&claims())));
}

#[test]
fn contract_m6_m7_who_shows_nothing_waits_for_its_first_frame_and_not_for_long() {
    let mut config = with_jwt(2, PlacementRule::Accept);
    config.authentication.timeout = "500ms".parse().unwrap();
    let engine = TestEngine::start(config);
    let begin = Instant::now();
    let mut silent = engine.client("/ws");
    let (code, reason) = silent.read_close();
    assert_eq!(code, 4501, "{reason}");
    assert!((450..10_000).contains(&begin.elapsed().as_millis()));
    let mut early = engine.client("/ws");
    early.send(&json!({"type": "subscribe", "channel": "news"}));
    assert_eq!(early.read_close().0, 4501);
    // On the echo path, too.
    let mut echo = engine.client("/echo");
    echo.send(&json!({"type": "auth", "token": signed(&claims())}));
    echo.send(&json!("back"));
    assert_eq!(echo.receive(), json!("back"));
}

#[test]
fn contract_m6_without_first_frame_a_request_must_show_who_it_is() {
    let mut config = with_jwt(2, PlacementRule::Accept);
    config.authentication.first_frame = false;
    let engine = TestEngine::start(config);
    let (status, answer) = refused(&engine, "/ws?user=ann", "");
    assert_eq!(status, 401);
    assert!(answer.contains("WWW-Authenticate: Bearer\r\n"), "{answer}");
}

#[test]
fn contract_m6_not_required_lets_nobody_in_as_nobody_and_wrong_credentials_not_at_all() {
    let mut config = with_jwt(2, PlacementRule::Accept);
    config.authentication.required = false;
    let engine = TestEngine::start(config);
    let (mut nobody, hello) = enter(&engine, "/ws?user=ann", "");
    assert_eq!(hello["user"], Value::Null);
    assert_eq!(engine.0.user_connections("ann").wait(), []);
    assert_eq!(
        nobody.ask(&json!({"type": "refresh", "token": signed(&claims())}))["error"],
        "Not permitted"
    );
    assert_eq!(refused(&engine, "/ws", &bearer("wrong")).0, 401);
}

#[test]
fn contract_m5_without_authentication_everything_is_as_it_was_and_hello_comes_when_asked_for() {
    let engine = TestEngine::start(config(2, PlacementRule::Accept));
    let mut quiet = engine.client("/ws?user=ann");
    assert_eq!(quiet.ask(&json!({"type": "ping"}))["type"], "pong");
    assert_eq!(
        quiet.ask(&json!({"type": "auth", "token": "x"}))["code"],
        103
    );
    let mut greeted = engine.client("/ws?user=ann&hello=1");
    assert_eq!(greeted.receive()["type"], "hello");
}

/// As `printf %s "$KEY" | sha256sum` says it.
fn sha256_hex(key: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
    let bytes = digest.as_ref().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn contract_m10_a_key_is_shown_in_its_header() {
    let mut config = config(2, PlacementRule::Accept);
    let authentication = &mut config.authentication;
    authentication.kind = Some(AuthenticationType::ApiKey);
    authentication.first_frame = false;
    authentication.api_keys = vec![ApiKey {
        sha256: sha256_hex("the-key"),
        user: "service".to_owned(),
        name: None,
        permissions: Vec::new(),
    }];
    let engine = TestEngine::start(config);
    let (_client, hello) = enter(&engine, "/ws", "X-API-Key: the-key\r\n");
    assert_eq!(hello["user"], "service");
    for headers in [
        "X-API-Key: the-kex\r\n",
        "X-API-Key: \r\n",
        "X-API-Key: the-key\r\nX-API-Key: the-key\r\n",
    ] {
        assert_eq!(refused(&engine, "/ws", headers).0, 401, "{headers}");
    }
    let (_, answer) = refused(&engine, "/ws", &bearer("the-key"));
    assert!(answer.contains("WWW-Authenticate: ApiKey\r\n"), "{answer}");
}

#[test]
fn contract_m8_m11_a_verifier_of_the_program_sees_the_request_and_may_take_its_time() {
    let config = config(2, PlacementRule::Accept);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let engine = Engine::builder(config).verifier(move |attempt: Attempt| {
        let notes = Arc::clone(&notes);
        async move {
            notes.lock().unwrap().push((
                attempt.path().map(str::to_owned),
                attempt.header("x-tenant").map(str::to_owned),
                attempt.source(),
                attempt.address().to_string(),
            ));
            let (sender, receiver) = oneshot::channel();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(300));
                let _ = sender.send(());
            });
            let _ = receiver.into_future().await;
            match attempt.token() {
                Some("good") => Ok(Identity::new("ann").named("Ann").with_permissions(["x"])),
                Some("down") => Err(Denied::Unavailable),
                Some("panic") => panic!("planned"),
                Some(_) => Err(Denied::Wrong),
                None if attempt.header("x-tenant") == Some("blue") => {
                    Ok(Identity::new("blue-guest"))
                }
                None => Err(Denied::Missing),
            }
        }
    });
    let engine = TestEngine(engine.start().unwrap());
    // A client that is in does not notice that others wait.
    let (mut inside, _) = enter(&engine, "/ws", &bearer("good"));
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let address = engine.0.local_address();
            std::thread::spawn(move || {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let request = tungstenite::http::Request::builder()
                    .uri("ws://server/ws")
                    .header("Authorization", "Bearer good")
                    .header("Host", "h")
                    .header("Upgrade", "websocket")
                    .header("Connection", "Upgrade")
                    .header("Sec-WebSocket-Version", "13")
                    .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
                    .body(())
                    .unwrap();
                tungstenite::client(request, stream).unwrap().0
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    while !waiting.iter().all(std::thread::JoinHandle::is_finished) {
        let begin = Instant::now();
        assert_eq!(inside.ask(&json!({"type": "ping"}))["type"], "pong");
        slowest = slowest.max(begin.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("slowest echo while 20 clients waited 300 ms each: {slowest:?}");
    let sockets: Vec<_> = waiting
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    eventually("all are Ann's", || {
        engine.0.user_connections("ann").wait().len() == 21
    });
    drop(sockets);

    let (_guest, hello) = enter(&engine, "/ws?room=1", "X-Tenant: blue\r\n");
    assert_eq!(hello["user"], "blue-guest");
    assert_eq!(refused(&engine, "/ws", &bearer("bad")).0, 401);
    let (status, answer) = refused(&engine, "/ws", &bearer("down"));
    assert_eq!(status, 503);
    assert!(answer.contains("Retry-After: 5"));
    assert_eq!(refused(&engine, "/ws", &bearer("panic")).0, 503);
    // It said that nothing is shown: then the first frame counts, and it is asked again.
    let mut client = first_frame(&engine, "good");
    assert_eq!(client.receive()["user"], "ann");
    assert_eq!(first_frame(&engine, "panic").read_close().0, 1013);
    let seen = seen.lock().unwrap();
    assert!(seen.contains(&(
        Some("/ws".to_owned()),
        Some("blue".to_owned()),
        None,
        "127.0.0.1".to_owned()
    )));
    assert!(seen.contains(&(None, None, Some(Source::FirstFrame), "127.0.0.1".to_owned())));
}

#[test]
fn contract_m7_a_verifier_that_never_answers_is_given_up() {
    let mut config = config(2, PlacementRule::Accept);
    config.authentication.timeout = "300ms".parse().unwrap();
    let given_up = Arc::new(AtomicUsize::new(0));
    struct Count(Arc<AtomicUsize>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let count = Arc::clone(&given_up);
    let engine = Engine::builder(config).verifier(move |attempt: Attempt| {
        let guard = Count(Arc::clone(&count));
        async move {
            let _guard = guard;
            if attempt.token() == Some("fast") {
                return Ok(Identity::new("ann").expiring_at(u64::MAX));
            }
            if attempt.token().is_none() {
                return Err(Denied::Missing);
            }
            std::future::pending().await
        }
    });
    let engine = TestEngine(engine.start().unwrap());
    let (status, _) = refused(&engine, "/ws", &bearer("x"));
    assert_eq!(status, 503);
    assert_eq!(first_frame(&engine, "x").read_close().0, 1013);
    let (mut client, _) = enter(&engine, "/ws", &bearer("fast"));
    let answer = client.ask(&json!({"type": "refresh", "token": "slow", "id": 9}));
    assert_eq!(
        (&answer["error"], &answer["id"]),
        (&json!("Overloaded"), &json!(9))
    );
    let answer = client.ask(&json!({"type": "refresh", "token": "fast"}));
    assert_eq!(answer["type"], "refreshed");
    // A client that goes while it is asked about.
    drop(upgrade_without_answer(&engine));
    eventually("nothing goes on", || given_up.load(Ordering::Relaxed) == 7);
    assert_eq!(engine.0.active_connections(), 1);
}

fn upgrade_without_answer(engine: &TestEngine) -> TcpStream {
    let mut stream = engine.socket();
    write!(
        stream,
        "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer x\r\n\r\n"
    )
    .unwrap();
    std::thread::sleep(Duration::from_millis(50));
    stream
}

#[test]
fn the_verified_user_decides_where_a_connection_lives_in_both_doors() {
    for shards in [1, 2, 4, 7] {
        let mut config = with_jwt(shards, PlacementRule::UserHash);
        config.connections.max_connections_per_ip = Some(shardwire::config::Limit::AtMost(1000));
        let engine = TestEngine::start(config);
        let placement = Placement::new(Rule::UserHash, shards as u16);
        let mut clients = Vec::new();
        for n in 0..20 {
            let user = format!("user{n}");
            let token = signed(&with(claims(), "sub", json!(user)));
            // What the query says is nobody's name any more.
            let (mut client, hello) = enter(&engine, "/ws?user=other", &bearer(&token));
            assert_eq!(hello["user"], json!(user));
            let home = placement.home_of_user(&user).to_string();
            assert!(
                hello["connection"]
                    .as_str()
                    .unwrap()
                    .starts_with(&format!("{home}:"))
            );
            assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
            clients.push(client);

            let mut client = engine.client("/ws");
            client.send(&json!({"type": "auth", "token": token}));
            // Right behind the token, before the socket has moved.
            client.send(&json!({"type": "echo", "data": n}));
            let hello = client.receive();
            assert!(
                hello["connection"]
                    .as_str()
                    .unwrap()
                    .starts_with(&format!("{home}:")),
                "{hello}"
            );
            assert_eq!(client.receive()["data"], json!(n));
            client.subscribe("news");
            clients.push(client);
            let found = engine.0.user_connections(&user).wait();
            assert_eq!(found.len(), 2);
            assert!(
                found
                    .iter()
                    .all(|id| id.shard() == placement.home_of_user(&user))
            );
        }
        engine.0.publish("news", "hello").unwrap();
        for client in clients.iter_mut().skip(1).step_by(2) {
            assert_eq!(client.receive()["message"], "hello");
        }
    }
}

#[test]
fn a_live_connection_is_warned_refreshed_and_in_the_end_closed() {
    let mut config = with_jwt(2, PlacementRule::Accept);
    config.authentication.expiry_warning = "2s".parse().unwrap();
    config.authentication.expiry_grace = "500ms".parse().unwrap();
    let engine = TestEngine::start(config);
    let until = |seconds: u64| signed(&with(claims(), "exp", json!(now() + seconds)));
    let (mut client, hello) = enter(&engine, "/ws", &bearer(&until(3)));
    let warning = client.receive();
    assert_eq!(warning["type"], "token-expiring");
    assert_eq!(warning["expires"], hello["expires"]);
    let answer = client.ask(&json!({"type": "refresh", "token": "nonsense"}));
    assert_eq!(answer["code"], 116);
    let bobs = signed(&with(claims(), "sub", json!("bob")));
    assert_eq!(
        client.ask(&json!({"type": "refresh", "token": bobs}))["code"],
        115
    );
    let answer = client.ask(&json!({"type": "refresh", "token": until(4), "id": "r"}));
    assert_eq!(
        (&answer["type"], &answer["id"]),
        (&json!("refreshed"), &json!("r"))
    );
    let begin = Instant::now();
    assert_eq!(client.receive()["type"], "token-expiring");
    assert_eq!(
        client.read_close(),
        (4001, "the token has expired".to_owned())
    );
    assert!(
        begin.elapsed() > Duration::from_secs(2),
        "the new token counted"
    );
}

#[test]
fn what_cannot_be_set_up_does_not_start() {
    let mut nowhere = with_jwt(1, PlacementRule::Accept);
    nowhere.authentication.secret = None;
    nowhere.authentication.jwks_file = Some("/nowhere/keys.json".into());
    let error = Engine::builder(nowhere).start().unwrap_err();
    assert!(matches!(error, StartError::Config(_)));
    assert!(error.to_string().contains("/nowhere/keys.json"), "{error}");
    let mut custom = config(1, PlacementRule::Accept);
    custom.authentication.kind = Some(AuthenticationType::Custom);
    let error = Engine::builder(custom).start().unwrap_err();
    assert!(error.to_string().contains("brings a verifier"), "{error}");
    let both = Engine::builder(with_jwt(1, PlacementRule::Accept))
        .verifier(|_: Attempt| async { Err(Denied::Wrong) });
    assert!(both.start().is_err());
}
