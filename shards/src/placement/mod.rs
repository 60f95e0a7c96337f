//! Which shard is home for an address, a user, a channel, a document.
//!
//! **Lives here:** pure functions from names to shards. **Does not:** moving anything there; the world hands sockets off.
//! **Invariants:** the same on every shard, for ever and for every platform: homes of one name meet. The address hash is
//! what the kernel's reuse-port filter computes, so that a steered connection is at home when it arrives.
//! **Called by:** listening (where does this socket belong?), channels and users (who orders, who counts?). Calls nobody.
//! **Tests:** below; with real kernel steering in `tests/placement.rs`.

use std::net::IpAddr;

use twox_hash::XxHash3_64;

use crate::vocabulary::{LogKind, LogName, ShardId};

/// How connections find their shard (`shards.placement`, contract K2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// Where the kernel put it.
    Accept,
    /// By the peer's address.
    IpHash,
    /// By the user; a connection without one stays where the kernel put it.
    UserHash,
}

/// The rule, and over how many shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement {
    rule: Rule,
    shards: u16,
}

/// Multiplier of the address hash (2^32 / golden ratio), the same constant as in the kernel's filter program.
pub const ADDRESS_HASH_MULTIPLIER: u32 = 0x9E37_79B1;

impl Placement {
    /// `shards` must be at least 1; the configuration guarantees it.
    #[must_use]
    pub fn new(rule: Rule, shards: u16) -> Self {
        assert!(shards >= 1, "a node has at least one shard");
        Self { rule, shards }
    }

    /// The rule in force.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// Every shard of the node.
    pub fn all(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards).map(ShardId)
    }

    /// Where a connection lives that the kernel handed to `accepted_on`.
    #[must_use]
    pub fn home(&self, accepted_on: ShardId, address: IpAddr, user: Option<&str>) -> ShardId {
        match (self.rule, user) {
            (Rule::Accept, _) | (Rule::UserHash, None) => accepted_on,
            (Rule::IpHash, _) => self.home_of_address(address),
            (Rule::UserHash, Some(user)) => self.home_of_user(user),
        }
    }

    /// Who counts an address's connections. IPv4-mapped IPv6 counts as IPv4.
    #[must_use]
    pub fn home_of_address(&self, address: IpAddr) -> ShardId {
        ShardId((address_hash(address) % u32::from(self.shards)) as u16)
    }

    /// Who knows a user's connections.
    #[must_use]
    pub fn home_of_user(&self, user: &str) -> ShardId {
        self.rendezvous(XxHash3_64::oneshot_with_seed(1, user.as_bytes()))
    }

    /// Who orders a channel's publications.
    #[must_use]
    pub fn home_of_channel(&self, channel: &str) -> ShardId {
        self.rendezvous(XxHash3_64::oneshot_with_seed(2, channel.as_bytes()))
    }

    /// Who keeps a log: the home of what it is of.
    #[must_use]
    pub fn home_of_log(&self, log: &LogName) -> ShardId {
        match log.kind {
            LogKind::Channel => self.home_of_channel(&log.name),
            LogKind::Inbox => self.home_of_user(&log.name),
            LogKind::Document => self.home_of_channel(&log.name),
        }
    }

    /// Rendezvous hashing: the shard with the highest score wins, so that adding one moves only the names it wins.
    fn rendezvous(&self, name: u64) -> ShardId {
        let mut best = (0, 0);
        for shard in 0..self.shards {
            let score = mix(name ^ u64::from(shard).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            if score >= best.0 {
                best = (score, shard);
            }
        }
        ShardId(best.1)
    }
}

/// The hash the kernel's reuse-port filter takes of the source address; its remainder is the listener's index.
#[must_use]
pub fn address_hash(address: IpAddr) -> u32 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u32::from(v4).wrapping_mul(ADDRESS_HASH_MULTIPLIER) >> 16,
        IpAddr::V6(v6) => {
            let mut hash = 0_u32;
            for word in v6.octets().chunks_exact(4) {
                let word = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
                hash = (word ^ hash).wrapping_mul(ADDRESS_HASH_MULTIPLIER);
            }
            hash >> 16
        }
    }
}

/// Finaliser of splitmix64: every input bit reaches every output bit.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn every_rule_names_its_home() {
        let ip = IpAddr::V4(Ipv4Addr::new(127, 0, 3, 9));
        for shards in [1, 2, 4, 7] {
            let on = ShardId(shards - 1);
            let accept = Placement::new(Rule::Accept, shards);
            assert_eq!(accept.home(on, ip, Some("ann")), on);
            let by_ip = Placement::new(Rule::IpHash, shards);
            assert_eq!(by_ip.home(on, ip, None), by_ip.home_of_address(ip));
            let by_user = Placement::new(Rule::UserHash, shards);
            assert_eq!(
                by_user.home(on, ip, Some("ann")),
                by_user.home_of_user("ann")
            );
            assert_eq!(by_user.home(on, ip, None), on);
        }
    }

    #[test]
    fn a_mapped_address_is_at_home_where_its_ipv4_form_is() {
        let v4 = Ipv4Addr::new(127, 0, 1, 77);
        assert_eq!(
            address_hash(IpAddr::V4(v4)),
            address_hash(IpAddr::V6(v4.to_ipv6_mapped()))
        );
    }

    #[test]
    fn the_hash_is_the_documented_arithmetic() {
        assert_eq!(address_hash(IpAddr::V4(Ipv4Addr::new(0, 0, 0, 1))), 0x9E37);
        let one = Ipv6Addr::LOCALHOST;
        assert_eq!(address_hash(IpAddr::V6(one)), 0x9E37);
    }

    #[test]
    fn names_spread_evenly_and_move_minimally() {
        let (four, five) = (
            Placement::new(Rule::Accept, 4),
            Placement::new(Rule::Accept, 5),
        );
        let mut counts = [0_u32; 4];
        let mut moved_elsewhere = 0;
        for n in 0..40_000 {
            let name = format!("room:{n}");
            let (old, new) = (four.home_of_channel(&name), five.home_of_channel(&name));
            counts[old.index()] += 1;
            moved_elsewhere += u32::from(new != old && new != ShardId(4));
        }
        assert_eq!(moved_elsewhere, 0, "a name may only move to the new shard");
        for count in counts {
            assert!((9_500..10_500).contains(&count), "{counts:?}");
        }
    }

    #[test]
    fn homes_never_change_between_builds() {
        let placement = Placement::new(Rule::UserHash, 7);
        let homes: Vec<u16> = ["ann", "bob", "cleo", "dan"]
            .map(|user| placement.home_of_user(user).0)
            .to_vec();
        assert_eq!(homes, HOMES_AS_RELEASED);
    }

    /// Written down once: if this changes, nodes of two versions disagree about who is home.
    const HOMES_AS_RELEASED: [u16; 4] = [2, 1, 4, 0];
}
