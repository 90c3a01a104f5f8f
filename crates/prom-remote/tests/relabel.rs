//! Rules against what Prometheus itself makes of them: the tables are its output (see `relabel_oracle/README.md`).

use std::collections::BTreeMap;

use prom_remote::{
    LabelNames, Limits, MetricType, RelabelAction, RelabelMemory, RelabelReport, RelabelRule,
    RelabelRuleError, Relabeled, Relabeler, Sample, WriteRequestBuilder,
};
use serde_json::Value;

type Labels = BTreeMap<String, String>;

fn labels(value: &Value) -> Option<Labels> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Some(value.as_object()?.iter().map(|(name, value)| (name.clone(), text(value))).collect())
}

/// Reads a rule with the keys of Prometheus' configuration; `Err` for an action that does not exist.
fn rule(value: &Value) -> Result<RelabelRule, prom_remote::UnknownRelabelAction> {
    let mut rule = RelabelRule::default();
    for (key, value) in value.as_object().unwrap() {
        let text = || value.as_str().unwrap().to_owned();
        match key.as_str() {
            "action" => rule.action = text().parse::<RelabelAction>()?,
            "source_labels" => {
                rule.source_labels =
                    value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
            }
            "separator" => rule.separator = text(),
            "regex" => rule.regex = text(),
            "modulus" => rule.modulus = value.as_u64().unwrap(),
            "target_label" => rule.target_label = text(),
            "replacement" => rule.replacement = text(),
            other => panic!("unknown key {other}"),
        }
    }
    Ok(rule)
}

fn rules(case: &Value) -> Result<Vec<RelabelRule>, prom_remote::UnknownRelabelAction> {
    case["rules"].as_array().unwrap().iter().map(rule).collect()
}

fn relabeler(rules: &[RelabelRule], names: LabelNames) -> Result<Relabeler, RelabelRuleError> {
    Relabeler::with(rules, names, RelabelMemory::default())
}

/// `None` if the series is dropped. Asks twice, so that memory answers too.
fn apply(relabeler: &mut Relabeler, labels: &Labels) -> Option<Labels> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut ask = || match relabeler.apply(labels).unwrap() {
        Relabeled::Drop => None,
        Relabeled::Keep => Some(labels.clone()),
        Relabeled::Changed(changed) => {
            let list: Vec<_> = changed.iter().map(|(name, value)| (text(name), text(value))).collect();
            assert!(list.is_sorted_by(|(a, _), (b, _)| a < b), "{list:?}");
            Some(list.into_iter().collect())
        }
    };
    let first = ask();
    assert_eq!(ask(), first);
    first
}

/// What a server shows of a target: no labels of its own, and an instance.
fn shown(mut labels: Labels) -> Labels {
    let address = labels.get("__address__").cloned();
    labels.retain(|name, value| !name.starts_with("__") && !value.is_empty());
    if let Some(address) = address {
        labels.entry("instance".to_owned()).or_insert(address);
    }
    labels
}

#[test]
fn cases_come_out_as_on_running_servers() {
    let table = include_str!("data/relabel/cases.jsonl");
    let mut differing = 0;
    for line in table.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let name = case["name"].as_str().unwrap();
        let discovered = labels(&case["discovered"]).expect(name);
        let rules = rules(&case).expect(name);
        let run = |names| apply(&mut relabeler(&rules, names).expect(name), &discovered).map(shown);
        let expected = labels(&case["expected"]);
        assert_eq!(run(LabelNames::Utf8), expected, "{name}");
        if case["new_only"].as_bool() != Some(true) {
            let expected_old = case.get("expected_old").map_or(expected, labels);
            differing += usize::from(case.get("expected_old").is_some());
            assert_eq!(run(LabelNames::Legacy), expected_old, "{name}, Prometheus 2");
        }
    }
    assert!(table.lines().count() > 70 && differing > 0, "the table tells old and new servers apart");
}

#[test]
fn random_rules_come_out_as_in_the_library() {
    let (mut changed, mut dropped, mut refused) = (0, 0, 0);
    for line in include_str!("data/relabel/random.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let before = labels(&case["labels"]).unwrap();
        let relabeler = rules(&case).ok().and_then(|rules| relabeler(&rules, LabelNames::Utf8).ok());
        let Some(mut relabeler) = relabeler else {
            assert_eq!(case["refused"], true, "{line}");
            refused += 1;
            continue;
        };
        assert_eq!(case["refused"], Value::Null, "{line}");
        let present = |mut labels: Labels| {
            labels.retain(|_, value| !value.is_empty());
            Some(labels).filter(|labels| !labels.is_empty())
        };
        let expected = labels(&case["expected"]);
        let after = apply(&mut relabeler, &before).and_then(present);
        changed += usize::from(after.is_some() && after != present(before));
        dropped += usize::from(after.is_none());
        assert_eq!(after, expected, "{line}");
    }
    assert!(changed > 500 && dropped > 300 && refused > 300, "{changed} {dropped} {refused}");
}

#[track_caller]
fn check_refused(rule: &str, expected: &str) {
    let good = self::rule(&serde_json::json!({"target_label": "a"})).unwrap();
    let bad = self::rule(&serde_json::from_str(rule).unwrap()).unwrap();
    let error = Relabeler::new(&[good, bad]).expect_err(rule);
    assert_eq!(error.to_string(), expected);
}

