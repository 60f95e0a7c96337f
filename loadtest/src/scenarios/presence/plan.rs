//! Which member does what when: all come, then they go and come again, then most of them go.

use anyhow::{Result, bail};

/// Far enough apart that neighbours in time are none in number; a prime, so that it meets every member.
const STRIDE: u64 = 7_919;

/// Seconds from the last one's coming until what is told is about those that go and come again: a batch, and the load of the machine.
pub const SETTLE_SECONDS: u64 = 3;

/// What a presence run does in one process.
#[derive(Debug, Clone)]
pub struct PresencePlan {
    /// Subscribers of this process that are told who is there.
    pub watchers: u32,
    /// Members of the whole run.
    pub members: u32,
    /// Members of this process.
    pub own_members: u32,
    /// Of those, the ones that stay in the end.
    pub own_stay: u32,
    /// The channel they come into.
    pub channel: String,
    /// Joins and leaves per second of this process.
    pub rate: f64,
    /// Joins and leaves of this process in all.
    pub steps: u64,
    /// So many steps of the middle part later, who has gone comes again; half of that in members.
    pub away: u64,
    /// Most bytes a subscriber may be told in a second; none: it is not checked.
    pub budget: Option<u64>,
    /// Nothing may be told while members only go and come again.
    pub silent_flaps: bool,
    /// How long the first state may take, in nanoseconds.
    pub subscribe_timeout: u64,
}

/// One thing a member does, by its place among this process' members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Join(u64),
    Leave(u64),
    /// Both at once.
    Flap(u64),
}

impl PresencePlan {
    /// # Errors
    /// There is no time for all to come and go.
    pub fn check(&self) -> Result<()> {
        let least = self.coming() + self.going();
        if self.steps < least {
            bail!(
                "{} joins and leaves fit into the time, but all members of a process come and go with {least}: give more --duration or --rate",
                self.steps
            );
        }
        let flapping = (self.steps - least) as f64 / self.rate;
        if self.silent_flaps && flapping <= SETTLE_SECONDS as f64 {
            bail!(
                "members go and come again for {flapping:.1} s, and are only listened to after {SETTLE_SECONDS}: give more --duration or --rate"
            );
        }
        Ok(())
    }

    /// Joins before the first that leaves.
    pub fn coming(&self) -> u64 {
        u64::from(self.own_members)
    }

    fn going(&self) -> u64 {
        u64::from(self.own_members - self.own_stay)
    }

    /// The first step of the last part.
    pub fn last_part(&self) -> u64 {
        self.steps.saturating_sub(self.going())
    }

    /// What happens at a step.
    pub fn deed(&self, step: u64) -> Deed {
        let members = self.coming().max(1);
        if step < self.coming() {
            return Deed::Join(step);
        }
        if step >= self.last_part() {
            return Deed::Leave(u64::from(self.own_stay) + step - self.last_part());
        }
        let turn = (step - self.coming()) / 2;
        let who = |turn: u64| turn * STRIDE % members;
        let away = self.away.min(members / 2);
        if (step - self.coming()).is_multiple_of(2) {
            Deed::Leave(who(turn))
        } else if turn >= away {
            Deed::Join(who(turn - away))
        } else {
            // Nobody is due yet: one that is in goes out and in.
            Deed::Flap(who(turn + members / 2))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> PresencePlan {
        PresencePlan {
            watchers: 1,
            members: 100,
            own_members: 100,
            own_stay: 7,
            channel: "c".to_owned(),
            rate: 1.0,
            steps: 1_000,
            away: 20,
            budget: None,
            silent_flaps: false,
            subscribe_timeout: 0,
        }
    }

    #[test]
    fn all_come_and_in_the_end_those_are_left_that_stay() {
        let plan = plan();
        plan.check().expect("there is time");
        let (mut inside, mut most_away, mut flaps) = (vec![false; 100], 0, 0);
        for step in 0..plan.steps {
            match plan.deed(step) {
                Deed::Join(member) => inside[member as usize] = true,
                Deed::Leave(member) => inside[member as usize] = false,
                Deed::Flap(_) => flaps += 1,
            }
            if (100..plan.last_part()).contains(&step) {
                let away = inside.iter().filter(|it| !**it).count();
                most_away = away.max(most_away);
            }
        }
        assert_eq!(flaps, 20);
        assert!((20..=21).contains(&most_away), "{most_away}");
        assert!(inside[7..].iter().all(|it| !it));
        let hasty = PresencePlan { steps: 192, ..plan };
        assert!(hasty.check().is_err());
        // The others go and come again for two seconds.
        let too_short = PresencePlan {
            steps: 195,
            silent_flaps: true,
            ..hasty.clone()
        };
        assert!(too_short.check().is_err());
        let long_enough = PresencePlan {
            steps: 197,
            ..too_short
        };
        long_enough.check().expect("four seconds");
    }
}
