//! One subscriber that is told who is in the channel: what it knows from that, and how much that was.

use memchr::memmem;

use crate::measure::clock::SECOND;

/// What one message was.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// About who is there; the members that have come.
    Presence(Vec<u32>),
    /// A version was left out.
    Gap,
    /// Presence that cannot be what a server says.
    Nonsense,
    /// Something else.
    Other,
}

/// What a subscriber knows.
#[derive(Debug, Default)]
pub struct Watcher {
    /// None: it has no state yet.
    version: Option<u64>,
    /// A bit per member; none: only the number is told.
    list: Option<Vec<u64>>,
    count: u64,
    /// Since when bytes are counted for this second, and how many.
    second: (u64, u64),
    most_in_a_second: u64,
    bytes: u64,
    messages: u64,
}

impl Watcher {
    /// Whether it has been given a state.
    pub fn has_state(&self) -> bool {
        self.version.is_some()
    }

    /// Whether names are told.
    pub fn has_names(&self) -> bool {
        self.list.is_some()
    }

    /// Most bytes of frames in a second, and all of them, and their number.
    pub fn bytes(&self) -> (u64, u64, u64) {
        (self.most_in_a_second, self.bytes, self.messages)
    }

    /// Whether it knows that exactly these (a bit each) are there, so many; by number, if that is what it is told.
    pub fn knows(&self, there: &[u64], count: u64) -> bool {
        self.has_state()
            && self.count == count
            && self.list.as_ref().is_none_or(|list| list == there)
    }

    /// Takes one message of the server. `members`: how many there can be.
    pub fn take(&mut self, at: u64, text: &str, members: u32) -> Told {
        let state = text.starts_with(r#"{"type":"presence-state""#);
        if !state && !text.starts_with(r#"{"type":"presence-diff""#) {
            return Told::Other;
        }
        self.count_bytes(at, text.len() as u64);
        let (Some(count), Some(version)) = (number(text, "count"), number(text, "version")) else {
            return Told::Nonsense;
        };
        let before = self.version;
        if !state && before.is_none_or(|before| version <= before) {
            // Ahead of the state, or in it already.
            return Told::Presence(Vec::new());
        }
        (self.version, self.count) = (Some(version), count);
        let whole = names(text, "members", members);
        let changes = (
            names(text, "joins", members),
            names(text, "leaves", members),
        );
        let mut come = Vec::new();
        match (state, whole, changes) {
            (true, Some(names), (None, None)) => {
                let mut list = vec![0; (members as usize).div_ceil(64)];
                names.iter().for_each(|&name| set(&mut list, name, true));
                self.list = Some(list);
            }
            (_, None, (None, None)) => self.list = None,
            (false, None, (Some(joins), Some(leaves))) => {
                let Some(list) = &mut self.list else {
                    return Told::Nonsense;
                };
                joins.iter().for_each(|&name| set(list, name, true));
                leaves.iter().for_each(|&name| set(list, name, false));
                come = joins;
            }
            _ => return Told::Nonsense,
        }
        if !state && before.is_some_and(|before| version != before + 1) {
            return Told::Gap;
        }
        Told::Presence(come)
    }

    fn count_bytes(&mut self, at: u64, payload: u64) {
        let header = match payload {
            0..126 => 2,
            126..65_536 => 4,
            _ => 10,
        };
        if at >= self.second.0 + SECOND {
            self.second = (at, 0);
        }
        self.second.1 += header + payload;
        self.most_in_a_second = self.most_in_a_second.max(self.second.1);
        self.bytes += header + payload;
        self.messages += 1;
    }
}

/// Puts a member's bit on or off.
pub fn set(list: &mut [u64], name: u32, on: bool) {
    let (word, bit) = (name as usize / 64, 1 << (name % 64));
    if on {
        list[word] |= bit;
    } else {
        list[word] &= !bit;
    }
}

fn after<'t>(text: &'t str, field: &str) -> Option<&'t str> {
    let key = format!("\"{field}\":");
    let at = memmem::find(text.as_bytes(), key.as_bytes())?;
    text.get(at + key.len()..)
}

fn number(text: &str, field: &str) -> Option<u64> {
    let rest = after(text, field)?;
    let end = rest.bytes().position(|byte| !byte.is_ascii_digit())?;
    rest[..end].parse().ok()
}

/// The members in a list of names: each is called something and its number. None: there is no such list, or not only of those.
fn names(text: &str, field: &str, members: u32) -> Option<Vec<u32>> {
    let rest = after(text, field)?.strip_prefix('[')?;
    let list = &rest[..rest.find(']')?];
    if list.is_empty() {
        return Some(Vec::new());
    }
    let number = |name: &str| -> Option<u32> {
        let name = name.trim_matches('"');
        let digits = name.trim_start_matches(|it: char| !it.is_ascii_digit());
        digits.parse().ok().filter(|number| *number < members)
    };
    list.split(',').map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_kept_from_state_and_changes() {
        let mut watcher = Watcher::default();
        let diff = r#"{"type":"presence-diff","channel":"c","joins":["m1"],"leaves":[],"count":1,"version":7}"#;
        assert_eq!(
            watcher.take(0, diff, 100),
            Told::Presence(vec![]),
            "too early"
        );
        let state = r#"{"type":"presence-state","channel":"c","members":["m1","m70"],"count":2,"version":7}"#;
        assert_eq!(watcher.take(0, state, 100), Told::Presence(vec![]));
        assert!(watcher.knows(&[2, 64], 2));
        let diff = r#"{"type":"presence-diff","channel":"c","joins":["m0"],"leaves":["m70"],"count":2,"version":8}"#;
        assert_eq!(watcher.take(0, diff, 100), Told::Presence(vec![0]));
        assert!(watcher.knows(&[3, 0], 2) && !watcher.knows(&[3, 1], 2));
        let number = r#"{"type":"presence-diff","channel":"c","count":90,"version":9}"#;
        assert_eq!(watcher.take(0, number, 100), Told::Presence(vec![]));
        assert!(watcher.knows(&[0, 0], 90) && !watcher.has_names());
    }

    #[test]
    fn what_is_left_out_or_wrong_is_told() {
        let mut watcher = Watcher::default();
        let state = r#"{"type":"presence-state","channel":"c","members":[],"count":0,"version":7}"#;
        watcher.take(0, state, 10);
        let late = r#"{"type":"presence-diff","channel":"c","joins":["m1"],"leaves":[],"count":1,"version":9}"#;
        assert_eq!(watcher.take(0, late, 10), Told::Gap);
        let foreign = r#"{"type":"presence-diff","channel":"c","joins":["m11"],"leaves":[],"count":1,"version":10}"#;
        assert_eq!(watcher.take(0, foreign, 10), Told::Nonsense);
        assert_eq!(watcher.take(0, r#"{"type":"subscribed"}"#, 10), Told::Other);
    }

    #[test]
    fn bytes_are_counted_by_second() {
        let mut watcher = Watcher::default();
        let state = r#"{"type":"presence-state","channel":"c","count":0,"version":7}"#;
        for at in [0, SECOND / 2, SECOND, SECOND + 1, SECOND + 2] {
            watcher.take(at, state, 10);
        }
        let one = state.len() as u64 + 2;
        assert_eq!(watcher.bytes(), (3 * one, 5 * one, 5));
    }
}
