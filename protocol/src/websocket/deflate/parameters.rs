//! The grammar of one `permessage-deflate` element (RFC 7692 section 7.1).

use super::{WINDOW_BITS_MAX, WINDOW_BITS_MIN};

/// The extension's registered name.
pub(super) const NAME: &str = "permessage-deflate";

const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The parameters of one element, as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) server_no_context_takeover: bool,
    pub(super) client_no_context_takeover: bool,
    pub(super) server_max_window_bits: Option<u8>,
    /// `Some(None)`: named without a value, which only an offer may do.
    pub(super) client_max_window_bits: Option<Option<u8>>,
}

/// Not an element one can agree to: another extension, or a parameter that is unknown, named twice, or has a value it may
/// not have (out of range, quoted, missing, or one too many). An offer like that is declined, an answer fails the connection
/// (section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unusable;

impl Parameters {
    /// Reads one element of `Sec-WebSocket-Extensions`, blanks around it removed.
    pub(super) fn parse(element: &str) -> Result<Parameters, Unusable> {
        // A quoted value may hold a semicolon; no quoted value is taken, so splitting it wrongly changes nothing.
        let mut parts = element
            .split(';')
            .map(|part| part.trim_matches([' ', '\t']));
        if parts.next() != Some(NAME) {
            return Err(Unusable);
        }
        let mut parameters = Parameters::default();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (
                    name.trim_end_matches([' ', '\t']),
                    Some(value.trim_start_matches([' ', '\t'])),
                ),
                None => (part, None),
            };
            parameters.add(name, value)?;
        }
        Ok(parameters)
    }

    fn add(&mut self, name: &str, value: Option<&str>) -> Result<(), Unusable> {
        let taken_before = match name {
            SERVER_NO_CONTEXT_TAKEOVER if value.is_none() => {
                std::mem::replace(&mut self.server_no_context_takeover, true)
            }
            CLIENT_NO_CONTEXT_TAKEOVER if value.is_none() => {
                std::mem::replace(&mut self.client_no_context_takeover, true)
            }
            SERVER_MAX_WINDOW_BITS => {
                let bits = window_bits(value.ok_or(Unusable)?)?;
                self.server_max_window_bits.replace(bits).is_some()
            }
            CLIENT_MAX_WINDOW_BITS => {
                let bits = value.map(window_bits).transpose()?;
                self.client_max_window_bits.replace(bits).is_some()
            }
            _ => return Err(Unusable),
        };
        if taken_before { Err(Unusable) } else { Ok(()) }
    }

    /// Appends the element.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(NAME.as_bytes());
        let mut parameter = |name: &str, value: Option<u8>| {
            out.extend_from_slice(b"; ");
            out.extend_from_slice(name.as_bytes());
            if let Some(value) = value {
                out.push(b'=');
                out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
            }
        };
        if self.server_no_context_takeover {
            parameter(SERVER_NO_CONTEXT_TAKEOVER, None);
        }
        if self.client_no_context_takeover {
            parameter(CLIENT_NO_CONTEXT_TAKEOVER, None);
        }
        if let Some(bits) = self.server_max_window_bits {
            parameter(SERVER_MAX_WINDOW_BITS, Some(bits));
        }
        if let Some(bits) = self.client_max_window_bits {
            parameter(CLIENT_MAX_WINDOW_BITS, bits);
        }
    }
}

/// A decimal integer from 8 to 15 without leading zeros (section 7.1.2).
fn window_bits(value: &str) -> Result<u8, Unusable> {
    if value.starts_with(['0', '+']) {
        return Err(Unusable);
    }
    match value.parse() {
        Ok(bits @ WINDOW_BITS_MIN..=WINDOW_BITS_MAX) => Ok(bits),
        _ => Err(Unusable),
    }
}
