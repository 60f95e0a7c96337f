//! Who may do what in which channel, asked on whole shards by hand. Goal: no way into a channel or out of one goes past
//! the rules (decision D5). Method: the same questions as several identities, and as nobody.
#![allow(clippy::unwrap_used)]

mod support;

use shardwire_shards::ShardSettings;
use shardwire_shards::permissions::{Action, Grant, Permissions, Rule};
use shardwire_shards::vocabulary::Identity;
use support::{World, open_settings, user, verified};

fn rules() -> Permissions {
    let grants = |words: &[&str]| -> Vec<Grant> {
        words.iter().map(|word| Grant::from_text(word)).collect()
    };
    Permissions::new(
        [
            Rule::about("room:*".parse().unwrap())
                .allow(Action::Subscribe, grants(&["room.read", "room.write"]))
                .allow(Action::Publish, grants(&["room.write"])),
            Rule::about("inbox:{user}".parse().unwrap())
                .allow(Action::Subscribe, grants(&["@user"]))
                .allow(Action::Publish, []),
            Rule::about("news".parse().unwrap()).allow(Action::Subscribe, grants(&["*"])),
        ],
        false,
    )
}

fn world() -> World {
    World::with(
        2,
        ShardSettings {
            permissions: rules(),
            ..open_settings()
        },
    )
}

/// What came of both questions: 0 for yes, otherwise the error's number.
fn outcome(world: &mut World, peer: usize, channel: &str) -> (u64, u64) {
    let number = |answers: &[String]| {
        let code = answers.iter().find_map(|answer| {
            let from = answer.find("\"code\":")?;
            answer[from + 7..].split(',').next()?.parse().ok()
        });
        code.unwrap_or(0)
    };
    let heard = world.ask(
        peer,
        &format!(r#"{{"type":"subscribe","channel":"{channel}"}}"#),
    );
    assert_eq!(heard.len(), 1, "{heard:?}");
    let subscribed = number(&heard);
    let heard = world.ask(
        peer,
        &format!(r#"{{"type":"publish","channel":"{channel}","message":1,"exclude":"self"}}"#),
    );
    (subscribed, number(&heard))
}

#[test]
fn contract_d5_rules_decide_over_subscribe_and_publish() {
    let mut world = world();
    let writer = Identity::new("ann").with_permissions(["room.write"]);
    let reader = Identity::new("bob").with_permissions(["room.read"]);
    let ann = world.connect_as(0, verified(writer));
    let bob = world.connect_as(1, verified(reader));
    // Nobody has checked that this is Ann.
    let false_ann = world.connect_as(1, user("ann"));
    for (peer, channel, expected) in [
        (ann, "room:1", (0, 0)),
        (bob, "room:1", (0, 115)),
        (false_ann, "room:1", (115, 115)),
        (ann, "inbox:ann", (0, 115)),
        (bob, "inbox:ann", (115, 115)),
        (false_ann, "inbox:ann", (115, 115)),
        (false_ann, "news", (0, 115)),
        (ann, "elsewhere", (115, 115)),
        (ann, "$shards", (0, 111)),
        (ann, "$other", (111, 111)),
    ] {
        assert_eq!(outcome(&mut world, peer, channel), expected, "{channel}");
    }
}

#[test]
fn a_refused_publication_reaches_nobody_and_a_refused_subscriber_hears_nothing() {
    let mut world = world();
    let ann = world.connect_as(
        0,
        verified(Identity::new("ann").with_permissions(["room.write"])),
    );
    let bob = world.connect_as(
        1,
        verified(Identity::new("bob").with_permissions(["room.read"])),
    );
    world.subscribe(ann, "room:1");
    let heard = world.ask(
        bob,
        r#"{"type":"publish","channel":"room:1","message":1,"id":7}"#,
    );
    assert_eq!(
        heard,
        [r#"{"type":"error","error":"Not permitted","code":115,"temporary":false,"id":7}"#]
    );
    assert_eq!(world.texts(ann), [""; 0]);
    let stranger = world.connect(1);
    let heard = world.ask(stranger, r#"{"type":"subscribe","channel":"room:1"}"#);
    assert_eq!(
        heard,
        [r#"{"type":"error","error":"Not permitted","code":115,"temporary":false}"#]
    );
    world.publish(ann, "room:1", "2");
    world.settle();
    assert_eq!(world.texts(stranger), [""; 0]);
    assert_eq!(world.texts(ann).len(), 1);
}

#[test]
fn contract_d5_the_applications_check_is_asked_behind_the_rules_and_can_only_refuse() {
    use shardwire_shards::ApplicationRoutes;
    use shardwire_shards::permissions::{Access, AuthorizeHook};
    use shardwire_shards::vocabulary::Command;
    use std::sync::{Arc, Mutex};

    let asked = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&asked);
    let hook = move |access: &Access<'_>| {
        let line = format!("{:?} {}", access.action, access.channel);
        note.lock().unwrap().push(line);
        let of_the_house = access.tags.iter().any(|tag| **tag == *"house");
        match access.action {
            Action::Subscribe => of_the_house,
            _ => of_the_house || access.identity.is_some(),
        }
    };
    let mut world = World::with(
        1,
        ShardSettings {
            permissions: rules(),
            routes: ApplicationRoutes {
                authorize: Some(AuthorizeHook::new(hook)),
                ..ApplicationRoutes::default()
            },
            ..open_settings()
        },
    );
    let writer = Identity::new("ann").with_permissions(["room.write"]);
    let ann = world.connect_as(0, verified(writer));
    let bob = world.connect_as(0, user("bob"));
    assert_eq!(outcome(&mut world, ann, "room:1"), (115, 0));
    assert_eq!(outcome(&mut world, bob, "news"), (115, 115));
    // What the rules refuse, and the server's own channels, it is not asked for.
    assert_eq!(
        *asked.lock().unwrap(),
        ["Subscribe room:1", "Publish room:1", "Subscribe news"]
    );
    let connection = world.id(bob);
    world.command(
        0,
        Command::Tag {
            connection,
            tag: "house".into(),
            on: true,
        },
    );
    assert_eq!(outcome(&mut world, bob, "news"), (0, 115));
    assert_eq!(outcome(&mut world, bob, "room:1"), (115, 115));
    assert_eq!(asked.lock().unwrap().len(), 4);
}
