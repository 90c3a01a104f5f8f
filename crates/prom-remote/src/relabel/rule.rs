//! A rule as configured, and the check of it.

use std::{fmt, str::FromStr};

use thiserror::Error;

use super::{builder::LabelBuilder, check, letters, template::Template};
use crate::re2::{PatternError, Re2};

/// What a rule does (`action`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum RelabelAction {
    /// Writes `replacement` into `target_label` if `regex` matches the source.
    #[default]
    Replace,
    /// Drops the series unless `regex` matches the source.
    Keep,
    /// Drops the series if `regex` matches the source.
    Drop,
    /// Drops the series unless the source is the value of `target_label`.
    KeepEqual,
    /// Drops the series if the source is the value of `target_label`.
    DropEqual,
    /// Writes the MD5 of the source, modulo `modulus`, into `target_label`.
    HashMod,
    /// Copies each label whose name matches `regex` to the name `replacement`.
    LabelMap,
    /// Removes the labels whose names match `regex`.
    LabelDrop,
    /// Removes the labels whose names do not match `regex`.
    LabelKeep,
    /// Writes the source in lower case into `target_label`.
    Lowercase,
    /// Writes the source in upper case into `target_label`.
    Uppercase,
}

impl RelabelAction {
    const ALL: [(&'static str, Self); 11] = [
        ("replace", Self::Replace),
        ("keep", Self::Keep),
        ("drop", Self::Drop),
        ("keepequal", Self::KeepEqual),
        ("dropequal", Self::DropEqual),
        ("hashmod", Self::HashMod),
        ("labelmap", Self::LabelMap),
        ("labeldrop", Self::LabelDrop),
        ("labelkeep", Self::LabelKeep),
        ("lowercase", Self::Lowercase),
        ("uppercase", Self::Uppercase),
    ];

    pub(super) fn needs_target(self) -> bool {
        !matches!(self, Self::Keep | Self::Drop | Self::LabelMap | Self::LabelDrop | Self::LabelKeep)
    }
}

impl fmt::Display for RelabelAction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(_, action)| action == self);
        formatter.write_str(found.map_or("", |(name, _)| name))
    }
}

/// There is no action of this name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown relabel action {name:?}")]
pub struct UnknownRelabelAction {
    /// The name as given.
    pub name: String,
}

impl FromStr for RelabelAction {
    type Err = UnknownRelabelAction;

    /// Reads the name of an action, in letters of any case.
    fn from_str(name: &str) -> Result<Self, UnknownRelabelAction> {
        let found = Self::ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, action)| *action).ok_or_else(|| UnknownRelabelAction { name: name.to_owned() })
    }
}

/// One rule, as it stands in a configuration; the fields and their defaults are those of Prometheus.
///
/// ```
/// use prom_remote::{RelabelAction, RelabelRule};
///
/// let mut rule = RelabelRule::new(RelabelAction::Replace);
/// rule.source_labels = vec!["instance".to_owned()];
/// rule.regex = "([^:]+):.*".to_owned();
/// rule.target_label = "host".to_owned();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelabelRule {
    /// What the rule does. Default `replace`.
    pub action: RelabelAction,
    /// The labels whose values, joined, are the source; an absent label counts as empty.
    pub source_labels: Vec<String>,
    /// What stands between the joined values. Default `;`.
    pub separator: String,
    /// An RE2 expression, matched from end to end. Default `(.*)`.
    pub regex: String,
    /// The modulus of `hashmod`, not 0.
    pub modulus: u64,
    /// The label to write; for `replace` it may refer to groups of the expression.
    pub target_label: String,
    /// The value to write; may refer to groups of the expression. Default `$1`.
    pub replacement: String,
}

impl Default for RelabelRule {
    fn default() -> Self {
        Self::new(RelabelAction::default())
    }
}

