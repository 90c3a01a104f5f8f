//! What a lane reads and prepares with: its reader, its cursor, and the batch at hand.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use prom_remote::{DecodeError, Limits, Summary};
use sample_journal::{Cursor, CursorError, Position, ReadError, Reader};
use tokio::task::{JoinError, spawn_blocking};

use super::{
    bare, chain,
    destination::Destination,
    gather::{Gathered, Record},
    message::{Message, Version, decode_into},
    order::{self, Clocks},
    outgoing::Outgoing,
    pipeline::Pipeline,
};
use crate::{config::BatchConfig, metrics::LaneMetrics, source::SourceState};

/// Goes to a blocking thread and comes back.
#[derive(Default)]
pub(super) struct Bench {
    tools: Option<Tools>,
    pub(super) progress: Progress,
}

/// What a lane gives to its bench.
#[derive(Clone)]
pub(super) struct BenchConfig {
    pub(super) source: Arc<SourceState>,
    pub(super) destination: Arc<Destination>,
    pub(super) metrics: Arc<LaneMetrics>,
    pub(super) pipeline: Arc<Mutex<Pipeline>>,
    pub(super) batch: BatchConfig,
    /// How many batches may be under way.
    pub(super) window: usize,
}

struct Tools {
    config: BenchConfig,
    reader: Reader,
    cursor: Cursor,
    /// Reused from batch to batch.
    gathered: Gathered,
    decoded: Vec<u8>,
    /// What was read and is no part of the batch before it; a record is in `decoded`.
    ahead: Option<Read>,
    /// Records read since the cursor was opened.
    records: u64,
    /// Of the record at hand.
    clocks: Clocks,
    /// The last record was, over all series.
    is_unordered: bool,
}

/// Version, what is in it, and in which parts it goes out if not as one.
type Decoded = (Version, Summary, Option<Vec<Message>>);

enum Read {
    Record(Record),
    Other(Found),
}

pub(super) enum Found {
    Nothing,
    Batch(Batch),
    /// A record that this version, or these limits, cannot make sense of.
    Unreadable {
        payload: Vec<u8>,
        next: Position,
        reason: String,
    },
    Skipped {
        error: ReadError,
        next: Position,
    },
    Failed(ReadError),
}

/// One or several records ready to be sent.
pub(super) struct Batch {
    /// One request, or several if the sender's runs backwards in time; none if rules drop all of it.
    pub(super) requests: Vec<Prepared>,
    /// Records that cannot be made into requests, and why.
    pub(super) unsendable: Vec<(Vec<u8>, String)>,
    /// The earliest time in it.
    pub(super) oldest_ms: Option<i64>,
    pub(super) next: Position,
    pub(super) records: u64,
    /// An earlier run of the lane may have delivered it: the stored cursor lags behind.
    pub(super) may_be_stored: bool,
}

/// A request as it goes out, and what it was made of.
pub(super) struct Prepared {
    pub(super) outgoing: Outgoing,
    pub(super) raw: Raw,
}

