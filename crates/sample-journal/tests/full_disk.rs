//! A medium without room: nothing acknowledged is lost, and what frees room finds some.

mod common;

use std::{
    fs, io,
    sync::{Arc, Mutex},
};

use common::{read_all, small_config};
use sample_journal::{
    AppendError, AppendFile, DiskStorage, Journal, JournalHooks, Position, ReadFile, SimulatedStorage,
    Storage, StoredFile,
};

/// A disk of so many bytes for files; with pieces of reserve, each as large as a block.
#[derive(Clone)]
struct Small {
    disk: SimulatedStorage,
    room: Arc<Mutex<Room>>,
}

struct Room {
    bytes: u64,
    pieces: u64,
}

const BLOCK: u64 = 512;

impl Small {
    fn new(bytes: u64, pieces: u64) -> Self {
        Self { disk: SimulatedStorage::new(), room: Arc::new(Mutex::new(Room { bytes, pieces })) }
    }

    fn check(&self, more: u64) -> io::Result<()> {
        let room = self.room.lock().unwrap();
        let used: u64 = self.disk.list()?.iter().map(|file| file.bytes).sum();
        if used + more + room.pieces * BLOCK > room.bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl Storage for Small {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        self.check(0)?;
        Ok(Box::new(SmallAppend { storage: self.clone(), file: self.disk.create(name)? }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        self.disk.open(name)
    }

    fn list(&self) -> io::Result<Vec<StoredFile>> {
        self.disk.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }

    fn spend_reserve(&self) -> io::Result<bool> {
        let mut room = self.room.lock().unwrap();
        let had_some = room.pieces > 0;
        room.pieces = room.pieces.saturating_sub(1);
        Ok(had_some)
    }

    fn restore_reserve(&self) -> io::Result<()> {
        self.room.lock().unwrap().pieces = 2;
        Ok(())
    }
}

struct SmallAppend {
    storage: Small,
    file: Box<dyn AppendFile>,
}

impl AppendFile for SmallAppend {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.storage.check(bytes.len() as u64)?;
        self.file.append(bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn open_small(storage: &Small) -> Journal {
    Journal::open(storage.clone(), small_config(), JournalHooks::default()).unwrap().0
}

/// Appends until the disk is full, and returns how many records are acknowledged.
fn fill(journal: &Journal) -> u64 {
    let mut count = 0;
    loop {
        match journal.append_blocking(&[&[7; 300]]) {
            Ok(_) => count += 1,
            Err(AppendError::Storage(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                return count;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn on_a_full_disk_a_cursor_still_moves_and_frees_it() {
    let storage = Small::new(20_000, 2);
    let journal = open_small(&storage);
    let mut cursor = journal.cursor("tsdb").unwrap();
    let count = fill(&journal);
    assert!(count > 20, "{count}");
    // Nothing is tried for a while, so that the room is the cursor's.
    assert!(matches!(journal.append_blocking(&[b"more"]), Err(AppendError::Full)));
    // Only some of it is free without the reserve.
    storage.room.lock().unwrap().bytes =
        storage.list().unwrap().iter().map(|file| file.bytes).sum::<u64>() + 2 * BLOCK;
    cursor.store(Position::from_u64(count)).unwrap();
    assert!(storage.room.lock().unwrap().pieces < 2, "the reserve was needed");
    assert!(journal.release().unwrap().segments > 0);
    assert_eq!(storage.room.lock().unwrap().pieces, 2, "and is kept again");
    let position = journal.append_blocking(&[b"and on"]).unwrap();
    assert_eq!(position, Position::from_u64(count));
}

#[test]
fn on_a_full_disk_a_journal_opens_and_has_everything() {
    let storage = Small::new(20_000, 2);
    let journal = open_small(&storage);
    journal.cursor("tsdb").unwrap();
    let count = fill(&journal);
    drop(journal);
    let used: u64 = storage.list().unwrap().iter().map(|file| file.bytes).sum();
    storage.room.lock().unwrap().bytes = used + 2 * BLOCK;
    let journal = open_small(&storage);
    assert_eq!(read_all(&journal).len() as u64, count);
}

#[test]
fn without_reserve_a_cursor_on_a_full_disk_says_so() {
    let storage = Small::new(20_000, 0);
    let journal = open_small(&storage);
    let mut cursor = journal.cursor("tsdb").unwrap();
    fill(&journal);
    storage.room.lock().unwrap().bytes = 0;
    assert!(cursor.store(Position::from_u64(1)).is_err());
}

#[test]
fn a_directory_keeps_a_reserve_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let reserve = || {
        let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("RESERVE-")).count()
    };
    let storage = DiskStorage::open(directory.path()).unwrap();
    assert_eq!((reserve(), storage.list().unwrap().len()), (8, 0), "it is not among the files");
    for left in (0..8).rev() {
        assert!(storage.spend_reserve().unwrap());
        assert_eq!(reserve(), left);
    }
    assert!(!storage.spend_reserve().unwrap());
    storage.restore_reserve().unwrap();
    assert_eq!(reserve(), 8);
}