impl RelabelRule {
    /// Makes a rule with Prometheus' defaults.
    pub fn new(action: RelabelAction) -> Self {
        Self {
            action,
            source_labels: Vec::new(),
            separator: DEFAULT_SEPARATOR.to_owned(),
            regex: DEFAULT_REGEX.to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: DEFAULT_REPLACEMENT.to_owned(),
        }
    }
}

/// Which label names a rule may write (`metric_name_validation_scheme`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum LabelNames {
    /// Any text but the empty one, as in Prometheus 3.
    #[default]
    Utf8,
    /// Letters, digits and `_`, not beginning with a digit, as in Prometheus 2.
    Legacy,
}

impl LabelNames {
    pub(super) fn allow(self, name: &[u8]) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => {
                let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
                let rest_is_plain = name.iter().all(|&byte| is_letter(byte) || byte.is_ascii_digit());
                name.first().is_some_and(|&first| is_letter(first)) && rest_is_plain
            }
        }
    }
}

/// A rule is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("relabel rule {} ({action}): {kind}", index + 1)]
pub struct RelabelRuleError {
    /// Which rule, from 0; the message counts from 1.
    pub index: usize,
    /// What the rule would do.
    pub action: RelabelAction,
    /// What is wrong.
    pub kind: RelabelRuleErrorKind,
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RelabelRuleErrorKind {
    /// `hashmod` without a modulus.
    #[error("modulus must not be 0")]
    ZeroModulus,
    /// An action that writes or compares a label, without that label.
    #[error("target_label is missing")]
    MissingTargetLabel,
    /// A target label that is no label name.
    #[error("target_label {name:?} is not a label name")]
    InvalidTargetLabel {
        /// The name as given.
        name: String,
    },
    /// `labelmap` to what is no label name.
    #[error("replacement {name:?} is not a label name")]
    InvalidReplacement {
        /// The replacement as given.
        name: String,
    },
    /// A field that means nothing to this action.
    #[error("{field} cannot be set for this action")]
    MeaninglessField {
        /// The name of the field.
        field: &'static str,
    },
    /// The expression is refused.
    #[error("regex {regex:?}: {error}")]
    Pattern {
        /// The expression as given.
        regex: String,
        /// Why.
        error: PatternError,
    },
}

/// A rule, checked and compiled.
#[derive(Debug, Clone)]
pub(super) struct CompiledRule {
    source_labels: Vec<Box<[u8]>>,
    separator: Box<[u8]>,
    step: Step,
}

#[derive(Debug, Clone)]
enum Step {
    Replace { regex: Option<Re2>, target: Template, replacement: Template, names: LabelNames },
    Keep(Re2),
    Drop(Re2),
    KeepEqual(Box<[u8]>),
    DropEqual(Box<[u8]>),
    HashMod { target: Box<[u8]>, modulus: u64 },
    LabelMap { regex: Re2, replacement: Template },
    LabelDrop(Re2),
    LabelKeep(Re2),
    Lowercase(Box<[u8]>),
    Uppercase(Box<[u8]>),
}

impl CompiledRule {
    pub(super) fn new(index: usize, rule: &RelabelRule, names: LabelNames) -> Result<Self, RelabelRuleError> {
        let step = step(rule, names).map_err(|kind| RelabelRuleError { index, action: rule.action, kind })?;
        let source_labels = rule.source_labels.iter().map(|name| name.as_bytes().into()).collect();
        Ok(Self { source_labels, separator: rule.separator.as_bytes().into(), step })
    }

