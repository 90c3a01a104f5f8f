//! A disk in memory that forgets what was not synced.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{AppendFile, ReadFile, Storage, StoredFile};

/// A disk in memory, for crash tests of the journal and of its users.
///
/// A clone is another handle to the same disk. Operations that change the disk (create, append, sync of data or
/// directory, rename, remove) are counted from 0. With [`cut_power_at`](Self::cut_power_at) the operation of that number
/// and all later ones fail, the first having reached the cache at most. [`crash`](Self::crash) then gives the
/// disk as a new machine would find it; [`restart`](Self::restart) as a new process on the same machine would.
#[derive(Clone)]
pub struct SimulatedStorage {
    disk: Arc<Disk>,
}

/// What a crash does to bytes and directory changes that no completed sync covers.
///
/// All four are legal for a real disk; a correct program survives each. The numbers are seeds: the same seed
/// gives the same result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tear {
    /// All of it is gone; ranges whose sync failed read as zeros if later bytes of the file were synced.
    Lost,
    /// All of it is there.
    Kept,
    /// A prefix of every file's unsynced bytes and of the directory changes is there.
    Prefix(u64),
    /// Every piece of up to 64 bytes is, independently, kept, zeroed or garbage; files may be cut anywhere; every directory
    /// change is, independently, there or not.
    Scrambled(u64),
}

impl SimulatedStorage {
    /// Returns an empty disk.
    pub fn new() -> Self {
        Self::from_state(State::default())
    }

    /// Returns how many changing operations were begun.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Returns how many syncs (of data and of directories) were begun.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Makes the operation of this number (from 0, see [`operations`](Self::operations)) and every later operation
    /// fail, reads included.
    pub fn cut_power_at(&self, operation: u64) {
        self.lock().cut_at = Some(operation);
    }

    /// Returns whether the power has been cut.
    pub fn is_powerless(&self) -> bool {
        self.lock().powerless
    }

    /// Makes the sync of this number (from 0, data and directory syncs counted together) fail.
    ///
    /// As on Linux, what that sync should have covered is lost: it can be read until the crash, and a later
    /// successful sync does not make it durable.
    pub fn fail_sync(&self, sync: u64) {
        self.lock().failing_syncs.insert(sync);
    }

    /// Makes every append fail with this error kind, having written half of its bytes, until called with `None`.
    pub fn fail_appends(&self, kind: Option<io::ErrorKind>) {
        self.lock().append_error = kind;
    }

    /// Makes data syncs wait until the gate is dropped (or the power is cut).
    pub fn hold_syncs(&self) -> SyncGate {
        self.lock().held = true;
        SyncGate { disk: Arc::clone(&self.disk) }
    }

    /// Returns the disk as a new machine finds it after the power went away now. This one stays as it is.
    pub fn crash(&self, tear: Tear) -> Self {
        Self::from_state(self.lock().after_crash(tear))
    }

    /// Returns the disk as a new process on the same machine finds it: all is readable, and what was not
    /// durable still is not. Numbers start at 0 again, all failures are forgotten. This one stays as it is.
    pub fn restart(&self) -> Self {
        Self::from_state(self.lock().fresh())
    }

    /// Returns a file's current bytes, or `None` if there is no such file.
    pub fn file(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        let inode = state.entries.get(name)?;
        Some(state.inodes.get(inode)?.data.clone())
    }

    /// Puts a durable file in place, replacing any of that name; not counted as an operation.
    pub fn put_file(&self, name: &str, bytes: &[u8]) {
        let mut state = self.lock();
        let inode = state.new_inode();
        state.inodes.insert(inode, Inode { data: bytes.to_vec(), covered: bytes.len(), lost: Vec::new() });
        state.entries.insert(name.to_owned(), inode);
        state.durable_entries.insert(name.to_owned(), inode);
    }

    fn from_state(state: State) -> Self {
        Self { disk: Arc::new(Disk { state: Mutex::new(state), changed: Condvar::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.disk.lock()
    }
}

impl Default for SimulatedStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SimulatedStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("SimulatedStorage")
            .field("operations", &state.operations)
            .field("files", &state.entries.keys())
            .finish_non_exhaustive()
    }
}

/// Holds data syncs back until it is dropped; made by [`SimulatedStorage::hold_syncs`].
#[must_use = "dropping the gate lets the syncs go on"]
pub struct SyncGate {
    disk: Arc<Disk>,
}

impl SyncGate {
    /// Waits until a data sync waits at the gate and returns `true`; returns `false` if the power is cut instead.
    pub fn wait_for_sync(&self) -> bool {
        let mut state = self.disk.lock();
        while state.waiting_syncs == 0 && !state.powerless {
            state = self.disk.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.powerless
    }
}

impl Drop for SyncGate {
    fn drop(&mut self) {
        self.disk.lock().held = false;
        self.disk.changed.notify_all();
    }
}

impl Storage for SimulatedStorage {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        let mut state = self.lock();
        let power = self.disk.begin(&mut state)?;
        if state.entries.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.new_inode();
        state.inodes.insert(inode, Inode::default());
        state.change(DirectoryChange::Link(name.to_owned(), inode));
        power?;
        Ok(Box::new(SimulatedAppend { disk: Arc::clone(&self.disk), inode }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        let state = self.lock();
        state.check_power()?;
        let inode = *state.entries.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimulatedRead { disk: Arc::clone(&self.disk), inode }))
    }

