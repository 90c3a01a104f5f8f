//! Series as they were written, received or read, to be compared bit for bit.

use std::collections::BTreeMap;

use prom_remote::{
    SeriesContent, StartedSample,
    prom_chunks::{BucketCounts, Buckets, Histogram, ResetHint, STALE_MARKER_BITS, Span},
};

/// Sorted pairs of name and value.
pub type Labels = BTreeMap<String, String>;

/// One series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// Its samples.
    pub samples: Vec<StartedSample>,
    /// Its native histograms.
    pub histograms: Vec<Histogram>,
}

/// What all series hold, each timestamp once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeriesSet(BTreeMap<Labels, Content>);

/// What one series holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Samples by timestamp, with the start of their counting.
    pub samples: BTreeMap<i64, StartedSample>,
    /// Histograms by timestamp.
    pub histograms: BTreeMap<i64, HistogramBits>,
}

/// What a histogram says, in bits, however it is laid out: the storage may add empty buckets. A reset hint depends on
/// the place in the chunk, so only "gauge" counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistogramBits {
    /// The end of a series.
    Stale,
    /// Any other.
    Value {
        /// Schema, and whether counts are doubles.
        kind: (i32, bool),
        /// Whether it is a gauge.
        is_gauge: bool,
        /// Sum, count, zero count and zero threshold.
        totals: [u64; 4],
        /// Buckets that are not empty, by index.
        positive: BTreeMap<i64, u64>,
        /// The same below zero.
        negative: BTreeMap<i64, u64>,
        /// Bounds of custom buckets.
        custom_values: Vec<u64>,
    },
}

impl SeriesSet {
    /// Adds a series; what it holds twice must be the same.
    ///
    /// # Panics
    /// When it has two values for one timestamp.
    pub fn add(&mut self, series: Series) {
        let content = self.0.entry(series.labels).or_default();
        for sample in series.samples {
            let before = content.samples.insert(sample.sample.timestamp_ms, sample);
            assert!(before.is_none_or(|before| before == sample), "{before:?} and {sample:?}");
        }
        for histogram in series.histograms {
            let bits = HistogramBits::of(&histogram);
            let before = content.histograms.insert(histogram.timestamp_ms, bits.clone());
            assert!(before.as_ref().is_none_or(|before| *before == bits), "{before:?} and {bits:?}");
        }
    }

    /// All series.
    pub fn iter(&self) -> impl Iterator<Item = (&Labels, &Content)> {
        self.0.iter()
    }

    /// The number of samples and that of histograms.
    pub fn counts(&self) -> (usize, usize) {
        let contents = || self.0.values();
        (
            contents().map(|content| content.samples.len()).sum(),
            contents().map(|content| content.histograms.len()).sum(),
        )
    }

    /// The series that a test of labels and content keeps, without the others.
    pub fn filtered(&self, keep: impl Fn(&Labels, &Content) -> bool) -> Self {
        let kept = self.0.iter().filter(|(labels, content)| keep(labels, content));
        Self(kept.map(|(labels, content)| (labels.clone(), content.clone())).collect())
    }

    /// The same without a label.
    ///
    /// # Panics
    /// When two series differ in nothing else.
    pub fn without_label(self, name: &str) -> Self {
        let mut all = BTreeMap::new();
        for (mut labels, content) in self.0 {
            labels.remove(name);
            let twin = all.insert(labels, content);
            assert!(twin.is_none(), "two series differ in {name} alone: {twin:?}");
        }
        Self(all)
    }

    /// The same without starts of counting, for peers that do not keep them.
    pub fn without_starts(mut self) -> Self {
        let contents = self.0.values_mut();
        contents.flat_map(|content| content.samples.values_mut()).for_each(|s| s.start_timestamp_ms = 0);
        self
    }

    /// The same with 0 for every -0: the messages of Go programs leave out both.
    pub fn without_negative_zeros(mut self) -> Self {
        let plain = |bits: &mut u64| *bits = if *bits == 1 << 63 { 0 } else { *bits };
        for content in self.0.values_mut() {
            content.samples.values_mut().for_each(|sample| plain(&mut sample.sample.value_bits));
            for histogram in content.histograms.values_mut() {
                if let HistogramBits::Value { totals, .. } = histogram {
                    totals.iter_mut().for_each(plain);
                }
            }
        }
        self
    }

