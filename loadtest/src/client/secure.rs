//! TLS for `wss://`: whom to trust, and the session of one connection. Bytes in, bytes out; the event loop has the socket.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::failure::Failure;

/// What all sessions of a run share.
#[derive(Debug, Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
}

impl Trust {
    /// Trusts the certificates in this PEM file, for a server of this name or address.
    ///
    /// # Errors
    /// With a text for the user: the file cannot be read or holds no certificate, or the name is none.
    pub fn new(authorities: &Path, server: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(authorities)
            .with_context(|| format!("cannot read {}", authorities.display()))?;
        for certificate in certificates {
            let certificate =
                certificate.with_context(|| format!("in {}", authorities.display()))?;
            roots
                .add(certificate)
                .with_context(|| format!("in {}", authorities.display()))?;
        }
        ensure!(
            !roots.is_empty(),
            "{} holds no certificate",
            authorities.display()
        );
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = ServerName::try_from(server.to_owned())
            .with_context(|| format!("{server:?} cannot be the name of a server"))?;
        Ok(Self {
            config: Arc::new(config),
            server,
        })
    }

    /// The session of one connection. The first [`Session::seal`] begins its handshake.
    pub fn session(&self) -> Result<Session, Failure> {
        let config = Arc::clone(&self.config);
        let mut tls = ClientConnection::new(config, self.server.clone()).map_err(failure)?;
        // What waits is bounded by the event loop, in sealed bytes.
        tls.set_buffer_limit(None);
        Ok(Session(Box::new(tls)))
    }
}

/// One TLS session.
pub struct Session(Box<ClientConnection>);

impl Session {
    /// Turns plain bytes into what goes on the wire: nothing until the handshake is done, but then all that was given.
    pub fn seal(&mut self, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        let written = self.0.writer().write_all(bytes);
        bytes.clear();
        written.map_err(|error| Failure::Broken(error.kind()))?;
        while self.0.wants_write() {
            self.0
                .write_tls(bytes)
                .map_err(|error| Failure::Broken(error.kind()))?;
        }
        Ok(())
    }

    /// Adds what `received` holds to `plain`. There may be something to [`seal`](Self::seal) afterwards, of nothing.
    pub fn open(&mut self, mut received: &[u8], plain: &mut Vec<u8>) -> Result<(), Failure> {
        while !received.is_empty() {
            let read = self
                .0
                .read_tls(&mut received)
                .map_err(|error| Failure::Broken(error.kind()))?;
            let state = self.0.process_new_packets().map_err(failure)?;
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            self.0
                .reader()
                .read_exact(&mut plain[start..])
                .map_err(|error| Failure::Broken(error.kind()))?;
            if read == 0 {
                // Behind its close_notify.
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether the session itself has something to send: its part of the handshake.
    pub fn has_more(&self) -> bool {
        self.0.wants_write()
    }
}

fn failure(error: rustls::Error) -> Failure {
    Failure::Tls(error.to_string())
}
