//! The lane of one source: read, label, send, move the cursor.

use std::{sync::Arc, time::Duration};

use prom_remote::{Compressor, Summary, WriteRequestView};
use prom_remote_http::{ReadClient, WriteClient};
use sample_journal::ReadError;
use tokio::{
    select,
    sync::watch,
    task::{JoinError, spawn_blocking},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{
    Refusal,
    backoff::Backoff,
    bench::{Bench, Found, OpenBenchError},
    delivery::Delivery,
    probe::Probe,
};
use crate::{
    config::{Config, RetryConfig},
    dead_letters::{self, Header, Stage},
    source::SourceState,
};

/// Delivers one source until it is told to stop.
pub(crate) struct Lane {
    pub(super) source: Arc<SourceState>,
    pub(super) client: WriteClient,
    /// To ask what the destination has, where it can be asked.
    pub(super) reader: Option<ReadClient>,
    /// How often parts of one record may be refused before what is left is not cut any further.
    pub(super) split_attempts: usize,
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

impl Lane {
    pub(crate) fn new(
        source: Arc<SourceState>,
        client: WriteClient,
        reader: Option<ReadClient>,
        config: &Config,
        stop: CancellationToken,
    ) -> Self {
        let (split_attempts, retry) = (config.destination.split_attempts, config.retry.clone());
        Self { source, client, reader, split_attempts, probe: Probe::default(), retry, stop }
    }

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
                let mut delivery = Delivery::new(self, backoff, prepared.may_be_stored);
                for outgoing in prepared.requests {
                    delivery.send(outgoing, &slot.payload).await?;
                }
                slot.progress.done(&self.source, prepared.next);
            }
            Found::Unreadable { next, reason } => {
                let header = self.header(reason, None, None);
                self.bury(slot.payload.get(1..).unwrap_or_default(), header).await?;
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

    fn header(&self, reason: String, status: Option<u16>, summary: Option<&Summary>) -> Header {
        Header {
            time_ms: self.source.now_ms(),
            stage: Stage::Delivery,
            reason,
            status,
            protocol: prom_remote_http::WriteVersion::V1,
            series: summary.map_or(0, |summary| summary.series),
            samples: summary.map_or(0, |summary| summary.samples + summary.histograms),
        }
    }

    /// Makes a refused message, without the label, a dead letter.
    pub(super) async fn bury_message(&self, refusal: Refusal, message: Vec<u8>) -> Result<(), LaneError> {
        let limits = self.source.limits;
        let made = spawn_blocking(move || {
            let summary = WriteRequestView::new(&message).summary(&limits).ok();
            let mut body = Vec::new();
            let compressed = Compressor::new().compress(&message, &mut body);
            compressed.map(|_| (summary, body)).map_err(|error| LaneError::Part(error.to_string()))
        });
        let (summary, body) = made.await??;
        let header = self.header(refusal.message, Some(refusal.status), summary.as_ref());
        self.bury(&body, header).await
    }

    /// Makes a body a dead letter, however long that takes.
    async fn bury(&self, body: &[u8], header: Header) -> Result<(), LaneError> {
        let source = self.source.name.as_str();
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
        error!(source, status, series, reason, "refused, and now a dead letter");
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

    pub(super) async fn pause(&self, wait: Duration) -> Result<(), LaneError> {
        select! {
            () = self.stop.cancelled() => Err(LaneError::Stopped),
            () = sleep(wait) => Ok(()),
        }
    }
}
