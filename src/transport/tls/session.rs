//! One TLS session, without I/O.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};

/// Ciphertext kept until the rest of its record comes. One record is at most 5 + 2^14 + 2048 bytes (RFC 5246, 6.2.3; TLS 1.3
/// allows less), and a client's whole first flight is a fraction of that.
pub(super) const INCOMING_MAX: usize = 5 + (1 << 14) + 2048;

/// Plaintext of one record (RFC 8446, 5.1).
const RECORD_PLAINTEXT_MAX: usize = 1 << 14;

/// What sealing adds to a record: header 5, explicit nonce 8 (TLS 1.2), content type 1 (TLS 1.3), tag 16.
const RECORD_OVERHEAD_MAX: usize = 5 + 8 + 1 + 16;

/// Rounds of asking rustls for its next state before it writes. It has at most an answer to a key update to say first.
const ROUNDS_MAX: usize = 8;

/// The session of one socket.
pub(crate) struct Session {
    tls: UnbufferedServerConnection,
    /// Ciphertext of a record that is not whole yet, or that had to wait ([`hold`](Self::hold)).
    incoming: Vec<u8>,
    /// Sealed bytes that the socket has not taken, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    /// The socket took less than it was offered.
    blocked: bool,
    /// Nothing has come yet.
    untouched: bool,
    /// Waits in a queue of its own for its turn to shake hands.
    waiting: bool,
    /// An alert or `close_notify` was the last that was sealed.
    ended: bool,
    /// rustls must not be asked anything any more: it takes a second failure for an error of ours.
    failed: bool,
}

/// How far a session is after bytes came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// Shaking hands, or open: more may come.
    Goes,
    /// The peer said `close_notify`: nothing more will come.
    PeerClosed,
}

/// Why a session failed. The socket is of no use but for what [`Session::unsent`] still holds (the alert).
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// Not TLS but a plain HTTP request. The client can be told in the same words; nothing was sealed.
    #[error("plain HTTP where TLS is spoken")]
    PlainHttp,
    /// The peer broke the protocol, or offers nothing we take.
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    /// Handshake messages that never end.
    #[error("a handshake message is longer than any client's")]
    TooLong,
    /// The keys of a TLS 1.2 session have sealed all they may.
    #[error("the session's keys are used up")]
    Exhausted,
    /// It has failed or said `close_notify` before.
    #[error("the session is over")]
    Over,
}

