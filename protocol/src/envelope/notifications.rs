//! What clients hear about notifications (contract N9 to N13).
//!
//! `members` is what a notification's sender has said, as members of a JSON object without its braces, in the order that
//! [`write_members`] gives them. The envelope's `type` is always the message's own; the notification's kind is `notificationType`
//! (decision D3).

use std::fmt::Display;

use super::RawValue;
use super::outbound::{end, write_number, write_text, write_timestamp};

/// What became of a notification, as clients read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    /// Written to a socket of the user (decision D9).
    pub delivered: bool,
    /// The client said so.
    pub acknowledged: bool,
    /// The user has seen it.
    pub read: bool,
}

/// One notification of a list.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a, I> {
    /// Its id.
    pub id: I,
    /// What its sender said.
    pub members: &'a [u8],
    /// When it was sent.
    pub timestamp: u64,
    /// What became of it.
    pub marks: Marks,
}

/// What a notification's sender says, as members: `"title":…,"body":…,"notificationType":…,"data":…`; those that are there.
pub fn write_members(
    out: &mut Vec<u8>,
    title: &str,
    body: Option<&str>,
    kind: Option<&str>,
    data_raw: Option<&str>,
) {
    out.extend_from_slice(br#""title":"#);
    write_text(out, title);
    if let Some(body) = body {
        out.extend_from_slice(br#","body":"#);
        write_text(out, body);
    }
    if let Some(kind) = kind {
        out.extend_from_slice(br#","notificationType":"#);
        write_text(out, kind);
    }
    if let Some(data) = data_raw {
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(data.as_bytes());
    }
}

/// `{"type":"notification","id":…,"title":…,…,"timestamp":…,"read":false,"delivered":false}` (contract N9, N10).
pub fn notification(out: &mut Vec<u8>, id: impl Display, members: &[u8], timestamp: u64) {
    out.extend_from_slice(br#"{"type":"notification","id":""#);
    write_listed(
        out,
        &Listed {
            id,
            members,
            timestamp,
            marks: Marks::default(),
        },
    );
    out.push(b'}');
}

/// `{"type":"notifications","notifications":[…],"unread":…,"total":…,"next":…}` (contract N12): newest first. `next` is what to give as
/// `cursor` for those behind; without it there are none.
pub fn notifications<'a, I: Display>(
    out: &mut Vec<u8>,
    listed: impl IntoIterator<Item = Listed<'a, I>>,
    unread: usize,
    total: usize,
    next: Option<I>,
    id: Option<&RawValue>,
) {
    out.extend_from_slice(br#"{"type":"notifications","notifications":["#);
    for (index, one) in listed.into_iter().enumerate() {
        out.extend_from_slice(if index > 0 {
            br#",{"id":""#
        } else {
            br#"{"id":""#
        });
        write_listed(out, &one);
        out.extend_from_slice(match one.marks.acknowledged {
            true => br#","acknowledged":true}"#,
            false => br#","acknowledged":false}"#,
        });
    }
    out.push(b']');
    write_unread(out, unread);
    out.extend_from_slice(br#","total":"#);
    write_number(out, total as u64);
    if let Some(next) = next {
        out.extend_from_slice(br#","next":""#);
        write_id(out, next);
        out.push(b'"');
    }
    end(out, id);
}

/// `{"type":"unread-count","unread":…}`: to all devices of a user, whenever it changes and when one connects.
pub fn unread_count(out: &mut Vec<u8>, unread: usize) {
    out.extend_from_slice(br#"{"type":"unread-count""#);
    write_unread(out, unread);
    end(out, None);
}

/// `{"type":"marked-read","count":…,"unread":…}`: the answer to `mark-read` (contract N11). `count` are those that this has changed.
pub fn marked_read(out: &mut Vec<u8>, count: usize, unread: usize, id: Option<&RawValue>) {
    write_marked(out, "marked-read", count, unread, id);
}

/// `{"type":"acknowledged","count":…,"unread":…}`: the answer to `ack-notification` (decision D9). `count` are those that this has changed.
pub fn acknowledged(out: &mut Vec<u8>, count: usize, unread: usize, id: Option<&RawValue>) {
    write_marked(out, "acknowledged", count, unread, id);
}

fn write_marked(out: &mut Vec<u8>, kind: &str, count: usize, unread: usize, id: Option<&RawValue>) {
    out.extend_from_slice(br#"{"type":"#);
    write_text(out, kind);
    out.extend_from_slice(br#","count":"#);
    write_number(out, count as u64);
    write_unread(out, unread);
    end(out, id);
}

fn write_unread(out: &mut Vec<u8>, unread: usize) {
    out.extend_from_slice(br#","unread":"#);
    write_number(out, unread as u64);
}

/// From the inside of the id's quotes on to the marks.
fn write_listed(out: &mut Vec<u8>, one: &Listed<'_, impl Display>) {
    write_id(out, &one.id);
    out.extend_from_slice(br#"","#);
    out.extend_from_slice(one.members);
    write_timestamp(out, one.timestamp);
    out.extend_from_slice(match one.marks.read {
        true => br#","read":true"#,
        false => br#","read":false"#,
    });
    out.extend_from_slice(match one.marks.delivered {
        true => br#","delivered":true"#,
        false => br#","delivered":false"#,
    });
}

/// An id is written with digits, letters and a hyphen, so it needs no escapes.
fn write_id(out: &mut Vec<u8>, id: impl Display) {
    use std::io::Write;
    write!(out, "{id}").expect("a Vec takes everything");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::envelope::written;

    #[test]
    fn contract_n10_a_notification_is_flat_and_its_own_kind_does_not_hide_the_envelopes() {
        let mut members = Vec::new();
        write_members(
            &mut members,
            "Hi \"you\"",
            Some("text"),
            Some("order"),
            Some(r#"{"item": 7}"#),
        );
        assert_eq!(
            written(|out| notification(out, "5f-1", &members, 17)),
            concat!(
                r#"{"type":"notification","id":"5f-1","title":"Hi \"you\"","body":"text","notificationType":"order","#,
                r#""data":{"item": 7},"timestamp":17,"read":false,"delivered":false}"#
            )
        );
        let bare = written(|out| write_members(out, "t", None, None, None));
        assert_eq!(bare, r#""title":"t""#);
    }

    #[test]
    fn contract_n12_a_list_says_what_became_of_each() {
        let one = |id, marks| Listed {
            id,
            members: br#""title":"t""#,
            timestamp: 5,
            marks,
        };
        let read = Marks {
            delivered: true,
            acknowledged: true,
            read: true,
        };
        let listed = [one("5f-9", Marks::default()), one("5f-8", read)];
        let id = RawValue::from_string("4".into()).unwrap();
        assert_eq!(
            written(|out| notifications(out, listed, 1, 3, Some("5f-8"), Some(&id))),
            concat!(
                r#"{"type":"notifications","notifications":["#,
                r#"{"id":"5f-9","title":"t","timestamp":5,"read":false,"delivered":false,"acknowledged":false},"#,
                r#"{"id":"5f-8","title":"t","timestamp":5,"read":true,"delivered":true,"acknowledged":true}],"#,
                r#""unread":1,"total":3,"next":"5f-8","id":4}"#
            )
        );
        assert_eq!(
            written(|out| notifications::<&str>(out, [], 0, 0, None, None)),
            r#"{"type":"notifications","notifications":[],"unread":0,"total":0}"#
        );
    }

    #[test]
    fn contract_n11_the_answers_say_how_many_and_what_is_left() {
        let id = RawValue::from_string("\"a\"".into()).unwrap();
        assert_eq!(
            written(|out| marked_read(out, 2, 1, Some(&id))),
            r#"{"type":"marked-read","count":2,"unread":1,"id":"a"}"#
        );
        assert_eq!(
            written(|out| acknowledged(out, 0, 1, None)),
            r#"{"type":"acknowledged","count":0,"unread":1}"#
        );
        assert_eq!(
            written(|out| unread_count(out, 3)),
            r#"{"type":"unread-count","unread":3}"#
        );
    }
}
