//! Takes requests in: judge, journal, answer.
//!
//! A request is answered 204 only from the journal's word that it is durable. Of a partly invalid request the valid series
//! go to the journal and the others to the dead letters, both durable before the answer 400, which tells the sender not to
//! come again. Requests without any content are answered 204.
//!
//! No answer means that the sender comes again, so a valid part may be journalled twice: the same samples.

use std::{fmt::Write, sync::Arc, time::Duration};

use bytes::Bytes;
use prom_remote::{
    CompressionError, Compressor, DecodeError, Limits, OtherContent, Severity, Summary, ValidationReport,
    WriteRequestView, keep_samples, keep_series,
};
use prom_remote_http::{WriteBody, WriteOutcome, WriteSink, WriteVersion};
use sample_journal::AppendError;
use thiserror::Error;
use tokio::task::spawn_blocking;
use tracing::{error, warn};

use crate::{
    dead_letters::{self, Header, Stage},
    replicas::{Incoming, ReplicaError},
    source::{self, FORMAT_V1, SourceState},
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
        let replica = (!replica.is_empty()).then_some(replica);
        match self.take(replica, body).await {
            Ok(None) => {
                metrics.acknowledged_requests.add(1);
                WriteOutcome::Stored
            }
            Ok(Some(message)) => WriteOutcome::Invalid { message },
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

impl SourceSink {
    /// Makes the request durable; the text tells what was refused.
    async fn take(&self, replica: Option<&str>, body: WriteBody) -> Result<Option<String>, IngestError> {
        let (limits, horizon) =
            (self.source.limits, Horizon::at(self.source.now_ms(), self.source.future_limit));
        let Judged { valid, refused } = if body.decoded.len() > INLINE_BYTES {
            spawn_blocking(move || judge(body.compressed, &body.decoded, &body.report, &limits, horizon))
                .await??
        } else {
            judge(body.compressed, &body.decoded, &body.report, &limits, horizon)?
        };
        // The journal first: when the dead letters are full, a sender that comes again fills nothing that only a
        // human empties.
        if let Some(valid) = valid {
            match &self.source.replicas {
                None => source::append(&self.source.journal, &[&[FORMAT_V1], &valid.body])
                    .await
                    .map_err(IngestError::Journal)?,
                Some(group) => {
                    group.take(replica, Incoming::new(WriteVersion::V1, valid.body, &limits)?).await?
                }
            }
            self.source.metrics.acknowledged_samples.add(valid.samples);
        }
        let mut messages = Vec::new();
        for refused in refused {
            messages.push(self.set_aside(refused).await?);
        }
        if messages.is_empty() {
            return Ok(None);
        }
        let message = messages.join("; ");
        warn!(source = self.source.name, reason = message, "request is partly refused");
        Ok(Some(message))
    }

    async fn set_aside(&self, refused: Refused) -> Result<String, IngestError> {
        let Refused { header, body, why } = refused;
        let metrics = &self.source.metrics;
        let (series, samples) = (header.series, header.samples);
        let message = match why {
            Why::Faults { of_series } => {
                format!(
                    "{series} of {of_series} series refused and set aside, the others are stored: {}",
                    header.reason
                )
            }
            Why::Future => {
                format!("{samples} samples refused and set aside, the others are stored: {}", header.reason)
            }
        };
        dead_letters::append(&self.source.dead_letters, header, &body)
            .await
            .map_err(IngestError::DeadLetters)?;
        match why {
            Why::Faults { .. } => metrics.rejected_series.add(series as u64),
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

/// What becomes of a request.
pub(crate) struct Judged {
    /// `None` when nothing is left.
    pub(crate) valid: Option<Valid>,
    pub(crate) refused: Vec<Refused>,
}

pub(crate) struct Valid {
    /// A snappy block.
    pub(crate) body: Bytes,
    pub(crate) samples: u64,
}

pub(crate) struct Refused {
    pub(crate) header: Header,
    /// A snappy block.
    pub(crate) body: Vec<u8>,
    why: Why,
}

#[derive(Clone, Copy)]
pub(crate) enum Why {
    Faults { of_series: usize },
    Future,
}

/// The latest time that a sample may have.
#[derive(Clone, Copy)]
pub(crate) struct Horizon {
    now_ms: i64,
    limit_ms: i64,
}

impl Horizon {
    pub(crate) fn at(now_ms: i64, limit: Duration) -> Self {
        Self { now_ms, limit_ms: i64::try_from(limit.as_millis()).unwrap_or(i64::MAX) }
    }

    fn is_beyond(self, timestamp_ms: i64) -> bool {
        self.limit_ms > 0 && timestamp_ms > self.now_ms.saturating_add(self.limit_ms)
    }
}

#[derive(Debug, Error)]
pub(crate) enum JudgeError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Compress(#[from] CompressionError),
}

/// Judges a well-formed request: `compressed` holds `decoded`, whose series `report` has judged.
pub(crate) fn judge(
    compressed: Bytes,
    decoded: &[u8],
    report: &ValidationReport,
    limits: &Limits,
    horizon: Horizon,
) -> Result<Judged, JudgeError> {
    let summary = &report.summary;
    let has_future = summary.timestamps.is_some_and(|bounds| horizon.is_beyond(bounds.max_ms));
    if report.rejected_count() == 0 && !has_future {
        let valid = (!decoded.is_empty()).then(|| Valid { body: compressed, samples: sample_count(summary) });
        return Ok(Judged { valid, refused: Vec::new() });
    }
    let mut refused = Vec::new();
    let (mut message, mut part) = (decoded.to_vec(), Vec::new());
    if report.rejected_count() > 0 {
        keep_series(decoded, |series| report.is_rejected(series.index()), &mut part)?;
        let why = Why::Faults { of_series: summary.series };
        refused.push(Refused::new(&part, reasons(report), why, horizon, limits)?);
        keep_series(decoded, |series| !report.is_rejected(series.index()), &mut message)?;
    }
    if has_future {
        let valid = std::mem::take(&mut message);
        let is_future = |timestamp_ms| horizon.is_beyond(timestamp_ms);
        let (keep, remove) = (OtherContent::Keep, OtherContent::Remove);
        keep_samples(&valid, keep, |_, point| !is_future(point.timestamp_ms), &mut message)?;
        keep_samples(&valid, remove, |_, point| is_future(point.timestamp_ms), &mut part)?;
        if !part.is_empty() {
            let reason = too_far_ahead(&part, horizon, limits)?;
            refused.push(Refused::new(&part, reason, Why::Future, horizon, limits)?);
        }
    }
    if message.is_empty() {
        return Ok(Judged { valid: None, refused });
    }
    let mut body = Vec::new();
    Compressor::new().compress(&message, &mut body)?;
    let samples = sample_count(&WriteRequestView::new(&message).summary(limits)?);
    Ok(Judged { valid: Some(Valid { body: body.into(), samples }), refused })
}

impl Refused {
    fn new(
        message: &[u8],
        reason: String,
        why: Why,
        horizon: Horizon,
        limits: &Limits,
    ) -> Result<Self, JudgeError> {
        let summary = WriteRequestView::new(message).summary(limits)?;
        let mut body = Vec::new();
        Compressor::new().compress(message, &mut body)?;
        let header = Header {
            time_ms: horizon.now_ms,
            stage: Stage::Ingest,
            reason,
            status: None,
            series: summary.series,
            samples: summary.samples + summary.histograms,
            destination: None,
            format: FORMAT_V1,
        };
        Ok(Self { header, body, why })
    }
}

fn too_far_ahead(message: &[u8], horizon: Horizon, limits: &Limits) -> Result<String, DecodeError> {
    let summary = WriteRequestView::new(message).summary(limits)?;
    let latest = summary.timestamps.map_or(0, |bounds| bounds.max_ms);
    let ahead = latest.saturating_sub(horizon.now_ms) as f64 / 1e3;
    let limit = horizon.limit_ms as f64 / 1e3;
    Ok(format!(
        "more than {limit} s ahead of the merger's clock: the latest at {latest} ms is {ahead:.3} s ahead"
    ))
}

/// The faults of the first few rejected series.
fn reasons(report: &ValidationReport) -> String {
    let mut text = String::new();
    let rejected = || report.verdicts.iter().filter(|verdict| verdict.is_rejected());
    for verdict in rejected().take(MAX_REASONS) {
        let faults = verdict.faults.iter().filter(|fault| fault.severity() == Severity::Rejected);
        let faults: Vec<_> = faults.map(ToString::to_string).collect();
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{separator}series {}: {}", verdict.series, faults.join(", "));
    }
    let more = rejected().count().saturating_sub(MAX_REASONS);
    if more > 0 {
        let _ = write!(text, "; and {more} more");
    }
    text
}

pub(crate) fn sample_count(summary: &Summary) -> u64 {
    (summary.samples + summary.histograms) as u64
}

/// Messages up to this size are judged where they are.
const INLINE_BYTES: usize = 256 << 10;
const MAX_REASONS: usize = 5;
const WHEN_FULL: Duration = Duration::from_secs(5);
const WHEN_BUSY: Duration = Duration::from_secs(1);
