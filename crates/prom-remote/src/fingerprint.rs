//! Proof that two places hold the same samples, bit by bit, without holding the samples.

mod digest;
mod window;

use std::{collections::BTreeMap, fmt};

use prom_chunks::Histogram;

use crate::{HistogramDecodeError, Label, Limits, Sample};

use digest::{histogram_digest, sample_digest};
pub use window::WindowFingerprints;

/// The count and a digest of the samples and histograms of one series, whatever their order.
///
/// Two series with the same samples have the same fingerprint, however they were split and ordered on the way; a
/// sample that stands twice counts twice. Of a histogram everything counts but its start timestamp, its reset hint
/// and buckets with a count of zero: these depend on how a server encodes it. The digest is 128 bits of a fast mix, made against accidents and not
/// against an enemy. It is the same on every machine and is meant to be stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SeriesFingerprint {
    /// How many samples.
    pub samples: u64,
    /// How many native histograms.
    pub histograms: u64,
    /// The sum of the digests of all samples and histograms (modulo 2^128), each over timestamp and value bits.
    pub digest: u128,
}

impl SeriesFingerprint {
    /// Adds one sample.
    pub fn add(&mut self, sample: Sample) {
        self.samples = self.samples.wrapping_add(1);
        self.digest = self.digest.wrapping_add(sample_digest(sample));
    }

    /// Adds one native histogram.
    pub fn add_histogram(&mut self, histogram: &Histogram) {
        self.histograms = self.histograms.wrapping_add(1);
        self.digest = self.digest.wrapping_add(histogram_digest(histogram));
    }

    /// Tells whether nothing was added.
    pub fn is_empty(&self) -> bool {
        (self.samples, self.histograms) == (0, 0)
    }

    /// Adds all samples and histograms of another part of the same series.
    pub fn merge(&mut self, other: Self) {
        self.samples = self.samples.wrapping_add(other.samples);
        self.histograms = self.histograms.wrapping_add(other.histograms);
        self.digest = self.digest.wrapping_add(other.digest);
    }
}

impl FromIterator<Sample> for SeriesFingerprint {
    fn from_iter<Samples: IntoIterator<Item = Sample>>(samples: Samples) -> Self {
        let mut fingerprint = Self::default();
        samples.into_iter().for_each(|sample| fingerprint.add(sample));
        fingerprint
    }
}

/// The fingerprints of a set of series, to compare with those of another place.
///
/// Labels are compared without order and without empty ones; labels that only one of the places has (such as
/// `source`) can be left out. A series without samples and histograms leaves no trace. Memory: the labels of each
/// series, so the caller bounds the number of series.
///
/// ```
/// use prom_remote::{Sample, SeriesSetFingerprint};
///
/// let mut sent = SeriesSetFingerprint::new();
/// sent.add([("__name__", "up")], [Sample::new(1, 1.0), Sample::new(2, 0.0)]);
/// let mut stored = SeriesSetFingerprint::without_labels(["source"]);
/// stored.add([("__name__", "up"), ("source", "kafka")], [Sample::new(2, 0.0)]);
/// stored.add([("source", "kafka"), ("__name__", "up")], [Sample::new(1, 1.0)]);
/// assert_eq!(sent.differences(&stored), []);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeriesSetFingerprint {
    series: BTreeMap<Vec<Label>, SeriesFingerprint>,
    left_out: Vec<Vec<u8>>,
}

/// A series that two sets do not hold alike. Displayed as one readable line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The labels of the series, sorted.
    pub labels: Vec<Label>,
    /// What the set holds that was asked; all zero if nothing.
    pub here: SeriesFingerprint,
    /// What the set holds that was given; all zero if nothing.
    pub there: SeriesFingerprint,
}

impl SeriesSetFingerprint {
    /// Starts an empty set that compares all labels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts an empty set that leaves these labels out of the series' identity.
    pub fn without_labels<Name: Into<Vec<u8>>>(names: impl IntoIterator<Item = Name>) -> Self {
        Self { series: BTreeMap::new(), left_out: names.into_iter().map(Into::into).collect() }
    }

    /// Adds samples of a series; parts of one series may come in any order and number.
    pub fn add<Name, Value>(
        &mut self,
        labels: impl IntoIterator<Item = (Name, Value)>,
        samples: impl IntoIterator<Item = Sample>,
    ) where
        Name: AsRef<[u8]>,
        Value: AsRef<[u8]>,
    {
        self.add_fingerprint(labels, samples.into_iter().collect());
    }

