//! Takes requests in: judge, journal, answer.
//!
//! A request of remote write 1.0 or 2.0 is answered 204 only from the journal's word that it is durable. Of a partly
//! invalid request the valid series go to the journal and the others to the dead letters, both durable before the answer
//! 400, which tells the sender not to come again. Requests without any content are answered 204.
//!
//! A request of which nothing is refused is journalled byte for byte as it came.
//!
//! No answer means that the sender comes again, so a valid part may be journalled twice: the same samples.

mod active_series;
mod judge;
mod rate;

use std::{sync::Arc, time::Duration};

use prom_remote::Summary;
use prom_remote_http::{WriteBody, WriteOutcome, WriteSink, WrittenCounts};
use sample_journal::AppendError;
use thiserror::Error;
use tokio::{task::spawn_blocking, time::Instant};
use tracing::{error, warn};

pub use self::judge::fuzz_judge;
use self::judge::{JudgeError, Why};
pub(crate) use self::{
    active_series::ActiveSeries,
    judge::{Horizon, Incoming, Judged, Refused, Rules, judge, summary_of},
    rate::RateLimit,
};
use crate::{
    dead_letters,
    replicas::{self, ReplicaError},
    source::{self, SourceState, format_of},
};

/// The ingest of one source.
#[derive(Debug)]
pub(crate) struct SourceSink {
    pub(crate) source: Arc<SourceState>,
}

impl WriteSink for SourceSink {
    async fn write(&self, replica: &str, body: WriteBody) -> WriteOutcome {
        let metrics = &self.source.metrics;
        metrics.received_requests.add(1);
        metrics.received_bytes.add(body.compressed.len() as u64);
        metrics.received_series.add(body.summary.series as u64);
        metrics.received_samples.add(sample_count(&body.summary));
        if let Err(wait) = self.source.rate.admit(sample_count(&body.summary), Instant::now()) {
            metrics.throttled_requests.add(1);
            let message =
                format!("source sends more than {} samples a second", self.source.rate.per_second());
            return WriteOutcome::Unavailable { retry_after: wait, message };
        }
        let replica = (!replica.is_empty()).then_some(replica);
        match self.take(replica, body).await {
            Ok(Taken { refused: None, .. }) => {
                metrics.acknowledged_requests.add(1);
                WriteOutcome::Stored
            }
            Ok(Taken { refused: Some(message), written }) => WriteOutcome::Partial { written, message },
            Err(error) => self.refuse(error),
        }
    }
}

#[derive(Debug, Error)]
enum IngestError {
    #[error("journal: {0}")]
    Journal(AppendError),
    #[error("dead letters: {0}")]
    DeadLetters(AppendError),
    #[error(transparent)]
    Replicas(#[from] ReplicaError),
    #[error("request cannot be judged: {0}")]
    Judge(#[from] JudgeError),
    #[error("request cannot be judged: {0}")]
    Panic(#[from] tokio::task::JoinError),
}

/// What is durable of a request, and what was refused, in words.
struct Taken {
    written: WrittenCounts,
    refused: Option<String>,
}

impl SourceSink {
    /// Makes the request durable.
    async fn take(&self, replica: Option<&str>, body: WriteBody) -> Result<Taken, IngestError> {
        let WriteBody { version, compressed, decoded, report, .. } = body;
        let incoming = Incoming { version, compressed, decoded, report };
        let rules = Rules::of(&self.source);
        let Judged { valid, refused } = if incoming.decoded.len() > INLINE_BYTES {
            spawn_blocking(move || judge(incoming, &rules)).await??
        } else {
            judge(incoming, &rules)?
        };
        // The journal first: when the dead letters are full, a sender that comes again fills nothing that only a
        // human empties.
        let mut written = WrittenCounts::default();
        if let Some(valid) = valid {
            let summary = valid.summary;
            match &self.source.replicas {
                None => source::append(&self.source.journal, &[&[format_of(version)], &valid.body])
                    .await
                    .map_err(IngestError::Journal)?,
                Some(group) => {
                    let incoming = replicas::Incoming::new(version, valid.body, &self.source.limits)?;
                    group.take(replica, incoming).await?;
                }
            }
            self.source.metrics.acknowledged_samples.add(sample_count(&summary));
            written = WrittenCounts::of_summary(&summary);
        }
        let mut messages = Vec::new();
        for refused in refused {
            messages.push(self.set_aside(refused).await?);
        }
        if messages.is_empty() {
            return Ok(Taken { written, refused: None });
        }
        let message = messages.join("; ");
        warn!(source = self.source.name, reason = message, "request is partly refused");
        Ok(Taken { written, refused: Some(message) })
    }

    async fn set_aside(&self, refused: Refused) -> Result<String, IngestError> {
        let message = refused.message();
        let Refused { header, body, why } = refused;
        let metrics = &self.source.metrics;
        let (series, samples) = (header.series, header.samples);
        dead_letters::append(&self.source.dead_letters, header, &body)
            .await
            .map_err(IngestError::DeadLetters)?;
        match why {
            Why::Series { .. } => metrics.rejected_series.add(series as u64),
            Why::Future => metrics.future_samples.add(samples as u64),
        }
        metrics.dead_letters_at_ingest.add(1);
        Ok(message)
    }

    fn refuse(&self, error: IngestError) -> WriteOutcome {
        let message = error.to_string();
        match &error {
            IngestError::Replicas(error) if error.is_for_now() => {
                warn!(source = self.source.name, message, "sender is told to wait");
                WriteOutcome::Unavailable { retry_after: WHEN_FULL, message }
            }
            IngestError::Journal(cause) | IngestError::DeadLetters(cause) => match cause {
                AppendError::Full => {
                    warn!(source = self.source.name, message, "sender is told to wait");
                    WriteOutcome::Unavailable { retry_after: WHEN_FULL, message }
                }
                AppendError::Overloaded | AppendError::Closed => {
                    WriteOutcome::Unavailable { retry_after: WHEN_BUSY, message }
                }
                _ => {
                    error!(source = self.source.name, message, "request is not stored");
                    WriteOutcome::Failed { message }
                }
            },
            IngestError::Judge(_) | IngestError::Panic(_) | IngestError::Replicas(_) => {
                error!(source = self.source.name, message, "request is not stored");
                WriteOutcome::Failed { message }
            }
        }
    }
}

pub(crate) fn sample_count(summary: &Summary) -> u64 {
    (summary.samples + summary.histograms) as u64
}

/// Messages up to this size are judged where they are.
const INLINE_BYTES: usize = 256 << 10;
const WHEN_FULL: Duration = Duration::from_secs(5);
const WHEN_BUSY: Duration = Duration::from_secs(1);
