//! The lane of one source: read, label, send, move the cursor.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use prom_remote::{Compressor, Limits, Summary, WriteRequestView, decompress};
use prom_remote_http::WriteClient;
use sample_journal::{Cursor, CursorError, Position, ReadError, Reader};
use tokio::{
    select,
    sync::watch,
    task::{JoinError, spawn_blocking},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{Verdict, backoff::Backoff, judge};
use crate::{
    config::RetryConfig,
    dead_letters::{self, Header, Stage},
    ingest::sample_count,
    metrics::FailureClass,
    source::{self, CURSOR, FORMAT_V1, SourceState},
};

/// Delivers one source until it is told to stop.
pub(crate) struct Lane {
    pub(crate) source: Arc<SourceState>,
    pub(crate) client: WriteClient,
    pub(crate) retry: RetryConfig,
    pub(crate) stop: CancellationToken,
}

/// The lane must begin again from its stored cursor, or must stop.
#[derive(Debug, thiserror::Error)]
enum LaneError {
    #[error("stopped")]
    Stopped,
    #[error("cursor cannot be opened: {0}")]
    Cursor(#[from] CursorError),
    #[error("file work panicked: {0}")]
    Panic(#[from] JoinError),
}

impl Lane {
    /// Runs until stopped; a fault of the lane itself begins it again after a wait.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new(self.retry.clone());
        loop {
            match self.deliver().await {
                Err(LaneError::Stopped) => return,
                Err(error) => error!(source = self.source.name, %error, "lane begins again at its cursor"),
                Ok(never) => match never {},
            }
            if self.pause(backoff.next(None)).await.is_err() {
                return;
            }
        }
    }

    async fn deliver(&self) -> Result<std::convert::Infallible, LaneError> {
        let mut committed = self.source.committed.clone();
        let mut bench = Bench::open(Arc::clone(&self.source)).await?;
        let mut backoff = Backoff::new(self.retry.clone());
        loop {
            committed.borrow_and_update();
            let step = if self.stop.is_cancelled() {
                Err(LaneError::Stopped)
            } else {
                self.step(&mut bench, &mut backoff, &mut committed).await
            };
            if let Err(error) = step {
                if matches!(error, LaneError::Stopped) {
                    self.store(bench).await?;
                }
                return Err(error);
            }
        }
    }

    /// Does one record, or waits for one.
    async fn step(
        &self,
        slot: &mut Bench,
        backoff: &mut Backoff,
        committed: &mut watch::Receiver<u64>,
    ) -> Result<(), LaneError> {
        let (bench, found) = spawn_blocking({
            let mut bench = slot.take();
            move || {
                let found = bench.next();
                (bench, found)
            }
        })
        .await?;
        *slot = bench;
        match found {
            Found::Nothing => {
                self.source.metrics.oldest_undelivered.set(None);
                return self.idle(slot, committed).await;
            }
            Found::Prepared(prepared) => {
                let oldest = prepared.summary.timestamps.map(|bounds| bounds.min_ms);
                self.source.metrics.oldest_undelivered.set(oldest);
                self.send(&slot.payload, backoff, &prepared).await?;
                slot.progress.done(&self.source, prepared.next);
            }
            Found::Unreadable { next, reason } => {
                let header = self.header(reason, None, None);
                self.bury(&slot.payload, header).await?;
                slot.progress.done(&self.source, next);
            }
            Found::Skipped(error) => self.skip(slot, error),
            Found::Failed(error) => {
                self.source.metrics.journal_errors.add(1);
                if backoff.failures() == 0 {
                    error!(source = self.source.name, %error, "journal cannot be read, trying again");
                }
                return self.pause(backoff.next(None)).await;
            }
        }
        backoff.reset();
        if slot.progress.is_due() {
            let bench = self.store(slot.take()).await?;
            *slot = bench;
        }
        Ok(())
    }

    /// Waits for a commit; stores the cursor when that is due.
    async fn idle(&self, slot: &mut Bench, committed: &mut watch::Receiver<u64>) -> Result<(), LaneError> {
        let due = slot.progress.due_in();
        select! {
            () = self.stop.cancelled() => return Err(LaneError::Stopped),
            changed = committed.changed() => {
                // The journal is closed: nothing will come any more.
                if changed.is_err() {
                    self.stop.cancelled().await;
                    return Err(LaneError::Stopped);
                }
            }
            () = sleep(due.unwrap_or_default()), if due.is_some() => {
                let bench = self.store(slot.take()).await?;
                *slot = bench;
            }
        }
        Ok(())
    }

    /// Sends until the destination has it, or it is a dead letter.
    async fn send(
        &self,
        payload: &[u8],
        backoff: &mut Backoff,
        prepared: &Prepared,
    ) -> Result<(), LaneError> {
        let metrics = &self.source.metrics;
        let source = self.source.name.as_str();
        loop {
            let Some(sent) = self.attempt(prepared.body.clone()).await else {
                return Err(LaneError::Stopped);
            };
            let Err(error) = sent else {
                if backoff.failures() > 0 {
                    info!(source, failures = backoff.failures(), "destination takes requests again");
                }
                metrics.is_blocked.set(false);
                metrics.delivered_requests.add(1);
                metrics.delivered_samples.add(sample_count(&prepared.summary));
                if let Some(bounds) = prepared.summary.timestamps {
                    metrics.last_delivered.raise(bounds.max_ms);
                }
                return Ok(());
            };
            match judge(&error) {
                Verdict::Again { class, after } => {
                    metrics.count_failure(class);
                    metrics.is_blocked.set(class == FailureClass::Destination);
                    let wait = backoff.next(after);
                    match backoff.failures() {
                        1 if class == FailureClass::Destination => {
                            error!(source, %error, "destination is misconfigured, keeping everything");
                        }
                        1 => warn!(source, %error, "delivery failed, trying again"),
                        failures => debug!(source, %error, failures, "delivery failed again"),
                    }
                    self.pause(wait).await?;
                    metrics.retries.add(1);
                }
                Verdict::Reject { status, message } => {
                    metrics.count_failure(FailureClass::Rejected);
                    metrics.is_blocked.set(false);
                    let header = self.header(message, Some(status), Some(&prepared.summary));
                    return self.bury(payload, header).await;
                }
            }
        }
    }

    /// One attempt; `None` when it did not end soon after the lane was told to stop.
    async fn attempt(
        &self,
        body: Bytes,
    ) -> Option<Result<prom_remote_http::Written, prom_remote_http::WriteError>> {
        let sending = self.client.send_v1(body);
        tokio::pin!(sending);
        select! {
            sent = &mut sending => Some(sent),
            () = self.stop.cancelled() => timeout(SEND_GRACE, sending).await.ok(),
        }
    }

    fn header(&self, reason: String, status: Option<u16>, summary: Option<&Summary>) -> Header {
        Header {
            time_ms: source::now_ms(),
            stage: Stage::Delivery,
            reason,
            status,
            series: summary.map_or(0, |summary| summary.series),
            samples: summary.map_or(0, |summary| summary.samples + summary.histograms),
        }
    }

    /// Makes the record at hand a dead letter, however long that takes.
    async fn bury(&self, payload: &[u8], header: Header) -> Result<(), LaneError> {
        let source = self.source.name.as_str();
        let body = payload.get(1..).unwrap_or_default();
        let mut backoff = Backoff::new(self.retry.clone());
        while let Err(error) = dead_letters::append(&self.source.dead_letters, header.clone(), body).await {
            self.source.metrics.journal_errors.add(1);
            if backoff.failures() == 0 {
                error!(source, %error, "dead letter cannot be stored, the lane waits");
            }
            self.pause(backoff.next(None)).await?;
        }
        self.source.metrics.dead_letters_at_delivery.add(1);
        let Header { reason, status, series, .. } = &header;
        error!(source, status, series, reason, "request is now a dead letter");
        Ok(())
    }

    fn skip(&self, slot: &mut Bench, error: ReadError) {
        if let ReadError::Damaged(damage) = &error {
            let lost = damage.end.as_u64().saturating_sub(damage.first.as_u64());
            self.source.metrics.damaged_records.add(lost);
        }
        error!(source = self.source.name, %error, "journal records are lost, going on behind them");
        let next = slot.position();
        slot.progress.done(&self.source, next);
    }

    /// Stores the cursor and releases segments; what fails is told and tried again when it is next due.
    async fn store(&self, mut bench: Bench) -> Result<Bench, LaneError> {
        let (bench, failure) = spawn_blocking(move || {
            let failure = bench.store().err();
            (bench, failure)
        })
        .await?;
        if let Some(error) = failure {
            self.source.metrics.journal_errors.add(1);
            error!(source = self.source.name, error, "cursor is not stored");
        }
        Ok(bench)
    }

    async fn pause(&self, wait: Duration) -> Result<(), LaneError> {
        select! {
            () = self.stop.cancelled() => Err(LaneError::Stopped),
            () = sleep(wait) => Ok(()),
        }
    }
}

/// What the lane reads and prepares with; goes to a blocking thread and comes back.
#[derive(Default)]
struct Bench {
    tools: Option<Tools>,
    /// The record at hand, format byte included.
    payload: Vec<u8>,
    progress: Progress,
}

struct Tools {
    source: Arc<SourceState>,
    reader: Reader,
    cursor: Cursor,
    decoded: Vec<u8>,
    spliced: Vec<u8>,
    compressor: Compressor,
}

enum Found {
    Nothing,
    Prepared(Prepared),
    /// A record that this version, or these limits, cannot make sense of.
    Unreadable {
        next: Position,
        reason: String,
    },
    Skipped(ReadError),
    Failed(ReadError),
}

struct Prepared {
    body: Bytes,
    summary: Summary,
    next: Position,
}

impl Bench {
    async fn open(source: Arc<SourceState>) -> Result<Self, LaneError> {
        let tools = spawn_blocking(move || {
            let cursor = source.journal.cursor(CURSOR)?;
            let reader = source.journal.reader(cursor.position());
            let (decoded, spliced, compressor) = (Vec::new(), Vec::new(), Compressor::new());
            Ok::<_, CursorError>(Tools { source, reader, cursor, decoded, spliced, compressor })
        })
        .await??;
        Ok(Self { tools: Some(tools), ..Self::default() })
    }

    fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    fn position(&self) -> Position {
        self.tools.as_ref().map_or(Position::START, |tools| tools.reader.position())
    }

    fn next(&mut self) -> Found {
        let Some(tools) = &mut self.tools else { return Found::Nothing };
        let record = match tools.reader.next(&mut self.payload) {
            Ok(Some(record)) => record,
            Ok(None) => return Found::Nothing,
            Err(error @ ReadError::Storage { .. }) => return Found::Failed(error),
            Err(error) => return Found::Skipped(error),
        };
        match tools.prepare(&self.payload) {
            Ok((body, summary)) => Found::Prepared(Prepared { body, summary, next: record.next }),
            Err(reason) => Found::Unreadable { next: record.next, reason },
        }
    }

    fn store(&mut self) -> Result<(), String> {
        let Some(tools) = &mut self.tools else { return Ok(()) };
        let Some(position) = self.progress.position else { return Ok(()) };
        self.progress.stored_at = Instant::now();
        tools.cursor.store(position).map_err(|error| chain(&error))?;
        self.progress.position = None;
        self.progress.records = 0;
        tools.source.journal.release().map_err(|error| chain(&error))?;
        Ok(())
    }
}

impl Tools {
    fn prepare(&mut self, payload: &[u8]) -> Result<(Bytes, Summary), String> {
        let limits: &Limits = &self.source.limits;
        let body = match payload.split_first() {
            Some((&FORMAT_V1, body)) => body,
            Some((format, _)) => return Err(format!("journal record of unknown format {format}")),
            None => return Err("journal record is empty".to_owned()),
        };
        decompress(body, limits, &mut self.decoded).map_err(|error| error.to_string())?;
        let summary =
            WriteRequestView::new(&self.decoded).summary(limits).map_err(|error| error.to_string())?;
        self.source
            .splicer
            .splice(&self.decoded, limits, &mut self.spliced)
            .map_err(|error| error.to_string())?;
        let mut compressed = Vec::new();
        self.compressor.compress(&self.spliced, &mut compressed).map_err(|error| error.to_string())?;
        Ok((compressed.into(), summary))
    }
}

/// How far the lane is before its stored cursor.
struct Progress {
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
    fn done(&mut self, source: &SourceState, next: Position) {
        self.position = Some(next);
        self.records += 1;
        source.metrics.delivered_position.store(next.as_u64(), Ordering::Relaxed);
    }

    fn is_due(&self) -> bool {
        self.position.is_some()
            && (self.records >= STORE_RECORDS || self.stored_at.elapsed() >= STORE_INTERVAL)
    }

    fn due_in(&self) -> Option<Duration> {
        self.position.map(|_| STORE_INTERVAL.saturating_sub(self.stored_at.elapsed()))
    }
}

/// What an error says with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A store costs two syncs: at most one for so many records, or in this time.
const STORE_RECORDS: u64 = 64;
const STORE_INTERVAL: Duration = Duration::from_secs(1);
/// A request under way may end this long after the lane is told to stop; it would be sent again otherwise.
const SEND_GRACE: Duration = Duration::from_secs(2);
