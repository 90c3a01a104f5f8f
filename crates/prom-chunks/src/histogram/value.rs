use std::hash::{Hash, Hasher};

use crate::STALE_MARKER_BITS;

/// A native histogram with its timestamp, as a value that can be used again and again.
///
/// Two are equal when all their bits are: NaNs with the same payload are, `0.0` and `-0.0` are not.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// When the counting started, in milliseconds since the Unix epoch; 0 means that it is not known.
    pub start_timestamp_ms: i64,
    /// What is known about a counter reset before it.
    pub reset_hint: ResetHint,
    /// How the buckets are bounded: -4 to 8 (up to 52 is reserved) for powers of 2^(2^-schema), or
    /// [`CUSTOM_BUCKETS`](Self::CUSTOM_BUCKETS) for the bounds in `custom_values`.
    pub schema: i32,
    /// Observations of at most this size, of either sign, are in the zero bucket.
    pub zero_threshold: f64,
    /// The sum of all observations.
    pub sum: f64,
    /// Where the positive buckets are; their lengths add up to the number of counts.
    pub positive_spans: Vec<Span>,
    /// Where the negative buckets are; their lengths add up to the number of counts.
    pub negative_spans: Vec<Span>,
    /// Upper bounds of custom buckets, rising; the last bucket has none.
    pub custom_values: Vec<f64>,
    /// The counts, whole numbers or doubles.
    pub counts: BucketCounts,
}

/// A row of buckets that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// In the first span the index of the first bucket, in others the number of buckets left out before it.
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

/// The counts of a histogram. Doubles are equal when their bits are.
#[derive(Debug, Clone)]
pub enum BucketCounts {
    /// Whole numbers, as clients observe them.
    Integer(Buckets<u64>),
    /// Doubles, as rules make them.
    Float(Buckets<f64>),
}

/// Counts of observations, each absolute (not the difference to the bucket before).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Buckets<Count> {
    /// All observations.
    pub count: Count,
    /// Observations in the zero bucket.
    pub zero_count: Count,
    /// Observations in each positive bucket, in the order of the spans.
    pub positive: Vec<Count>,
    /// Observations in each negative bucket, in the order of the spans: from the zero bucket outwards.
    pub negative: Vec<Count>,
}

impl<Count: Default> Buckets<Count> {
    /// Makes all counts zero and removes the buckets; keeps the memory.
    pub fn clear(&mut self) {
        (self.count, self.zero_count) = (Count::default(), Count::default());
        self.positive.clear();
        self.negative.clear();
    }
}

impl BucketCounts {
    /// Calls with each count, as bits, and with the numbers of buckets between.
    fn each_bits(&self, mut call: impl FnMut(u64)) {
        match self {
            Self::Integer(buckets) => buckets.each(|count| call(*count)),
            Self::Float(buckets) => buckets.each(|count| call(count.to_bits())),
        }
    }
}

impl<Count> Buckets<Count> {
    fn each(&self, mut call: impl FnMut(&Count)) {
        [&self.count, &self.zero_count]
            .into_iter()
            .chain(&self.positive)
            .chain(&self.negative)
            .for_each(&mut call);
    }
}

impl PartialEq for BucketCounts {
    fn eq(&self, other: &Self) -> bool {
        fn bits(counts: &[f64]) -> impl Iterator<Item = u64> + use<'_> {
            counts.iter().map(|count| count.to_bits())
        }
        match (self, other) {
            (Self::Integer(one), Self::Integer(other)) => one == other,
            (Self::Float(one), Self::Float(other)) => {
                one.count.to_bits() == other.count.to_bits()
                    && one.zero_count.to_bits() == other.zero_count.to_bits()
                    && bits(&one.positive).eq(bits(&other.positive))
                    && bits(&one.negative).eq(bits(&other.negative))
            }
            _ => false,
        }
    }
}

impl Eq for BucketCounts {}

impl Hash for BucketCounts {
    fn hash<H: Hasher>(&self, state: &mut H) {
        matches!(self, Self::Float(_)).hash(state);
        self.each_bits(|bits| bits.hash(state));
    }
}

/// What is known about a counter reset between a histogram and the one before it, with the numbers of
/// `prometheus.Histogram.ResetHint`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ResetHint {
    /// Nothing: 0.
    #[default]
    Unknown,
    /// There was a reset: 1.
    Reset,
    /// There was none: 2.
    NotReset,
    /// A gauge, which is never reset: 3.
    Gauge,
}

impl ResetHint {
    /// Returns the hint of this number; numbers that do not exist are unknown.
    pub fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Reset,
            2 => Self::NotReset,
            3 => Self::Gauge,
            _ => Self::Unknown,
        }
    }

    /// Returns the number of the hint.
    pub fn number(self) -> i32 {
        match self {
            Self::Unknown => 0,
            Self::Reset => 1,
            Self::NotReset => 2,
            Self::Gauge => 3,
        }
    }
}

impl Histogram {
    /// The schema of histograms whose buckets have bounds of their own.
    pub const CUSTOM_BUCKETS: i32 = -53;

    /// Makes an empty histogram with whole counts.
    pub fn integer() -> Self {
        Self::empty(BucketCounts::Integer(Buckets::default()))
    }

    /// Makes an empty histogram with counts that are doubles.
    pub fn float() -> Self {
        Self::empty(BucketCounts::Float(Buckets::default()))
    }

    fn empty(counts: BucketCounts) -> Self {
        Self {
            timestamp_ms: 0,
            start_timestamp_ms: 0,
            reset_hint: ResetHint::Unknown,
            schema: 0,
            zero_threshold: 0.0,
            sum: 0.0,
            positive_spans: Vec::new(),
            negative_spans: Vec::new(),
            custom_values: Vec::new(),
            counts,
        }
    }

    /// Tells whether it says "this series has ended": its sum has exactly the bits of the stale marker.
    ///
    /// Such a histogram holds nothing else.
    pub fn is_stale(&self) -> bool {
        self.sum.to_bits() == STALE_MARKER_BITS
    }

    /// Returns how many buckets it has counts for, on both sides, the zero bucket left out.
    pub fn bucket_count(&self) -> usize {
        match &self.counts {
            BucketCounts::Integer(buckets) => buckets.positive.len() + buckets.negative.len(),
            BucketCounts::Float(buckets) => buckets.positive.len() + buckets.negative.len(),
        }
    }

    /// Tells whether the schema is one that exists, reserved ones included.
    pub(crate) fn is_known_schema(schema: i64) -> bool {
        schema == i64::from(Self::CUSTOM_BUCKETS) || (-4..=52).contains(&schema)
    }

    fn custom_bits(&self) -> impl Iterator<Item = u64> {
        self.custom_values.iter().map(|bound| bound.to_bits())
    }

    /// All but the custom bounds, comparable.
    #[expect(clippy::type_complexity, reason = "a tuple of all fields, used twice below")]
    fn key(&self) -> (i64, i64, ResetHint, i32, u64, u64, &[Span], &[Span], &BucketCounts) {
        (
            self.timestamp_ms,
            self.start_timestamp_ms,
            self.reset_hint,
            self.schema,
            self.zero_threshold.to_bits(),
            self.sum.to_bits(),
            &self.positive_spans,
            &self.negative_spans,
            &self.counts,
        )
    }
}

impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key() && self.custom_bits().eq(other.custom_bits())
    }
}

impl Eq for Histogram {}

impl Hash for Histogram {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
        self.custom_bits().for_each(|bits| bits.hash(state));
    }
}
