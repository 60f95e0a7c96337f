//! Why authentication cannot be set up. The operator mends the configuration or the file it names.

use std::path::PathBuf;

/// Why authentication cannot be set up. No message holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// A file with a key cannot be read.
    #[error("authentication.{key}: cannot read {}: {source}", path.display())]
    File {
        /// The key of the configuration that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A key cannot be used as the configuration says.
    #[error("authentication.{key}: {problem}")]
    Key {
        /// The key of the configuration it stands in, or that names its file.
        key: &'static str,
        /// What is wrong with it and what is needed.
        problem: String,
    },
    /// `type = "custom"` without a verifier.
    #[error(
        "authentication.type = \"custom\" needs a program that brings a verifier: Engine::builder(…).verifier(…)"
    )]
    NoVerifier,
    /// A verifier of the program's own beside one of the configuration.
    #[error(
        "the program brings a verifier, but authentication.type is not \"custom\": leave the type out, or the verifier"
    )]
    TwoVerifiers,
    /// A thread could not be started.
    #[error("cannot start a thread for authentication: {0}")]
    Thread(#[from] std::io::Error),
}
