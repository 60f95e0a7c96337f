//! The time without a server: which ends of connections it explains.

/// The server was killed once, and came back at some moment that only shows by connections that get through.
///
/// What counts is when a connection *began*: what is told of it may come late, after others that began later have been heard of.
#[derive(Debug, Default)]
pub struct Outage {
    killed_at: Option<u64>,
    /// When the first connection began that got through to the new server.
    up_from: Option<u64>,
}

impl Outage {
    pub fn killed(&mut self, now: u64) {
        self.killed_at = Some(now);
        self.up_from = None;
    }

    /// A connection that began at `began_at` was opened. How long nobody got through, if this is the first that has.
    pub fn opened(&mut self, began_at: u64, at: u64) -> Option<u64> {
        let killed_at = self.killed_at?;
        // One that began before was opened by the server that is no more.
        if began_at < killed_at || self.up_from.is_some_and(|up_from| up_from <= began_at) {
            return None;
        }
        let is_first = self.up_from.is_none();
        self.up_from = Some(began_at);
        is_first.then(|| at.saturating_sub(killed_at))
    }

    /// Whether the server's death is why a connection that had begun at `began_at` ended; `not_opened`: it never got through.
    pub fn explains(&self, began_at: u64, not_opened: bool) -> bool {
        let Some(killed_at) = self.killed_at else {
            return false;
        };
        // While it was not there yet, a connection could only be refused.
        let was_down = || self.up_from.is_none_or(|up_from| began_at < up_from);
        began_at < killed_at || (not_opened && was_down())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_kill_nothing_is_explained() {
        let mut outage = Outage::default();
        assert_eq!(outage.opened(5, 6), None);
        assert!(!outage.explains(5, true) && !outage.explains(5, false));
    }

    #[test]
    fn what_began_before_is_explained_although_it_was_opened_and_ended_after() {
        let mut outage = Outage::default();
        outage.killed(100);
        // The old server's last answer, read when it was dead already: nobody has got through yet.
        assert_eq!(outage.opened(99, 101), None);
        assert!(outage.explains(99, false));
        assert!(outage.explains(99, true));
    }

    #[test]
    fn a_refusal_heard_of_late_is_explained_and_one_after_the_return_is_not() {
        let mut outage = Outage::default();
        outage.killed(100);
        assert!(outage.explains(110, true));
        assert_eq!(outage.opened(120, 130), Some(30));
        assert!(outage.explains(119, true), "it began before");
        assert!(!outage.explains(121, true), "the server listened");
        assert!(!outage.explains(121, false), "the new server dropped it");
        assert_eq!(outage.opened(121, 131), None, "only the first is timed");
        // Opened later, begun sooner: the server was there sooner than was known.
        assert_eq!(outage.opened(115, 132), None);
        assert!(!outage.explains(116, true));
    }
}
