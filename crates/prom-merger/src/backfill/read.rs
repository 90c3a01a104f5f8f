//! Reads one window after the other.

use std::time::Duration;

use prom_remote::{Compressor, Matcher, Query, SeriesContent, SeriesDecodeErrorKind, TimeRange};
use prom_remote_http::{ReadClient, ReadError, SeriesContentError};
use sample_journal::AppendError;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{
    BackfillError, BackfillPlan, Counts,
    append::Appending,
    encode::{Request, Requests},
};
use crate::{config::RetryConfig, deliver::Backoff, source::SourceState};

/// Reads from the source into the journal.
pub(super) struct Reading<'a> {
    plan: &'a BackfillPlan,
    source: &'a SourceState,
    client: &'a ReadClient,
    /// How much is read at once.
    window_ms: i64,
    longest_ms: i64,
    /// Windows since the last one that was too large.
    since_too_large: u32,
}

/// Why a window was not read.
pub(super) enum WindowError {
    /// The next one will be smaller.
    TooLarge,
    Failed(BackfillError),
}

/// Why an attempt at a window failed.
enum AttemptError {
    Read(ReadError),
    TooManySamples,
    /// The other form of answer may be read.
    Content(String),
    Failed(BackfillError),
}

#[derive(Clone, Copy)]
enum Form {
    Streamed,
    Samples,
}

impl<'a> Reading<'a> {
    pub(super) fn new(plan: &'a BackfillPlan, source: &'a SourceState, client: &'a ReadClient) -> Self {
        let longest_ms = i64::try_from(plan.window.as_millis()).unwrap_or(i64::MAX).max(SHORTEST_MS);
        Self { plan, source, client, window_ms: longest_ms, longest_ms, since_too_large: 0 }
    }

    /// The window that begins at `next_ms`; `None` at the end of the plan.
    pub(super) fn next_window(&self, next_ms: i64) -> Option<TimeRange> {
        let end_ms = next_ms.saturating_add(self.window_ms).min(self.plan.range.end_ms());
        TimeRange::new(next_ms, end_ms).ok()
    }

    /// Reads a window; all of it is durable then.
    pub(super) async fn read(&mut self, window: TimeRange) -> Result<Counts, WindowError> {
        let mut backoff = Backoff::new(retry());
        let mut form = Form::Streamed;
        loop {
            let error = match self.attempt(window, form).await {
                Ok(counts) => {
                    self.since_too_large += 1;
                    if self.since_too_large >= WINDOWS_TO_GROW {
                        self.window_ms = self.window_ms.saturating_mul(2).min(self.longest_ms);
                        self.since_too_large = 0;
                    }
                    return Ok(counts);
                }
                Err(error) => error,
            };
            let failed = |source| BackfillError::Read {
                name: self.plan.source.clone(),
                start_ms: window.start_ms(),
                end_ms: window.end_ms(),
                source,
            };
            match error {
                AttemptError::Read(error) if error.is_retryable() => {
                    if backoff.failures() >= MAX_TRIES {
                        return Err(WindowError::Failed(failed(error)));
                    }
                    let after = match &error {
                        ReadError::Retryable { after, .. } => *after,
                        _ => None,
                    };
                    warn!(source = self.plan.source, %error, "source cannot be read for now, trying again");
                    sleep(backoff.next(after)).await;
                }
                AttemptError::Read(error) if window.end_ms() - window.start_ms() <= SHORTEST_MS => {
                    return Err(WindowError::Failed(failed(error)));
                }
                AttemptError::Read(error) => return Err(self.too_large(window, &error.to_string())),
                AttemptError::TooManySamples if window.end_ms() - window.start_ms() > SHORTEST_MS => {
                    return Err(self.too_large(window, "a series has more samples than the limit"));
                }
                AttemptError::Content(reason) if matches!(form, Form::Streamed) => {
                    info!(source = self.plan.source, reason, "asking for samples instead of chunks");
                    form = Form::Samples;
                }
                AttemptError::TooManySamples => {
                    let reason = "more samples in a second than the limit".to_owned();
                    return Err(self.content(reason));
                }
                AttemptError::Content(reason) => return Err(self.content(reason)),
                AttemptError::Failed(error) => return Err(WindowError::Failed(error)),
            }
        }
    }

