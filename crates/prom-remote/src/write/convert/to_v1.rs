//! From 2.0 to 1.0.

use std::collections::HashMap;

use super::{ConversionReport, LossKind};
use crate::{
    DecodeError, DecodeErrorKind, HistogramView, LabelView, Limits, WriteRequestV2View,
    wire::{Field, put_bytes, put_bytes_unless_empty, put_varint},
    write::{
        v2::{self, EntryV2, MetadataV2View, SeriesV2View, SymbolTable},
        view,
    },
};

/// A 2.0 request as 1.0 requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConvertedV1 {
    /// The series.
    pub request: Vec<u8>,
    /// What the metrics are, in a request of its own, as senders of 1.0 send it; empty if the series do not tell.
    pub metadata: Vec<u8>,
    /// What was written and what was left out.
    pub report: ConversionReport,
}

/// Converts a 2.0 request to 1.0.
///
/// Samples and histograms without a start timestamp keep all their bytes, unknown fields included. A series that has
/// nothing left (because its histograms have custom buckets) is left out. Metadata stands once for each metric family:
/// the metric name, without `_bucket`, `_sum` and `_count` for histograms and summaries.
///
/// The result can be far larger than the request, as symbols become text again: at most
/// [`Limits::max_decoded_bytes`].
///
/// # Errors
/// Malformed bytes, label references that are not pairs of symbols, or more than the limits allow.
pub fn convert_to_v1(request: &[u8], limits: &Limits) -> Result<ConvertedV1, DecodeError> {
    let view = WriteRequestV2View::new(request, limits)?;
    let mut conversion = Conversion {
        symbols: view.symbols(),
        limits,
        converted: ConvertedV1::default(),
        families: HashMap::new(),
    };
    for entry in view.entries() {
        match entry? {
            EntryV2::Symbol(_) => {}
            EntryV2::Series(series) => {
                conversion.series(&series).map_err(|error| error.in_series(series.index()))?;
            }
            EntryV2::Unknown(_) => conversion.converted.report.lose(LossKind::UnknownFields, 1, None),
        }
    }
    Ok(conversion.converted)
}

struct Conversion<'a, 's> {
    symbols: &'s SymbolTable<'a>,
    limits: &'s Limits,
    converted: ConvertedV1,
    families: HashMap<&'a [u8], MetadataV2View>,
}

