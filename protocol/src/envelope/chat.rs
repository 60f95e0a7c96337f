//! The server's messages of chat rooms (contract section 8).
//!
//! Functions called `…_event` append the text of an event without its closing brace: it goes into a room's channel, which ends it with
//! its place there ([`outbound::end_event`]). The others append a whole message, as those of [`outbound`] do.

use super::outbound::{end, write_number, write_text, write_timestamp};
use super::{RawValue, outbound};

/// What the names of the channels of rooms begin with: the room `42` is the channel `room:42` (contract C10).
pub const ROOM_PREFIX: &str = "room:";

/// Who does something in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// `userId`.
    pub user: &'a str,
    /// `username`: a name for others to read.
    pub name: &'a str,
}

fn begin(out: &mut Vec<u8>, kind: &str, member: Member<'_>) {
    out.extend_from_slice(br#"{"type":"#);
    write_text(out, kind);
    write_member(out, member);
}

fn write_member(out: &mut Vec<u8>, member: Member<'_>) {
    out.extend_from_slice(br#","userId":"#);
    write_text(out, member.user);
    out.extend_from_slice(br#","username":"#);
    write_text(out, member.name);
}

/// `{"type":"user-joined","userId":…,"username":…,"timestamp":…` (contract C6).
pub fn user_joined_event(out: &mut Vec<u8>, member: Member<'_>, timestamp: u64) {
    begin(out, "user-joined", member);
    write_timestamp(out, timestamp);
}

/// `{"type":"user-left","userId":…,"username":…,"timestamp":…` (contract C7).
pub fn user_left_event(out: &mut Vec<u8>, member: Member<'_>, timestamp: u64) {
    begin(out, "user-left", member);
    write_timestamp(out, timestamp);
}

/// `{"type":"message","id":…,"userId":…,"username":…,"content":…,"timestamp":…` (contract C8). `content_raw` is a JSON string.
pub fn message_event(
    out: &mut Vec<u8>,
    id: &str,
    member: Member<'_>,
    content_raw: &str,
    timestamp: u64,
) {
    out.extend_from_slice(br#"{"type":"message","id":"#);
    write_text(out, id);
    write_member(out, member);
    out.extend_from_slice(br#","content":"#);
    out.extend_from_slice(content_raw.as_bytes());
    write_timestamp(out, timestamp);
}

/// `{"type":"typing-start","userId":…,"username":…`, or `typing-stop` (contract C9).
pub fn typing_event(out: &mut Vec<u8>, on: bool, member: Member<'_>) {
    begin(out, if on { "typing-start" } else { "typing-stop" }, member);
}

/// `{"type":"user-joined",…}` for the joiner alone: the others have seen its user in the room already.
pub fn user_joined(out: &mut Vec<u8>, member: Member<'_>, timestamp: u64) {
    user_joined_event(out, member, timestamp);
    outbound::end_event(out, None);
}

/// `"members":[{"userId":…,"username":…},…],"count":…`: who is in a room, each user once; without `members` where there are too many to be
/// told one by one.
pub fn members<'m>(
    out: &mut Vec<u8>,
    members: Option<impl IntoIterator<Item = Member<'m>>>,
    count: u64,
) {
    if let Some(members) = members {
        out.extend_from_slice(br#""members":["#);
        for (index, member) in members.into_iter().enumerate() {
            out.extend_from_slice(if index == 0 {
                br#"{"userId":"#
            } else {
                br#",{"userId":"#
            });
            write_text(out, member.user);
            out.extend_from_slice(br#","username":"#);
            write_text(out, member.name);
            out.push(b'}');
        }
        out.extend_from_slice(b"],");
    }
    out.extend_from_slice(br#""count":"#);
    write_number(out, count);
}

/// `{"type":"room:joined","roomId":…}`: the answer to a `join-room` that had an `id`. `members_raw`: what [`members`] has written.
pub fn room_joined(
    out: &mut Vec<u8>,
    room: &str,
    members_raw: Option<&[u8]>,
    id: Option<&RawValue>,
) {
    out.extend_from_slice(br#"{"type":"room:joined","roomId":"#);
    write_text(out, room);
    if let Some(members) = members_raw {
        out.push(b',');
        out.extend_from_slice(members);
    }
    end(out, id);
}

/// `{"type":"room:left","roomId":…}`: the answer to a `leave-room` that had an `id`.
pub fn room_left(out: &mut Vec<u8>, room: &str, id: Option<&RawValue>) {
    out.extend_from_slice(br#"{"type":"room:left","roomId":"#);
    write_text(out, room);
    end(out, id);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::envelope::outbound::Place;
    use crate::envelope::written;

    const ANN: Member<'_> = Member {
        user: "u\"1",
        name: "Ann",
    };

    #[test]
    fn contract_c6_to_c9_the_events_of_a_room_are_written_as_the_contract_has_them() {
        let place = Place {
            offset: 7,
            epoch: 0xab,
        };
        assert_eq!(
            written(|out| {
                message_event(out, "m1", ANN, r#""h\u00e9""#, 5);
                outbound::end_event(out, Some(place));
            }),
            concat!(
                r#"{"type":"message","id":"m1","userId":"u\"1","username":"Ann","content":"h\u00e9","timestamp":5,"#,
                r#""offset":7,"epoch":"00000000000000ab"}"#
            )
        );
        assert_eq!(
            written(|out| user_joined(out, ANN, 5)),
            r#"{"type":"user-joined","userId":"u\"1","username":"Ann","timestamp":5}"#
        );
        assert_eq!(
            written(|out| {
                user_left_event(out, ANN, 5);
                outbound::end_event(out, None);
            }),
            r#"{"type":"user-left","userId":"u\"1","username":"Ann","timestamp":5}"#
        );
        for (on, kind) in [(true, "typing-start"), (false, "typing-stop")] {
            assert_eq!(
                written(|out| {
                    typing_event(out, on, ANN);
                    outbound::end_event(out, None);
                }),
                format!(r#"{{"type":"{kind}","userId":"u\"1","username":"Ann"}}"#)
            );
        }
    }

    #[test]
    fn answers_carry_the_id_of_what_they_answer() {
        let id = RawValue::from_string("4".into()).unwrap();
        let listed = |named: Option<[Member<'_>; 2]>| {
            let mut raw = Vec::new();
            members(&mut raw, named, 2);
            written(|out| room_joined(out, "42", Some(&raw), Some(&id)))
        };
        assert_eq!(
            listed(Some([ANN, ANN])),
            concat!(
                r#"{"type":"room:joined","roomId":"42","members":[{"userId":"u\"1","username":"Ann"},"#,
                r#"{"userId":"u\"1","username":"Ann"}],"count":2,"id":4}"#
            )
        );
        assert_eq!(
            listed(None),
            r#"{"type":"room:joined","roomId":"42","count":2,"id":4}"#
        );
        assert_eq!(
            written(|out| room_joined(out, "42", None, None)),
            r#"{"type":"room:joined","roomId":"42"}"#
        );
        assert_eq!(
            written(|out| room_left(out, "42", Some(&id))),
            r#"{"type":"room:left","roomId":"42","id":4}"#
        );
    }
}
