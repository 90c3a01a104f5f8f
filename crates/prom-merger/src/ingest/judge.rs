//! What of a request can be stored, and what of it must be set aside.

use std::{collections::BTreeMap, fmt::Write, sync::Arc, time::Duration};

use bytes::Bytes;
use prom_remote::{
    CompressionError, Compressor, DecodeError, LabelView, Limits, OtherContent, Severity, Summary,
    ValidationReport, WriteRequestV2View, WriteRequestView, decompress, keep_samples, keep_samples_v2,
    keep_series, keep_series_v2, validate, validate_v2,
};
use prom_remote_http::WriteVersion;
use thiserror::Error;
use tokio::time::Instant;

use super::active_series::ActiveSeries;
use crate::{
    config::OnConflict,
    dead_letters::{Header, Stage},
    source::{SourceState, format_of},
};

/// A request as it came.
pub(crate) struct Incoming {
    pub(crate) version: WriteVersion,
    /// A snappy block.
    pub(crate) compressed: Bytes,
    /// What is in it.
    pub(crate) decoded: Bytes,
    /// The verdict on each of its series.
    pub(crate) report: ValidationReport,
}

impl Incoming {
    /// Judges each series of what was not received just now.
    pub(crate) fn validated(
        version: WriteVersion,
        compressed: Bytes,
        decoded: Bytes,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let report = match version {
            WriteVersion::V1 => validate(&decoded, limits)?,
            WriteVersion::V2 => validate_v2(&decoded, limits)?,
        };
        Ok(Self { version, compressed, decoded, report })
    }
}

/// What a source may send.
#[derive(Clone)]
pub(crate) struct Rules {
    pub(crate) limits: Limits,
    pub(crate) horizon: Horizon,
    /// A series that has this label is refused.
    pub(crate) refused_label: Option<String>,
    /// New series over this number are refused.
    pub(crate) active: Option<(Arc<ActiveSeries>, usize)>,
}

/// What becomes of a request.
pub(crate) struct Judged {
    /// `None` when nothing is left.
    pub(crate) valid: Option<Valid>,
    pub(crate) refused: Vec<Refused>,
}

pub(crate) struct Valid {
    /// A snappy block: the one received if nothing was refused.
    pub(crate) body: Bytes,
    pub(crate) summary: Summary,
}

pub(crate) struct Refused {
    pub(crate) header: Header,
    /// A snappy block.
    pub(crate) body: Vec<u8>,
    pub(super) why: Why,
}

#[derive(Clone, Copy)]
pub(super) enum Why {
    Series { of_series: usize },
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

impl Rules {
    pub(crate) fn of(source: &SourceState) -> Self {
        Self {
            limits: source.limits,
            horizon: Horizon::at(source.now_ms(), source.future_limit),
            refused_label: (source.on_conflict == OnConflict::Refuse).then(|| source.label.clone()),
            active: (source.max_active_series > 0)
                .then(|| (Arc::clone(&source.active_series), source.max_active_series)),
        }
    }

    fn refusal<'a>(
        &self,
        labels: impl Iterator<Item = LabelView<'a>> + Clone,
        now: Instant,
    ) -> Option<Refusal> {
        if let Some(refused) = &self.refused_label
            && labels.clone().any(|label| label.name == refused.as_bytes() && !label.value.is_empty())
        {
            return Some(Refusal::HasLabel);
        }
        let (active, limit) = self.active.as_ref()?;
        (!active.admit(labels, *limit, now)).then_some(Refusal::OverActive)
    }
}

/// Why a series is refused that is valid in itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    HasLabel,
    OverActive,
}

