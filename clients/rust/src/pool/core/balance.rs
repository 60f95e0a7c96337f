//! Which of the eligible backends is next. Decides; looks at nothing but weights, loads and keys.

use super::member::Member;
use crate::pool::options::LoadBalancing;
use std::time::Duration;
use tokio::time::Instant;

/// What a pick is for: each purpose takes its own turns, so that opening ahead does not disturb the order of acquires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Purpose {
    Acquire = 0,
    Warm = 1,
}

#[derive(Debug)]
pub(in crate::pool) struct Balancer {
    strategy: LoadBalancing,
    slow_start: Duration,
    picks: u64,
}

impl Balancer {
    pub(in crate::pool) fn new(strategy: LoadBalancing, slow_start: Duration) -> Balancer {
        Balancer {
            strategy,
            slow_start,
            picks: 0,
        }
    }

    pub(in crate::pool) fn weight(&self, member: &Member, now: Instant) -> i64 {
        let even = self.strategy == LoadBalancing::RoundRobin;
        member.effective_weight(even, self.slow_start, now)
    }

    /// Whether `key` binds an acquire to one backend.
    pub(in crate::pool) fn binds(&self, key: Option<u64>) -> Option<u64> {
        key.filter(|_| self.strategy == LoadBalancing::IpHash)
    }

    /// Index of the next one among those marked eligible.
    pub(in crate::pool) fn pick(
        &mut self,
        members: &mut [Member],
        purpose: Purpose,
        now: Instant,
    ) -> Option<usize> {
        let index = match self.strategy {
            LoadBalancing::LeastConnections => self.least_loaded(members, now)?,
            _ => self.next_in_turn(members, purpose, now)?,
        };
        self.picks += 1;
        members[index].picked = self.picks;
        Some(index)
    }

    /// Smooth weighted round robin: everyone earns its weight, the richest is picked and pays the sum. With even weights it
    /// is plain round robin.
    fn next_in_turn(
        &self,
        members: &mut [Member],
        purpose: Purpose,
        now: Instant,
    ) -> Option<usize> {
        let turn = purpose as usize;
        let mut sum = 0;
        let mut best: Option<usize> = None;
        for index in 0..members.len() {
            if !members[index].eligible {
                continue;
            }
            let weight = self.weight(&members[index], now);
            sum += weight;
            members[index].credit[turn] += weight;
            // The first of equals: the order in which they were given.
            if best.is_none_or(|best| members[index].credit[turn] > members[best].credit[turn]) {
                best = Some(index);
            }
        }
        members[best?].credit[turn] -= sum;
        best
    }

    fn least_loaded(&self, members: &[Member], now: Instant) -> Option<usize> {
        let eligible = members
            .iter()
            .enumerate()
            .filter(|(_, member)| member.eligible);
        let by_load = eligible.min_by(|(_, left), (_, right)| {
            let load = |member: &Member| (member.active + member.opening) as i128;
            let weight = |member: &Member| i128::from(self.weight(member, now));
            // load / weight, without a division.
            let (one, other) = (load(left) * weight(right), load(right) * weight(left));
            one.cmp(&other).then(left.picked.cmp(&right.picked))
        });
        by_load.map(|(index, _)| index)
    }

    /// Weighted rendezvous: each backend's score for the key depends on nothing but the two, so when one goes, the keys of the
    /// others stay.
    pub(in crate::pool) fn rendezvous<'m>(
        members: impl Iterator<Item = (usize, &'m Member)>,
        key: u64,
    ) -> Option<usize> {
        let scored = members.map(|(index, member)| {
            let hash = mix(key ^ hash_of(member.id.as_bytes()));
            // Uniform in (0, 1], from the upper 53 bits.
            let uniform = ((hash >> 11) + 1) as f64 / (1u64 << 53) as f64;
            (index, -uniform.ln() / f64::from(member.weight))
        });
        scored
            .min_by(|(_, one), (_, other)| one.total_cmp(other))
            .map(|(index, _)| index)
    }
}