    /// The same without histograms; series of nothing else stay, empty.
    pub fn without_histograms(mut self) -> Self {
        self.0.values_mut().for_each(|content| content.histograms.clear());
        self
    }

    /// Says where `self`, which should be there, is missing in `other` or not the same.
    ///
    /// # Errors
    /// The first difference.
    pub fn is_within(&self, other: &Self) -> Result<(), String> {
        for (labels, content) in &self.0 {
            let found = other.0.get(labels).ok_or_else(|| format!("no series {labels:?}"))?;
            for (time, sample) in &content.samples {
                let there = found.samples.get(time);
                if there != Some(sample) {
                    return Err(format!("{labels:?}: {there:?} and not {sample:?}"));
                }
            }
            for (time, histogram) in &content.histograms {
                let there = found.histograms.get(time);
                if there != Some(histogram) {
                    let count = found.histograms.len();
                    return Err(format!(
                        "{labels:?} at {time}: {there:?} and not {histogram:?}, {count} of {}",
                        content.histograms.len()
                    ));
                }
            }
        }
        Ok(())
    }

    /// Says where two sets differ.
    ///
    /// # Errors
    /// The first difference.
    pub fn is_same(&self, other: &Self) -> Result<(), String> {
        self.is_within(other)?;
        other.is_within(self).map_err(|difference| format!("the other way round: {difference}"))
    }
}

impl FromIterator<(Labels, Content)> for SeriesSet {
    fn from_iter<T: IntoIterator<Item = (Labels, Content)>>(series: T) -> Self {
        Self(series.into_iter().collect())
    }
}

impl FromIterator<Series> for SeriesSet {
    fn from_iter<T: IntoIterator<Item = Series>>(series: T) -> Self {
        let mut set = Self::default();
        series.into_iter().for_each(|series| set.add(series));
        set
    }
}

impl Series {
    /// A series that holds nothing yet.
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let labels = labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { labels, ..Self::default() }
    }

    /// A series as it was read.
    pub fn read<'a>(labels: impl Iterator<Item = (&'a [u8], &'a [u8])>, content: SeriesContent) -> Self {
        assert_eq!(content.conflicts, 0, "an answer with two values for one timestamp");
        Self { labels: text(labels), samples: content.samples, histograms: content.histograms }
    }
}

/// Labels of the wire as text.
pub fn text<'a>(labels: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Labels {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    labels.map(|(name, value)| (text(name), text(value))).collect()
}

impl HistogramBits {
    /// Those of `histogram`.
    pub fn of(histogram: &Histogram) -> Self {
        if histogram.sum.to_bits() == STALE_MARKER_BITS {
            return Self::Stale;
        }
        let (is_float, [count, zero_count], positive, negative) = match &histogram.counts {
            BucketCounts::Integer(buckets) => split(buckets, false, |count| *count),
            BucketCounts::Float(buckets) => split(buckets, true, |count| count.to_bits()),
        };
        let totals = [histogram.sum.to_bits(), count, zero_count, histogram.zero_threshold.to_bits()];
        Self::Value {
            kind: (histogram.schema, is_float),
            is_gauge: histogram.reset_hint == ResetHint::Gauge,
            totals,
            positive: by_index(&histogram.positive_spans, positive),
            negative: by_index(&histogram.negative_spans, negative),
            custom_values: histogram.custom_values.iter().map(|bound| bound.to_bits()).collect(),
        }
    }
}

fn split<Count>(
    buckets: &Buckets<Count>,
    is_float: bool,
    bits: impl Fn(&Count) -> u64,
) -> (bool, [u64; 2], Vec<u64>, Vec<u64>) {
    let totals = [bits(&buckets.count), bits(&buckets.zero_count)];
    (
        is_float,
        totals,
        buckets.positive.iter().map(&bits).collect(),
        buckets.negative.iter().map(&bits).collect(),
    )
}

fn by_index(spans: &[Span], counts: Vec<u64>) -> BTreeMap<i64, u64> {
    let mut next = 0;
    let mut indexes = Vec::new();
    for span in spans {
        next += i64::from(span.offset);
        indexes.extend(next..next + i64::from(span.length));
        next += i64::from(span.length);
    }
    assert_eq!(indexes.len(), counts.len(), "spans and buckets");
    indexes.into_iter().zip(counts).filter(|(_, count)| *count != 0).collect()
}
