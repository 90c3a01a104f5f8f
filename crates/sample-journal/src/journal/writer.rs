//! The one thread that writes: it takes what is queued, writes it, syncs once, and tells everyone.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{
    AppendError,
    state::{Pending, SegmentMeta, SharedRef, State},
};
use crate::{
    position::Position,
    segment::{self, HEADER_BYTES, RECORD_HEADER, RECORD_HEADER_BYTES, RecordHeader, SegmentHeader},
    storage::{AppendFile, is_full},
};

pub(super) struct Writer {
    shared: SharedRef,
    active: Option<Active>,
    next_number: u64,
    scratch: Vec<u8>,
    /// When the medium was last found full, and how many releases there had been.
    full: Option<(Instant, u64)>,
}

/// The segment that grows. It is let go at the first error and never written again.
struct Active {
    file: Box<dyn AppendFile>,
    number: u64,
    salt: u32,
    bytes: u64,
}

/// Records that are written and synced together, or the refusal of records for which there is no room.
enum Batch {
    Write(Vec<Pending>),
    Full(Pending),
}

impl Writer {
    pub(super) fn new(shared: SharedRef, next_number: u64) -> Self {
        Self { shared, active: None, next_number, scratch: Vec::new(), full: None }
    }

    /// Works until the journal is closed and the queue is empty, then seals the active segment.
    pub(super) fn run(mut self) -> io::Result<()> {
        while let Some(batch) = self.next_batch() {
            match batch {
                Batch::Write(records) if self.is_full() => {
                    self.forget(&records);
                    records.into_iter().for_each(|record| tell(record, Err(AppendError::Full)));
                }
                Batch::Write(records) => self.commit(records),
                Batch::Full(record) => {
                    self.forget(std::slice::from_ref(&record));
                    tell(record, Err(AppendError::Full));
                }
            }
        }
        self.seal()
    }

