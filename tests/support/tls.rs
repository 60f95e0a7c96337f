//! Certificates of the test's own, in files, and rustls' client: not our session code.
#![allow(clippy::unwrap_used, dead_code)]

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use shardwire::config::Config;

/// A TLS connection to the server.
pub type Secured = StreamOwned<ClientConnection, TcpStream>;

/// A certificate for `localhost`, signed by itself, and its key.
pub struct Certificate {
    pub pem: String,
    pub key_pem: String,
    der: CertificateDer<'static>,
}

impl Certificate {
    pub fn new() -> Self {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Self {
            pem: cert.pem(),
            key_pem: signing_key.serialize_pem(),
            der: cert.der().clone(),
        }
    }

    /// A client that trusts this certificate alone.
    pub fn client_config(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.der.clone()
    }

    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::new(self.client_config(rustls::DEFAULT_VERSIONS))
    }

    /// Whether this is the one the server showed.
    pub fn was_shown_to(&self, client: &ClientConnection) -> bool {
        client
            .peer_certificates()
            .is_some_and(|shown| shown[0] == self.der)
    }
}

/// Where an engine finds its certificate; gone at the end of the test.
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// `name` is this test's alone.
    pub fn new(name: &str, certificate: &Certificate) -> Self {
        let folder = std::env::temp_dir().join(format!("shardwire-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = Self { folder };
        files.put(&certificate.pem, &certificate.key_pem);
        files
    }

    /// Replaces both files, each at once.
    pub fn put(&self, certificate: &str, key: &str) {
        for (path, text) in [(self.certificate(), certificate), (self.key(), key)] {
            let fresh = path.with_extension("fresh");
            std::fs::write(&fresh, text).unwrap();
            std::fs::rename(fresh, path).unwrap();
        }
    }

    pub fn certificate(&self) -> PathBuf {
        self.folder.join("chain.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    /// Has an engine speak TLS with these files; they are looked at again after a long time.
    pub fn name_in(&self, config: &mut Config) {
        config.listen.tls.certificate = Some(self.certificate());
        config.listen.tls.key = Some(self.key());
        config.listen.tls.reload_interval = std::time::Duration::from_secs(3600).into();
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Shakes hands over a TCP connection.
///
/// # Panics
/// When it fails.
pub fn secure(stream: TcpStream, config: &Arc<ClientConfig>) -> Secured {
    try_secure(stream, config).unwrap()
}

/// Shakes hands over a TCP connection.
pub fn try_secure(mut stream: TcpStream, config: &Arc<ClientConfig>) -> std::io::Result<Secured> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::clone(config), name).unwrap();
    while client.is_handshaking() {
        client.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(client, stream))
}
