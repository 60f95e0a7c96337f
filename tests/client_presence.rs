//! Presence by the Rust client's session against the engine. Goal: whatever is cut, who watches ends with the list the engine has, and users are what
//! they last said they are.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shardwire::config::{Config, PlacementRule};
use shardwire_client::{
    ByteStream, ConnectError, ConnectOptions, Connecting, Connector, PresenceChange, PresenceEvent,
    PresenceWatch, ReconnectOptions, Session, SessionError, SessionOptions, Target,
};
use support::{PATIENCE, TestEngine, config, eventually};

fn with_presence() -> Config {
    let mut config = config(3, PlacementRule::UserHash);
    config.presence.channels = vec!["room:*".into()];
    config.presence.grace_period = "0s".parse().unwrap();
    config
}

fn options() -> SessionOptions {
    SessionOptions {
        reconnect: ReconnectOptions {
            first_delay: Duration::from_millis(5),
            ceiling: Duration::from_millis(20),
            ..ReconnectOptions::default()
        },
        ..SessionOptions::default()
    }
}

fn session(engine: &TestEngine, user: &str, options: SessionOptions) -> Session {
    let address = engine.0.local_address();
    Session::start(&format!("ws://{address}/ws?user={user}"), options).unwrap()
}

fn status(engine: &TestEngine, user: &str) -> String {
    let found = engine.0.presence(&[user]).unwrap().wait().unwrap();
    found[0].1.status.to_string()
}

