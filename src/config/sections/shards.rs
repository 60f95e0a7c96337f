//! `[shards]`: how many shards there are and which one a connection lives on.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::bounds;
use crate::config::check::Checker;
use crate::config::environment::Environment;

/// How many shards there are, and which of them a connection lives on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Shards {
    /// Shards to run, each on a thread of its own. More than there are cores is allowed, for tests and for measuring; it makes nothing
    /// faster.
    #[schemars(extend("x-allowed" = bounds::SHARD_COUNT.to_string(), "x-default" = "the cores this process may use"))]
    pub count: Option<usize>,

    /// Whether connections are held by direct descriptors: in tables of io_uring instead of as open files of the process, so that the
    /// open-file limit no longer bounds how many there are. `"auto"`: if `connections.max_connections` needs more open files than this
    /// process may have. `"on"`: always. `"off"`: never; the engine then does not start where files are too few. They need io_uring and
    /// Linux 6.8, cost as much as files do, and are not shown by `ss -p` and `/proc/PID/fd`. Decided at start, with a line in the log.
    pub direct_descriptors: DirectDescriptors,

    /// How shards meet their sockets. `"auto"`: by io_uring, or by epoll where io_uring is denied (some containers, old kernels), with
    /// a warning at start. `"io-uring"`: only so, or the engine does not start. `"epoll"`: never by io_uring.
    pub driver: DriverChoice,

    /// With `placement = "ip-hash"`: whether a filter on the listening sockets lets the kernel hand each new connection to the shard that
    /// is its home, so that none has to be moved. `false` lets the kernel choose and moves each socket to its home after it was
    /// accepted: the same homes, one hop more. Without effect under the other placements.
    pub kernel_steering: bool,

    /// Whether each shard stays on one core. Best when the cores are the engine's own; bad when other programs or other shards share
    /// them, because a pinned shard cannot move out of the way.
    #[schemars(extend("x-default" = "`true` unless there are more shards than cores"))]
    pub pin: Option<bool>,

    /// Which shard is the home of a connection. `"accept"`: whichever the kernel gave it to; cheapest. `"ip-hash"`: by the client's IP
    /// address, so that limits per address are exact. `"user-hash"`: by the user, so that all connections of a user meet on one shard;
    /// the socket moves there after the upgrade.
    pub placement: PlacementRule,
}

/// The rule that picks a connection's home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum PlacementRule {
    /// The shard the kernel gave the connection to.
    Accept,
    /// By the client's IP address.
    IpHash,
    /// By the user, known after the upgrade.
    UserHash,
}

/// How shards meet their sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum DriverChoice {
    /// io_uring where the machine allows it, else epoll.
    Auto,
    /// io_uring.
    IoUring,
    /// epoll.
    Epoll,
}

/// When connections are held by direct descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum DirectDescriptors {
    /// Where open files are too few for the connections.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl fmt::Display for DirectDescriptors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

impl fmt::Display for DriverChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "auto",
            Self::IoUring => "io-uring",
            Self::Epoll => "epoll",
        })
    }
}

impl fmt::Display for PlacementRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Accept => "accept",
            Self::IpHash => "ip-hash",
            Self::UserHash => "user-hash",
        })
    }
}

impl Default for Shards {
    fn default() -> Self {
        Self {
            count: None,
            direct_descriptors: DirectDescriptors::Auto,
            driver: DriverChoice::Auto,
            kernel_steering: true,
            pin: None,
            placement: PlacementRule::IpHash,
        }
    }
}

/// `[shards]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardSettings {
    /// Shards to run; 1 to 256.
    pub count: usize,
    /// When connections are held by direct descriptors; never by epoll.
    pub direct_descriptors: DirectDescriptors,
    /// How shards meet their sockets.
    pub driver: DriverChoice,
    /// Whether shard i is pinned to the i-th core this process may use (modulo their number).
    pub pin: bool,
    /// Which shard is the home of a connection.
    pub placement: PlacementRule,
    /// Whether `ip-hash` is steered by a filter in the kernel; the runtime falls back to hand-off where the kernel refuses.
    pub kernel_steering: bool,
}