impl Session {
    /// A session for a socket from which nothing was read yet.
    ///
    /// # Errors
    /// Never with a configuration of `listen/certificate`; rustls refuses others.
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            tls: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            unsent: Vec::new(),
            sent: 0,
            blocked: false,
            untouched: true,
            waiting: false,
            ended: false,
            failed: false,
        })
    }

    /// Opens what arrived; its plaintext is appended to `plaintext`, at most as many bytes as are in `bytes` and what was kept before.
    /// `bytes` is scratch afterwards: records that are whole in it are opened in place. What is to be said in return is in
    /// [`unsent`](Self::unsent).
    ///
    /// # Errors
    /// [`SessionError`]. Plaintext that came before is delivered all the same.
    pub(crate) fn received(
        &mut self,
        bytes: &mut [u8],
        plaintext: &mut Vec<u8>,
    ) -> Result<Progress, SessionError> {
        if self.failed {
            return Err(SessionError::Over);
        }
        let first = self.incoming.first().or(bytes.first());
        if first.is_some_and(|first| {
            std::mem::replace(&mut self.untouched, false) && first.is_ascii_uppercase()
        }) {
            // No TLS record begins with a letter, and every HTTP request does.
            self.failed = true;
            return Err(SessionError::PlainHttp);
        }
        if self.incoming.is_empty() {
            let (used, result) = self.process(bytes, plaintext);
            self.keep(&bytes[used..]);
            return self.checked(result);
        }
        let mut incoming = std::mem::take(&mut self.incoming);
        incoming.extend_from_slice(bytes);
        let (used, result) = self.process(&mut incoming, plaintext);
        if used < incoming.len() {
            incoming.drain(..used);
            self.incoming = incoming;
        }
        self.checked(result)
    }

    /// Keeps ciphertext for later, without looking at it: its shard has shaken enough hands for this turn. [`received`](Self::received)
    /// with nothing goes on with it.
    ///
    /// # Errors
    /// [`SessionError::TooLong`]: that much does not come before an answer.
    pub(crate) fn hold(&mut self, bytes: &[u8]) -> Result<Progress, SessionError> {
        self.keep(bytes);
        self.checked(Ok(Progress::Goes))
    }

    fn keep(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.incoming.extend_from_slice(bytes);
        }
    }

    fn checked(
        &mut self,
        result: Result<Progress, SessionError>,
    ) -> Result<Progress, SessionError> {
        let result = match result {
            Ok(_) if self.incoming.len() > INCOMING_MAX => Err(SessionError::TooLong),
            result => result,
        };
        if result.is_err() {
            self.failed = true;
            self.incoming = Vec::new();
        }
        result
    }

    /// Runs rustls over `buffer`: how many bytes of it are done with, and what came of it.
    fn process(
        &mut self,
        buffer: &mut [u8],
        plaintext: &mut Vec<u8>,
    ) -> (usize, Result<Progress, SessionError>) {
        let mut used = 0;
        let mut progress = Progress::Goes;
        // Every round takes a record from the buffer or a message out of rustls, so there are as many as there is work.
        loop {
            let UnbufferedStatus { discard, state } =
                self.tls.process_tls_records(&mut buffer[used..]);
            let mut done = discard;
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        done += record.discard;
                        plaintext.extend_from_slice(record.payload);
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut message)) => {
                    append(&mut self.unsent, |space| message.encode(space));
                    true
                }
                Ok(ConnectionState::TransmitTlsData(transmit)) => {
                    transmit.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    progress = Progress::PeerClosed;
                    true
                }
                // Blocked, or ready to write: rustls has nothing more to do. (Early data is off.)
                Ok(_) => false,
                Err(error) => {
                    used += done;
                    self.take_alert(&mut buffer[used..]);
                    return (used, Err(error.into()));
                }
            };
            used += done;
            if !goes_on {
                return (used, Ok(progress));
            }
        }
    }

    /// After a failure: whatever rustls wants to tell the peer about it.
    fn take_alert(&mut self, rest: &mut [u8]) {
        // As long as there is something to say rustls does not look at `rest`, which it must not after a failure.
        while self.tls.wants_write() {
            match self.tls.process_tls_records(rest).state {
                Ok(ConnectionState::EncodeTlsData(mut message)) => {
                    append(&mut self.unsent, |space| message.encode(space));
                }
                _ => return,
            }
        }
    }

    /// Seals `plaintext` and appends it to `sealed`. Nothing of `plaintext` is kept.
    ///
    /// # Errors
    /// [`SessionError`]: the session is not open, has failed, or its keys are used up.
    pub(crate) fn seal(
        &mut self,
        plaintext: &[u8],
        sealed: &mut Vec<u8>,
    ) -> Result<(), SessionError> {
        if self.failed || self.ended {
            return Err(SessionError::Over);
        }
        if plaintext.is_empty() {
            return Ok(());
        }
        let bound =
            plaintext.len() + plaintext.len().div_ceil(RECORD_PLAINTEXT_MAX) * RECORD_OVERHEAD_MAX;
        for _ in 0..ROUNDS_MAX {
            // The kept ciphertext is handed in although it is not whole: rustls may have noted a place in it.
            match self.tls.process_tls_records(&mut self.incoming).state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let at = sealed.len();
                    sealed.resize(at + bound, 0);
                    let mut written = traffic.encrypt(plaintext, &mut sealed[at..]);
                    if let Err(EncryptError::InsufficientSize(InsufficientSizeError {
                        required_size,
                    })) = written
                    {
                        // A key update goes before it.
                        sealed.resize(at + required_size, 0);
                        written = traffic.encrypt(plaintext, &mut sealed[at..]);
                    }
                    sealed.truncate(at + written.as_ref().map_or(0, |written| *written));
                    return written.map(|_| ()).map_err(|_| SessionError::Exhausted);
                }
                ConnectionState::EncodeTlsData(mut message) => {
                    append(sealed, |space| message.encode(space));
                }
                ConnectionState::TransmitTlsData(transmit) => transmit.done(),
                _ => break,
            }
        }
        Err(rustls::Error::HandshakeNotComplete.into())
    }

    /// [`seal`](Self::seal)s into [`unsent`](Self::unsent), for small answers.
    pub(crate) fn say(&mut self, plaintext: &[u8]) -> Result<(), SessionError> {
        let mut unsent = std::mem::take(&mut self.unsent);
        let said = self.seal(plaintext, &mut unsent);
        self.unsent = unsent;
        said
    }

    /// Puts `close_notify` behind everything else, once. A session that is still shaking hands, or has failed, has nothing to say.
    pub(crate) fn say_closing(&mut self) {
        if std::mem::replace(&mut self.ended, true) || self.failed || self.tls.is_handshaking() {
            return;
        }
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) =
            self.tls.process_tls_records(&mut self.incoming).state
        {
            let mut alert = [0; 2 + RECORD_OVERHEAD_MAX];
            if let Ok(written) = traffic.queue_close_notify(&mut alert) {
                self.unsent.extend_from_slice(&alert[..written]);
            }
        }
    }

    /// Whether the handshake still goes on.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Whether the client's greeting (`ClientHello`) has not been answered yet: the costly step is still to come.
    pub(crate) fn awaits_greeting(&self) -> bool {
        self.tls.protocol_version().is_none()
    }

    /// Sealed bytes that still have to be written.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.unsent[self.sent..]
    }

    /// The socket took `written` bytes of [`unsent`](Self::unsent); the buffer goes when it is empty.
    pub(crate) fn sent(&mut self, written: usize) {
        self.sent += written;
        self.blocked = self.sent < self.unsent.len();
        if !self.blocked {
            self.unsent = Vec::new();
            self.sent = 0;
        }
    }

    /// Moves the unsent bytes to the end of `sealed`, to leave in one write with what is sealed behind them.
    pub(super) fn take_unsent(&mut self, sealed: &mut Vec<u8>) {
        if !self.unsent.is_empty() {
            sealed.extend_from_slice(self.unsent());
            self.sent(self.unsent.len() - self.sent);
        }
    }

    /// Keeps the rest of a write that the socket did not take.
    pub(super) fn keep_unsent(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.unsent.extend_from_slice(rest);
            self.blocked = true;
        }
    }

    /// Whether the socket took less than it was offered last time.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether it waits for its turn to shake hands.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Says whether it waits for its turn to shake hands.
    pub(crate) fn set_waiting(&mut self, waiting: bool) {
        self.waiting = waiting;
    }

    /// Bytes of buffers held; none while idle.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.incoming.capacity() + self.unsent.capacity()
    }

    #[cfg(test)]
    pub(super) fn tls(&self) -> &UnbufferedServerConnection {
        &self.tls
    }
}

impl std::fmt::Debug for Session {
    /// Without rustls' part, which is full of secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("handshaking", &self.is_handshaking())
            .field("incoming", &self.incoming.len())
            .field("unsent", &self.unsent().len())
            .finish_non_exhaustive()
    }
}

/// Appends a message that tells how much space it needs when it gets too little.
fn append(to: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let at = to.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
        encode(&mut [])
    {
        to.resize(at + required_size, 0);
        let written = encode(&mut to[at..]).unwrap_or(0);
        to.truncate(at + written);
    }
}