/// FNV-1a: stable across processes and versions, so that every gateway sends a key to the same backend.
pub(in crate::pool) fn hash_of(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold)
}

/// The finaliser of splitmix64: every bit of the key moves half of the result's.
fn mix(mut value: u64) -> u64 {
    value ^= value >> 30;
    value = value.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value ^= value >> 27;
    value = value.wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        pool::options::{Backend, PoolOptions},
        target::Target,
    };

    fn members(weights: &[u32]) -> Vec<Member> {
        let member = |(index, weight): (usize, &u32)| {
            let backend = Backend::new(format!("ws-{index}"), "ws://x").weight(*weight);
            let target = Target::parse(&backend.url).unwrap();
            let mut member = Member::new(index as u64, &backend, target, &PoolOptions::default());
            member.eligible = true;
            member
        };
        weights.iter().enumerate().map(member).collect()
    }

    fn picks(strategy: LoadBalancing, weights: &[u32], count: usize) -> Vec<usize> {
        let mut members = members(weights);
        let mut balancer = Balancer::new(strategy, Duration::ZERO);
        let now = Instant::now();
        (0..count)
            .map(|_| balancer.pick(&mut members, Purpose::Acquire, now).unwrap())
            .collect()
    }

    #[test]
    fn turns_are_even_and_weights_are_mixed() {
        assert_eq!(
            picks(LoadBalancing::RoundRobin, &[9, 1, 1], 6),
            [0, 1, 2, 0, 1, 2]
        );
        assert_eq!(
            picks(LoadBalancing::WeightedRoundRobin, &[2, 1, 1], 8),
            [0, 1, 2, 0, 0, 1, 2, 0]
        );
        // Any window of a whole round is exact.
        let many = picks(LoadBalancing::WeightedRoundRobin, &[5, 3, 2], 1000);
        for round in many.windows(10) {
            assert_eq!(round.iter().filter(|pick| **pick == 0).count(), 5);
            assert_eq!(round.iter().filter(|pick| **pick == 1).count(), 3);
        }
    }

    #[test]
    fn a_slow_start_grows_from_a_tenth_to_the_whole() {
        let mut members = members(&[1, 1]);
        let mut balancer = Balancer::new(LoadBalancing::RoundRobin, Duration::from_secs(10));
        let returned = Instant::now();
        members[1].returned_at = Some(returned);
        let mut share_at = |after: u64| {
            let now = returned + Duration::from_secs(after);
            let picked =
                (0..1000).filter(|_| balancer.pick(&mut members, Purpose::Acquire, now) == Some(1));
            picked.count()
        };
        assert!((80..=100).contains(&share_at(0)));
        assert!((320..=345).contains(&share_at(5)));
        assert!((499..=501).contains(&share_at(10)));
    }

    #[test]
    fn rendezvous_spreads_by_weight_and_moves_only_the_lost_keys() {
        let members = members(&[2, 1, 1, 1]);
        let all = |key| Balancer::rendezvous(members.iter().enumerate(), key).unwrap();
        let without = |lost: usize, key| {
            let left = members
                .iter()
                .enumerate()
                .filter(|(index, _)| *index != lost);
            Balancer::rendezvous(left, key).unwrap()
        };
        let mut counts = [0; 4];
        for number in 0..100_000u32 {
            let key = hash_of(format!("10.0.{}.{}", number / 256, number % 256).as_bytes());
            let home = all(key);
            counts[home] += 1;
            for lost in 0..4 {
                if lost != home {
                    assert_eq!(without(lost, key), home, "a key of another backend moved");
                }
            }
        }
        assert!((39_000..41_000).contains(&counts[0]), "{counts:?}");
        assert!(
            counts[1..]
                .iter()
                .all(|count| (19_400..20_600).contains(count)),
            "{counts:?}"
        );
    }
}
