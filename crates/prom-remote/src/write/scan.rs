//! The fast walk over a series as real senders write it: labels first, sorted, clean; then the rest.
//!
//! Consecutive series of a request share most of their labels. What has the same bytes as in the series before is
//! neither parsed nor judged again: it is found by comparing bytes, and what was known of it holds again.

pub(super) use super::bytes::{canonical_sample, common_prefix};
use super::{
    bytes::is_same,
    judge::is_utf8,
    view::{EXEMPLARS, HISTOGRAMS, HistogramView, LABELS, LabelView, SAMPLES, check_exemplar, sample},
};
use crate::{Limits, TimestampBounds, wire::Fields};

/// What a series holds besides its labels, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) samples: usize,
    pub(crate) histograms: usize,
    pub(crate) exemplars: usize,
    /// Fields of the series that this crate does not know.
    pub(crate) unknown_fields: usize,
    pub(crate) in_order: bool,
    // Of all samples and histograms; means nothing if there are none.
    min_ms: i64,
    max_ms: i64,
    // Mean nothing if there is none.
    last_sample_ms: i64,
    last_histogram_ms: i64,
}

impl Default for Content {
    #[inline]
    fn default() -> Self {
        Self {
            samples: 0,
            histograms: 0,
            exemplars: 0,
            unknown_fields: 0,
            in_order: true,
            min_ms: i64::MAX,
            max_ms: i64::MIN,
            last_sample_ms: i64::MIN,
            last_histogram_ms: i64::MIN,
        }
    }
}

impl Content {
    #[inline]
    pub(crate) fn include_sample(&mut self, timestamp_ms: i64) {
        self.in_order &= self.samples == 0 || self.last_sample_ms < timestamp_ms;
        self.samples += 1;
        self.last_sample_ms = timestamp_ms;
        self.include_time(timestamp_ms);
    }

    pub(crate) fn include_histogram(&mut self, timestamp_ms: i64) {
        self.in_order &= self.histograms == 0 || self.last_histogram_ms < timestamp_ms;
        self.histograms += 1;
        self.last_histogram_ms = timestamp_ms;
        self.include_time(timestamp_ms);
    }

    #[inline]
    fn include_time(&mut self, timestamp_ms: i64) {
        self.min_ms = self.min_ms.min(timestamp_ms);
        self.max_ms = self.max_ms.max(timestamp_ms);
    }

    /// The earliest and latest timestamp of all samples and histograms.
    #[inline]
    pub(crate) fn timestamps(&self) -> Option<TimestampBounds> {
        let bounds = TimestampBounds { min_ms: self.min_ms, max_ms: self.max_ms };
        (self.samples > 0 || self.histograms > 0).then_some(bounds)
    }
}

/// A series whose labels are clean: together at its beginning, strictly ascending by name, names and values not
/// empty, UTF-8 and within the limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct CleanSeries {
    /// The labels have the same names as those of the series that was scanned before.
    pub(super) has_same_names: bool,
}

/// Scans the series of one request, one after the other.
#[derive(Debug, Default)]
pub(super) struct SeriesScanner<'a> {
    /// The series before.
    body: &'a [u8],
    labels: Vec<KnownLabel<'a>>,
    has_metric_name: bool,
    content: Content,
    /// What stands behind its labels, if that is but one sample with a value and a timestamp; else empty.
    rest: &'a [u8],
    /// The label that was last found to differ.
    differing: usize,
}

#[derive(Debug, Clone, Copy)]
struct KnownLabel<'a> {
    /// Where its field ends in the body.
    end: usize,
    name: &'a [u8],
}

impl<'a> SeriesScanner<'a> {
    /// Scans the body of a `TimeSeries`; `None` if the series is not clean or not well formed, which the slow way
    /// must then tell.
    #[inline]
    pub(super) fn scan(&mut self, body: &'a [u8], limits: &Limits) -> Option<CleanSeries> {
        let scanned = self.scan_known(body, limits);
        self.body = body;
        if scanned.is_none() {
            self.body = b"";
            self.labels.clear();
            self.rest = b"";
        }
        scanned
    }

    /// What the last clean series holds besides its labels.
    #[inline]
    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    /// Whether the last clean series has a label `__name__`.
    #[inline]
    pub(super) fn has_metric_name(&self) -> bool {
        self.has_metric_name
    }

    /// The number of labels of the last clean series.
    #[inline]
    pub(super) fn label_count(&self) -> usize {
        self.labels.len()
    }

