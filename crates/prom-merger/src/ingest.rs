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
    CompressionError, Compressor, DecodeError, Limits, Severity, Summary, ValidationReport, WriteRequestView,
    keep_series, validate,
};
use prom_remote_http::{WriteBody, WriteOutcome, WriteSink};
use sample_journal::AppendError;
use thiserror::Error;
use tokio::task::spawn_blocking;
use tracing::{error, warn};

use crate::{
    dead_letters::{self, Header, Stage},
    source::{self, FORMAT_V1, SourceState},
};

/// The ingest of one source.
#[derive(Debug)]
pub(crate) struct SourceSink {
    pub(crate) source: Arc<SourceState>,
}

impl WriteSink for SourceSink {
    async fn write(&self, _source: &str, body: WriteBody) -> WriteOutcome {
        let metrics = &self.source.metrics;
        metrics.received_requests.add(1);
        metrics.received_bytes.add(body.compressed.len() as u64);
        metrics.received_series.add(body.summary.series as u64);
        metrics.received_samples.add(sample_count(&body.summary));
        match self.take(body).await {
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
    #[error("request cannot be judged: {0}")]
    Judge(#[from] JudgeError),
    #[error("request cannot be judged: {0}")]
    Panic(#[from] tokio::task::JoinError),
}

impl SourceSink {
    /// Makes the request durable; the text tells what was refused.
    async fn take(&self, body: WriteBody) -> Result<Option<String>, IngestError> {
        let limits = self.source.limits;
        let Judged { valid, refused } = if body.decoded.len() > INLINE_BYTES {
            spawn_blocking(move || judge(body, &limits)).await??
        } else {
            judge(body, &limits)?
        };
        // The journal first: when the dead letters are full, a sender that comes again fills nothing that only a
        // human empties.
        if let Some(valid) = valid {
            source::append(&self.source.journal, &[&[FORMAT_V1], &valid.body])
                .await
                .map_err(IngestError::Journal)?;
            self.source.metrics.acknowledged_samples.add(valid.samples);
        }
        let Some(refused) = refused else { return Ok(None) };
        let message = format!(
            "{} of {} series refused and set aside, the others are stored: {}",
            refused.header.series, refused.of_series, refused.header.reason
        );
        let series = refused.header.series;
        dead_letters::append(&self.source.dead_letters, refused.header, &refused.body)
            .await
            .map_err(IngestError::DeadLetters)?;
        self.source.metrics.rejected_series.add(series as u64);
        self.source.metrics.dead_letters_at_ingest.add(1);
        warn!(source = self.source.name, reason = message, "request is partly refused");
        Ok(Some(message))
    }

    fn refuse(&self, error: IngestError) -> WriteOutcome {
        let message = error.to_string();
        match &error {
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
            IngestError::Judge(_) | IngestError::Panic(_) => {
                error!(source = self.source.name, message, "request is not stored");
                WriteOutcome::Failed { message }
            }
        }
    }
}

/// What becomes of a request.
struct Judged {
    /// `None` when nothing is left.
    valid: Option<Valid>,
    refused: Option<Refused>,
}

struct Valid {
    /// A snappy block.
    body: Bytes,
    samples: u64,
}

struct Refused {
    header: Header,
    /// A snappy block.
    body: Vec<u8>,
    of_series: usize,
}

#[derive(Debug, Error)]
enum JudgeError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Compress(#[from] CompressionError),
}

fn judge(body: WriteBody, limits: &Limits) -> Result<Judged, JudgeError> {
    let WriteBody { compressed, decoded, summary, .. } = body;
    let report = validate(&decoded, limits)?;
    let count = report.rejected_count();
    if count == 0 {
        let valid =
            (!decoded.is_empty()).then(|| Valid { body: compressed, samples: sample_count(&summary) });
        return Ok(Judged { valid, refused: None });
    }
    let mut compressor = Compressor::new();
    let (mut part, mut body) = (Vec::new(), Vec::new());
    keep_series(&decoded, |series| report.is_rejected(series.index()), &mut part)?;
    let refused_samples = samples_of(&part, limits)?;
    compressor.compress(&part, &mut body)?;
    let header = Header {
        time_ms: source::now_ms(),
        stage: Stage::Ingest,
        reason: reasons(&report),
        status: None,
        series: count,
        samples: usize::try_from(refused_samples).unwrap_or(usize::MAX),
    };
    let refused = Refused { header, body, of_series: summary.series };
    keep_series(&decoded, |series| !report.is_rejected(series.index()), &mut part)?;
    if part.is_empty() {
        return Ok(Judged { valid: None, refused: Some(refused) });
    }
    let mut body = Vec::new();
    compressor.compress(&part, &mut body)?;
    let samples = sample_count(&summary).saturating_sub(refused_samples);
    Ok(Judged { valid: Some(Valid { body: body.into(), samples }), refused: Some(refused) })
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

fn samples_of(message: &[u8], limits: &Limits) -> Result<u64, DecodeError> {
    Ok(sample_count(&WriteRequestView::new(message).summary(limits)?))
}

pub(crate) fn sample_count(summary: &Summary) -> u64 {
    (summary.samples + summary.histograms) as u64
}

/// Messages up to this size are judged where they are.
const INLINE_BYTES: usize = 256 << 10;
const MAX_REASONS: usize = 5;
const WHEN_FULL: Duration = Duration::from_secs(5);
const WHEN_BUSY: Duration = Duration::from_secs(1);
