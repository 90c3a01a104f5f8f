use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    Sample, WriteRequestBuilder, WriteRequestView, keep_series,
    proto::prometheus::{Label, WriteRequest, histogram},
    validate,
    write::strategies::{canonical_request, damaged_request, similar_series, tidy_request, wild_request},
};

fn splicer() -> LabelSplicer {
    LabelSplicer::new("source", "kafka").unwrap()
}

fn splice(request: &[u8]) -> (Vec<u8>, SpliceReport) {
    let mut output = vec![1, 2, 3];
    let report = splicer().splice(request, &Limits::default(), &mut output).unwrap();
    (output, report)
}

/// The rule of the type's documentation on decoded values.
fn oracle(mut request: WriteRequest) -> WriteRequest {
    for series in &mut request.timeseries {
        add(&mut series.labels, b"source", b"kafka");
        series.labels.sort_by(|a, b| a.name.cmp(&b.name));
    }
    request
}

fn add(labels: &mut Vec<Label>, name: &[u8], value: &[u8]) {
    let (existing, mut others): (Vec<_>, Vec<_>) =
        std::mem::take(labels).into_iter().partition(|label| label.name == name);
    for Label { value, .. } in existing.into_iter().filter(|label| !label.value.is_empty()) {
        let taken = |name: &[u8], labels: &[Label]| {
            labels.iter().any(|label| label.name == name && !label.value.is_empty())
        };
        let name = (1..)
            .map(|times| [&b"exported_".repeat(times)[..], name].concat())
            .find(|name| !taken(name, &others))
            .unwrap();
        others.retain(|label| label.name != name);
        others.push(Label { name, value });
    }
    others.push(Label { name: name.to_vec(), value: value.to_vec() });
    *labels = others;
}

/// Everything in a request with floats as bits, so that NaN equals itself and -0.0 is not 0.0.
fn bitwise(request: &WriteRequest) -> (String, Vec<u64>) {
    let mut floats = Vec::new();
    for series in &request.timeseries {
        floats.extend(series.samples.iter().map(|s| s.value));
        floats.extend(series.exemplars.iter().map(|e| e.value));
        for h in &series.histograms {
            floats.extend([h.sum, h.zero_threshold]);
            floats.extend(h.negative_counts.iter().chain(&h.positive_counts).chain(&h.custom_values));
            if let Some(histogram::Count::CountFloat(count)) = h.count {
                floats.push(count);
            }
        }
    }
    (format!("{request:?}"), floats.into_iter().map(f64::to_bits).collect())
}

