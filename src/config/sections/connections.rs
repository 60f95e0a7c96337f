//! `[connections]`: how many, how big, how long.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::bounds;
use crate::config::check::Checker;
use crate::config::environment::Environment;
use crate::config::sections::shards::{DirectDescriptors, ShardSettings};
use crate::config::text::{ByteSize, Limit, TextDuration};

/// What one connection may cost, how many there may be, and when one is given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Connections {
    /// How long the engine waits for the client's answer after it sent a close frame, before it closes the socket.
    #[schemars(extend("x-live" = true, "x-allowed" = bounds::CLOSE_TIMEOUT.to_string()))]
    pub close_timeout: TextDuration,

    /// How long a client may take from being accepted until its upgrade request is complete (contract M2). An absolute deadline: a
    /// client that sends one byte now and then gains nothing.
    #[schemars(extend("x-allowed" = bounds::CONNECTION_TIMEOUT.to_string()))]
    pub connection_timeout: TextDuration,

    /// How long a connection may be silent before it is pinged (contract M3); each is up to a quarter sooner, so that not all are pinged
    /// in one moment. A WebSocket ping, which the client's library answers; the JSON `ping` message is another thing.
    #[schemars(extend("x-live" = true, "x-allowed" = bounds::HEARTBEAT.to_string()))]
    pub heartbeat_interval: TextDuration,

    /// How long a pinged client may take to send anything at all before its connection is given up (contract M4). At most `heartbeat_interval`, so that
    /// only one ping is ever open.
    #[schemars(extend("x-live" = true, "x-allowed" = bounds::HEARTBEAT.to_string()))]
    pub heartbeat_timeout: TextDuration,

    /// Channels one connection may be subscribed to at once. One more is answered with an error; the connection stays.
    #[schemars(extend("x-live" = true, "x-allowed" = bounds::CHANNELS.to_string()))]
    pub max_channels: usize,

    /// Connections the engine holds at once, over all shards (contract M1). Unset, it follows the open-file limit of the process less
    /// what the engine needs itself (64 files and 16 per shard), because every connection is an open file; raise that limit
    /// (`ulimit -n`, or `LimitNOFILE=` of systemd) to hold more. Where it cannot be raised, a number written here is held all the same,
    /// by `shards.direct_descriptors`. The contract's 1000 is not the default: an engine that refuses connections it could hold is a
    /// surprise.
    #[schemars(extend("x-live" = true, "x-allowed" = bounds::CONNECTIONS.to_string(), "x-default" = "follows the open-file limit"))]
    pub max_connections: Option<usize>,

    /// Connections from one IP address (contract M18); IPv6 addresses count by their first 64 bits, because one customer has them all.
    /// One more is closed with 4102. Clients behind one proxy share an address: raise it, or write `"unlimited"`.
    #[schemars(extend("x-live" = true, "x-allowed" = format!("{}, or \"unlimited\"", bounds::CONNECTIONS), "x-default" = "`10`; `\"unlimited\"` when listening on loopback only"))]
    pub max_connections_per_ip: Option<Limit>,

    /// Connections of one user (contract M17). One more is closed with 4101.
    #[schemars(extend("x-live" = true, "x-allowed" = format!("{}, or \"unlimited\"", bounds::CONNECTIONS), "x-default" = "`5`; `\"unlimited\"` when listening on loopback only"))]
    pub max_connections_per_user: Option<Limit>,

    /// Payload bytes of one message from a client, all its fragments together (contract D15, K10). A longer one closes the connection
    /// with 1009 and a reason that names the limit, as soon as a frame's header announces it.
    #[schemars(extend("x-live" = true, "x-allowed" = bounds::MESSAGE_SIZE.to_string()))]
    pub max_message_size: ByteSize,

    /// Payload bytes of one message that the embedding program sends or publishes; a longer one is refused to it. What clients
    /// publish is bounded by `max_message_size`.
    #[schemars(extend("x-live" = true, "x-allowed" = format!("{}, at most what `outbox_hard_limit` leaves above `outbox_soft_limit`", bounds::MESSAGE_SIZE), "x-default" = "what `outbox_hard_limit` leaves above `outbox_soft_limit`"))]
    pub max_outgoing_message_size: Option<ByteSize>,

    /// Bytes that may wait for one connection whose socket takes nothing; beyond it the connection is closed as a slow consumer (4103), and
    /// what waits is dropped, but for the rest of a message that is half written. It is looked at behind all that a shard receives at once,
    /// which may stand over it for that moment. At least `outbox_soft_limit` and `max_message_size` together, so that one largest
    /// message does not close a connection that was still below the soft limit.
    #[schemars(extend("x-live" = true, "x-allowed" = bounds::OUTBOX.to_string()))]
    pub outbox_hard_limit: ByteSize,

    /// Bytes waiting for one connection from which on nothing more is read from it: a client that does not take its answers gets no
    /// more of them. Reading goes on once they are sent.
    #[schemars(extend("x-live" = true, "x-allowed" = bounds::OUTBOX.to_string()))]
    pub outbox_soft_limit: ByteSize,

    /// Subprotocols the engine speaks, best first (contract M16). Of those a client offers, the first in this list is chosen. Empty:
    /// none is chosen, and whatever a client offers is ignored, as RFC 6455 section 4.2.2 has it.
    #[schemars(extend("x-allowed" = "a list of different names such as [\"chat\", \"stream\"]; not \"bearer.…\", which carries tokens (contract D18)"))]
    pub protocols: Vec<String>,
}

