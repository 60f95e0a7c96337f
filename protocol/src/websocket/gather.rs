//! What is kept of a message that did not come whole.

use super::{
    DecodeError, Event, Lent,
    header::{Gathered, Header, MAX_CONTROL, Opcode, compressed_limit},
};

/// Everything half-read behind a header; boxed, and only there while a frame or message is unfinished.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// The frame whose payload is being received, and how much of it was.
    frame: Option<(Header, usize)>,
    /// The data message in progress.
    message: Option<Message>,
    /// Payload of a half-received control frame; apart, since it may come between two fragments.
    control: [u8; MAX_CONTROL],
    control_len: u8,
    /// `message` is complete and was yielded: it is freed by the next call.
    yielded: bool,
}

impl Default for Unfinished {
    fn default() -> Self {
        Unfinished {
            frame: None,
            message: None,
            control: [0; MAX_CONTROL],
            control_len: 0,
            yielded: false,
        }
    }
}

impl Unfinished {
    /// Frees what the last call yielded; true when nothing is left to keep.
    pub(super) fn release(&mut self) -> bool {
        if self.yielded {
            self.yielded = false;
            self.message = None;
        }
        self.frame.is_none() && self.message.is_none()
    }

    pub(super) fn frame(&self) -> Option<(Header, usize)> {
        self.frame
    }

    /// The data message in progress.
    pub(super) fn gathered(&self) -> Option<Gathered> {
        self.message.as_ref().map(|message| Gathered {
            len: message.len(),
            compressed: matches!(message, Message::Compressed { .. }),
        })
    }

    pub(super) fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.message.as_ref().map_or(0, Message::capacity)
    }

    /// Takes the next `piece` (unmasked) of the payload of `header`'s frame, of which `received` bytes came before.
    /// Yields the event this completes.
    ///
    /// `limit` is the largest size of a message: how far the buffer may grow ahead of what was received. A compressed message
    /// is kept as it came until its last piece is there: its inflater serves others meanwhile.
    pub(super) fn push<'a>(
        &'a mut self,
        header: Header,
        received: usize,
        piece: &[u8],
        limit: usize,
        lent: Option<Lent<'a>>,
    ) -> Result<Option<Event<'a>>, DecodeError> {
        let received = received + piece.len();
        let complete = received == header.length;
        self.frame = if complete {
            None
        } else {
            Some((header, received))
        };

        if header.opcode.is_control() {
            let start = usize::from(self.control_len);
            // The header allows at most MAX_CONTROL bytes and no control frame comes inside another one.
            self.control[start..start + piece.len()].copy_from_slice(piece);
            self.control_len = received as u8;
            if !complete {
                return Ok(None);
            }
            self.control_len = 0;
            return control_event(header.opcode, &self.control[..received]).map(Some);
        }

        let message = self.message.get_or_insert_with(|| match header.opcode {
            opcode if header.compressed => Message::Compressed {
                opcode,
                bytes: Vec::new(),
            },
            Opcode::Text => Message::Text(Text::default()),
            _ => Message::Binary(Vec::new()),
        });
        let most = match message {
            Message::Compressed { .. } => compressed_limit(limit),
            _ => limit,
        };
        // The final frame tells how large the message will be at most; before, only the limit does.
        let ceiling = if header.fin {
            message.len() + piece.len() + (header.length - received)
        } else {
            most
        };
        let whole = complete && header.fin;
        self.yielded = whole;
        if let Message::Compressed { opcode, bytes } = message {
            if whole {
                // Its last piece is not kept, so that its buffer need not grow for it.
                return inflated_event(*opcode, [bytes, piece], lent, limit).map(Some);
            }
            count(bytes, piece, limit, lent)?;
        }
        message.push(piece, ceiling)?;
        if whole {
            message.event().map(Some)
        } else {
            Ok(None)
        }
    }
}

/// Bytes of a compressed message that are gathered uncounted at any limit: a page, which is little beside what is held anyway.
const UNCOUNTED_BYTES: usize = 4 << 10;

