//! Real files: the lock, a life across openings, and a journal written by format version 1.

mod common;

use std::{fs, path::Path};

use common::{ID, small_config};
use sample_journal::{CursorState, DiskStorage, Journal, JournalHooks, OpenDiskError, OpenError, Storage};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/version-1");

fn open_disk(path: &Path) -> (Journal, sample_journal::Recovery) {
    Journal::open(DiskStorage::open(path).unwrap(), small_config(), JournalHooks::default()).unwrap()
}

/// What the golden journal holds: 0 to 11, each record its number and as many further bytes.
fn golden_records() -> Vec<Vec<u8>> {
    (0..12u8).map(|number| vec![number; 1 + usize::from(number) * 60]).collect()
}

#[test]
fn a_directory_has_one_journal_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let first = DiskStorage::open(&path).unwrap();
    assert!(matches!(DiskStorage::open(&path), Err(OpenDiskError::Locked { .. })));
    drop(first);
    DiskStorage::open(&path).unwrap();
    assert!(matches!(DiskStorage::open(path.join("no/parent")), Err(OpenDiskError::Io { .. })));
}

#[test]
fn names_do_not_leave_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let storage = DiskStorage::open(directory.path()).unwrap();
    for name in ["", ".", "..", "../x", "a/b"] {
        assert!(storage.create(name).is_err(), "{name}");
        assert!(storage.open(name).is_err(), "{name}");
    }
}

#[test]
fn a_journal_lives_across_openings() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, recovery) = open_disk(directory.path());
    assert_eq!(recovery.records, 0);
    for number in 0..20u8 {
        journal.append_blocking(&[&[number], &[number; 999]]).unwrap();
    }
    let mut cursor = journal.cursor("tsdb").unwrap();
    cursor.store(sample_journal::Position::from_u64(11)).unwrap();
    assert!(journal.release().unwrap().segments > 1);
    journal.close().unwrap();
    drop((journal, cursor));

    let (journal, recovery) = open_disk(directory.path());
    assert!(recovery.damage.is_empty() && recovery.torn_tail.is_none());
    assert_eq!((recovery.durable_end.as_u64(), recovery.copied_records), (20, 0));
    assert_eq!(journal.cursor("tsdb").unwrap().position().as_u64(), 11);
    let mut reader = journal.reader(sample_journal::Position::from_u64(11));
    let mut payload = Vec::new();
    reader.next(&mut payload).unwrap().unwrap();
    assert_eq!(payload, [11; 1000]);
    assert_eq!(journal.append_blocking(&[b"next"]).unwrap().as_u64(), 20);
}

#[test]
fn a_torn_tail_on_disk_is_cut_and_never_appended_over() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = open_disk(directory.path());
    journal.append_blocking(&[b"one"]).unwrap();
    journal.append_blocking(&[b"two"]).unwrap();
    journal.close().unwrap();
    drop(journal);
    let file = directory.path().join("segment-00000000000000000000.sj");
    let mut bytes = fs::read(&file).unwrap();
    bytes.truncate(bytes.len() - 24 - 1); // the seal, and the last byte of "two"
    fs::write(&file, &bytes).unwrap();

    let (journal, recovery) = open_disk(directory.path());
    let torn = recovery.torn_tail.unwrap();
    assert_eq!((torn.offset, torn.bytes, torn.first.as_u64()), (64 + 27, 26, 1));
    assert_eq!(journal.append_blocking(&[b"three"]).unwrap().as_u64(), 1);
    assert_eq!(common::read_all(&journal), [b"one".to_vec(), b"three".to_vec()]);
    assert_eq!(fs::read(&file).unwrap(), bytes);
    drop(journal);
    let (journal, recovery) = open_disk(directory.path());
    assert!(recovery.damage.is_empty() && recovery.torn_tail.is_none());
    assert_eq!(common::read_all(&journal), [b"one".to_vec(), b"three".to_vec()]);
}

#[test]
fn opens_the_golden_journal_of_version_1() {
    let directory = tempfile::tempdir().unwrap();
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        write_golden();
    }
    for entry in fs::read_dir(GOLDEN).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
    }
    let (journal, recovery) = open_disk(directory.path());
    assert!(recovery.damage.is_empty() && recovery.torn_tail.is_none());
    assert_eq!((recovery.records, recovery.copied_records, recovery.segments), (12, 0, 2));
    assert_eq!(common::read_all(&journal), golden_records());
    let cursor = &recovery.cursors[0];
    assert_eq!((cursor.name.as_str(), cursor.position.as_u64()), ("tsdb", 4));
    assert_eq!(cursor.state, CursorState::Intact);
    assert_eq!(journal.append_blocking(&[b"new"]).unwrap().as_u64(), 12);
}

/// Today's code writes the very bytes of the golden journal.
#[test]
fn writes_version_1_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    write_journal(directory.path());
    for entry in fs::read_dir(GOLDEN).unwrap() {
        let entry = entry.unwrap();
        let written = fs::read(directory.path().join(entry.file_name())).unwrap();
        assert!(fs::read(entry.path()).unwrap() == written, "{:?} differs", entry.file_name());
    }
}

fn write_journal(path: &Path) {
    let (journal, _) = open_disk(path);
    for record in golden_records() {
        journal.append_blocking(&[&record]).unwrap();
    }
    let mut cursor = journal.cursor("tsdb").unwrap();
    cursor.store(sample_journal::Position::from_u64(3)).unwrap();
    cursor.store(sample_journal::Position::from_u64(4)).unwrap();
    journal.close().unwrap();
}

fn write_golden() {
    let directory = tempfile::tempdir().unwrap();
    write_journal(directory.path());
    fs::create_dir_all(GOLDEN).unwrap();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "LOCK" {
            fs::copy(entry.path(), Path::new(GOLDEN).join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn refuses_files_of_another_journal() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = open_disk(directory.path());
    journal.append_blocking(&[b"mine"]).unwrap();
    drop(journal);
    let mut config = small_config();
    config.id.0[0] ^= 1;
    assert_ne!(config.id, ID);
    let storage = DiskStorage::open(directory.path()).unwrap();
    let error = Journal::open(storage, config, JournalHooks::default()).unwrap_err();
    assert!(matches!(error, OpenError::ForeignSegment { .. }), "{error:?}");
}
