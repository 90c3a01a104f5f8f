//! The journal itself: opening, appending, releasing, closing.

mod config;
mod recovery;
mod state;
mod tail;
mod writer;

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

pub use config::{ConfigError, JournalConfig, JournalHooks, JournalId, Verify};
pub use recovery::{Damage, DamageKind, OpenError, Recovery, TornTail};
pub(crate) use state::Shared;
pub(crate) use tail::{Holes, TailScan};

use crate::{
    cursor::{Cursor, CursorError},
    position::Position,
    reader::Reader,
    segment::{self, HEADER_BYTES, RECORD_HEADER, RECORD_HEADER_BYTES},
    storage::Storage,
};
use state::{Completion, Pending};

/// A write-ahead journal: one writer thread over one [`Storage`].
///
/// All methods may be called from any thread. Dropping it closes it.
pub struct Journal {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

/// Why a record was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The record is longer than `max_record_bytes`; it never will be accepted.
    #[error("record of {bytes} bytes is longer than the limit of {limit}")]
    TooLong {
        /// The record's length.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// `max_pending_bytes` are queued already; try again after a commit.
    #[error("too many bytes are waiting to be written")]
    Overloaded,
    /// `max_bytes` are on disk already, or the medium was full a moment ago; try again after [`Journal::release`].
    #[error("the journal's disk budget is used up, or the disk is full")]
    Full,
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
    /// Writing or syncing failed. The record may still be found when the journal is next opened.
    #[error("cannot write to the journal")]
    Storage(#[source] Arc<io::Error>),
}

/// Why a journal did not close cleanly. All acknowledged records are durable all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The mark of the clean end could not be written.
    #[error("cannot seal the last segment")]
    Storage(#[source] io::Error),
    /// The writer thread has panicked.
    #[error("the writer thread has panicked")]
    Panicked,
}

/// Why segments were not released.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// A file could not be removed, or the removal not be made durable.
    #[error("cannot remove segment file {file}")]
    Storage {
        /// The file.
        file: String,
        /// What the storage said.
        source: io::Error,
    },
}

/// What a release has freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Released {
    /// Removed files.
    pub segments: u64,
    /// Their sizes in bytes.
    pub bytes: u64,
}

/// The journal's size at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Sizes of all segment files in bytes, unreadable ones included; at most `max_bytes` unless recovery found more.
    pub bytes_on_disk: u64,
    /// The configured limit of that.
    pub max_bytes: u64,
    /// Segment files in use.
    pub segments: u64,
    /// Segment files of which nothing could be read; they stay on disk until they are removed by hand.
    pub unreadable_segments: u64,
    /// Durable records that are still there, damaged ones included.
    pub records: u64,
    /// The first of them.
    pub oldest: Position,
    /// The place after the last of them.
    pub durable_end: Position,
    /// Records queued or being written.
    pub pending_records: u64,
    /// Their bytes in memory.
    pub pending_bytes: u64,
    /// Successful commits since opening, one data sync each.
    pub commits: u64,
    /// Failed commits since opening.
    pub failed_commits: u64,
}

impl Journal {
    /// Opens a journal, recovering what a crash has left, and starts its writer thread.
    ///
    /// Segments before the slowest cursor are removed first. The rest is read according to
    /// [`JournalConfig::verify`]; damage does not prevent opening, and is told by [`Recovery`] and by the readers that come
    /// upon it. Nothing damaged is overwritten or removed. Cost: reads the whole journal with [`Verify::All`].
    ///
    /// # Errors
    /// [`OpenError`]: limits that do not fit together, files of another journal or of a later version, failing storage.
    pub fn open(
        storage: impl Storage,
        config: JournalConfig,
        hooks: JournalHooks,
    ) -> Result<(Self, Recovery), OpenError> {
        config.validate()?;
        let opened = recovery::recover(&storage, &config)?;
        let shared = Arc::new(Shared::new(Box::new(storage), config, hooks, opened.state, opened.cursors));
        let writer = writer::Writer::new(Arc::clone(&shared), opened.next_number);
        let thread = thread::Builder::new()
            .name("journal-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        Ok((Self { shared, writer: Mutex::new(Some(thread)) }, opened.recovery))
    }

    /// Queues a record made of the parts one after another, and returns at once.
    ///
    /// `done` is called exactly once: with the record's position after a sync has covered it, from the writer thread; or with
    /// an error. Refusals ([`TooLong`](AppendError::TooLong), [`Overloaded`](AppendError::Overloaded),
    /// [`Full`](AppendError::Full), [`Closed`](AppendError::Closed)) come from within this call, before
    /// anything is copied. Records of one thread keep their order. `done` must be quick and must not wait for another append.
    pub fn append(&self, parts: &[&[u8]], done: impl FnOnce(Result<Position, AppendError>) + Send + 'static) {
        let done = Completion::new(done);
        let length = parts.iter().map(|part| part.len()).fold(0, usize::saturating_add);
        if let Err(error) = self.reserve(length as u64) {
            return done.call(Err(error));
        }
        let mut frame = Vec::with_capacity(RECORD_HEADER_BYTES + length);
        frame.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        let mut payload_crc = crc32c::crc32c(&[]);
        for part in parts {
            frame.extend_from_slice(part);
            payload_crc = crc32c::crc32c_append(payload_crc, part);
        }
        self.shared.state().queue.push_back(Pending { frame, payload_crc, done });
        self.shared.wake.notify_one();
    }

    /// Appends a record and waits until it is durable. Must not be called from `done` or a hook.
    ///
    /// # Errors
    /// As `done` of [`append`](Self::append) is told.
    pub fn append_blocking(&self, parts: &[&[u8]]) -> Result<Position, AppendError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.append(parts, move |result| {
            let _ = sender.send(result);
        });
        receiver.recv().unwrap_or(Err(AppendError::Closed))
    }

