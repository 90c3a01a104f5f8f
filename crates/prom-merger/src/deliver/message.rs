//! A request of either version of the protocol, without the label of its source.

use prom_remote::{
    DecodeError, KeepReport, LabelView, Limits, OtherContent, Point, SeriesV2View, SeriesView, Summary,
    SymbolTable, TimestampBounds, WriteRequestV2View, WriteRequestView, decompress, keep_samples,
    keep_samples_v2,
};

use crate::source::{FORMAT_V1, FORMAT_V2};

/// A version of remote write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Version {
    V1,
    V2,
}

/// A decoded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) version: Version,
    pub(super) bytes: Vec<u8>,
}

/// A series of either version.
pub(super) enum AnySeries<'a, 's> {
    V1(&'s SeriesView<'a>),
    V2(&'s SeriesV2View<'a>, &'s SymbolTable<'a>),
}

impl Version {
    /// The version of the records that begin with this byte.
    pub(crate) fn of_format(format: u8) -> Option<Self> {
        match format {
            FORMAT_V1 => Some(Self::V1),
            FORMAT_V2 => Some(Self::V2),
            _ => None,
        }
    }

    pub(crate) fn format(self) -> u8 {
        match self {
            Self::V1 => FORMAT_V1,
            Self::V2 => FORMAT_V2,
        }
    }

    /// Walks the whole message and counts what is in it.
    pub(super) fn summary(self, message: &[u8], limits: &Limits) -> Result<Summary, DecodeError> {
        match self {
            Self::V1 => WriteRequestView::new(message).summary(limits),
            Self::V2 => WriteRequestV2View::new(message, limits)?.summary(limits),
        }
    }

    /// Copies the message with those samples and histograms that `keep` wants; empty if nothing is left.
    pub(super) fn keep(
        self,
        message: &[u8],
        limits: &Limits,
        others: OtherContent,
        mut keep: impl FnMut(&AnySeries<'_, '_>, Point) -> bool,
        output: &mut Vec<u8>,
    ) -> Result<KeepReport, DecodeError> {
        match self {
            Self::V1 => {
                keep_samples(message, others, |series, point| keep(&AnySeries::V1(series), point), output)
            }
            Self::V2 => {
                let view = WriteRequestV2View::new(message, limits)?;
                let keep =
                    |series: &SeriesV2View<'_>, point| keep(&AnySeries::V2(series, view.symbols()), point);
                keep_samples_v2(message, limits, others, keep, output)
            }
        }
    }

    /// Walks the series until `visit` says that it has seen enough; tells whether it did.
    pub(super) fn any_series(
        self,
        message: &[u8],
        limits: &Limits,
        mut visit: impl FnMut(&AnySeries<'_, '_>) -> bool,
    ) -> Result<bool, DecodeError> {
        match self {
            Self::V1 => {
                for series in WriteRequestView::new(message).series() {
                    if visit(&AnySeries::V1(&series?)) {
                        return Ok(true);
                    }
                }
            }
            Self::V2 => {
                let view = WriteRequestV2View::new(message, limits)?;
                for series in view.series() {
                    if visit(&AnySeries::V2(&series?, view.symbols())) {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }
}

impl Message {
    /// Decodes a journal record.
    pub(super) fn decode(payload: &[u8], limits: &Limits) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let version = decode_into(payload, limits, &mut bytes)?;
        Ok(Self { version, bytes })
    }
}

/// Decodes a journal record into the message that the sender sent.
pub(super) fn decode_into(payload: &[u8], limits: &Limits, decoded: &mut Vec<u8>) -> Result<Version, String> {
    let Some((format, body)) = payload.split_first() else {
        return Err("journal record is empty".to_owned());
    };
    let Some(version) = Version::of_format(*format) else {
        return Err(format!("journal record of unknown format {format}"));
    };
    decompress(body, limits, decoded).map_err(|error| error.to_string())?;
    Ok(version)
}

/// Decodes a journal record and tells what stands in it.
pub(crate) fn summary(payload: &[u8], limits: &Limits, decoded: &mut Vec<u8>) -> Result<Summary, String> {
    let version = decode_into(payload, limits, decoded)?;
    version.summary(decoded, limits).map_err(|error| error.to_string())
}

impl AnySeries<'_, '_> {
    pub(super) fn index(&self) -> usize {
        match self {
            Self::V1(series) => series.index(),
            Self::V2(series, _) => series.index(),
        }
    }

    /// Samples and native histograms.
    pub(super) fn point_count(&self) -> usize {
        match self {
            Self::V1(series) => series.sample_count() + series.histogram_count(),
            Self::V2(series, _) => series.sample_count() + series.histogram_count(),
        }
    }

    pub(super) fn histogram_count(&self) -> usize {
        match self {
            Self::V1(series) => series.histogram_count(),
            Self::V2(series, _) => series.histogram_count(),
        }
    }

    pub(super) fn timestamps(&self) -> Option<TimestampBounds> {
        match self {
            Self::V1(series) => series.timestamps(),
            Self::V2(series, _) => series.timestamps(),
        }
    }

    /// Whether time goes strictly forward through the samples, and through the histograms.
    pub(super) fn is_in_time_order(&self) -> bool {
        match self {
            Self::V1(series) => series.is_in_time_order(),
            Self::V2(series, _) => series.is_in_time_order(),
        }
    }

    pub(super) fn sample_times(&self) -> Vec<i64> {
        match self {
            Self::V1(series) => series.samples().map(|sample| sample.timestamp_ms).collect(),
            Self::V2(series, _) => series.samples().map(|sample| sample.sample.timestamp_ms).collect(),
        }
    }

    pub(super) fn for_each_label(&self, mut visit: impl FnMut(LabelView<'_>)) {
        match self {
            Self::V1(series) => series.labels().for_each(&mut visit),
            Self::V2(series, symbols) => series.labels(symbols).for_each(&mut visit),
        }
    }
}
