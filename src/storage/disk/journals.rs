//! A look at the database's journals before the database opens.
//!
//! The library repairs a journal as it opens it: from the first byte it does not understand on, everything is cut, also where that byte
//! was damaged long after it was synced. So the journals are read here first. What cannot be read at the end of the newest one, with
//! nothing readable behind it, is a commit that was under way, and is cut. Everything else is damage, and nothing is touched.
//!
//! A journal is a row of batches (format 3 of fjall), integers little-endian: `1`, entries (u32), sequence number (u64); the entries:
//! `2`, kind (u8), compression (u8), keyspace (u64), lengths of key (u16), of value (u32), of value as stored (u32), key, value; or
//! `4`, keyspace (u64); then `3`, XXH3 of the entries, `FJL\x03`. Zeros follow in a file that was made larger in advance.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use twox_hash::XxHash3_64;

use super::super::error::{Damage, StorageError};
use super::encoding::{COMMIT_KEY, read_commit};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: [u8; 4] = *b"FJL\x03";

/// Why the journals are not fit to be opened.
#[derive(Debug)]
pub(super) enum Unfit {
    Damaged(Damage),
    Error(StorageError),
}

impl From<Damage> for Unfit {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

/// What was found in journals that are fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Found {
    /// The newest commit in them.
    pub(super) commit: Option<u64>,
    /// The library's number of that batch.
    sequence: Option<u64>,
    pub(super) batches: usize,
    /// Bytes of a commit under way that were cut.
    pub(super) cut: usize,
}

/// Reads all journals of this database, syncs them (what a killed process wrote may only be in the page cache, and is about to be
/// served as durable), and cuts a commit that was under way. `witnessed` is a commit known to have been synced.
pub(super) fn check(database: &Path, witnessed: u64) -> Result<Found, Unfit> {
    let mut found = Found::default();
    let journals = journals_of(database)?;
    let newest = journals.len().saturating_sub(1);
    for (index, (_, path)) in journals.iter().enumerate() {
        let failed = |doing| {
            let describe = StorageError::io(path, doing);
            move |source| Unfit::Error(describe(source))
        };
        let bytes = fs::read(path).map_err(failed("reading a journal"))?;
        let end = read(&bytes, path, &mut found)?;
        let rest = without_zeros(&bytes[end..]);
        if !rest.is_empty() {
            let damage = |what: String| {
                let place = format!("{}, byte {end}", path.display());
                Unfit::from(Damage::new(place, what))
            };
            if index != newest {
                return Err(damage(
                    "not a whole commit, in a journal that was complete".into(),
                ));
            }
            if let Some(next) = (1..rest.len()).find(|at| batch(rest, *at).is_some()) {
                let next = end + next;
                return Err(damage(format!(
                    "not a whole commit, and there is a good one at byte {next}"
                )));
            }
            if found.commit.is_some_and(|commit| commit < witnessed) {
                return Err(damage(format!(
                    "not a whole commit, although commits up to number {witnessed} were synced"
                )));
            }
            found.cut = rest.len();
            let cut = |file: File| {
                file.set_len(end as u64)?;
                file.sync_all()
            };
            let file = OpenOptions::new().write(true).open(path);
            file.and_then(cut)
                .map_err(failed("cutting a commit that was under way"))?;
        }
        let synced = File::open(path).and_then(|file| file.sync_all());
        synced.map_err(failed("syncing a journal"))?;
    }
    Ok(found)
}

/// What is left when the zeros at the end are. (A new journal is 64 MiB of them: in pieces that the processor compares quickly.)
fn without_zeros(bytes: &[u8]) -> &[u8] {
    const ZEROS: [u8; 4096] = [0; 4096];
    let last = bytes
        .chunks(ZEROS.len())
        .rposition(|piece| *piece != ZEROS[..piece.len()]);
    let Some(last) = last else {
        return &[];
    };
    let until = bytes.len().min((last + 1) * ZEROS.len());
    let zeros = bytes[..until]
        .iter()
        .rev()
        .take_while(|byte| **byte == 0)
        .count();
    &bytes[..until - zeros]
}

/// By number, the newest last.
fn journals_of(database: &Path) -> Result<Vec<(u64, PathBuf)>, Unfit> {
    let failed = |source| Unfit::Error(StorageError::io(database, "listing its files")(source));
    let mut journals = Vec::new();
    for entry in fs::read_dir(database).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let number = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse().ok());
            let Some(number) = number else {
                return Err(
                    Damage::new(path.display().to_string(), "not the name of a journal").into(),
                );
            };
            journals.push((number, path));
        }
    }
    journals.sort();
    Ok(journals)
}

/// Reads batches for as long as they are whole; where that ends.
fn read(bytes: &[u8], path: &Path, found: &mut Found) -> Result<usize, Damage> {
    let mut at = 0;
    while let Some(batch) = batch(bytes, at) {
        if let (Some(last), Some(commit)) = (found.commit, batch.commit)
            && last.checked_add(1) != Some(commit)
        {
            let place = format!("{}, byte {at}", path.display());
            return Err(Damage::new(
                place,
                format!("commit {commit} follows commit {last}: those between are missing"),
            ));
        }
        if found.sequence.is_some_and(|last| batch.sequence <= last) {
            let place = format!("{}, byte {at}", path.display());
            return Err(Damage::new(
                place,
                "its sequence number is not higher than the one before it",
            ));
        }
        found.sequence = Some(batch.sequence);
        found.commit = batch.commit.or(found.commit);
        found.batches += 1;
        at = batch.end;
    }
    Ok(at)
}

struct Batch {
    /// Where the next one begins.
    end: usize,
    /// The library's number, not covered by the hash.
    sequence: u64,
    /// The number of the commit, if it is one of ours.
    commit: Option<u64>,
}

/// The batch that begins here, if it is whole.
fn batch(bytes: &[u8], at: usize) -> Option<Batch> {
    let mut rest = bytes.get(at..)?;
    let mut commit = None;
    if byte(&mut rest)? != START {
        return None;
    }
    let entries = u32::from_le_bytes(array(&mut rest)?);
    let sequence = u64::from_le_bytes(array(&mut rest)?);
    let first = bytes.len() - rest.len();
    for _ in 0..entries {
        match byte(&mut rest)? {
            ITEM => {
                let _kind = byte(&mut rest)?;
                // Compression is not built in, and so never used.
                if byte(&mut rest)? != 0 {
                    return None;
                }
                let _keyspace: [u8; 8] = array(&mut rest)?;
                let key_len = u16::from_le_bytes(array(&mut rest)?);
                let value_len = u32::from_le_bytes(array(&mut rest)?);
                let stored_len = u32::from_le_bytes(array(&mut rest)?);
                if value_len != stored_len {
                    return None;
                }
                let key = take(&mut rest, key_len.into())?;
                let value = take(&mut rest, usize::try_from(value_len).ok()?)?;
                if key == COMMIT_KEY {
                    commit = read_commit(value).or(commit);
                }
            }
            CLEAR => {
                let _keyspace: [u8; 8] = array(&mut rest)?;
            }
            _ => return None,
        }
    }
    let last = bytes.len() - rest.len();
    if byte(&mut rest)? != END {
        return None;
    }
    let hash = u64::from_le_bytes(array(&mut rest)?);
    if array(&mut rest)? != TRAILER || XxHash3_64::oneshot(&bytes[first..last]) != hash {
        return None;
    }
    Some(Batch {
        end: bytes.len() - rest.len(),
        sequence,
        commit,
    })
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (byte, after) = rest.split_first()?;
    *rest = after;
    Some(*byte)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (array, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*array)
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(taken)
}