/// What the senders sent, without the label.
pub(super) enum Raw {
    /// Journal records.
    Records(Vec<Vec<u8>>),
    /// A part of one.
    Message(Message),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum OpenBenchError {
    #[error("cursor cannot be opened: {0}")]
    Cursor(#[from] CursorError),
    #[error("file work panicked: {0}")]
    Panic(#[from] JoinError),
}

impl Bench {
    pub(super) async fn open(config: BenchConfig) -> Result<Self, OpenBenchError> {
        let tools = spawn_blocking(move || {
            let cursor = config.source.journal.cursor(config.destination.name())?;
            let reader = config.source.journal.reader(cursor.position());
            let (gathered, decoded) = (Gathered::default(), Vec::new());
            let clocks = Clocks::default();
            Ok::<_, CursorError>(Tools {
                clocks,
                is_unordered: false,
                config,
                reader,
                cursor,
                gathered,
                decoded,
                ahead: None,
                records: 0,
            })
        })
        .await??;
        Ok(Self { tools: Some(tools), ..Self::default() })
    }

    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Reads and prepares the next batch.
    pub(super) fn next(&mut self) -> Found {
        self.tools.as_mut().map_or(Found::Nothing, Tools::next)
    }

    pub(super) fn store(&mut self) -> Result<(), String> {
        let Some(tools) = &mut self.tools else { return Ok(()) };
        let Some(position) = self.progress.position else { return Ok(()) };
        self.progress.stored_at = Instant::now();
        tools.cursor.store(position).map_err(|error| chain(&error))?;
        self.progress.position = None;
        self.progress.records = 0;
        tools.config.source.journal.release().map_err(|error| chain(&error))?;
        Ok(())
    }
}

impl Tools {
    fn next(&mut self) -> Found {
        let mut records = match self.read() {
            Read::Record(record) => vec![record],
            Read::Other(found) => return found,
        };
        self.gathered.begin(&records, &mut self.decoded);
        let is_far = self.config.metrics.round_trip.get() >= FAR;
        while self.gathered.is_open(records.len(), &self.config.batch) {
            match self.read() {
                Read::Record(record) => {
                    let (batch, limits) = (&self.config.batch, &self.config.source.limits);
                    if !self.gathered.add(&record, &self.decoded, batch, limits, is_far) {
                        self.ahead = Some(Read::Record(record));
                        break;
                    }
                    records.push(record);
                }
                Read::Other(Found::Nothing) => break,
                other => {
                    self.ahead = Some(other);
                    break;
                }
            }
        }
        self.prepare(records)
    }

    /// Reads a record into `decoded`, unless there is one already.
    fn read(&mut self) -> Read {
        if let Some(ahead) = self.ahead.take() {
            return ahead;
        }
        let mut payload = Vec::new();
        let next = match self.reader.next(&mut payload) {
            Ok(Some(record)) => record.next,
            Ok(None) => return Read::Other(Found::Nothing),
            Err(error @ ReadError::Storage { .. }) => return Read::Other(Found::Failed(error)),
            Err(error) => return Read::Other(Found::Skipped { error, next: self.reader.position() }),
        };
        match self.decode(&payload) {
            Ok((version, summary, parts)) => Read::Record(Record { payload, next, version, summary, parts }),
            Err(reason) => Read::Other(Found::Unreadable { payload, next, reason }),
        }
    }

    fn decode(&mut self, payload: &[u8]) -> Result<Decoded, String> {
        let limits = &self.config.source.limits;
        let version = decode_into(payload, limits, &mut self.decoded)?;
        let failed = |error: DecodeError| error.to_string();
        // Senders do not change their ways: one walk tells both of a request that is like the last.
        let (summary, direction) = if version == Version::V1 && self.is_unordered {
            self.clocks.clear();
            let (summary, direction) = self.clocks.advance(&self.decoded, limits).map_err(failed)?;
            (summary, Some(direction))
        } else {
            (version.summary(&self.decoded, limits).map_err(failed)?, None)
        };
        self.is_unordered = summary.is_unordered;
        let layers = match direction {
            _ if !summary.is_unordered => None,
            Some(direction) => order::layers_of(direction, version, &self.decoded, limits).map_err(failed)?,
            None => order::layers(version, &self.decoded, limits).map_err(failed)?,
        };
        if let Some(layers) = layers {
            self.config.metrics.split_backward.add(1);
            let parts = layers.into_iter().map(|bytes| Message { version, bytes });
            return Ok((version, summary, Some(parts.collect())));
        }
        let refuses_bare = self.config.destination.refuses_bare_exemplars.load(Ordering::Relaxed);
        let parts = if refuses_bare && version == Version::V2 && summary.exemplars > 0 {
            bare::apart(&Message { version, bytes: self.decoded.clone() }, limits)
        } else {
            None
        };
        Ok((version, summary, parts))
    }

    fn prepare(&mut self, mut records: Vec<Record>) -> Found {
        let count = records.len() as u64;
        // Stores lag by what is collected for one, and by what was under way.
        let uncertain = STORE_RECORDS + (self.config.window * MAX_RECORDS) as u64;
        let may_be_stored = self.records < uncertain;
        self.records += count;
        let next = records.last().map_or(Position::START, |record| record.next);
        let oldest_ms = self.gathered.summary.timestamps.map(|bounds| bounds.min_ms);
        let (requests, unsendable) = self.requests(&mut records);
        let kept = self.config.batch.max_bytes.saturating_mul(2);
        self.gathered.shrink(kept);
        if self.ahead.is_none() && self.decoded.capacity() > kept {
            self.decoded = Vec::new();
        }
        Found::Batch(Batch { requests, unsendable, oldest_ms, next, records: count, may_be_stored })
    }

    fn requests(&mut self, records: &mut [Record]) -> (Vec<Prepared>, Vec<(Vec<u8>, String)>) {
        let mut pipeline = self.config.pipeline.lock().unwrap_or_else(PoisonError::into_inner);
        let metrics = &self.config.metrics;
        let limits = &self.config.source.limits;
        if let [record] = &mut *records
            && let Some(parts) = record.parts.take()
        {
            return match in_parts(parts, &mut pipeline, limits) {
                Ok(requests) => (requests, Vec::new()),
                Err(reason) => (Vec::new(), vec![(std::mem::take(&mut record.payload), reason)]),
            };
        }
        let summary = self.gathered.summary;
        let whole =
            self.gathered.message(limits).map(|(version, whole)| pipeline.outgoing(version, whole, summary));
        pipeline.shrink(self.config.batch.max_bytes.saturating_mul(2));
        if let Some(Ok(outgoing)) = whole {
            metrics.coalesced_requests.add(if records.len() > 1 { records.len() as u64 } else { 0 });
            let payloads = records.iter_mut().map(|record| std::mem::take(&mut record.payload)).collect();
            let prepared = outgoing.map(|outgoing| Prepared { outgoing, raw: Raw::Records(payloads) });
            return (prepared.into_iter().collect(), Vec::new());
        }
        // They cannot be one after all.
        let (mut requests, mut unsendable) = (Vec::new(), Vec::new());
        for (record, message) in records.iter_mut().zip(self.gathered.parts()) {
            let payload = std::mem::take(&mut record.payload);
            match pipeline.outgoing(record.version, message, record.summary) {
                Ok(Some(outgoing)) => requests.push(Prepared { outgoing, raw: Raw::Records(vec![payload]) }),
                Ok(None) => {}
                Err(reason) => unsendable.push((payload, reason)),
            }
        }
        (requests, unsendable)
    }
}

/// The requests of a record that goes out in parts.
fn in_parts(parts: Vec<Message>, pipeline: &mut Pipeline, limits: &Limits) -> Result<Vec<Prepared>, String> {
    let mut requests = Vec::new();
    for message in parts {
        let summary = message.version.summary(&message.bytes, limits).map_err(|error| error.to_string())?;
        if let Some(outgoing) = pipeline.outgoing(message.version, &message.bytes, summary)? {
            requests.push(Prepared { outgoing, raw: Raw::Message(message) });
        }
    }
    Ok(requests)
}

/// How far the lane is before its stored cursor.
pub(super) struct Progress {
    position: Option<Position>,
    records: u64,
    stored_at: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Self { position: None, records: 0, stored_at: Instant::now() }
    }
}

impl Progress {
    pub(super) fn done(&mut self, metrics: &LaneMetrics, next: Position, records: u64) {
        self.position = Some(next);
        self.records += records;
        metrics.delivered_position.store(next.as_u64(), Ordering::Relaxed);
    }

    pub(super) fn is_due(&self) -> bool {
        self.position.is_some()
            && (self.records >= STORE_RECORDS || self.stored_at.elapsed() >= STORE_INTERVAL)
    }

    pub(super) fn due_in(&self) -> Option<Duration> {
        self.position.map(|_| STORE_INTERVAL.saturating_sub(self.stored_at.elapsed()))
    }
}

/// A store costs two syncs: at most one for so many records, or in this time.
const STORE_RECORDS: u64 = 64;
const STORE_INTERVAL: Duration = Duration::from_secs(1);
/// So many records of a sender go out together at most.
pub(super) const MAX_RECORDS: usize = 64;
/// From this round trip on, fewer requests are worth more than the work of making them.
const FAR: Duration = Duration::from_millis(10);
