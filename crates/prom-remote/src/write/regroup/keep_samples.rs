//! A request with some of its samples.

use crate::{
    DecodeError, Entry, KeepReport, SeriesView, WriteRequestView,
    wire::{Field, Fields, put_bytes},
    write::view::{EXEMPLARS, HISTOGRAMS, HistogramView, SAMPLES, SERIES, sample},
};

/// One sample or native histogram of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Point {
    /// Its number among all samples and histograms of the request, in the order of the wire, from 0.
    pub index: usize,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The bits of the value; `None` for a native histogram.
    pub value_bits: Option<u64>,
}

/// What [`keep_samples`] does with all that is no sample and no native histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherContent {
    /// Metadata, unknown fields of the request, series without samples, and exemplars of series that stay.
    Keep,
    /// None of these, so that of several parts of a request only one has them. Labels and unknown fields of a series
    /// stay with its samples; a series of which all samples stay is not touched.
    Remove,
}

/// Copies a 1.0 request with those samples and native histograms that `keep` wants; what stays is copied byte for byte
/// and in its order.
///
/// A series of which nothing is left is left out. `keep` is called once for each, in the order of the wire. The report
/// counts samples and histograms.
///
/// # Errors
/// The bytes are not a `WriteRequest`; `output` then holds nothing useful.
pub fn keep_samples(
    request: &[u8],
    others: OtherContent,
    mut keep: impl FnMut(&SeriesView<'_>, Point) -> bool,
    output: &mut Vec<u8>,
) -> Result<KeepReport, DecodeError> {
    output.clear();
    let mut report = KeepReport::default();
    let (mut kept, mut body) = (Vec::new(), Vec::new());
    for entry in WriteRequestView::new(request).entries() {
        let place = match entry? {
            Entry::Series(series) => {
                kept.clear();
                each_point(&series, report.kept + report.removed, |point| kept.push(keep(&series, point)))?;
                let count = kept.iter().filter(|is_kept| **is_kept).count();
                report.kept += count;
                report.removed += kept.len() - count;
                if count > 0 && count < kept.len() {
                    put_part(&series, others, &kept, &mut body)?;
                    put_bytes(output, SERIES as u8, &body);
                    continue;
                }
                let is_whole = if kept.is_empty() { others == OtherContent::Keep } else { count > 0 };
                if !is_whole {
                    continue;
                }
                series.byte_range()
            }
            Entry::Metadata(_) | Entry::Unknown(_) if others == OtherContent::Remove => continue,
            Entry::Metadata(metadata) => metadata.field,
            Entry::Unknown(unknown) => unknown.field,
        };
        output.extend_from_slice(request.get(place).unwrap_or_default());
    }
    Ok(report)
}

fn each_point(
    series: &SeriesView<'_>,
    first: usize,
    mut visit: impl FnMut(Point),
) -> Result<(), DecodeError> {
    let mut index = first;
    let mut fields = Fields::new(series.message_bytes());
    while let Some(field) = fields.next()? {
        if let Some((timestamp_ms, value_bits)) = point(&field)? {
            visit(Point { index, timestamp_ms, value_bits });
            index += 1;
        }
    }
    Ok(())
}

fn point(field: &Field<'_>) -> Result<Option<(i64, Option<u64>)>, DecodeError> {
    Ok(match field.number {
        SAMPLES => {
            let sample = sample(field)?;
            Some((sample.timestamp_ms, Some(sample.value_bits)))
        }
        HISTOGRAMS => Some((HistogramView::new(field)?.timestamp_ms, None)),
        _ => None,
    })
}

fn put_part(
    series: &SeriesView<'_>,
    others: OtherContent,
    kept: &[bool],
    body: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    body.clear();
    let message = series.message_bytes();
    let mut kept = kept.iter();
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next()? {
        let stays = match field.number {
            SAMPLES | HISTOGRAMS => kept.next().is_some_and(|is_kept| *is_kept),
            EXEMPLARS => others == OtherContent::Keep,
            _ => true,
        };
        if stays {
            body.extend_from_slice(message.get(field.start..field.end).unwrap_or_default());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        MetricType, Sample, WriteRequestBuilder,
        write::strategies::{canonical_request, wild_request},
    };

    fn sample_request() -> Vec<u8> {
        let mut builder = WriteRequestBuilder::new();
        builder.series([("__name__", "a")], [Sample::new(1, 1.0), Sample::new(2, 2.0), Sample::new(3, 3.0)]);
        builder.series([("__name__", "b")], [Sample::new(2, 4.0)]);
        builder.series::<&str, &str>([("__name__", "none")], []);
        builder.metadata(MetricType::Counter, "a", "help", "");
        builder.finish()
    }

    /// Series as name and times, and the number of metadata entries.
    #[track_caller]
    fn check(
        others: OtherContent,
        keep: impl Fn(Point) -> bool,
        expected: &[(&str, &[i64])],
        metadata: usize,
    ) {
        let mut output = Vec::new();
        let request = sample_request();
        let report = keep_samples(&request, others, |_, point| keep(point), &mut output).unwrap();
        let view = WriteRequestView::new(&output);
        let found: Vec<_> = view
            .series()
            .map(|series| {
                let series = series.unwrap();
                let name = String::from_utf8(series.label(b"__name__").unwrap().to_vec()).unwrap();
                (name, series.samples().map(|sample| sample.timestamp_ms).collect::<Vec<_>>())
            })
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(name, times)| ((*name).to_owned(), times.to_vec())).collect();
        assert_eq!(found, expected);
        assert_eq!(view.summary(&crate::Limits::default()).unwrap().metadata, metadata);
        assert_eq!(report.kept, expected.iter().map(|(_, times)| times.len()).sum::<usize>());
        assert_eq!(report.kept + report.removed, 4);
    }

    #[test]
    fn samples_stay_or_go_one_by_one() {
        use OtherContent::{Keep, Remove};
        check(Keep, |point| point.timestamp_ms != 2, &[("a", &[1, 3]), ("none", &[])], 1);
        check(Remove, |point| point.timestamp_ms == 2, &[("a", &[2]), ("b", &[2])], 0);
        check(Keep, |point| point.index == 3, &[("b", &[2]), ("none", &[])], 1);
        check(Remove, |point| point.value_bits == Some(2.0_f64.to_bits()), &[("a", &[2])], 0);
        check(Keep, |_| false, &[("none", &[])], 1);
        check(Remove, |_| false, &[], 0);
    }

    proptest! {
        #[test]
        fn keeping_all_changes_no_byte(request in wild_request()) {
            let mut output = Vec::new();
            if keep_samples(&request, OtherContent::Keep, |_, _| true, &mut output).is_ok() {
                prop_assert_eq!(output, request);
            }
        }

        #[test]
        fn two_parts_have_every_sample_once(request in canonical_request(), modulus in 1_usize..4) {
            let (mut one, mut other) = (Vec::new(), Vec::new());
            keep_samples(&request, OtherContent::Keep, |_, point| point.index % modulus == 0, &mut one).unwrap();
            keep_samples(&request, OtherContent::Remove, |_, point| point.index % modulus != 0, &mut other).unwrap();
            let limits = crate::Limits::default();
            let whole = WriteRequestView::new(&request).summary(&limits).unwrap();
            let parts = [&one, &other].map(|part| WriteRequestView::new(part).summary(&limits).unwrap());
            let sum = |count: fn(&crate::Summary) -> usize| parts.iter().map(count).sum::<usize>();
            prop_assert_eq!(sum(|summary| summary.samples), whole.samples);
            prop_assert_eq!(sum(|summary| summary.histograms), whole.histograms);
            prop_assert_eq!(sum(|summary| summary.metadata), whole.metadata);
        }
    }
}
