//! What our side of TLS is: versions, suites, application protocol, tickets.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{Error, ServerConfig};

use super::Pair;

/// RFC 7301: the protocol a WebSocket's upgrade is spoken in. A client that offers others only (`h2`) is refused with
/// `no_application_protocol`; one that offers none is taken.
const APPLICATION_PROTOCOL: &[u8] = b"http/1.1";

/// Tickets sent after a TLS 1.3 handshake. A client makes one connection, and when it comes back gets the next ticket.
const TICKETS: usize = 1;

/// Where keys, suites and signatures come from (docs/decisions/0007-tls-sessions-without-buffers.md).
pub(super) fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// What sessions are made with: TLS 1.3 and 1.2, resumption by ticket.
///
/// Tickets are sealed with keys of this configuration's own, so a session of an earlier certificate cannot be resumed under this one.
/// Nothing about a session is stored on our side: that would be a table with a lock between the shards. Early data (0-RTT) stays
/// off, because it can be replayed.
///
/// # Errors
/// When the system gives no random numbers for the tickets.
pub(crate) fn server_config(pair: Pair) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![APPLICATION_PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = TICKETS;
    Ok(Arc::new(config))
}
