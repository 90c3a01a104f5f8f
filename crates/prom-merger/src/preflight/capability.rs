//! What a destination takes, found out by writing to it.

use std::time::Instant;

use bytes::Bytes;
use prom_remote::{
    Compressor, Limits, Matcher, Query, Sample, TimeRange, WriteRequestBuilder, convert_to_v2,
    encode_histogram,
    prom_chunks::{BucketCounts, Buckets, Histogram, ResetHint, Span as Buckets1},
};
use prom_remote_http::{WriteError, WriteForm, WriteRequest};
use serde::Serialize;

use super::{
    DestinationToCheck, Finding,
    report::{Span, one_line},
};
use crate::machine::now_ms;

/// What a destination takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DestinationReport {
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// A sample of the present in a request of remote write 1.0.
    pub remote_write_1: Answer,
    /// All else; `None` when not even that was taken.
    pub details: Option<Details>,
}

/// What a destination takes besides a sample of the present.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Details {
    /// A sample in a request of remote write 2.0.
    pub remote_write_2: Answer,
    /// A sample in a request compressed with zstd, as VictoriaMetrics takes it.
    pub zstd: Answer,
    /// A native histogram of the present.
    pub native_histograms: Answer,
    /// Floats behind the newest of their own series.
    pub floats_out_of_order: Window,
    /// Native histograms behind the newest of their own series.
    pub histograms_out_of_order: Window,
    /// The first sample of a series that is new.
    pub oldest: Window,
    /// Another value at a time that has one.
    pub conflict: Answer,
    /// How large a message may be.
    pub body: BodyLimit,
    /// How long one small write took, in milliseconds.
    pub round_trip_ms: f64,
}

/// What became of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Answer {
    /// Read back with the same bits.
    Stored,
    /// Answered 2xx; there is no way to read it back.
    Accepted,
    /// Answered 2xx, and not there when it was read back.
    Swallowed,
    /// Refused for good.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The receiver's words.
        message: String,
    },
    /// No answer about the probe: the network, or a server that fails.
    Failed {
        /// What went wrong.
        message: String,
    },
}

/// How far back a destination takes something, in steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Window {
    /// The furthest step that was taken, in milliseconds.
    pub accepted_ms: Option<i64>,
    /// The nearest step that was not.
    pub refused_ms: Option<i64>,
    /// What became of that.
    pub refusal: Option<Answer>,
}

/// How large a message a destination takes, in bytes after decompression.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BodyLimit {
    /// The largest that was taken.
    pub accepted_bytes: Option<usize>,
    /// The smallest that was not.
    pub refused_bytes: Option<usize>,
    /// What became of that.
    pub refusal: Option<Answer>,
}

impl Answer {
    /// Tells whether the receiver took it, as far as can be known.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Stored | Self::Accepted)
    }
}

impl std::fmt::Display for BodyLimit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        match (self.accepted_bytes, self.refused_bytes) {
            (Some(accepted), None) => {
                write!(formatter, "{} MiB, the largest that is ever sent", mib(accepted))
            }
            (Some(accepted), Some(refused)) => {
                write!(formatter, "{} MiB, not {} MiB", mib(accepted), mib(refused))
            }
            (None, Some(refused)) => write!(formatter, "less than {} MiB", mib(refused)),
            (None, None) => formatter.write_str("not known"),
        }
    }
}

pub(super) async fn examine(label: &str, destination: &DestinationToCheck) -> DestinationReport {
    let examination = Examination { label, destination, now_ms: now_ms() };
    let (remote_write_1, _) = examination.sample("v1", WriteForm::V1, 0).await;
    let details = if remote_write_1.is_taken() { Some(examination.details().await) } else { None };
    DestinationReport {
        name: destination.name.clone(),
        url: destination.url.clone(),
        remote_write_1,
        details,
    }
}

struct Examination<'a> {
    label: &'a str,
    destination: &'a DestinationToCheck,
    now_ms: i64,
}

