//! A disk that is never slow nor full, and lives as long as the simulation. Of what it is given, documents are read back: those that
//! nobody is in are in the store only.

use shardwire_shards::vocabulary::{Input, LoadFailure, StoreOutcome, StoreRequest};

use crate::storage::{MemoryStore, Store, operation, restored};

/// The logs of one shard.
#[derive(Debug, Default)]
pub(super) struct Disk(MemoryStore);

impl Disk {
    /// Does what is asked. The answer, if there is to be one.
    pub(super) fn carry_out(&mut self, request: StoreRequest) -> Option<Input<'static>> {
        let answer = match &request {
            StoreRequest::Append { ticket, .. } => Some(Input::Stored {
                ticket: *ticket,
                outcome: StoreOutcome::Stored,
            }),
            StoreRequest::Load { ticket, log, epoch } => {
                let saved = self.0.read(log, epoch.0);
                let outcome = saved.map(restored).map_err(|_| LoadFailure::Failed);
                Some(Input::Loaded {
                    ticket: *ticket,
                    outcome,
                })
            }
            StoreRequest::Begin { .. }
            | StoreRequest::Trim { .. }
            | StoreRequest::Forget { .. } => None,
        };
        if let Some(operation) = operation(request) {
            self.0
                .commit(&[operation])
                .expect("a store in memory takes everything");
        }
        answer
    }
}
