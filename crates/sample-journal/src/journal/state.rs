//! What the writer, the appenders, the readers and the cursors share.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{AppendError, JournalConfig, JournalHooks};
use crate::{cursor::Cursors, position::Position, storage::Storage};

pub(crate) struct Shared {
    pub(crate) storage: Box<dyn Storage>,
    pub(crate) config: JournalConfig,
    pub(super) hooks: JournalHooks,
    state: Mutex<State>,
    /// Told when the queue grows or the journal closes.
    pub(super) wake: Condvar,
    cursors: Mutex<Cursors>,
}

impl Shared {
    pub(super) fn new(
        storage: Box<dyn Storage>,
        config: JournalConfig,
        hooks: JournalHooks,
        state: State,
        cursors: Cursors,
    ) -> Self {
        Self {
            storage,
            config,
            hooks,
            state: Mutex::new(state),
            wake: Condvar::new(),
            cursors: Mutex::new(cursors),
        }
    }

    /// Locks the state. Taken after the cursors' lock where both are held; never held during I/O.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the cursors, which serialises cursor files and removals.
    pub(crate) fn cursors(&self) -> MutexGuard<'_, Cursors> {
        self.cursors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
pub(crate) struct State {
    pub(super) queue: VecDeque<Pending>,
    /// Bytes of records that are reserved, queued or being written.
    pub(super) pending_bytes: u64,
    pub(super) pending_records: u64,
    /// In order of number, and so of first record. The last one may still grow.
    pub(crate) segments: VecDeque<SegmentMeta>,
    /// The sequence number after the last durable record.
    pub(crate) durable_end: u64,
    /// Size of all segment files, unreadable ones included.
    pub(super) disk_bytes: u64,
    pub(super) unreadable_segments: u64,
    pub(super) is_closing: bool,
    pub(super) commits: u64,
    pub(super) failed_commits: u64,
    /// How often segments were released since opening.
    pub(super) releases: u64,
}

impl State {
    /// The first record that is still there.
    pub(crate) fn oldest(&self) -> u64 {
        self.segments.front().map_or(self.durable_end, |segment| segment.first)
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentMeta {
    pub(crate) number: u64,
    /// The first record; the first record of the next segment ends this one, whatever its file says.
    pub(crate) first: u64,
    /// Size of the file.
    pub(crate) bytes: u64,
    /// Up to where the file may be read.
    pub(crate) readable: u64,
}

/// A record on its way to the disk: room for its header, then the payload.
pub(super) struct Pending {
    pub(super) frame: Vec<u8>,
    pub(super) payload_crc: u32,
    pub(super) done: Completion,
}

impl Pending {
    pub(super) fn bytes(&self) -> u64 {
        self.frame.len() as u64
    }
}

type Done = Box<dyn FnOnce(Result<Position, AppendError>) + Send>;

/// Calls back exactly once, with [`AppendError::Closed`] if it is dropped first.
pub(super) struct Completion(Option<Done>);

impl Completion {
    pub(super) fn new(done: impl FnOnce(Result<Position, AppendError>) + Send + 'static) -> Self {
        Self(Some(Box::new(done)))
    }

    pub(super) fn call(mut self, result: Result<Position, AppendError>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(AppendError::Closed));
        }
    }
}

pub(super) type SharedRef = Arc<Shared>;

/// The budget holds at least this many segments, so that releasing one always makes room.
pub(super) const MIN_SEGMENTS: u64 = 2;
