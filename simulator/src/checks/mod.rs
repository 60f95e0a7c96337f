//! What must be true, one property a file.
//!
//! **Lives here:** [`Seen`], all that can be observed of the shards and by the clients, and the checks, which remember what
//! they need of it and say what is wrong. **Does not:** making anything happen.
//! **Invariants:** a check knows the shards only from outside: what they ask of the world and what clients receive.
//! **Called by:** `world/`, with every observation, when the world rests, and when everybody has gone. Calls nobody.
//! **Tests:** `tests/planted.rs` shows that planted faults are caught.

mod answers;
mod backlog;
mod calls;
mod documents;
mod duplicates;
mod endings;
mod heartbeat;
mod history;
mod inboxes;
mod keeping;
mod limits;
mod loss;
mod order;
mod presence;
mod registries;
mod rooms;
mod strays;
mod wakes;

use serde_json::Value;
use shardwire_shards::vocabulary::{CloseCause, ConnectionId, DocumentText};

use crate::clients::{Listed, Place, Request};
use crate::{Failure, World};

/// One observation. Clients, channels, users and publications by number.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A shard took the socket over.
    Opened { client: usize },
    /// A shard said `Connected`.
    Connected { client: usize },
    /// A shard said `Disconnected`.
    Disconnected { client: usize, cause: CloseCause },
    /// A shard closed the socket.
    SocketClosed { client: usize },
    /// A shard was told that the socket ended.
    EndTold { client: usize },
    /// No room on the node: the upgrade was refused.
    TurnedAway { client: usize },
    /// So much waits for a client whose socket takes nothing at present; its shard may have given it up for that.
    Backlog {
        client: usize,
        waiting: usize,
        given_up: bool,
    },
    /// The directory's answer.
    UsersConnections {
        user: usize,
        connections: &'a [ConnectionId],
    },
    /// A client asked for something; without an id, if it could not be given back.
    Asked {
        client: usize,
        id: Option<u64>,
        request: &'a Request,
    },
    /// A client sent a protocol ping.
    PingSaid { client: usize, payload: &'a [u8] },
    /// A client on the echo path sent a message.
    RawSaid {
        client: usize,
        text: bool,
        bytes: &'a [u8],
    },
    /// A client was told so.
    Subscribed {
        client: usize,
        channel: usize,
        id: Option<u64>,
        place: Option<Place>,
        recovered: Option<bool>,
    },
    /// A client was told which publications it does not get, because they are not kept any more or because it did not read.
    Gap {
        client: usize,
        channel: usize,
        from: u64,
        to: Place,
        evicted: bool,
    },
    /// A client was told where its publication is kept.
    Published {
        client: usize,
        channel: usize,
        id: Option<u64>,
        place: Place,
    },
    /// A client was told what is kept.
    History {
        client: usize,
        channel: usize,
        id: Option<u64>,
        messages: &'a [(Place, usize)],
    },
    /// A client was told so.
    Unsubscribed {
        client: usize,
        channel: usize,
        id: Option<u64>,
    },
    /// A client got a publication.
    Broadcast {
        client: usize,
        channel: usize,
        number: usize,
        timestamp: u64,
        place: Option<Place>,
    },
    /// A client got the connections per shard.
    Counts {
        client: usize,
        channel: usize,
        counts: &'a [u64],
    },
    /// A client was told that it is in a room, and who is there.
    RoomJoined {
        client: usize,
        room: usize,
        members: &'a [String],
        id: Option<u64>,
    },
    /// A client was told that it has left its room.
    RoomLeft { client: usize, id: Option<u64> },
    /// A member was told that this user came.
    Came { client: usize, user: &'a str },
    /// A member was told that this user went.
    Went { client: usize, user: &'a str },
    /// A member read what this user said.
    Said {
        client: usize,
        user: &'a str,
        number: usize,
    },
    /// A client was told who is in the first channel; as an answer, if there is an id.
    PresenceState {
        client: usize,
        members: Option<&'a [String]>,
        count: u64,
        version: u64,
        id: Option<u64>,
    },
    /// A client was told who has come to the first channel, and who has gone.
    PresenceDiff {
        client: usize,
        changes: Option<&'a [Vec<String>; 2]>,
        count: u64,
        version: u64,
    },
    /// A client was told what is known of so many users.
    PresenceUpdate {
        client: usize,
        users: usize,
        id: Option<u64>,
    },
    /// A notification was put into an inbox, or not.
    NoticeSent { number: usize, taken: bool },
    /// A device got a notification.
    Notified {
        client: usize,
        number: usize,
        notice: &'a str,
    },
    /// A device was told what is in its inbox, or the newest of it.
    Inbox {
        client: usize,
        listed: &'a [Listed],
        unread: u64,
        total: u64,
        id: Option<u64>,
    },
    /// A device was told that what it said of notifications is noted.
    Marked { client: usize, id: Option<u64> },
    /// The home of an inbox was asked what is in it.
    InboxHeld {
        user: usize,
        listed: &'a [Listed],
        unread: usize,
    },
    /// A client got the JSON pong.
    JsonPong { client: usize, id: Option<u64> },
    /// A client got its value back.
    Echo {
        client: usize,
        data: &'a Value,
        id: Option<u64>,
    },
    /// A client got the application's answer.
    Worked { client: usize, id: Option<u64> },
    /// A shard asked for a handler to be run.
    Called { client: usize, message: &'a str },
    /// A shard was told that the handler has ended.
    Returned { client: usize },
    /// A client was told what could not be done.
    Error {
        client: usize,
        code: u16,
        id: Option<u64>,
    },
    /// A client on the echo path got a message.
    CameBack {
        client: usize,
        text: bool,
        bytes: &'a [u8],
    },
    /// A client was pinged.
    Pinged { client: usize },
    /// A client got a protocol pong.
    Pong { client: usize, payload: &'a [u8] },
    /// A client got a close frame; 1005 if without a code.
    CloseFrame { client: usize, code: u16 },
    /// A client is at the end of its socket, or has left it.
    Gone { client: usize },
    /// A client got what no client can understand.
    Nonsense { client: usize, what: &'a str },
    /// A connection that was tried at rest has been let in, or not.
    Probed { client: usize },
    /// The home of a document was asked what is in it.
    DocumentText {
        document: usize,
        text: &'a DocumentText,
    },
    /// A client was told about a document what cannot be.
    Misled { client: usize, what: &'a str },
    /// The node was killed, with all its connections, and started again.
    Restarted,
    /// A shard sleeps over work it was not rung for.
    Forgotten { shard: usize },
    /// The world does not come to rest.
    NoRest,
}

/// What a check has to say: nothing, or what is wrong.
pub type Verdict = Result<(), String>;

/// One property.
pub trait Check: std::fmt::Debug {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// Something was observed. `world` is as it was just before.
    fn see(&mut self, _seen: &Seen<'_>, _world: &World<'_>) -> Verdict {
        Ok(())
    }

    /// Nothing is under way anywhere.
    fn at_rest(&mut self, _world: &World<'_>) -> Verdict {
        Ok(())
    }

    /// Everybody has gone and nothing is under way.
    fn at_end(&mut self, _world: &World<'_>) -> Verdict {
        Ok(())
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Checks(Vec<Box<dyn Check>>);

impl Checks {
    /// Every property there is.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![
            Box::<strays::Strays>::default(),
            Box::<duplicates::Duplicates>::default(),
            Box::<order::Order>::default(),
            Box::<loss::Loss>::default(),
            Box::<history::History>::default(),
            Box::<keeping::Keeping>::default(),
            Box::<rooms::Rooms>::default(),
            Box::<presence::Presence>::default(),
            Box::<inboxes::Inboxes>::default(),
            Box::<answers::Answers>::default(),
            Box::<calls::Calls>::default(),
            Box::<endings::Endings>::default(),
            Box::<limits::Limits>::default(),
            Box::<heartbeat::Heartbeat>::default(),
            Box::<backlog::Backlog>::default(),
            Box::<wakes::Wakes>::default(),
            Box::<documents::Documents>::default(),
            Box::<registries::Registries>::default(),
        ])
    }

    fn each(&mut self, mut ask: impl FnMut(&mut dyn Check) -> Verdict) -> Result<(), Failure> {
        for check in &mut self.0 {
            ask(&mut **check).map_err(|what| Failure {
                check: check.name(),
                what,
            })?;
        }
        Ok(())
    }

    pub(crate) fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Result<(), Failure> {
        self.each(|check| check.see(seen, world))
    }

    pub(crate) fn at_rest(&mut self, world: &World<'_>) -> Result<(), Failure> {
        self.each(|check| check.at_rest(world))
    }

    pub(crate) fn at_end(&mut self, world: &World<'_>) -> Result<(), Failure> {
        self.each(|check| check.at_end(world))
    }
}

/// The entry of a table by number that grows as it is asked.
fn entry<T: Default>(table: &mut Vec<T>, at: usize) -> &mut T {
    if table.len() <= at {
        table.resize_with(at + 1, T::default);
    }
    &mut table[at]
}

/// Fails with a formatted message unless the condition holds.
macro_rules! demand {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}
use demand;