    /// The names of the labels of the last clean series.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a [u8]> + Clone + '_ {
        self.labels.iter().map(|label| label.name)
    }

    /// Where label `index` of the last clean series begins in the body; for the number of labels, where they end.
    #[inline]
    pub(super) fn label_start(&self, index: usize) -> usize {
        index.checked_sub(1).and_then(|before| self.labels.get(before)).map_or(0, |label| label.end)
    }

    #[inline]
    fn scan_known(&mut self, body: &'a [u8], limits: &Limits) -> Option<CleanSeries> {
        let has_same_names = self.scan_labels(body, limits)?;
        if !has_same_names {
            self.has_metric_name = self.labels.iter().any(|label| label.name == b"__name__");
        }
        let labels_end = self.labels.last()?.end;
        let rest = body.get(labels_end..)?;
        if !differs_in_value_only(rest, self.rest) {
            let is_plain = scan_content(rest, &mut self.content)?;
            let is_one_value = is_plain && self.content.samples == 1 && has_value(rest);
            self.rest = if is_one_value { rest } else { b"" };
        }
        Some(CleanSeries { has_same_names })
    }

    /// Brings `self.labels` to those of `body`; tells whether the names stayed the same.
    #[inline]
    fn scan_labels(&mut self, body: &'a [u8], limits: &Limits) -> Option<bool> {
        let mut has_same_names = !self.labels.is_empty();
        // The same place in the body and in the series before, always at the beginning of a label.
        let (mut position, mut known_position) = (0, 0);
        let mut index = 0;
        let mut is_order_known = true;
        while index < self.labels.len() {
            let same = common_prefix(body.get(position..)?, self.body.get(known_position..)?);
            let same_end = known_position + same;
            let unchanged_from = index;
            if position == known_position {
                index = self.label_at(same_end, index);
                known_position = self.label_start(index);
                position = known_position;
            } else {
                let moved = position.wrapping_sub(known_position);
                while let Some(label) = self.labels.get_mut(index).filter(|label| label.end <= same_end) {
                    known_position = label.end;
                    label.end = label.end.wrapping_add(moved);
                    index += 1;
                }
                position = known_position.wrapping_add(moved);
            }
            if index > unchanged_from {
                if !is_order_known && !self.is_in_order(unchanged_from) {
                    return None;
                }
                is_order_known = true;
            }
            let Some(known) = self.labels.get(index).copied() else { break };
            let Some((label, length)) = read_label(body.get(position..)?)? else {
                self.labels.truncate(index);
                has_same_names = false;
                break;
            };
            // Key, length, key, length, name: the same bytes as before.
            let is_name_within_same = same_end.saturating_sub(known_position) >= 4 + known.name.len()
                && label.name.len() == known.name.len();
            let has_known_name = is_name_within_same || label.name == known.name;
            if let Some(entry) = self.labels.get_mut(index) {
                *entry = KnownLabel { end: position + length, name: label.name };
            }
            if !has_known_name {
                has_same_names = false;
                if !is_clean(label.name, limits) {
                    return None;
                }
            }
            let keeps_order = is_order_known && has_known_name;
            if !keeps_order && !self.is_in_order(index) {
                return None;
            }
            if !is_clean(label.value, limits) {
                return None;
            }
            self.differing = index;
            is_order_known = has_known_name;
            known_position = known.end;
            position += length;
            index += 1;
        }
        let previous_name = self.labels.last().map_or(&b""[..], |label| label.name);
        has_same_names &= !self.scan_further_labels(body, position, previous_name, limits)?;
        (!self.labels.is_empty() && self.labels.len() <= limits.max_labels_per_series)
            .then_some(has_same_names)
    }

    /// The number of the label that holds this place of the series before, not below `from`; the number of labels if it
    /// is behind them.
    #[inline]
    fn label_at(&self, place: usize, from: usize) -> usize {
        if self.labels.last().is_some_and(|last| last.end <= place) {
            return self.labels.len();
        }
        let is_in_same = self.differing >= from
            && self.label_start(self.differing) <= place
            && self.labels.get(self.differing).is_some_and(|label| place < label.end);
        if is_in_same {
            return self.differing;
        }
        let mut index = from;
        while self.labels.get(index).is_some_and(|label| label.end <= place) {
            index += 1;
        }
        index
    }

    /// Whether the name of label `index` is greater than the one before it.
    fn is_in_order(&self, index: usize) -> bool {
        let Some(label) = self.labels.get(index) else { return true };
        let before = index.checked_sub(1).and_then(|before| self.labels.get(before));
        before.is_none_or(|before| before.name < label.name)
    }

    /// Takes in the labels that the series before did not have; tells whether there were any.
    fn scan_further_labels(
        &mut self,
        body: &'a [u8],
        mut position: usize,
        mut previous_name: &'a [u8],
        limits: &Limits,
    ) -> Option<bool> {
        let mut found = false;
        while let Some((label, length)) = read_label(body.get(position..)?)? {
            if previous_name >= label.name || !is_clean(label.name, limits) || !is_clean(label.value, limits)
            {
                return None;
            }
            if self.labels.len() >= limits.max_labels_per_series {
                return None;
            }
            previous_name = label.name;
            position += length;
            self.labels.push(KnownLabel { end: position, name: label.name });
            found = true;
        }
        Some(found)
    }
}

