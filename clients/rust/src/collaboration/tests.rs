#![allow(clippy::unwrap_used)]
use shardwire_protocol::text::{Content, Operation};

use super::{CaughtUp, Joining, MissedEdit, OutOfStep, Replica};

fn operation(json: &str) -> Operation {
    serde_json::from_str(json).unwrap()
}

fn joined(text: &str) -> Replica {
    let mut replica = Replica::new();
    let nothing = Joining {
        has: None,
        acknowledged: 0,
    };
    assert_eq!(replica.joining(), nothing);
    replica.state(7, 10, Content::from(text), None).unwrap();
    replica
}

fn type_text(replica: &mut Replica, position: u32, text: &str) {
    let operation = Operation::replacement(position, 0, text).unwrap();
    replica.edit(&operation).unwrap();
}

#[test]
fn one_edit_is_under_way_and_the_others_wait_as_one() {
    let mut replica = joined("");
    for (position, text) in ["a", "b", "😭"].iter().enumerate() {
        type_text(&mut replica, position as u32, text);
        let sent = replica.poll_send();
        assert_eq!(sent.is_some(), position == 0);
    }
    replica.acknowledged(1, 11).unwrap();
    let second = replica.poll_send().unwrap();
    assert_eq!((second.version, second.number), (11, 2));
    assert_eq!(second.operation, operation(r#"[1,"b😭"]"#));
    assert_eq!(replica.poll_send(), None);
    replica.acknowledged(2, 12).unwrap();
    replica.acknowledged(2, 12).unwrap(); // repeated
    assert!(replica.is_settled());
}

#[test]
fn after_a_cut_an_edit_is_sent_again_unless_it_had_arrived() {
    let mut replica = joined("xy");
    type_text(&mut replica, 2, "!");
    replica.poll_send().unwrap();
    type_text(&mut replica, 3, "?");
    let mut arrived = replica.clone();

    let joining = replica.joining();
    assert_eq!(joining.has, Some((7, 10)));
    assert_eq!(replica.poll_send(), None);
    let theirs = MissedEdit {
        version: 11,
        own: None,
        operation: operation(r#"["1"]"#),
    };
    let caught_up = replica.missed(std::slice::from_ref(&theirs)).unwrap();
    assert_eq!(caught_up.change, theirs.operation);
    let again = replica.poll_send().unwrap();
    assert_eq!((again.version, again.number), (11, 1));
    assert_eq!(again.operation, operation(r#"[3,"!"]"#));
    assert_eq!(replica.content().to_string(), "1xy!?");

    arrived.joining();
    let own = MissedEdit {
        version: 12,
        own: Some(1),
        operation: operation(r#"[3,"!"]"#),
    };
    arrived.missed(&[theirs, own]).unwrap();
    let next = arrived.poll_send().unwrap();
    assert_eq!((next.version, next.number), (12, 2));
    assert_eq!(next.operation, operation(r#"[4,"?"]"#));
}

#[test]
fn who_was_away_for_too_long_keeps_its_edits() {
    for (last_number, text, sent) in [
        (Some(0), "The cat sat.", r#"[11,{"d":1}]"#), // it had not arrived: again
        (Some(1), "The cat sat", r#"[11,"?"]"#),
    ] {
        let mut replica = joined("A cat.");
        replica.edit(&operation(r#"[5,{"d":1}]"#)).unwrap();
        replica.poll_send().unwrap();
        type_text(&mut replica, 5, "?");
        replica.joining();
        let caught_up = replica
            .state(7, 99, Content::from(text), last_number)
            .unwrap();
        assert_eq!(caught_up.in_doubt, None);
        assert_eq!(replica.content().to_string(), "The cat sat?");
        let again = replica.poll_send().unwrap();
        assert_eq!(
            (again.version, again.number),
            (99, last_number.unwrap() + 1)
        );
        assert_eq!(again.operation, operation(sent));
    }
}

#[test]
fn an_edit_the_server_cannot_remember_is_in_doubt() {
    for (epoch, last_number) in [(7, None), (8, Some(0))] {
        let mut replica = joined("ab");
        type_text(&mut replica, 2, "c");
        replica.poll_send().unwrap();
        type_text(&mut replica, 3, "d");
        replica.joining();
        let caught_up = replica
            .state(epoch, 3, Content::from("ab"), last_number)
            .unwrap();
        let expected = CaughtUp {
            change: operation(r#"[2,{"d":1}]"#),
            in_doubt: Some(operation(r#"[2,"c"]"#)),
        };
        assert_eq!(caught_up, expected);
        assert_eq!(
            replica.poll_send().unwrap().operation,
            operation(r#"[2,"d"]"#)
        );
    }
}

#[test]
fn an_edit_that_was_refused_unjoined_is_not_in_doubt_whatever_is_joined_next() {
    let mut replica = joined("ab");
    type_text(&mut replica, 2, "c");
    replica.poll_send().unwrap();
    replica.not_taken();
    replica.joining();
    let caught_up = replica.state(8, 0, Content::from("x"), None).unwrap();
    assert_eq!(caught_up.in_doubt, None);
    assert_eq!(replica.content().to_string(), "xc");
    let again = replica.poll_send().unwrap();
    assert_eq!(again.operation, operation(r#"[1,"c"]"#));
}

#[test]
fn a_gap_is_noticed_and_the_whole_document_asked_for() {
    let mut replica = joined("ab");
    type_text(&mut replica, 2, "c");
    assert_eq!(replica.remote(10, &operation(r#"["old"]"#)), Ok(None));
    assert_eq!(replica.remote(12, &operation(r#"["x"]"#)), Err(OutOfStep));
    assert_eq!(replica.remote(13, &operation(r#"["x"]"#)), Ok(None));
    assert_eq!(replica.joining().has, None);
    replica.state(7, 13, Content::from("xyab"), None).unwrap();
    assert_eq!(replica.content().to_string(), "xyabc");

    for wrong in [(2, 14), (1, 15)] {
        let mut replica = replica.clone();
        replica.poll_send().unwrap();
        assert_eq!(replica.acknowledged(wrong.0, wrong.1), Err(OutOfStep));
    }
    let mut replica = joined("ab");
    assert_eq!(replica.remote(11, &operation(r#"[9,"x"]"#)), Err(OutOfStep));
    assert_eq!(replica.content().to_string(), "ab");
}

#[test]
fn what_is_too_long_for_a_message_goes_in_several() {
    let mut replica = joined("");
    let text = "😭".repeat(5000);
    type_text(&mut replica, 0, &text);
    let mut received = Content::default();
    let mut number = 0;
    while let Some(sent) = replica.poll_send() {
        number += 1;
        assert!(sent.operation.text_bytes() <= 8 << 10);
        received.apply(&sent.operation).unwrap();
        replica.acknowledged(number, 10 + number).unwrap();
    }
    assert_eq!(number, 3);
    assert_eq!(received.to_string(), text);
}

#[test]
fn a_refused_edit_is_taken_back() {
    let mut replica = joined("abc");
    type_text(&mut replica, 1, "x");
    replica.poll_send().unwrap();
    type_text(&mut replica, 4, "y");
    assert_eq!(replica.place(3), 4);
    assert_eq!(replica.own_cursor(2), None);
    assert_eq!(
        replica.take_back().unwrap(),
        operation(r#"[1,"bc",{"d":4}]"#)
    );
    assert_eq!(replica.content().to_string(), "abc");
    assert_eq!(replica.own_cursor(2), Some((10, 2)));
}
