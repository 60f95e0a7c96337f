//! Writes the reference page of the metrics from the list of families. Only a test calls it.

use std::fmt::Write;
use std::time::Duration;

use super::families::families;
use super::text::PREFIX;
use super::{ShardStatus, Snapshot};
use crate::engine::Phase;
use crate::storage::{Health, StorageCounts};

/// What stands between `{` and `}` of the room a name begins with.
const ROOMS: &[(&str, &str)] = &[
    ("engine", "The node as a whole, and how its shards do."),
    ("listen", "Sockets on their way to being connections."),
    ("transport", "Sockets."),
    ("connections", "Connections, and what passes through them."),
    ("handlers", "The application's own message handlers."),
    ("rate_limits", "What is refused for coming too fast."),
    ("routing", "Messages of clients, as they are understood."),
    ("channels", "Channels, subscriptions, publications."),
    ("history", "Logs of channels, at their homes."),
    (
        "storage",
        "Histories on disk. Only where `storage.directory` is set.",
    ),
    ("chat", "Chat rooms."),
    (
        "collaboration",
        "Documents that several people edit, at their homes.",
    ),
    ("notifications", "Inboxes, at the homes of their users."),
    ("users", "Users and addresses, counted at their homes."),
    ("mesh", "What shards say to each other."),
    ("timers", "Deadlines."),
];

/// The whole page, in Markdown.
fn page() -> String {
    let empty = Snapshot {
        shards: vec![ShardStatus::default()],
        phase: Phase::Running,
        uptime: Duration::ZERO,
        connections: 0,
        max_connections: 0,
        storage: Some((Health::Working, StorageCounts::default())),
    };
    let families = families(&empty);
    let mut page = include_str!("introduction.md").to_owned();
    let mut listed = 0;
    for (room, about) in ROOMS {
        write!(
            page,
            "\n## {room}\n\n{about}\n\n| metric | kind | labels | tells |\n| --- | --- | --- | --- |\n"
        )
        .expect("writing into a String cannot fail");
        for (family, _) in &families {
            if !family
                .name
                .strip_prefix(room)
                .is_some_and(|rest| rest.starts_with('_'))
            {
                continue;
            }
            listed += 1;
            let (name, kind, help) = (family.name, family.kind.word(), family.help);
            let labels: Vec<String> = family.labels.iter().map(|l| format!("`{l}`")).collect();
            let labels = labels.join(", ");
            writeln!(page, "| `{PREFIX}{name}` | {kind} | {labels} | {help} |")
                .expect("writing into a String cannot fail");
        }
    }
    assert_eq!(listed, families.len(), "a room is missing in ROOMS");
    page
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    #[test]
    fn contract_d2_the_page_in_docs_lists_every_metric() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/metrics.md");
        let page = super::page();
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            stored == page,
            "docs/reference/metrics.md is out of step: UPDATE_REFERENCE=1 cargo test -p shardwire --lib reference"
        );
    }
}
