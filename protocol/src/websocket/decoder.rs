//! Bytes of one peer to events.

use super::{
    DecodeError, Decoded, Event, Lent, Rules,
    gather::{Unfinished, control_event, inflated_event},
    header::{Header, MAX_HEADER, Opcode},
    mask,
};

/// Reading state of one connection.
///
/// At most 64 bytes, and no heap while nothing is half-read; `Default` is a fresh one (so `mem::take` works).
#[derive(Debug, Default)]
pub struct Decoder {
    /// A header that is not whole yet, or whole while no byte of its payload has come.
    header: [u8; MAX_HEADER],
    header_len: u8,
    /// A payload or message that is not whole yet.
    unfinished: Option<Box<Unfinished>>,
}

impl Decoder {
    /// Takes bytes from the front of `input`, unmasking in place; yields at most one event.
    ///
    /// Call again with the rest until all is consumed and there is no event: that last call (with nothing, if need be)
    /// also frees what a gathered message held. At least one byte is consumed if `input` is not empty.
    ///
    /// # Errors
    ///
    /// The peer broke RFC 6455 or the size limit: close with [`DecodeError::close_code`]. The decoder must not be used
    /// again.
    pub fn decode<'a>(
        &'a mut self,
        rules: &Rules,
        input: &'a mut [u8],
    ) -> Result<Decoded<'a>, DecodeError> {
        self.decode_with(rules, None, input)
    }

    /// As [`decode`](Self::decode), for a connection that negotiated permessage-deflate if something is `lent`: a message may be
    /// compressed then, and what it inflates to is held to the same limit while it is inflated.
    ///
    /// # Errors
    ///
    /// As `decode`; also when a compressed message cannot be inflated.
    pub fn decode_with<'a>(
        &'a mut self,
        rules: &Rules,
        lent: Option<Lent<'a>>,
        input: &'a mut [u8],
    ) -> Result<Decoded<'a>, DecodeError> {
        // What nearly always comes, on a path of its own: a whole frame while nothing is half-read.
        if self.unfinished.is_none()
            && self.header_len == 0
            && let Some((header, used)) = Header::parse(input, rules, lent.is_some(), None)?
            && header.length <= input.len() - used
            && header.fin
            && !header.compressed
        {
            let consumed = used + header.length;
            let payload = &mut input[used..consumed];
            if let Some(key) = header.key {
                mask(payload, key, 0);
            }
            let event = match header.opcode {
                Opcode::Text => {
                    let text = simdutf8::basic::from_utf8(payload);
                    Event::Text(text.map_err(|_| DecodeError::InvalidUtf8)?)
                }
                Opcode::Binary => Event::Binary(payload),
                control => control_event(control, payload)?,
            };
            return Ok(Decoded {
                consumed,
                event: Some(event),
            });
        }
        self.decode_piece(rules, lent, input)
    }

    /// Whatever is not one whole frame: the end of what the last call yielded, pieces, fragments, compressed messages.
    fn decode_piece<'a>(
        &'a mut self,
        rules: &Rules,
        lent: Option<Lent<'a>>,
        input: &'a mut [u8],
    ) -> Result<Decoded<'a>, DecodeError> {
        if self
            .unfinished
            .as_mut()
            .is_some_and(|unfinished| unfinished.release())
        {
            self.unfinished = None;
        }

        let (header, received, used) = match self.unfinished.as_ref().and_then(|u| u.frame()) {
            Some((header, received)) => (header, received, 0),
            None => match self.next_header(rules, lent.is_some(), input)? {
                Some((header, used)) => (header, 0, used),
                None => {
                    return Ok(Decoded {
                        consumed: input.len(),
                        event: None,
                    });
                }
            },
        };
        let taken = (header.length - received).min(input.len() - used);
        let consumed = used + taken;
        if taken == 0 && header.length > 0 {
            // Nothing but a header so far: it waits inline, so that announcing a frame costs no heap.
            if self.header_len == 0 {
                self.keep_header(&input[..used]);
            }
            return Ok(Decoded {
                consumed,
                event: None,
            });
        }
        self.header_len = 0;
        let piece = &mut input[used..consumed];
        if let Some(key) = header.key {
            mask(piece, key, received);
        }
        let piece: &'a [u8] = piece;

        if taken == header.length {
            let event = match header.opcode {
                Opcode::Text | Opcode::Binary if header.fin && header.compressed => {
                    let limit = rules.max_message_size;
                    let event = inflated_event(header.opcode, [piece, &[]], lent, limit)?;
                    return Ok(Decoded {
                        consumed,
                        event: Some(event),
                    });
                }
                Opcode::Text if header.fin => {
                    let text = simdutf8::basic::from_utf8(piece);
                    Some(Event::Text(text.map_err(|_| DecodeError::InvalidUtf8)?))
                }
                Opcode::Binary if header.fin => Some(Event::Binary(piece)),
                Opcode::Text | Opcode::Binary | Opcode::Continuation => None,
                control => Some(control_event(control, piece)?),
            };
            if event.is_some() {
                return Ok(Decoded { consumed, event });
            }
        }
        let unfinished = self.unfinished.get_or_insert_default();
        let event = unfinished.push(header, received, piece, rules.max_message_size, lent)?;
        Ok(Decoded { consumed, event })
    }

    /// Heap held for a frame or message in progress, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.unfinished
            .as_ref()
            .map_or(0, |unfinished| unfinished.held_bytes())
    }

    /// The next header and how many bytes of `input` it took; `None` when all of `input` was taken and more is needed.
    fn next_header(
        &mut self,
        rules: &Rules,
        deflate: bool,
        input: &[u8],
    ) -> Result<Option<(Header, usize)>, DecodeError> {
        let gathered = self
            .unfinished
            .as_ref()
            .and_then(|unfinished| unfinished.gathered());
        let kept = usize::from(self.header_len);
        if kept == 0 {
            let parsed = Header::parse(input, rules, deflate, gathered)?;
            if parsed.is_none() {
                self.keep_header(input);
            }
            return Ok(parsed);
        }
        let more = input.len().min(MAX_HEADER - kept);
        self.header[kept..kept + more].copy_from_slice(&input[..more]);
        let parsed = Header::parse(&self.header[..kept + more], rules, deflate, gathered)?;
        // No header is longer than MAX_HEADER, so one that is not whole has taken all of the input.
        self.header_len = match parsed {
            Some((_, len)) => len as u8,
            None => (kept + more) as u8,
        };
        Ok(parsed.map(|(header, len)| (header, len - kept)))
    }

    fn keep_header(&mut self, bytes: &[u8]) {
        self.header[..bytes.len()].copy_from_slice(bytes);
        self.header_len = bytes.len() as u8;
    }
}
