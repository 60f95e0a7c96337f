//! Tests of the room.
#![allow(clippy::unwrap_used)]

mod codec;
mod distances;
mod negotiation;
