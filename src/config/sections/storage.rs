//! `[storage]`: where is kept what outlives the process.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::bounds;
use crate::config::check::Checker;
use crate::config::text::ByteSize;

/// Where is kept what outlives the process: the histories of channels whose rule says `persistence = "disk"`, inboxes if `[notifications]` says
/// so, and documents if `[collaboration]` does. What that promises, and
/// what is done about a full or damaged disk: `docs/guides/storage.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Directory of this server alone; made when it is missing. On a disk of its own, so that nobody else fills it, if messages must not be
    /// refused.
    #[schemars(extend("x-allowed" = "the path of a directory", "x-default" = "none: nothing is kept on disk"))]
    pub directory: Option<PathBuf>,

    /// How much of the file system is left free. When less is, messages that are to be stored are refused (error 118) until there is
    /// room again; the database needs some for its own work.
    #[schemars(extend("x-allowed" = bounds::KEEP_FREE.to_string()))]
    pub keep_free: ByteSize,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            directory: None,
            keep_free: ByteSize::mib(256),
        }
    }
}

/// `[storage]`, checked, when it is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageSettings {
    /// Where.
    pub directory: PathBuf,
    /// Bytes of the file system that are left free.
    pub keep_free: u64,
}

impl Storage {
    /// What is in use; `needed` when something is to be kept on disk.
    pub(in crate::config) fn check(
        &self,
        needed: bool,
        checker: &mut Checker,
    ) -> Option<StorageSettings> {
        let keep_free = checker.bytes("storage.keep_free", self.keep_free, &bounds::KEEP_FREE);
        match &self.directory {
            None => {
                if needed {
                    checker.refuse_relation(
                        "storage.directory",
                        &["channels.rules", "notifications.persistence", "collaboration.persistence"],
                        "not set",
                        "a rule of [channels], or [notifications], or [collaboration], has persistence = \"disk\": set storage.directory, or keep that in memory".to_owned(),
                    );
                }
                None
            }
            Some(directory) if directory.as_os_str().is_empty() => {
                checker.refuse(
                    "storage.directory",
                    "\"\"",
                    "must be the path of a directory; leave it out to keep nothing on disk"
                        .to_owned(),
                );
                None
            }
            Some(directory) => {
                if !needed {
                    checker.note("storage.directory is set, but neither a rule of [channels] nor [notifications] has persistence = \"disk\": nothing will be stored".to_owned());
                }
                Some(StorageSettings {
                    directory: directory.clone(),
                    keep_free: keep_free as u64,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(
        storage: &Storage,
        needed: bool,
    ) -> (Option<StorageSettings>, Result<Vec<String>, String>) {
        let mut checker = Checker::default();
        let settings = storage.check(needed, &mut checker);
        (
            settings,
            checker.finish().map_err(|faults| faults.to_string()),
        )
    }

    #[test]
    fn a_directory_is_there_when_it_is_needed() {
        let none = Storage::default();
        assert_eq!(check(&none, false), (None, Ok(Vec::new())));
        assert!(
            check(&none, true)
                .1
                .unwrap_err()
                .contains("set storage.directory")
        );
        let some = Storage {
            directory: Some("/var/lib/shardwire".into()),
            ..Storage::default()
        };
        let (settings, notes) = check(&some, true);
        assert_eq!(settings.unwrap().keep_free, 256 << 20);
        assert_eq!(notes.unwrap().len(), 0);
        assert!(check(&some, false).1.unwrap()[0].contains("nothing will be stored"));
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        let empty = Storage {
            directory: Some("".into()),
            ..Storage::default()
        };
        assert!(
            check(&empty, false)
                .1
                .unwrap_err()
                .contains("path of a directory")
        );
    }
}
