//! The timer wheel: many coarse deadlines, nearly all of which are replaced before they fire.
//!
//! **Lives here:** when to look at something again. **Does not:** what to do then; the owner looks and decides, so an
//! entry is never cancelled: one that no longer matters is ignored when it fires.
//! **Invariants:** an entry fires at its tick or later, never earlier, exactly once; the cost of arming and firing does not
//! depend on how many are armed.
//! **Called by:** `connections/` (heartbeats, close deadlines). Calls nobody. **Tests:** below, against a sorted list.

/// Milliseconds per tick. Deadlines here are seconds long, so a fiftieth of a second of lateness is nothing, and a coarse
/// tick lets connections that were opened together fire together.
pub const TICK_MS: u64 = 16;

const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// 64^5 ticks of 16 ms are 198 days; a longer deadline is looked at then and armed again.
const LEVELS: usize = 5;

/// A coarse point in time: ticks since the engine started. 32 bits last for two years.
pub type Tick = u32;

/// Hierarchical wheel of five levels with 64 slots each.
#[derive(Debug)]
pub struct Wheel<T> {
    now: Tick,
    armed: usize,
    /// One bit per slot that holds anything.
    occupied: [u64; LEVELS],
    slots: Vec<Vec<(Tick, T)>>,
    /// Of each level, the storage of a slot that was emptied, for the next that is filled: as time goes round, entries move from
    /// slot to slot, and what held them moves along instead of staying behind in every slot they passed.
    spare: [Vec<(Tick, T)>; LEVELS],
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self {
            now: 0,
            armed: 0,
            occupied: [0; LEVELS],
            slots: (0..LEVELS * SLOTS).map(|_| Vec::new()).collect(),
            spare: [const { Vec::new() }; LEVELS],
        }
    }
}

/// The tick at which a moment given in milliseconds has surely passed.
#[must_use]
pub fn tick_at(ms: u64) -> Tick {
    u32::try_from(ms.div_ceil(TICK_MS)).unwrap_or(Tick::MAX)
}

/// The tick a moment lies in.
#[must_use]
pub fn tick_of(ms: u64) -> Tick {
    u32::try_from(ms / TICK_MS).unwrap_or(Tick::MAX)
}

impl<T> Wheel<T> {
    /// Arms `entry` for `at`; a tick that has passed already fires with the next [`advance`](Self::advance).
    pub fn arm(&mut self, at: Tick, entry: T) {
        self.armed += 1;
        self.place(at.max(self.now + 1), at, entry);
    }

    /// Entries that have not fired.
    #[must_use]
    pub fn armed(&self) -> usize {
        self.armed
    }

    fn place(&mut self, due: Tick, at: Tick, entry: T) {
        let distance = due - self.now;
        let level = (0..LEVELS - 1)
            .find(|&level| distance < 1 << (SLOT_BITS * (level as u32 + 1)))
            .unwrap_or(LEVELS - 1);
        let furthest = self
            .now
            .saturating_add((1 << (SLOT_BITS * LEVELS as u32)) - 1);
        let slot = (due.min(furthest) >> (SLOT_BITS * level as u32)) as usize % SLOTS;
        self.occupied[level] |= 1 << slot;
        let entries = &mut self.slots[level * SLOTS + slot];
        if entries.capacity() == 0 {
            *entries = std::mem::take(&mut self.spare[level]);
        }
        entries.push((at, entry));
    }

    /// Moves time on to `to` and gives every entry that is due to `fire`.
    pub fn advance(&mut self, to: Tick, mut fire: impl FnMut(T)) {
        while self.now < to {
            // Jump to the next tick at which anything can happen.
            let next = self.next_tick().map_or(to, |next| next.min(to));
            self.now = next;
            for level in (1..LEVELS).rev() {
                let shift = SLOT_BITS * level as u32;
                if self.now.is_multiple_of(1 << shift) {
                    let slot = (self.now >> shift) as usize % SLOTS;
                    self.empty_slot(level, slot, &mut fire);
                }
            }
            self.empty_slot(0, self.now as usize % SLOTS, &mut fire);
        }
    }

    fn empty_slot(&mut self, level: usize, slot: usize, fire: &mut impl FnMut(T)) {
        if self.occupied[level] & (1 << slot) == 0 {
            return;
        }
        self.occupied[level] &= !(1 << slot);
        let mut entries = std::mem::take(&mut self.slots[level * SLOTS + slot]);
        for (at, entry) in entries.drain(..) {
            if at <= self.now {
                self.armed -= 1;
                fire(entry);
            } else {
                self.place(at, at, entry);
            }
        }
        if entries.capacity() > self.spare[level].capacity() {
            self.spare[level] = entries;
        }
    }

