//! Finding the end of an HTTP head, and what httparse makes of it.

use httparse::Header;
use smallvec::SmallVec;

/// Most header lines of ordinary requests; more of them (if the limit allows) are parsed on the heap.
const INLINE_HEADERS: usize = 32;

/// How far a head has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// No end among the first `scanned` bytes.
    Incomplete { scanned: usize },
    /// The head is the first `len` bytes, its empty line included, and has `lines` lines.
    Complete { len: usize, lines: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadError {
    /// Longer than the limit.
    TooLong,
    /// A line ends in LF alone. HTTP lets a lenient reader take it; two readers that differ here see two requests.
    BareLineFeed,
}

/// Looks for the empty line that ends a head, from `scanned` on, among the first `limit` bytes.
pub(super) fn find_end(buffer: &[u8], scanned: usize, limit: usize) -> Result<Head, HeadError> {
    let window = &buffer[..buffer.len().min(limit)];
    let mut at = scanned.min(window.len());
    while let Some(distance) = window[at..].iter().position(|byte| *byte == b'\n') {
        let len = at + distance + 1;
        let line = &window[..len];
        if !line.ends_with(b"\r\n") {
            return Err(HeadError::BareLineFeed);
        }
        if line.ends_with(b"\r\n\r\n") {
            let lines = line.iter().filter(|byte| **byte == b'\n').count();
            return Ok(Head::Complete { len, lines });
        }
        at = len;
    }
    if buffer.len() >= limit {
        return Err(HeadError::TooLong);
    }
    Ok(Head::Incomplete {
        scanned: buffer.len(),
    })
}

/// Room for httparse to put the header lines of a head of `lines` lines into, at most `max`.
pub(super) fn header_slots<'b>(lines: usize, max: usize) -> SmallVec<[Header<'b>; INLINE_HEADERS]> {
    SmallVec::from_elem(httparse::EMPTY_HEADER, lines.min(max))
}

/// One header line.
#[derive(Clone, Copy)]
pub(super) struct Field<'b> {
    pub(super) name: &'b str,
    pub(super) value: &'b str,
}

/// The header lines with values as text; `None` when one is not UTF-8 (or ASCII, which nearly all are).
pub(super) fn fields<'b>(headers: &[Header<'b>]) -> Option<Vec<Field<'b>>> {
    let field = |header: &Header<'b>| {
        let value = std::str::from_utf8(header.value).ok()?;
        Some(Field {
            name: header.name,
            value,
        })
    };
    headers.iter().map(field).collect()
}

/// Values of all lines called `name` (in any case), in order.
pub(super) fn values<'b>(fields: &[Field<'b>], name: &str) -> impl Iterator<Item = &'b str> {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value)
}
