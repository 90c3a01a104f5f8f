//! Rules applied to series, remembered by their labels.

use std::collections::HashMap;

use foldhash::quality::RandomState;
use thiserror::Error;

use super::{
    builder::LabelBuilder,
    rule::{CompiledRule, LabelNames, RelabelRule, RelabelRuleError},
};
use crate::{
    LabelView, SeriesView,
    wire::{Fields, put_bytes, put_varint},
};

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
    memo: Memo,
    key: Vec<u8>,
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
    /// As the label fields of a `TimeSeries` of remote write 1.0.
    encoded: &'a [u8],
}

impl<'a> RelabeledLabels<'a> {
    /// Walks the labels, name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        labels_in(self.encoded)
    }

    /// Returns the labels as the label fields of a `TimeSeries` message of remote write 1.0.
    pub(super) fn as_fields(&self) -> &'a [u8] {
        self.encoded
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
        let memo = Memo {
            rules: rules.collect::<Result<_, _>>()?,
            bounds: memory,
            young: Generation::default(),
            old: Generation::default(),
            source: Vec::new(),
        };
        Ok(Self { memo, key: Vec::new() })
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
        self.key.clear();
        for (name, value) in labels {
            put_label(&mut self.key, name.as_ref(), value.as_ref());
        }
        self.memo.outcome(&self.key)
    }

    /// Applies the rules to the labels of a series of a remote-write 1.0 request.
    ///
    /// # Errors
    /// A label that is not UTF-8.
    pub fn apply_to_series(&mut self, series: &SeriesView<'_>) -> Result<Relabeled<'_>, RelabelError> {
        match label_fields(series) {
            Some(fields) => self.memo.outcome(fields),
            None => self.apply(series.labels().map(|label| (label.name, label.value))),
        }
    }

    /// Returns how many series are remembered.
    pub fn remembered(&self) -> usize {
        self.memo.young.places.len() + self.memo.old.places.len()
    }
}

/// The label fields of a series, if they stand together at its beginning, as every sender has them.
fn label_fields<'a>(series: &SeriesView<'a>) -> Option<&'a [u8]> {
    let message = series.message_bytes();
    let mut fields = Fields::new(message);
    let (mut end, mut count) = (0, 0);
    while let Ok(Some(field)) = fields.next()
        && field.number == LABELS
    {
        (end, count) = (field.end, count + 1);
    }
    message.get(..end).filter(|_| count == series.label_count())
}

/// What came of which labels. The key is their fields on the wire.
#[derive(Debug, Clone)]
struct Memo {
    rules: Vec<CompiledRule>,
    bounds: RelabelMemory,
    /// What was met since the last change of generations, and before it.
    young: Generation,
    old: Generation,
    /// Working memory.
    source: Vec<u8>,
}

impl Memo {
    fn outcome(&mut self, key: &[u8]) -> Result<Relabeled<'_>, RelabelError> {
        if self.rules.is_empty() {
            return Ok(Relabeled::Keep);
        }
        let place = match self.young.places.get(key) {
            Some(place) => *place,
            None => self.remember(key)?,
        };
        Ok(match self.young.outcomes.get(place) {
            Some(Outcome::Changed(encoded)) => Relabeled::Changed(RelabeledLabels { encoded }),
            Some(Outcome::Drop) => Relabeled::Drop,
            Some(Outcome::Keep) | None => Relabeled::Keep,
        })
    }

    /// Puts a key that is not there into the young generation, and returns its place.
    fn remember(&mut self, key: &[u8]) -> Result<usize, RelabelError> {
        let outcome = match self.old.take(key) {
            Some(outcome) => outcome,
            None => run(&self.rules, key, &mut self.source)?,
        };
        let half = |bound: usize| bound / 2;
        let is_full = self.young.places.len() >= half(self.bounds.max_series).max(1)
            || self.young.bytes + key.len() + outcome.len() > half(self.bounds.max_bytes);
        if is_full {
            self.old = std::mem::take(&mut self.young);
        }
        Ok(self.young.insert(key, outcome))
    }
}

/// Runs the rules over labels.
fn run(rules: &[CompiledRule], key: &[u8], source: &mut Vec<u8>) -> Result<Outcome, RelabelError> {
    let labels: Vec<_> = labels_in(key).collect();
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
            labels.iter().for_each(|(name, value)| put_label(&mut encoded, name, value));
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
    /// Where the outcome of a key is.
    places: HashMap<Box<[u8]>, usize, RandomState>,
    outcomes: Vec<Outcome>,
    bytes: usize,
}

impl Generation {
    fn insert(&mut self, key: &[u8], outcome: Outcome) -> usize {
        let place = self.outcomes.len();
        self.bytes += key.len() + outcome.len();
        self.places.insert(key.into(), place);
        self.outcomes.push(outcome);
        place
    }

    fn take(&mut self, key: &[u8]) -> Option<Outcome> {
        let place = self.places.remove(key)?;
        let outcome = std::mem::replace(self.outcomes.get_mut(place)?, Outcome::Keep);
        self.bytes -= key.len() + outcome.len();
        Some(outcome)
    }
}

/// Appends a label as the label field of a `TimeSeries`.
fn put_label(fields: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let length_of = |text: &[u8]| 1 + varint_length(text.len()) + text.len();
    fields.push(LABELS_KEY);
    put_varint(fields, (length_of(name) + length_of(value)) as u64);
    put_bytes(fields, 1, name);
    put_bytes(fields, 2, value);
}

fn labels_in<'a>(fields: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
    let mut fields = Fields::new(fields);
    std::iter::from_fn(move || {
        let field = fields.next().ok()??;
        LabelView::new(&field).ok().map(|label| (label.name, label.value))
    })
}

fn varint_length(number: usize) -> usize {
    let bits = usize::BITS - (number | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

const LABELS: u32 = 1;
/// Field 1, length-delimited.
const LABELS_KEY: u8 = 0x0a;