    fn content(&self, reason: String) -> WindowError {
        WindowError::Failed(BackfillError::Content { name: self.plan.source.clone(), reason })
    }

    fn too_large(&mut self, window: TimeRange, reason: &str) -> WindowError {
        self.window_ms = ((window.end_ms() - window.start_ms()) / 2).max(SHORTEST_MS);
        self.since_too_large = 0;
        info!(source = self.plan.source, reason, window_ms = self.window_ms, "reading less at once");
        WindowError::TooLarge
    }

    async fn attempt(&self, window: TimeRange, form: Form) -> Result<Counts, AttemptError> {
        let query = Query { range: window, matchers: vec![Matcher::regex("__name__", ".+")] };
        let mut counts = Counts { windows: 1, ..Counts::default() };
        let (mut requests, mut journal) = (Requests::default(), Appending::new(&self.source.journal));
        match form {
            Form::Streamed => {
                let mut series = self.client.read(&[query]).await.map_err(AttemptError::Read)?;
                while let Some(answer) = series.next().await.map_err(AttemptError::Read)? {
                    let content = answer.content.map_err(content_error)?;
                    count(&mut counts, &content);
                    append(&mut journal, requests.add(&answer.labels, &content)).await?;
                }
            }
            Form::Samples => {
                let limits = &self.source.limits;
                let results = self.client.read_samples(&[query]).await.map_err(AttemptError::Read)?;
                for series in results.into_iter().flatten() {
                    let content = series.decode(window, limits);
                    let content = content.map_err(|error| AttemptError::Content(error.to_string()))?;
                    count(&mut counts, &content);
                    append(&mut journal, requests.add(&series.labels, &content)).await?;
                }
            }
        }
        append(&mut journal, requests.finish()).await?;
        journal.finish().await.map_err(not_durable)?;
        Ok(counts)
    }
}

async fn append(journal: &mut Appending<'_>, requests: Vec<Request>) -> Result<(), AttemptError> {
    for (format, message) in requests {
        let mut body = Vec::new();
        Compressor::new()
            .compress(&message, &mut body)
            .map_err(|error| AttemptError::Content(error.to_string()))?;
        journal.append(&[&[format], &body]).await.map_err(not_durable)?;
    }
    Ok(())
}

fn not_durable(error: AppendError) -> AttemptError {
    AttemptError::Failed(BackfillError::Journal(error))
}

fn retry() -> RetryConfig {
    RetryConfig { minimum: MIN_WAIT, maximum: MAX_WAIT, ..RetryConfig::default() }
}

fn count(counts: &mut Counts, content: &SeriesContent) {
    counts.series += 1;
    counts.samples += content.samples.len() as u64;
    counts.histograms += content.histograms.len() as u64;
    counts.conflicts += content.conflicts as u64;
}

fn content_error(error: SeriesContentError) -> AttemptError {
    match &error {
        SeriesContentError::Chunks(cause)
            if matches!(cause.kind, SeriesDecodeErrorKind::TooManySamples { .. }) =>
        {
            AttemptError::TooManySamples
        }
        SeriesContentError::Chunks(cause) => AttemptError::Content(cause.to_string()),
        other => AttemptError::Content(other.to_string()),
    }
}

/// No window is cut below this.
const SHORTEST_MS: i64 = 1_000;
const WINDOWS_TO_GROW: u32 = 4;
const MAX_TRIES: u32 = 10;
const MIN_WAIT: Duration = Duration::from_millis(500);
const MAX_WAIT: Duration = Duration::from_secs(15);
