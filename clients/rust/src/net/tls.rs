//! TLS by rustls.

use crate::error::ConnectError;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};
use std::sync::{Arc, OnceLock};
use std::{fmt, io};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Which certificates are trusted, and with which one the client identifies itself.
#[derive(Clone, Default)]
pub struct Tls(Option<Arc<ClientConfig>>);

impl Tls {
    /// The certificates the system trusts (also the default). They are read once in a process, at the first `wss`.
    pub fn system() -> Tls {
        Tls(None)
    }

    /// A configuration of one's own, by [`crate::rustls`]: private authorities, client certificates.
    pub fn custom(config: Arc<ClientConfig>) -> Tls {
        Tls(Some(config))
    }

    pub(super) async fn open(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let config = match &self.0 {
            Some(config) => config.clone(),
            None => system()?,
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| ConnectError::Url(format!("{host:?} cannot be in a certificate")))?;
        let connecting = TlsConnector::from(config).connect(name, stream);
        connecting.await.map_err(tls)
    }
}

fn tls(error: io::Error) -> ConnectError {
    ConnectError::Tls(Arc::new(error))
}

fn system() -> Result<Arc<ClientConfig>, ConnectError> {
    static SYSTEM: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    SYSTEM
        .get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            let mut roots = RootCertStore::empty();
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                return Err(format!(
                    "the system has no trusted certificates (on Debian: apt-get install ca-certificates): {:?}",
                    found.errors
                ));
            }
            // Named, because a program with two back ends in it has no default one.
            let provider = Arc::new(aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(roots)
                .with_no_client_auth();
            Ok(Arc::new(config))
        })
        .clone()
        .map_err(|why| tls(io::Error::other(why)))
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0 {
            Some(_) => "Tls(custom)",
            None => "Tls(system)",
        })
    }
}
