//! A borrowed walk over a `WriteRequest`: nothing is copied, nothing is allocated.

mod leaves;
mod series;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub(super) use self::leaves::{check_exemplar, sample};
pub use self::{
    leaves::{HistogramView, MetadataView},
    series::{LabelView, Labels, SeriesView},
};
use super::scan::{Content, SeriesScanner};
use crate::{DecodeError, DecodeErrorKind, Limits, TimestampBounds, wire::Fields};

/// A decoded (no longer compressed) `prometheus.WriteRequest`, borrowed.
///
/// The walk accepts exactly what a protobuf decoder accepts, except that labels and metadata may hold any bytes:
/// whether these are UTF-8 is for [`validate`](crate::validate()) to say, series by series.
#[derive(Debug, Clone, Copy)]
pub struct WriteRequestView<'a> {
    bytes: &'a [u8],
}

impl<'a> WriteRequestView<'a> {
    /// Looks at the bytes of a request; they are checked while walking, not here.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Walks everything in the request in the order of the wire.
    ///
    /// After the first error the walk ends.
    pub fn entries(&self) -> Entries<'a> {
        Entries { fields: Some(Fields::new(self.bytes)), next_series: 0 }
    }

    /// Walks the series of the request, passing over metadata and unknown fields.
    pub fn series(&self) -> impl Iterator<Item = Result<SeriesView<'a>, DecodeError>> + use<'a> {
        self.entries().filter_map(|entry| match entry {
            Ok(Entry::Series(series)) => Some(Ok(series)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// Walks the whole request once and counts what is in it.
    ///
    /// An `Ok` means that the whole message is well formed.
    ///
    /// # Errors
    /// Malformed bytes, or more series or samples than the limits allow.
    pub fn summary(&self, limits: &Limits) -> Result<Summary, DecodeError> {
        self.summary_with(limits, |_| {})
    }

    /// Does the same, and shows each series on the way: what tells whether series run backwards through several requests.
    ///
    /// # Errors
    /// Those of [`summary`](Self::summary); some series have been shown by then.
    pub fn summary_with(
        &self,
        limits: &Limits,
        mut visit: impl FnMut(SeriesTimes<'a>),
    ) -> Result<Summary, DecodeError> {
        let mut summary = Summary::default();
        let mut scanner = SeriesScanner::default();
        let mut fields = Fields::new(self.bytes);
        while let Some(field) = fields.next()? {
            match field.number {
                SERIES => {
                    let body = field.bytes().unwrap_or_default();
                    if scanner.scan(body, limits).is_some() {
                        let content = scanner.content();
                        summary.include_content(content, field.start, limits)?;
                        let labels = body.get(..scanner.label_start(scanner.label_count()));
                        visit(SeriesTimes::new(labels, content));
                    } else {
                        let series = SeriesView::new(&field, summary.series)?;
                        summary.include_series(&series, limits)?;
                        visit(SeriesTimes::new(None, series.content()));
                    }
                }
                METADATA => {
                    MetadataView::new(&field)?;
                    summary.metadata += 1;
                }
                _ => summary.unknown_fields += 1,
            }
        }
        Ok(summary)
    }
}

/// When a series has its samples; see [`WriteRequestView::summary_with`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeriesTimes<'a> {
    /// The label fields on the wire, the same bytes for the same labels. `None` if the labels are not written as every
    /// encoder does: first, sorted, none of them empty.
    pub labels: Option<&'a [u8]>,
    /// The earliest and latest timestamp of the samples and histograms.
    pub timestamps: Option<TimestampBounds>,
    /// Whether time goes strictly forward through the samples, and through the histograms.
    pub is_in_time_order: bool,
}

impl<'a> SeriesTimes<'a> {
    #[inline]
    fn new(labels: Option<&'a [u8]>, content: &Content) -> Self {
        Self { labels, timestamps: content.timestamps(), is_in_time_order: content.in_order }
    }
}

/// What a request holds, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Series, empty ones included; the same label set twice counts twice.
    pub series: usize,
    /// Samples of all series, stale markers included.
    pub samples: usize,
    /// Native histograms of all series.
    pub histograms: usize,
    /// Exemplars of all series.
    pub exemplars: usize,
    /// Metadata entries.
    pub metadata: usize,
    /// Fields of the request and of its series that this crate does not know.
    pub unknown_fields: usize,
    /// The earliest and latest timestamp of all samples and histograms; `None` when there are none.
    pub timestamps: Option<TimestampBounds>,
    /// Whether a sample is earlier than one that stands before it, of whatever series, or not later than one of its own
    /// series message.
    pub is_unordered: bool,
}

impl Summary {
    /// Counts one more series, which starts at `offset`.
    ///
    /// # Errors
    /// More series or samples than the limits allow.
    pub(crate) fn include_series(
        &mut self,
        series: &SeriesView<'_>,
        limits: &Limits,
    ) -> Result<(), DecodeError> {
        self.include_content(series.content(), series.byte_range().start, limits)
            .map_err(|error| error.in_series(series.index()))
    }

    #[inline]
    pub(crate) fn include_content(
        &mut self,
        content: &Content,
        offset: usize,
        limits: &Limits,
    ) -> Result<(), DecodeError> {
        let index = self.series;
        self.series += 1;
        self.samples += content.samples;
        self.histograms += content.histograms;
        self.exemplars += content.exemplars;
        self.unknown_fields += content.unknown_fields;
        let timestamps = content.timestamps();
        let is_earlier = match (self.timestamps, timestamps) {
            (Some(before), Some(new)) => new.min_ms < before.max_ms,
            _ => false,
        };
        self.is_unordered |= is_earlier || !content.in_order;
        TimestampBounds::merge(&mut self.timestamps, timestamps);
        let over_limit = if self.series > limits.max_series {
            DecodeErrorKind::TooManySeries { limit: limits.max_series }
        } else if self.samples + self.histograms > limits.max_samples {
            DecodeErrorKind::TooManySamples { limit: limits.max_samples }
        } else {
            return Ok(());
        };
        Err(DecodeError::new(over_limit, offset).in_series(index))
    }
}

/// Walks the entries of a request; see [`WriteRequestView::entries`].
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    fields: Option<Fields<'a>>,
    next_series: usize,
}

impl<'a> Entries<'a> {
    fn next_entry(&mut self) -> Result<Option<Entry<'a>>, DecodeError> {
        let Some(fields) = &mut self.fields else { return Ok(None) };
        let Some(field) = fields.next()? else { return Ok(None) };
        let entry = match field.number {
            SERIES => {
                let series = SeriesView::new(&field, self.next_series)?;
                self.next_series += 1;
                Entry::Series(series)
            }
            METADATA => Entry::Metadata(MetadataView::new(&field)?),
            number => Entry::Unknown(UnknownFieldView { number, field: field.start..field.end }),
        };
        Ok(Some(entry))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.next_entry();
        if entry.is_err() {
            self.fields = None;
        }
        entry.transpose()
    }
}

/// One field of a request.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Entry<'a> {
    /// A series (field 1).
    Series(SeriesView<'a>),
    /// What a metric is (field 3); real senders send it in requests of its own.
    Metadata(MetadataView<'a>),
    /// A field that this crate does not know; it is well formed and is kept by every edit.
    Unknown(UnknownFieldView),
}

/// A field of a request that this crate does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownFieldView {
    /// The number of the field.
    pub number: u32,
    /// Its place in the request, key included.
    pub field: Range<usize>,
}

// Field numbers of `WriteRequest`, `TimeSeries` and `Label` in proto/prometheus/remote.proto.
pub(super) const SERIES: u32 = 1;
pub(super) const METADATA: u32 = 3;
pub(super) const LABELS: u32 = 1;
pub(super) const SAMPLES: u32 = 2;
pub(super) const EXEMPLARS: u32 = 3;
pub(super) const HISTOGRAMS: u32 = 4;
pub(super) const LABEL_NAME: u32 = 1;
pub(super) const LABEL_VALUE: u32 = 2;
