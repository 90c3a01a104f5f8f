//! One source at one destination: read, prepare, send, move the cursor.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prom_remote::{Compressor, Summary};
use sample_journal::{Position, ReadError};
use tokio::{
    select,
    sync::watch,
    task::{JoinError, JoinHandle, spawn_blocking},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::error;

use super::{
    Refusal,
    backoff::Backoff,
    bench::{Batch, Bench, BenchConfig, Found, OpenBenchError},
    delivery::Delivery,
    destination::Destination,
    message::Message,
    outgoing::Outgoing,
    pipeline::Pipeline,
    probe::Probe,
};
use crate::{
    config::RetryConfig,
    dead_letters::{self, Header, Stage},
    metrics::LaneMetrics,
    source::{FORMAT_V1, SourceState},
};

/// Delivers one source to one destination until it is told to stop.
pub(crate) struct Lane {
    pub(super) source: Arc<SourceState>,
    pub(super) destination: Arc<Destination>,
    pub(super) metrics: Arc<LaneMetrics>,
    pub(super) pipeline: Arc<Mutex<Pipeline>>,
    pub(super) probe: Probe,
    pub(super) retry: RetryConfig,
    pub(super) stop: CancellationToken,
}

/// The lane must begin again from its stored cursor, or must stop.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaneError {
    #[error("stopped")]
    Stopped,
    #[error(transparent)]
    Open(#[from] OpenBenchError),
    #[error("part of a request cannot be made: {0}")]
    Part(String),
    #[error("file work panicked: {0}")]
    Panic(#[from] JoinError),
}

/// Makes requests of parts of a refused one.
pub(super) struct Maker {
    source: Arc<SourceState>,
    pipeline: Arc<Mutex<Pipeline>>,
}

impl Maker {
    /// `None` if rules leave nothing of it.
    pub(super) fn make(&self, message: &Message) -> Result<Option<Outgoing>, String> {
        let Message { version, bytes } = message;
        let summary = version.summary(bytes, &self.source.limits).map_err(|error| error.to_string())?;
        let mut pipeline = self.pipeline.lock().unwrap_or_else(PoisonError::into_inner);
        pipeline.outgoing(*version, bytes, summary)
    }
}

/// Batches under way, in the order of the journal.
type UnderWay = VecDeque<(Position, u64, AbortOnDropHandle<Result<(), LaneError>>)>;

impl Lane {
    /// # Errors
    /// Rules that are none.
    pub(crate) fn new(
        source: Arc<SourceState>,
        destination: Arc<Destination>,
        metrics: Arc<LaneMetrics>,
        retry: RetryConfig,
        stop: CancellationToken,
    ) -> Result<Self, String> {
        let pipeline = Pipeline::new(Arc::clone(&source), Arc::clone(&destination), Arc::clone(&metrics))?;
        let pipeline = Arc::new(Mutex::new(pipeline));
        Ok(Self { source, destination, metrics, pipeline, probe: Probe::default(), retry, stop })
    }

    /// The names of the source and of the destination.
    pub(super) fn names(&self) -> (&str, &str) {
        (&self.source.name, self.destination.name())
    }

    pub(super) fn maker(&self) -> Maker {
        Maker { source: Arc::clone(&self.source), pipeline: Arc::clone(&self.pipeline) }
    }

    /// Runs until stopped; a fault of the lane itself begins it again after a wait.
    pub(crate) async fn run(self: Arc<Self>) {
        let (source, destination) = self.names();
        let mut backoff = Backoff::new(self.retry.clone());
        loop {
            match self.deliver().await {
                Err(LaneError::Stopped) => return,
                Err(error) => error!(source, destination, %error, "lane begins again at its cursor"),
                Ok(never) => match never {},
            }
            if self.pause(backoff.next(None)).await.is_err() {
                return;
            }
        }
    }

    async fn deliver(self: &Arc<Self>) -> Result<std::convert::Infallible, LaneError> {
        let mut committed = self.source.committed.clone();
        let config = BenchConfig {
            source: Arc::clone(&self.source),
            destination: Arc::clone(&self.destination),
            metrics: Arc::clone(&self.metrics),
            pipeline: Arc::clone(&self.pipeline),
            batch: self.destination.config.batch.clone(),
            window: self.destination.config.order.window(),
        };
        let mut bench = Bench::open(config).await?;
        let mut backoff = Backoff::new(self.retry.clone());
        let mut under_way = UnderWay::new();
        loop {
            committed.borrow_and_update();
            let step = if self.stop.is_cancelled() {
                Err(LaneError::Stopped)
            } else {
                self.step(&mut bench, &mut backoff, &mut under_way, &mut committed).await
            };
            if let Err(error) = step {
                if matches!(error, LaneError::Stopped) {
                    // What is under way has the same time to end as a lone request.
                    while let Some(true) = self.first_done(&mut bench, &mut under_way).await {}
                    self.store(bench).await?;
                }
                return Err(error);
            }
        }
    }

    /// Does one batch, or waits for one.
    async fn step(
        self: &Arc<Self>,
        slot: &mut Bench,
        backoff: &mut Backoff,
        under_way: &mut UnderWay,
        committed: &mut watch::Receiver<u64>,
    ) -> Result<(), LaneError> {
        let window = self.destination.config.order.window();
        while under_way.len() >= window {
            self.end_first(slot, under_way).await?;
        }
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
            Found::Nothing if under_way.is_empty() => {
                self.metrics.oldest_undelivered.set(None);
                return self.idle(slot, committed).await;
            }
            Found::Nothing => {
                select! {
                    ended = first_ended(under_way) => {
                        ended??;
                        self.first_is_done(slot, under_way).await?;
                    }
                    changed = committed.changed() => if changed.is_err() {
                        // The journal is closed: nothing will come any more.
                        self.end_all(slot, under_way).await?;
                    },
                }
                return Ok(());
            }
            Found::Batch(batch) if window == 1 => {
                let (next, records) = (batch.next, batch.records);
                self.deliver_batch(batch, backoff).await?;
                slot.progress.done(&self.metrics, next, records);
            }
            Found::Batch(batch) => {
                let (next, records) = (batch.next, batch.records);
                let lane = Arc::clone(self);
                let task: JoinHandle<_> = tokio::spawn(async move {
                    let mut backoff = Backoff::new(lane.retry.clone());
                    lane.deliver_batch(batch, &mut backoff).await
                });
                under_way.push_back((next, records, AbortOnDropHandle::new(task)));
                return Ok(());
            }
            Found::Unreadable { payload, next, reason } => {
                self.end_all(slot, under_way).await?;
                self.bury_unreadable(payload, reason).await?;
                slot.progress.done(&self.metrics, next, 1);
            }
            Found::Skipped { error, next } => {
                self.end_all(slot, under_way).await?;
                self.skip(&error);
                slot.progress.done(&self.metrics, next, 1);
            }
            Found::Failed(error) => {
                self.metrics.journal_errors.add(1);
                if backoff.failures() == 0 {
                    let (source, destination) = self.names();
                    error!(source, destination, %error, "journal cannot be read, trying again");
                }
                return self.pause(backoff.next(None)).await;
            }
        }
        backoff.reset();
        self.store_if_due(slot).await
    }

    async fn deliver_batch(&self, batch: Batch, backoff: &mut Backoff) -> Result<(), LaneError> {
        self.metrics.oldest_undelivered.set(batch.oldest_ms);
        for (payload, reason) in batch.unsendable {
            self.bury_unreadable(payload, reason).await?;
        }
        for prepared in batch.requests {
            Delivery::new(self, backoff, batch.may_be_stored).send(prepared).await?;
        }
        Ok(())
    }

    /// Waits for the first of the batches under way.
    async fn end_first(&self, slot: &mut Bench, under_way: &mut UnderWay) -> Result<(), LaneError> {
        if !under_way.is_empty() {
            first_ended(under_way).await??;
            self.first_is_done(slot, under_way).await?;
        }
        Ok(())
    }

    /// The destination has the first of the batches under way: the cursor moves over it.
    async fn first_is_done(&self, slot: &mut Bench, under_way: &mut UnderWay) -> Result<(), LaneError> {
        if let Some((next, records, _)) = under_way.pop_front() {
            slot.progress.done(&self.metrics, next, records);
            self.store_if_due(slot).await?;
        }
        Ok(())
    }

    async fn end_all(&self, slot: &mut Bench, under_way: &mut UnderWay) -> Result<(), LaneError> {
        while !under_way.is_empty() {
            self.end_first(slot, under_way).await?;
        }
        Ok(())
    }

    /// Whether the first batch under way has ended well, of a lane that was told to stop; `None` if there is none.
    async fn first_done(&self, slot: &mut Bench, under_way: &mut UnderWay) -> Option<bool> {
        let (next, records, task) = under_way.pop_front()?;
        let is_done = matches!(task.await, Ok(Ok(())));
        if is_done {
            slot.progress.done(&self.metrics, next, records);
        }
        Some(is_done)
    }

    async fn store_if_due(&self, slot: &mut Bench) -> Result<(), LaneError> {
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
                let company = self.destination.config.batch.max_wait;
                if !company.is_zero() {
                    self.pause(company).await?;
                }
            }
            () = sleep(due.unwrap_or_default()), if due.is_some() => {
                let bench = self.store(slot.take()).await?;
                *slot = bench;
            }
        }
        Ok(())
    }

    fn header(&self, reason: String, status: Option<u16>, summary: Option<&Summary>) -> Header {
        Header {
            time_ms: self.source.now_ms(),
            stage: Stage::Delivery,
            reason,
            status,
            series: summary.map_or(0, |summary| summary.series),
            samples: summary.map_or(0, |summary| summary.samples + summary.histograms),
            destination: Some(self.destination.name().to_owned()),
            format: FORMAT_V1,
        }
    }

    /// Makes a refused message, without the label, a dead letter.
    pub(super) async fn bury_message(&self, refusal: Refusal, message: Message) -> Result<(), LaneError> {
        let limits = self.source.limits;
        let Refusal { status, message: words } = refusal;
        let made = spawn_blocking(move || {
            let Message { version, bytes } = message;
            let summary = version.summary(&bytes, &limits).ok();
            let mut body = Vec::new();
            let compressed = Compressor::new().compress(&bytes, &mut body);
            compressed.map(|_| (version, summary, body)).map_err(|error| LaneError::Part(error.to_string()))
        });
        let (version, summary, body) = made.await??;
        let mut header = self.header(words, (status > 0).then_some(status), summary.as_ref());
        header.format = version.format();
        self.bury(&body, header).await
    }

    /// Makes a record that cannot be read, or be sent at all, a dead letter.
    async fn bury_unreadable(&self, payload: Vec<u8>, reason: String) -> Result<(), LaneError> {
        let mut header = self.header(reason, None, None);
        if let Some((format, body)) = payload.split_first() {
            header.format = *format;
            return self.bury(body, header).await;
        }
        self.bury(&[], header).await
    }

    /// Makes a body a dead letter, however long that takes.
    async fn bury(&self, body: &[u8], header: Header) -> Result<(), LaneError> {
        let (source, destination) = self.names();
        let mut backoff = Backoff::new(self.retry.clone());
        while let Err(error) = dead_letters::append(&self.source.dead_letters, header.clone(), body).await {
            self.metrics.journal_errors.add(1);
            if backoff.failures() == 0 {
                error!(source, destination, %error, "dead letter cannot be stored, the lane waits");
            }
            self.pause(backoff.next(None)).await?;
        }
        self.metrics.dead_letters.add(1);
        let Header { reason, status, series, .. } = &header;
        error!(source, destination, status, series, reason, "refused, and now a dead letter");
        Ok(())
    }

    fn skip(&self, error: &ReadError) {
        if let ReadError::Damaged(damage) = error {
            let lost = damage.end.as_u64().saturating_sub(damage.first.as_u64());
            self.metrics.damaged_records.add(lost);
        }
        let (source, destination) = self.names();
        error!(source, destination, %error, "journal records are lost, going on behind them");
    }

    /// Stores the cursor and releases segments; what fails is told and tried again when it is next due.
    async fn store(&self, mut bench: Bench) -> Result<Bench, LaneError> {
        let (bench, failure) = spawn_blocking(move || {
            let failure = bench.store().err();
            (bench, failure)
        })
        .await?;
        if let Some(error) = failure {
            self.metrics.journal_errors.add(1);
            let (source, destination) = self.names();
            error!(source, destination, error, "cursor is not stored");
        }
        Ok(bench)
    }

    pub(super) async fn pause(&self, wait: Duration) -> Result<(), LaneError> {
        select! {
            () = self.stop.cancelled() => Err(LaneError::Stopped),
            () = sleep(wait) => Ok(()),
        }
    }
}

/// Ends with the first of the batches under way; never without any.
async fn first_ended(under_way: &mut UnderWay) -> Result<Result<(), LaneError>, JoinError> {
    match under_way.front_mut() {
        Some((_, _, task)) => task.await,
        None => std::future::pending().await,
    }
}
