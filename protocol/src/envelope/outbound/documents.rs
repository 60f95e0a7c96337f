//! What members of a document are told (contract L3 to L7). Versions, sequences and epochs: `docs/concepts/collaboration.md`.

use serde::Serializer;

use super::{RawValue, end, write_epoch, write_number, write_text};
use crate::text::{Content, Operation};

/// Who else is there, and where.
#[derive(Clone, Copy, Debug)]
pub struct Present<'a, U> {
    /// Users that are members.
    pub users: &'a [U],
    /// Where users' cursors are, in characters of the version told with it.
    pub cursors: &'a [(U, u32)],
}

/// Which document, and how far it is.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// `documentId`.
    pub document: &'a str,
    /// The version.
    pub version: u64,
    /// Which life of the document; 16 hexadecimal digits on the wire.
    pub epoch: u64,
    /// Whether the member may not edit.
    pub read_only: bool,
}

/// An edit, as those are told that did not make it.
#[derive(Clone, Copy, Debug)]
pub struct Edit<'a> {
    /// The version it made.
    pub version: u64,
    /// What it does to the version before.
    pub operation: &'a Operation,
    /// Who made it.
    pub user: &'a str,
    /// Its number, only told to the replica that made it.
    pub sequence: Option<u64>,
}

/// `{"type":"document-state","documentId":…,"version":…,"epoch":…,"readOnly":…,"content":…,"sequence":…,"users":[…],"cursors":{…}}`
/// (contract L4). `sequence`: the number of the replica's last edit that is in, `null` if that is not known.
pub fn state<U: AsRef<str>>(
    out: &mut Vec<u8>,
    standing: Standing<'_>,
    content: &Content,
    sequence: Option<u64>,
    present: Present<'_, U>,
    id: Option<&RawValue>,
) {
    begin_standing(out, "document-state", standing);
    out.extend_from_slice(br#","content":"#);
    serde_json::Serializer::new(&mut *out)
        .collect_str(content)
        .expect("a text always has a JSON form and a Vec takes it");
    out.extend_from_slice(br#","sequence":"#);
    match sequence {
        Some(sequence) => write_number(out, sequence),
        None => out.extend_from_slice(b"null"),
    }
    write_present(out, present);
    end(out, id);
}

/// `{"type":"document-edits","documentId":…,"version":…,"epoch":…,"readOnly":…,"edits":[…],"users":[…],"cursors":{…}}`: what a replica missed
/// that said what it has. Each edit is `{"version":…,"operation":…,"userId":…}`, the replica's own with `"sequence":…`.
pub fn edits<'e, U: AsRef<str>>(
    out: &mut Vec<u8>,
    standing: Standing<'_>,
    edits: impl IntoIterator<Item = Edit<'e>>,
    present: Present<'_, U>,
    id: Option<&RawValue>,
) {
    begin_standing(out, "document-edits", standing);
    out.extend_from_slice(br#","edits":["#);
    for (index, edit) in edits.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(br#"{"version":"#);
        write_number(out, edit.version);
        write_edit(out, edit);
        out.push(b'}');
    }
    out.push(b']');
    write_present(out, present);
    end(out, id);
}

/// `{"type":"edit","documentId":…,"version":…,"operation":…,"userId":…}` (contract L5).
pub fn edit(out: &mut Vec<u8>, document: &str, edit: Edit<'_>) {
    begin(out, "edit", document);
    write_version(out, edit.version);
    write_edit(out, edit);
    end(out, None);
}

/// `{"type":"edit-ack","documentId":…,"version":…,"sequence":…}` (decision D4): the edit is in, and made this version.
pub fn edit_ack(
    out: &mut Vec<u8>,
    document: &str,
    version: u64,
    sequence: u64,
    id: Option<&RawValue>,
) {
    begin(out, "edit-ack", document);
    write_version(out, version);
    out.extend_from_slice(br#","sequence":"#);
    write_number(out, sequence);
    end(out, id);
}

/// `{"type":"cursor-update","documentId":…,"userId":…,"position":…,"version":…}` (contract L6).
pub fn cursor_update(out: &mut Vec<u8>, document: &str, user: &str, position: u32, version: u64) {
    begin(out, "cursor-update", document);
    write_user(out, user);
    out.extend_from_slice(br#","position":"#);
    write_number(out, u64::from(position));
    write_version(out, version);
    end(out, None);
}

/// `{"type":"user-joined","documentId":…,"userId":…}` (contract L7).
pub fn user_joined(out: &mut Vec<u8>, document: &str, user: &str) {
    begin(out, "user-joined", document);
    write_user(out, user);
    end(out, None);
}

/// `{"type":"user-left","documentId":…,"userId":…}` (contract L7).
pub fn user_left(out: &mut Vec<u8>, document: &str, user: &str) {
    begin(out, "user-left", document);
    write_user(out, user);
    end(out, None);
}

/// `{"type":"document-left","documentId":…}`: no member any more. With `"reason":…` if the member had not asked for it.
pub fn left(out: &mut Vec<u8>, document: &str, reason: Option<&str>, id: Option<&RawValue>) {
    begin(out, "document-left", document);
    if let Some(reason) = reason {
        out.extend_from_slice(br#","reason":"#);
        write_text(out, reason);
    }
    end(out, id);
}

fn begin(out: &mut Vec<u8>, kind: &str, document: &str) {
    out.extend_from_slice(br#"{"type":"#);
    write_text(out, kind);
    out.extend_from_slice(br#","documentId":"#);
    write_text(out, document);
}

fn begin_standing(out: &mut Vec<u8>, kind: &str, standing: Standing<'_>) {
    begin(out, kind, standing.document);
    write_version(out, standing.version);
    write_epoch(out, standing.epoch);
    out.extend_from_slice(match standing.read_only {
        true => br#","readOnly":true"#,
        false => br#","readOnly":false"#,
    });
}

fn write_version(out: &mut Vec<u8>, version: u64) {
    out.extend_from_slice(br#","version":"#);
    write_number(out, version);
}

fn write_user(out: &mut Vec<u8>, user: &str) {
    out.extend_from_slice(br#","userId":"#);
    write_text(out, user);
}

fn write_edit(out: &mut Vec<u8>, edit: Edit<'_>) {
    out.extend_from_slice(br#","operation":"#);
    serde_json::to_writer(&mut *out, edit.operation)
        .expect("an operation always has a JSON form and a Vec takes it");
    write_user(out, edit.user);
    if let Some(sequence) = edit.sequence {
        out.extend_from_slice(br#","sequence":"#);
        write_number(out, sequence);
    }
}

fn write_present<U: AsRef<str>>(out: &mut Vec<u8>, present: Present<'_, U>) {
    out.extend_from_slice(br#","users":["#);
    for (index, user) in present.users.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(out, user.as_ref());
    }
    out.extend_from_slice(br#"],"cursors":{"#);
    for (index, (user, position)) in present.cursors.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(out, user.as_ref());
        out.push(b':');
        write_number(out, u64::from(*position));
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::envelope::written;

    const STANDING: Standing<'_> = Standing {
        document: "d\"1",
        version: 7,
        epoch: 0x0123_4567_89ab_cdef,
        read_only: false,
    };

    #[test]
    fn a_document_and_what_was_missed_of_it() {
        let id = RawValue::from_string("4".into()).unwrap();
        let users = ["ann", "b\\b"];
        let present = Present {
            users: &users,
            cursors: &[("ann", 3)],
        };
        let content = Content::from("a\n\"😭");
        assert_eq!(
            written(|out| state(out, STANDING, &content, Some(2), present, Some(&id))),
            concat!(
                r#"{"type":"document-state","documentId":"d\"1","version":7,"epoch":"0123456789abcdef","readOnly":false,"#,
                r#""content":"a\n\"😭","sequence":2,"users":["ann","b\\b"],"cursors":{"ann":3},"id":4}"#
            )
        );
        let nobody: Present<'_, &str> = Present {
            users: &[],
            cursors: &[],
        };
        let read_only = Standing {
            read_only: true,
            ..STANDING
        };
        assert_eq!(
            written(|out| state(out, read_only, &Content::default(), None, nobody, None)),
            concat!(
                r#"{"type":"document-state","documentId":"d\"1","version":7,"epoch":"0123456789abcdef","readOnly":true,"#,
                r#""content":"","sequence":null,"users":[],"cursors":{}}"#
            )
        );
        let operation: Operation = serde_json::from_str(r#"[1,"x",{"d":2}]"#).unwrap();
        let theirs = Edit {
            version: 6,
            operation: &operation,
            user: "ann",
            sequence: None,
        };
        let own = Edit {
            version: 7,
            sequence: Some(3),
            ..theirs
        };
        assert_eq!(
            written(|out| edits(out, STANDING, [theirs, own], nobody, None)),
            concat!(
                r#"{"type":"document-edits","documentId":"d\"1","version":7,"epoch":"0123456789abcdef","readOnly":false,"edits":["#,
                r#"{"version":6,"operation":[1,"x",{"d":2}],"userId":"ann"},"#,
                r#"{"version":7,"operation":[1,"x",{"d":2}],"userId":"ann","sequence":3}],"users":[],"cursors":{}}"#
            )
        );
        assert_eq!(
            written(|out| edit(out, "d", theirs)),
            r#"{"type":"edit","documentId":"d","version":6,"operation":[1,"x",{"d":2}],"userId":"ann"}"#
        );
    }

    #[test]
    fn the_short_words() {
        assert_eq!(
            written(|out| edit_ack(out, "d", 8, 2, None)),
            r#"{"type":"edit-ack","documentId":"d","version":8,"sequence":2}"#
        );
        assert_eq!(
            written(|out| cursor_update(out, "d", "ann", 5, 8)),
            r#"{"type":"cursor-update","documentId":"d","userId":"ann","position":5,"version":8}"#
        );
        assert_eq!(
            written(|out| user_joined(out, "d", "ann")),
            r#"{"type":"user-joined","documentId":"d","userId":"ann"}"#
        );
        assert_eq!(
            written(|out| user_left(out, "d", "ann")),
            r#"{"type":"user-left","documentId":"d","userId":"ann"}"#
        );
        assert_eq!(
            written(|out| left(out, "d", None, None)),
            r#"{"type":"document-left","documentId":"d"}"#
        );
        assert_eq!(
            written(|out| left(out, "d", Some("replaced"), None)),
            r#"{"type":"document-left","documentId":"d","reason":"replaced"}"#
        );
    }
}