    /// Adds native histograms of a series; parts of one series may come in any order and number.
    pub fn add_histograms<'h, Name, Value>(
        &mut self,
        labels: impl IntoIterator<Item = (Name, Value)>,
        histograms: impl IntoIterator<Item = &'h Histogram>,
    ) where
        Name: AsRef<[u8]>,
        Value: AsRef<[u8]>,
    {
        let mut fingerprint = SeriesFingerprint::default();
        histograms.into_iter().for_each(|histogram| fingerprint.add_histogram(histogram));
        self.add_fingerprint(labels, fingerprint);
    }

    /// Adds the fingerprint of a part of a series.
    pub fn add_fingerprint<Name, Value>(
        &mut self,
        labels: impl IntoIterator<Item = (Name, Value)>,
        fingerprint: SeriesFingerprint,
    ) where
        Name: AsRef<[u8]>,
        Value: AsRef<[u8]>,
    {
        if fingerprint.is_empty() {
            return;
        }
        let mut identity: Vec<_> = labels
            .into_iter()
            .filter(|(name, value)| {
                let is_left_out = self.left_out.iter().any(|left_out| left_out == name.as_ref());
                !is_left_out && !value.as_ref().is_empty()
            })
            .map(|(name, value)| Label { name: name.as_ref().to_vec(), value: value.as_ref().to_vec() })
            .collect();
        identity.sort();
        self.series.entry(identity).or_default().merge(fingerprint);
    }

    /// Adds the samples of a series of a write request or of a remote-read answer; its histograms are left out.
    pub fn add_view(&mut self, series: &crate::SeriesView<'_>) {
        self.add(series.labels().map(|label| (label.name, label.value)), series.samples());
    }

    /// Adds the histograms of a series of a write request or of a remote-read answer.
    ///
    /// # Errors
    /// A histogram that goes over the limits; those before it were added.
    pub fn add_view_histograms(
        &mut self,
        series: &crate::SeriesView<'_>,
        limits: &Limits,
    ) -> Result<(), HistogramDecodeError> {
        for histogram in series.histograms() {
            let labels = series.labels().map(|label| (label.name, label.value));
            self.add_histograms(labels, [&histogram.decode(limits)?]);
        }
        Ok(())
    }

    /// Adds the samples of an owned series of a remote-read answer; its histograms are left out.
    pub fn add_series(&mut self, series: &crate::ReadSeries) {
        self.add(
            series.labels.iter().map(|label| (&label.name, &label.value)),
            series.samples.iter().copied(),
        );
    }

    /// Returns the series with their fingerprints, sorted by labels.
    pub fn iter(&self) -> impl Iterator<Item = (&[Label], &SeriesFingerprint)> {
        self.series.iter().map(|(labels, fingerprint)| (&labels[..], fingerprint))
    }

    /// Returns the number of series that have samples or histograms.
    pub fn series_count(&self) -> usize {
        self.series.len()
    }

    /// Returns the number of samples of all series.
    pub fn sample_count(&self) -> u64 {
        self.series.values().map(|fingerprint| fingerprint.samples).sum()
    }

    /// Returns the number of native histograms of all series.
    pub fn histogram_count(&self) -> u64 {
        self.series.values().map(|fingerprint| fingerprint.histograms).sum()
    }

    /// Returns the series that the two sets do not hold alike, sorted by labels; empty when both hold the same
    /// number of samples with the same timestamps and value bits for every series.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut pairs: BTreeMap<&Vec<Label>, (SeriesFingerprint, SeriesFingerprint)> = BTreeMap::new();
        for (labels, fingerprint) in &self.series {
            pairs.entry(labels).or_default().0 = *fingerprint;
        }
        for (labels, fingerprint) in &other.series {
            pairs.entry(labels).or_default().1 = *fingerprint;
        }
        pairs
            .into_iter()
            .filter(|(_, (here, there))| here != there)
            .map(|(labels, (here, there))| Difference { labels: labels.clone(), here, there })
            .collect()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("{")?;
        for (index, label) in self.labels.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            let name = label.name.escape_ascii();
            write!(formatter, "{separator}{name}=\"{}\"", label.value.escape_ascii())?;
        }
        formatter.write_str("}: ")?;
        let (here, there) = (Amount(&self.here), Amount(&self.there));
        if (self.here.samples, self.here.histograms) == (self.there.samples, self.there.histograms) {
            write!(formatter, "{here} on both sides, but not the same")
        } else {
            write!(formatter, "{here} here, {there} there")
        }
    }
}

/// How much of what, in words.
struct Amount<'a>(&'a SeriesFingerprint);

impl fmt::Display for Amount<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.samples, self.0.histograms) {
            (samples, 0) => write!(formatter, "{samples} samples"),
            (0, histograms) => write!(formatter, "{histograms} histograms"),
            (samples, histograms) => write!(formatter, "{samples} samples and {histograms} histograms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use prom_chunks::{BucketCounts, Buckets, ResetHint, Span};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn one_bit_is_a_difference() {
        let digest =
            |time, bits| SeriesFingerprint::from_iter([Sample { timestamp_ms: time, value_bits: bits }]);
        assert_ne!(digest(1, 0), digest(1, 1));
        assert_ne!(digest(1, 0), digest(2, 0));
        assert_ne!(Sample::new(1, 0.0).value_bits, Sample::new(1, -0.0).value_bits);
        assert_ne!(digest(1, 0), digest(1, 1 << 63));
    }

