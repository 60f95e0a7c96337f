//! A store that is plain enough to be believed: what stands on the disk of worlds that are faked.

use std::collections::BTreeMap;

use crate::vocabulary::{
    Epoch, Input, LoadFailure, LogName, Position, RestoredLog, StoreOutcome, StoreRequest,
};

/// Logs in a map. Carries out at once what it is given; in which order, how late, and whether there is room, its world says.
#[derive(Clone, Debug, Default)]
pub struct StoreModel {
    logs: BTreeMap<LogName, RestoredLog>,
}

impl StoreModel {
    /// Carries out a request, if `outcome` is [`Stored`](StoreOutcome::Stored); else nothing comes of it. The answer, for requests that
    /// are answered.
    ///
    /// # Panics
    /// A place in a log is given a second time.
    pub fn carry_out(
        &mut self,
        request: StoreRequest,
        outcome: StoreOutcome,
    ) -> Option<Input<'static>> {
        let stores = outcome == StoreOutcome::Stored;
        match request {
            StoreRequest::Append {
                ticket,
                log,
                epoch,
                record,
            } => {
                if stores {
                    let kept = self.life(log, epoch);
                    assert!(
                        record.offset > kept.head.offset,
                        "offsets grow: {record:?} behind {:?}",
                        kept.head
                    );
                    kept.head.offset = record.offset;
                    kept.records.push(record);
                }
                return Some(Input::Stored { ticket, outcome });
            }
            StoreRequest::Load { ticket, log, epoch } => {
                let outcome = match outcome {
                    StoreOutcome::Stored => {
                        let kept = self.same_life(&log, epoch).map(|kept| kept.clone());
                        kept.ok_or(LoadFailure::Failed)
                    }
                    StoreOutcome::Full => Err(LoadFailure::Full),
                    StoreOutcome::Failed => Err(LoadFailure::Failed),
                };
                return Some(Input::Loaded { ticket, outcome });
            }
            _ if !stores => {}
            StoreRequest::Begin { log, position } => {
                let kept = self.life(log, position.epoch);
                kept.head.offset = kept.head.offset.max(position.offset);
            }
            StoreRequest::Trim { log, through } => {
                if let Some(kept) = self.same_life(&log, through.epoch) {
                    kept.records.retain(|record| record.offset > through.offset);
                }
            }
            StoreRequest::Forget { log, epoch } => {
                if self.same_life(&log, epoch).is_some() {
                    self.logs.remove(&log);
                }
            }
        }
        None
    }

    /// What is kept, by name: what another process would begin with.
    pub fn logs(&self) -> impl Iterator<Item = &RestoredLog> {
        self.logs.values()
    }

    fn life(&mut self, log: LogName, epoch: Epoch) -> &mut RestoredLog {
        let begun = |log: LogName| RestoredLog {
            log,
            head: Position { epoch, offset: 0 },
            records: Vec::new(),
        };
        let kept = self
            .logs
            .entry(log.clone())
            .or_insert_with(|| begun(log.clone()));
        if kept.head.epoch != epoch {
            *kept = begun(log);
        }
        kept
    }

    fn same_life(&mut self, log: &LogName, epoch: Epoch) -> Option<&mut RestoredLog> {
        let kept = self.logs.get_mut(log);
        kept.filter(|kept| kept.head.epoch == epoch)
    }
}
