//! Logs begin, let go of what is old, make room, and end.

use std::collections::VecDeque;

use super::History;
use super::log::{Log, Record};
use crate::bounds::{LOGS_MAX, STORE_TRIM_RECORDS};
use crate::channels::Homes;
use crate::shard::Shard;
use crate::timers::tick_at;
use crate::vocabulary::{
    ChannelName, Effect, LogName, Now, Position, SharedFrame, StoreRequest, StoredRecord,
};

impl History {
    /// The row of records is gone through from the front only when memory is short; otherwise those that have gone by themselves
    /// would stay in it for ever.
    pub(super) fn forget_gone_places(&mut self, homes: &Homes) {
        if self.order.len() > 2 * self.records + 1024 {
            self.order.retain(|(channel, offset)| {
                homes
                    .log(channel)
                    .and_then(Log::first_offset)
                    .is_some_and(|first| first <= *offset)
            });
        }
    }
}

impl Shard {
    /// Begins a channel's log, if its rule wants one. False: there is none, or as many as there may be.
    pub(crate) fn begin_log(&mut self, now: Now, channel: &ChannelName) -> bool {
        if self.channels.homes.log(channel).is_some() {
            return true;
        }
        let Some(rule) = self.settings.channels.history_of(channel) else {
            return false;
        };
        if self.history.logs >= LOGS_MAX {
            return false;
        }
        let epoch = self.history.next_epoch();
        #[cfg(feature = "planted-faults")]
        let epoch = self.planted.kept_epoch(channel).unwrap_or(epoch);
        let position = Position { epoch, offset: 0 };
        self.install_log(channel, Log::new(rule, position, now.ms));
        if rule.durable {
            self.effects
                .push_back(Effect::Store(Box::new(StoreRequest::Begin {
                    log: LogName::channel(channel.clone()),
                    position,
                })));
        }
        true
    }

    fn install_log(&mut self, channel: &ChannelName, log: Log) {
        self.history.logs += 1;
        self.history.note_change((0, 0), (log.bytes(), log.len()));
        self.channels.homes.install(channel.clone(), Box::new(log));
    }

    /// Takes over a channel's log that a store has kept; a channel whose rule keeps nothing (any more) is passed over.
    pub(crate) fn restore_history(
        &mut self,
        now: Now,
        channel: ChannelName,
        head: Position,
        records: Vec<StoredRecord>,
    ) {
        let Some(rule) = self.settings.channels.history_of(&channel) else {
            return;
        };
        let window = self.settings.channels.idempotency_window_ms;
        let mut log = Log::new(rule, head, now.ms);
        for kept in records {
            // By the clock on the wall, which may have been set back since.
            let age = now.unix_ms.saturating_sub(kept.unix_ms);
            let lifetime = kept
                .lifetime_ms
                .map_or(rule.max_age_ms, |lifetime| lifetime.min(rule.max_age_ms));
            if let Some(key) = kept.key {
                let left = window.saturating_sub(age);
                log.keys.note(key, kept.offset, now.ms.saturating_add(left));
            }
            log.restore(
                now.ms,
                Record {
                    offset: kept.offset,
                    frame: SharedFrame::from(kept.body),
                    exclude: Default::default(),
                    expires: now.ms.saturating_add(lifetime.saturating_sub(age)),
                },
            );
            self.history.order.push_back((channel.clone(), kept.offset));
        }
        log.trim(now.ms);
        self.install_log(&channel, log);
        self.make_room();
        self.look_after_log(now, &channel);
    }

    /// Lets the oldest records of the shard go until its logs fit. False: they do not, and there is no record left.
    pub(super) fn make_room(&mut self) -> bool {
        while self.history.bytes > self.settings.channels.history_memory {
            let Some((channel, offset)) = self.history.order.pop_front() else {
                return false;
            };
            let Some(log) = self.channels.homes.log_mut(&channel) else {
                continue;
            };
            if log.first_offset().is_none_or(|first| first > offset) {
                continue;
            }
            let before = (log.bytes(), log.len());
            log.evict_first();
            self.counters.history_evicted += 1;
            self.history.note_change(before, (log.bytes(), log.len()));
        }
        true
    }

    /// Sees to it that somebody looks at a log again when something in it is due.
    pub(crate) fn look_after_log(&mut self, now: Now, channel: &ChannelName) {
        let forget_after = self.settings.channels.forget_after_ms;
        let Some(home) = self.channels.homes.get_mut(channel) else {
            return;
        };
        let listened = !home.interested.is_empty();
        let Some(log) = home.log.as_deref_mut() else {
            return;
        };
        ask_to_trim(&mut self.effects, channel, log, STORE_TRIM_RECORDS);
        if let Some(look) = log.next_look(listened, forget_after) {
            let at = tick_at(look.max(now.ms));
            if log.armed.is_none_or(|armed| at < armed) {
                log.armed = Some(at);
                self.history.wheel.arm(at, channel.clone());
            }
        }
    }

    /// When logs are to be looked at again, in milliseconds since start.
    pub(crate) fn next_log_deadline(&self) -> Option<u64> {
        let tick = self.history.wheel.next_tick();
        tick.map(|tick| u64::from(tick) * crate::timers::TICK_MS)
    }

    /// Looks at the logs that are due: lets go of what is old, and forgets those that nobody needs.
    pub(crate) fn sweep_logs(&mut self, now: Now) {
        let tick = self.tick(now);
        let mut due = std::mem::take(&mut self.history.due);
        self.history
            .wheel
            .advance(tick, |channel| due.push(channel));
        for channel in due.drain(..) {
            let log = self.channels.homes.log(&channel);
            if log.is_some_and(|log| log.armed.is_some_and(|at| at <= tick)) {
                self.sweep_log(now, &channel);
            }
        }
        self.history.due = due;
    }

    fn sweep_log(&mut self, now: Now, channel: &ChannelName) {
        let forget_after = self.settings.channels.forget_after_ms;
        let Some(home) = self.channels.homes.get_mut(channel) else {
            return;
        };
        let listened = !home.interested.is_empty();
        let Some(log) = home.log.as_deref_mut() else {
            return;
        };
        log.armed = None;
        let before = (log.bytes(), log.len());
        log.trim(now.ms);
        self.history.note_change(before, (log.bytes(), log.len()));
        ask_to_trim(&mut self.effects, channel, log, 1);
        let over = log.touched.saturating_add(forget_after) <= now.ms;
        if log.is_empty() && !listened && over {
            self.forget_log(channel);
        } else {
            self.look_after_log(now, channel);
        }
    }

    fn forget_log(&mut self, channel: &ChannelName) {
        let Some(log) = self.channels.homes.take_log(channel) else {
            return;
        };
        self.history.logs -= 1;
        self.history.note_change((log.bytes(), log.len()), (0, 0));
        #[cfg(feature = "planted-faults")]
        if self.planted.strikes(crate::planted::Fault::KeepEpoch) {
            self.planted.keep_epoch(channel, log.position().epoch);
        }
        if log.rule.durable {
            self.effects
                .push_back(Effect::Store(Box::new(StoreRequest::Forget {
                    log: LogName::channel(channel.clone()),
                    epoch: log.position().epoch,
                })));
        }
    }
}

/// Lets the store let go of what the log has let go of, once that is this many records.
fn ask_to_trim(
    effects: &mut VecDeque<Effect>,
    channel: &ChannelName,
    log: &mut Log,
    at_least: u64,
) {
    if let Some(through) = log.trim_for_store(at_least) {
        let log = LogName::channel(channel.clone());
        effects.push_back(Effect::Store(Box::new(StoreRequest::Trim { log, through })));
    }
}
