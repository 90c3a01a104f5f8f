//! Digests of windows of time, over all series.

use std::collections::{BTreeMap, BTreeSet};

use prom_chunks::Histogram;

use super::{
    SeriesFingerprint,
    digest::{digest_within, histogram_digest, labels_digest, sample_digest},
};
use crate::{Sample, TimeRange};

/// A fingerprint for each window of time, over the labels, timestamps and value bits of all that is in it.
///
/// Finds where two places differ without memory for their series: only the windows are held. As in
/// [`SeriesSetFingerprint`](super::SeriesSetFingerprint), neither order nor empty labels matter, and labels that only
/// one of the places has can be left out.
///
/// ```
/// use prom_remote::{Sample, WindowFingerprints};
///
/// let samples = [Sample::new(500, 1.0), Sample::new(1_500, 2.0)];
/// let mut sent = WindowFingerprints::new(1_000);
/// sent.add([("__name__", "up")], samples);
/// let mut stored = WindowFingerprints::new(1_000).without_labels(["source"]);
/// stored.add([("__name__", "up"), ("source", "kafka")], [samples[0]]);
/// let missing: Vec<_> = sent.differences(&stored).iter().map(|window| window.start_ms()).collect();
/// assert_eq!(missing, [1_000]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowFingerprints {
    window_ms: i64,
    left_out: Vec<Vec<u8>>,
    /// By the number of the window: its start divided by its length.
    windows: BTreeMap<i64, SeriesFingerprint>,
}

impl WindowFingerprints {
    /// Starts with windows of this length in milliseconds, beginning at multiples of it. Less than 1 is taken for 1.
    pub fn new(window_ms: i64) -> Self {
        Self { window_ms: window_ms.max(1), left_out: Vec::new(), windows: BTreeMap::new() }
    }

    /// Leaves these labels out of the series' identity.
    #[must_use]
    pub fn without_labels<Name: Into<Vec<u8>>>(mut self, names: impl IntoIterator<Item = Name>) -> Self {
        self.left_out.extend(names.into_iter().map(Into::into));
        self
    }

    /// Adds samples of a series; parts of one series may come in any order and number.
    pub fn add<Name: AsRef<[u8]>, Value: AsRef<[u8]>>(
        &mut self,
        labels: impl IntoIterator<Item = (Name, Value)>,
        samples: impl IntoIterator<Item = Sample>,
    ) {
        let identity = self.identity(labels);
        for sample in samples {
            let window = self.window(sample.timestamp_ms);
            window.samples = window.samples.wrapping_add(1);
            window.digest = window.digest.wrapping_add(digest_within(identity, sample_digest(sample)));
        }
    }

    /// Adds native histograms of a series; parts of one series may come in any order and number.
    pub fn add_histograms<'h, Name: AsRef<[u8]>, Value: AsRef<[u8]>>(
        &mut self,
        labels: impl IntoIterator<Item = (Name, Value)>,
        histograms: impl IntoIterator<Item = &'h Histogram>,
    ) {
        let identity = self.identity(labels);
        for histogram in histograms {
            let window = self.window(histogram.timestamp_ms);
            window.histograms = window.histograms.wrapping_add(1);
            window.digest = window.digest.wrapping_add(digest_within(identity, histogram_digest(histogram)));
        }
    }

    /// Returns the windows that have samples or histograms, with their fingerprints, in the order of time.
    pub fn iter(&self) -> impl Iterator<Item = (TimeRange, SeriesFingerprint)> {
        self.windows
            .iter()
            .filter_map(|(number, fingerprint)| Some((range(*number, self.window_ms)?, *fingerprint)))
    }

    /// Returns the windows that the two places do not hold alike, in the order of time. Windows of another length
    /// are never alike.
    pub fn differences(&self, other: &Self) -> Vec<TimeRange> {
        let differing = |one: &Self, other: &Self| {
            let differs = |(number, fingerprint): (&i64, &SeriesFingerprint)| {
                one.window_ms != other.window_ms || other.windows.get(number) != Some(fingerprint)
            };
            let ranges = one.windows.iter().filter(|window| differs(*window));
            let ranges = ranges.filter_map(|(number, _)| range(*number, one.window_ms));
            ranges.map(|range| (range.start_ms(), range.end_ms())).collect::<BTreeSet<_>>()
        };
        let both = differing(self, other).into_iter().chain(differing(other, self)).collect::<BTreeSet<_>>();
        both.into_iter().filter_map(|(start_ms, end_ms)| TimeRange::new(start_ms, end_ms).ok()).collect()
    }

    fn identity<Name: AsRef<[u8]>, Value: AsRef<[u8]>>(
        &self,
        labels: impl IntoIterator<Item = (Name, Value)>,
    ) -> u128 {
        labels_digest(labels.into_iter().filter(|(name, value)| {
            let is_left_out = self.left_out.iter().any(|left_out| left_out == name.as_ref());
            !is_left_out && !value.as_ref().is_empty()
        }))
    }

    fn window(&mut self, timestamp_ms: i64) -> &mut SeriesFingerprint {
        self.windows.entry(timestamp_ms.div_euclid(self.window_ms)).or_default()
    }
}

