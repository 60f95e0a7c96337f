//! What a shard asks its storage, and what it hears of it.

use shardwire_shards::vocabulary::{Input, LoadFailure, Now, StoreOutcome, StoreRequest};

use super::RunningShard;
use crate::runtime::Driver;

/// Answers taken per turn: each lets a message go to its subscribers, and other work waits meanwhile.
const ANSWERS_PER_TURN: usize = 1024;

/// Logs that were read, taken per turn: a document of a megabyte takes some milliseconds to put together.
const LOADS_PER_TURN: usize = 1;

impl<D: Driver> RunningShard<D> {
    /// Hands a request on. The configuration lets no channel keep anything on disk without a storage.
    pub(super) fn store(&mut self, now: Now, request: StoreRequest) {
        match &mut self.parts.storage {
            Some(storage) => storage.ask(request),
            None => {
                let answer = match request {
                    StoreRequest::Append { ticket, .. } => Input::Stored {
                        ticket,
                        outcome: StoreOutcome::Failed,
                    },
                    StoreRequest::Load { ticket, .. } => Input::Loaded {
                        ticket,
                        outcome: Err(LoadFailure::Failed),
                    },
                    _ => return,
                };
                self.shard.handle(now, answer);
            }
        }
    }

    /// Whether the storage has answered.
    pub(super) fn has_stored(&self) -> bool {
        let storage = self.parts.storage.as_ref();
        storage.is_some_and(|storage| storage.has_answers())
    }

    /// What the storage has answered.
    pub(super) fn take_stored(&mut self, now: Now) {
        for _ in 0..ANSWERS_PER_TURN {
            let storage = self.parts.storage.as_mut();
            let Some((ticket, outcome)) = storage.and_then(|storage| storage.answer()) else {
                break;
            };
            self.shard.handle(now, Input::Stored { ticket, outcome });
        }
        for _ in 0..LOADS_PER_TURN {
            let storage = self.parts.storage.as_mut();
            let Some((ticket, outcome)) = storage.and_then(|storage| storage.loaded()) else {
                break;
            };
            self.shard.handle(now, Input::Loaded { ticket, outcome });
        }
    }
}