#[test]
fn errors_name_the_rule() {
    check_refused(
        r#"{"action": "hashmod", "target_label": "a"}"#,
        "relabel rule 2 (hashmod): modulus must not be 0",
    );
    check_refused(r#"{"source_labels": ["a"]}"#, "relabel rule 2 (replace): target_label is missing");
    check_refused(
        r#"{"action": "keep", "regex": "a**"}"#,
        r#"relabel rule 2 (keep): regex "a**": repetition of a repetition at byte 2"#,
    );
    check_refused(
        r#"{"action": "labeldrop", "source_labels": ["a"]}"#,
        "relabel rule 2 (labeldrop): source_labels cannot be set for this action",
    );
    check_refused(
        r#"{"action": "labelmap", "replacement": ""}"#,
        r#"relabel rule 2 (labelmap): replacement "" is not a label name"#,
    );
    assert_eq!("Kep".parse::<RelabelAction>().unwrap_err().to_string(), r#"unknown relabel action "Kep""#);
    let legacy = relabeler(&[rule(&serde_json::json!({"target_label": "é"})).unwrap()], LabelNames::Legacy);
    assert_eq!(
        legacy.unwrap_err().to_string(),
        r#"relabel rule 1 (replace): target_label "é" is not a label name"#
    );
}

#[test]
fn memory_is_bounded_and_forgets_what_was_not_met_for_long() {
    let rules = [rule(&serde_json::json!({"target_label": "source", "replacement": "kafka"})).unwrap()];
    let mut memory = RelabelMemory::default();
    memory.max_series = 100;
    let mut by_series = Relabeler::with(&rules, LabelNames::Utf8, memory).unwrap();
    memory.max_series = usize::MAX;
    memory.max_bytes = 10_000;
    let mut by_bytes = Relabeler::with(&rules, LabelNames::Utf8, memory).unwrap();
    for number in 0..1_000 {
        let name = format!("metric_{number}");
        for relabeler in [&mut by_series, &mut by_bytes] {
            let Relabeled::Changed(changed) = relabeler.apply([("__name__", &name)]).unwrap() else {
                panic!("{name} has a source now")
            };
            assert_eq!(changed.iter().last(), Some((&b"source"[..], &b"kafka"[..])));
        }
        assert!(by_series.remembered() <= 100);
        // Before and after, a series takes at least 60 bytes.
        assert!(by_bytes.remembered() <= 10_000 / 60);
    }
    assert!(by_series.remembered() >= 50 && by_bytes.remembered() >= 50);
}

#[test]
fn a_label_that_is_not_utf8_is_an_error() {
    let rule = rule(&serde_json::json!({"target_label": "source", "replacement": "kafka"})).unwrap();
    let labels = [(&b"a"[..], &b"b"[..]), (b"c", b"\xff")];
    let error = Relabeler::new(&[rule]).unwrap().apply(labels).unwrap_err();
    assert_eq!(error.to_string(), "label 1 is not UTF-8 and cannot be relabelled");
}

/// Relabels a request on its bytes and returns its series as text.
fn rewrite(rules: &[RelabelRule], request: &[u8]) -> (RelabelReport, Vec<u8>) {
    let mut output = vec![1, 2, 3];
    let report = Relabeler::new(rules).unwrap().rewrite(request, &Limits::default(), &mut output).unwrap();
    (report, output)
}

#[test]
fn requests_are_relabelled_on_their_bytes() {
    let rules: Vec<_> = [
        serde_json::json!({"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"}),
        serde_json::json!({"source_labels": ["instance"], "regex": "([^:]+):.*", "target_label": "host"}),
    ]
    .iter()
    .map(|value| rule(value).unwrap())
    .collect();
    let samples = [Sample::stale(1), Sample::new(2, -0.0)];
    let mut builder = WriteRequestBuilder::new();
    builder
        .series([("__name__", "go_threads")], samples)
        .series([("__name__", "up")], samples)
        .series([("__name__", "lag"), ("instance", "kafka-1:7071")], samples)
        .metadata(MetricType::Gauge, "lag", "How far behind.", "");
    let mut request = builder.finish();
    // A field of the request and one of a series that nobody knows.
    request.extend_from_slice(&[0x7a, 1, 9]);
    request.extend_from_slice(&[
        0x0a, 15, 0x7a, 1, 9, 0x0a, 10, 0x0a, 8, b'i', b'n', b's', b't', b'a', b'n', b'c', b'e',
    ]);

    let (report, output) = rewrite(&rules, &request);
    assert_eq!((report.kept, report.changed, report.dropped), (2, 1, 1));
    let mut expected = WriteRequestBuilder::new();
    expected
        .series([("__name__", "up")], samples)
        .series([("__name__", "lag"), ("host", "kafka-1"), ("instance", "kafka-1:7071")], samples)
        .metadata(MetricType::Gauge, "lag", "How far behind.", "");
    let expected = [&expected.finish()[..], &request[request.len() - 20..]].concat();
    assert_eq!(output, expected);
    // Once relabelled, these rules change nothing more.
    assert_eq!(rewrite(&rules, &output).1, output);
}
