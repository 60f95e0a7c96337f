//! Which path means what.

use std::sync::Arc;

use shardwire_protocol::handshake::server::{Refusal, Request, Upgrade, upgrade, write_page};
use shardwire_shards::vocabulary::{Mode, UserId};

use super::Origins;
use super::page::PAGE;

/// Longest user name a client may give itself, in bytes: it is a key in the user directory.
const USER_BYTES_MAX: usize = 128;

/// What is served, from the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    /// Whether `/echo` is served.
    pub(crate) echo: bool,
    /// Whether `/` is served.
    pub(crate) page: bool,
    /// From where one may connect.
    pub(crate) origins: Arc<Origins>,
    /// Subprotocols, best first (contract M16).
    pub(crate) protocols: Arc<[String]>,
}

/// What a request wants.
#[derive(Debug)]
pub(super) enum Wanted<'b> {
    /// A WebSocket connection.
    Socket {
        mode: Mode,
        upgrade: Upgrade<'b>,
        /// The subprotocol to answer with.
        protocol: Option<&'b str>,
        user: Option<UserId>,
    },
    /// A plain answer, written already.
    Answer(Vec<u8>),
}

impl Routes {
    pub(super) fn find<'b>(&'b self, request: &Request<'b>) -> Result<Wanted<'b>, Refusal> {
        let mode = match request.path() {
            "/ws" => Mode::Json,
            "/echo" if self.echo => Mode::Echo,
            "/" if self.page && !request.wants_upgrade() => return page(request),
            _ => return Err(Refusal::not_found()),
        };
        let upgrade = upgrade(request)?;
        self.origins.check(request)?;
        let protocol = self
            .protocols
            .iter()
            .find(|ours| upgrade.protocols.contains(&ours.as_str()));
        Ok(Wanted::Socket {
            mode,
            protocol: protocol.map(String::as_str),
            upgrade,
            user: user(request)?,
        })
    }
}

fn page<'b>(request: &Request<'b>) -> Result<Wanted<'b>, Refusal> {
    let head_only = match request.method() {
        "GET" => false,
        "HEAD" => true,
        _ => return Err(Refusal::method_not_allowed()),
    };
    let mut answer = Vec::with_capacity(PAGE.len() + 512);
    write_page(
        &mut answer,
        "text/html; charset=utf-8",
        PAGE.as_bytes(),
        head_only,
    );
    Ok(Wanted::Answer(answer))
}

/// Without authentication a client may name its user by `?user=NAME`. Nobody has verified it.
fn user(request: &Request<'_>) -> Result<Option<UserId>, Refusal> {
    let Some(user) = request.query_value("user") else {
        return Ok(None);
    };
    if user.is_empty() || user.len() > USER_BYTES_MAX || user.chars().any(char::is_control) {
        return Err(Refusal::bad_request(
            "user must be 1 to 128 bytes without control characters",
        ));
    }
    Ok(Some(user.as_ref().into()))
}