/// Contract M18, where it applies.
const DEFAULT_PER_IP: usize = 10;
/// Contract M17, where it applies.
const DEFAULT_PER_USER: usize = 5;

impl Default for Connections {
    fn default() -> Self {
        Self {
            close_timeout: TextDuration::from_secs(5),
            connection_timeout: TextDuration::from_secs(30),
            heartbeat_interval: TextDuration::from_secs(30),
            heartbeat_timeout: TextDuration::from_secs(10),
            max_channels: 128,
            max_connections: None,
            max_connections_per_ip: None,
            max_connections_per_user: None,
            max_message_size: ByteSize::kib(64),
            max_outgoing_message_size: None,
            outbox_hard_limit: ByteSize::mib(1),
            outbox_soft_limit: ByteSize::kib(256),
            protocols: Vec::new(),
        }
    }
}

/// `[connections]`, checked. Times in milliseconds, sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// Over all shards.
    pub max_connections: usize,
    /// Of one user; `None` is unlimited.
    pub max_connections_per_user: Option<u32>,
    /// From one IP address, IPv6 by its /64; `None` is unlimited.
    pub max_connections_per_ip: Option<u32>,
    /// From accept to the end of the upgrade request.
    pub connection_timeout_ms: u64,
    /// Silence before a ping.
    pub heartbeat_interval_ms: u64,
    /// Wait for the pong; at most `heartbeat_interval_ms`.
    pub heartbeat_timeout_ms: u64,
    /// Wait for the peer's close frame.
    pub close_timeout_ms: u64,
    /// Payload of one inbound message, in bytes.
    pub max_message_size: usize,
    /// Payload of one message from outside, in bytes.
    pub max_outgoing_message_size: usize,
    /// Subscriptions of one connection.
    pub max_channels: usize,
    /// Bytes from which on reading pauses.
    pub outbox_soft_limit: usize,
    /// Bytes beyond which the connection is closed; at least `outbox_soft_limit + max_message_size`.
    pub outbox_hard_limit: usize,
    /// Subprotocols, best first; empty: none is chosen.
    pub protocols: Vec<String>,
}