/// What a probe has besides its labels.
#[derive(Clone, Copy, PartialEq)]
enum Content {
    Float(f64),
    Histogram,
}

impl Examination<'_> {
    async fn details(&self) -> Details {
        let (remote_write_2, _) = self.sample("v2", WriteForm::V2, 0).await;
        let (zstd, _) = self.sample("zstd", WriteForm::V1Zstd, 0).await;
        let native_histograms = self.write("histogram", WriteForm::V1, Content::Histogram, 0, 0).await;
        let histograms_out_of_order = if native_histograms.is_taken() {
            self.out_of_order("histogram-out-of-order", Content::Histogram).await
        } else {
            Window::default()
        };
        let floats_out_of_order = self.out_of_order("float-out-of-order", Content::Float(1.0)).await;
        let mut oldest = Window::default();
        for step_ms in STEPS_MS {
            let probe = format!("old-{}", step_ms / 60_000);
            if !oldest.take(step_ms, self.sample(&probe, WriteForm::V1, step_ms).await.0) {
                break;
            }
        }
        let _ = self.write("conflict", WriteForm::V1, Content::Float(1.0), 0, 0).await;
        let conflict = self.write("conflict", WriteForm::V1, Content::Float(2.0), 0, 0).await;
        let body = self.body_limit().await;
        let (_, round_trip_ms) = self.sample("round-trip", WriteForm::V1, 0).await;
        Details {
            remote_write_2,
            zstd,
            native_histograms,
            floats_out_of_order,
            histograms_out_of_order,
            oldest,
            conflict,
            body,
            round_trip_ms,
        }
    }

    /// Each step is a series of its own, which has a sample of the present before it gets the older one.
    async fn out_of_order(&self, probe: &str, content: Content) -> Window {
        let mut window = Window::default();
        for step_ms in STEPS_MS {
            let probe = format!("{probe}-{}", step_ms / 60_000);
            let newest = self.write(&probe, WriteForm::V1, content, 0, 0).await;
            let taken = if newest.is_taken() {
                self.write(&probe, WriteForm::V1, content, step_ms, 0).await
            } else {
                newest
            };
            if !window.take(step_ms, taken) {
                break;
            }
        }
        window
    }

    async fn body_limit(&self) -> BodyLimit {
        let mut limit = BodyLimit::default();
        let mut bytes = SMALLEST_BODY.min(self.destination.max_body_bytes);
        loop {
            let answer = self.write("body", WriteForm::V1, Content::Float(1.0), 0, bytes).await;
            if !answer.is_taken() && !is_about_time(&answer) {
                (limit.refused_bytes, limit.refusal) = (Some(bytes), Some(answer));
                return limit;
            }
            limit.accepted_bytes = Some(bytes);
            if bytes >= self.destination.max_body_bytes {
                return limit;
            }
            bytes = bytes.saturating_mul(2).min(self.destination.max_body_bytes);
        }
    }

    /// Writes a float; tells how many milliseconds the write took.
    async fn sample(&self, probe: &str, form: WriteForm, age_ms: i64) -> (Answer, f64) {
        let started = Instant::now();
        let answer = self.write(probe, form, Content::Float(1.0), age_ms, 0).await;
        (answer, started.elapsed().as_secs_f64() * 1e3)
    }

    async fn write(
        &self,
        probe: &str,
        form: WriteForm,
        content: Content,
        age_ms: i64,
        bytes: usize,
    ) -> Answer {
        let timestamp_ms = self.now_ms - age_ms;
        let body = match self.body(probe, form, content, timestamp_ms, bytes) {
            Ok(body) => body,
            Err(message) => return Answer::Failed { message },
        };
        match self.destination.writer.send(WriteRequest::new(form, body)).await {
            // The answer of a receiver of 1.0 to 2.0, which it read as an empty request.
            Ok(written) if form == WriteForm::V2 && written.counts.is_none() => Answer::Swallowed,
            Ok(_) => self.read_back(probe, content, timestamp_ms).await,
            Err(WriteError::Rejected { status, message } | WriteError::Partial { status, message, .. }) => {
                Answer::Refused { status, message }
            }
            Err(error) => Answer::Failed { message: error.to_string() },
        }
    }

    fn body(
        &self,
        probe: &str,
        form: WriteForm,
        content: Content,
        timestamp_ms: i64,
        bytes: usize,
    ) -> Result<Bytes, String> {
        let labels = [("__name__", SERIES), (self.label, OWN_SOURCE), ("probe", probe)];
        let mut builder = WriteRequestBuilder::new();
        match content {
            Content::Float(value) => builder.series(labels, [Sample::new(timestamp_ms, value)]),
            Content::Histogram => builder.series_with_histograms(labels, [], [histogram(timestamp_ms)]),
        };
        let mut message = builder.finish();
        if form == WriteForm::V2 {
            let mut converted = Vec::new();
            convert_to_v2(&message, &Limits::default(), &mut converted).map_err(|error| error.to_string())?;
            message = converted;
        }
        pad(&mut message, bytes);
        let mut body = Vec::new();
        match form {
            WriteForm::V1Zstd => {
                body = zstd::bulk::compress(&message, 1).map_err(|error| error.to_string())?
            }
            _ => {
                Compressor::new().compress(&message, &mut body).map_err(|error| error.to_string())?;
            }
        }
        Ok(body.into())
    }

    async fn read_back(&self, probe: &str, content: Content, timestamp_ms: i64) -> Answer {
        let Some(reader) = &self.destination.reader else { return Answer::Accepted };
        let Ok(range) = TimeRange::new(timestamp_ms, timestamp_ms + 1) else { return Answer::Accepted };
        let matchers = vec![
            Matcher::equal("__name__", SERIES),
            Matcher::equal(self.label, OWN_SOURCE),
            Matcher::equal("probe", probe),
        ];
        match reader.read_samples(&[Query { range, matchers }]).await {
            Err(error) => Answer::Failed { message: format!("written, but it cannot be read back: {error}") },
            Ok(answers) => {
                let is_there = answers.iter().flatten().any(|series| match content {
                    Content::Float(value) => {
                        series.samples.iter().any(|sample| *sample == Sample::new(timestamp_ms, value))
                    }
                    Content::Histogram => {
                        series.histograms.iter().any(|found| found.timestamp_ms == timestamp_ms)
                    }
                });
                if is_there { Answer::Stored } else { Answer::Swallowed }
            }
        }
    }
}

