//! What of a request is delivered now: series by series, sample by sample, byte for byte.

use prom_remote::{
    DecodeError, Limits, OtherContent, Point, STALE_MARKER_BITS, SeriesV2View, SeriesView, TimestampBounds,
    WriteRequestV2View, WriteRequestView, keep_samples, keep_samples_v2,
};
use prom_remote_http::WriteVersion;

use super::{
    identity::{SeriesKey, SeriesKeys},
    memory::Progress,
};

/// A decoded request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) version: WriteVersion,
    pub(crate) bytes: &'a [u8],
}

/// A part of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    All,
    Some(Vec<u8>),
    Nothing,
}

/// What of a request is later than the bounds of its series, and what is not.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) part: Part,
    pub(crate) rest: Part,
    /// Samples and histograms in the part.
    pub(crate) samples: u64,
    /// Samples and histograms in the rest.
    pub(crate) rest_samples: u64,
    /// How far the series of the part get.
    pub(crate) progress: Vec<Progress>,
}

/// Selects the samples that are later than the bound of their series, which `bounds_ms` tells for all at once. What is no sample
/// stays in the part.
pub(crate) fn select(
    message: Message<'_>,
    keys: &SeriesKeys,
    limits: &Limits,
    bounds_ms: impl FnOnce(&mut dyn Iterator<Item = SeriesKey>) -> Vec<i64>,
) -> Result<Selected, DecodeError> {
    let series = read(message, keys, limits)?;
    let bounds = bounds_ms(&mut series.iter().map(|series| series.key));
    let mut progress = Vec::with_capacity(series.len());
    let mut is_whole = true;
    for (series, bound_ms) in series.iter().zip(&bounds) {
        let Some(times) = series.times else { continue };
        is_whole &= times.min_ms > *bound_ms;
        if times.max_ms > *bound_ms {
            progress.push(Progress { key: series.key, last_ms: times.max_ms, has_ended: series.has_ended });
        }
    }
    if is_whole {
        let samples = series.iter().map(|series| series.samples).sum();
        return Ok(Selected { part: Part::All, rest: Part::Nothing, samples, rest_samples: 0, progress });
    }
    let is_later = |series: usize, time_ms| bounds.get(series).is_none_or(|bound_ms| time_ms > *bound_ms);
    let (part, samples) = keep(message, limits, OtherContent::Keep, is_later)?;
    let (rest, rest_samples) =
        keep(message, limits, OtherContent::Remove, |series, time_ms| !is_later(series, time_ms))?;
    Ok(Selected { part, rest, samples, rest_samples, progress })
}

fn keep(
    message: Message<'_>,
    limits: &Limits,
    others: OtherContent,
    keep: impl Fn(usize, i64) -> bool,
) -> Result<(Part, u64), DecodeError> {
    let mut part = Vec::new();
    let report = match message.version {
        WriteVersion::V1 => {
            let keep = |series: &SeriesView<'_>, point: Point| keep(series.index(), point.timestamp_ms);
            keep_samples(message.bytes, others, keep, &mut part)?
        }
        WriteVersion::V2 => {
            let keep = |series: &SeriesV2View<'_>, point: Point| keep(series.index(), point.timestamp_ms);
            keep_samples_v2(message.bytes, limits, others, keep, &mut part)?
        }
    };
    Ok((if part.is_empty() { Part::Nothing } else { Part::Some(part) }, report.kept as u64))
}

/// What is needed of a series.
struct Read {
    key: SeriesKey,
    times: Option<TimestampBounds>,
    samples: u64,
    /// Its last sample is a stale marker.
    has_ended: bool,
}

fn read(message: Message<'_>, keys: &SeriesKeys, limits: &Limits) -> Result<Vec<Read>, DecodeError> {
    let is_stale = |bits: Option<u64>| bits == Some(STALE_MARKER_BITS);
    match message.version {
        WriteVersion::V1 => WriteRequestView::new(message.bytes)
            .series()
            .map(|series| {
                let series = series?;
                Ok(Read {
                    key: keys.key(series.labels()),
                    times: series.timestamps(),
                    samples: (series.sample_count() + series.histogram_count()) as u64,
                    has_ended: is_stale(series.samples().last().map(|sample| sample.value_bits)),
                })
            })
            .collect(),
        WriteVersion::V2 => {
            let view = WriteRequestV2View::new(message.bytes, limits)?;
            view.series()
                .map(|series| {
                    let series = series?;
                    Ok(Read {
                        key: keys.key(series.labels(view.symbols())),
                        times: series.timestamps(),
                        samples: (series.sample_count() + series.histogram_count()) as u64,
                        has_ended: is_stale(series.samples().last().map(|sample| sample.sample.value_bits)),
                    })
                })
                .collect()
        }
    }
}