/// Reads the label that the bytes begin with, and the length of its field. `Some(None)`: they begin with something
/// else.
#[inline]
fn read_label(rest: &[u8]) -> Option<Option<(LabelView<'_>, usize)>> {
    match rest {
        [LABEL_KEY, length @ 0..0x80, after @ ..] => {
            let message = after.get(..usize::from(*length))?;
            let label = match LabelView::canonical(message) {
                Some(label) => label,
                None => LabelView::any_order(Fields::new(message)).ok()?,
            };
            Some(Some((label, 2 + message.len())))
        }
        [LABEL_KEY, low, high @ 0..0x80, after @ ..] => {
            let message = after.get(..usize::from(*low & 0x7f) | usize::from(*high) << 7)?;
            let label = match LabelView::canonical(message) {
                Some(label) => label,
                None => LabelView::any_order(Fields::new(message)).ok()?,
            };
            Some(Some((label, 3 + message.len())))
        }
        [LABEL_KEY, ..] => {
            let field = Fields::new(rest).next().ok()??;
            Some(Some((LabelView::new(&field).ok()?, field.end)))
        }
        _ => Some(None),
    }
}

#[inline]
fn is_clean(text: &[u8], limits: &Limits) -> bool {
    !text.is_empty() && text.len() <= limits.max_label_bytes && is_utf8(text)
}

/// Whether a canonical sample with a value stands at the beginning.
#[inline]
pub(super) fn has_value(rest: &[u8]) -> bool {
    matches!(rest, [SAMPLE_KEY, _, VALUE_KEY, ..])
}

/// Whether the bytes differ from the known ones, which begin with a canonical sample with a value, in that value only.
#[inline]
pub(super) fn differs_in_value_only(rest: &[u8], known: &[u8]) -> bool {
    if rest.len() != known.len() || rest.is_empty() {
        return false;
    }
    // Two keys and a length, then 8 bytes.
    match (rest.split_first_chunk::<11>(), known.split_first_chunk::<11>()) {
        (Some((head, tail)), Some((known_head, known_tail))) => {
            head.first_chunk::<3>() == known_head.first_chunk::<3>() && is_same(tail, known_tail)
        }
        _ => false,
    }
}

/// Walks what stands behind the labels; tells whether there are but canonical samples. `None` if a label stands there
/// too, or the bytes are malformed.
#[inline]
fn scan_content(rest: &[u8], content: &mut Content) -> Option<bool> {
    *content = Content::default();
    let mut rest = rest;
    while let [SAMPLE_KEY, length @ 0..0x80, after @ ..] = rest {
        let (message, next) = after.split_at_checked(usize::from(*length))?;
        let Some(sample) = canonical_sample(message) else { break };
        content.include_sample(sample.timestamp_ms);
        rest = next;
    }
    if rest.is_empty() {
        return Some(true);
    }
    scan_any_content(rest, content)?;
    Some(false)
}

#[cold]
fn scan_any_content(rest: &[u8], content: &mut Content) -> Option<()> {
    let mut fields = Fields::new(rest);
    while let Some(field) = fields.next().ok()? {
        match field.number {
            LABELS => return None,
            SAMPLES => content.include_sample(sample(&field).ok()?.timestamp_ms),
            EXEMPLARS => {
                check_exemplar(&field).ok()?;
                content.exemplars += 1;
            }
            HISTOGRAMS => content.include_histogram(HistogramView::new(&field).ok()?.timestamp_ms),
            _ => content.unknown_fields += 1,
        }
    }
    Some(())
}

const LABEL_KEY: u8 = (LABELS as u8) << 3 | 2;
const SAMPLE_KEY: u8 = (SAMPLES as u8) << 3 | 2;
const VALUE_KEY: u8 = 1 << 3 | 1;
