//! What an operator finds: the right ones, in order, slice by slice.
#![allow(clippy::unwrap_used)]

mod support;

use shardwire_shards::ShardSettings;
use shardwire_shards::search::{
    ChannelSearch, ConnectionFilter, ConnectionOrder, ConnectionSearch, NameFilter, Search,
    UserSearch,
};
use support::{World, close as close_frame, from, open_settings, user};

fn run<S: Search>(world: &World, shard: usize, mut search: S) -> S::Found {
    for _ in 0..1_000 {
        if !search.step(world.now(), &world.shards[shard]) {
            return search.found();
        }
    }
    panic!("a search ends");
}

fn ids(
    world: &World,
    filter: ConnectionFilter,
    order: ConnectionOrder,
    limit: usize,
) -> Vec<String> {
    run(world, 0, ConnectionSearch::new(filter, order, limit))
        .iter()
        .map(|info| info.id.to_string())
        .collect()
}

#[test]
fn connections_are_found_by_what_they_are_and_sorted_by_what_waits() {
    let mut world = World::new(1);
    let ann = world.connect_as(0, user("ann"));
    let gone = world.connect(0);
    let far = world.connect_as(0, from(9));
    for peer in [ann, far] {
        world.subscribe(peer, "news");
    }
    world.bytes(gone, &close_frame(1000, ""));
    world.peers[far].room = Some(0);
    world.publish(ann, "news", "1");
    world.pass(100);
    world.say(ann, r#"{"type":"ping"}"#);
    world.pass(400);
    let by = ConnectionFilter::default;
    let order = ConnectionOrder::default();
    assert_eq!(ids(&world, by(), order, 10), ["0:0.0", "0:2.0"]);
    assert_eq!(ids(&world, by(), order, 1), ["0:0.0"]);
    assert_eq!(
        ids(&world, by(), ConnectionOrder::Pending, 10),
        ["0:2.0", "0:0.0"]
    );
    let of_ann = ConnectionFilter {
        user: Some("ann".into()),
        ..by()
    };
    assert_eq!(ids(&world, of_ann, order, 10), ["0:0.0"]);
    let address = ConnectionFilter {
        address: Some("127.0.0.9".parse().unwrap()),
        ..by()
    };
    assert_eq!(ids(&world, address, order, 10), ["0:2.0"]);
    let channel = |name: &str| ConnectionFilter {
        channel: Some(name.into()),
        ..by()
    };
    assert_eq!(ids(&world, channel("news"), order, 10).len(), 2);
    assert_eq!(ids(&world, channel("olds"), order, 10).len(), 0);
    let waiting = world.waiting(far);
    let pending = ConnectionFilter {
        min_pending: waiting,
        ..by()
    };
    assert_eq!(ids(&world, pending, order, 10), ["0:2.0"]);
    let far = &run(
        &world,
        0,
        ConnectionSearch::new(by(), ConnectionOrder::Silent, 1),
    )[0];
    assert_eq!(
        (far.pending_bytes, far.blocked, far.channels),
        (waiting, true, 1)
    );
    assert!((480..=520).contains(&far.silent_ms), "{}", far.silent_ms);
}

#[test]
fn names_come_in_order_and_go_on_where_the_last_answer_ended() {
    let mut world = World::new(1);
    let names: Vec<String> = (0..40)
        .map(|n| format!("room:{:02}", (n * 17) % 40))
        .collect();
    for name in &names {
        let who = world.connect(0);
        world.subscribe(who, name);
        world.subscribe(who, "lobby");
    }
    let page = |after: Option<&str>| NameFilter {
        prefix: "room:".into(),
        after: after.map(str::to_owned),
        limit: 25,
    };
    let mut found = run(&world, 0, ChannelSearch::new(page(None)));
    assert_eq!(found.len(), 25);
    let last = found.last().unwrap().name.to_string();
    found.extend(run(&world, 0, ChannelSearch::new(page(Some(&last)))));
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(
        found
            .iter()
            .map(|info| info.name.to_string())
            .collect::<Vec<_>>(),
        sorted
    );
    let all = NameFilter {
        limit: 1,
        ..NameFilter::default()
    };
    let lobby = run(&world, 0, ChannelSearch::new(all));
    assert_eq!((&*lobby[0].name, lobby[0].subscribers), ("lobby", 40));
}

#[test]
fn users_are_counted_over_more_than_one_slice() {
    let settings = ShardSettings {
        max_connections: 9_000,
        ..open_settings()
    };
    let mut world = World::with(1, settings);
    for n in 0..9_000 {
        let name = ["ann", "bob", "cid", "dee"][n % 4];
        world.open(0, user(name));
    }
    let first = NameFilter {
        limit: 2,
        ..NameFilter::default()
    };
    let found = run(&world, 0, UserSearch::new(first));
    let told: Vec<_> = found
        .iter()
        .map(|info| (&*info.name, info.connections))
        .collect();
    assert_eq!(told, [("ann", 2_250), ("bob", 2_250)]);
}
