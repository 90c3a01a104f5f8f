//! Rules applied to series, remembered by their labels.

use std::collections::HashMap;

use foldhash::quality::RandomState;
use thiserror::Error;

use super::{
    builder::LabelBuilder,
    rule::{CompiledRule, LabelNames, RelabelRule, RelabelRuleError},
};
use crate::SeriesView;

/// Applies a list of rules to the labels of series, and remembers what came of which labels.
///
/// A sender sends the same series again and again: the rules run once for each, later it is one look-up.
///
/// ```
/// use prom_remote::{RelabelAction, RelabelRule, Relabeled, Relabeler};
///
/// let mut rule = RelabelRule::new(RelabelAction::Replace);
/// rule.source_labels = vec!["instance".to_owned()];
/// rule.regex = "([^:]+):.*".to_owned();
/// rule.target_label = "host".to_owned();
/// let mut relabeler = Relabeler::new(&[rule])?;
///
/// let labels = [("__name__", "up"), ("instance", "kafka-1:7071")];
/// let Relabeled::Changed(changed) = relabeler.apply(labels)? else { panic!("has a host now") };
/// assert_eq!(changed.iter().map(|(name, _)| name).collect::<Vec<_>>(), [&b"__name__"[..], b"host", b"instance"]);
/// assert_eq!(relabeler.apply([("__name__", "up")])?, Relabeled::Keep);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Relabeler {
    rules: Vec<CompiledRule>,
    memory: RelabelMemory,
    /// What was met since the last change of generations, and before it.
    young: Generation,
    old: Generation,
    key: Vec<u8>,
    source: Vec<u8>,
}

/// How much a [`Relabeler`] may remember; at the bound it forgets what was not met for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelabelMemory {
    /// The most series. Default 100,000.
    pub max_series: usize,
    /// The most bytes of labels, before and after. Default 64 MiB.
    pub max_bytes: usize,
}

impl Default for RelabelMemory {
    fn default() -> Self {
        Self { max_series: 100_000, max_bytes: 64 << 20 }
    }
}

/// What the rules make of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relabeled<'a> {
    /// Its labels stay as they are, in the order and form in which they came.
    Keep,
    /// It is dropped, by a rule or because no label is left.
    Drop,
    /// It has these labels now.
    Changed(RelabeledLabels<'a>),
}

/// Labels after relabelling: sorted by name, names unique, no empty values; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelabeledLabels<'a> {
    encoded: &'a [u8],
}

impl<'a> RelabeledLabels<'a> {
    /// Walks the labels, name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.encoded;
        std::iter::from_fn(move || Some((take(&mut rest)?, take(&mut rest)?)))
    }
}

/// A label of a series is not UTF-8, which rules cannot be applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("label {label} is not UTF-8 and cannot be relabelled")]
pub struct RelabelError {
    /// Which label of the series, from 0.
    pub label: usize,
}

impl Relabeler {
    /// Makes a relabeler with Prometheus 3's label names and the default memory.
    ///
    /// # Errors
    /// The first rule that is refused.
    pub fn new(rules: &[RelabelRule]) -> Result<Self, RelabelRuleError> {
        Self::with(rules, LabelNames::default(), RelabelMemory::default())
    }