/// Reads until the watch knows exactly these, live. `told`: what its events have made of a list of one's own.
async fn until(watch: &mut PresenceWatch, told: &mut BTreeSet<Arc<str>>, expected: &[&str]) {
    let reading = async {
        loop {
            let members = watch.members().map(Iterator::collect::<Vec<_>>);
            if watch.is_live() && members.as_deref() == Some(expected) {
                return;
            }
            match watch.next().await.expect("the session lives") {
                PresenceEvent::Members { joins, leaves } => {
                    for left in leaves {
                        assert!(told.remove(&left), "{left} was not there");
                    }
                    for came in joins {
                        assert!(told.insert(came.clone()), "{came} was there");
                    }
                }
                PresenceEvent::Stale => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reading).await;
    reached.unwrap_or_else(|_| panic!("{told:?} instead of {expected:?}"));
    assert_eq!(watch.count(), expected.len() as u64);
    assert!(told.iter().map(|name| &**name).eq(expected.iter().copied()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_has_the_list_again_after_every_cut() {
    let engine = TestEngine::start(with_presence());
    let eve = session(&engine, "eve", options());
    let mut watch = eve.watch_presence("room:1").await.unwrap();
    let mut told = BTreeSet::new();
    until(&mut watch, &mut told, &[]).await;
    let ann = session(&engine, "ann", options());
    let bob = session(&engine, "bob", options());
    let _ann_in = ann.subscribe("room:1").await.unwrap();
    until(&mut watch, &mut told, &["ann"]).await;
    for _ in 0..20 {
        let bob_in = bob.subscribe("room:1").await.unwrap();
        until(&mut watch, &mut told, &["ann", "bob"]).await;
        engine.0.close(4000, "cut");
        drop(bob_in);
        until(&mut watch, &mut told, &["ann"]).await;
    }
    let members = eve.members("room:1").await.unwrap();
    assert_eq!(
        (members.members.unwrap(), members.count),
        (vec!["ann".to_owned()], 1)
    );
    let refused = eve.watch_presence("elsewhere").await;
    assert!(matches!(refused, Err(SessionError::Refused(refusal)) if refusal.code == 111));
    let refused = eve.members("elsewhere").await;
    assert!(matches!(refused, Err(SessionError::Refused(refusal)) if refusal.code == 125));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_a_number_until_they_are_few_again() {
    let mut config = with_presence();
    // Lists of 4 KiB at most.
    config.presence.budget = "16KiB".parse().unwrap();
    config.presence.batch_interval = "100ms".parse().unwrap();
    let engine = TestEngine::start(config);
    let eve = session(&engine, "eve", options());
    let mut watch = eve.watch_presence("room:1").await.unwrap();
    let mut clients = Vec::new();
    for n in 0..60 {
        let name = format!("{n}-{}", "x".repeat(80));
        let mut client = engine.client(&format!("/ws?user={name}"));
        client.subscribe("room:1");
        clients.push(client);
    }
    let wait = async |watch: &mut PresenceWatch, count: u64, named: bool| {
        let reading = async {
            while !(watch.is_live() && watch.count() == count && watch.members().is_some() == named)
            {
                watch.next().await.expect("the session lives");
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reading).await;
        reached.unwrap_or_else(|_| panic!("{watch:?} instead of {count}, by name: {named}"));
    };
    wait(&mut watch, 60, false).await;
    clients.truncate(3);
    wait(&mut watch, 3, true).await;
    assert_eq!(watch.members().unwrap().count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_there_stays_there_without_a_word_of_the_program() {
    let mut config = with_presence();
    config.presence.heartbeat_interval = "1s".parse().unwrap();
    config.presence.heartbeat_timeout = "3s".parse().unwrap();
    let engine = TestEngine::start(config);
    let talks = session(&engine, "talks", options());
    let set = talks.set_presence(PresenceChange::new().status("busy"));
    assert_eq!(set.await.unwrap().status, "busy");
    let mute = SessionOptions {
        presence_heartbeat: false,
        ..options()
    };
    let silent = session(&engine, "silent", mute);
    let set = silent.set_presence(PresenceChange::new().status("busy"));
    set.await.unwrap();
    // The one that spoke first would be the first to be offline.
    eventually("the silence of one", || {
        status(&engine, "silent") == "offline" && status(&engine, "talks") == "busy"
    });
    let found = talks.presence(&["silent", "talks"]).await.unwrap();
    assert!(found["silent"].last_seen.is_some() && found["talks"].last_seen.is_none());
}

/// Goes to one engine or another.
struct Switch(Mutex<SocketAddr>);

impl Connector for Switch {
    fn connect<'a>(&'a self, _: &'a Target) -> Connecting<'a> {
        Box::pin(async move {
            let address = *self.0.lock().unwrap();
            let stream = tokio::net::TcpStream::connect(address).await;
            Ok(Box::new(stream.map_err(ConnectError::from)?) as Box<dyn ByteStream>)
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_knows_nothing_is_told_again() {
    let (first, second) = (
        TestEngine::start(with_presence()),
        TestEngine::start(with_presence()),
    );
    let switch = Arc::new(Switch(Mutex::new(first.0.local_address())));
    let options = SessionOptions {
        connect: ConnectOptions {
            connector: Some(switch.clone()),
            ..ConnectOptions::default()
        },
        ..options()
    };
    let ann = Session::start("ws://server/ws?user=ann", options).unwrap();
    ann.set_presence(PresenceChange::new().status("busy"))
        .await
        .unwrap();
    let change = PresenceChange::new().metadata("device", "phone").unwrap();
    let own = ann.set_presence(change).await.unwrap();
    assert_eq!(
        (&*own.status, own.metadata["device"].as_str()),
        ("busy", Some("phone"))
    );
    let mut watch = ann.watch_presence("room:1").await.unwrap();
    let mut told = BTreeSet::new();
    until(&mut watch, &mut told, &[]).await;
    *switch.0.lock().unwrap() = second.0.local_address();
    let mut bob = second.client("/ws?user=bob");
    bob.subscribe("room:1");
    first.0.close(4000, "cut");
    until(&mut watch, &mut told, &["bob"]).await;
    eventually("what ann said before", || status(&second, "ann") == "busy");
    let own = ann.presence(&["ann"]).await.unwrap();
    assert_eq!(own["ann"].metadata["device"], "phone");
    let nobody = Session::start(
        &format!("ws://{}/ws", second.0.local_address()),
        SessionOptions::default(),
    );
    let refused = nobody
        .unwrap()
        .set_presence(PresenceChange::new().status("busy"))
        .await;
    assert!(matches!(refused, Err(SessionError::Refused(refusal)) if refusal.code == 115));
}
