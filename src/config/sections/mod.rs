//! The sections of a configuration, one file each: the keys with their documentation, their defaults, and what they become once checked.
//!
//! - **Lives here**: `Config`'s parts (`Shards`, what the operator wrote) and `Settings`' parts (`ShardSettings`, what a room reads).
//! - **Does not**: ranges (`bounds`), spellings (`text`), reading layers (`load`).
//! - **Invariants**: a key's doc comment is its entry in the reference page; a default is written in `Default` or, where it depends on
//!   the machine or another key, in `check`, and nowhere else.
//! - **Called by** `Config::check`; calls `check::Checker`.
//! - **Tests**: beside each section; all of them together in `load/tests.rs`.

pub(super) mod admin;
pub(super) mod authentication;
pub(super) mod channels;
pub(super) mod chat;
pub(super) mod collaboration;
pub(super) mod compression;
pub(super) mod connections;
pub(super) mod echo;
pub(super) mod handlers;
pub(super) mod listen;
pub(super) mod log;
pub(super) mod notifications;
pub(super) mod page;
pub(super) mod permissions;
pub(super) mod presence;
pub(super) mod proxy;
pub(super) mod rates;
pub(super) mod shards;
pub(super) mod shutdown;
pub(super) mod storage;
pub(super) mod tls;

/// `tchar` of RFC 9110 section 5.6.2, of which names in HTTP are made.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
