//! What the journal asks of a disk: a flat directory of append-only files.
//!
//! Two storages exist: [`DiskStorage`] for real files, and [`SimulatedStorage`], which keeps everything in memory and can
//! lose or tear every byte that no completed sync covers. A user of the journal may test against the second one too.

mod disk;
mod simulated;

pub use disk::{DiskStorage, OpenDiskError};
pub use simulated::{SimulatedStorage, SyncGate, Tear};

use std::io;

/// A flat directory of files that are only ever appended to, renamed and removed.
///
/// The journal relies on exactly this much:
///
/// * bytes are durable once [`AppendFile::sync_data`] has returned `Ok` after they were appended;
/// * a file created, renamed or removed is durably so once [`Storage::sync_directory`] has returned `Ok` afterwards;
/// * before that, either the old or the new state may be found after a crash, for every operation separately;
/// * after a sync that returned an error, nothing is known about the bytes it should have covered, and a later
///   successful sync does not change that.
///
/// Names are plain: no separators, never empty.
pub trait Storage: Send + Sync + 'static {
    /// Creates an empty file for appending.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, or what the medium reports.
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>>;

    /// Opens a file for reading. The handle stays readable after the file is removed.
    ///
    /// # Errors
    /// `NotFound`, or what the medium reports.
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>>;

    /// Lists all files, in no particular order.
    ///
    /// # Errors
    /// What the medium reports.
    fn list(&self) -> io::Result<Vec<StoredFile>>;

    /// Renames a file, replacing the target atomically if there is one.
    ///
    /// # Errors
    /// `NotFound`, or what the medium reports.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, or what the medium reports.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all earlier creations, renames and removals durable.
    ///
    /// # Errors
    /// What the medium reports; the state of those operations is then unknown.
    fn sync_directory(&self) -> io::Result<()>;

    /// Gives up a part of the room that is kept for the time when the medium is full; returns whether there was any.
    ///
    /// A full medium must still take what frees room on it: a cursor that moves on. A storage without such room, which is
    /// the default, cannot promise that.
    ///
    /// # Errors
    /// What the medium reports.
    fn spend_reserve(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Keeps that room again, as far as it is not kept already.
    ///
    /// # Errors
    /// What the medium reports: usually that it is full; what could be kept is.
    fn restore_reserve(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Any storage behind a pointer.
impl<S: Storage + ?Sized> Storage for Box<S> {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        (**self).create(name)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        (**self).open(name)
    }

    fn list(&self) -> io::Result<Vec<StoredFile>> {
        (**self).list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        (**self).rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        (**self).remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        (**self).sync_directory()
    }

    fn spend_reserve(&self) -> io::Result<bool> {
        (**self).spend_reserve()
    }

    fn restore_reserve(&self) -> io::Result<()> {
        (**self).restore_reserve()
    }
}

/// A file open for appending.
pub trait AppendFile: Send {
    /// Appends all bytes.
    ///
    /// # Errors
    /// What the medium reports; any part of the bytes may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes all appended bytes durable (`fdatasync`).
    ///
    /// # Errors
    /// What the medium reports; the bytes since the previous successful sync are then to be considered lost.
    fn sync_data(&mut self) -> io::Result<()>;
}

/// A file open for reading at any offset, while it may still grow.
pub trait ReadFile: Send {
    /// Returns the file's current size in bytes.
    ///
    /// # Errors
    /// What the medium reports.
    fn size(&self) -> io::Result<u64>;

    /// Reads up to `buffer.len()` bytes at `offset` and returns how many were read; 0 means the end of the file.
    ///
    /// # Errors
    /// What the medium reports.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// The plain name.
    pub name: String,
    /// The size in bytes.
    pub bytes: u64,
}

/// Reads until `buffer` is full or the file ends; returns how many bytes were read.
pub(crate) fn read_full(file: &dyn ReadFile, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(offset + filled as u64, rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Does something that needs little room; on a full medium again with each part of the reserve that is given up.
pub(crate) fn with_reserve<T>(
    storage: &dyn Storage,
    mut work: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match work() {
            Err(error) if is_full(&error) && storage.spend_reserve()? => {}
            result => return result,
        }
    }
}

/// Whether an error says that the medium, or what this user may have of it, is used up.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
