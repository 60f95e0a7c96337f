//! Tries the files that a configuration names, so that the operator hears of them in the same round as of everything else, and before
//! anything is started.

use std::path::Path;

use super::Config;
use super::fault::{Fault, Faults, Origin};
use super::sections::tls::Tls;
use crate::listen::certificate::{self, Pair, PairFault, WhichFile};

/// What is wrong with the files; none when nothing is, or none is named. A certificate without a key is told by `Config::check`.
pub(super) fn faults(config: &Config) -> Option<Faults> {
    match &config.listen.tls {
        Tls {
            certificate: Some(certificate),
            key: Some(key),
            ..
        } => read_pair(certificate, key).err(),
        _ => None,
    }
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