    fn next_batch(&mut self) -> Option<Batch> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        // A record that is reserved but not queued yet is waited for as well.
        while state.queue.is_empty() {
            if state.is_closing && state.pending_records == 0 {
                return None;
            }
            state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !shared.config.commit_window.is_zero() {
            let start = Instant::now();
            while !state.is_closing && state.pending_bytes < shared.config.commit_bytes {
                let Some(rest) = shared.config.commit_window.checked_sub(start.elapsed()) else { break };
                if rest.is_zero() {
                    break;
                }
                state = shared.wake.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        let first = state.queue.pop_front()?;
        Some(self.take_batch(&mut state, first))
    }

    /// Takes as much of the queue as fits into the active segment, or into a new one if the first record does not fit.
    fn take_batch(&mut self, state: &mut State, first: Pending) -> Batch {
        let config = &self.shared.config;
        let segment_room =
            |used: u64| config.segment_bytes.saturating_sub(used).saturating_sub(RECORD_HEADER);
        self.active.take_if(|active| segment_room(active.bytes) < first.bytes());
        let (used, new_bytes) =
            self.active.as_ref().map_or((HEADER_BYTES, HEADER_BYTES), |active| (active.bytes, 0));
        let budget = config.max_bytes.saturating_sub(state.disk_bytes + new_bytes + RECORD_HEADER);
        if budget < first.bytes() {
            return Batch::Full(first);
        }
        let room = segment_room(used).min(budget);
        let mut taken = first.bytes();
        let mut records = vec![first];
        while state.queue.front().is_some_and(|next| taken + next.bytes() <= room)
            && let Some(next) = state.queue.pop_front()
        {
            taken += next.bytes();
            records.push(next);
        }
        Batch::Write(records)
    }

    fn commit(&mut self, mut records: Vec<Pending>) {
        let first = self.shared.state().durable_end;
        match self.write(&mut records, first) {
            Ok(()) => self.acknowledge(records, first),
            Err(error) => {
                self.full = is_full(&error).then(|| (Instant::now(), self.shared.state().releases));
                shielded(|| (self.shared.hooks.on_failure)(&error));
                self.forget(&records);
                let error = Arc::new(error);
                for record in records {
                    tell(record, Err(AppendError::Storage(Arc::clone(&error))));
                }
            }
        }
    }

    /// Whether it is of no use to try: what little room there is on a full medium is for the cursors, which free more.
    fn is_full(&mut self) -> bool {
        let releases = self.shared.state().releases;
        self.full.take_if(|(since, before)| since.elapsed() > FULL_PAUSE || *before != releases);
        self.full.is_some()
    }

    fn write(&mut self, records: &mut [Pending], first: u64) -> io::Result<()> {
        let mut active = match self.active.take() {
            Some(active) => active,
            None => self.create_segment(first)?,
        };
        let start = active.bytes;
        let result = write_records(&mut active, records, first, &mut self.scratch);
        let written: u64 = records.iter().map(Pending::bytes).sum();
        let mut state = self.shared.state();
        if result.is_ok() {
            state.durable_end = first + records.len() as u64;
            active.bytes = start + written;
        } else {
            state.failed_commits += 1;
        }
        state.disk_bytes += written;
        let is_useless = result.is_err() && start == HEADER_BYTES && state.segments.len() > 1;
        if let Some(meta) = state.segments.back_mut() {
            meta.bytes += written;
            if result.is_ok() {
                meta.readable = active.bytes;
            }
        }
        drop(state);
        if result.is_ok() {
            self.active = Some(active);
        } else if is_useless {
            self.remove_useless(active.number);
        }
        result
    }

    /// Creates a segment and makes it and its directory entry durable before it is used.
    fn create_segment(&mut self, first: u64) -> io::Result<Active> {
        let number = self.next_number;
        self.next_number += 1;
        let journal = self.shared.config.id;
        let name = segment::file_name(number);
        let storage = &self.shared.storage;
        let create = || {
            let mut file = storage.create(&name)?;
            file.append(&SegmentHeader { journal, number, first }.encode())?;
            file.sync_data()?;
            storage.sync_directory()?;
            Ok(file)
        };
        match create() {
            Ok(file) => {
                let mut state = self.shared.state();
                let meta = SegmentMeta { number, first, bytes: HEADER_BYTES, readable: HEADER_BYTES };
                state.segments.push_back(meta);
                state.disk_bytes += HEADER_BYTES;
                Ok(Active { file, number, salt: segment::salt(journal, number), bytes: HEADER_BYTES })
            }
            Err(error) => {
                // What remains of it is void: the next segment begins with the same record.
                let _ = storage.remove(&name);
                self.shared.state().failed_commits += 1;
                Err(error)
            }
        }
    }

    /// Removes a segment of which no record became durable, lest a failing disk fill up with them.
    fn remove_useless(&self, number: u64) {
        if self.shared.storage.remove(&segment::file_name(number)).is_ok() {
            let mut state = self.shared.state();
            let is_last = state.segments.back().is_some_and(|meta| meta.number == number);
            if is_last && let Some(meta) = state.segments.pop_back() {
                state.disk_bytes -= meta.bytes;
            }
        }
    }

    fn acknowledge(&self, records: Vec<Pending>, first: u64) {
        self.forget(&records);
        self.shared.state().commits += 1;
        let end = first + records.len() as u64;
        for (record, sequence) in records.into_iter().zip(first..) {
            tell(record, Ok(Position(sequence)));
        }
        shielded(|| (self.shared.hooks.on_commit)(Position(end)));
    }

    fn forget(&self, records: &[Pending]) {
        let mut state = self.shared.state();
        state.pending_bytes -= records.iter().map(Pending::bytes).sum::<u64>();
        state.pending_records -= records.len() as u64;
    }

    /// Marks the clean end, so that the next opening need not doubt the last commit.
    fn seal(mut self) -> io::Result<()> {
        let Some(mut active) = self.active.take() else { return Ok(()) };
        let end = self.shared.state().durable_end;
        active.file.append(&RecordHeader::seal(end).encode(active.salt))?;
        active.file.sync_data()?;
        let mut state = self.shared.state();
        state.disk_bytes += RECORD_HEADER;
        if let Some(meta) = state.segments.back_mut() {
            meta.bytes += RECORD_HEADER;
        }
        Ok(())
    }
}

/// Writes and syncs; small records are put together, large ones written from where they are.
fn write_records(
    active: &mut Active,
    records: &mut [Pending],
    first: u64,
    scratch: &mut Vec<u8>,
) -> io::Result<()> {
    scratch.clear();
    for (record, index) in records.iter_mut().zip(0u32..) {
        let length = u32::try_from(record.frame.len() - RECORD_HEADER_BYTES).map_err(io::Error::other)?;
        let header = RecordHeader {
            length: Some(length),
            batch_index: index,
            sequence: first + u64::from(index),
            payload_crc: record.payload_crc,
        };
        let (place, _) = record.frame.split_at_mut(RECORD_HEADER_BYTES);
        place.copy_from_slice(&header.encode(active.salt));
        if scratch.len() + record.frame.len() > WRITE_BYTES && !scratch.is_empty() {
            active.file.append(scratch)?;
            scratch.clear();
        }
        if record.frame.len() > WRITE_BYTES {
            active.file.append(&record.frame)?;
        } else {
            scratch.extend_from_slice(&record.frame);
        }
    }
    if !scratch.is_empty() {
        active.file.append(scratch)?;
    }
    active.file.sync_data()
}

/// Runs the user's code; a panic there is reported by the panic hook and does not stop the writer.
fn shielded(call: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(call));
}

fn tell(record: Pending, result: Result<Position, AppendError>) {
    let Pending { frame, done, .. } = record;
    drop(frame);
    shielded(move || done.call(result));
}

/// Small records are written together up to this many bytes.
const WRITE_BYTES: usize = 256 * 1024;
/// A full medium is tried again after so long, or after a release.
const FULL_PAUSE: Duration = Duration::from_secs(1);
