//! The storage of a node: opened before the shards are, each log given back to the shard that is its home now.

use std::sync::Arc;

use shardwire_shards::ShardSettings;
use shardwire_shards::placement::Placement;
use shardwire_shards::vocabulary::RestoredLog;

use super::error::StartError;
use super::inbox::Inboxes;
use crate::config::StorageSettings;
use crate::storage::{
    CommitError, DiskOptions, DiskStore, LogKind, LogName, Operation, Storage, StorageError,
    StorageLink, Store, restored,
};

/// What one shard gets of it.
#[derive(Debug, Default)]
pub(super) struct ShardStorage {
    /// Its end of the storage, if there is one.
    pub(super) link: Option<StorageLink>,
    /// The logs it is home of; of documents their names only.
    pub(super) logs: Vec<RestoredLog>,
}

/// Opens the storage, if there is to be one, and deals out what was in it: by the number of shards there are now, whatever it was before.
pub(super) fn open(
    settings: Option<&StorageSettings>,
    shards: &ShardSettings,
    placement: Placement,
    inboxes: &Inboxes,
) -> Result<(Option<Arc<Storage>>, Vec<ShardStorage>), StartError> {
    let mut parts: Vec<_> = placement.all().map(|_| ShardStorage::default()).collect();
    let Some(settings) = settings else {
        return Ok((None, parts));
    };
    let mut store = DiskStore::open(&DiskOptions {
        directory: settings.directory.clone(),
        keep_free: settings.keep_free,
    })?;
    let (mut logs, mut records) = (0, 0);
    let mut over = Vec::new();
    store.load(&mut |mut saved| {
        if !is_kept(&saved.log, shards) {
            return over.push((saved.log, saved.epoch));
        }
        logs += 1;
        records += saved.records.len();
        if saved.log.kind == LogKind::Document {
            // It is read again when somebody wants it.
            saved.records = Vec::new();
        }
        let home = placement.home_of_log(&saved.log);
        parts[home.index()].logs.push(restored(saved));
    })?;
    forget(&mut store, over)?;
    tracing::info!(directory = %settings.directory.display(), logs, records, "logs were read from the storage");
    let inboxes = inboxes.clone();
    let (storage, links) = Storage::start(Box::new(store), placement.shards(), move |shard| {
        inboxes.wake(shard)
    })
    .map_err(StartError::StorageThread)?;
    for (part, link) in parts.iter_mut().zip(links) {
        part.link = Some(link);
    }
    Ok((Some(Arc::new(storage)), parts))
}

/// Whether what is configured still keeps this log on disk.
fn is_kept(log: &LogName, shards: &ShardSettings) -> bool {
    match log.kind {
        LogKind::Channel => {
            let rule = shards.channels.history_of(&log.name);
            rule.is_some_and(|rule| rule.durable)
        }
        LogKind::Inbox => shards
            .notifications
            .is_some_and(|settings| settings.durable),
        LogKind::Document => shards
            .collaboration
            .is_some_and(|settings| settings.document.stored),
    }
}

/// Ends logs that nothing keeps on disk any more. They cannot be left for a rule that may come back: what happens meanwhile would be
/// missing in them, and nobody would notice.
fn forget(store: &mut DiskStore, over: Vec<(LogName, u64)>) -> Result<(), StartError> {
    if over.is_empty() {
        return Ok(());
    }
    tracing::warn!(
        logs = over.len(),
        "forgetting what the configuration does not keep on disk any more"
    );
    let operations: Vec<_> = over
        .into_iter()
        .map(|(log, epoch)| Operation::Forget { log, epoch })
        .collect();
    match store.commit(&operations) {
        Ok(()) => Ok(()),
        // They are forgotten at the next start.
        Err(CommitError::Full) => {
            tracing::warn!("there is no room on the disk to note that they are");
            Ok(())
        }
        Err(CommitError::Failed(reason)) => Err(StartError::Storage(StorageError::Failed(reason))),
    }
}