impl Shards {
    pub(in crate::config) fn check(
        &self,
        environment: &Environment,
        checker: &mut Checker,
    ) -> ShardSettings {
        let count = match self.count {
            Some(count) => checker.whole("shards.count", count, &bounds::SHARD_COUNT),
            // A machine with more cores than shards allowed is no fault of the operator.
            None => environment
                .cores
                .clamp(bounds::SHARD_COUNT.least, bounds::SHARD_COUNT.most),
        };
        let crowded = count > environment.cores;
        let pin = self.pin.unwrap_or(!crowded);
        if crowded {
            checker.note(format!(
                "{count} shards share {} {}: they {} pinned, and more shards than cores make nothing faster",
                environment.cores,
                if environment.cores == 1 { "core" } else { "cores" },
                if pin { "are" } else { "are not" },
            ));
        }
        let by_epoll = self.driver == DriverChoice::Epoll;
        if by_epoll && self.direct_descriptors == DirectDescriptors::On {
            checker.refuse_relation(
                "shards.direct_descriptors",
                &["shards.driver"],
                "\"on\"",
                "direct descriptors are io_uring's: they cannot be had with driver = \"epoll\""
                    .to_owned(),
            );
        }
        let direct_descriptors = if by_epoll {
            DirectDescriptors::Off
        } else {
            self.direct_descriptors
        };
        ShardSettings {
            count,
            direct_descriptors,
            driver: self.driver,
            pin,
            placement: self.placement,
            kernel_steering: self.kernel_steering,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(shards: &Shards, cores: usize) -> (ShardSettings, Vec<String>) {
        let mut checker = Checker::default();
        let settings = shards.check(
            &Environment {
                cores,
                open_file_limit: 1_024,
            },
            &mut checker,
        );
        (settings, checker.finish().unwrap())
    }

    #[test]
    fn there_is_one_pinned_shard_per_core() {
        let (settings, notes) = check(&Shards::default(), 4);
        assert_eq!((settings.count, settings.pin), (4, true));
        assert_eq!(notes, Vec::<String>::new());
    }

    #[test]
    fn more_shards_than_cores_are_allowed_not_pinned_and_noted() {
        let (settings, notes) = check(
            &Shards {
                count: Some(7),
                ..Shards::default()
            },
            2,
        );
        assert_eq!((settings.count, settings.pin), (7, false));
        assert!(
            notes[0].contains("7 shards share 2 cores: they are not pinned"),
            "{notes:?}"
        );
        let (settings, _) = check(
            &Shards {
                count: Some(7),
                pin: Some(true),
                ..Shards::default()
            },
            2,
        );
        assert!(settings.pin, "what the operator writes is obeyed");
    }

    #[test]
    fn epoll_has_no_direct_descriptors() {
        let by_epoll = |direct_descriptors| {
            let mut checker = Checker::default();
            let shards = Shards {
                direct_descriptors,
                driver: DriverChoice::Epoll,
                ..Shards::default()
            };
            let environment = Environment {
                cores: 2,
                open_file_limit: 1_024,
            };
            let settings = shards.check(&environment, &mut checker);
            checker.finish().map(|_| settings)
        };
        let faults = by_epoll(DirectDescriptors::On).unwrap_err().to_string();
        assert!(
            faults.contains("shards.direct_descriptors") && faults.contains("driver = \"epoll\""),
            "{faults}"
        );
        let settings = by_epoll(DirectDescriptors::Auto).unwrap();
        assert_eq!(settings.direct_descriptors, DirectDescriptors::Off);
    }

    #[test]
    fn a_huge_machine_gets_the_most_shards_there_can_be() {
        assert_eq!(check(&Shards::default(), 1_024).0.count, 256);
    }
}