impl Connections {
    pub(in crate::config) fn check(
        &self,
        shards: &ShardSettings,
        on_loopback: bool,
        environment: &Environment,
        checker: &mut Checker,
    ) -> ConnectionSettings {
        let max_connections = self.check_max_connections(shards, environment, checker);
        let (per_ip, per_user) = (self.max_connections_per_ip, self.max_connections_per_user);
        let switched_off = match (per_ip, per_user) {
            (None, None) => "limits of connections per IP address and per user are",
            (None, Some(_)) => "limit of connections per IP address is",
            (Some(_), None) => "limit of connections per user is",
            (Some(_), Some(_)) => "",
        };
        if on_loopback && !switched_off.is_empty() {
            checker.note(format!(
                "listening on loopback only: the {switched_off} off"
            ));
        }
        let settings = ConnectionSettings {
            max_connections,
            max_connections_per_user: checker.limit(
                "connections.max_connections_per_user",
                per_user.unwrap_or(unless(on_loopback, DEFAULT_PER_USER)),
                &bounds::CONNECTIONS,
            ),
            max_connections_per_ip: checker.limit(
                "connections.max_connections_per_ip",
                per_ip.unwrap_or(unless(on_loopback, DEFAULT_PER_IP)),
                &bounds::CONNECTIONS,
            ),
            connection_timeout_ms: checker.milliseconds(
                "connections.connection_timeout",
                self.connection_timeout,
                &bounds::CONNECTION_TIMEOUT,
            ),
            heartbeat_interval_ms: checker.milliseconds(
                "connections.heartbeat_interval",
                self.heartbeat_interval,
                &bounds::HEARTBEAT,
            ),
            heartbeat_timeout_ms: checker.milliseconds(
                "connections.heartbeat_timeout",
                self.heartbeat_timeout,
                &bounds::HEARTBEAT,
            ),
            close_timeout_ms: checker.milliseconds(
                "connections.close_timeout",
                self.close_timeout,
                &bounds::CLOSE_TIMEOUT,
            ),
            max_message_size: checker.bytes(
                "connections.max_message_size",
                self.max_message_size,
                &bounds::MESSAGE_SIZE,
            ),
            max_outgoing_message_size: self.check_outgoing(checker),
            max_channels: checker.whole(
                "connections.max_channels",
                self.max_channels,
                &bounds::CHANNELS,
            ),
            outbox_soft_limit: checker.bytes(
                "connections.outbox_soft_limit",
                self.outbox_soft_limit,
                &bounds::OUTBOX,
            ),
            outbox_hard_limit: checker.bytes(
                "connections.outbox_hard_limit",
                self.outbox_hard_limit,
                &bounds::OUTBOX,
            ),
            protocols: self.protocols.clone(),
        };
        self.check_protocols(checker);
        self.check_relations(checker);
        settings
    }

    fn check_max_connections(
        &self,
        shards: &ShardSettings,
        environment: &Environment,
        checker: &mut Checker,
    ) -> usize {
        const KEY: &str = "connections.max_connections";
        let count = shards.count;
        let kept_back = bounds::open_files_kept_back(count);
        let open_file_limit = usize::try_from(environment.open_file_limit).unwrap_or(usize::MAX);
        let possible = open_file_limit.saturating_sub(kept_back);
        match self.max_connections {
            Some(wanted) => {
                if wanted > possible {
                    let needed = wanted.saturating_add(kept_back);
                    let remedy = match shards.direct_descriptors {
                        DirectDescriptors::Off => {
                            format!("raise the limit with `ulimit -n {needed}`")
                        }
                        DirectDescriptors::Auto | DirectDescriptors::On => {
                            "connections are held by direct descriptors then".to_owned()
                        }
                    };
                    // No fault: a configuration for the server may well be checked on a laptop. The engine refuses to start where even
                    // that is too little.
                    checker.note(format!(
                        "{KEY} = {wanted} needs {needed} open files; this process may have {open_file_limit}: {remedy}",
                    ));
                }
                checker.whole(KEY, wanted, &bounds::CONNECTIONS)
            }
            None if possible == 0 => {
                checker.refuse(
                    KEY,
                    "(follows the open-file limit)",
                    format!(
                        "the open-file limit of {} leaves no connection after the {kept_back} files {count} shards need: raise it with `ulimit -n {}`",
                        open_file_limit,
                        kept_back + 1_000,
                    ),
                );
                0
            }
            None => {
                let most = possible.min(bounds::CONNECTIONS.most);
                checker.note(format!(
                    "at most {most} connections: the open-file limit of {open_file_limit} less {kept_back} kept back for the engine; `ulimit -n` raises it, and a number in {KEY} is held beyond it where the machine can"
                ));
                most
            }
        }
    }

