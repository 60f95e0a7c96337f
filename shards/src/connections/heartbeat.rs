//! The protocol heartbeat (contract M3, M4; RFC 6455, 5.5.2): a peer that is silent for an interval is pinged, one that is
//! silent for the timeout after that is gone.
//!
//! One timer per connection, armed for the earliest moment at which anything could be due; traffic does not touch it.
//!
//! Many connections must not be pinged, or given up, in one moment: each has an interval of its own, up to a quarter shorter than
//! the one that was configured, so that connections that came together, or answered together, drift apart. And a shard that
//! stood still has not listened meanwhile: nobody is judged by that time.

use std::num::NonZero;

use shardwire_protocol::codes::close;
use shardwire_protocol::websocket::frame;

use super::{Flags, State};
use crate::bounds::STALL_MS;
use crate::shard::Shard;
use crate::timers::{Tick, tick_at};
use crate::vocabulary::{ConnectionId, Now};

impl Shard {
    pub(crate) fn arm_heartbeat(&mut self, now: Now, id: ConnectionId) {
        let due = self.tick(now).saturating_add(self.patience(id));
        self.wheel.arm(due, id);
    }

    /// How long a peer may be silent.
    fn patience(&self, id: ConnectionId) -> Tick {
        tick_at(self.settings.heartbeat_interval_ms) - self.spread(id)
    }

    /// A connection's place in a quarter of the interval. By slot, which spreads a burst evenly.
    fn spread(&self, id: ConnectionId) -> Tick {
        let interval = tick_at(self.settings.heartbeat_interval_ms);
        id.slot() % (interval / 4).max(1)
    }

    /// Notices that the earliest timer is late: the shard did not run. What peers said meanwhile may still be in their sockets,
    /// and takes turns to be read.
    pub(crate) fn notice_a_stall(&mut self, tick: Tick) {
        let is_late =
            |due: Option<Tick>| due.is_some_and(|due| tick.saturating_sub(due) > tick_at(STALL_MS));
        // The wheel's next tick is the beginning of a coarse slot, which may have passed long before anything was armed in it.
        if is_late(self.wheel.next_tick()) && is_late(self.wheel.earliest()) {
            self.stalled_until = tick;
        }
    }

    /// Arms for whichever may be due first: giving up, or the next ping if the answer comes at once.
    fn arm_while_pinged(&mut self, id: ConnectionId, tick: Tick, pinged: Tick, patience: Tick) {
        let timeout = tick_at(self.settings.heartbeat_timeout_ms);
        let give_up = pinged.saturating_add(timeout);
        let ping_again = tick.saturating_add(patience);
        self.wheel.arm(give_up.min(ping_again), id);
    }

    /// A connection's timer fired.
    pub(crate) fn look_after(&mut self, now: Now, id: ConnectionId) {
        let tick = self.tick(now);
        let timeout = tick_at(self.settings.heartbeat_timeout_ms);
        let (patience, spread) = (self.patience(id), self.spread(id));
        let stalled_until = self.stalled_until;
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        if connection.flags.has(Flags::ENDED) {
            return self.look_after_ended(tick, id);
        }
        match connection.state {
            State::Closing { until, .. } => {
                if tick >= until {
                    self.finish(id);
                }
            }
            State::Admitting(_) | State::Authenticating(_) => {}
            State::Open | State::Calling(_) => {
                if let Some(pinged) = connection.pinged.map(NonZero::get)
                    && connection.heard < pinged
                {
                    let since = pinged.max(stalled_until);
                    if tick >= since.saturating_add(timeout) {
                        self.counters.heartbeat_timeouts += 1;
                        self.close_at(
                            tick,
                            id,
                            close::HEARTBEAT_TIMEOUT,
                            "heartbeat timeout",
                            false,
                        );
                    } else {
                        self.arm_while_pinged(id, tick, since, patience);
                    }
                    return;
                }
                connection.pinged = None;
                let mut due: Tick = connection.heard.saturating_add(patience);
                if connection.heard < stalled_until {
                    due = due.max(stalled_until.saturating_add(spread));
                }
                if tick < due {
                    self.wheel.arm(due, id);
                    return;
                }
                connection.pinged = NonZero::new(tick);
                self.arm_while_pinged(id, tick, tick, patience);
                self.counters.pings_sent += 1;
                self.write(id, |out| frame::write_server(out, frame::Kind::Ping, &[]));
            }
        }
    }
}
