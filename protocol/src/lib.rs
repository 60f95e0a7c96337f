//! PARSES: bytes to meaning and back, for server, clients, load test and fuzzers.
//!
//! # What lives here
//!
//! | room | turns | into |
//! | --- | --- | --- |
//! | [`handshake`] | the bytes of an HTTP/1.1 upgrade | a request or response, or a refusal to write |
//! | [`websocket`] | the bytes behind it (RFC 6455 frames) | messages and control events, and back |
//! | [`envelope`] | a text message (`{"type": …}`) | its fields, borrowed; and the answers back |
//! | [`proxy`] | what proxies say of a client, before or inside the request | the client's address |
//! | [`text`] | the operations of people who edit one text together | operations on the same text, one behind the other |
//! | [`codes`] | numbers | the words and advice a peer sees: error codes and close codes |
//!
//! # What does not
//!
//! Users, channels and limits that need a memory (the `shards` crate decides), time, sockets and threads (the engine
//! waits). Nothing here reads a clock, draws a random number or does I/O; a caller passes what is needed.
//!
//! # Invariants
//!
//! * No byte a peer can send makes a function here panic, and none makes it hold more memory than the peer has sent.
//! * Feeding the same bytes in other pieces gives the same events and the same error.
//! * What a peer sees of a failure is a row of [`codes`] or a short fixed text, never an internal error.
//!
//! # Who calls in, and where the tests are
//!
//! The engine (`src/`) calls [`handshake`] and writes frames; `shards` calls [`websocket`] and [`envelope`]; clients and
//! load test use the client halves. Unit and property tests stand beside the code; `tests/` holds what needs the
//! crate's outside: foreign peers, counted allocations, the generated reference page.

pub mod codes;
pub mod envelope;
pub mod handshake;
pub mod proxy;
pub mod text;
pub mod websocket;