    #[test]
    fn the_digest_does_not_change_between_versions() {
        let fingerprint =
            SeriesFingerprint::from_iter([Sample::new(1_700_000_000_000, 1.5), Sample::stale(-1)]);
        assert_eq!(fingerprint.samples, 2);
        assert_eq!(format!("{:032x}", fingerprint.digest), STORED_DIGEST);
    }

    /// Computed by an independent program.
    const STORED_DIGEST: &str = "14e1a4c09923799864d536178473d149";

    #[test]
    fn differences_are_told_in_words() {
        let mut here = SeriesSetFingerprint::new();
        here.add([("__name__", "up"), ("job", "\"a\"")], [Sample::new(1, 1.0)]);
        here.add([("__name__", "down")], [Sample::new(1, 1.0), Sample::new(1, 1.0)]);
        let mut there = SeriesSetFingerprint::new();
        there.add([("__name__", "up"), ("job", "\"a\"")], [Sample::new(1, 2.0)]);
        there.add([("__name__", "down"), ("empty", "")], [Sample::new(1, 1.0)]);
        there.add([("__name__", "nothing")], []);
        let lines: Vec<_> = here.differences(&there).iter().map(Difference::to_string).collect();
        assert_eq!(
            lines,
            [
                r#"{__name__="down"}: 2 samples here, 1 samples there"#,
                r#"{__name__="up",job="\"a\""}: 1 samples on both sides, but not the same"#,
            ]
        );
        assert_eq!((here.series_count(), here.sample_count()), (2, 3));
    }

    #[test]
    fn each_part_of_a_histogram_is_a_difference() {
        let span = |offset, length| vec![Span { offset, length }];
        let base = Histogram {
            timestamp_ms: 1,
            schema: 3,
            zero_threshold: 0.5,
            sum: 2.0,
            positive_spans: span(1, 2),
            negative_spans: span(1, 1),
            custom_values: vec![1.0],
            counts: BucketCounts::Integer(Buckets {
                count: 9,
                zero_count: 1,
                positive: vec![2, 3],
                negative: vec![3],
            }),
            ..Histogram::integer()
        };
        let digest = |histogram: &Histogram| {
            let mut fingerprint = SeriesFingerprint::default();
            fingerprint.add_histogram(histogram);
            fingerprint.digest
        };
        let with = |count, zero_count, positive: &[u64], negative: &[u64]| {
            let buckets =
                Buckets { count, zero_count, positive: positive.to_vec(), negative: negative.to_vec() };
            Histogram { counts: BucketCounts::Integer(buckets), ..base.clone() }
        };
        let others = [
            Histogram { timestamp_ms: 2, ..base.clone() },
            Histogram { schema: 4, ..base.clone() },
            Histogram { zero_threshold: 0.25, ..base.clone() },
            Histogram { sum: -2.0, ..base.clone() },
            Histogram { positive_spans: span(2, 2), ..base.clone() },
            Histogram { negative_spans: span(2, 1), ..base.clone() },
            Histogram { custom_values: vec![], ..base.clone() },
            Histogram { counts: Histogram::float().counts, ..base.clone() },
            with(10, 1, &[2, 3], &[3]),
            with(9, 2, &[2, 3], &[3]),
            with(9, 1, &[3, 3], &[3]),
            with(9, 1, &[2, 3], &[4]),
            with(9, 1, &[3, 2], &[3]),
        ];
        let digests: std::collections::BTreeSet<_> = others.iter().chain([&base]).map(digest).collect();
        assert_eq!(digests.len(), others.len() + 1);

        // As another server may encode it.
        let padded = Histogram {
            positive_spans: vec![Span { offset: -1, length: 3 }, Span { offset: 0, length: 2 }],
            start_timestamp_ms: 5,
            reset_hint: ResetHint::NotReset,
            ..with(9, 1, &[0, 0, 2, 3, 0], &[3])
        };
        assert_eq!(digest(&padded), digest(&base));
    }

    proptest! {
        #[test]
        fn neither_order_nor_split_matters(
            samples in vec((any::<i64>(), any::<u64>()), 1..20).prop_shuffle(),
            cut in any::<prop::sample::Index>(),
        ) {
            let samples: Vec<_> =
                samples.into_iter().map(|(timestamp_ms, value_bits)| Sample { timestamp_ms, value_bits }).collect();
            let whole: SeriesFingerprint = samples.iter().copied().collect();
            let mut sorted = samples.clone();
            sorted.sort();
            prop_assert_eq!(whole, sorted.into_iter().collect());
            let (first, second) = samples.split_at(cut.index(samples.len()));
            let mut parts: SeriesFingerprint = second.iter().copied().collect();
            parts.merge(first.iter().copied().collect());
            prop_assert_eq!(whole, parts);
        }
    }
}
