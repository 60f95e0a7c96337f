//! Which path means what.

use std::net::IpAddr;
use std::sync::Arc;

use shardwire_protocol::handshake::server::{Refusal, Request, Upgrade, upgrade};
use shardwire_shards::vocabulary::{Mode, Standing, UserId, is_valid_user};

use super::Origins;
use super::page::File;
use crate::auth::{Gate, Shown};

/// What is served, from the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    /// Whether `/echo` is served.
    pub(crate) echo: bool,
    /// Whether `/` is served.
    pub(crate) page: bool,
    /// Who asks clients who they are; none: nobody does.
    pub(crate) gate: Option<Arc<Gate>>,
    /// From where one may connect.
    pub(crate) origins: Arc<Origins>,
    /// Subprotocols, best first (contract M16).
    pub(crate) protocols: Arc<[String]>,
}

/// What a request wants. Lives for one call.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub(super) enum Wanted<'b> {
    /// A WebSocket connection.
    Socket {
        mode: Mode,
        upgrade: Upgrade<'b>,
        /// Who it is, or what it shows to be somebody.
        shown: Shown,
        /// Whether it is greeted.
        hello: bool,
        /// The subprotocol to answer with.
        protocol: Option<&'b str>,
    },
    /// A plain answer, written already.
    Answer(Vec<u8>),
}

impl Routes {
    pub(super) fn find<'b>(
        &'b self,
        request: &Request<'b>,
        address: IpAddr,
    ) -> Result<Wanted<'b>, Refusal> {
        let mode = match request.path() {
            "/ws" => Mode::Json,
            "/echo" if self.echo => Mode::Echo,
            path => {
                let asked = self.page && !request.wants_upgrade();
                let file = File::at(path).filter(|_| asked);
                let file = file.ok_or_else(Refusal::not_found)?;
                return Ok(Wanted::Answer(file.answer(request)?));
            }
        };
        let upgrade = upgrade(request)?;
        self.origins.check(request)?;
        let protocol = self
            .protocols
            .iter()
            .find(|ours| upgrade.protocols.contains(&ours.as_str()));
        let (shown, hello) = match &self.gate {
            Some(gate) => (gate.look(request, &upgrade, address)?, true),
            None => {
                let standing = Standing::Unverified(user(request)?);
                (Shown::Nothing(standing), wants_hello(request))
            }
        };
        Ok(Wanted::Socket {
            mode,
            shown,
            hello,
            protocol: protocol.map(String::as_str),
            upgrade,
        })
    }
}

/// Without authentication a client that wants to be greeted asks for it by `?hello=1`: those who do not know the word are not
/// surprised by it.
fn wants_hello(request: &Request<'_>) -> bool {
    request.query_value("hello").as_deref() == Some("1")
}

/// Without authentication a client may name its user by `?user=NAME`. Nobody has verified it.
fn user(request: &Request<'_>) -> Result<Option<UserId>, Refusal> {
    let Some(user) = request.query_value("user") else {
        return Ok(None);
    };
    if !is_valid_user(&user) {
        return Err(Refusal::bad_request(
            "user must be 1 to 128 bytes without control characters",
        ));
    }
    Ok(Some(user.as_ref().into()))
}
