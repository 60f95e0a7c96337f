//! The protocol heartbeat (contract M3, M4; RFC 6455, 5.5.2): a peer that is silent for an interval is pinged, one that is
//! silent for the timeout after that is gone.
//!
//! One timer per connection, armed for the earliest moment at which anything could be due; traffic does not touch it.

use shardwire_protocol::codes::close;
use shardwire_protocol::websocket::frame;

use super::{Flags, State};
use crate::shard::Shard;
use crate::timers::{Tick, tick_at};
use crate::vocabulary::{ConnectionId, Now};

impl Shard {
    pub(crate) fn arm_heartbeat(&mut self, now: Now, id: ConnectionId) {
        let due = self.tick(now).saturating_add(self.patience(id, true));
        self.wheel.arm(due, id);
    }

    /// How long a peer may be silent. Connections that came together are not pinged together: the first interval, until
    /// anything was received, is shortened by up to a quarter. By slot, which spreads a burst evenly.
    fn patience(&self, id: ConnectionId, fresh: bool) -> Tick {
        let interval = tick_at(self.settings.heartbeat_interval_ms);
        if fresh {
            interval - id.slot() % (interval / 4).max(1)
        } else {
            interval
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
        let fresh = self
            .registry
            .get(id)
            .is_some_and(|connection| connection.flags.has(Flags::FRESH));
        let patience = self.patience(id, fresh);
        let Some(connection) = self.registry.get_mut(id) else {
            return;
        };
        match connection.state {
            State::Closing { until, .. } => {
                if tick >= until {
                    self.finish(id);
                }
            }
            State::Admitting(_) | State::Authenticating(_) => {}
            State::Open | State::Calling(_) => {
                if let Some(pinged) = connection.pinged
                    && connection.heard < pinged
                {
                    if tick >= pinged.saturating_add(timeout) {
                        self.counters.heartbeat_timeouts += 1;
                        self.close_at(
                            tick,
                            id,
                            close::HEARTBEAT_TIMEOUT,
                            "heartbeat timeout",
                            false,
                        );
                    } else {
                        self.arm_while_pinged(id, tick, pinged, patience);
                    }
                    return;
                }
                connection.pinged = None;
                let due: Tick = connection.heard.saturating_add(patience);
                if tick < due {
                    self.wheel.arm(due, id);
                    return;
                }
                connection.pinged = Some(tick);
                self.arm_while_pinged(id, tick, tick, patience);
                self.counters.pings_sent += 1;
                self.write(id, |out| frame::write_server(out, frame::Kind::Ping, &[]));
            }
        }
    }
}
