//! A disk that is never slow nor full, and lives as long as the simulation. Of what it is given, documents are read back: those that
//! nobody is in are in the store only.

use std::collections::BTreeMap;

use shardwire_shards::vocabulary::{
    Input, LoadFailure, LogKind, LogName, Position, RestoredLog, StoreOutcome, StoreRequest,
};

/// The documents of one shard.
#[derive(Debug, Default)]
pub(super) struct Disk(BTreeMap<LogName, RestoredLog>);

impl Disk {
    /// Does what is asked. The answer, if there is to be one.
    pub(super) fn carry_out(&mut self, request: StoreRequest) -> Option<Input<'static>> {
        match request {
            StoreRequest::Append {
                ticket,
                log,
                epoch,
                record,
            } => {
                if log.kind == LogKind::Document {
                    let offset = record.offset;
                    let kept = self.begin(log, Position { epoch, offset });
                    kept.records.push(record);
                }
                let outcome = StoreOutcome::Stored;
                return Some(Input::Stored { ticket, outcome });
            }
            StoreRequest::Load { ticket, log, epoch } => {
                let kept = self.0.get(&log).filter(|kept| kept.head.epoch == epoch);
                let outcome = kept.cloned().ok_or(LoadFailure::Failed);
                return Some(Input::Loaded { ticket, outcome });
            }
            StoreRequest::Begin { log, position } if log.kind == LogKind::Document => {
                self.begin(log, position);
            }
            StoreRequest::Trim { log, through } => {
                if let Some(kept) = self.0.get_mut(&log) {
                    kept.records.retain(|record| record.offset > through.offset);
                }
            }
            StoreRequest::Forget { log, .. } => {
                self.0.remove(&log);
            }
            StoreRequest::Begin { .. } => {}
        }
        None
    }

    fn begin(&mut self, log: LogName, head: Position) -> &mut RestoredLog {
        let begun = RestoredLog {
            log: log.clone(),
            head,
            records: Vec::new(),
        };
        let kept = self.0.entry(log).or_insert_with(|| begun.clone());
        if kept.head.epoch != head.epoch {
            *kept = begun;
        }
        kept.head = head;
        kept
    }
}
