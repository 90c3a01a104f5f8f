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
    body.extend_from_slice(WriteRequestView::new(&built).series().next().unwrap().unwrap().message_bytes());
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
    check(&[(b"__name__", b"")], &[], &[Fault::EmptyLabelValue { label: 0 }, Fault::MissingMetricName], true);
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
