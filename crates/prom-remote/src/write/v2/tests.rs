//! The 2.0 walk, judgement and splice against prost.

use proptest::prelude::*;
use prost::Message;

use super::{
    strategies::{canonical_request, damaged_request, similar_series, tidy_request, wild_request},
    *,
};
use crate::{
    DecodeErrorKind, Fault, LabelEdit, LabelSplicer, LabelView, Limits, RequestFault, Sample,
    ValidationReport,
    proto::{prometheus::Label, write_v2::Request},
    write::splice::tests::{edit_labels, edits},
};

fn unlimited() -> Limits {
    Limits { max_series: usize::MAX, max_samples: usize::MAX, ..Limits::default() }
}

/// The walk and prost agree on whether the bytes are a request, and on what is in it.
#[track_caller]
fn check_walk(bytes: &[u8]) {
    let view = WriteRequestV2View::new(bytes, &unlimited());
    let walked = view.as_ref().map_err(|error| *error).and_then(|view| view.summary(&unlimited()));
    match (walked, Request::decode(bytes)) {
        (Ok(summary), Ok(decoded)) => {
            let view = view.unwrap();
            assert_eq!(summary.series, decoded.timeseries.len());
            assert_eq!(
                summary.metadata,
                decoded.timeseries.iter().filter(|series| series.metadata.is_some()).count()
            );
            assert_eq!(view.symbols().iter().collect::<Vec<_>>(), decoded.symbols);
            for (series, expected) in view.series().zip(&decoded.timeseries) {
                check_series(&series.unwrap(), expected);
            }
        }
        (Err(_), Err(_)) => {}
        (walked, decoded) => panic!("walk says {walked:?}, prost says {decoded:?}, of {bytes:02x?}"),
    }
}

