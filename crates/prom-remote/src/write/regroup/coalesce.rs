//! Several requests as one.

use std::collections::HashMap;

use thiserror::Error;

use crate::{
    DecodeError, DecodeErrorKind, Entry, EntryV2, LabelView, Limits, WriteRequestV2View, WriteRequestView,
    wire::put_bytes,
    write::v2::{self, InternedSeries, Interner},
};

/// Requests cannot be one. Which request is counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CoalesceError {
    /// A request is malformed, or the whole goes over a limit.
    #[error("request {request}")]
    Decode {
        /// Which request.
        request: usize,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A request has fields that this crate does not know, which might mean something else in another request.
    #[error("request {request} has unknown fields")]
    UnknownFields {
        /// Which request.
        request: usize,
    },
    /// The time of a series would not go forward, so that a receiver would lose or refuse samples.
    #[error("time of series {series} of request {request} does not go forward")]
    TimeNotAscending {
        /// Which request.
        request: usize,
        /// Which series of the request.
        series: usize,
    },
}

/// What one request was made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoalesceReport {
    /// Series of the result.
    pub series: usize,
    /// Samples and histograms of the result.
    pub samples: usize,
}

/// Makes one 1.0 request of several, in their order; `output` is replaced.
///
/// Nothing is changed: on the wire the result is one request behind the other.
///
/// # Errors
/// A malformed request, unknown fields, a series whose time would not go forward, or more series, samples or bytes
/// than the limits allow in all.
pub fn concatenate(
    requests: &[&[u8]],
    limits: &Limits,
    output: &mut Vec<u8>,
) -> Result<CoalesceReport, CoalesceError> {
    output.clear();
    let mut clocks = Clocks::default();
    for (request, bytes) in requests.iter().enumerate() {
        let at = |source| CoalesceError::Decode { request, source };
        for entry in WriteRequestView::new(bytes).entries() {
            match entry.map_err(at)? {
                Entry::Series(series) if series.unknown_field_count() > 0 => {
                    return Err(CoalesceError::UnknownFields { request });
                }
                Entry::Series(series) => {
                    let samples = series.samples().map(|sample| sample.timestamp_ms);
                    let histograms = series.histograms().map(|histogram| histogram.timestamp_ms);
                    clocks
                        .advance(series.labels(), samples, histograms, limits)
                        .map_err(|stop| stop.at(request, series.index(), series.byte_range().start))?;
                }
                Entry::Metadata(_) => {}
                Entry::Unknown(_) => return Err(CoalesceError::UnknownFields { request }),
            }
        }
        if output.len() + bytes.len() > limits.max_decoded_bytes {
            let kind = DecodeErrorKind::TooLong { limit: limits.max_decoded_bytes };
            return Err(at(DecodeError::new(kind, 0)));
        }
        output.extend_from_slice(bytes);
    }
    Ok(clocks.report)
}

/// Makes one 2.0 request of several, in their order, with one table of symbols; `output` is replaced.
///
/// Labels, exemplars and metadata refer to the new table; samples and histograms keep their bytes. Symbols that
/// nothing refers to are left out.
///
/// # Errors
/// A malformed request, label references that are not pairs of symbols, unknown fields (which might refer to
/// symbols), a series whose time would not go forward, or more symbols, series, samples or bytes than the limits allow
/// in all.
pub fn merge_v2(
    requests: &[&[u8]],
    limits: &Limits,
    output: &mut Vec<u8>,
) -> Result<CoalesceReport, CoalesceError> {
    let mut clocks = Clocks::default();
    let (mut symbols, mut merged) = (Interner::default(), Vec::new());
    for (request, bytes) in requests.iter().enumerate() {
        let at = |source| CoalesceError::Decode { request, source };
        let view = WriteRequestV2View::new(bytes, limits).map_err(at)?;
        for entry in view.entries() {
            let series = match entry.map_err(at)? {
                EntryV2::Symbol(_) => continue,
                EntryV2::Series(series) if !v2::has_unknown_fields(&series) => series,
                _ => return Err(CoalesceError::UnknownFields { request }),
            };
            let samples = series.samples().map(|sample| sample.sample.timestamp_ms);
            let histograms = series.histograms().map(|histogram| histogram.timestamp_ms);
            let place = series.byte_range().start;
            clocks
                .advance(series.labels(view.symbols()), samples, histograms, limits)
                .map_err(|stop| stop.at(request, series.index(), place))?;
            let InternedSeries { labels, content, metadata } =
                InternedSeries::new(&series, view.symbols(), &mut symbols).map_err(at)?;
            let content: Vec<u8> = content.into_iter().flat_map(|(field, _)| field).collect();
            put_bytes(&mut merged, v2::SERIES as u8, &[labels, content, metadata].concat());
            let over = if symbols.len() > limits.max_symbols {
                Some(DecodeErrorKind::TooManySymbols { limit: limits.max_symbols })
            } else if symbols.encoded.len() + merged.len() > limits.max_decoded_bytes {
                Some(DecodeErrorKind::TooLong { limit: limits.max_decoded_bytes })
            } else {
                None
            };
            if let Some(kind) = over {
                return Err(at(DecodeError::new(kind, place).in_series(series.index())));
            }
        }
    }
    *output = symbols.encoded;
    output.extend_from_slice(&merged);
    Ok(clocks.report)
}

/// The last times of every series so far; as many as [`Limits::max_series`].
#[derive(Default)]
struct Clocks {
    last: HashMap<Vec<u8>, [Option<i64>; 2]>,
    report: CoalesceReport,
}

/// Why a series cannot be added.
enum Stop {
    Limit(DecodeErrorKind),
    Time,
}

impl Stop {
    fn at(self, request: usize, series: usize, offset: usize) -> CoalesceError {
        match self {
            Self::Time => CoalesceError::TimeNotAscending { request, series },
            Self::Limit(kind) => {
                CoalesceError::Decode { request, source: DecodeError::new(kind, offset).in_series(series) }
            }
        }
    }
}

impl Clocks {
    fn advance<'a>(
        &mut self,
        labels: impl Iterator<Item = LabelView<'a>>,
        samples: impl Iterator<Item = i64>,
        histograms: impl Iterator<Item = i64>,
        limits: &Limits,
    ) -> Result<(), Stop> {
        self.report.series += 1;
        if self.report.series > limits.max_series {
            return Err(Stop::Limit(DecodeErrorKind::TooManySeries { limit: limits.max_series }));
        }
        let [last_sample, last_histogram] = self.last.entry(series_key(labels)).or_default();
        let samples = samples.map(|time| (time, true)).chain(histograms.map(|time| (time, false)));
        for (time, is_sample) in samples {
            let last = if is_sample { &mut *last_sample } else { &mut *last_histogram };
            if last.is_some_and(|last| last >= time) {
                return Err(Stop::Time);
            }
            *last = Some(time);
            self.report.samples += 1;
        }
        if self.report.samples > limits.max_samples {
            return Err(Stop::Limit(DecodeErrorKind::TooManySamples { limit: limits.max_samples }));
        }
        Ok(())
    }
}

/// The same bytes for the same labels, whatever their order and whatever empty ones there are.
fn series_key<'a>(labels: impl Iterator<Item = LabelView<'a>>) -> Vec<u8> {
    let mut labels: Vec<_> = labels.filter(|label| !label.value.is_empty()).collect();
    labels.sort_unstable();
    let mut key = Vec::new();
    for LabelView { name, value } in labels {
        put_bytes(&mut key, 1, name);
        put_bytes(&mut key, 2, value);
    }
    key
}
