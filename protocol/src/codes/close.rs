//! Close codes: why a connection ends, and whether and when its client should come back.
//!
//! 1000-1015 are RFC 6455's (section 7.4.1) and IANA's. 4000-4999 are ours, and the *hundred* tells a client what to do
//! even about a number it has never seen:
//!
//! | class | advice |
//! | --- | --- |
//! | 4000-4099 | come back when you like |
//! | 4100-4199 | come back late: the server has too much to do |
//! | 4200-4299 | come back at once: the server is moving connections |
//! | 4500-4999 | do not come back |

use tungstenite::protocol::frame::coding::CloseCode as Rfc;

/// The purpose of the connection is fulfilled.
pub const NORMAL: u16 = 1000;
/// This end goes away: a server stops, a browser leaves the page.
pub const GOING_AWAY: u16 = 1001;
/// The peer broke RFC 6455.
pub const PROTOCOL_ERROR: u16 = 1002;
/// The peer sent a kind of data this end does not take.
pub const UNSUPPORTED_DATA: u16 = 1003;
/// A close frame carried no code. Never on the wire.
pub const NO_STATUS: u16 = 1005;
/// The connection ended without a close frame. Never on the wire.
pub const ABNORMAL: u16 = 1006;
/// A text message was not UTF-8, or a compressed one was broken.
pub const INVALID_PAYLOAD: u16 = 1007;
/// The peer broke a rule of the service.
pub const POLICY_VIOLATION: u16 = 1008;
/// A message was larger than the limit; the reason names it.
pub const MESSAGE_TOO_LARGE: u16 = 1009;
/// The server failed.
pub const INTERNAL_ERROR: u16 = 1011;
/// The server restarts.
pub const SERVICE_RESTART: u16 = 1012;
/// The server refuses work for now.
pub const TRY_AGAIN_LATER: u16 = 1013;
/// No pong, nor anything else, came in time.
pub const HEARTBEAT_TIMEOUT: u16 = 4000;
/// The credentials have expired.
pub const NEW_TOKEN: u16 = 4001;
/// A shard had no room to carry the connection's work.
pub const OVERLOADED: u16 = 4100;
/// The user has as many connections as one may have.
pub const TOO_MANY_OF_USER: u16 = 4101;
/// The address has as many connections as one may have.
pub const TOO_MANY_OF_ADDRESS: u16 = 4102;
/// The client reads slower than its channels speak.
pub const SLOW_CONSUMER: u16 = 4103;
/// The client went on sending although its messages were refused for their rate.
pub const TOO_MANY_MESSAGES: u16 = 4104;
/// The node is being emptied.
pub const DRAINING: u16 = 4200;
/// The service does not want this client.
pub const REFUSED: u16 = 4500;
/// The credentials are missing or wrong.
pub const AUTHENTICATION_FAILED: u16 = 4501;

/// What a client should do after a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Reconnect with the usual backoff.
    ComeBack,
    /// Reconnect, but begin with a long delay.
    ComeBackLate,
    /// Reconnect without delay; the server spreads clients itself.
    ComeBackAtOnce,
    /// Get new credentials, then reconnect.
    NewTokenFirst,
    /// Do not reconnect: the same would happen again.
    DoNotComeBack,
}

impl Advice {
    /// The advice in words, as the reference page writes it.
    pub const fn words(self) -> &'static str {
        match self {
            Advice::ComeBack => "come back",
            Advice::ComeBackLate => "come back late",
            Advice::ComeBackAtOnce => "come back at once",
            Advice::NewTokenFirst => "new token first",
            Advice::DoNotComeBack => "do not come back",
        }
    }
}

/// One row of the table of close codes.
#[derive(Clone, Copy, Debug)]
pub struct CloseRow {
    /// The code of the close frame.
    pub number: u16,
    /// Short text, fit for the reason of a close frame (at most 123 bytes).
    pub word: &'static str,
    /// What the client should do.
    pub advice: Advice,
    /// When it happens, one sentence.
    pub meaning: &'static str,
}

const fn row(number: u16, word: &'static str, advice: Advice, meaning: &'static str) -> CloseRow {
    CloseRow {
        number,
        word,
        advice,
        meaning,
    }
}