    /// Makes a relabeler.
    ///
    /// # Errors
    /// The first rule that is refused.
    pub fn with(
        rules: &[RelabelRule],
        names: LabelNames,
        memory: RelabelMemory,
    ) -> Result<Self, RelabelRuleError> {
        let rules = rules.iter().enumerate().map(|(index, rule)| CompiledRule::new(index, rule, names));
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
            memory,
            young: Generation::default(),
            old: Generation::default(),
            key: Vec::new(),
            source: Vec::new(),
        })
    }

    /// Applies the rules to labels given in any order; of a repeated name the first counts, an empty value is none.
    ///
    /// # Errors
    /// A label that is not UTF-8.
    pub fn apply<Name, Value>(
        &mut self,
        labels: impl IntoIterator<Item = (Name, Value)>,
    ) -> Result<Relabeled<'_>, RelabelError>
    where
        Name: AsRef<[u8]>,
        Value: AsRef<[u8]>,
    {
        if self.rules.is_empty() {
            return Ok(Relabeled::Keep);
        }
        self.key.clear();
        for (name, value) in labels {
            put(&mut self.key, name.as_ref());
            put(&mut self.key, value.as_ref());
        }
        self.apply_to_key()
    }

    /// Applies the rules to the labels of a series of a remote-write 1.0 request.
    ///
    /// # Errors
    /// A label that is not UTF-8.
    pub fn apply_to_series(&mut self, series: &SeriesView<'_>) -> Result<Relabeled<'_>, RelabelError> {
        self.apply(series.labels().map(|label| (label.name, label.value)))
    }

    fn apply_to_key(&mut self) -> Result<Relabeled<'_>, RelabelError> {
        let key = &self.key[..];
        if !self.young.outcomes.contains_key(key) {
            let outcome = match self.old.take(key) {
                Some(outcome) => outcome,
                None => outcome(&self.rules, key, &mut self.source)?,
            };
            let half = |bound: usize| bound / 2;
            let is_full = self.young.outcomes.len() >= half(self.memory.max_series).max(1)
                || self.young.bytes + key.len() + outcome.len() > half(self.memory.max_bytes);
            if is_full {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(key, outcome);
        }
        Ok(match self.young.outcomes.get(key) {
            Some(Outcome::Changed(encoded)) => Relabeled::Changed(RelabeledLabels { encoded }),
            Some(Outcome::Drop) => Relabeled::Drop,
            Some(Outcome::Keep) | None => Relabeled::Keep,
        })
    }

    /// Returns how many series are remembered.
    pub fn remembered(&self) -> usize {
        self.young.outcomes.len() + self.old.outcomes.len()
    }
}

/// Runs the rules over labels encoded as a key.
fn outcome(rules: &[CompiledRule], key: &[u8], source: &mut Vec<u8>) -> Result<Outcome, RelabelError> {
    let labels: Vec<_> = RelabeledLabels { encoded: key }.iter().collect();
    let is_text = |text: &[u8]| std::str::from_utf8(text).is_ok();
    if let Some(label) = labels.iter().position(|(name, value)| !is_text(name) || !is_text(value)) {
        return Err(RelabelError { label });
    }
    let mut builder = LabelBuilder::new(labels.into_iter());
    if !rules.iter().all(|rule| rule.apply(&mut builder, source)) {
        return Ok(Outcome::Drop);
    }
    Ok(match builder.finish() {
        None => Outcome::Keep,
        Some(labels) if labels.is_empty() => Outcome::Drop,
        Some(labels) => {
            let mut encoded = Vec::new();
            for (name, value) in labels {
                put(&mut encoded, name);
                put(&mut encoded, value);
            }
            Outcome::Changed(encoded.into())
        }
    })
}

#[derive(Debug, Clone)]
enum Outcome {
    Keep,
    Drop,
    Changed(Box<[u8]>),
}

impl Outcome {
    fn len(&self) -> usize {
        match self {
            Self::Keep | Self::Drop => 0,
            Self::Changed(encoded) => encoded.len(),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Generation {
    outcomes: HashMap<Box<[u8]>, Outcome, RandomState>,
    bytes: usize,
}

impl Generation {
    fn insert(&mut self, key: &[u8], outcome: Outcome) {
        self.bytes += key.len() + outcome.len();
        self.outcomes.insert(key.into(), outcome);
    }

    fn take(&mut self, key: &[u8]) -> Option<Outcome> {
        let outcome = self.outcomes.remove(key)?;
        self.bytes -= key.len() + outcome.len();
        Some(outcome)
    }
}

/// Appends a length of four bytes and the text.
fn put(encoded: &mut Vec<u8>, text: &[u8]) {
    // No text is that long: messages are bounded far below.
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let text = text.get(..length as usize).unwrap_or(text);
    encoded.extend_from_slice(&length.to_le_bytes());
    encoded.extend_from_slice(text);
}

fn take<'a>(encoded: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = encoded.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *encoded = rest;
    Some(text)
}
