//! What must hold between any two changes. Checked after each in debug builds, so by every test.

use super::{Core, Key};
use std::collections::HashMap;

impl Core {
    /// Panics if the state contradicts itself.
    pub(in crate::pool) fn assert_sound(&self) {
        let total = self.total();
        assert!(
            total <= self.options.max_connections,
            "{total} connections of {}",
            self.options.max_connections
        );
        let mut assigned: HashMap<Key, usize> = HashMap::new();
        for waiter in self.waiters.values() {
            if let Some(member) = waiter.assigned {
                *assigned.entry(member).or_default() += 1;
            }
        }
        for (key, count) in assigned {
            let opening = self.members.iter().find(|member| member.key == key);
            let opening = opening.map_or(0, |member| member.opening);
            assert!(count <= opening, "{count} wait for {opening} openings");
        }
        for member in &self.members {
            assert!(
                member.idle.is_empty() || member.is_usable(),
                "{} may not be used and has idle connections",
                member.id
            );
        }
        assert!(
            !self.closed || self.waiters.is_empty(),
            "somebody waits for a closed pool"
        );
    }
}