/// Refuses a compressed message as soon as it is seen to inflate to more than the limit, so that it is not gathered to its end.
///
/// It is counted from its beginning up to certain marks: an eighth of the limit (or [`UNCOUNTED_BYTES`]), and each time twice as much. So up to four times,
/// because on the wire it is hardly longer than the limit, and each time no more than the limit is inflated. That happens at the same
/// bytes in whatever pieces they come. A message that refers back to earlier ones is inflated once, when it is whole: its context goes
/// on from where it is.
fn count(
    gathered: &[u8],
    piece: &[u8],
    limit: usize,
    lent: Option<Lent<'_>>,
) -> Result<(), DecodeError> {
    let Some(mark) = mark(gathered.len(), gathered.len() + piece.len(), limit) else {
        return Ok(());
    };
    if let Some(Lent {
        inflater,
        context: None,
    }) = lent
        && inflater.exceeds([gathered, &piece[..mark - gathered.len()]], limit)
    {
        return Err(DecodeError::TooLarge { limit });
    }
    Ok(())
}

/// The last mark beyond `before` and not beyond `after`.
fn mark(before: usize, after: usize, limit: usize) -> Option<usize> {
    let first = (limit / 8).max(UNCOUNTED_BYTES);
    let last = std::iter::successors(Some(first), |mark| mark.checked_mul(2))
        .take_while(|&mark| mark <= after)
        .last();
    last.filter(|&mark| mark > before)
}

/// The event of a whole compressed message, in two parts.
pub(super) fn inflated_event<'a>(
    opcode: Opcode,
    parts: [&[u8]; 2],
    lent: Option<Lent<'a>>,
    limit: usize,
) -> Result<Event<'a>, DecodeError> {
    // Without an inflater the header would have been refused; a caller that lends none any more gets the same.
    let Lent { inflater, context } = lent.ok_or(DecodeError::ReservedBits)?;
    let payload = inflater.inflate(context, parts, limit)?;
    match opcode {
        Opcode::Text => {
            let text = simdutf8::basic::from_utf8(payload);
            Ok(Event::Text(text.map_err(|_| DecodeError::InvalidUtf8)?))
        }
        _ => Ok(Event::Binary(payload)),
    }
}

