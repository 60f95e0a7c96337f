#![allow(clippy::unwrap_used)]
use shardwire_protocol::text::Operation;

use super::*;
use crate::bounds::{DOCUMENT_LOG_EDITS_MAX, SNAPSHOT_EDITS, UNSTORED_EDITS_MAX};

type Member = u32;

fn operation(json: &str) -> Operation {
    serde_json::from_str(json).unwrap()
}

fn joining(user: &str, replica: &str) -> Joining {
    Joining {
        author: Author {
            user: user.into(),
            replica: replica.into(),
        },
        access: Access::Write,
        has: None,
        acknowledged: 0,
        ask: Ask::default(),
    }
}

fn drained(document: &mut Document<Member>) -> Vec<Output<Member>> {
    std::iter::from_fn(|| document.poll_output()).collect()
}

/// A document with `members`, each a user of its own, of which everybody has been told.
fn document(settings: DocumentSettings, members: &[Member]) -> Document<Member> {
    let mut document = Document::new(settings, 7);
    for member in members {
        let joining = joining(&format!("user{member}"), "r");
        document.join(*member, joining).unwrap();
    }
    drained(&mut document);
    document
}

fn insert(document: &mut Document<Member>, member: Member, number: u64, text: &str) {
    let operation = Operation::replacement(0, 0, text).unwrap();
    let edited = document.edit(member, Edit::numbered(document.stored, number, operation));
    assert_eq!(edited, Ok(Edited::Accepted));
}

fn acknowledged(to: Member, number: u64, version: u64) -> Output<Member> {
    let reply = Reply::Acknowledged { number, version };
    let ask = Ask::default();
    Output::Reply { to, reply, ask }
}

fn published_edits(outputs: &[Output<Member>]) -> Vec<(Option<Member>, u64, String)> {
    (outputs.iter())
        .filter_map(|output| match output {
            Output::Publish {
                except,
                news: News::Edit(entry),
            } => Some((*except, entry.version, format!("{:?}", entry.operation))),
            _ => None,
        })
        .collect()
}

