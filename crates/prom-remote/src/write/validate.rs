//! Judges a request series by series, so that its valid part can be kept.

use thiserror::Error;

use super::view::{Entry, LabelView, SeriesView, Summary, WriteRequestView};
use crate::{DecodeError, Limits};

/// Judges every series of a request.
///
/// The report holds one verdict for each series that has a fault, none for a good one: its size is bounded by
/// [`Limits::max_series`].
///
/// # Errors
/// The bytes are not a `WriteRequest`, or it has more series or samples than the limits allow. A bad series is no
/// error but a verdict.
pub fn validate(request: &[u8], limits: &Limits) -> Result<ValidationReport, DecodeError> {
    let mut report = ValidationReport::default();
    for entry in WriteRequestView::new(request).entries() {
        let entry = entry?;
        report.summary.include(&entry, limits)?;
        let Entry::Series(series) = entry else { continue };
        let faults = series.faults(limits);
        if !faults.is_empty() {
            report.verdicts.push(SeriesVerdict { series: series.index(), faults });
        }
    }
    Ok(report)
}

/// Copies a request without the series that `keep` refuses; metadata and unknown fields are kept, and what is kept
/// is kept byte for byte.
///
/// `output` is replaced; it never grows over the length of `request`.
///
/// # Errors
/// The bytes are not a `WriteRequest`; `output` then holds nothing useful.
pub fn keep_series(
    request: &[u8],
    mut keep: impl FnMut(&SeriesView<'_>) -> bool,
    output: &mut Vec<u8>,
) -> Result<KeepReport, DecodeError> {
    output.clear();
    output.reserve(request.len());
    let mut report = KeepReport::default();
    for entry in WriteRequestView::new(request).entries() {
        let kept = match entry? {
            Entry::Series(series) if keep(&series) => {
                report.kept += 1;
                series.byte_range()
            }
            Entry::Series(_) => {
                report.removed += 1;
                continue;
            }
            Entry::Metadata(metadata) => metadata.field,
            Entry::Unknown(unknown) => unknown.field,
        };
        output.extend_from_slice(request.get(kept).unwrap_or_default());
    }
    Ok(report)
}

/// How many series [`keep_series`] kept and removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeepReport {
    /// Series copied.
    pub kept: usize,
    /// Series left out.
    pub removed: usize,
}

/// What [`validate`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ValidationReport {
    /// The counts of the whole request, bad series included.
    pub summary: Summary,
    /// The series with a fault, in ascending order of [`SeriesVerdict::series`]; good series are absent.
    pub verdicts: Vec<SeriesVerdict>,
}

impl ValidationReport {
    /// Returns the verdict on a series, or `None` if it has no fault.
    pub fn verdict(&self, series: usize) -> Option<&SeriesVerdict> {
        let position = self.verdicts.binary_search_by_key(&series, |verdict| verdict.series).ok()?;
        self.verdicts.get(position)
    }

    /// Tells whether a series must be kept from a shared destination.
    pub fn is_rejected(&self, series: usize) -> bool {
        self.verdict(series).is_some_and(SeriesVerdict::is_rejected)
    }

    /// Returns the number of rejected series.
    pub fn rejected_count(&self) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.is_rejected()).count()
    }
}

/// The faults of one series.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeriesVerdict {
    /// The number of the series in the request, from 0.
    pub series: usize,
    /// Its faults: each kind once, at its first place; never empty.
    pub faults: Vec<Fault>,
}

impl SeriesVerdict {
    /// Tells whether one of the faults rejects the series.
    pub fn is_rejected(&self) -> bool {
        self.faults.iter().any(|fault| fault.severity() == Severity::Rejected)
    }
}