impl Window {
    /// Notes what became of a step; tells whether a further one is worth trying.
    fn take(&mut self, step_ms: i64, answer: Answer) -> bool {
        if answer.is_taken() {
            self.accepted_ms = Some(step_ms);
            return true;
        }
        (self.refused_ms, self.refusal) = (Some(step_ms), Some(answer));
        false
    }
}

/// What somebody should know about what was found.
pub(super) fn judge(found: &DestinationReport, findings: &mut Vec<Finding>) {
    let about = || format!("destination {}", found.name);
    let Some(details) = &found.details else {
        findings.push(Finding::error(
            about(),
            format!("takes no sample: {}", found.remote_write_1),
            "check its address, its authentication, and that its remote-write receiver is on",
        ));
        return;
    };
    if found.remote_write_1 == Answer::Accepted {
        findings.push(Finding::note(
            about(),
            "nothing was read back: what is said of it rests on its answers alone",
            "set read_url, if it serves remote read",
        ));
    }
    if details.remote_write_2 == Answer::Swallowed {
        findings.push(Finding::note(
            about(),
            "answers 2xx to remote write 2.0 and stores nothing",
            "protocol auto notices and sends 1.0; do not set protocol: \"2.0\"",
        ));
    }
    match &details.native_histograms {
        Answer::Refused { .. } | Answer::Swallowed => findings.push(Finding::warning(
            about(),
            format!("takes no native histograms: {}", details.native_histograms),
            "a Prometheus before 3.0 needs --enable-feature=native-histograms",
        )),
        _ => {}
    }
    for (what, window) in
        [("floats", &details.floats_out_of_order), ("native histograms", &details.histograms_out_of_order)]
    {
        let Some(refused_ms) = window.refused_ms.filter(|ms| *ms <= OUTAGE_MS) else { continue };
        let known = window.accepted_ms.map_or_else(
            || "takes none out of order".to_owned(),
            |ms| format!("takes them up to {} back", Span(ms)),
        );
        let because = window.refusal.as_ref().map(|answer| one_line(&answer.to_string())).unwrap_or_default();
        findings.push(Finding::warning(
            about(),
            format!("{what}: {known}, not {} ({because})", Span(refused_ms)),
            "history, replicas and parallel lanes need more: set storage.tsdb.out_of_order_time_window",
        ));
    }
    if let Some(bytes) = details.body.refused_bytes {
        findings.push(Finding::note(
            about(),
            format!("takes messages below {bytes} bytes only"),
            "larger requests are split when they are refused; a smaller batch spares the attempts",
        ));
    }
}

