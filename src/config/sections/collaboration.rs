//! `[collaboration]`: documents that several people edit at once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shardwire_shards::collaboration::{CollaborationSettings, DocumentSettings};

use super::connections::ConnectionSettings;
use crate::config::bounds;
use crate::config::check::Checker;
use crate::config::text::{ByteSize, TextDuration};

/// Documents that several people edit at once (contract L1 to L8). Who may join the document `plan` is what rules of `[permissions]` say
/// about `subscribe` for the name `document:plan`, and who may edit it what they say about `edit`. See the concepts of collaboration.
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

    /// Memory the documents of one shard may take. Beyond it nothing new is written, until some have gone.
    #[schemars(extend("x-allowed" = bounds::DOCUMENT_MEMORY.to_string()))]
    pub memory: ByteSize,

    /// How long a document is held when the last connection has left it (contract D20). Then it is forgotten, text and all.
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
        self.enabled
            .unwrap_or(on_loopback)
            .then_some(CollaborationSettings {
                document: DocumentSettings {
                    max_bytes,
                    max_members,
                    stored: false,
                },
                memory,
                unload_after_ms,
            })
    }
}
