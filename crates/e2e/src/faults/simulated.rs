//! Disks in memory for every journal of a merger, and disks that are slow or fail.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use prom_merger::{StartError, machine::Disks};
use sample_journal::{AppendFile, ReadFile, SimulatedStorage, Storage, StoredFile, Tear};

/// The journal of one source, or its dead letters.
pub(super) type Name = (String, String);

/// A disk in memory for each journal. A clone is another handle to the same disks.
#[derive(Debug, Clone, Default)]
pub(super) struct SimulatedDisks {
    disks: Arc<Mutex<BTreeMap<Name, SimulatedStorage>>>,
}

impl SimulatedDisks {
    /// The disk of a journal, which is made if need be.
    pub(super) fn disk(&self, kind: &str, source: &str) -> SimulatedStorage {
        self.lock().entry((kind.to_owned(), source.to_owned())).or_default().clone()
    }

    /// All of them as a new machine finds them.
    #[must_use]
    pub(super) fn crash(&self, tear: Tear) -> Self {
        let crashed = self.lock().iter().map(|(name, disk)| (name.clone(), disk.crash(tear))).collect();
        Self { disks: Arc::new(Mutex::new(crashed)) }
    }

    /// Does something with each.
    pub(super) fn each(&self, work: impl Fn(&SimulatedStorage)) {
        self.lock().values().for_each(work);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, SimulatedStorage>> {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disks for SimulatedDisks {
    fn open(&self, kind: &str, source: &str) -> Result<Box<dyn Storage>, StartError> {
        Ok(Box::new(self.disk(kind, source)))
    }
}

/// Real disks of which every sync takes a while longer.
pub(super) struct SlowDisks {
    /// What is slowed.
    pub(super) disks: Arc<dyn Disks>,
    /// By how much.
    pub(super) delay: Duration,
    /// How many syncs there were.
    pub(super) syncs: Arc<AtomicU64>,
}

impl Disks for SlowDisks {
    fn open(&self, kind: &str, source: &str) -> Result<Box<dyn Storage>, StartError> {
        let inner = self.disks.open(kind, source)?;
        Ok(Box::new(Slow { inner, delay: self.delay, syncs: Arc::clone(&self.syncs) }))
    }
}

struct Slow<T: ?Sized> {
    delay: Duration,
    syncs: Arc<AtomicU64>,
    inner: Box<T>,
}

impl<T: ?Sized> Slow<T> {
    fn wait(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        thread::sleep(self.delay);
    }
}

impl Storage for Slow<dyn Storage> {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        let inner = self.inner.create(name)?;
        Ok(Box::new(Slow { inner, delay: self.delay, syncs: Arc::clone(&self.syncs) }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        self.inner.open(name)
    }

    fn list(&self) -> io::Result<Vec<StoredFile>> {
        self.inner.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.wait();
        self.inner.sync_directory()
    }

    fn spend_reserve(&self) -> io::Result<bool> {
        self.inner.spend_reserve()
    }

    fn restore_reserve(&self) -> io::Result<()> {
        self.inner.restore_reserve()
    }
}

impl AppendFile for Slow<dyn AppendFile> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.append(bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.wait();
        self.inner.sync_data()
    }
}