/// A second conflicting sample, or a second run in the same millisecond, says nothing about the length of the body.
fn is_about_time(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused { message, .. } if message.contains("duplicate sample"))
}

fn histogram(timestamp_ms: i64) -> Vec<u8> {
    let buckets = Buckets { count: 3, zero_count: 1, positive: vec![2], negative: Vec::new() };
    let value = Histogram {
        timestamp_ms,
        start_timestamp_ms: 0,
        reset_hint: ResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.001,
        sum: 2.5,
        positive_spans: vec![Buckets1 { offset: 0, length: 1 }],
        negative_spans: Vec::new(),
        custom_values: Vec::new(),
        counts: BucketCounts::Integer(buckets),
    };
    let mut message = Vec::new();
    encode_histogram(&value, &mut message);
    message
}

/// Makes a message so long with an unknown field, which receivers skip, of bytes that do not compress.
fn pad(message: &mut Vec<u8>, bytes: usize) {
    let Some(length) = bytes.checked_sub(message.len() + PAD_HEADER) else { return };
    message.extend_from_slice(&PAD_TAG);
    let mut rest = length;
    for _ in 0..4 {
        message.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    message.push(rest as u8 & 0x7f);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    message.extend(
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .take(length),
    );
}

/// The series that the probes write; it stays in the destination.
const SERIES: &str = "prom_merger_preflight";
/// The value of the source label that they carry: nothing in the destination is without one.
const OWN_SOURCE: &str = "prom-merger";
/// One minute to seven days.
const STEPS_MS: [i64; 9] = [
    60_000,
    600_000,
    1_800_000,
    3_600_000,
    2 * 3_600_000,
    6 * 3_600_000,
    12 * 3_600_000,
    24 * 3_600_000,
    7 * 24 * 3_600_000,
];
/// Who refuses what is less old than this makes an ordinary outage costly.
const OUTAGE_MS: i64 = 3_600_000;
const SMALLEST_BODY: usize = 1 << 20;
/// Field 1000, length-delimited.
const PAD_TAG: [u8; 2] = [0xc2, 0x3e];
const PAD_HEADER: usize = PAD_TAG.len() + 5;

#[cfg(test)]
mod tests {
    use prom_remote::WriteRequestView;

    use super::*;

    #[test]
    fn a_padded_message_has_the_length_asked_for_and_the_same_series() {
        let mut builder = WriteRequestBuilder::new();
        builder.series([("__name__", "a")], [Sample::new(1, 1.0)]);
        let mut message = builder.finish();
        pad(&mut message, 1 << 20);
        assert_eq!(message.len(), 1 << 20);
        let summary = WriteRequestView::new(&message).summary(&Limits::default()).unwrap();
        assert_eq!((summary.series, summary.samples, summary.unknown_fields), (1, 1, 1));
    }
}
