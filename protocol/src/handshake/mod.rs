//! The HTTP/1.1 upgrade that begins a WebSocket (RFC 6455 section 4), server and client side.
//!
//! **What lives here.** [`server`]: reading a request, deciding whether it is a proper upgrade, answering (accept, refuse,
//! or a small page). [`client`]: writing a request, checking the answer. [`origin`]: whether an origin is on a list.
//!
//! **What does not.** Which paths exist, who may connect, which origins are listed, deadlines (the engine); choosing a
//! subprotocol (the caller gets the offers) or extension parameters ([`crate::websocket::deflate`]). No keep-alive: a
//! connection is upgraded or answered once and closed.
//!
//! **Invariants.**
//! * Linear in the bytes received: no byte is looked at twice while a head arrives in pieces, and a whole head is parsed once.
//! * Head bytes and header lines are bounded; what is over the bound is refused before it is parsed.
//! * Every refusal is a proper HTTP answer ([`server::Refusal`]).
//! * Bytes behind the head are not touched: they are the first frames.
//!
//! **Who calls in.** The engine's `listen` room and the page it serves; clients and load test. **Tests**: beside the code,
//! `tests.rs` here.

pub mod client;
mod head;
mod lists;
pub mod origin;
pub mod response;
pub mod server;

#[cfg(test)]
mod tests;
