//! Tries the files that a configuration names, so that the operator hears of them in the same round as of everything else, and before
//! anything is started.

use std::path::Path;

use super::Config;
use super::check::Checker;
use super::fault::{Fault, Faults, Origin};
use super::sections::tls::Tls;
use crate::auth::{self, AuthError};
use crate::listen::certificate::{self, Pair, PairFault, WhichFile};

/// What is wrong with the files; none when nothing is, or none is named. A certificate without a key is told by `Config::check`.
pub(super) fn faults(config: &Config) -> Option<Faults> {
    let each = [pair_faults(config), key_faults(config)];
    each.into_iter().flatten().reduce(Faults::and)
}

fn pair_faults(config: &Config) -> Option<Faults> {
    match &config.listen.tls {
        Tls {
            certificate: Some(certificate),
            key: Some(key),
            ..
        } => read_pair(certificate, key).err(),
        _ => None,
    }
}

/// Of the keys of authentication, where the section is sound apart from them.
fn key_faults(config: &Config) -> Option<Faults> {
    let mut checker = Checker::default();
    let settings = config.authentication.check(&mut checker);
    checker.finish().ok()?;
    let told = |fault: AuthError| {
        let (key, found, problem) = match fault {
            AuthError::File { key, path, source } => (
                format!("authentication.{key}"),
                format!("{path:?}"),
                format!("cannot be read ({source}): write the path of a file that exists"),
            ),
            AuthError::Key { key, problem } => {
                (format!("authentication.{key}"), String::new(), problem)
            }
            other => (
                "authentication".to_owned(),
                String::new(),
                other.to_string(),
            ),
        };
        Fault::new(Origin::Program, key, found, problem)
    };
    Faults::from_list(auth::key_faults(&settings).into_iter().map(told).collect())
}

/// Reads a certificate and its key, or tells what is wrong with them in the words of the configuration.
pub(crate) fn read_pair(certificate: &Path, key: &Path) -> Result<Pair, Faults> {
    let told = |fault: PairFault| {
        let (path, found) = match fault.file {
            WhichFile::Certificate => (Tls::CERTIFICATE, certificate),
            WhichFile::Key => (Tls::KEY, key),
        };
        Fault::new(Origin::Program, path, format!("{found:?}"), fault.problem)
    };
    certificate::read_pair(certificate, key)
        .map_err(|faults| Faults::of(faults.into_iter().map(told).collect()))
}
