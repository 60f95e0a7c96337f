//! Agreeing on permessage-deflate: the server's choice among offers, the client's check of the answer.

use super::{
    WINDOW_BITS_MAX,
    parameters::{Parameters, Unusable},
};

/// What holds for one direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Direction {
    /// Largest window its sender may use, as a power of two: 8 to 15.
    pub window_bits: u8,
    /// Whether its sender may refer back to earlier messages, so that its receiver must keep them.
    pub takeover: bool,
}

/// What one connection has agreed on, seen from our end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Negotiated {
    /// What we may do.
    pub send: Direction,
    /// What we must be ready for.
    pub receive: Direction,
}

/// The outcome of [`negotiate`]: what holds, and how the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// What holds from the first frame on.
    pub negotiated: Negotiated,
    answer: Parameters,
}

impl Agreement {
    /// Appends the value of the answer's `Sec-WebSocket-Extensions`.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.answer.write(out);
    }
}

/// Takes the first of a client's offers that can be taken; `None` when there is none, and no extension is in use then.
///
/// `offers` are the elements of `Sec-WebSocket-Extensions` in the client's order: several of permessage-deflate are fall-backs
/// for each other (section 5.1), other extensions are passed over. Every well-formed offer can be taken. `takeover`: whether
/// contexts may be kept between messages, for as far as the client offers it; else the answer rules it out for both
/// directions, which a server may do unasked (sections 7.1.1.1 and 7.1.1.2).
pub fn negotiate<'o>(
    offers: impl IntoIterator<Item = &'o str>,
    takeover: bool,
) -> Option<Agreement> {
    let offer = offers
        .into_iter()
        .find_map(|offer| Parameters::parse(offer).ok())?;
    let send = Direction {
        window_bits: offer.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX),
        takeover: takeover && !offer.server_no_context_takeover,
    };
    let receive = Direction {
        // The client is not asked for less: a smaller window would save nothing here, and cost it compression.
        window_bits: offer
            .client_max_window_bits
            .flatten()
            .unwrap_or(WINDOW_BITS_MAX),
        // A client that says it keeps no context is taken at its word, so that none is kept for it.
        takeover: takeover && !offer.client_no_context_takeover,
    };
    let answer = Parameters {
        server_no_context_takeover: !send.takeover,
        client_no_context_takeover: !receive.takeover,
        // Must be answered if offered, also when it is the largest (section 7.1.2.1).
        server_max_window_bits: offer.server_max_window_bits,
        client_max_window_bits: None,
    };
    Some(Agreement {
        negotiated: Negotiated { send, receive },
        answer,
    })
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Whether contexts may be kept between messages, in both directions.
    pub takeover: bool,
}

/// The server's answer to an [`Offer`] must not be taken; the client fails the connection (section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// More than one extension, or one that was not offered.
    #[error("the server chose an extension that was not offered")]
    NotOffered,
    /// A parameter that is malformed, or not an answer to the offer.
    #[error("the server's parameters of permessage-deflate do not answer the offer")]
    Parameters,
}

impl Offer {
    /// Appends the value of the request's `Sec-WebSocket-Extensions`.
    pub fn write(self, out: &mut Vec<u8>) {
        self.parameters().write(out);
    }

    fn parameters(self) -> Parameters {
        Parameters {
            server_no_context_takeover: !self.takeover,
            client_no_context_takeover: !self.takeover,
            server_max_window_bits: None,
            client_max_window_bits: Some(None),
        }
    }

    /// Checks the elements of the answer's `Sec-WebSocket-Extensions`; `None`: the server uses no extension.
    ///
    /// # Errors
    ///
    /// See [`AnswerError`].
    pub fn check<'a>(
        self,
        answer: impl IntoIterator<Item = &'a str>,
    ) -> Result<Option<Negotiated>, AnswerError> {
        let mut answer = answer.into_iter();
        let Some(element) = answer.next() else {
            return Ok(None);
        };
        if answer.next().is_some()
            || element.split(';').next().map(str::trim_end) != Some(super::parameters::NAME)
        {
            return Err(AnswerError::NotOffered);
        }
        let answer = Parameters::parse(element).map_err(|Unusable| AnswerError::Parameters)?;
        // What was asked of the server, it must confirm (section 7.1.1.1).
        if !self.takeover && !answer.server_no_context_takeover {
            return Err(AnswerError::Parameters);
        }
        let send_bits = match answer.client_max_window_bits {
            None => WINDOW_BITS_MAX,
            Some(Some(bits)) => bits,
            Some(None) => return Err(AnswerError::Parameters),
        };
        Ok(Some(Negotiated {
            send: Direction {
                window_bits: send_bits,
                takeover: self.takeover && !answer.client_no_context_takeover,
            },
            receive: Direction {
                window_bits: answer.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX),
                takeover: !answer.server_no_context_takeover,
            },
        }))
    }
}
