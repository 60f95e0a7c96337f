//! A user's connections wherever they are, and how many connections a user or an address may have.
//!
//! **Lives here:** the directory of the users and addresses homed on this shard. **Does not:** asking (that is
//! `connections/admission`), presence.
//! **Invariants:** all connections of one key are counted at one shard, so limits are exact without atomics; every
//! connection counted in is released once.
//! **Called by:** `connections/`, commands. Calls nobody. **Tests:** below.

use std::net::{IpAddr, Ipv6Addr};

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::settings::ShardSettings;
use crate::vocabulary::{ConnectionId, LimitedKey, UserId};

/// Users and addresses homed on this shard.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    users: AHashMap<UserId, SmallVec<[ConnectionId; 2]>>,
    addresses: AHashMap<IpAddr, usize>,
}

/// The address under which a peer is counted: IPv4 as it is, IPv6 by its /64, which is what one subscriber line gets.
pub(crate) fn limited_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

impl Directory {
    /// Counts a connection in, unless its key is at its limit.
    pub(crate) fn admit(
        &mut self,
        connection: ConnectionId,
        key: &LimitedKey,
        settings: &ShardSettings,
    ) -> bool {
        match key {
            LimitedKey::User(user) => {
                let limit = settings.max_connections_per_user.unwrap_or(usize::MAX);
                if let Some(connections) = self.users.get_mut(user) {
                    if connections.len() >= limit {
                        return false;
                    }
                    connections.push(connection);
                } else {
                    if limit == 0 {
                        return false;
                    }
                    self.users
                        .insert(user.clone(), SmallVec::from_slice(&[connection]));
                }
                true
            }
            LimitedKey::Address(address) => {
                let limit = settings.max_connections_per_ip.unwrap_or(usize::MAX);
                let count = self.addresses.entry(*address).or_default();
                let granted = *count < limit;
                *count += usize::from(granted);
                if *count == 0 {
                    self.addresses.remove(address);
                }
                granted
            }
        }
    }

    /// Counts a connection out again.
    pub(crate) fn release(&mut self, connection: ConnectionId, key: &LimitedKey) {
        match key {
            LimitedKey::User(user) => {
                let Some(connections) = self.users.get_mut(user) else {
                    return;
                };
                connections.retain(|counted| *counted != connection);
                if connections.is_empty() {
                    self.users.remove(user);
                }
            }
            LimitedKey::Address(address) => {
                let Some(count) = self.addresses.get_mut(address) else {
                    return;
                };
                *count -= 1;
                if *count == 0 {
                    self.addresses.remove(address);
                }
            }
        }
    }

    pub(crate) fn connections_of(&self, user: &UserId) -> Vec<ConnectionId> {
        self.users
            .get(user)
            .map(|connections| connections.to_vec())
            .unwrap_or_default()
    }

    /// Whether the user has connections.
    pub(crate) fn has(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    pub(crate) fn users(&self) -> usize {
        self.users.len()
    }

    pub(crate) fn addresses(&self) -> usize {
        self.addresses.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::ShardId;
    use std::net::Ipv4Addr;

    fn id(n: u32) -> ConnectionId {
        ConnectionId::new(ShardId(0), n, 0)
    }

    #[test]
    fn contract_m17_a_sixth_connection_of_a_user_is_refused_until_one_leaves() {
        let (mut directory, settings) = (Directory::default(), ShardSettings::default());
        let ann = LimitedKey::User("ann".into());
        for n in 0..5 {
            assert!(directory.admit(id(n), &ann, &settings));
        }
        assert!(!directory.admit(id(5), &ann, &settings));
        directory.release(id(2), &ann);
        assert!(directory.admit(id(6), &ann, &settings));
        assert_eq!(
            directory.connections_of(&"ann".into()),
            [0, 1, 3, 4, 6].map(id)
        );
        for n in [0, 1, 3, 4, 6] {
            directory.release(id(n), &ann);
        }
        assert_eq!(directory.users(), 0);
    }

    #[test]
    fn contract_m18_an_address_is_limited_and_ipv6_counts_by_its_64() {
        let (mut directory, settings) = (Directory::default(), ShardSettings::default());
        let host = |last| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, last));
        for n in 0..10 {
            let key = LimitedKey::Address(limited_address(host(n as u16)));
            assert!(directory.admit(id(n), &key, &settings));
        }
        let key = LimitedKey::Address(limited_address(host(99)));
        assert!(!directory.admit(id(10), &key, &settings));
        let mapped = Ipv4Addr::new(127, 0, 0, 9).to_ipv6_mapped();
        assert_eq!(
            limited_address(IpAddr::V6(mapped)),
            IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9))
        );
    }
}