    fn reserve(&self, length: u64) -> Result<(), AppendError> {
        let config = &self.shared.config;
        if length > config.max_record_bytes {
            return Err(AppendError::TooLong { bytes: length, limit: config.max_record_bytes });
        }
        let bytes = length + RECORD_HEADER;
        let mut state = self.shared.state();
        if state.is_closing {
            return Err(AppendError::Closed);
        }
        // Room for one more segment's header and seal; the writer checks again, exactly.
        let on_disk = state.disk_bytes + state.pending_bytes + bytes + HEADER_BYTES + RECORD_HEADER;
        if on_disk > config.max_bytes {
            return Err(AppendError::Full);
        }
        if state.pending_bytes + bytes > config.max_pending_bytes {
            return Err(AppendError::Overloaded);
        }
        state.pending_bytes += bytes;
        state.pending_records += 1;
        Ok(())
    }

    /// Returns the place after the last durable record.
    pub fn durable_end(&self) -> Position {
        Position(self.shared.state().durable_end)
    }

    /// Returns the place of the oldest record that is still there (the durable end if there is none).
    pub fn oldest(&self) -> Position {
        Position(self.shared.state().oldest())
    }

    /// Returns a reader whose first record is the one at `from`. It outlives the journal.
    pub fn reader(&self, from: Position) -> Reader {
        Reader::new(Arc::clone(&self.shared), from)
    }

    /// Returns the cursor of that name (1 to 64 of `A-Z a-z 0-9 _ -`), creating it at the oldest record.
    ///
    /// From then on it holds back releases, also after a restart. Cost: a sync when it is created.
    ///
    /// # Errors
    /// A bad name, or storage that fails while the cursor is created.
    pub fn cursor(&self, name: &str) -> Result<Cursor, CursorError> {
        Cursor::open(Arc::clone(&self.shared), name)
    }

    /// Forgets a cursor for good, so that it holds back nothing any more; a name that does not exist is fine.
    ///
    /// # Errors
    /// Storage that fails; the cursor may then come back when the journal is next opened.
    pub fn remove_cursor(&self, name: &str) -> Result<(), CursorError> {
        self.shared.cursors().remove(self.shared.storage.as_ref(), name)
    }

    /// Returns all cursors and their positions, by name.
    pub fn cursors(&self) -> Vec<(String, Position)> {
        self.shared.cursors().positions()
    }

    /// Removes whole segments before the slowest cursor, oldest first. Without any cursor nothing is removed.
    ///
    /// # Errors
    /// Storage that fails; what was removed before stays removed.
    pub fn release(&self) -> Result<Released, ReleaseError> {
        let cursors = self.shared.cursors();
        let mut released = Released::default();
        let Some(slowest) = cursors.slowest() else { return Ok(released) };
        while let Some(meta) = self.take_releasable(slowest) {
            let file = segment::file_name(meta.number);
            if let Err(source) = self.shared.storage.remove(&file) {
                self.shared.state().segments.push_front(meta);
                return Err(ReleaseError::Storage { file, source });
            }
            self.shared.state().disk_bytes -= meta.bytes;
            released.segments += 1;
            released.bytes += meta.bytes;
            // One by one, so that a crash never leaves a hole between segments.
            if let Err(source) = self.shared.storage.sync_directory() {
                return Err(ReleaseError::Storage { file, source });
            }
        }
        if released.segments > 0 {
            self.shared.state().releases += 1;
            // What cannot be kept now is tried again at the next release.
            let _ = self.shared.storage.restore_reserve();
        }
        Ok(released)
    }

    fn take_releasable(&self, slowest: u64) -> Option<state::SegmentMeta> {
        let mut state = self.shared.state();
        let successor = state.segments.get(1)?;
        if successor.first <= slowest { state.segments.pop_front() } else { None }
    }

    /// Returns the journal's size at this instant.
    pub fn statistics(&self) -> Statistics {
        let state = self.shared.state();
        let oldest = state.oldest();
        Statistics {
            bytes_on_disk: state.disk_bytes,
            max_bytes: self.shared.config.max_bytes,
            segments: state.segments.len() as u64,
            unreadable_segments: state.unreadable_segments,
            records: state.durable_end.saturating_sub(oldest),
            oldest: Position(oldest),
            durable_end: Position(state.durable_end),
            pending_records: state.pending_records,
            pending_bytes: state.pending_bytes,
            commits: state.commits,
            failed_commits: state.failed_commits,
        }
    }

    /// Refuses new records, writes and acknowledges all that are queued, and ends the writer thread.
    ///
    /// Returns at once if it is closed already, or if called from the writer thread (which then ends by itself).
    ///
    /// # Errors
    /// [`CloseError`]; what was acknowledged is durable all the same.
    pub fn close(&self) -> Result<(), CloseError> {
        self.shared.state().is_closing = true;
        self.shared.wake.notify_all();
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        match thread {
            Some(thread) if thread.thread().id() != thread::current().id() => {
                thread.join().map_err(|_| CloseError::Panicked)?.map_err(CloseError::Storage)
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("statistics", &self.statistics()).finish_non_exhaustive()
    }
}