/// Judges a well-formed request.
pub(crate) fn judge(incoming: Incoming, rules: &Rules) -> Result<Judged, JudgeError> {
    let Incoming { version, compressed, decoded, report } = incoming;
    let Rules { limits, horizon, .. } = rules;
    let refusals = refusals(version, &decoded, &report, rules)?;
    let summary = report.summary;
    let has_refused_series = report.rejected_count() > 0 || !refusals.is_empty();
    let has_future = summary.timestamps.is_some_and(|bounds| horizon.is_beyond(bounds.max_ms));
    if !has_refused_series && !has_future {
        let valid = has_content(&summary).then_some(Valid { body: compressed, summary });
        return Ok(Judged { valid, refused: Vec::new() });
    }
    let mut refused = Vec::new();
    let (mut message, mut part) = (decoded.to_vec(), Vec::new());
    if has_refused_series {
        let is_refused = |series: usize| report.is_rejected(series) || refusals.contains_key(&series);
        part_of_series(version, &decoded, limits, is_refused, &mut part)?;
        let why = Why::Series { of_series: summary.series };
        refused.push(Refused::new(version, &part, reasons(&report, &refusals, rules), why, rules)?);
        part_of_series(version, &decoded, limits, |series| !is_refused(series), &mut message)?;
    }
    if has_future {
        let valid = std::mem::take(&mut message);
        let is_future = |timestamp_ms| horizon.is_beyond(timestamp_ms);
        part_of_samples(version, &valid, limits, OtherContent::Keep, |time| !is_future(time), &mut message)?;
        part_of_samples(version, &valid, limits, OtherContent::Remove, is_future, &mut part)?;
        let future = summary_of(version, &part, limits)?;
        if has_content(&future) {
            let reason = too_far_ahead(&future, *horizon);
            refused.push(Refused::new(version, &part, reason, Why::Future, rules)?);
        }
    }
    let summary = summary_of(version, &message, limits)?;
    if !has_content(&summary) {
        return Ok(Judged { valid: None, refused });
    }
    let mut body = Vec::new();
    Compressor::new().compress(&message, &mut body)?;
    Ok(Judged { valid: Some(Valid { body: body.into(), summary }), refused })
}

/// The series that are refused by the rules of the source, by their number.
fn refusals(
    version: WriteVersion,
    message: &[u8],
    report: &ValidationReport,
    rules: &Rules,
) -> Result<BTreeMap<usize, Refusal>, DecodeError> {
    let mut refusals = BTreeMap::new();
    if rules.refused_label.is_none() && rules.active.is_none() {
        return Ok(refusals);
    }
    let now = Instant::now();
    match version {
        WriteVersion::V1 => {
            for series in WriteRequestView::new(message).series() {
                let series = series?;
                if !report.is_rejected(series.index()) {
                    refusals.extend(rules.refusal(series.labels(), now).map(|why| (series.index(), why)));
                }
            }
        }
        WriteVersion::V2 => {
            let view = WriteRequestV2View::new(message, &rules.limits)?;
            for series in view.series() {
                let series = series?;
                if !report.is_rejected(series.index()) {
                    let labels = series.labels(view.symbols());
                    refusals.extend(rules.refusal(labels, now).map(|why| (series.index(), why)));
                }
            }
        }
    }
    Ok(refusals)
}

fn part_of_series(
    version: WriteVersion,
    message: &[u8],
    limits: &Limits,
    keep: impl Fn(usize) -> bool,
    output: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    match version {
        WriteVersion::V1 => keep_series(message, |series| keep(series.index()), output)?,
        WriteVersion::V2 => keep_series_v2(message, limits, |series| keep(series.index()), output)?,
    };
    Ok(())
}

fn part_of_samples(
    version: WriteVersion,
    message: &[u8],
    limits: &Limits,
    others: OtherContent,
    keep: impl Fn(i64) -> bool,
    output: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    match version {
        WriteVersion::V1 => keep_samples(message, others, |_, point| keep(point.timestamp_ms), output)?,
        WriteVersion::V2 => {
            keep_samples_v2(message, limits, others, |_, point| keep(point.timestamp_ms), output)?
        }
    };
    Ok(())
}

pub(crate) fn summary_of(
    version: WriteVersion,
    message: &[u8],
    limits: &Limits,
) -> Result<Summary, DecodeError> {
    match version {
        WriteVersion::V1 => WriteRequestView::new(message).summary(limits),
        WriteVersion::V2 => WriteRequestV2View::new(message, limits)?.summary(limits),
    }
}

/// Symbols alone are none.
fn has_content(summary: &Summary) -> bool {
    summary.series > 0 || summary.metadata > 0 || summary.unknown_fields > 0
}