    fn check_outgoing(&self, checker: &mut Checker) -> usize {
        const KEY: &str = "connections.max_outgoing_message_size";
        let (soft, hard) = (self.outbox_soft_limit, self.outbox_hard_limit);
        let room = ByteSize::bytes(hard.get().saturating_sub(soft.get()));
        let Some(wanted) = self.max_outgoing_message_size else {
            return usize::try_from(room.get()).unwrap_or(usize::MAX);
        };
        let bytes = checker.bytes(KEY, wanted, &bounds::MESSAGE_SIZE);
        if wanted > room {
            checker.refuse_relation(
                KEY,
                &["connections.outbox_soft_limit", "connections.outbox_hard_limit"],
                format!("\"{wanted}\""),
                format!("must be at most what outbox_hard_limit ({hard}) leaves above outbox_soft_limit ({soft}): {room}"),
            );
        }
        bytes
    }

    fn check_protocols(&self, checker: &mut Checker) {
        const KEY: &str = "connections.protocols";
        if self.protocols.len() > bounds::PROTOCOLS {
            checker.refuse(
                KEY,
                format!("{} names", self.protocols.len()),
                format!("at most {} names are allowed", bounds::PROTOCOLS),
            );
        }
        for (index, name) in self.protocols.iter().enumerate() {
            let problem = if name.is_empty() || !name.bytes().all(super::is_token_byte) {
                "a subprotocol is a token of RFC 9110 section 5.6.2: letters, digits and !#$%&'*+-.^_`|~".to_owned()
            } else if name.len() > bounds::PROTOCOL_NAME_BYTES {
                format!(
                    "a subprotocol has at most {} bytes",
                    bounds::PROTOCOL_NAME_BYTES
                )
            } else if name.starts_with("bearer.") {
                "names that begin with \"bearer.\" carry tokens (contract D18) and are never chosen"
                    .to_owned()
            } else if self.protocols[..index].contains(name) {
                "the name stands in the list twice".to_owned()
            } else {
                continue;
            };
            checker.refuse(KEY, format!("{name:?}"), problem);
        }
    }

    fn check_relations(&self, checker: &mut Checker) {
        let (soft, message, hard) = (
            self.outbox_soft_limit,
            self.max_message_size,
            self.outbox_hard_limit,
        );
        let least = ByteSize::bytes(soft.get().saturating_add(message.get()));
        if hard < least {
            checker.refuse_relation(
                "connections.outbox_hard_limit",
                &[
                    "connections.outbox_soft_limit",
                    "connections.max_message_size",
                ],
                format!("\"{hard}\""),
                format!("must be at least outbox_soft_limit ({soft}) and max_message_size ({message}) together: {least}"),
            );
        }
        if self.heartbeat_timeout > self.heartbeat_interval {
            checker.refuse_relation(
                "connections.heartbeat_timeout",
                &["connections.heartbeat_interval"],
                format!("\"{}\"", self.heartbeat_timeout),
                format!(
                    "must be at most heartbeat_interval ({}), so that only one ping is ever open",
                    self.heartbeat_interval
                ),
            );
        }
    }
}

/// The limit that holds where strangers can connect.
fn unless(on_loopback: bool, count: usize) -> Limit {
    if on_loopback {
        Limit::Unlimited
    } else {
        Limit::AtMost(count)
    }
}

#[cfg(test)]
mod tests;
