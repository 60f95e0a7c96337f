//! `[collaboration]`: documents that several people edit at once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shardwire_shards::collaboration::{CollaborationSettings, DocumentSettings};

use super::channels::Persistence;
use super::connections::ConnectionSettings;
use crate::config::bounds;
use crate::config::check::Checker;
use crate::config::text::{ByteSize, TextDuration};

/// Documents that several people edit at once (contract L1 to L8). The document `plan` goes by the name `document:plan` in rules of
/// `[permissions]`: `join` (without a word about that, `subscribe`) says who may come in and read, `edit` who may edit. See the concepts of
/// collaboration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Collaboration {
    /// Whether there are documents. Without them, `join-document` and the other messages about them are unknown.
    #[schemars(extend("x-default" = "`true` when listening on loopback only, else `false`"))]
    pub enabled: Option<bool>,

    /// Bytes of text a document may have. An edit that would make it larger is refused. Whoever joins is sent all of it in one message,
    /// so it is at most half of what `connections.outbox_hard_limit` leaves above `connections.outbox_soft_limit`: as JSON a text can take
    /// twice its size.
    #[schemars(extend("x-allowed" = bounds::DOCUMENT_BYTES.to_string()))]
    pub max_document_size: ByteSize,

    /// Connections that may be in one document at once.
    #[schemars(extend("x-allowed" = bounds::DOCUMENT_MEMBERS.to_string()))]
    pub max_members: usize,

    /// Memory the documents of one shard may take. Beyond it nothing new is written or read from the disk, until some have gone.
    #[schemars(extend("x-allowed" = bounds::DOCUMENT_MEMORY.to_string()))]
    pub memory: ByteSize,

    /// Where documents are kept: `"memory"`, gone with the process and `unload_after` the last leave; or on `"disk"`, in `storage.directory`: then an
    /// edit is acknowledged and told to the others when it is stored.
    pub persistence: Persistence,

    /// How long a document is held when the last connection has left it (contract D20). In memory only, it is forgotten then, text and all.
    /// On disk it stays, and is read again when somebody wants it; a start reads none.
    #[schemars(extend("x-allowed" = bounds::UNLOAD_AFTER.to_string()))]
    pub unload_after: TextDuration,
}

impl Default for Collaboration {
    fn default() -> Self {
        Self {
            enabled: None,
            max_document_size: ByteSize::kib(256),
            max_members: 1_000,
            memory: ByteSize::mib(256),
            persistence: Persistence::Memory,
            unload_after: TextDuration::from_secs(600),
        }
    }
}

impl Collaboration {
    /// None: there are no documents.
    pub(in crate::config) fn check(
        &self,
        on_loopback: bool,
        connections: &ConnectionSettings,
        checker: &mut Checker,
    ) -> Option<CollaborationSettings> {
        let enabled = self.enabled.unwrap_or(on_loopback);
        const SIZE: &str = "collaboration.max_document_size";
        let mut max_bytes = checker.bytes(SIZE, self.max_document_size, &bounds::DOCUMENT_BYTES);
        let above = connections
            .outbox_hard_limit
            .saturating_sub(connections.outbox_soft_limit);
        if self.enabled.is_none() {
            // Nobody has asked for documents: what there is room for is enough.
            max_bytes = max_bytes.min(above / 2);
        } else if self.enabled == Some(true) && max_bytes > above / 2 {
            checker.refuse_relation(
                SIZE,
                &["connections.outbox_soft_limit", "connections.outbox_hard_limit"],
                self.max_document_size.to_string(),
                format!(
                    "must be at most half of what connections.outbox_hard_limit leaves above connections.outbox_soft_limit: {}",
                    ByteSize::bytes((above / 2) as u64)
                ),
            );
        }
        let max_members = checker.whole(
            "collaboration.max_members",
            self.max_members,
            &bounds::DOCUMENT_MEMBERS,
        );
        let memory = checker.bytes(
            "collaboration.memory",
            self.memory,
            &bounds::DOCUMENT_MEMORY,
        );
        let unload_after_ms = checker.milliseconds(
            "collaboration.unload_after",
            self.unload_after,
            &bounds::UNLOAD_AFTER,
        );
        enabled.then_some(CollaborationSettings {
            document: DocumentSettings {
                max_bytes,
                max_members,
                stored: self.persistence == Persistence::Disk,
            },
            memory,
            unload_after_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::config::{Config, Environment};

    fn check(toml: &str) -> Result<crate::config::Settings, String> {
        let config = Config::from_toml(toml).map_err(|faults| faults.to_string())?;
        let environment = Environment {
            cores: 2,
            open_file_limit: 20_000,
        };
        config
            .check(&environment)
            .map_err(|faults| faults.to_string())
    }

    #[test]
    fn documents_are_there_on_loopback_and_fit_into_an_outbox() {
        let settings = check("").unwrap().collaboration.unwrap();
        assert_eq!(settings.document.max_bytes, 256 << 10);
        assert!(!settings.document.stored);
        let outside = "[listen]\naddress = \"0.0.0.0:80\"\n[authentication]\ntype = \"none\"\n";
        assert_eq!(check(outside).unwrap().collaboration, None);
        let on = check(&format!("{outside}[collaboration]\nenabled = true")).unwrap();
        assert_eq!(on.collaboration.unwrap().unload_after_ms, 600_000);
        let refused = check("[collaboration]\nenabled = true\nmax_document_size = \"512KiB\"");
        let refused = refused.unwrap_err();
        assert!(
            refused.contains("at most half") && refused.contains("384KiB"),
            "{refused}"
        );
        let small = "[connections]\noutbox_soft_limit = \"64KiB\"\noutbox_hard_limit = \"192KiB\"";
        let settings = check(small).unwrap().collaboration.unwrap();
        assert_eq!(settings.document.max_bytes, 64 << 10);
    }

    #[test]
    fn documents_on_disk_want_a_directory() {
        let refused = check("[collaboration]\npersistence = \"disk\"").unwrap_err();
        assert!(refused.contains("storage.directory"), "{refused}");
        let settings = check(
            "[collaboration]\npersistence = \"disk\"\n[storage]\ndirectory = \"/var/lib/shardwire\"",
        );
        let settings = settings.unwrap();
        assert!(settings.collaboration.unwrap().document.stored && settings.storage.is_some());
    }
}
