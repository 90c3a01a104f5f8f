//! What a replica sent that was not delivered: a journal that keeps the latest.
//!
//! A record is a header and the body of a request, a snappy block as in the journal of a source. Spare data never refuses what
//! comes: where the journal is full, its oldest part goes.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prom_remote_http::WriteVersion;
use sample_journal::{AppendError, Cursor, CursorError, Journal, Position, ReadError, Reader, ReleaseError};
use thiserror::Error;
use tokio::{sync::oneshot, task::spawn_blocking};

use super::{merge::milliseconds, record};

/// The spare data of one replica.
#[derive(Debug)]
pub(crate) struct Spare {
    journal: Journal,
    cursor: Mutex<Cursor>,
    marks: Mutex<Marks>,
    retention: Duration,
    max_bytes: u64,
}

/// What is known of a record without its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpareHeader {
    pub(crate) version: WriteVersion,
    /// When it came, on the clock of the machine.
    pub(crate) arrival_ms: i64,
    /// The latest timestamp in it.
    pub(crate) latest_ms: i64,
    /// Samples and histograms.
    pub(crate) samples: u64,
}

/// Why spare data could not be read or let go.
#[derive(Debug, Error)]
pub(crate) enum SpareError {
    #[error("cannot move on in the spare data")]
    Cursor(#[from] CursorError),
    #[error("cannot release spare data")]
    Release(#[from] ReleaseError),
    #[error("cannot read spare data")]
    Read(#[from] ReadError),
}

/// Where parts of the journal begin, so that one can be let go and skipped without being read.
#[derive(Debug, Default)]
struct Marks {
    parts: VecDeque<PartOfJournal>,
    step_ms: i64,
    step_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct PartOfJournal {
    first: Position,
    end: Position,
    first_arrival_ms: i64,
    last_arrival_ms: i64,
    latest_ms: i64,
    samples: u64,
    bytes: u64,
}

impl Marks {
    fn note(&mut self, position: Position, header: &SpareHeader, bytes: u64) {
        let is_done = |part: &PartOfJournal| {
            part.bytes >= self.step_bytes
                || header.arrival_ms.saturating_sub(part.first_arrival_ms) >= self.step_ms
        };
        match self.parts.back_mut() {
            Some(part) if !is_done(part) => {
                part.end = position.next();
                part.last_arrival_ms = header.arrival_ms;
                part.latest_ms = part.latest_ms.max(header.latest_ms);
                part.samples += header.samples;
                part.bytes += bytes;
            }
            _ => self.parts.push_back(PartOfJournal {
                first: position,
                end: position.next(),
                first_arrival_ms: header.arrival_ms,
                last_arrival_ms: header.arrival_ms,
                latest_ms: header.latest_ms,
                samples: header.samples,
                bytes,
            }),
        }
    }
}

impl Spare {
    /// Takes over a journal with what a former run left in it; reads all of it. Blocks on files.
    pub(crate) fn open(journal: Journal, retention: Duration, max_bytes: u64) -> Result<Self, SpareError> {
        let cursor = journal.cursor(CURSOR)?;
        let retention_ms = milliseconds(retention);
        let (step_ms, step_bytes) = ((retention_ms / PARTS).max(1), (max_bytes / PARTS_BY_BYTES).max(1));
        let mut marks = Marks { parts: VecDeque::new(), step_ms, step_bytes };
        let mut reader = journal.reader(cursor.position());
        let mut payload = Vec::new();
        loop {
            match reader.next(&mut payload) {
                Ok(None) => break,
                Ok(Some(info)) => {
                    if let Some((header, _)) = record::read_spare(&payload) {
                        marks.note(info.position, &header, payload.len() as u64);
                    }
                }
                Err(error @ ReadError::Storage { .. }) => return Err(error.into()),
                // What is damaged is gone; it was spare.
                Err(_) => {}
            }
        }
        Ok(Self { journal, cursor: Mutex::new(cursor), marks: Mutex::new(marks), retention, max_bytes })
    }

    /// Makes a body durable; where the journal is full, its oldest parts go. Returns how many samples went.
    pub(crate) async fn append(
        self: &Arc<Self>,
        header: SpareHeader,
        body: &[u8],
    ) -> Result<u64, AppendError> {
        let mut gone = 0;
        for _ in 0..PARTS_BY_BYTES * 2 {
            match self.try_append(header, body).await {
                Err(AppendError::Full) => {
                    let spare = Arc::clone(self);
                    let made = spawn_blocking(move || spare.make_room()).await;
                    gone += made.ok().and_then(Result::ok).ok_or(AppendError::Full)?;
                }
                other => return other.map(|()| gone),
            }
        }
        Err(AppendError::Full)
    }

    async fn try_append(self: &Arc<Self>, header: SpareHeader, body: &[u8]) -> Result<(), AppendError> {
        let (sender, receiver) = oneshot::channel();
        let (spare, bytes) = (Arc::clone(self), (body.len() + record::SPARE_HEADER_BYTES) as u64);
        self.journal.append(&[&record::spare_header(&header), body], move |result| {
            if let Ok(position) = &result {
                spare.marks().note(*position, &header, bytes);
            }
            drop(spare);
            let _ = sender.send(result);
        });
        receiver.await.unwrap_or(Err(AppendError::Closed)).map(|_| ())
    }

    /// Lets the oldest part go, whatever its age, and all that is needed for a file to go with it. Blocks on files.
    fn make_room(&self) -> Result<u64, SpareError> {
        let mut gone = 0;
        loop {
            let Some(part) = self.marks().parts.pop_front() else { break };
            gone += part.samples;
            if self.release_before(part.end)? > 0 {
                return Ok(gone);
            }
        }
        // All is let go; what is left is the file that is being written.
        self.release_before(self.journal.durable_end())?;
        Ok(gone)
    }

    /// Lets go what is older than the retention, and keeps some room. Returns how many samples went by their age, and how many
    /// for room. Blocks on files.
    pub(crate) fn release_old(&self, now_ms: i64) -> Result<(u64, u64), SpareError> {
        let oldest_ms = now_ms.saturating_sub(milliseconds(self.retention));
        let (mut samples, mut end) = (0, None);
        {
            let mut marks = self.marks();
            while let Some(part) = marks.parts.front().filter(|part| part.last_arrival_ms < oldest_ms) {
                samples += part.samples;
                end = Some(part.end);
                marks.parts.pop_front();
            }
        }
        if let Some(end) = end {
            self.release_before(end)?;
        }
        let is_nearly_full = self.journal.statistics().bytes_on_disk > self.max_bytes / 8 * 7;
        let early = if is_nearly_full { self.make_room()? } else { 0 };
        Ok((samples, early))
    }

    fn release_before(&self, end: Position) -> Result<u64, SpareError> {
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        if cursor.position() < end {
            cursor.store(end)?;
        }
        Ok(self.journal.release()?.segments)
    }

    /// Reads the parts that have something later than `resume_ms`, oldest first.
    pub(crate) fn read(&self, resume_ms: i64) -> SpareReader {
        let marks = self.marks();
        let needed = marks.parts.iter().find(|part| part.latest_ms > resume_ms);
        let from = needed.map_or_else(|| self.journal.durable_end(), |part| part.first);
        SpareReader { reader: self.journal.reader(from), payload: Vec::new(), resume_ms }
    }

    /// The number of samples that are kept.
    pub(crate) fn samples(&self) -> u64 {
        self.marks().parts.iter().map(|part| part.samples).sum()
    }

    pub(crate) fn bytes_on_disk(&self) -> u64 {
        self.journal.statistics().bytes_on_disk
    }

    /// Closes the journal; all that was acknowledged is durable.
    pub(crate) fn close(&self) -> Result<(), sample_journal::CloseError> {
        self.journal.close()
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads spare data.
pub(crate) struct SpareReader {
    reader: Reader,
    payload: Vec<u8>,
    resume_ms: i64,
}

impl SpareReader {
    /// Returns the next record that has something later than the bound: its header and its body. What is damaged is passed over.
    pub(crate) fn next(&mut self) -> Result<Option<(SpareHeader, &[u8])>, ReadError> {
        let header = loop {
            match self.reader.next(&mut self.payload) {
                Ok(None) => return Ok(None),
                Ok(Some(_)) => match record::read_spare(&self.payload) {
                    Some((header, _)) if header.latest_ms > self.resume_ms => break header,
                    _ => {}
                },
                Err(error @ ReadError::Storage { .. }) => return Err(error),
                Err(_) => {}
            }
        };
        let body = self.payload.get(record::SPARE_HEADER_BYTES..).unwrap_or_default();
        Ok(Some((header, body)))
    }
}

const CURSOR: &str = "spare";
/// So many parts at most for the time that spare data is kept.
const PARTS: i64 = 256;
/// So many at least for the room it has.
const PARTS_BY_BYTES: u64 = 16;
