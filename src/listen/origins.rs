//! From which pages one may connect (cross-site WebSocket hijacking, RFC 6455 section 10.2).

use shardwire_protocol::handshake::origin::OriginPattern;
use shardwire_protocol::handshake::server::{Refusal, Request};

/// Whose scripts may connect.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    /// Any of these.
    pub(crate) allowed: Vec<OriginPattern>,
    /// Also clients that name none.
    pub(crate) missing: bool,
}

impl Origins {
    /// 403 for a request from a page that may not connect.
    pub(super) fn check(&self, request: &Request<'_>) -> Result<(), Refusal> {
        if self.allowed.iter().any(OriginPattern::is_any) {
            return Ok(());
        }
        let mut origins = request.headers("origin");
        let fits = match (origins.next(), origins.next()) {
            (None, _) => self.missing,
            (Some(origin), None) => self.allowed.iter().any(|allowed| allowed.fits(origin)),
            // No browser sends two; whoever does wants one of them to be overlooked.
            (Some(_), Some(_)) => false,
        };
        if fits {
            Ok(())
        } else {
            Err(Refusal::forbidden("this origin may not connect"))
        }
    }
}
