//! A certificate for 127.0.0.1 that signs itself, for the cases over TLS.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::run::Folder;

/// Certificate and key, as files that go with it.
#[derive(Debug)]
pub struct Certificate(Folder);

impl Certificate {
    /// Makes one with openssl.
    ///
    /// # Errors
    /// openssl is not there, or refuses.
    pub fn make() -> Result<Self> {
        let made = Self(Folder::new()?);
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
            .args([
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-subj",
                "/CN=loadtest",
            ])
            .args(["-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-keyout", &made.key(), "-out", &made.certificate()])
            .output()
            .context(
                "openssl makes the certificate of the cases over TLS, and cannot be started",
            )?;
        if !output.status.success() || fs::metadata(made.certificate()).is_err() {
            bail!(
                "openssl makes no certificate: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(made)
    }

    /// The certificate's file.
    pub fn certificate(&self) -> String {
        self.file("certificate.pem")
    }

    /// The key's file.
    pub fn key(&self) -> String {
        self.file("key.pem")
    }

    fn file(&self, name: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        path.display().to_string()
    }
}
