//! The words about notifications: what can be asked of an inbox, what its home and its user's devices say to each other.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use smallvec::SmallVec;

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::notifications::Marks;

use super::{AnswerId, ConnectionId, Epoch, UserId};

/// One notification, for ever: which life of which inbox, and its number there, which grows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NotificationId {
    /// Which life of the inbox; every inbox has its own.
    pub epoch: Epoch,
    /// Grows with every notification of that life, not always by one.
    pub number: u64,
}

impl fmt::Display for NotificationId {
    /// As on the wire: the epoch, a hyphen, the number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

/// Not the text form of a notification's id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a notification's id is such as 5f0c1d9a7e3b2846-12")]
pub struct NoNotificationId;

impl FromStr for NotificationId {
    type Err = NoNotificationId;

    fn from_str(text: &str) -> Result<Self, NoNotificationId> {
        let (epoch, number) = text.split_once('-').ok_or(NoNotificationId)?;
        let hexadecimal = epoch.len() == 16 && epoch.bytes().all(|byte| byte.is_ascii_hexdigit());
        let decimal = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if !(hexadecimal && decimal) {
            return Err(NoNotificationId);
        }
        Ok(Self {
            epoch: Epoch(u64::from_str_radix(epoch, 16).map_err(|_| NoNotificationId)?),
            number: number.parse().map_err(|_| NoNotificationId)?,
        })
    }
}

/// A notification as an inbox has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Its id.
    pub id: NotificationId,
    /// What its sender said: members of a JSON object, without its braces
    /// ([`write_members`](shardwire_protocol::envelope::notifications::write_members)).
    pub members: Box<[u8]>,
    /// When it was sent, in milliseconds since 1970.
    pub unix_ms: u64,
    /// What became of it.
    pub marks: Marks,
}

/// What can become of a notification (decision D9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// It was written to a socket of the user.
    Delivered,
    /// A client said that it has it; so it was delivered.
    Acknowledged,
    /// The user has seen it.
    Read,
}

/// Which notifications of an inbox are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotificationQuery {
    /// Only those that are neither delivered nor read, oldest first (contract N4); else all, newest first.
    pub pending: bool,
    /// At most so many.
    pub limit: usize,
    /// After so many others (contract N7).
    pub offset: usize,
    /// Only those behind this one; `offset` counts from there.
    pub cursor: Option<NotificationId>,
}

/// What is asked about notifications from outside; given to the home of the user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotificationCommand {
    /// Put a notification into the user's inbox (contract N8), and send it to its devices (contract N9). Answered by
    /// [`NotificationAnswer::Sent`].
    Send {
        /// Whose inbox.
        user: UserId,
        /// What it says; see [`Notice::members`].
        members: Box<[u8]>,
        /// How long it is of use, in milliseconds, if that is shorter than others are kept.
        lifetime_ms: Option<u64>,
        /// Whether it is sent to the devices that are there now; else they get it when they connect.
        deliver: bool,
        /// Who wants to know.
        answer: Option<AnswerId>,
    },
    /// Read in an inbox (contract N4, N7). Answered by [`NotificationAnswer::List`].
    List {
        /// Whose.
        user: UserId,
        /// What of it.
        query: NotificationQuery,
        /// Comes back with the answer.
        answer: AnswerId,
    },
    /// Note what became of notifications (contract N5, N6); of those the inbox does not have, nothing. Answered by
    /// [`NotificationAnswer::Marked`].
    Mark {
        /// Whose.
        user: UserId,
        /// Which.
        ids: Vec<NotificationId>,
        /// What.
        mark: Mark,
        /// Who wants to know.
        answer: Option<AnswerId>,
    },
}

/// What came of a [`NotificationCommand`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotificationAnswer {
    /// It is in the inbox; or why not.
    Sent(Result<SentNotification, ErrorCode>),
    /// What was found.
    List(NotificationList),
    /// How many this has changed.
    Marked(usize),
}

/// A notification on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SentNotification {
    /// Its id.
    pub id: NotificationId,
    /// Connections it was passed on to; 0: it waits in the inbox.
    pub connections: usize,
}

/// A part of an inbox.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NotificationList {
    /// What was found.
    pub notices: Vec<Notice>,
    /// The cursor for what is behind these; none: nothing is.
    pub next: Option<NotificationId>,
    /// Unread ones of the whole inbox.
    pub unread: usize,
    /// All of the inbox.
    pub total: usize,
}

/// One frame for devices of a user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceFrame {
    /// Which notification it is; none: it is about the inbox.
    pub id: Option<NotificationId>,
    /// A complete server text frame.
    pub frame: Bytes,
}

/// What the home of an inbox and the shards of its user's devices say to each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotificationMail {
    /// A device of this user is there. To the home, which answers with a `Deliver` that is a welcome.
    Opened {
        /// Whose.
        user: UserId,
        /// Which.
        connection: ConnectionId,
    },
    /// Frames for devices, in the delivery lane. For each of them and each notification the home hears one `Receipt`.
    Deliver {
        /// Whose devices.
        user: UserId,
        /// Which; all on one shard.
        connections: SmallVec<[ConnectionId; 2]>,
        /// In this order.
        frames: SmallVec<[DeviceFrame; 2]>,
        /// It is what a new device gets: all that waited, but not again what it got meanwhile.
        welcome: bool,
    },
    /// What became of notifications on their way to one device. To the home.
    Receipt {
        /// Whose.
        user: UserId,
        /// Which.
        ids: SmallVec<[NotificationId; 2]>,
        /// They were written to its socket; else it is gone, or was not there.
        written: bool,
    },
    /// A device says what became of notifications (contract N11). To the home, which answers it.
    Mark {
        /// Whose.
        user: UserId,
        /// Which device.
        connection: ConnectionId,
        /// Which.
        ids: Vec<NotificationId>,
        /// What.
        mark: Mark,
        /// The `id` of its message, as JSON.
        reply: Option<Box<str>>,
    },
    /// A device wants to read (contract N12). To the home, which answers it.
    List {
        /// Whose.
        user: UserId,
        /// Which device.
        connection: ConnectionId,
        /// What.
        query: NotificationQuery,
        /// The `id` of its message, as JSON.
        reply: Option<Box<str>>,
    },
}

impl NotificationMail {
    /// Bytes the message keeps alive outside itself.
    pub(super) fn payload_len(&self) -> usize {
        match self {
            Self::Deliver { frames, .. } => frames.iter().map(|one| one.frame.len()).sum(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_nothing_else_is_one() {
        let id = NotificationId {
            epoch: Epoch(0x0123_4567_89ab_cdef),
            number: 12,
        };
        assert_eq!(id.to_string(), "0123456789abcdef-12");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in [
            "",
            "-",
            "0123456789abcdef",
            "0123456789abcdef-",
            "0123456789abcdef-+1",
            "123456789abcdef-1",
            "0123456789abcdeg-1",
            "0123456789abcdef-1-1",
            "0123456789abcdef-99999999999999999999",
        ] {
            assert_eq!(
                text.parse::<NotificationId>(),
                Err(NoNotificationId),
                "{text}"
            );
        }
    }
}