impl Refused {
    fn new(
        version: WriteVersion,
        message: &[u8],
        reason: String,
        why: Why,
        rules: &Rules,
    ) -> Result<Self, JudgeError> {
        let summary = summary_of(version, message, &rules.limits)?;
        let mut body = Vec::new();
        Compressor::new().compress(message, &mut body)?;
        let header = Header {
            time_ms: rules.horizon.now_ms,
            stage: Stage::Ingest,
            reason,
            status: None,
            series: summary.series,
            samples: summary.samples + summary.histograms,
            destination: None,
            format: format_of(version),
        };
        Ok(Self { header, body, why })
    }

    /// What the sender is told.
    pub(super) fn message(&self) -> String {
        let Header { series, samples, reason, .. } = &self.header;
        match self.why {
            Why::Series { of_series } => {
                format!(
                    "{series} of {of_series} series refused and set aside, the others are stored: {reason}"
                )
            }
            Why::Future => {
                format!("{samples} samples refused and set aside, the others are stored: {reason}")
            }
        }
    }
}

fn too_far_ahead(summary: &Summary, horizon: Horizon) -> String {
    let latest = summary.timestamps.map_or(0, |bounds| bounds.max_ms);
    let ahead = latest.saturating_sub(horizon.now_ms) as f64 / 1e3;
    let limit = horizon.limit_ms as f64 / 1e3;
    format!(
        "more than {limit} s ahead of the merger's clock: the latest at {latest} ms is {ahead:.3} s ahead"
    )
}

/// Why the first few refused series are.
fn reasons(report: &ValidationReport, refusals: &BTreeMap<usize, Refusal>, rules: &Rules) -> String {
    let faulty = report.verdicts.iter().filter(|verdict| verdict.is_rejected());
    let faulty = faulty.map(|verdict| {
        let faults = verdict.faults.iter().filter(|fault| fault.severity() == Severity::Rejected);
        let faults: Vec<_> = faults.map(ToString::to_string).collect();
        (verdict.series, faults.join(", "))
    });
    let refused = refusals.iter().map(|(series, refusal)| {
        let words = match refusal {
            Refusal::HasLabel => {
                format!("has the label {} already", rules.refused_label.as_deref().unwrap_or_default())
            }
            Refusal::OverActive => {
                let limit = rules.active.as_ref().map_or(0, |(_, limit)| *limit);
                format!("new, over the limit of {limit} active series")
            }
        };
        (*series, words)
    });
    let mut all: Vec<_> = faulty.take(MAX_REASONS).chain(refused.take(MAX_REASONS)).collect();
    all.sort_by_key(|(series, _)| *series);
    let mut text = String::new();
    for (series, words) in all.iter().take(MAX_REASONS) {
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{separator}series {series}: {words}");
    }
    let more = (report.rejected_count() + refusals.len()).saturating_sub(MAX_REASONS);
    if more > 0 {
        let _ = write!(text, "; and {more} more");
    }
    text
}

/// Judges any bytes as the body of a request and checks that nothing of it is lost; for fuzzing.
///
/// # Panics
/// A sample of a well-formed request is neither in the valid part nor in a refused one.
#[doc(hidden)]
pub fn fuzz_judge(version: WriteVersion, compressed: &[u8]) {
    let mut limits = Limits::default();
    limits.max_decoded_bytes = 1 << 20;
    limits.max_labels_per_series = 8;
    let mut decoded = Vec::new();
    if decompress(compressed, &limits, &mut decoded).is_err() {
        return;
    }
    let Ok(whole) = summary_of(version, &decoded, &limits) else { return };
    let active = Some((Arc::new(ActiveSeries::default()), 4));
    let horizon = Horizon { now_ms: 1_700_000_000_000, limit_ms: 1 };
    let rules = Rules { limits, horizon, refused_label: Some("source".to_owned()), active };
    let (compressed, decoded) = (Bytes::copy_from_slice(compressed), Bytes::from(decoded));
    let Ok(incoming) = Incoming::validated(version, compressed.clone(), decoded, &rules.limits) else {
        return;
    };
    let Ok(Judged { valid, refused }) = judge(incoming, &rules) else { return };
    if refused.is_empty() {
        assert!(valid.as_ref().is_none_or(|valid| valid.body == compressed), "not as received");
    }
    let kept = valid.map_or(0, |valid| valid.summary.samples + valid.summary.histograms);
    let set_aside: usize = refused.iter().map(|refused| refused.header.samples).sum();
    assert_eq!(kept + set_aside, whole.samples + whole.histograms, "samples are lost");
}

const MAX_REASONS: usize = 5;