    /// The tick that the earliest entry was armed for, exactly; none when nothing is armed. Looks at every entry of some slots, so it is
    /// not for every turn.
    #[must_use]
    pub fn earliest(&self) -> Option<Tick> {
        let first = |level: usize| {
            let position = self.now >> (SLOT_BITS * level as u32);
            let present = position as usize % SLOTS;
            let turned = self.occupied[level].rotate_right(present as u32 + 1);
            let slot = (present + 1 + turned.trailing_zeros() as usize) % SLOTS;
            self.slots[level * SLOTS + slot].iter().map(|(at, _)| *at)
        };
        let levels = (0..LEVELS).filter(|&level| self.occupied[level] != 0);
        levels.flat_map(first).min()
    }

    /// The next tick at which an entry may be due; none when nothing is armed.
    #[must_use]
    pub fn next_tick(&self) -> Option<Tick> {
        let mut earliest: Option<Tick> = None;
        for level in 0..LEVELS {
            if self.occupied[level] == 0 {
                continue;
            }
            let shift = SLOT_BITS * level as u32;
            let position = self.now >> shift;
            // Slots strictly after the present one, wrapping: the present one was emptied when we entered it.
            let turned = self.occupied[level].rotate_right((position as usize % SLOTS) as u32 + 1);
            let steps = turned.trailing_zeros() + 1;
            let tick = (u64::from(position) + u64::from(steps)) << shift;
            let tick = u32::try_from(tick).unwrap_or(Tick::MAX);
            earliest = Some(earliest.map_or(tick, |e| e.min(tick)));
        }
        earliest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_armed_means_no_deadline() {
        let wheel: Wheel<u8> = Wheel::default();
        assert_eq!(wheel.next_tick(), None);
    }

    #[test]
    fn a_deadline_beyond_the_wheel_still_fires_once() {
        let mut wheel = Wheel::default();
        let far = (1 << 30) + 12_345;
        wheel.arm(far, "far");
        let mut fired = Vec::new();
        wheel.advance(far - 1, |entry| fired.push(entry));
        assert!(fired.is_empty());
        wheel.advance(far, |entry| fired.push(entry));
        assert_eq!(fired, ["far"]);
        assert_eq!(wheel.armed(), 0);
    }

    #[test]
    fn entries_that_go_round_leave_no_storage_behind() {
        const ENTRIES: u32 = 20_000;
        let mut wheel = Wheel::default();
        // Heartbeats of half a minute, spread over a quarter of it.
        let next = |now: Tick, entry: u32| now + 1_406 + entry % 469;
        for entry in 0..ENTRIES {
            wheel.arm(next(0, entry), entry);
        }
        let mut due = Vec::new();
        for now in 1..20_000 {
            wheel.advance(now, |entry| due.push(entry));
            for entry in due.drain(..) {
                wheel.arm(next(now, entry), entry);
            }
        }
        assert_eq!(wheel.armed(), ENTRIES as usize);
        let room: usize = wheel
            .slots
            .iter()
            .chain(&wheel.spare)
            .map(Vec::capacity)
            .sum();
        assert!(room < 5 * ENTRIES as usize / 2, "room for {room}");
    }

    proptest! {
        /// The wheel does what a sorted list does, whatever is armed and however time jumps.
        #[test]
        fn equals_a_sorted_list(steps in prop::collection::vec((0_u32..300_000, 0_u32..70_000), 1..200)) {
            let mut wheel = Wheel::default();
            let mut list: Vec<(Tick, usize)> = Vec::new();
            let mut now: Tick = 0;
            for (number, (delay, jump)) in steps.into_iter().enumerate() {
                wheel.arm(now + delay, number);
                list.push((now + delay, number));
                let next = wheel.next_tick().expect("something is armed");
                prop_assert!(next > now);
                let soonest = list.iter().map(|(at, _)| *at).min().expect("something is armed");
                prop_assert!(next <= soonest.max(now + 1), "a wait until {next} would oversleep {soonest}");
                prop_assert_eq!(wheel.earliest(), Some(soonest));
                now += jump;
                let mut fired = Vec::new();
                wheel.advance(now, |entry| fired.push(entry));
                // An entry whose tick is the present one or past when armed fires with the next tick.
                let mut due: Vec<usize> = list.iter().filter(|(at, _)| *at <= now && jump > 0).map(|(_, n)| *n).collect();
                list.retain(|(at, _)| !(*at <= now && jump > 0));
                fired.sort_unstable();
                due.sort_unstable();
                prop_assert_eq!(fired, due);
                prop_assert_eq!(wheel.armed(), list.len());
            }
        }
    }
}
