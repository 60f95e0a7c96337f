//! What is said and heard: this server's messages about channels with history.

use std::borrow::Cow;
use std::io::Write;

use serde::Deserialize;

/// A place in a channel's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub epoch: u64,
    pub offset: u64,
}

/// A message of the server, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct Heard<'a> {
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    epoch: Option<Cow<'a, str>>,
    offset: Option<u64>,
    pub from: Option<u64>,
    pub to: Option<u64>,
    pub recovered: Option<bool>,
    pub id: Option<u64>,
    #[serde(borrow)]
    pub reason: Option<Cow<'a, str>>,
}

impl<'a> Heard<'a> {
    /// `None`: not a message of this server.
    pub fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Where in the history it is, if it is.
    pub fn place(&self) -> Option<Place> {
        Some(Place {
            epoch: self.epoch()?,
            offset: self.offset?,
        })
    }

    pub fn epoch(&self) -> Option<u64> {
        u64::from_str_radix(self.epoch.as_ref()?, 16).ok()
    }
}

/// Writes the request to subscribe, or to go on where the subscriber was.
pub fn write_subscribe(out: &mut Vec<u8>, channel: &str, since: Option<Place>) {
    out.clear();
    // Writing to memory cannot fail.
    let _ = match since {
        None => write!(out, r#"{{"type":"subscribe","channel":"{channel}"}}"#),
        Some(Place { epoch, offset }) => write!(
            out,
            r#"{{"type":"subscribe","channel":"{channel}","since":{{"offset":{offset},"epoch":"{epoch:016x}"}}}}"#
        ),
    };
}

/// Writes a publication up to its body, which [`write_end`] follows. `number` names it in the answer, and with `run` for ever.
pub fn write_publication(out: &mut Vec<u8>, channel: &str, run: u32, number: u64) {
    out.clear();
    // Writing to memory cannot fail.
    let _ = write!(
        out,
        r#"{{"type":"publish","channel":"{channel}","id":{number},"idempotencyKey":"{run}-{number}","message":""#
    );
}

/// What is behind the body.
pub fn write_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_the_server_says_is_read() {
        let text = r#"{"type":"gap","channel":"a","from":18,"to":40,"epoch":"5f0c1d9a7e3b2846","reason":"evicted"}"#;
        let heard = Heard::read(text).unwrap();
        assert_eq!((heard.from, heard.to), (Some(18), Some(40)));
        assert_eq!(heard.epoch(), Some(0x5f0c_1d9a_7e3b_2846));
        assert_eq!(heard.place(), None);
        assert!(Heard::read("hello").is_none());
    }

    #[test]
    fn a_place_comes_back_as_it_was_told() {
        let mut out = Vec::new();
        let place = Place {
            epoch: 0xab,
            offset: 7,
        };
        write_subscribe(&mut out, "a", Some(place));
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["since"]["epoch"], "00000000000000ab");
        assert_eq!(value["since"]["offset"], 7);
    }
}