/// The event of a whole control frame.
pub(super) fn control_event(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, DecodeError> {
    use super::CloseFrame;
    match opcode {
        Opcode::Ping => Ok(Event::Ping(payload)),
        Opcode::Pong => Ok(Event::Pong(payload)),
        _ => {
            // The header refused a payload of one byte.
            let Some((code, reason)) = payload.split_first_chunk::<2>() else {
                return Ok(Event::Close(None));
            };
            let code = u16::from_be_bytes(*code);
            if !crate::codes::close::may_travel(code) {
                return Err(DecodeError::CloseCode(code));
            }
            let reason =
                simdutf8::basic::from_utf8(reason).map_err(|_| DecodeError::InvalidUtf8)?;
            Ok(Event::Close(Some(CloseFrame { code, reason })))
        }
    }
}

#[derive(Debug)]
enum Message {
    Text(Text),
    Binary(Vec<u8>),
    /// As it came, whatever it is once inflated.
    Compressed {
        opcode: Opcode,
        bytes: Vec<u8>,
    },
}

impl Message {
    /// Bytes received so far.
    fn len(&self) -> usize {
        match self {
            Message::Text(text) => text.checked.len() + usize::from(text.tail_len),
            Message::Binary(bytes) | Message::Compressed { bytes, .. } => bytes.len(),
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Message::Text(text) => text.checked.capacity(),
            Message::Binary(bytes) | Message::Compressed { bytes, .. } => bytes.capacity(),
        }
    }

    fn push(&mut self, piece: &[u8], ceiling: usize) -> Result<(), DecodeError> {
        match self {
            Message::Text(text) => text.push(piece, ceiling),
            Message::Binary(bytes) | Message::Compressed { bytes, .. } => {
                bytes.reserve_exact(room(bytes.len(), bytes.capacity(), piece.len(), ceiling));
                bytes.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    fn event(&self) -> Result<Event<'_>, DecodeError> {
        match self {
            Message::Text(text) if text.tail_len > 0 => Err(DecodeError::InvalidUtf8),
            Message::Text(text) => Ok(Event::Text(&text.checked)),
            Message::Binary(bytes) | Message::Compressed { bytes, .. } => Ok(Event::Binary(bytes)),
        }
    }
}

/// Text checked piece by piece, so that the first bad byte is refused when it comes, not at the end of the message.
#[derive(Debug, Default)]
struct Text {
    checked: String,
    /// Begin of a character whose rest has not come yet; it can still become valid.
    tail: [u8; 3],
    tail_len: u8,
}

impl Text {
    fn push(&mut self, piece: &[u8], ceiling: usize) -> Result<(), DecodeError> {
        let piece = self.complete_tail(piece)?;
        let (whole, tail) = piece.split_at(piece.len() - unfinished_character(piece));
        let whole = simdutf8::basic::from_utf8(whole).map_err(|_| DecodeError::InvalidUtf8)?;
        self.append(whole, ceiling);
        if !tail.is_empty() {
            match std::str::from_utf8(tail) {
                Err(error) if error.error_len().is_none() => {}
                _ => return Err(DecodeError::InvalidUtf8),
            }
            self.tail[..tail.len()].copy_from_slice(tail);
            self.tail_len = tail.len() as u8;
        }
        Ok(())
    }

    /// Gives the waiting character its missing bytes from the front of `piece`; gives back the others.
    fn complete_tail<'p>(&mut self, piece: &'p [u8]) -> Result<&'p [u8], DecodeError> {
        let have = usize::from(self.tail_len);
        if have == 0 || piece.is_empty() {
            return Ok(piece);
        }
        let taken = piece.len().min(character_len(self.tail[0]) - have);
        let (front, rest) = piece.split_at(taken);
        let mut character = [0; 4];
        character[..have].copy_from_slice(&self.tail[..have]);
        character[have..have + taken].copy_from_slice(front);
        let character = &character[..have + taken];
        match std::str::from_utf8(character) {
            Ok(character) => {
                self.checked.push_str(character);
                self.tail_len = 0;
            }
            Err(error) if error.error_len().is_none() => {
                self.tail[..character.len()].copy_from_slice(character);
                self.tail_len = character.len() as u8;
            }
            Err(_) => return Err(DecodeError::InvalidUtf8),
        }
        Ok(rest)
    }

    fn append(&mut self, text: &str, ceiling: usize) {
        let (len, capacity) = (self.checked.len(), self.checked.capacity());
        self.checked
            .reserve_exact(room(len, capacity, text.len(), ceiling));
        self.checked.push_str(text);
    }
}

/// How much to reserve beyond `len` for `more` bytes: nothing while they fit, else twice the capacity (so that many small
/// pieces cost linear time), but not beyond `ceiling`.
fn room(len: usize, capacity: usize, more: usize, ceiling: usize) -> usize {
    if capacity - len >= more {
        return 0;
    }
    capacity.saturating_mul(2).min(ceiling).max(len + more) - len
}

/// Length of the character that `first` (not ASCII, not a continuation byte) begins.
fn character_len(first: u8) -> usize {
    match first {
        0xf0.. => 4,
        0xe0.. => 3,
        _ => 2,
    }
}

/// How many bytes at the end of `bytes` begin a character that `bytes` does not finish: 0 to 3. They may be invalid all
/// the same; the caller checks them.
fn unfinished_character(bytes: &[u8]) -> usize {
    for (index, &byte) in bytes.iter().rev().take(3).enumerate() {
        match byte {
            0x00..0x80 => return 0,
            0x80..0xc0 => {}
            _ if character_len(byte) > index + 1 => return index + 1,
            _ => return 0,
        }
    }
    0
}
