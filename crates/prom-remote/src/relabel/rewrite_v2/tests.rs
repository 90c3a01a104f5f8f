use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    RelabelAction, RelabelRule, Sample, WriteRequestV2Builder,
    proto::write_v2::{Request, TimeSeries},
    write::strategies_v2::{canonical_request, similar_series, wild_request},
};

/// Drops `topic="x"`, sets `source`, copies `job`, drops `zone`.
fn rules() -> Vec<RelabelRule> {
    let rule = |action, source: &[&str], regex: &str, target: &str, replacement: &str| {
        let mut rule = RelabelRule::new(action);
        rule.source_labels = source.iter().map(|name| (*name).to_owned()).collect();
        regex.clone_into(&mut rule.regex);
        target.clone_into(&mut rule.target_label);
        replacement.clone_into(&mut rule.replacement);
        rule
    };
    vec![
        rule(RelabelAction::Drop, &["topic"], "x", "", "$1"),
        rule(RelabelAction::Replace, &["job"], "(.+)", "copy_of_job", "$1"),
        rule(RelabelAction::Replace, &["source"], ".+", "source", "kafka"),
        rule(RelabelAction::LabelDrop, &[], "zone", "", "$1"),
    ]
}

fn relabeler() -> Relabeler {
    Relabeler::new(&rules()).unwrap()
}

type Labels = Vec<(Vec<u8>, Vec<u8>)>;

fn labels_of(series: &TimeSeries, symbols: &[Vec<u8>]) -> Option<Labels> {
    let symbol = |reference: u32| symbols.get(reference as usize).cloned();
    let pairs = series.labels_refs.chunks(2);
    pairs.map(|pair| Some((symbol(*pair.first()?)?, symbol(*pair.get(1)?)?))).collect()
}

/// The result is what the rules make of the decoded series; the symbols are the old ones and more.
#[track_caller]
fn check(request: &[u8]) {
    let mut output = vec![1, 2, 3];
    let result = relabeler().rewrite_v2(request, &Limits::default(), &mut output);
    let before = Request::decode(request).unwrap();
    let Some(all_labels) =
        before.timeseries.iter().map(|series| labels_of(series, &before.symbols)).collect::<Option<Vec<_>>>()
    else {
        result.unwrap_err();
        return;
    };
    let (mut one_by_one, mut expected) = (relabeler(), Vec::new());
    for (series, labels) in before.timeseries.iter().zip(all_labels) {
        let labels = match one_by_one.apply(labels.iter().map(|(name, value)| (name, value))) {
            Ok(Relabeled::Keep) => labels,
            Ok(Relabeled::Drop) => continue,
            Ok(Relabeled::Changed(changed)) => {
                changed.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
            }
            Err(_) => {
                result.unwrap_err();
                return;
            }
        };
        expected.push((labels, TimeSeries { labels_refs: Vec::new(), ..series.clone() }.encode_to_vec()));
    }
    let report = result.unwrap();
    assert_eq!(report.kept + report.changed, expected.len());
    let after = Request::decode(&output[..]).unwrap();
    assert_eq!(after.symbols[..before.symbols.len()], before.symbols);
    let actual: Vec<_> = after
        .timeseries
        .iter()
        .map(|series| {
            let labels = labels_of(series, &after.symbols).unwrap();
            (labels, TimeSeries { labels_refs: Vec::new(), ..series.clone() }.encode_to_vec())
        })
        .collect();
    assert_eq!(actual, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_rewritten_is_what_the_rules_make(
        request in prop_oneof![canonical_request(), wild_request(), similar_series()],
    ) {
        check(&request);
    }
}

#[test]
fn symbols_are_appended_and_all_else_is_kept() {
    let sample = [Sample::stale(1), Sample::new(2, -0.0)];
    let mut builder = WriteRequestV2Builder::new();
    builder
        .series([("__name__", "up")], sample)
        .series([("__name__", "up"), ("job", "broker"), ("topic", "x")], sample)
        .series([("__name__", "up"), ("job", "broker"), ("zone", "a")], sample);
    let mut request = builder.finish();
    let symbols = SymbolTable::read(&request, &Limits::default()).unwrap().end();
    // A series with a field that nobody knows and unpacked references, and such a field of the request.
    let odd = [0x2a, 11, 0x7a, 1, 9, 0x08, 1, 0x08, 2, 0x08, 3, 0x08, 4];
    request.extend_from_slice(&odd);
    request.extend_from_slice(&[0x7a, 1, 9]);

    let mut output = Vec::new();
    let report = relabeler().rewrite_v2(&request, &Limits::default(), &mut output).unwrap();
    assert_eq!((report.kept, report.changed, report.dropped), (1, 2, 1));
    let appended = b"\x22\x0bcopy_of_job";
    assert_eq!(output[..symbols], request[..symbols]);
    assert_eq!(output[symbols..symbols + appended.len()], *appended);
    assert!(
        output.ends_with(&[0x2a, 11, 0x0a, 6, 1, 2, 9, 4, 3, 4, 0x7a, 1, 9, 0x7a, 1, 9]),
        "{output:02x?}"
    );
    check(&request);
}

#[test]
fn limits_hold() {
    let mut builder = WriteRequestV2Builder::new();
    builder.series([("__name__", "up"), ("job", "broker")], [Sample::new(1, 1.0)]);
    let request = builder.finish();
    let kind = |limits: Limits| match relabeler().rewrite_v2(&request, &limits, &mut Vec::new()) {
        Err(RelabelRequestError::Decode(error)) => Some(error.kind),
        other => panic!("{other:?}"),
    };
    let limits = Limits::default();
    assert_eq!(
        kind(Limits { max_labels_per_series: 1, ..limits }),
        Some(DecodeErrorKind::TooManyLabels { limit: 1 })
    );
    assert_eq!(kind(Limits { max_series: 0, ..limits }), Some(DecodeErrorKind::TooManySeries { limit: 0 }));
    assert_eq!(kind(Limits { max_symbols: 4, ..limits }), Some(DecodeErrorKind::TooManySymbols { limit: 4 }));
}