    /// Applies the rule; `false` drops the series. `source` is working memory.
    pub(super) fn apply(&self, labels: &mut LabelBuilder<'_>, source: &mut Vec<u8>) -> bool {
        source.clear();
        for (index, name) in self.source_labels.iter().enumerate() {
            if index > 0 {
                source.extend_from_slice(&self.separator);
            }
            source.extend_from_slice(labels.value(name));
        }
        match &self.step {
            Step::Keep(regex) => return regex.is_match(source),
            Step::Drop(regex) => return !regex.is_match(source),
            Step::KeepEqual(target) => return labels.value(target) == &source[..],
            Step::DropEqual(target) => return labels.value(target) != &source[..],
            Step::Replace { regex, target, replacement, names } => {
                let Some((target, value)) = replaced(regex.as_ref(), target, replacement, source) else {
                    return true;
                };
                if names.allow(&target) {
                    labels.set(&target, &value);
                }
            }
            Step::HashMod { target, modulus } => {
                let value = hash(source).checked_rem(*modulus).unwrap_or(0);
                labels.set(target, value.to_string().as_bytes());
            }
            Step::LabelMap { regex, replacement } => labels.for_each(|labels, name, value| {
                if let Some(captures) = regex.captures(name) {
                    labels.set(
                        &replacement.expand(|group| captures.get(group).map(|group| group.as_bytes())),
                        value,
                    );
                }
            }),
            Step::LabelDrop(regex) => labels.for_each(|labels, name, _| {
                if regex.is_match(name) {
                    labels.remove(name);
                }
            }),
            Step::LabelKeep(regex) => labels.for_each(|labels, name, _| {
                if !regex.is_match(name) {
                    labels.remove(name);
                }
            }),
            Step::Lowercase(target) => labels.set(target, &letters::lowercase(source)),
            Step::Uppercase(target) => labels.set(target, &letters::uppercase(source)),
        }
        true
    }
}

/// The label and value that a `replace` writes; `None` if the expression does not match. No expression means the
/// default, which matches everything.
fn replaced(
    regex: Option<&Re2>,
    target: &Template,
    replacement: &Template,
    source: &[u8],
) -> Option<(Vec<u8>, Vec<u8>)> {
    let Some(regex) = regex else {
        let group = |number| (number <= 1).then_some(source);
        return Some((target.expand(group), replacement.expand(group)));
    };
    let captures = regex.captures(source)?;
    let group = |number| captures.get(number).map(|group| group.as_bytes());
    Some((target.expand(group), replacement.expand(group)))
}

fn hash(source: &[u8]) -> u64 {
    use md5::{Digest, Md5};
    let digest = Md5::digest(source);
    // Prometheus uses the last 8 bytes.
    digest.last_chunk::<8>().copied().map_or(0, u64::from_be_bytes)
}

fn step(rule: &RelabelRule, names: LabelNames) -> Result<Step, RelabelRuleErrorKind> {
    use RelabelRuleErrorKind as Kind;
    check::check(rule, names)?;
    // Also where it means nothing to the action: Prometheus does not load a bad one.
    let regex = Re2::new(&rule.regex).map_err(|error| Kind::Pattern { regex: rule.regex.clone(), error })?;
    let target = || rule.target_label.as_bytes().into();
    Ok(match rule.action {
        RelabelAction::Replace => {
            let target = Template::new(&rule.target_label, &regex);
            let replacement = Template::new(&rule.replacement, &regex);
            let regex = Some(regex).filter(|_| rule.regex != DEFAULT_REGEX);
            Step::Replace { regex, target, replacement, names }
        }
        RelabelAction::Keep => Step::Keep(regex),
        RelabelAction::Drop => Step::Drop(regex),
        RelabelAction::KeepEqual => Step::KeepEqual(target()),
        RelabelAction::DropEqual => Step::DropEqual(target()),
        RelabelAction::HashMod => Step::HashMod { target: target(), modulus: rule.modulus },
        RelabelAction::LabelMap => {
            Step::LabelMap { replacement: Template::new(&rule.replacement, &regex), regex }
        }
        RelabelAction::LabelDrop => Step::LabelDrop(regex),
        RelabelAction::LabelKeep => Step::LabelKeep(regex),
        RelabelAction::Lowercase => Step::Lowercase(target()),
        RelabelAction::Uppercase => Step::Uppercase(target()),
    })
}

pub(super) const DEFAULT_SEPARATOR: &str = ";";
pub(super) const DEFAULT_REGEX: &str = "(.*)";
pub(super) const DEFAULT_REPLACEMENT: &str = "$1";
