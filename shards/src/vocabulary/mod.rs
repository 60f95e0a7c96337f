//! The words every room shares: who, when, what happened, what is asked for.
//!
//! **Lives here:** plain data. [`Input`] is all that can happen to a shard, [`Effect`] all it asks of the world,
//! [`Command`] all that can be asked of it, [`ShardMessage`] all that shards say to each other, [`Event`] all that an
//! embedding service may observe.
//! **Does not:** behaviour. No room is named here, so every room may use these words.
//! **Invariants:** a [`ConnectionId`] names one connection for ever: its slot may be used again, its generation not.
//! **Called by:** everybody; calls nobody. **Tests:** at the end of `ids.rs`.

mod chat;
mod command;
mod document;
mod effect;
mod identity;
mod ids;
mod input;
mod message;
mod notification;
mod now;
mod presence;
mod store;

pub use chat::{ChatDeed, ChatMessage};
pub use command::{Answer, AnswerId, Audience, Command, PublishOutcome};
pub use document::{
    DocumentAsk, DocumentCommand, DocumentEdit, DocumentJoin, DocumentMessage, DocumentOutcome,
    DocumentQuestion, DocumentText, DocumentTold, EditOutcome,
};
pub use effect::{CloseCause, Effect, Event};
pub use identity::{Denied, Identity, Token, Verdict, is_valid_user};
pub use ids::{
    CallTarget, ChannelName, ConnectionId, NoConnectionId, ShardId, SocketToken, UserId,
};
pub use input::{Compression, Input, Mode, Opening, Returned, Standing};
pub use message::{HistoryQuery, Kept, LimitedKey, PublishOptions, ShardMessage, SharedFrame};
pub use notification::{
    DeviceFrame, Mark, NoNotificationId, Notice, NotificationAnswer, NotificationCommand,
    NotificationId, NotificationList, NotificationMail, NotificationQuery, SentNotification,
};
pub use now::Now;
pub use presence::{
    Asker, ChannelMembers, MetadataChange, OFFLINE, ONLINE, Presence, PresenceAnswer,
    PresenceChange, PresenceCommand, PresenceMessage,
};
pub use shardwire_protocol::envelope::presence::Change;
pub use store::{
    Epoch, LoadFailure, LoadTicket, LogKind, LogName, Position, RestoredLog, StoreOutcome,
    StoreRequest, StoreTicket, StoredRecord,
};
