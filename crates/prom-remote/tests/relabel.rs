//! Rules against what Prometheus itself makes of them: the tables are its output (see `relabel_oracle/README.md`).

use std::collections::BTreeMap;

use prom_remote::{
    LabelNames, RelabelAction, RelabelMemory, RelabelRule, RelabelRuleError, Relabeled, Relabeler,
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
