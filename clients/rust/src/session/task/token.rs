//! A newer token for an open connection, before the one it has expires.

use super::{TRY_AGAIN, Task, outbox::What};
use crate::token::{TokenError, TokenSource};
use rand::RngExt;
use shardwire_protocol::envelope::client as wire;
use std::{future::Future, pin::Pin};
use tokio::time::{self, Instant};

type Asking = Pin<Box<dyn Future<Output = Result<String, TokenError>> + Send>>;

/// Where a refresh is.
#[derive(Default)]
pub(super) enum Refresh {
    #[default]
    Not,
    /// The user's callback is asked, from this moment on.
    Asking(Instant, Asking),
    /// The server is asked, with this id.
    Sent(u64),
}

impl Refresh {
    /// The token, when it is there; never, while none is asked for. Cancel-safe.
    pub(super) async fn token(&mut self) -> Result<String, TokenError> {
        match self {
            Refresh::Asking(at, asking) => {
                time::sleep_until(*at).await;
                asking.await
            }
            Refresh::Not | Refresh::Sent(_) => std::future::pending().await,
        }
    }
}

impl Task {
    fn source(&self) -> Option<&TokenSource> {
        self.options.connect.token.as_ref()
    }

    /// The token expires soon, or a refresh has failed for now.
    pub(super) fn refresh(&mut self, at: Instant) {
        match self.source() {
            Some(source) => self.refresh = Refresh::Asking(at, source.to_refresh()),
            None => {
                tracing::warn!("the token expires soon, and there is nobody to ask for another")
            }
        }
    }

    pub(super) fn refresh_later(&mut self) {
        let delay = TRY_AGAIN.mul_f64(1.0 + rand::rng().random::<f64>());
        self.refresh(Instant::now() + delay);
    }

    /// The user's callback has answered.
    pub(super) fn got_token(&mut self, token: Result<String, TokenError>) {
        self.refresh = Refresh::Not;
        match token {
            Ok(token) => {
                let id = self.number();
                let text = super::text(|out| wire::refresh(out, &token, id));
                self.refresh = Refresh::Sent(id);
                self.outbox.push(text, What::Connection);
            }
            Err(error) => {
                tracing::warn!(%error, "no newer token");
                if matches!(error, TokenError::Later(_)) {
                    self.refresh_later();
                }
            }
        }
    }

    /// Whether `id` is that of the refresh under way, which ends with this answer.
    pub(super) fn refreshed(&mut self, id: u64) -> bool {
        let ours = matches!(self.refresh, Refresh::Sent(sent) if sent == id);
        if ours {
            self.refresh = Refresh::Not;
        }
        ours
    }
}
