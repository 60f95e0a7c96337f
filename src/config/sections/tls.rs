//! `[listen.tls]`: the certificate that makes `wss://` of `ws://`.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::bounds;
use crate::config::check::Checker;
use crate::config::text::TextDuration;

/// The certificate that makes `wss://` of `ws://`: with both files set, every connection speaks TLS 1.3 or 1.2, and plain text is
/// refused. How to get one, and how it is renewed without a restart: `docs/guides/tls.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate chain: the server's own certificate first, then the intermediate ones. `fullchain.pem` of most
    /// authorities' tools.
    #[schemars(extend("x-allowed" = "the path of a PEM file", "x-default" = "none: connections are plain"))]
    pub certificate: Option<PathBuf>,

    /// PEM file with the private key of that certificate: RSA, ECDSA or Ed25519, not locked by a passphrase. `privkey.pem` of most
    /// authorities' tools. Nobody but the engine should be able to read it.
    #[schemars(extend("x-allowed" = "the path of a PEM file", "x-default" = "none: connections are plain"))]
    pub key: Option<PathBuf>,

    /// How often the two files are looked at. When they have changed and belong together, new handshakes use them at once and open
    /// connections stay as they are; when they are faulty, that is logged and the old ones stay in use. SIGHUP looks at once.
    #[schemars(extend("x-allowed" = bounds::RELOAD_INTERVAL.to_string()))]
    pub reload_interval: TextDuration,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            reload_interval: TextDuration::from_secs(10),
        }
    }
}

/// `[listen.tls]`, checked, when it is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM file with the chain.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// Between two looks at the files.
    pub reload_interval: Duration,
}

impl Tls {
    /// The key of the chain's file.
    pub(in crate::config) const CERTIFICATE: &str = "listen.tls.certificate";
    /// The key of the private key's file.
    pub(in crate::config) const KEY: &str = "listen.tls.key";

    /// What both files are, without looking at them; none when connections are plain.
    pub(in crate::config) fn check(&self, checker: &mut Checker) -> Option<TlsSettings> {
        let reload_interval = checker.duration(
            "listen.tls.reload_interval",
            self.reload_interval,
            &bounds::RELOAD_INTERVAL,
        );
        match (&self.certificate, &self.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(TlsSettings {
                certificate: certificate.clone(),
                key: key.clone(),
                reload_interval,
            }),
            (Some(certificate), None) => {
                let problem = format!("needs the private key too: set {}", Self::KEY);
                checker.refuse(Self::CERTIFICATE, format!("{certificate:?}"), problem);
                None
            }
            (None, Some(key)) => {
                let problem = format!("needs the certificate too: set {}", Self::CERTIFICATE);
                checker.refuse(Self::KEY, format!("{key:?}"), problem);
                None
            }
        }
    }
}
