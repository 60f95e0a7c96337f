//! Reads a certificate chain and its private key from their files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};

use super::server_config::provider;

/// Most bytes a file may have: a chain is a few KiB. Whoever names a log file by mistake should not wait for it to be read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A certificate chain and the key that belongs to it.
pub(crate) type Pair = CertifiedKey;

/// Which of the two files a fault is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WhichFile {
    /// The chain.
    Certificate,
    /// The private key.
    Key,
}

/// What is wrong with one of the files, and what mends it. The operator mends it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PairFault {
    pub(crate) file: WhichFile,
    /// The rest of a sentence that begins with the file.
    pub(crate) problem: String,
}

/// Reads both files and tries whether they belong together.
///
/// # Errors
/// All that is wrong with either.
pub(crate) fn read_pair(certificate: &Path, key: &Path) -> Result<Pair, Vec<PairFault>> {
    let chain = read(certificate).and_then(|pem| chain(&pem));
    let key = read(key).and_then(|pem| private_key(&pem));
    let fault = |file| move |problem| PairFault { file, problem };
    match (chain, key) {
        (Ok(chain), Ok(key)) => pair(chain, key).map_err(|fault| vec![fault]),
        (chain, key) => Err([
            chain.err().map(fault(WhichFile::Certificate)),
            key.err().map(fault(WhichFile::Key)),
        ]
        .into_iter()
        .flatten()
        .collect()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: io::Error| {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => "write the path of a PEM file that exists",
            io::ErrorKind::PermissionDenied => {
                "let the user that runs the engine read it: chown or chmod"
            }
            _ => "write the path of a PEM file",
        };
        format!("cannot be read ({error}): {advice}")
    };
    // Anything but a regular file could block the start (a pipe) or have no end.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err("is not a regular file: write the path of a PEM file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err("is larger than 1 MiB, which no PEM file of this kind is".to_owned());
    }
    Ok(bytes)
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) if PrivateKeyDer::from_pem_slice(pem).is_ok() => {
            Err("holds a private key and no certificate: are the two files exchanged?".to_owned())
        }
        Ok(_) => Err(
            "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----); from DER: openssl x509 -inform der -in FILE -out NEW"
                .to_owned(),
        ),
        Err(_) => Err("is damaged: a PEM section in it cannot be read".to_owned()),
    }
}

/// The first private key of the file. What the parser found wrong is not told: it repeats lines, and they are secret.
fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    if let Ok(key) = PrivateKeyDer::from_pem_slice(pem) {
        return Ok(key);
    }
    let holds = |label: &str| {
        pem.windows(label.len())
            .any(|window| window == label.as_bytes())
    };
    Err(if holds("ENCRYPTED") {
        "holds a key that is locked by a passphrase: openssl pkey -in FILE -out NEW, and protect the new file by its permissions"
    } else if holds("BEGIN CERTIFICATE") {
        "holds a certificate and no private key: are the two files exchanged?"
    } else {
        "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----, RSA or EC); from DER: openssl pkey -inform der -in FILE -out NEW"
    }
    .to_owned())
}

fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Pair, PairFault> {
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
        let (file, problem) = match error {
            TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => (
                WhichFile::Key,
                "does not belong to the first certificate of the chain: use the key that was made for it, and put the server's own certificate first".to_owned(),
            ),
            TlsError::InvalidCertificate(reason) => (
                WhichFile::Certificate,
                format!("holds a certificate that cannot be used ({reason}): have it issued again"),
            ),
            _ => (
                WhichFile::Key,
                "holds a key of a kind that cannot be used: RSA (2048 bits or more), ECDSA (P-256, P-384, P-521) or Ed25519 is needed".to_owned(),
            ),
        };
        PairFault { file, problem }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::PathBuf;

    use rcgen::{CertifiedKey as Made, generate_simple_self_signed};

    use super::*;

    /// Two files of this test alone, with this in them.
    fn files(name: &str, certificate: &str, key: &str) -> (PathBuf, PathBuf) {
        let folder = std::env::temp_dir().join(format!("shardwire-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let paths = (folder.join("chain.pem"), folder.join("key.pem"));
        std::fs::write(&paths.0, certificate).unwrap();
        std::fs::write(&paths.1, key).unwrap();
        paths
    }

    fn made() -> (String, String) {
        let Made { cert, signing_key } = generate_simple_self_signed(["localhost".into()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    fn faults(name: &str, certificate: &str, key: &str) -> Vec<(WhichFile, String)> {
        let (certificate, key) = files(name, certificate, key);
        match read_pair(&certificate, &key) {
            Ok(_) => Vec::new(),
            Err(faults) => faults
                .into_iter()
                .map(|fault| (fault.file, fault.problem))
                .collect(),
        }
    }

    #[test]
    fn a_good_pair_is_read() {
        let (certificate, key) = made();
        assert_eq!(faults("good", &certificate, &key), []);
        // Text around the sections, and a chain of several certificates.
        let chain = format!("subject=localhost\n{certificate}\nissuer\n{}", made().0);
        assert_eq!(faults("chain", &chain, &key), []);
    }

    #[test]
    fn the_wrong_key_is_found() {
        let found = faults("mismatch", &made().0, &made().1);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, WhichFile::Key);
        assert!(found[0].1.starts_with("does not belong to"), "{found:?}");
    }

    #[test]
    fn both_files_are_faulted_in_one_round() {
        let (certificate, key) = made();
        let exchanged = faults("exchanged", &key, &certificate);
        assert_eq!(
            exchanged.iter().map(|(file, _)| *file).collect::<Vec<_>>(),
            [WhichFile::Certificate, WhichFile::Key]
        );
        assert!(
            exchanged
                .iter()
                .all(|(_, problem)| problem.ends_with("are the two files exchanged?"))
        );

        let missing =
            read_pair(Path::new("/nonexistent/a"), Path::new("/nonexistent/b")).unwrap_err();
        assert_eq!(missing.len(), 2);
        assert!(
            missing
                .iter()
                .all(|fault| fault.problem.starts_with("cannot be read (No such file"))
        );
    }

    #[test]
    fn every_broken_file_is_told_apart_and_no_secret_is_repeated() {
        let (certificate, key) = made();
        let body: String = key.lines().nth(1).unwrap().into();
        let half_key = key.replace("-----END PRIVATE KEY-----", "");
        let locked = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let not_a_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let not_a_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let damaged = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
        for (name, certificate, key, file, words) in [
            (
                "empty",
                "",
                key.as_str(),
                WhichFile::Certificate,
                "holds no certificate in PEM form",
            ),
            (
                "damaged",
                damaged,
                &key,
                WhichFile::Certificate,
                "is damaged",
            ),
            (
                "der",
                not_a_certificate,
                &key,
                WhichFile::Certificate,
                "cannot be used",
            ),
            (
                "no-key",
                &certificate,
                "",
                WhichFile::Key,
                "holds no private key in PEM form",
            ),
            (
                "half",
                &certificate,
                &half_key,
                WhichFile::Key,
                "holds no private key",
            ),
            (
                "locked",
                &certificate,
                &locked,
                WhichFile::Key,
                "locked by a passphrase",
            ),
            (
                "kind",
                &certificate,
                not_a_key,
                WhichFile::Key,
                "of a kind that cannot be used",
            ),
        ] {
            let found = faults(name, certificate, key);
            assert_eq!(found.len(), 1, "{name}: {found:?}");
            assert_eq!(found[0].0, file, "{name}: {found:?}");
            assert!(found[0].1.contains(words), "{name}: {found:?}");
            assert!(!found[0].1.contains(&body), "{name} tells the key");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_not_read() {
        let fault = &read_pair(Path::new("/dev/zero"), Path::new("/")).unwrap_err();
        assert!(
            fault
                .iter()
                .all(|fault| fault.problem.starts_with("is not a regular file"))
        );
    }
}
