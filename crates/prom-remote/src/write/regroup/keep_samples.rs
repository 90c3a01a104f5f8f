//! A request with some of its samples.

use crate::{
    DecodeError, Entry, EntryV2, KeepReport, Limits, SeriesV2View, SeriesView, WriteRequestV2View,
    WriteRequestView,
    wire::{Field, Fields, put_bytes},
    write::{
        v2,
        view::{self, HistogramView, SERIES, sample},
    },
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
                let message = series.message_bytes();
                judge(V1, message, &mut report, &mut kept, |point| keep(&series, point))?;
                match Stay::of(&kept, others) {
                    Stay::None => continue,
                    Stay::Part => {
                        put_part(V1, message, others, &kept, &mut body)?;
                        put_bytes(output, SERIES as u8, &body);
                        continue;
                    }
                    Stay::Whole => series.byte_range(),
                }
            }
            Entry::Metadata(_) | Entry::Unknown(_) if others == OtherContent::Remove => continue,
            Entry::Metadata(metadata) => metadata.field,
            Entry::Unknown(unknown) => unknown.field,
        };
        output.extend_from_slice(request.get(place).unwrap_or_default());
    }
    Ok(report)
}

/// Copies a 2.0 request with those samples and native histograms that `keep` wants, as [`keep_samples`] does for 1.0.
///
/// Metadata of a series stays with it. All symbols stay, so that no reference changes; without any series and any
/// unknown field left the output is empty.
///
/// # Errors
/// The bytes are not a `Request`, or it has too many symbols; `output` then holds nothing useful.
pub fn keep_samples_v2(
    request: &[u8],
    limits: &Limits,
    others: OtherContent,
    mut keep: impl FnMut(&SeriesV2View<'_>, Point) -> bool,
    output: &mut Vec<u8>,
) -> Result<KeepReport, DecodeError> {
    output.clear();
    let mut report = KeepReport::default();
    let (mut kept, mut body) = (Vec::new(), Vec::new());
    let view = WriteRequestV2View::new(request, limits)?;
    let mut is_empty = true;
    let mut fields = Fields::new(request);
    for entry in view.entries() {
        // The walk over entries and this one pass the same fields.
        let place = fields.next()?.map_or(0..0, |field| field.start..field.end);
        match entry? {
            EntryV2::Symbol(_) => {}
            EntryV2::Series(series) => {
                let message = series.message_bytes();
                judge(V2, message, &mut report, &mut kept, |point| keep(&series, point))?;
                let stay = Stay::of(&kept, others);
                is_empty &= stay == Stay::None;
                match stay {
                    Stay::None => continue,
                    Stay::Part => {
                        put_part(V2, message, others, &kept, &mut body)?;
                        put_bytes(output, v2::SERIES as u8, &body);
                        continue;
                    }
                    Stay::Whole => {}
                }
            }
            _ if others == OtherContent::Remove => continue,
            _ => is_empty = false,
        }
        output.extend_from_slice(request.get(place).unwrap_or_default());
    }
    if is_empty {
        output.clear();
    }
    Ok(report)
}

/// What becomes of a series.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stay {
    None,
    Part,
    Whole,
}

impl Stay {
    fn of(kept: &[bool], others: OtherContent) -> Self {
        let count = kept.iter().filter(|is_kept| **is_kept).count();
        match count {
            0 if kept.is_empty() && others == OtherContent::Keep => Self::Whole,
            0 => Self::None,
            count if count < kept.len() => Self::Part,
            _ => Self::Whole,
        }
    }
}

/// The numbers of the fields of a series in one version of the protocol.
#[derive(Clone, Copy)]
struct SeriesFields {
    samples: u32,
    histograms: u32,
    exemplars: u32,
}

const V1: SeriesFields =
    SeriesFields { samples: view::SAMPLES, histograms: view::HISTOGRAMS, exemplars: view::EXEMPLARS };
const V2: SeriesFields =
    SeriesFields { samples: v2::SAMPLES, histograms: v2::HISTOGRAMS, exemplars: v2::EXEMPLARS };