/// What is wrong with a series. `label` is the number of the label in the series, from 0.
///
/// The rules are those of remote write 1.0, "Labels" and "Ordering"; a series without any sample is no fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The series has no label at all. Prometheus 2.42 answers 500, so that a sender retries for ever.
    #[error("no labels")]
    NoLabels,
    /// No `__name__`, or an empty one.
    #[error("no metric name")]
    MissingMetricName,
    /// A label without a name.
    #[error("label {label} has an empty name")]
    EmptyLabelName {
        /// Which label.
        label: usize,
    },
    /// A label name that an earlier label has. Prometheus 2.42 answers 500.
    #[error("label {label} repeats a name")]
    DuplicateLabelName {
        /// Which label, in the order of names if the labels are unsorted.
        label: usize,
    },
    /// A label name that is not UTF-8.
    #[error("label {label} has a name that is not UTF-8")]
    NameNotUtf8 {
        /// Which label.
        label: usize,
    },
    /// A label value that is not UTF-8. Prometheus 2.42 stores it and returns it.
    #[error("label {label} has a value that is not UTF-8")]
    ValueNotUtf8 {
        /// Which label.
        label: usize,
    },
    /// More labels than [`Limits::max_labels_per_series`].
    #[error("{count} labels, over the limit of {limit}")]
    TooManyLabels {
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A label name or value longer than [`Limits::max_label_bytes`].
    #[error("label {label} is {length} bytes long, over the limit of {limit}")]
    LabelTooLong {
        /// Which label.
        label: usize,
        /// The length of its name or value, whichever is longer, in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Labels that are not sorted by the bytes of their names. [`LabelSplicer`](crate::LabelSplicer) sorts them.
    #[error("label {label} is out of order")]
    UnsortedLabels {
        /// The first label whose name is less than the name before it.
        label: usize,
    },
    /// A label with an empty value; it means the same as no label, and every receiver takes it so.
    #[error("label {label} has an empty value")]
    EmptyLabelValue {
        /// Which label.
        label: usize,
    },
    /// Time stands still or goes backwards within the series. Prometheus answers 204 and loses the later sample.
    #[error("timestamps do not ascend")]
    TimeNotAscending,
}

impl Fault {
    /// Returns what the fault means for the series.
    pub fn severity(self) -> Severity {
        match self {
            Self::UnsortedLabels { .. } | Self::EmptyLabelValue { .. } | Self::TimeNotAscending => {
                Severity::Tolerated
            }
            _ => Severity::Rejected,
        }
    }
}

/// What a fault means for its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Against the specification, but the series means something and can be delivered (perhaps split or sorted).
    Tolerated,
    /// The series must not reach a destination that others share.
    Rejected,
}

impl SeriesView<'_> {
    /// Returns the faults of the series, each kind once at its first place; empty for a good series.
    ///
    /// Allocates only if there is a fault.
    pub fn faults(&self, limits: &Limits) -> Vec<Fault> {
        let mut faults = Faults::default();
        let count = self.label_count();
        if count == 0 {
            return vec![Fault::NoLabels];
        }
        if count > limits.max_labels_per_series {
            // Not looked at further: what follows may sort the labels.
            return vec![Fault::TooManyLabels { count, limit: limits.max_labels_per_series }];
        }
        let mut previous_name: Option<&[u8]> = None;
        let mut has_metric_name = false;
        for (index, label) in self.labels().enumerate() {
            check_label(&mut faults, index, label, limits);
            has_metric_name |= label.name == b"__name__" && !label.value.is_empty();
            match previous_name {
                Some(previous) if label.name < previous => faults.add(Fault::UnsortedLabels { label: index }),
                Some(previous) if label.name == previous => {
                    faults.add(Fault::DuplicateLabelName { label: index })
                }
                _ => {}
            }
            previous_name = Some(label.name);
        }
        if !has_metric_name {
            faults.add(Fault::MissingMetricName);
        }
        if faults.list.iter().any(|fault| matches!(fault, Fault::UnsortedLabels { .. })) {
            self.check_duplicates_of_unsorted(&mut faults);
        }
        if !self.is_in_time_order() {
            faults.add(Fault::TimeNotAscending);
        }
        faults.list
    }

    fn check_duplicates_of_unsorted(&self, faults: &mut Faults) {
        let mut names: Vec<_> = self.labels().map(|label| label.name).collect();
        names.sort_unstable();
        let mut pairs = names.iter().zip(names.iter().skip(1));
        if let Some(index) = pairs.position(|(a, b)| a == b) {
            faults.add(Fault::DuplicateLabelName { label: index + 1 });
        }
    }
}

fn check_label(faults: &mut Faults, index: usize, label: LabelView<'_>, limits: &Limits) {
    let length = label.name.len().max(label.value.len());
    if length > limits.max_label_bytes {
        faults.add(Fault::LabelTooLong { label: index, length, limit: limits.max_label_bytes });
    }
    if label.name.is_empty() {
        faults.add(Fault::EmptyLabelName { label: index });
    }
    if label.value.is_empty() {
        faults.add(Fault::EmptyLabelValue { label: index });
    }
    if !is_utf8(label.name) {
        faults.add(Fault::NameNotUtf8 { label: index });
    }
    if !is_utf8(label.value) {
        faults.add(Fault::ValueNotUtf8 { label: index });
    }
}

fn is_utf8(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}

/// Faults with each kind once, so that a series of a million bad labels has a short list.
#[derive(Default)]
struct Faults {
    list: Vec<Fault>,
}