    fn list(&self) -> io::Result<Vec<StoredFile>> {
        let state = self.lock();
        state.check_power()?;
        let file = |(name, inode): (&String, &u64)| StoredFile {
            name: name.clone(),
            bytes: state.inodes.get(inode).map_or(0, |inode| inode.data.len() as u64),
        };
        Ok(state.entries.iter().map(file).collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        let power = self.disk.begin(&mut state)?;
        let inode = *state.entries.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change(DirectoryChange::Rename(from.to_owned(), to.to_owned(), inode));
        power
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        let power = self.disk.begin(&mut state)?;
        if !state.entries.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(DirectoryChange::Unlink(name.to_owned()));
        power
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.lock();
        self.disk.begin(&mut state)??;
        let changes = std::mem::take(&mut state.changes);
        state.begin_sync()?;
        for change in &changes {
            change.apply(&mut state.durable_entries);
        }
        Ok(())
    }
}

struct SimulatedAppend {
    disk: Arc<Disk>,
    inode: u64,
}

impl AppendFile for SimulatedAppend {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.lock();
        let power = self.disk.begin(&mut state)?;
        let failure = state.append_error;
        let written = if failure.is_some() { bytes.split_at(bytes.len() / 2).0 } else { bytes };
        state.inode(self.inode)?.data.extend_from_slice(written);
        power?;
        failure.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut state = self.disk.lock();
        self.disk.begin(&mut state)??;
        state.waiting_syncs += 1;
        self.disk.changed.notify_all();
        while state.held && !state.powerless {
            state = self.disk.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting_syncs -= 1;
        state.check_power()?;
        let outcome = state.begin_sync();
        let inode = state.inode(self.inode)?;
        let uncovered = inode.covered..inode.data.len();
        inode.covered = inode.data.len();
        if outcome.is_err() {
            inode.lost.push(uncovered);
        }
        outcome
    }
}

struct SimulatedRead {
    disk: Arc<Disk>,
    inode: u64,
}

impl ReadFile for SimulatedRead {
    fn size(&self) -> io::Result<u64> {
        let mut state = self.disk.lock();
        state.check_power()?;
        Ok(state.inode(self.inode)?.data.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.disk.lock();
        state.check_power()?;
        let data = &state.inode(self.inode)?.data;
        let rest = usize::try_from(offset).ok().and_then(|offset| data.get(offset..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        for (target, source) in buffer.iter_mut().zip(rest) {
            *target = *source;
        }
        Ok(count)
    }
}

struct Disk {
    state: Mutex<State>,
    changed: Condvar,
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation. The outer error: it must not happen at all. The inner one: it reaches the cache, then fails.
    fn begin(&self, state: &mut State) -> io::Result<io::Result<()>> {
        state.check_power()?;
        let operation = state.operations;
        state.operations += 1;
        if state.cut_at.is_some_and(|cut| operation >= cut) {
            state.powerless = true;
            self.changed.notify_all();
            return Ok(Err(power_cut()));
        }
        Ok(Ok(()))
    }
}

#[derive(Default, Clone)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    entries: BTreeMap<String, u64>,
    durable_entries: BTreeMap<String, u64>,
    changes: Vec<DirectoryChange>,
    operations: u64,
    syncs: u64,
    cut_at: Option<u64>,
    powerless: bool,
    failing_syncs: BTreeSet<u64>,
    append_error: Option<io::ErrorKind>,
    held: bool,
    waiting_syncs: u64,
}

impl State {
    fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.next_inode
    }

    fn inode(&mut self, inode: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn check_power(&self) -> io::Result<()> {
        if self.powerless { Err(power_cut()) } else { Ok(()) }
    }

    fn begin_sync(&mut self) -> io::Result<()> {
        let sync = self.syncs;
        self.syncs += 1;
        if self.failing_syncs.contains(&sync) {
            Err(io::Error::other("simulated sync failure"))
        } else {
            Ok(())
        }
    }

    fn change(&mut self, change: DirectoryChange) {
        change.apply(&mut self.entries);
        self.changes.push(change);
    }

    fn fresh(&self) -> Self {
        Self {
            inodes: self.inodes.clone(),
            next_inode: self.next_inode,
            entries: self.entries.clone(),
            durable_entries: self.durable_entries.clone(),
            changes: self.changes.clone(),
            ..Self::default()
        }
    }

    fn after_crash(&self, tear: Tear) -> Self {
        let mut dice = Dice::new(tear);
        let mut entries = self.durable_entries.clone();
        let kept_changes = match tear {
            Tear::Lost => 0,
            Tear::Kept | Tear::Scrambled(_) => self.changes.len(),
            Tear::Prefix(_) => dice.below(self.changes.len() + 1),
        };
        for change in self.changes.iter().take(kept_changes) {
            let is_skipped = matches!(tear, Tear::Scrambled(_)) && dice.below(2) == 0;
            if !is_skipped {
                change.apply(&mut entries);
            }
        }
        let mut inodes = BTreeMap::new();
        for inode in entries.values() {
            if let Some(file) = self.inodes.get(inode) {
                let data = file.torn(tear, &mut dice);
                inodes.insert(*inode, Inode { covered: data.len(), data, lost: Vec::new() });
            }
        }
        Self {
            inodes,
            next_inode: self.next_inode,
            durable_entries: entries.clone(),
            entries,
            ..Self::default()
        }
    }
}

#[derive(Default, Clone)]
struct Inode {
    data: Vec<u8>,
    /// Bytes up to here were the subject of a sync; those in `lost` of one that failed.
    covered: usize,
    lost: Vec<Range<usize>>,
}

impl Inode {
    fn torn(&self, tear: Tear, dice: &mut Dice) -> Vec<u8> {
        let durable_end = self.durable_end();
        let kept = match tear {
            Tear::Lost => durable_end,
            Tear::Kept => self.data.len(),
            Tear::Prefix(_) | Tear::Scrambled(_) => {
                durable_end + dice.below(self.data.len() - durable_end + 1)
            }
        };
        let mut data = self.data.clone();
        data.truncate(kept);
        match tear {
            Tear::Kept | Tear::Prefix(_) => {}
            Tear::Lost => self.lost.iter().for_each(|range| zero(&mut data, range.clone())),
            Tear::Scrambled(_) => {
                let tail = self.covered..self.data.len();
                for range in self.lost.iter().chain([&tail]) {
                    scramble(&mut data, range.clone(), dice);
                }
            }
        }
        data
    }

    /// The end of the last durable byte.
    fn durable_end(&self) -> usize {
        let mut end = self.covered;
        for range in self.lost.iter().rev() {
            if range.end == end {
                end = range.start;
            }
        }
        end
    }
}

#[derive(Clone)]
enum DirectoryChange {
    Link(String, u64),
    Rename(String, String, u64),
    Unlink(String),
}

impl DirectoryChange {
    fn apply(&self, entries: &mut BTreeMap<String, u64>) {
        match self {
            Self::Link(name, inode) => {
                entries.insert(name.clone(), *inode);
            }
            Self::Rename(from, to, inode) => {
                entries.remove(from);
                entries.insert(to.clone(), *inode);
            }
            Self::Unlink(name) => {
                entries.remove(name);
            }
        }
    }
}

/// SplitMix64: small, seeded, good enough to vary tests.
struct Dice(u64);

impl Dice {
    fn new(tear: Tear) -> Self {
        match tear {
            Tear::Lost | Tear::Kept => Self(0),
            Tear::Prefix(seed) | Tear::Scrambled(seed) => Self(seed),
        }
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        usize::try_from(self.roll() % bound).unwrap_or(0)
    }
}

fn zero(data: &mut [u8], range: Range<usize>) {
    let end = range.end.min(data.len());
    if let Some(bytes) = data.get_mut(range.start..end) {
        bytes.fill(0);
    }
}

fn scramble(data: &mut [u8], range: Range<usize>, dice: &mut Dice) {
    let end = range.end.min(data.len());
    let mut start = range.start;
    while start < end {
        let stop = (start + 1 + dice.below(64)).min(end);
        if let Some(bytes) = data.get_mut(start..stop) {
            match dice.below(3) {
                0 => bytes.fill(0),
                1 => bytes.iter_mut().for_each(|byte| *byte = dice.roll().to_le_bytes()[0]),
                _ => {}
            }
        }
        start = stop;
    }
}

fn power_cut() -> io::Error {
    io::Error::other("simulated power cut")
}
