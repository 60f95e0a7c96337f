//! Bits flipped and files cut: a store opens with everything that was synced, or it says where it is damaged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// All files of a store, to damage and to put back.
struct Image {
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Image {
    fn take(directory: &Path) -> Self {
        let mut image = Self { files: Vec::new() };
        image.add(directory, Path::new(""));
        image.files.sort();
        image
    }

    fn add(&mut self, directory: &Path, under: &Path) {
        for entry in fs::read_dir(directory.join(under)).unwrap() {
            let entry = entry.unwrap();
            let path = under.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => self.add(directory, &path),
                false => self
                    .files
                    .push((path.clone(), fs::read(directory.join(&path)).unwrap())),
            }
        }
    }

    fn put(&self, directory: &Path) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => fs::remove_dir_all(path).unwrap(),
                false => fs::remove_file(path).unwrap(),
            }
        }
        for (path, bytes) in &self.files {
            let path = directory.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    fn bytes(&self) -> usize {
        self.files.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// The file that has the so many-th byte of all, and where in it.
    fn find(&self, mut at: usize) -> (&Path, usize) {
        for (path, bytes) in &self.files {
            if at < bytes.len() {
                return (path, at);
            }
            at -= bytes.len();
        }
        panic!("no such byte");
    }
}

type Logs = BTreeMap<LogName, SavedLog>;

/// A store with records in tables and in the journal, closed.
fn written(directory: &Path) -> (Image, Logs) {
    let (mut store, _) = open(directory).unwrap();
    let logs = [LogName::channel("news"), LogName::channel("rooms/1")];
    for round in 0..12 {
        let batch: Vec<_> = (1..=5)
            .flat_map(|step| logs.iter().map(move |log| append(log, 7, round * 5 + step)))
            .collect();
        store.commit(&batch).unwrap();
        if round == 5 {
            let trim = Operation::Trim {
                log: logs[0].clone(),
                epoch: 7,
                through: 11,
            };
            store.commit(&[trim]).unwrap();
            store.tidy().unwrap();
            store.flush_tables();
        }
    }
    drop(store);
    // Opened once more, the journal has no zeros behind it.
    let (store, logs) = open(directory).unwrap();
    drop(store);
    (Image::take(directory), logs)
}

/// Opens a damaged store: nothing may be missing in silence. Whether it was refused.
fn refused(directory: &Path, whole: &Logs, what: &str) -> bool {
    match open(directory) {
        Ok((_, logs)) => {
            assert!(logs == *whole, "{what}: opened, and is not what it was");
            false
        }
        Err(StorageError::Damaged { damage, .. }) => {
            assert!(!damage.place.is_empty(), "{what}");
            true
        }
        Err(StorageError::Format { .. }) => true,
        Err(error) => panic!("{what}: {error}"),
    }
}

/// So many flips, spread over all files. How many were refused.
fn flip(count: usize, seed: u64) -> usize {
    let directory = quick_directory();
    let (image, whole) = written(directory.path());
    let mut random = StdRng::seed_from_u64(seed);
    let mut refusals = 0;
    for _ in 0..count {
        let (path, at) = image.find(random.random_range(0..image.bytes()));
        let bit = random.random_range(0..8);
        image.put(directory.path());
        let file = directory.path().join(path);
        let mut bytes = fs::read(&file).unwrap();
        bytes[at] ^= 1 << bit;
        fs::write(&file, bytes).unwrap();
        let what = format!("seed {seed}: {}, byte {at}, bit {bit}", path.display());
        refusals += usize::from(refused(directory.path(), &whole, &what));
    }
    refusals
}

#[test]
fn a_flipped_bit_is_found_or_does_no_harm() {
    let refusals = flip(150, 1);
    assert!(refusals > 75, "only {refusals} of 150 hit something");
}

#[test]
#[ignore = "takes minutes: thousands of stores are opened"]
fn many_flipped_bits_are_found_or_do_no_harm() {
    for seed in 2..22 {
        let refusals = flip(500, seed);
        println!("seed {seed}: {refusals} of 500 flips refused, the others harmless");
    }
}

/// Every byte of the newest journal, one after the other: that is what the library would cut in silence.
#[test]
fn a_damaged_byte_anywhere_in_the_journal_is_reported_with_its_place() {
    let directory = quick_directory();
    let (image, whole) = written(directory.path());
    let (path, bytes) = journal(&image);
    // Every third in a usual run; the step has nothing in common with the lengths of fields.
    let step = if std::env::var_os("STORAGE_EVERY_BYTE").is_some() {
        1
    } else {
        37
    };
    let mut harmless = 0;
    for at in (0..bytes.len()).step_by(step) {
        image.put(directory.path());
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(directory.path().join(path), &damaged).unwrap();
        if refused(directory.path(), &whole, &format!("byte {at}")) {
            let left = fs::read(directory.path().join(path)).unwrap();
            assert_eq!(left, damaged, "byte {at}: the evidence was cut");
        } else {
            harmless += 1;
        }
    }
    // The library's sequence number of the last commit has no hash; made higher, it changes nothing.
    assert!(harmless <= 8, "{harmless} bytes were not noticed");
}

#[test]
fn a_cut_journal_is_reported_wherever_it_was_cut() {
    let directory = quick_directory();
    let (image, whole) = written(directory.path());
    let (path, bytes) = journal(&image);
    for len in (0..bytes.len()).step_by(97) {
        image.put(directory.path());
        fs::write(directory.path().join(path), &bytes[..len]).unwrap();
        assert!(
            refused(directory.path(), &whole, &format!("cut to {len}")),
            "cut to {len} bytes was not noticed"
        );
    }
}

#[test]
fn a_missing_file_is_reported() {
    let directory = quick_directory();
    let (image, whole) = written(directory.path());
    let mut refusals = 0;
    for (path, _) in image
        .files
        .iter()
        .filter(|(path, _)| !path.ends_with("lock"))
    {
        image.put(directory.path());
        fs::remove_file(directory.path().join(path)).unwrap();
        refusals += usize::from(refused(
            directory.path(),
            &whole,
            &format!("without {}", path.display()),
        ));
    }
    assert!(refusals >= 5, "{refusals}");
}

/// What a killed process leaves: the beginning of a commit behind the last whole one. It was never acknowledged, and is cut.
#[test]
fn a_commit_under_way_is_cut() {
    let directory = quick_directory();
    let (image, whole) = written(directory.path());
    let (path, bytes) = journal(&image);
    let first_batch = &bytes[..bytes.len() / 20];
    for len in (1..first_batch.len()).step_by(61) {
        image.put(directory.path());
        let mut longer = bytes.clone();
        // The beginning of another batch, which is no whole one.
        let mut torn = first_batch[..len].to_vec();
        torn[len / 2] ^= 0x55;
        longer.extend_from_slice(&torn);
        longer.extend_from_slice(&[0; 4096]);
        fs::write(directory.path().join(path), longer).unwrap();
        let torn_is_whole = len > 2000;
        assert!(
            !torn_is_whole,
            "the sample is too long to be a piece of one commit"
        );
        assert!(
            !refused(
                directory.path(),
                &whole,
                &format!("{len} bytes of a commit")
            ),
            "{len} bytes"
        );
    }
}

fn journal(image: &Image) -> (&Path, &Vec<u8>) {
    let (path, bytes) = image
        .files
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "jnl"))
        .max()
        .unwrap();
    assert!(bytes.len() > 1000, "a journal with commits in it");
    (path, bytes)
}