#[track_caller]
fn check_series(series: &SeriesV2View<'_>, expected: &crate::proto::write_v2::TimeSeries) {
    assert_eq!(series.refs().collect::<Vec<_>>(), expected.labels_refs);
    assert_eq!(series.ref_count(), expected.labels_refs.len());
    let samples: Vec<_> = expected
        .samples
        .iter()
        .map(|s| SampleV2 {
            sample: Sample::new(s.timestamp, s.value),
            start_timestamp_ms: s.start_timestamp,
        })
        .collect();
    assert_eq!(series.samples().collect::<Vec<_>>(), samples);
    let times: Vec<_> = expected.histograms.iter().map(|h| h.timestamp).collect();
    assert_eq!(series.histograms().map(|h| h.timestamp_ms).collect::<Vec<_>>(), times);
    let started = samples.iter().filter(|s| s.start_timestamp_ms != 0).count()
        + expected.histograms.iter().filter(|h| h.start_timestamp != 0).count();
    assert_eq!(series.start_timestamp_count(), started);
    for (exemplar, expected) in series.exemplars().zip(&expected.exemplars) {
        assert_eq!(exemplar.refs().collect::<Vec<_>>(), expected.labels_refs);
        assert_eq!(
            (exemplar.value_bits, exemplar.timestamp_ms),
            (expected.value.to_bits(), expected.timestamp)
        );
    }
    let metadata = expected.metadata.as_ref();
    let metadata = metadata.map(|m| (m.r#type, m.help_ref, m.unit_ref));
    assert_eq!(series.metadata().map(|m| (m.metric_type, m.help, m.unit)), metadata);
}

fn splicer() -> LabelSplicer {
    LabelSplicer::new("source", "kafka").unwrap()
}

/// Labels of a decoded series; `None` if the references are bad.
fn resolve(symbols: &[Vec<u8>], refs: &[u32]) -> Option<Vec<Label>> {
    let symbol = |reference: u32| symbols.get(reference as usize).cloned();
    let (pairs, []) = refs.as_chunks::<2>() else { return None };
    pairs.iter().map(|&[name, value]| Some(Label { name: symbol(name)?, value: symbol(value)? })).collect()
}

/// The splice on decoded values: labels edited, all else as it was, the old symbols first.
#[track_caller]
fn check_splice(bytes: &[u8], edits: &[LabelEdit]) {
    let splicer = LabelSplicer::with_edits(edits.iter().cloned()).unwrap();
    let before = Request::decode(bytes).unwrap();
    let mut output = vec![1, 2, 3];
    let result = splicer.splice_v2(bytes, &Limits::default(), &mut output);
    let labels: Option<Vec<_>> =
        before.timeseries.iter().map(|series| resolve(&before.symbols, &series.labels_refs)).collect();
    let Some(labels) = labels else {
        assert_eq!(result.unwrap_err().kind, DecodeErrorKind::BadLabelRefs);
        return;
    };
    assert_eq!(result.unwrap().series, before.timeseries.len());
    let after = Request::decode(&output[..]).unwrap();
    let old = before.symbols.len();
    assert_eq!(after.symbols[..old], before.symbols[..]);
    for (index, symbol) in after.symbols.iter().enumerate().skip(old) {
        assert!(!after.symbols[..index].contains(symbol), "{symbol:?} is appended twice");
    }
    let rest = |request: &Request| {
        let mut request = request.clone();
        request.symbols.clear();
        request.timeseries.iter_mut().for_each(|series| series.labels_refs.clear());
        request.encode_to_vec()
    };
    assert_eq!(rest(&after), rest(&before));
    for (series, labels) in after.timeseries.iter().zip(labels) {
        assert_eq!(resolve(&after.symbols, &series.labels_refs).unwrap(), edit_labels(labels, edits));
    }
}

/// `splice_valid_v2` is `validate_v2`, `keep_series_v2` and `splice_v2` one after the other.
#[track_caller]
fn check_splice_valid(request: &[u8]) {
    let limits = Limits::default();
    let mut spliced = Vec::new();
    let result = splicer().splice_valid_v2(request, &limits, &mut spliced);
    let Ok(expected) = validate_v2(request, &limits) else {
        assert!(result.is_err());
        return;
    };
    let (validation, report) = result.unwrap();
    assert_eq!(validation, expected);
    check_verdicts(request, &validation);
    let (mut kept, mut expected) = (Vec::new(), Vec::new());
    keep_series_v2(request, &limits, |series| !validation.is_rejected(series.index()), &mut kept).unwrap();
    assert_eq!(splicer().splice_v2(&kept, &limits, &mut expected).unwrap(), report);
    assert_eq!(spliced, expected);
}

/// What `validate_v2` says is what the slow way says of each series.
#[track_caller]
fn check_verdicts(request: &[u8], report: &ValidationReport) {
    let limits = Limits::default();
    let view = WriteRequestV2View::new(request, &limits).unwrap();
    for series in view.series() {
        let series = series.unwrap();
        let faults = report.verdict(series.index()).map(|verdict| verdict.faults.clone());
        assert_eq!(faults.unwrap_or_default(), series.faults(view.symbols(), &limits));
    }
    let mut summary = crate::Summary { unknown_fields: report.summary.unknown_fields, ..Default::default() };
    for series in view.series() {
        summary.include_series_v2(&series.unwrap(), &limits).unwrap();
    }
    summary.unknown_fields = report.summary.unknown_fields;
    assert_eq!(summary, report.summary);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_walk_agrees_with_prost(
        bytes in prop_oneof![canonical_request(), wild_request(), damaged_request(), tidy_request(), similar_series()],
    ) {
        check_walk(&bytes);
    }

    #[test]
    fn any_bytes_walk_as_with_prost(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_walk(&bytes);
    }

    #[test]
    fn edits_match_the_oracle(
        bytes in prop_oneof![canonical_request(), wild_request(), tidy_request(), similar_series()],
        edits in edits(),
    ) {
        check_splice(&bytes, &edits);
        check_splice(&bytes, &[LabelEdit::add("source", "kafka")]);
    }

    #[test]
    fn one_pass_does_what_three_do(
        bytes in prop_oneof![canonical_request(), wild_request(), damaged_request(), tidy_request(), similar_series()],
    ) {
        check_splice_valid(&bytes);
    }

    #[test]
    fn strip_undoes_splice(request in tidy_request()) {
        let limits = Limits::default();
        let (mut spliced, mut stripped) = (Vec::new(), Vec::new());
        let report = splicer().splice_v2(&request, &limits, &mut spliced).unwrap();
        let count = splicer().strip_v2(&spliced, &limits, &mut stripped).unwrap();
        prop_assert_eq!(count, report.series);
        prop_assert_eq!(stripped, request);
    }

    #[test]
    fn any_bytes_are_an_answer(request in damaged_request()) {
        let _ = splicer().splice_v2(&request, &Limits::default(), &mut Vec::new());
        let _ = splicer().strip_v2(&request, &Limits::default(), &mut Vec::new());
    }

    #[test]
    fn keeping_all_changes_nothing(bytes in prop_oneof![canonical_request(), wild_request()]) {
        let mut kept = Vec::new();
        keep_series_v2(&bytes, &Limits::default(), |_| true, &mut kept).unwrap();
        prop_assert_eq!(kept, bytes);
    }
}

#[test]
fn symbols_are_appended_and_used_again() {
    let mut builder = WriteRequestV2Builder::new();
    builder.series([("__name__", "up"), ("topic", "kafka")], [Sample::new(1, 1.0)]);
    let request = builder.finish();
    let mut spliced = Vec::new();
    splicer().splice_v2(&request, &Limits::default(), &mut spliced).unwrap();
    let view = WriteRequestV2View::new(&spliced, &Limits::default()).unwrap();
    let symbols: Vec<_> = view.symbols().iter().map(|symbol| std::str::from_utf8(symbol).unwrap()).collect();
    assert_eq!(symbols, ["", "__name__", "up", "topic", "kafka", "source"]);
    let series = view.series().next().unwrap().unwrap();
    assert_eq!(series.label(b"source", view.symbols()), Some(&b"kafka"[..]));
    let names: Vec<_> = series.labels(view.symbols()).map(|LabelView { name, .. }| name).collect();
    assert_eq!(names, [&b"__name__"[..], b"source", b"topic"]);
}

#[test]
fn a_first_symbol_that_is_not_empty_is_a_fault_of_the_request() {
    let request_faults = |request: &[u8]| {
        let report = validate_v2(request, &Limits::default()).unwrap();
        let (in_one_pass, _) =
            splicer().splice_valid_v2(request, &Limits::default(), &mut Vec::new()).unwrap();
        assert_eq!(in_one_pass, report);
        (report.request_faults, report.verdicts.len())
    };
    let mut builder = WriteRequestV2Builder::new();
    builder.series([("__name__", "a")], [Sample::new(1, 1.0)]);
    let good = builder.finish();
    assert_eq!(request_faults(&good), (vec![], 0));
    // `__name__`, `a`, then the same series under their numbers.
    let series = &good[good.len() - 19..];
    let bad = [&b"\x22\x08__name__\x22\x01a"[..], &[0x2a, 17, 0x0a, 2, 0, 1], &series[6..]].concat();
    assert_eq!(request_faults(&bad), (vec![RequestFault::FirstSymbolNotEmpty], 0));
    // A symbol that stands there twice is none.
    let twice = [&b"\x22\x00\x22\x00"[..], &good[2..]].concat();
    assert_eq!(request_faults(&twice).0, []);
}

#[test]
fn limits_hold_at_and_over() {
    let mut builder = WriteRequestV2Builder::new();
    builder.series([("__name__", "a")], [Sample::new(1, 1.0)]);
    builder.series([("__name__", "b")], [Sample::new(1, 1.0)]);
    let request = builder.finish();
    let at = Limits { max_series: 2, max_symbols: 4, max_labels_per_series: 1, ..Limits::default() };
    let kind = |limits: &Limits| validate_v2(&request, limits).map_err(|error| error.kind);
    assert!(kind(&at).unwrap().verdicts.is_empty());
    assert_eq!(kind(&Limits { max_series: 1, ..at }), Err(DecodeErrorKind::TooManySeries { limit: 1 }));
    assert_eq!(kind(&Limits { max_symbols: 3, ..at }), Err(DecodeErrorKind::TooManySymbols { limit: 3 }));
    let report = kind(&Limits { max_labels_per_series: 0, ..at }).unwrap();
    assert_eq!(report.verdicts[0].faults, [Fault::TooManyLabels { count: 1, limit: 0 }]);
}
