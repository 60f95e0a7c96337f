//! Tests of the room.
#![allow(clippy::unwrap_used)]

mod codec;
mod counting;
mod distances;
mod negotiation;