#[test]
fn edits_of_one_version_are_put_behind_each_other() {
    let mut document = document(DocumentSettings::default(), &[1, 2]);
    insert(&mut document, 1, 1, "hello");
    drained(&mut document);
    document
        .edit(1, Edit::numbered(1, 2, operation(r#"[5," there"]"#)))
        .unwrap();
    document
        .edit(
            2,
            Edit::numbered(1, 1, operation(r#"[{"d":"h"},"J",4,"!"]"#)),
        )
        .unwrap();
    assert_eq!(document.content().to_string(), "Jello there!");
    let outputs = drained(&mut document);
    assert_eq!(outputs[0], acknowledged(1, 2, 2));
    assert_eq!(outputs[2], acknowledged(2, 1, 3));
    let edits = [
        (Some(1), 2, r#"[5," there"]"#.to_owned()),
        (Some(2), 3, r#"[{"d":1},"J",10,"!"]"#.to_owned()),
    ];
    assert_eq!(published_edits(&outputs), edits);
}

#[test]
fn an_edit_sent_twice_is_carried_out_once() {
    let mut document = document(DocumentSettings::default(), &[1]);
    insert(&mut document, 1, 1, "a");
    insert(&mut document, 1, 2, "b");
    drained(&mut document);
    for number in [1, 2] {
        let again = document.edit(1, Edit::numbered(0, number, operation(r#"["x"]"#)));
        assert_eq!(again, Ok(Edited::Repeated));
    }
    assert_eq!(document.content().to_string(), "ba");
    let told = [acknowledged(1, 2, 2), acknowledged(1, 2, 2)];
    assert_eq!(drained(&mut document), told);
}

#[test]
fn what_does_not_belong_is_refused_and_changes_nothing() {
    let settings = DocumentSettings {
        max_bytes: 10,
        max_members: 3,
        ..DocumentSettings::default()
    };
    let mut document = document(settings, &[1, 2]);
    let reader = Joining {
        access: Access::Read,
        ..joining("reader", "r")
    };
    document.join(3, reader).unwrap();
    assert_eq!(document.join(4, joining("late", "r")), Err(Refused::Full));
    for name in ["", &"x".repeat(65)] {
        let refused = document.join(4, joining("ann", name));
        assert_eq!(refused, Err(Refused::Misplaced));
    }
    insert(&mut document, 1, 1, "12345678");
    drained(&mut document);
    let mut refused = |member, version, number, json| {
        let before = document.version();
        let refused = document.edit(member, Edit::numbered(version, number, operation(json)));
        assert_eq!(
            (document.version(), drained(&mut document)),
            (before, vec![])
        );
        refused.unwrap_err()
    };
    assert_eq!(refused(9, 1, 1, r#"["x"]"#), Refused::NotJoined);
    assert_eq!(refused(3, 1, 1, r#"["x"]"#), Refused::ReadOnly);
    assert_eq!(refused(2, 2, 1, r#"["x"]"#), Refused::Misplaced); // no such version
    assert_eq!(refused(2, 1, 2, r#"["x"]"#), Refused::Misplaced); // a number is missing
    assert_eq!(refused(2, 1, 1, r#"[8,{"d":1}]"#), Refused::Misplaced); // text is missing
    assert_eq!(refused(2, 0, 1, r#"[{"d":1}]"#), Refused::Misplaced); // there was none then
    assert_eq!(refused(2, 1, 1, r#"[4294967294,"x"]"#), Refused::Misplaced);
    assert_eq!(refused(2, 1, 1, r#"["abc"]"#), Refused::TooLarge);
    assert_eq!(refused(2, 1, 1, r#"["😭"]"#), Refused::TooLarge);
    assert_eq!(
        document.edit(2, Edit::numbered(1, 1, operation(r#"["abc",{"d":1}]"#))),
        Ok(Edited::Accepted)
    );
    assert_eq!(document.content().to_string(), "abc2345678");
}

#[test]
fn nothing_is_told_before_it_is_stored() {
    let settings = DocumentSettings {
        stored: true,
        ..DocumentSettings::default()
    };
    let mut document = document(settings, &[1, 2]);
    insert(&mut document, 1, 1, "a");
    document.join(3, joining("late", "r")).unwrap();
    document
        .edit(1, Edit::numbered(0, 2, operation(r#"["b"]"#)))
        .unwrap();
    let outputs = drained(&mut document);
    assert!(matches!(
        outputs[..],
        [
            Output::Store(Record::Edit(_)),
            Output::Store(Record::Edit(_))
        ]
    ));
    document.stored(1);
    let outputs = drained(&mut document);
    assert_eq!(outputs[0], acknowledged(1, 1, 1));
    assert_eq!(published_edits(&outputs).len(), 1);
    let Output::Reply {
        to: 3,
        reply: Reply::State(state),
        ..
    } = &outputs[2]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(
        (state.version, state.content.to_string().as_str()),
        (1, "a")
    );
    document.stored(2);
    assert_eq!(drained(&mut document)[0], acknowledged(1, 2, 2));
    for number in 3..3 + UNSTORED_EDITS_MAX {
        insert(&mut document, 1, number, "x");
    }
    let one_more = document.edit(2, Edit::numbered(2, 1, operation(r#"["x"]"#)));
    assert_eq!(one_more, Err(Refused::Overloaded));
}

#[test]
fn a_stored_document_is_loaded_as_it_was() {
    let settings = DocumentSettings {
        stored: true,
        ..DocumentSettings::default()
    };
    let mut document = document(settings, &[1, 2]);
    let (mut snapshot, mut edits) = (document.snapshot(), Vec::new());
    let mut snapshots = 0;
    let count = SNAPSHOT_EDITS as u64 + 20;
    for number in 1..=count {
        insert(&mut document, 1, number, "é😭");
        for output in drained(&mut document) {
            match output {
                Output::Store(Record::Edit(entry)) => edits.push((*entry).clone()),
                Output::Store(Record::Snapshot(whole)) => {
                    snapshots += 1;
                    edits.clear();
                    snapshot = whole;
                }
                _ => {}
            }
        }
        document.stored(number);
    }
    assert_eq!((snapshots, edits.len()), (1, 20));
    let mut loaded =
        Document::<Member>::restore(settings, snapshot.clone(), edits.clone()).unwrap();
    assert_eq!(loaded.content(), document.content());
    assert_eq!((loaded.version(), loaded.epoch()), (count, 7));
    // Its authors, too: the last edit is not carried out again.
    loaded.join(5, joining("user1", "r")).unwrap();
    assert_eq!(
        loaded.edit(5, Edit::numbered(0, count, operation(r#"["x"]"#))),
        Ok(Edited::Repeated)
    );
    assert_eq!(
        loaded.edit(5, Edit::numbered(count, count + 2, operation(r#"["x"]"#))),
        Err(Refused::Misplaced)
    );
    edits.remove(3);
    assert!(Document::<Member>::restore(settings, snapshot, edits).is_err());
}

#[test]
fn who_comes_back_gets_what_it_missed_or_everything() {
    let mut document = document(DocumentSettings::default(), &[1, 2]);
    insert(&mut document, 1, 1, "a");
    insert(&mut document, 2, 1, "b");
    drained(&mut document);
    let back = |document: &mut Document<Member>, has| {
        let again = Joining {
            has: Some(has),
            ..joining("user1", "r")
        };
        document.join(10, again).unwrap();
        let outputs = drained(document);
        let reply = outputs.iter().find_map(|output| match output {
            Output::Reply { to: 10, reply, .. } => Some(reply.clone()),
            _ => None,
        });
        reply.unwrap()
    };
    // Its old connection is still there, and is shown out.
    let Reply::Missed(missed) = back(&mut document, (7, 0)) else {
        panic!()
    };
    assert_eq!(missed.edits.len(), 2);
    assert_eq!(
        document.edit(1, Edit::numbered(2, 2, operation(r#"["x"]"#))),
        Err(Refused::NotJoined)
    );
    assert!(matches!(back(&mut document, (7, 3)), Reply::State(_)));
    assert!(matches!(back(&mut document, (8, 0)), Reply::State(_)));
    for number in 2..=DOCUMENT_LOG_EDITS_MAX as u64 {
        insert(&mut document, 2, number, "b");
    }
    drained(&mut document);
    assert!(matches!(back(&mut document, (7, 1)), Reply::Missed(_)));
    let Reply::State(state) = back(&mut document, (7, 0)) else {
        panic!()
    };
    assert_eq!((state.version, state.last_number), (1001, Some(1)));
    // An edit of that version cannot be brought behind the rest any more.
    assert_eq!(
        document.edit(10, Edit::numbered(0, 2, operation(r#"["x"]"#))),
        Ok(Edited::Resent)
    );
    assert!(matches!(
        drained(&mut document)[..],
        [Output::Reply {
            to: 10,
            reply: Reply::State(_),
            ..
        }]
    ));
    // Who has left is remembered for as many edits again, and then no longer.
    document.leave(10);
    for number in 1001..=1999 {
        assert_eq!(document.authors.count(), 2);
        insert(&mut document, 2, number, "b");
    }
    drained(&mut document);
    assert_eq!(document.authors.count(), 1);
    let Reply::State(state) = back(&mut document, (7, 0)) else {
        panic!()
    };
    assert_eq!(state.last_number, None);
}

#[test]
fn a_user_is_there_from_the_first_connection_to_the_last() {
    let mut document = document(DocumentSettings::default(), &[1]);
    let news = |document: &mut Document<Member>| -> Vec<News> {
        let news = drained(document)
            .into_iter()
            .filter_map(|output| match output {
                Output::Publish { news, .. } => Some(news),
                _ => None,
            });
        news.collect()
    };
    document.join(2, joining("ann", "phone")).unwrap();
    document.join(3, joining("ann", "desk")).unwrap();
    assert_eq!(news(&mut document), [News::Joined("ann".into())]);
    // The same replica on another connection, as after a cut.
    document.join(4, joining("ann", "desk")).unwrap();
    document.leave(3);
    document.leave(2);
    assert_eq!(news(&mut document), []);
    document.leave(4);
    document.leave(4);
    assert_eq!(news(&mut document), [News::Left("ann".into())]);
    assert_eq!(document.member_count(), 1);
}

#[test]
fn cursors_stay_where_they_point_and_only_the_last_place_is_told() {
    let mut document = document(DocumentSettings::default(), &[1, 2]);
    insert(&mut document, 1, 1, "hello");
    document.move_cursor(2, 1, 1).unwrap();
    document.move_cursor(2, 1, 4).unwrap();
    document
        .edit(1, Edit::numbered(1, 2, operation(r#"["😭 "]"#)))
        .unwrap();
    document.move_cursor(1, 1, 2).unwrap(); // of the version before
    drained(&mut document);
    document.flush_cursors();
    document.flush_cursors();
    let mut told: Vec<_> = drained(&mut document)
        .into_iter()
        .map(|output| match output {
            Output::Publish {
                except,
                news:
                    News::Cursor {
                        user,
                        position,
                        version,
                    },
            } => (except, user.to_string(), position, version),
            other => panic!("{other:?}"),
        })
        .collect();
    told.sort();
    let expected = [
        (Some(1), "user1".to_owned(), 4, 2),
        (Some(2), "user2".to_owned(), 6, 2),
    ];
    assert_eq!(told, expected);
    document.move_cursor(2, 2, u32::MAX).unwrap();
    assert_eq!(document.cursors_but(&"user1".into()), [("user2".into(), 7)]);
    document.move_cursor(2, 3, 0).unwrap(); // no such version
    assert_eq!(document.cursors_but(&"user1".into()), [("user2".into(), 7)]);
    document.leave(2);
    assert_eq!(document.cursors_but(&"user1".into()), []);
    assert_eq!(document.move_cursor(2, 2, 0), Err(Refused::NotJoined));
}

#[test]
fn an_author_that_does_not_number_its_edits_waits_for_each() {
    let mut document = document(DocumentSettings::default(), &[1, 2]);
    let plain = |version, json| Edit {
        number: None,
        ..Edit::numbered(version, 0, operation(json))
    };
    insert(&mut document, 2, 1, "x");
    assert_eq!(document.edit(1, plain(0, r#"["a"]"#)), Ok(Edited::Accepted));
    assert_eq!(document.content().to_string(), "xa");
    // It has not heard yet where its first one went: its second cannot have been made on that.
    let refused = document.edit(1, plain(1, r#"[1,"b"]"#));
    assert_eq!(refused, Err(Refused::Misplaced));
    let told = drained(&mut document);
    assert!(told.contains(&acknowledged(1, 1, 2)), "{told:?}");
    assert_eq!(
        document.edit(1, plain(2, r#"[2,"b"]"#)),
        Ok(Edited::Accepted)
    );
    assert_eq!(document.content().to_string(), "xab");
}
