//! What the fuzz targets do with any bytes, and what must hold: an assertion that fails is a fault of this crate.
//!
//! The committed corpora run through the same functions as a plain test.

use prost::Message;

use crate::{
    LabelSplicer, Limits, RelabelAction, RelabelRule, Relabeled, Relabeler, SplitSize, WriteRequestV2View,
    WriteRequestView, convert_to_v1, convert_to_v2, keep_series, keep_series_v2, merge_v2,
    proto::{prometheus::WriteRequest, write_v2::Request},
    split, split_v2, validate, validate_v2,
};

fn limits() -> Limits {
    Limits { max_decoded_bytes: 1 << 20, ..Limits::default() }
}

/// The 1.0 walk takes what prost takes, and counts what is in it.
pub fn write_v1(bytes: &[u8]) {
    let limits = limits();
    let summary = WriteRequestView::new(bytes).summary(&limits);
    let decoded = WriteRequest::decode(bytes);
    assert_eq!(summary.is_ok(), decoded.is_ok(), "the walk says {summary:?}");
    let (Ok(summary), Ok(decoded)) = (summary, decoded) else { return };
    assert_eq!(summary.series, decoded.timeseries.len());
    assert_eq!(summary.samples, decoded.timeseries.iter().map(|series| series.samples.len()).sum::<usize>());
    let report = validate(bytes, &limits).expect("what is well formed can be judged");
    assert_eq!(report.summary, summary);
    for series in WriteRequestView::new(bytes).series().flatten() {
        let faults = report.verdict(series.index()).map(|verdict| verdict.faults.clone()).unwrap_or_default();
        assert_eq!(faults, series.faults(&limits));
    }
}

/// The 2.0 walk takes what prost takes, and counts what is in it.
pub fn write_v2(bytes: &[u8]) {
    let limits = limits();
    let summary = WriteRequestV2View::new(bytes, &limits).and_then(|view| view.summary(&limits));
    let decoded = Request::decode(bytes);
    assert_eq!(summary.is_ok(), decoded.is_ok(), "the walk says {summary:?}");
    let (Ok(summary), Ok(decoded)) = (summary, decoded) else { return };
    assert_eq!(summary.series, decoded.timeseries.len());
    assert_eq!(summary.samples, decoded.timeseries.iter().map(|series| series.samples.len()).sum::<usize>());
    let report = validate_v2(bytes, &limits).expect("what is well formed can be judged");
    assert_eq!(report.summary, summary);
    let view = WriteRequestV2View::new(bytes, &limits).expect("as above");
    for series in view.series().flatten() {
        let faults = report.verdict(series.index()).map(|verdict| verdict.faults.clone()).unwrap_or_default();
        assert_eq!(faults, series.faults(view.symbols(), &limits));
    }
}