/// A window as a range, cut at the ends of all time.
fn range(number: i64, window_ms: i64) -> Option<TimeRange> {
    let start = number.saturating_mul(window_ms);
    TimeRange::new(start, start.saturating_add(window_ms)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    type Part = ((u8, u8), Vec<(i64, u64)>);

    fn fingerprints(parts: &[Part]) -> WindowFingerprints {
        let mut windows = WindowFingerprints::new(100);
        for ((one, other), samples) in parts {
            let labels = [("a", vec![*one]), ("b", vec![*other; usize::from(*other)])];
            let samples =
                samples.iter().map(|&(timestamp_ms, value_bits)| Sample { timestamp_ms, value_bits });
            windows.add(labels, samples);
        }
        windows
    }

    fn parts() -> impl Strategy<Value = Vec<Part>> {
        vec(((0..3_u8, 0..3_u8), vec((-500..500_i64, any::<u64>()), 0..10)), 1..6)
    }

    proptest! {
        #[test]
        fn neither_order_nor_split_matters(parts in parts(), cut in any::<prop::sample::Index>()) {
            let whole = fingerprints(&parts);
            let mut split = Vec::new();
            for (labels, samples) in parts.into_iter().rev() {
                let (first, second) = samples.split_at(cut.index(samples.len().max(1)).min(samples.len()));
                split.extend([(labels, second.to_vec()), (labels, first.to_vec())]);
            }
            prop_assert_eq!(fingerprints(&split), whole);
        }

        #[test]
        fn a_changed_sample_is_found_in_its_window(parts in parts(), series in any::<prop::sample::Index>(), flip in 0..64_u32) {
            let mut changed = parts.clone();
            let series = series.index(changed.len());
            if let Some(sample) = changed[series].1.first_mut() {
                sample.1 ^= 1 << flip;
                let start_ms = sample.0.div_euclid(100) * 100;
                let expected = TimeRange::new(start_ms, start_ms + 100).unwrap();
                prop_assert_eq!(fingerprints(&changed).differences(&fingerprints(&parts)), [expected]);
            }
        }
    }

    #[test]
    fn the_series_of_a_sample_matters() {
        let one = fingerprints(&[((1, 1), vec![(1, 5)]), ((1, 2), vec![(1, 6)])]);
        let other = fingerprints(&[((1, 1), vec![(1, 6)]), ((1, 2), vec![(1, 5)])]);
        assert_eq!(one.differences(&other), [TimeRange::new(0, 100).unwrap()]);
        assert_eq!(one.iter().map(|(_, window)| window.samples).sum::<u64>(), 2);
    }

    #[test]
    fn the_ends_of_time_have_windows() {
        let windows = fingerprints(&[((0, 0), vec![(i64::MIN, 0), (i64::MAX, 0)])]);
        assert_eq!(windows.differences(&WindowFingerprints::new(100)).len(), 2);
    }
}