impl Faults {
    fn add(&mut self, fault: Fault) {
        let is_known =
            self.list.iter().any(|known| std::mem::discriminant(known) == std::mem::discriminant(&fault));
        if !is_known {
            self.list.push(fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Sample, WriteRequestBuilder,
        wire::put_bytes,
        write::strategies::{canonical_request, damaged_request, wild_request},
    };

    /// Labels exactly as given, unsorted where given so.
    fn request(labels: &[(&[u8], &[u8])], samples: &[(i64, f64)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in labels {
            let mut label = Vec::new();
            put_bytes(&mut label, 1, name);
            put_bytes(&mut label, 2, value);
            put_bytes(&mut body, 1, &label);
        }
        let mut builder = WriteRequestBuilder::new();
        builder.series::<&str, &str>([], samples.iter().map(|&(time, value)| Sample::new(time, value)));
        let built = builder.finish();
        body.extend_from_slice(
            WriteRequestView::new(&built).series().next().unwrap().unwrap().message_bytes(),
        );
        let mut request = Vec::new();
        put_bytes(&mut request, 1, &body);
        request
    }

    #[track_caller]
    fn check(labels: &[(&[u8], &[u8])], samples: &[(i64, f64)], expected: &[Fault], rejected: bool) {
        let limits = Limits { max_labels_per_series: 4, max_label_bytes: 10, ..Limits::default() };
        let report = validate(&request(labels, samples), &limits).unwrap();
        let faults = report.verdict(0).map(|verdict| verdict.faults.clone()).unwrap_or_default();
        assert_eq!(faults, expected);
        assert_eq!(report.is_rejected(0), rejected);
        assert_eq!(report.rejected_count(), usize::from(rejected));
    }

    const NAME: (&[u8], &[u8]) = (b"__name__", b"up");

    #[test]
    fn a_good_series_has_no_verdict() {
        check(&[NAME, (b"job", b"kafka")], &[(1, 1.0), (2, 1.0)], &[], false);
        check(&[NAME], &[], &[], false);
        check(&[NAME, (b"a.b", "ü".as_bytes())], &[], &[], false);
    }

    #[test]
    fn what_is_tolerated() {
        check(&[NAME, (b"b", b"1"), (b"a", b"1")], &[], &[Fault::UnsortedLabels { label: 2 }], false);
        check(&[NAME, (b"a", b"")], &[], &[Fault::EmptyLabelValue { label: 1 }], false);
        check(&[NAME], &[(2, 1.0), (1, 1.0)], &[Fault::TimeNotAscending], false);
        check(&[NAME], &[(2, 1.0), (2, 1.0)], &[Fault::TimeNotAscending], false);
    }

    #[test]
    fn what_is_rejected() {
        check(&[], &[(1, 1.0)], &[Fault::NoLabels], true);
        check(&[(b"a", b"1")], &[], &[Fault::MissingMetricName], true);
        check(
            &[(b"__name__", b"")],
            &[],
            &[Fault::EmptyLabelValue { label: 0 }, Fault::MissingMetricName],
            true,
        );
        check(&[(b"", b"1"), NAME], &[], &[Fault::EmptyLabelName { label: 0 }], true);
        check(&[NAME, (b"a", b"1"), (b"a", b"2")], &[], &[Fault::DuplicateLabelName { label: 2 }], true);
        check(&[NAME, (b"a\xff", b"1")], &[], &[Fault::NameNotUtf8 { label: 1 }], true);
        check(&[NAME, (b"a", b"\xff")], &[], &[Fault::ValueNotUtf8 { label: 1 }], true);
        check(
            &[NAME, (b"a", b"1"), (b"b", b"1"), (b"c", b"1"), (b"d", b"1")],
            &[],
            &[Fault::TooManyLabels { count: 5, limit: 4 }],
            true,
        );
        check(
            &[NAME, (b"a", b"12345678901")],
            &[],
            &[Fault::LabelTooLong { label: 1, length: 11, limit: 10 }],
            true,
        );
    }

    #[test]
    fn finds_duplicates_among_unsorted_labels() {
        check(
            &[NAME, (b"b", b"1"), (b"a", b"1"), (b"b", b"2")],
            &[],
            &[Fault::UnsortedLabels { label: 2 }, Fault::DuplicateLabelName { label: 3 }],
            true,
        );
    }

    #[test]
    fn the_valid_part_can_be_kept() {
        let good = request(&[NAME, (b"job", b"a")], &[(1, 1.0)]);
        let bad = request(&[(b"job", b"b")], &[(1, 1.0)]);
        let unknown = [0x4a, 1, 7];
        let whole = [&good[..], &bad, &unknown, &good].concat();
        let report = validate(&whole, &Limits::default()).unwrap();
        assert_eq!((report.summary.series, report.rejected_count()), (3, 1));
        let mut kept = Vec::new();
        let keep = keep_series(&whole, |series| !report.is_rejected(series.index()), &mut kept).unwrap();
        assert_eq!(keep, KeepReport { kept: 2, removed: 1 });
        assert_eq!(kept, [&good[..], &unknown, &good].concat());
    }

    proptest! {
        #[test]
        fn keeping_all_changes_nothing(bytes in prop_oneof![canonical_request(), wild_request()]) {
            let mut kept = Vec::new();
            keep_series(&bytes, |_| true, &mut kept).unwrap();
            prop_assert_eq!(kept, bytes);
        }

        #[test]
        fn any_bytes_are_an_answer(bytes in damaged_request()) {
            let _ = validate(&bytes, &Limits::default());
            let _ = keep_series(&bytes, |series| series.index() % 2 == 0, &mut Vec::new());
        }
    }
}
