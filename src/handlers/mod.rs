//! The application's seam: handlers for message types, middleware around them, hooks at a connection's beginning and end and
//! at a handler's failure, and its check of permissions.
//!
//! **Lives here:** what an embedding service registers (`Handlers`), what its handlers are given ([`Context`], [`Message`],
//! [`Next`]), and the tasks of one shard that run them (`tasks.rs`). **Does not:** which message is whose, and that one
//! connection has one call at a time (`shards/calls`); applying what a handler asks for (it becomes commands).
//! **Invariants:** a handler's future stays on the core of its connection and is polled between two turns of its shard; it
//! may be woken from any thread, at once; what it asked for is applied in the order it asked; an error, a panic or a
//! handler that takes too long reaches its own connection and nobody else's.
//! **Called by:** `engine/shard_loop`. **Calls:** the application's code. **Tests:** `tests/handlers.rs`.

mod authorize;
mod context;
mod error;
mod failure;
mod message;
mod registry;
mod tasks;

pub(crate) use context::Caller;
pub use context::Context;
pub use error::{HandlerError, TagError};
pub use failure::{Failure, FailureCause};
pub use message::{FromMessage, Json, Message};
pub use registry::Next;
pub(crate) use registry::{Handlers, HandlersBuilder};
pub(crate) use tasks::{Finished, Tasks};
