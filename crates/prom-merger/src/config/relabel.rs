//! Relabel rules in Prometheus' own form.

use prom_remote::{RelabelAction, RelabelRule, RelabelRuleErrorKind, Relabeler};
use yaml_source::{ValueReader, value};

/// Reads a list of rules, each checked.
pub(super) fn read_relabel(value: ValueReader<'_>) -> Option<Vec<RelabelRule>> {
    value.each(read_rule)
}

fn read_rule(value: ValueReader<'_>) -> Option<RelabelRule> {
    let mut reader = value.mapping()?;
    let action = reader.or("action", value::parsed("a relabel action"), RelabelAction::default());
    let mut rule = RelabelRule::new(action);
    rule.source_labels = reader.or_default("source_labels", value::list(value::scalar_text));
    rule.separator = reader.or("separator", value::scalar_text, rule.separator);
    rule.regex = reader.or("regex", value::scalar_text, rule.regex);
    rule.modulus = reader.or("modulus", value::integer_in(0..=u64::MAX), rule.modulus);
    rule.target_label = reader.or("target_label", value::scalar_text, rule.target_label);
    rule.replacement = reader.or("replacement", value::scalar_text, rule.replacement);
    if let Err(error) = Relabeler::new(std::slice::from_ref(&rule)) {
        use RelabelRuleErrorKind as Kind;
        let message = match &error.kind {
            Kind::MeaninglessField { .. } => format!("cannot be set for {}", error.action),
            Kind::Pattern { error, .. } => error.to_string(),
            kind => format!("{kind} ({})", error.action),
        };
        match &error.kind {
            Kind::ZeroModulus => reader.error_at("modulus", &message),
            Kind::InvalidTargetLabel { .. } => reader.error_at("target_label", &message),
            Kind::InvalidReplacement { .. } => reader.error_at("replacement", &message),
            Kind::MeaninglessField { field } => reader.error_at(field, &message),
            Kind::Pattern { .. } => reader.error_at("regex", &message),
            _ => reader.error(&message),
        }
    }
    reader.finish();
    Some(rule)
}