/// All close codes this server sends, ordered by number.
pub static CLOSES: [CloseRow; 20] = [
    row(
        NORMAL,
        "normal",
        Advice::DoNotComeBack,
        "The connection has done what it was for.",
    ),
    row(
        GOING_AWAY,
        "going away",
        Advice::ComeBack,
        "The server stops, or the embedding service closed all connections.",
    ),
    row(
        PROTOCOL_ERROR,
        "protocol error",
        Advice::DoNotComeBack,
        "The client broke RFC 6455; the reason says how.",
    ),
    row(
        UNSUPPORTED_DATA,
        "unsupported data",
        Advice::DoNotComeBack,
        "The client sent a kind of message this path does not take.",
    ),
    row(
        INVALID_PAYLOAD,
        "invalid payload",
        Advice::DoNotComeBack,
        "A text message or close reason was not UTF-8, or a compressed message could not be inflated.",
    ),
    row(
        POLICY_VIOLATION,
        "policy violation",
        Advice::DoNotComeBack,
        "The client broke a rule of the service.",
    ),
    row(
        MESSAGE_TOO_LARGE,
        "message too large",
        Advice::ComeBack,
        "A message was larger than the limit, which the reason names. Do not send that message again.",
    ),
    row(
        INTERNAL_ERROR,
        "internal error",
        Advice::ComeBack,
        "The server failed while it served this connection.",
    ),
    row(
        SERVICE_RESTART,
        "service restart",
        Advice::ComeBack,
        "The server restarts.",
    ),
    row(
        TRY_AGAIN_LATER,
        "try again later",
        Advice::ComeBackLate,
        "The server takes no more connections or work for now.",
    ),
    row(
        HEARTBEAT_TIMEOUT,
        "heartbeat timeout",
        Advice::ComeBack,
        "Nothing came from the client in time, not even a pong.",
    ),
    row(
        NEW_TOKEN,
        "new token needed",
        Advice::NewTokenFirst,
        "The credentials have expired or were taken back.",
    ),
    row(
        OVERLOADED,
        "overloaded",
        Advice::ComeBackLate,
        "A shard had no room to carry the connection's work.",
    ),
    row(
        TOO_MANY_OF_USER,
        "too many connections of this user",
        Advice::ComeBackLate,
        "The user has as many connections as one may have.",
    ),
    row(
        TOO_MANY_OF_ADDRESS,
        "too many connections from this address",
        Advice::ComeBackLate,
        "The address has as many connections as one may have.",
    ),
    row(
        SLOW_CONSUMER,
        "slow consumer",
        Advice::ComeBackLate,
        "The client read slower than its channels spoke, and the outbox was full.",
    ),
    row(
        TOO_MANY_MESSAGES,
        "too many messages",
        Advice::ComeBackLate,
        "The client went on sending although its messages were refused with `Rate limit exceeded`.",
    ),
    row(
        DRAINING,
        "draining",
        Advice::ComeBackAtOnce,
        "The node is being emptied; another one is ready.",
    ),
    row(
        REFUSED,
        "refused",
        Advice::DoNotComeBack,
        "The service does not want this client.",
    ),
    row(
        AUTHENTICATION_FAILED,
        "authentication failed",
        Advice::DoNotComeBack,
        "The credentials were wrong, or none came in time.",
    ),
];

/// The row of a code, if this server ever sends it.
pub fn find(number: u16) -> Option<&'static CloseRow> {
    CLOSES
        .binary_search_by_key(&number, |row| row.number)
        .ok()
        .map(|index| &CLOSES[index])
}

/// The short text of a code; empty for a code that is not in [`CLOSES`].
pub fn word(number: u16) -> &'static str {
    find(number).map_or("", |row| row.word)
}

/// What a client should do after a close with `number`, including numbers it does not know: their class decides, and
/// outside the classes it comes back with the usual backoff. [`NO_STATUS`] and [`ABNORMAL`] are accepted here, since a
/// client library reports them.
pub fn advice(number: u16) -> Advice {
    if let Some(row) = find(number) {
        return row.advice;
    }
    match number {
        4100..=4199 => Advice::ComeBackLate,
        4200..=4299 => Advice::ComeBackAtOnce,
        4500..=4999 => Advice::DoNotComeBack,
        _ => Advice::ComeBack,
    }
}

/// Whether a close frame may carry `number` (RFC 6455 section 7.4): not 0-999, 1004-1006, 1015, 1016-2999, 5000 and up.
pub fn may_travel(number: u16) -> bool {
    // tungstenite's table does not know 1014 (bad gateway), which IANA registered after RFC 6455.
    number == 1014 || Rfc::from(number).is_allowed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_ordered_and_may_travel() {
        for pair in CLOSES.windows(2) {
            assert!(pair[0].number < pair[1].number);
        }
        for row in &CLOSES {
            assert!(may_travel(row.number), "{}", row.number);
            assert!(row.word.len() <= 123);
        }
    }

    #[test]
    fn own_rows_agree_with_their_class() {
        for row in CLOSES.iter().filter(|row| row.number >= 4000) {
            let class = match row.number {
                4001 => Advice::NewTokenFirst,
                4000..=4099 => Advice::ComeBack,
                4100..=4199 => Advice::ComeBackLate,
                4200..=4299 => Advice::ComeBackAtOnce,
                4500..=4999 => Advice::DoNotComeBack,
                _ => panic!("{} is in no class", row.number),
            };
            assert_eq!(row.advice, class, "{}", row.number);
        }
    }

    #[test]
    fn unknown_numbers_follow_their_class() {
        assert_eq!(advice(4150), Advice::ComeBackLate);
        assert_eq!(advice(4299), Advice::ComeBackAtOnce);
        assert_eq!(advice(4777), Advice::DoNotComeBack);
        assert_eq!(advice(4050), Advice::ComeBack);
        assert_eq!(advice(ABNORMAL), Advice::ComeBack);
        assert_eq!(advice(3000), Advice::ComeBack);
    }

    #[test]
    fn codes_that_may_not_travel() {
        for number in [
            0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
        ] {
            assert!(!may_travel(number), "{number}");
        }
        for number in [
            1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
        ] {
            assert!(may_travel(number), "{number}");
        }
    }
}