impl<'a> Conversion<'a, '_> {
    fn series(&mut self, series: &SeriesV2View<'a>) -> Result<(), DecodeError> {
        let error = |kind| DecodeError::new(kind, series.byte_range().start);
        let index = series.index();
        if index >= self.limits.max_series {
            return Err(error(DecodeErrorKind::TooManySeries { limit: self.limits.max_series }));
        }
        let ConversionReport { samples, histograms, .. } = &self.converted.report;
        if samples + histograms + series.sample_count() + series.histogram_count() > self.limits.max_samples {
            return Err(error(DecodeErrorKind::TooManySamples { limit: self.limits.max_samples }));
        }
        if series.ref_count() / 2 > self.limits.max_labels_per_series {
            return Err(error(DecodeErrorKind::TooManyLabels { limit: self.limits.max_labels_per_series }));
        }
        let mut body = Vec::new();
        let labels = series.labels(self.symbols);
        if labels.clone().count() * 2 != series.ref_count() {
            return Err(error(DecodeErrorKind::BadLabelRefs));
        }
        labels.for_each(|label| put_label(&mut body, view::LABELS, label));
        let report = &mut self.converted.report;
        for field in series.fields_of(v2::SAMPLES) {
            put_without_start(&mut body, view::SAMPLES, &field, 3)?;
        }
        for exemplar in series.exemplars() {
            let mut message = Vec::new();
            let labels = exemplar.labels(self.symbols);
            if labels.clone().count() * 2 != exemplar.ref_count() {
                return Err(error(DecodeErrorKind::BadLabelRefs));
            }
            labels.for_each(|label| put_label(&mut message, 1, label));
            v2::put_value_and_time(&mut message, [2, 3], exemplar.sample());
            put_bytes(&mut body, view::EXEMPLARS as u8, &message);
        }
        let mut histograms = 0;
        for field in series.fields_of(v2::HISTOGRAMS) {
            if HistogramView::new(&field)?.has_custom_buckets() {
                report.lose(LossKind::CustomBuckets, 1, Some(index));
                continue;
            }
            histograms += 1;
            put_without_start(&mut body, view::HISTOGRAMS, &field, 17)?;
        }
        let lost_starts = series.start_timestamp_count() - custom_starts(series)?;
        report.lose(LossKind::StartTimestamps, lost_starts, Some(index));
        report.lose(LossKind::UnknownFields, series.unknown_field_count(), Some(index));
        self.metadata(series)?;
        let had_content = series.sample_count() + series.histogram_count() + series.exemplar_count() > 0;
        if had_content && series.sample_count() + histograms + series.exemplar_count() == 0 {
            return Ok(());
        }
        let ConvertedV1 { request, report, .. } = &mut self.converted;
        report.series += 1;
        report.samples += series.sample_count();
        report.histograms += histograms;
        report.exemplars += series.exemplar_count();
        put_bytes(request, view::SERIES as u8, &body);
        if request.len() > self.limits.max_decoded_bytes {
            return Err(error(DecodeErrorKind::TooLong { limit: self.limits.max_decoded_bytes }));
        }
        Ok(())
    }

    fn metadata(&mut self, series: &SeriesV2View<'a>) -> Result<(), DecodeError> {
        let Some(metadata) = series.metadata() else { return Ok(()) };
        let Some(name) = series.label(b"__name__", self.symbols) else { return Ok(()) };
        let bad_ref = || DecodeError::new(DecodeErrorKind::BadLabelRefs, series.byte_range().start);
        let help = self.symbols.get(metadata.help).ok_or_else(bad_ref)?;
        let unit = self.symbols.get(metadata.unit).ok_or_else(bad_ref)?;
        if metadata == MetadataV2View::default() {
            return Ok(());
        }
        let family = family(name, metadata.metric_type);
        match self.families.get(family) {
            Some(known) if *known == metadata => return Ok(()),
            Some(_) => {
                let index = Some(series.index());
                self.converted.report.lose(LossKind::ContradictingMetadata, 1, index);
                return Ok(());
            }
            None => drop(self.families.insert(family, metadata)),
        }
        let mut message = Vec::new();
        if metadata.metric_type != 0 {
            message.push(1 << 3);
            put_varint(&mut message, i64::from(metadata.metric_type) as u64);
        }
        put_bytes_unless_empty(&mut message, 2, family);
        put_bytes_unless_empty(&mut message, 4, help);
        put_bytes_unless_empty(&mut message, 5, unit);
        let output = &mut self.converted.metadata;
        put_bytes(output, view::METADATA as u8, &message);
        if output.len() > self.limits.max_decoded_bytes {
            let kind = DecodeErrorKind::TooLong { limit: self.limits.max_decoded_bytes };
            return Err(DecodeError::new(kind, series.byte_range().start));
        }
        Ok(())
    }
}

/// How many of the start timestamps stand in histograms with custom buckets.
fn custom_starts(series: &SeriesV2View<'_>) -> Result<usize, DecodeError> {
    let mut count = 0;
    for field in series.fields_of(v2::HISTOGRAMS) {
        let is_custom = HistogramView::new(&field)?.has_custom_buckets();
        count += usize::from(is_custom && v2::start_of_histogram(&field)? != 0);
    }
    Ok(count)
}

/// The metric family of a metric name: classic histograms and summaries are several metrics.
pub(super) fn family(name: &[u8], metric_type: i32) -> &[u8] {
    let suffixes: &[&[u8]] = match metric_type {
        // Histogram and gauge histogram.
        3 | 4 => &[b"_bucket", b"_sum", b"_count"],
        // Summary.
        5 => &[b"_sum", b"_count"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| name.strip_suffix(*suffix)).unwrap_or(name)
}

fn put_label(output: &mut Vec<u8>, field: u32, label: LabelView<'_>) {
    let mut message = Vec::with_capacity(label.name.len() + label.value.len() + 8);
    put_bytes_unless_empty(&mut message, 1, label.name);
    put_bytes_unless_empty(&mut message, 2, label.value);
    put_bytes(output, field as u8, &message);
}

/// Copies a message under another field number, without its start timestamp.
fn put_without_start(
    output: &mut Vec<u8>,
    number: u32,
    message: &Field<'_>,
    start: u32,
) -> Result<(), DecodeError> {
    let bytes = message.bytes()?;
    let mut kept = Vec::new();
    let mut fields = message.message()?;
    let mut has_start = false;
    while let Some(field) = fields.next()? {
        if field.number == start {
            has_start = true;
        } else {
            kept.extend_from_slice(bytes.get(field.start..field.end).unwrap_or_default());
        }
    }
    put_bytes(output, number as u8, if has_start { &kept } else { bytes });
    Ok(())
}