/// Asks for each sample and histogram of a series.
fn judge(
    numbers: SeriesFields,
    message: &[u8],
    report: &mut KeepReport,
    kept: &mut Vec<bool>,
    mut keep: impl FnMut(Point) -> bool,
) -> Result<(), DecodeError> {
    kept.clear();
    let mut index = report.kept + report.removed;
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next()? {
        if let Some((timestamp_ms, value_bits)) = point(numbers, &field)? {
            kept.push(keep(Point { index, timestamp_ms, value_bits }));
            index += 1;
        }
    }
    let count = kept.iter().filter(|is_kept| **is_kept).count();
    report.kept += count;
    report.removed += kept.len() - count;
    Ok(())
}

fn point(numbers: SeriesFields, field: &Field<'_>) -> Result<Option<(i64, Option<u64>)>, DecodeError> {
    Ok(if field.number == numbers.samples {
        // The first two fields of a sample are the same in both versions.
        let sample = sample(field)?;
        Some((sample.timestamp_ms, Some(sample.value_bits)))
    } else if field.number == numbers.histograms {
        Some((HistogramView::new(field)?.timestamp_ms, None))
    } else {
        None
    })
}

fn put_part(
    numbers: SeriesFields,
    message: &[u8],
    others: OtherContent,
    kept: &[bool],
    body: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    body.clear();
    let mut kept = kept.iter();
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next()? {
        let stays = if field.number == numbers.samples || field.number == numbers.histograms {
            kept.next().is_some_and(|is_kept| *is_kept)
        } else {
            field.number != numbers.exemplars || others == OtherContent::Keep
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
        MetricType, Sample, WriteRequestBuilder, WriteRequestV2Builder,
        write::{
            strategies::{canonical_request, wild_request},
            v2::strategies as strategies_v2,
        },
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

    #[test]
    fn samples_of_2_0_stay_or_go_one_by_one() {
        let mut builder = WriteRequestV2Builder::new();
        builder.series([("__name__", "a")], [1, 2, 3].map(|time| Sample::new(time, 1.0)));
        builder.series([("__name__", "b")], [Sample::new(2, 4.0)]);
        let (request, limits) = (builder.finish(), Limits::default());
        let kept = |keep: fn(Point) -> bool| {
            let mut output = Vec::new();
            let report =
                keep_samples_v2(&request, &limits, OtherContent::Keep, |_, point| keep(point), &mut output);
            let view = WriteRequestV2View::new(&output, &limits).unwrap();
            let times: Vec<Vec<i64>> = view
                .series()
                .map(|series| {
                    series.unwrap().samples().map(|sample| sample.sample.timestamp_ms).collect::<Vec<_>>()
                })
                .collect();
            (report.unwrap().kept, times, output.is_empty())
        };
        assert_eq!(kept(|point| point.timestamp_ms != 2), (2, vec![vec![1, 3]], false));
        assert_eq!(kept(|point| point.index == 3), (1, vec![vec![2]], false));
        assert_eq!(kept(|_| false), (0, vec![], true));
    }

    proptest! {
        #[test]
        fn keeping_all_of_2_0_changes_no_byte(request in strategies_v2::wild_request()) {
            let (mut output, limits) = (Vec::new(), Limits::default());
            if keep_samples_v2(&request, &limits, OtherContent::Keep, |_, _| true, &mut output).is_ok() {
                let is_bare = WriteRequestV2View::new(&request, &limits).unwrap().entries()
                    .all(|entry| matches!(entry, Ok(EntryV2::Symbol(_))));
                prop_assert_eq!(output, if is_bare { Vec::new() } else { request });
            }
        }

        #[test]
        fn two_parts_of_2_0_have_every_sample_once(
            request in strategies_v2::tidy_request(),
            modulus in 1_usize..4,
        ) {
            let limits = Limits::default();
            let (mut one, mut other) = (Vec::new(), Vec::new());
            let first = |point: Point| point.index.is_multiple_of(modulus);
            keep_samples_v2(&request, &limits, OtherContent::Keep, |_, point| first(point), &mut one).unwrap();
            keep_samples_v2(&request, &limits, OtherContent::Remove, |_, point| !first(point), &mut other).unwrap();
            let summary = |bytes: &[u8]| {
                WriteRequestV2View::new(bytes, &limits).unwrap().summary(&limits).unwrap()
            };
            let (whole, parts) = (summary(&request), [summary(&one), summary(&other)]);
            prop_assert_eq!(parts[0].samples + parts[1].samples, whole.samples);
            prop_assert_eq!(parts[0].histograms + parts[1].histograms, whole.histograms);
        }

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
