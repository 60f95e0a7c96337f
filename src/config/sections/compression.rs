//! `[compression]`: permessage-deflate (RFC 7692).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::bounds;
use crate::config::check::Checker;
use crate::config::text::ByteSize;

/// Compression of messages (permessage-deflate, RFC 7692), for clients that offer it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Compression {
    /// Memory one shard promises at most to what connections keep for `context_takeover`: 428 KB for each that offers it both ways.
    /// When it is promised, further connections are compressed without.
    #[schemars(extend("x-allowed" = bounds::CONTEXT_MEMORY.to_string()))]
    pub context_memory: ByteSize,

    /// Whether a message may refer back to earlier ones of its connection, for clients that offer it. Small messages that are alike
    /// become about half as long as without; but every such connection keeps up to 428 KB, and a broadcast is compressed for each of
    /// its subscribers anew. For few, talkative connections. `false`: a message is compressed by itself, an idle connection keeps
    /// nothing, and a broadcast is compressed once for all.
    pub context_takeover: bool,

    /// Whether compression is negotiated at all (contract M12, M14).
    pub enabled: bool,

    /// How much work is put into it (contract M15): 1 is fastest, 9 gives the shortest messages. For a JSON message of 4 KiB
    /// level 1 takes a third of the time of level 6 and leaves 40 % of the bytes instead of 30 %.
    #[schemars(extend("x-allowed" = bounds::COMPRESSION_LEVEL.to_string()))]
    pub level: usize,

    /// Payload bytes above which a message is compressed (contract M13, D16); up to here it is sent as it is. A message that does not
    /// become shorter is sent as it is, too. What clients send may be compressed at any length.
    #[schemars(extend("x-allowed" = bounds::COMPRESSION_THRESHOLD.to_string()))]
    pub threshold: ByteSize,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            context_memory: ByteSize::mib(64),
            context_takeover: false,
            enabled: true,
            level: 6,
            threshold: ByteSize::kib(1),
        }
    }
}

/// `[compression]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompressionSettings {
    /// Whether it is negotiated.
    pub enabled: bool,
    /// Payload bytes above which a message is compressed.
    pub threshold: usize,
    /// 1 to 9.
    pub level: u8,
    /// Whether connections may keep contexts.
    pub context_takeover: bool,
    /// Bytes one shard promises to contexts.
    pub context_memory: usize,
}

impl Compression {
    pub(in crate::config) fn check(&self, checker: &mut Checker) -> CompressionSettings {
        CompressionSettings {
            enabled: self.enabled,
            threshold: checker.bytes(
                "compression.threshold",
                self.threshold,
                &bounds::COMPRESSION_THRESHOLD,
            ),
            level: checker.whole("compression.level", self.level, &bounds::COMPRESSION_LEVEL),
            context_takeover: self.context_takeover,
            context_memory: checker.bytes(
                "compression.context_memory",
                self.context_memory,
                &bounds::CONTEXT_MEMORY,
            ),
        }
    }
}
