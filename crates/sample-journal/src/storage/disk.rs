//! Real files in one directory.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{AppendFile, ReadFile, Storage, StoredFile};

/// A directory of real files, locked for this process.
///
/// Besides the journal's files it holds 128 KiB in files `RESERVE-N`, which are given up when the disk is full.
/// The lock is an advisory one on the file `LOCK` in the directory; it is let go when the storage is dropped and when
/// the process dies. Only Unix systems are supported.
#[derive(Debug)]
pub struct DiskStorage {
    path: PathBuf,
    directory: File,
    _lock: File,
}

/// Why a directory could not be opened for a journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenDiskError {
    /// Another process, or another storage in this one, has the directory.
    #[error("directory {} is in use by another journal", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot use directory {}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DiskStorage {
    /// Opens a directory, creating it (and syncing its parent) if it does not exist, and locks it.
    ///
    /// The parent must exist. At most one `DiskStorage` per directory is open at any time on one machine.
    ///
    /// # Errors
    /// [`OpenDiskError::Locked`] when it is in use, [`OpenDiskError::Io`] for everything else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenDiskError> {
        let path = path.as_ref().to_path_buf();
        let io_error = |source| OpenDiskError::Io { path: path.clone(), source };
        match fs::create_dir(&path) {
            Ok(()) => sync_parent(&path).map_err(io_error)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io_error(error)),
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK_FILE))
            .map_err(io_error)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenDiskError::Locked { path }),
            Err(TryLockError::Error(error)) => return Err(io_error(error)),
        }
        let directory = File::open(&path).map_err(io_error)?;
        let storage = Self { path, directory, _lock: lock };
        // A disk that is full already has none to keep.
        let _ = storage.restore_reserve();
        Ok(storage)
    }

    fn file_path(&self, name: &str) -> io::Result<PathBuf> {
        let is_plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
        if is_plain {
            Ok(self.path.join(name))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file name"))
        }
    }
}

impl Storage for DiskStorage {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        let file = OpenOptions::new().append(true).create_new(true).open(self.file_path(name)?)?;
        Ok(Box::new(DiskAppend(file)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        Ok(Box::new(DiskRead(File::open(self.file_path(name)?)?)))
    }

    fn list(&self) -> io::Result<Vec<StoredFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if metadata.is_file() && name != LOCK_FILE && !name.starts_with(RESERVE) {
                files.push(StoredFile { name, bytes: metadata.len() });
            }
        }
        Ok(files)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.file_path(from)?, self.file_path(to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.file_path(name)?)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn spend_reserve(&self) -> io::Result<bool> {
        for piece in 0..RESERVE_PIECES {
            match fs::remove_file(self.path.join(format!("{RESERVE}{piece}"))) {
                Ok(()) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn restore_reserve(&self) -> io::Result<()> {
        for piece in (0..RESERVE_PIECES).rev() {
            let path = self.path.join(format!("{RESERVE}{piece}"));
            if path.exists() {
                continue;
            }
            // Not synced: whether it is there after a crash does not matter.
            if let Err(error) = fs::write(&path, [0xa5; RESERVE_BYTES]) {
                let _ = fs::remove_file(&path);
                return Err(error);
            }
        }
        Ok(())
    }
}

struct DiskAppend(File);

impl AppendFile for DiskAppend {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

struct DiskRead(File);

impl ReadFile for DiskRead {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

const LOCK_FILE: &str = "LOCK";
/// How the names of the files begin that keep room for the time when the disk is full.
const RESERVE: &str = "RESERVE-";
/// Several, as another writer may be quicker to take the room of one.
const RESERVE_PIECES: u32 = 8;
const RESERVE_BYTES: usize = 16 << 10;
