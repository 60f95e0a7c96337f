//! What a client is told of who is in a channel.

use super::Text;
use serde::Deserialize;

/// A `presence-state` or a `presence-diff`; which one, its `type` says ([`super::Reply::kind`]).
#[derive(Debug, Deserialize)]
pub struct PresenceTold<'a> {
    /// The channel it is about, not the one in which it is told.
    #[serde(borrow)]
    pub channel: Text<'a>,
    /// Of a state: everybody by name; `None` where there are too many.
    #[serde(default, borrow)]
    pub members: Option<Vec<Text<'a>>>,
    /// Of a diff: who has come; `None` where only the number is told.
    #[serde(default, borrow)]
    pub joins: Option<Vec<Text<'a>>>,
    /// Of a diff: who has gone.
    #[serde(default, borrow)]
    pub leaves: Option<Vec<Text<'a>>>,
    /// How many there are.
    pub count: u64,
    /// Grows by one with every message to all who watch.
    pub version: u64,
}

impl<'a> PresenceTold<'a> {
    /// Reads a message of these types.
    ///
    /// # Errors
    ///
    /// It has another shape: another program speaks there.
    pub fn read(text: &'a str) -> Result<PresenceTold<'a>, serde_json::Error> {
        serde_json::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::envelope::{presence, written};

    fn names(list: &Option<Vec<Text<'_>>>) -> Option<Vec<String>> {
        let list = list.as_ref()?;
        Some(list.iter().map(|name| name.to_string()).collect())
    }

    #[test]
    fn what_the_server_says_of_a_channels_members_is_read() {
        let text = written(|out| presence::state(out, "a\"b", Some(["x", "y\\"]), 2, 7, None));
        let told = PresenceTold::read(&text).unwrap();
        assert_eq!((&*told.channel, told.count, told.version), ("a\"b", 2, 7));
        assert_eq!(
            names(&told.members),
            Some(vec!["x".to_owned(), "y\\".to_owned()])
        );
        let text = written(|out| presence::diff(out, "c", Some([vec!["x"], vec![]]), 1, 8));
        let told = PresenceTold::read(&text).unwrap();
        assert_eq!(names(&told.joins), Some(vec!["x".to_owned()]));
        assert_eq!(names(&told.leaves), Some(vec![]));
        assert_eq!(names(&told.members), None);
        let text = written(|out| presence::diff(out, "c", None::<[[&str; 0]; 2]>, 9, 9));
        let told = PresenceTold::read(&text).unwrap();
        assert_eq!((names(&told.joins), told.count), (None, 9));
        for text in [
            r#"{"channel":"c","count":1}"#,
            r#"{"channel":"c","count":-1,"version":1}"#,
            "[]",
        ] {
            assert!(PresenceTold::read(text).is_err(), "{text}");
        }
    }
}
