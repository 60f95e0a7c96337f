//! The server's side of the handshake.
//!
//! ```text
//! read_request ─► Incomplete: read more          ─► Refusal::write, close
//!      └────────► Complete ─► upgrade ─► Upgrade ─► write_accept, frames follow
//!                         └─► no upgrade wanted  ─► write_page, close
//! ```

mod refusal;
mod request;
mod response;
mod upgrade;

pub use refusal::Refusal;
pub use request::{MAX_HEAD_BYTES, MAX_HEADERS, Progress, Request, RequestLimits, read_request};
pub(super) use response::write_header;
pub use response::{write_accept, write_page};
pub use upgrade::{Upgrade, upgrade};
