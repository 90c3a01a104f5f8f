//! Whether a rule makes sense.

use super::rule::{
    DEFAULT_REGEX, DEFAULT_REPLACEMENT, DEFAULT_SEPARATOR, LabelNames, RelabelAction, RelabelRule,
    RelabelRuleErrorKind,
};

/// The checks of Prometheus' `Config.Validate`, in its order.
pub(super) fn check(rule: &RelabelRule, names: LabelNames) -> Result<(), RelabelRuleErrorKind> {
    use RelabelAction as Action;
    use RelabelRuleErrorKind as Kind;
    if rule.action == Action::HashMod && rule.modulus == 0 {
        return Err(Kind::ZeroModulus);
    }
    if rule.action.needs_target() {
        let has_group = rule.action == Action::Replace && rule.target_label.contains('$');
        let is_name = if has_group {
            is_name_template(&rule.target_label, names)
        } else {
            names.allow(rule.target_label.as_bytes())
        };
        if rule.target_label.is_empty() {
            return Err(Kind::MissingTargetLabel);
        }
        if !is_name {
            return Err(Kind::InvalidTargetLabel { name: rule.target_label.clone() });
        }
    }
    if rule.action == Action::LabelMap && !is_name_template(&rule.replacement, names) {
        return Err(Kind::InvalidReplacement { name: rule.replacement.clone() });
    }
    let is_equal = matches!(rule.action, Action::KeepEqual | Action::DropEqual);
    let is_letters = matches!(rule.action, Action::Lowercase | Action::Uppercase);
    let is_names = matches!(rule.action, Action::LabelDrop | Action::LabelKeep);
    let meaningless = [
        ("replacement", (is_equal || is_letters || is_names) && rule.replacement != DEFAULT_REPLACEMENT),
        ("regex", is_equal && rule.regex != DEFAULT_REGEX),
        ("modulus", (is_equal || is_names) && rule.modulus != 0),
        ("separator", (is_equal || is_names) && rule.separator != DEFAULT_SEPARATOR),
        ("source_labels", is_names && !rule.source_labels.is_empty()),
        ("target_label", is_names && !rule.target_label.is_empty()),
    ];
    match meaningless.iter().find(|(_, is_set)| *is_set) {
        Some((field, _)) => Err(Kind::MeaninglessField { field }),
        None => Ok(()),
    }
}

/// Tells whether a text with references to groups can become a label name: in the legacy form
/// `^(?:(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))+\w*)+$`, otherwise if it is not empty.
fn is_name_template(template: &str, names: LabelNames) -> bool {
    if names == LabelNames::Utf8 {
        return !template.is_empty();
    }
    let is_word = |next: char| next.is_ascii_alphanumeric() || next == '_';
    let mut rest = template;
    while let Some(first) = rest.chars().next() {
        // After a letter or a reference any word character may follow, so that only the first may be no digit.
        let is_start = rest.len() == template.len();
        rest = match rest.strip_prefix('$') {
            Some(reference) => {
                let name = reference.strip_prefix('{').unwrap_or(reference);
                let after = name.trim_start_matches(is_word);
                let is_braced = name.len() < reference.len();
                match (after.len() < name.len(), is_braced) {
                    (false, _) => return false,
                    (true, false) => after,
                    (true, true) => match after.strip_prefix('}') {
                        Some(after) => after,
                        None => return false,
                    },
                }
            }
            None if is_word(first) && !(is_start && first.is_ascii_digit()) => &rest[first.len_utf8()..],
            None => return false,
        };
    }
    !template.is_empty()
}