#[track_caller]
fn check_against_oracle(request: &[u8]) {
    let expected = oracle(WriteRequest::decode(request).unwrap());
    let (spliced, report) = splice(request);
    let decoded = WriteRequest::decode(&spliced[..]).unwrap();
    assert_eq!(bitwise(&decoded), bitwise(&expected));
    assert_eq!(report.series, expected.timeseries.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn canonical_requests_match_the_oracle(request in canonical_request()) {
        check_against_oracle(&request);
    }

    #[test]
    fn wild_requests_match_the_oracle(request in wild_request()) {
        check_against_oracle(&request);
    }

    #[test]
    fn repeated_series_match_the_oracle(request in canonical_request(), other in canonical_request()) {
        // The memo of the series before is used most where requests repeat themselves.
        check_against_oracle(&[&request[..], &other, &request, &request].concat());
    }

    #[test]
    fn similar_series_match_the_oracle(request in similar_series()) {
        check_against_oracle(&request);
    }

    #[test]
    fn strip_undoes_splice(request in tidy_request()) {
        let (spliced, report) = splice(&request);
        prop_assert_eq!(report.conflicts, 0);
        prop_assert_eq!(report.sorted, 0);
        let mut stripped = Vec::new();
        let count = splicer().strip(&spliced, &Limits::default(), &mut stripped).unwrap();
        prop_assert_eq!(count, report.series);
        prop_assert_eq!(stripped, request);
    }

    #[test]
    fn any_bytes_are_an_answer(request in damaged_request()) {
        let _ = splicer().splice(&request, &Limits::default(), &mut Vec::new());
        let _ = splicer().strip(&request, &Limits::default(), &mut Vec::new());
    }

    #[test]
    fn a_request_that_decodes_splices(request in damaged_request()) {
        let decodes = WriteRequest::decode(&request[..]).is_ok();
        let splices = splicer().splice(&request, &Limits::default(), &mut Vec::new()).is_ok();
        prop_assert!(splices || !decodes);
    }
}

#[track_caller]
fn check_labels(labels: &[(&str, &str)], expected: &[(&str, &str)]) {
    let mut builder = WriteRequestBuilder::new();
    builder.series(labels.iter().copied(), [Sample::new(1, 1.0)]);
    let (spliced, _) = splice(&builder.finish());
    let series = WriteRequestView::new(&spliced).series().next().unwrap().unwrap();
    let found: Vec<_> = series
        .labels()
        .map(|label| (std::str::from_utf8(label.name).unwrap(), std::str::from_utf8(label.value).unwrap()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn the_label_goes_to_its_sorted_place() {
    check_labels(&[], &[("source", "kafka")]);
    check_labels(&[("__name__", "up")], &[("__name__", "up"), ("source", "kafka")]);
    check_labels(&[("topic", "t")], &[("source", "kafka"), ("topic", "t")]);
    check_labels(
        &[("__name__", "up"), ("topic", "t")],
        &[("__name__", "up"), ("source", "kafka"), ("topic", "t")],
    );
}

#[test]
fn an_existing_label_is_kept_as_exported() {
    check_labels(
        &[("job", "j"), ("source", "s")],
        &[("exported_source", "s"), ("job", "j"), ("source", "kafka")],
    );
    // Also when it says the same.
    check_labels(&[("source", "kafka")], &[("exported_source", "kafka"), ("source", "kafka")]);
    check_labels(
        &[("exported_source", "e"), ("source", "s")],
        &[("exported_exported_source", "s"), ("exported_source", "e"), ("source", "kafka")],
    );
    // No conflict, no change.
    check_labels(&[("exported_source", "e")], &[("exported_source", "e"), ("source", "kafka")]);
}

#[test]
fn an_empty_label_is_an_absent_one() {
    check_labels(&[("source", "")], &[("source", "kafka")]);
    check_labels(
        &[("exported_source", ""), ("source", "s")],
        &[("exported_source", "s"), ("source", "kafka")],
    );
}

#[test]
fn both_of_two_existing_labels_are_kept() {
    check_labels(
        &[("source", "a"), ("source", "b")],
        &[("exported_exported_source", "b"), ("exported_source", "a"), ("source", "kafka")],
    );
}

#[test]
fn refuses_labels_that_receivers_refuse() {
    for name in ["", "9a", "a-b", "__source", "ü"] {
        assert!(matches!(LabelSplicer::new(name, "x"), Err(InvalidLabel::Name { .. })), "{name}");
    }
    assert!(matches!(LabelSplicer::new("source", ""), Err(InvalidLabel::EmptyValue { .. })));
}

#[test]
fn limits_hold_at_and_over() {
    let mut builder = WriteRequestBuilder::new();
    builder.series([("a", "1"), ("b", "1")], []).series([("a", "1"), ("b", "1")], []);
    let request = builder.finish();
    let at = Limits { max_series: 2, max_labels_per_series: 2, ..Limits::default() };
    let mut output = Vec::new();
    splicer().splice(&request, &at, &mut output).unwrap();
    let series = splicer().splice(&request, &Limits { max_series: 1, ..at }, &mut output).unwrap_err();
    assert_eq!((series.kind, series.series), (DecodeErrorKind::TooManySeries { limit: 1 }, Some(1)));
    let labels = splicer().splice(&request, &Limits { max_labels_per_series: 1, ..at }, &mut output);
    assert_eq!(labels.unwrap_err().kind, DecodeErrorKind::TooManyLabels { limit: 1 });
}

/// `splice_valid` is `validate`, `keep_series` and `splice` one after the other.
#[track_caller]
fn check_splice_valid(request: &[u8]) {
    let limits = Limits::default();
    let mut spliced = Vec::new();
    let result = splicer().splice_valid(request, &limits, &mut spliced);
    let Ok(expected) = validate(request, &limits) else {
        assert!(result.is_err());
        return;
    };
    let (validation, report) = result.unwrap();
    assert_eq!(validation, expected);
    let (mut kept, mut expected) = (Vec::new(), Vec::new());
    keep_series(request, |series| !validation.is_rejected(series.index()), &mut kept).unwrap();
    assert_eq!(splicer().splice(&kept, &limits, &mut expected).unwrap(), report);
    assert_eq!(spliced, expected);
}

/// What `validate` says is what the slow way says of each series.
#[track_caller]
fn check_verdicts(request: &[u8]) {
    let limits = Limits::default();
    let Ok(report) = validate(request, &limits) else { return };
    for series in WriteRequestView::new(request).series() {
        let series = series.unwrap();
        let faults = report.verdict(series.index()).map(|verdict| verdict.faults.clone());
        assert_eq!(faults.unwrap_or_default(), series.faults(&limits));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn one_pass_does_what_three_do(
        request in prop_oneof![canonical_request(), wild_request(), damaged_request(), similar_series(), tidy_request()],
    ) {
        check_splice_valid(&request);
        check_verdicts(&request);
    }

    #[test]
    fn edits_match_the_oracle(
        request in prop_oneof![canonical_request(), wild_request(), similar_series(), tidy_request()],
        edits in edits(),
    ) {
        let splicer = LabelSplicer::with_edits(edits.clone()).unwrap();
        let mut spliced = Vec::new();
        splicer.splice(&request, &Limits::default(), &mut spliced).unwrap();
        let decoded = WriteRequest::decode(&spliced[..]).unwrap();
        let expected = edits_oracle(WriteRequest::decode(&request[..]).unwrap(), &edits);
        prop_assert_eq!(bitwise(&decoded), bitwise(&expected));
    }
}

/// Edits that meet each other and the labels of the strategies, each name in one edit at most.
pub(in crate::write) fn edits() -> impl Strategy<Value = Vec<LabelEdit>> {
    const NAMES: [&str; 7] = ["source", "exported_source", "job", "topic", "partition", "zone", "a"];
    let kinds = prop::collection::vec(0..4_usize, 0..4);
    (kinds, Just(NAMES).prop_shuffle()).prop_map(|(kinds, names)| {
        let mut names = names.into_iter();
        let mut next = || names.next().unwrap();
        let edit = |kind| match kind {
            0 => LabelEdit::add(next(), "added"),
            1 => LabelEdit::replace(next(), "replaced"),
            2 => LabelEdit::rename(next(), next()),
            _ => LabelEdit::drop(next()),
        };
        kinds.into_iter().take(3).map(edit).collect()
    })
}

/// The edits on decoded labels, each in its simplest form.
pub(in crate::write) fn edit_labels(labels: Vec<Label>, edits: &[LabelEdit]) -> Vec<Label> {
    let mut labels = labels;
    for edit in edits {
        match edit {
            LabelEdit::Add { name, value } => add(&mut labels, name.as_bytes(), value.as_bytes()),
            LabelEdit::Replace { name, value } => {
                labels.retain(|label| label.name != name.as_bytes());
                labels.push(Label { name: name.clone().into(), value: value.clone().into() });
            }
            LabelEdit::Rename { from, to } => {
                labels.retain(|label| label.name != from.as_bytes() || !label.value.is_empty());
                if labels.iter().any(|label| label.name == from.as_bytes()) {
                    labels.retain(|label| label.name != to.as_bytes());
                }
                for label in &mut labels {
                    if label.name == from.as_bytes() {
                        label.name = to.clone().into();
                    }
                }
            }
            LabelEdit::Drop { name } => labels.retain(|label| label.name != name.as_bytes()),
        }
    }
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    labels
}

fn edits_oracle(mut request: WriteRequest, edits: &[LabelEdit]) -> WriteRequest {
    for series in &mut request.timeseries {
        series.labels = edit_labels(std::mem::take(&mut series.labels), edits);
    }
    request
}

#[test]
fn edits_that_name_a_label_twice_are_refused() {
    let twice = LabelSplicer::with_edits([LabelEdit::add("a", "1"), LabelEdit::rename("a", "b")]);
    assert_eq!(twice, Err(InvalidLabel::NamedTwice { name: "a".to_owned() }));
    assert!(matches!(LabelSplicer::with_edits([LabelEdit::drop("")]), Err(InvalidLabel::Name { .. })));
    assert!(LabelSplicer::with_edits([LabelEdit::rename("x-y", "__name__")]).is_ok());
    assert!(LabelSplicer::with_edits([LabelEdit::add("__name__", "x")]).is_err());
}
