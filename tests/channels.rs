//! Subscribe, publish and receive over real sockets and several shards (contract B5-B7, M22-M25).
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use shardwire::Audience;
use shardwire::config::PlacementRule;
use support::{TestEngine, config, eventually};

#[test]
fn contract_b7_a_publication_reaches_every_subscriber_on_every_shard_in_one_order() {
    for shards in [1, 2, 4, 7] {
        let engine = TestEngine::start(config(shards, PlacementRule::Accept));
        let mut clients: Vec<_> = (0..24).map(|_| engine.client("/ws")).collect();
        for client in &mut clients {
            client.subscribe("news");
        }
        for n in 0..50 {
            let publisher = n % 3;
            clients[publisher].send(&json!({"type": "publish", "channel": "news", "message": {"by": publisher, "n": n}}));
        }
        let orders: Vec<Vec<_>> = clients
            .iter_mut()
            .map(|client| {
                (0..50)
                    .map(|_| {
                        let message = client.receive();
                        assert_eq!(message["type"], "broadcast");
                        assert_eq!(message["channel"], "news");
                        assert!(message["timestamp"].as_u64().unwrap() > 1_600_000_000_000);
                        (
                            message["message"]["by"].as_u64().unwrap(),
                            message["message"]["n"].as_u64().unwrap(),
                        )
                    })
                    .collect()
            })
            .collect();
        assert!(
            orders.iter().all(|order| *order == orders[0]),
            "{shards} shards: one order for all"
        );
        for publisher in 0..3 {
            let own: Vec<_> = orders[0]
                .iter()
                .filter(|(by, _)| *by == publisher)
                .map(|(_, n)| *n)
                .collect();
            assert_eq!(own.len(), 50 / 3 + usize::from(publisher < 2));
            assert!(own.is_sorted(), "a publisher's own order is kept");
        }
    }
}

#[test]
fn exclude_self_leaves_the_sender_out() {
    let engine = TestEngine::start(config(2, PlacementRule::Accept));
    let (mut ann, mut bob) = (engine.client("/ws"), engine.client("/ws"));
    ann.subscribe("c");
    bob.subscribe("c");
    ann.send(&json!({"type": "publish", "channel": "c", "message": 1, "exclude": "self"}));
    ann.send(&json!({"type": "publish", "channel": "c", "message": 2}));
    assert_eq!(bob.receive()["message"], 1);
    assert_eq!(bob.receive()["message"], 2);
    assert_eq!(ann.receive()["message"], 2);
}

#[test]
fn contract_m22_to_m25_the_handle_counts_finds_reaches_and_closes() {
    let engine = TestEngine::start(config(3, PlacementRule::Accept));
    let mut clients = [
        engine.client("/ws?user=ann"),
        engine.client("/ws?user=bob"),
        engine.client("/ws?user=ann"),
    ];
    for client in &mut clients {
        client.subscribe("c");
    }
    assert_eq!(engine.0.active_connections(), 3);
    assert_eq!(engine.0.user_connections("ann").wait().len(), 2);
    assert_eq!(engine.0.user_connections("nobody").wait().len(), 0);

    engine.0.publish("c", &json!({"from": "service"})).unwrap();
    for client in &mut clients {
        assert_eq!(client.receive()["message"], json!({"from": "service"}));
    }
    assert!(engine.0.publish("$shards", "no").is_err());

    engine
        .0
        .broadcast(
            &json!({"type": "notice"}),
            &Audience::Users(vec!["ann".into()]),
        )
        .unwrap();
    engine
        .0
        .broadcast(&json!({"type": "end"}), &Audience::Everyone)
        .unwrap();
    for (client, notices) in clients.iter_mut().zip([true, false, true]) {
        if notices {
            assert_eq!(client.receive(), json!({"type": "notice"}));
        }
        assert_eq!(client.receive(), json!({"type": "end"}));
    }

    engine.0.close(4000, "that is all");
    for client in &mut clients {
        assert_eq!(client.read_close(), (4000, "that is all".into()));
        // Reading on answers the close.
        let _ = client.0.read();
    }
    eventually("all connections are gone", || {
        engine.0.active_connections() == 0
    });
}

#[test]
fn shard_counts_are_told_while_somebody_listens() {
    let engine = TestEngine::start(config(2, PlacementRule::Accept));
    let mut watcher = engine.client("/ws");
    let _others: Vec<_> = (0..5).map(|_| engine.client("/ws")).collect();
    watcher.subscribe("$shards");
    eventually("the counts add up to everybody", || {
        let counts = watcher.receive()["message"]["shards"].clone();
        let counts: Vec<u64> = counts
            .as_array()
            .unwrap()
            .iter()
            .map(|count| count.as_u64().unwrap())
            .collect();
        counts.len() == 2 && counts.iter().sum::<u64>() == 6
    });
}