/// A splice changes labels only; one pass does what three do.
pub fn splice(bytes: &[u8]) {
    let limits = limits();
    let Ok(splicer) = LabelSplicer::new("source", "kafka") else { return };
    let (mut spliced, mut kept, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    if let Ok(before) = WriteRequest::decode(bytes) {
        splicer.splice(bytes, &limits, &mut spliced).expect("what decodes splices");
        let after = WriteRequest::decode(&spliced[..]).expect("what is spliced decodes");
        let without_labels = |mut request: WriteRequest| {
            request.timeseries.iter_mut().for_each(|series| series.labels.clear());
            request.encode_to_vec()
        };
        assert_eq!(without_labels(before), without_labels(after));
        let (validation, _) = splicer.splice_valid(bytes, &limits, &mut spliced).expect("as above");
        let keep = keep_series(bytes, |series| !validation.is_rejected(series.index()), &mut kept);
        keep.expect("as above");
        splicer.splice(&kept, &limits, &mut expected).expect("as above");
        assert_eq!(spliced, expected);
        let _ = splicer.strip(&spliced, &limits, &mut kept);
    }
    if let (Ok(before), Ok(_)) = (Request::decode(bytes), splicer.splice_v2(bytes, &limits, &mut spliced)) {
        let after = Request::decode(&spliced[..]).expect("what is spliced decodes");
        assert_eq!(before.symbols[..], after.symbols[..before.symbols.len()]);
        let without_labels = |mut request: Request| {
            request.symbols.clear();
            request.timeseries.iter_mut().for_each(|series| series.labels_refs.clear());
            request.encode_to_vec()
        };
        assert_eq!(without_labels(before), without_labels(after));
        let (validation, _) = splicer.splice_valid_v2(bytes, &limits, &mut spliced).expect("as above");
        let keep =
            keep_series_v2(bytes, &limits, |series| !validation.is_rejected(series.index()), &mut kept);
        keep.expect("as above");
        splicer.splice_v2(&kept, &limits, &mut expected).expect("what is valid splices");
        assert_eq!(spliced, expected);
        let _ = splicer.strip_v2(&spliced, &limits, &mut kept);
    }
}

/// The first byte chooses the rules, the rest is a request of either version: both ways of relabelling it do what the
/// rules say of each series, and nothing else changes.
pub fn relabel(bytes: &[u8]) {
    let Some((&choice, request)) = bytes.split_first() else { return };
    let limits = limits();
    let rules = rules(choice);
    let mut relabeler = Relabeler::new(&rules).expect("the rules are good");
    let mut one_by_one = relabeler.clone();
    let mut output = Vec::new();
    if let Ok(report) = relabeler.rewrite(request, &limits, &mut output) {
        let before = WriteRequest::decode(request).expect("what is rewritten decodes");
        let after = WriteRequest::decode(&output[..]).expect("what was rewritten decodes");
        assert_eq!(after.timeseries.len(), report.kept + report.changed);
        assert_eq!(before.timeseries.len(), after.timeseries.len() + report.dropped);
        assert_eq!(before.metadata, after.metadata);
        let mut left = after.timeseries.iter();
        for series in &before.timeseries {
            let labels = series.labels.iter().map(|label| (&label.name, &label.value));
            let relabeled = one_by_one.apply(labels).expect("as in the request");
            if relabeled == Relabeled::Drop {
                continue;
            }
            let after = left.next().expect("counted above");
            let found: Vec<_> =
                after.labels.iter().map(|label| (&label.name[..], &label.value[..])).collect();
            match relabeled {
                Relabeled::Changed(labels) => assert_eq!(labels.iter().collect::<Vec<_>>(), found),
                _ => assert_eq!(after.labels, series.labels),
            }
        }
    }
    if let Ok(report) = relabeler.rewrite_v2(request, &limits, &mut output) {
        let before = Request::decode(request).expect("what is rewritten decodes");
        let after = Request::decode(&output[..]).expect("what was rewritten decodes");
        assert_eq!(after.timeseries.len(), report.kept + report.changed);
        assert_eq!(before.timeseries.len(), after.timeseries.len() + report.dropped);
        assert_eq!(before.symbols[..], after.symbols[..before.symbols.len()]);
        assert!(validate_v2(&output, &limits).is_ok());
    }
}

/// Rules that fit the corpus, each switched on by a bit.
fn rules(choice: u8) -> Vec<RelabelRule> {
    use RelabelAction::{Drop, HashMod, LabelDrop, LabelMap, Lowercase, Replace};
    [
        (Replace, "job", "(.*)", "source", Some("$1-kafka")),
        (Drop, "__name__", "go_.*|a", "", None),
        (Replace, "instance", "([^:]+):.*", "host", None),
        (LabelMap, "", "(.{1,3}).*", "", Some("short_$1")),
        (LabelDrop, "", "topic|zone|b", "", None),
        (HashMod, "__name__", "(.*)", "shard", None),
        (Lowercase, "__name__", "(.*)", "__name__", None),
        (Replace, "__name__", "up|b", "__name__", Some("")),
    ]
    .into_iter()
    .enumerate()
    .filter(|(bit, _)| choice >> bit & 1 == 1)
    .map(|(_, (action, source, regex, target, replacement))| {
        let mut rule = RelabelRule::new(action);
        rule.source_labels = if source.is_empty() { Vec::new() } else { vec![source.to_owned()] };
        regex.clone_into(&mut rule.regex);
        target.clone_into(&mut rule.target_label);
        if let Some(replacement) = replacement {
            replacement.clone_into(&mut rule.replacement);
        }
        if action == HashMod {
            rule.modulus = 8;
        }
        rule
    })
    .collect()
}

/// What is converted, split or merged is well formed, and nothing of it is lost.
pub fn convert(bytes: &[u8]) {
    let limits = limits();
    let mut output = Vec::new();
    let size = SplitSize { max_series: 2, max_samples: 3, max_bytes: 64 };
    if let Ok(report) = convert_to_v2(bytes, &limits, &mut output) {
        let view = WriteRequestV2View::new(&output, &limits).expect("what is converted is well formed");
        let summary = view.summary(&limits).expect("what is converted is well formed");
        assert_eq!((summary.samples, summary.histograms), (report.samples, report.histograms));
        let back = convert_to_v1(&output, &limits);
        assert!(back.is_ok_and(|back| back.report.samples == report.samples) || output.len() > 1 << 15);
    }
    if let Ok(summary) = WriteRequestView::new(bytes).summary(&limits) {
        let mut samples = 0;
        let count = |part: &[u8]| samples += part_samples(WriteRequestView::new(part).summary(&limits));
        split(bytes, &size, count).expect("what is well formed can be split");
        assert_eq!(samples, summary.samples + summary.histograms);
    }
    let summary = WriteRequestV2View::new(bytes, &limits).and_then(|view| view.summary(&limits));
    if let Ok(summary) = summary {
        let mut samples = 0;
        let count = |part: &[u8]| {
            let view = WriteRequestV2View::new(part, &limits);
            samples += part_samples(view.and_then(|view| view.summary(&limits)));
        };
        if split_v2(bytes, &limits, &size, count).is_ok() {
            assert_eq!(samples, summary.samples + summary.histograms);
        }
        let _ = merge_v2(&[bytes, bytes], &limits, &mut output);
        let _ = convert_to_v1(bytes, &limits);
    }
}

fn part_samples(summary: Result<crate::Summary, crate::DecodeError>) -> usize {
    let summary = summary.expect("a part is well formed");
    summary.samples + summary.histograms
}
