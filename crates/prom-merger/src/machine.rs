//! What a merger takes from the machine that it runs on: disks and a clock.
//!
//! A program runs on [`Machine::real`]. A test may give it storage that loses what no sync covers, and a clock that jumps.

use std::{
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use sample_journal::{DiskStorage, Storage};

use crate::{Config, StartError};

/// Opens the storage of each journal.
pub trait Disks: Send + Sync + 'static {
    /// Opens the storage of the journal `kind` (`journal`, `dead-letters`, `elections`; `replicas` with a dot and the
    /// replica) of a source; nobody else has it open until
    /// it is dropped. Blocks on files.
    ///
    /// # Errors
    /// [`StartError`]: the storage cannot be used.
    fn open(&self, kind: &str, source: &str) -> Result<Box<dyn Storage>, StartError>;

    /// The names of all journals of a kind that are there; none where they are not listed. Blocks on files.
    ///
    /// # Errors
    /// What the system said.
    fn names(&self, kind: &str) -> io::Result<Vec<String>> {
        let _ = kind;
        Ok(Vec::new())
    }

    /// Removes a journal that nobody has open, if it is there. Blocks on files.
    ///
    /// # Errors
    /// What the system said.
    fn remove(&self, kind: &str, name: &str) -> io::Result<()> {
        let _ = (kind, name);
        Ok(())
    }
}

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the epoch.
    fn now_ms(&self) -> i64;
}

/// Disks and a clock.
#[derive(Clone)]
#[non_exhaustive]
pub struct Machine {
    /// The storage of journals.
    pub disks: Arc<dyn Disks>,
    /// The time of day. Waits and timeouts go by the clock of the runtime instead.
    pub clock: Arc<dyn Clock>,
}

impl Machine {
    /// Returns real folders below the data folder of the configuration, and the system's clock.
    pub fn real(config: &Config) -> Self {
        Self { disks: Arc::new(Folders { data: config.data.clone() }), clock: Arc::new(SystemClock) }
    }

    /// Returns the same with other disks.
    #[must_use]
    pub fn with_disks(self, disks: impl Disks) -> Self {
        Self { disks: Arc::new(disks), ..self }
    }

    /// Returns the same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").finish_non_exhaustive()
    }
}

/// A folder for each kind below `data`, and in it one for each source.
struct Folders {
    data: PathBuf,
}

impl Disks for Folders {
    fn open(&self, kind: &str, source: &str) -> Result<Box<dyn Storage>, StartError> {
        let parent = self.data.join(kind);
        create_durably(&parent)
            .map_err(|error| StartError::Folder { path: parent.clone(), source: error })?;
        let storage = DiskStorage::open(parent.join(source))
            .map_err(|error| StartError::Storage { name: source.to_owned(), source: error })?;
        Ok(Box::new(storage))
    }

    fn names(&self, kind: &str) -> io::Result<Vec<String>> {
        let folder = match fs::read_dir(self.data.join(kind)) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = folder.map(|entry| Ok(entry?.file_name().into_string().ok()));
        Ok(names.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn remove(&self, kind: &str, name: &str) -> io::Result<()> {
        let parent = self.data.join(kind);
        match fs::remove_dir_all(parent.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        File::open(parent)?.sync_all()
    }
}

struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        now_ms()
    }
}

pub(crate) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// Creates a folder and those above it, each durable before the next.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_durably(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(parent)?.sync_all()
}
