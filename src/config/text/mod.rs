//! How values are spelled in a configuration: small types that read and write the operator's text.
//!
//! - **Lives here**: durations (`"30s"`), sizes (`"64KiB"`), limits (`5` or `"unlimited"`), rates (`"100/s"`), secrets, lists of texts,
//!   listen addresses.
//! - **Does not**: which values a key allows; that is `bounds`.
//! - **Invariants**: one spelling per idea; what is written out reads back as the same value; a bad text is answered with what to
//!   write instead.
//! - **Called by** the sections; calls nothing.
//! - **Tests**: beside each type.

mod address;
mod duration;
mod limit;
mod rate;
mod secret;
mod size;
mod texts;

pub(super) use address::{listen_address, optional_address};
pub use duration::TextDuration;
pub use limit::Limit;
pub use rate::{Amount, Bytes, Count, Rate};
pub use secret::Secret;
pub(super) use secret::{HIDDEN, with_secrets};
pub use size::ByteSize;
pub use texts::Texts;
