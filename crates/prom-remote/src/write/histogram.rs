//! Judges a native histogram without building it: one walk, nothing allocated.
//!
//! The rules are those of Prometheus' own validation (native histograms specification, "Data model").

use thiserror::Error;

use crate::{
    DecodeError, HistogramView, STALE_MARKER_BITS,
    wire::{Field, Fields},
};

/// What is wrong with a native histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum HistogramFault {
    /// A schema that is neither exponential (−4 to 8), custom (−53) nor reserved (−9 to −5, 9 to 52).
    #[error("unknown schema {0}")]
    UnknownSchema(i32),
    /// A reserved schema: a receiver may take it at a lower resolution, or refuse it.
    #[error("reserved schema {0}")]
    ReservedSchema(i32),
    /// A span other than the first of its side goes backwards.
    #[error("a span has a negative offset")]
    NegativeSpanOffset,
    /// The lengths of the spans of a side do not add up to the number of its buckets.
    #[error("spans have {spans} buckets, but {buckets} are given")]
    SpanMismatch {
        /// The sum of the lengths of the spans.
        spans: u64,
        /// The number of bucket values.
        buckets: u64,
    },
    /// A bucket with a negative count.
    #[error("a bucket has a negative count")]
    NegativeBucket,
    /// A negative count of the zero bucket or of all observations.
    #[error("a count is negative")]
    NegativeCount,
    /// The buckets do not add up to the count; float histograms are compared with a tolerance.
    #[error("buckets do not add up to the count")]
    CountMismatch,
    /// Integer and float counts are mixed.
    #[error("integer and float counts are mixed")]
    MixedCounts,
    /// Custom values in a histogram of another schema.
    #[error("custom values in a histogram of schema {0}")]
    UnexpectedCustomValues(i32),
    /// The bounds of custom buckets are not finite below infinity, or do not ascend.
    #[error("bounds of custom buckets do not ascend, or are not a number or infinite")]
    CustomBounds,
    /// The spans of custom buckets reach over the last bound.
    #[error("spans reach over the {bounds} bounds of the custom buckets")]
    CustomSpans {
        /// The number of bounds.
        bounds: u64,
    },
    /// Custom buckets together with a zero bucket or negative buckets.
    #[error("custom buckets together with a zero bucket or negative buckets")]
    CustomWithZeroOrNegative,
    /// Custom buckets, which remote write 1.0 must not carry.
    #[error("custom buckets are not for remote write 1.0")]
    CustomBucketsInV1,
}

impl HistogramFault {
    /// A reserved schema, and custom buckets on 1.0, are for the receiver to decide.
    pub(super) fn is_tolerated(self) -> bool {
        matches!(self, Self::ReservedSchema(_) | Self::CustomBucketsInV1)
    }
}

impl HistogramView<'_> {
    /// Returns the first fault of the histogram, or `None` for a good one. A stale marker has none.
    ///
    /// Custom buckets are no fault here: whether they may be sent depends on the protocol.
    pub fn fault(&self) -> Option<HistogramFault> {
        // The constructor has walked the message.
        let histogram = Walked::new(self.message_bytes).unwrap_or_default();
        histogram.fault()
    }

    /// Tells whether the histogram is a stale marker: its sum is exactly [`STALE_MARKER_BITS`].
    pub fn is_stale(&self) -> bool {
        Walked::new(self.message_bytes).is_ok_and(|histogram| histogram.is_stale())
    }

    /// Tells whether the histogram has custom buckets (schema −53, or custom values), which remote write 1.0 cannot
    /// carry.
    pub fn has_custom_buckets(&self) -> bool {
        Walked::new(self.message_bytes)
            .is_ok_and(|histogram| histogram.schema == CUSTOM_SCHEMA || histogram.custom.bounds > 0)
    }
}

/// A count of a histogram: the arm of the `oneof` that came last.
#[derive(Debug, Clone, Copy, Default)]
enum Count {
    #[default]
    Unset,
    Int(u64),
    Float(f64),
}

/// What one walk over a `Histogram` message finds.
#[derive(Debug, Default)]
struct Walked {
    count: Count,
    zero_count: Count,
    sum_bits: u64,
    schema: i32,
    zero_threshold: f64,
    negative: Side,
    positive: Side,
    custom: Bounds,
}

/// The buckets below or above zero.
#[derive(Debug, Default)]
struct Side {
    spans: u64,
    span_lengths: u64,
    /// The sum of all offsets and lengths: where the last span ends.
    spans_end: i64,
    first_offset: i32,
    has_negative_offset: bool,
    int_buckets: u64,
    /// The count of the last integer bucket.
    running: i64,
    int_sum: u64,
    float_buckets: u64,
    float_sum: f64,
    has_negative_bucket: bool,
    has_overflow: bool,
}

#[derive(Debug, Default)]
struct Bounds {
    bounds: u64,
    last: Option<f64>,
    is_bad: bool,
}

impl Walked {
    fn new(message: &[u8]) -> Result<Self, DecodeError> {
        let mut walked = Self::default();
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => walked.count = Count::Int(field.varint()?),
                2 => walked.count = Count::Float(f64::from_bits(field.fixed64()?)),
                3 => walked.sum_bits = field.fixed64()?,
                4 => walked.schema = zig_zag(u64::from(field.varint()? as u32)) as i32,
                5 => walked.zero_threshold = f64::from_bits(field.fixed64()?),
                6 => walked.zero_count = Count::Int(field.varint()?),
                7 => walked.zero_count = Count::Float(f64::from_bits(field.fixed64()?)),
                8 => walked.negative.add_span(&field)?,
                9 => field.for_each_varint(|delta| walked.negative.add_delta(zig_zag(delta)))?,
                10 => field.for_each_fixed64(|bits| walked.negative.add_float(f64::from_bits(bits)))?,
                11 => walked.positive.add_span(&field)?,
                12 => field.for_each_varint(|delta| walked.positive.add_delta(zig_zag(delta)))?,
                13 => field.for_each_fixed64(|bits| walked.positive.add_float(f64::from_bits(bits)))?,
                16 => field.for_each_fixed64(|bits| walked.custom.add(f64::from_bits(bits)))?,
                _ => {}
            }
        }
        Ok(walked)
    }

    fn is_stale(&self) -> bool {
        self.sum_bits == STALE_MARKER_BITS
    }

    fn fault(&self) -> Option<HistogramFault> {
        if self.is_stale() {
            return None;
        }
        self.layout_fault()
            .or_else(|| self.negative.fault())
            .or_else(|| self.positive.fault())
            .or_else(|| self.count_fault())
            .or_else(|| is_reserved(self.schema).then_some(HistogramFault::ReservedSchema(self.schema)))
    }

    fn layout_fault(&self) -> Option<HistogramFault> {
        let schema = self.schema;
        if schema != CUSTOM_SCHEMA {
            return if !(-4..=8).contains(&schema) && !is_reserved(schema) {
                Some(HistogramFault::UnknownSchema(schema))
            } else if self.custom.bounds > 0 {
                Some(HistogramFault::UnexpectedCustomValues(schema))
            } else {
                None
            };
        }
        let has_zero_bucket = self.zero_threshold != 0.0
            || match self.zero_count {
                Count::Unset => false,
                Count::Int(count) => count != 0,
                Count::Float(count) => count != 0.0,
            };
        if self.custom.is_bad {
            Some(HistogramFault::CustomBounds)
        } else if has_zero_bucket || self.negative.spans > 0 || self.negative.buckets() > 0 {
            Some(HistogramFault::CustomWithZeroOrNegative)
        } else if self.positive.spans_end > self.custom.bounds as i64 + 1 || self.positive.starts_below_zero()
        {
            Some(HistogramFault::CustomSpans { bounds: self.custom.bounds })
        } else {
            None
        }
    }

    fn count_fault(&self) -> Option<HistogramFault> {
        let (negative, positive) = (&self.negative, &self.positive);
        let is_sum_nan = f64::from_bits(self.sum_bits).is_nan();
        match self.count {
            Count::Float(count) => {
                let zero = match self.zero_count {
                    Count::Unset => 0.0,
                    Count::Float(zero) => zero,
                    Count::Int(_) => return Some(HistogramFault::MixedCounts),
                };
                if negative.int_buckets + positive.int_buckets > 0 {
                    return Some(HistogramFault::MixedCounts);
                }
                if zero < 0.0 || count < 0.0 {
                    return Some(HistogramFault::NegativeCount);
                }
                let buckets = zero + negative.float_sum + positive.float_sum;
                let tolerance = FLOAT_TOLERANCE * count.abs().max(buckets.abs());
                let is_off = buckets - count > tolerance || (!is_sum_nan && count - buckets > tolerance);
                is_off.then_some(HistogramFault::CountMismatch)
            }
            Count::Int(_) | Count::Unset => {
                let count = if let Count::Int(count) = self.count { count } else { 0 };
                let zero = match self.zero_count {
                    Count::Unset => 0,
                    Count::Int(zero) => zero,
                    Count::Float(_) => return Some(HistogramFault::MixedCounts),
                };
                if negative.float_buckets + positive.float_buckets > 0 {
                    return Some(HistogramFault::MixedCounts);
                }
                let buckets = zero
                    .checked_add(negative.int_sum)
                    .and_then(|sum| sum.checked_add(positive.int_sum))
                    .filter(|_| !negative.has_overflow && !positive.has_overflow);
                let is_off = match buckets {
                    None => true,
                    Some(buckets) if is_sum_nan => buckets > count,
                    Some(buckets) => buckets != count,
                };
                is_off.then_some(HistogramFault::CountMismatch)
            }
        }
    }
}

impl Side {
    fn add_span(&mut self, field: &Field<'_>) -> Result<(), DecodeError> {
        let (mut offset, mut length) = (0_i32, 0_u32);
        let mut fields = field.message()?;
        while let Some(field) = fields.next()? {
            match field.number {
                1 => offset = zig_zag(u64::from(field.varint()? as u32)) as i32,
                2 => length = field.varint()? as u32,
                _ => {}
            }
        }
        self.has_negative_offset |= self.spans > 0 && offset < 0;
        if self.spans == 0 {
            self.first_offset = offset;
        }
        self.spans += 1;
        self.span_lengths += u64::from(length);
        self.spans_end = self.spans_end.saturating_add(i64::from(offset)).saturating_add(i64::from(length));
        Ok(())
    }

    fn add_delta(&mut self, delta: i64) {
        self.int_buckets += 1;
        match self.running.checked_add(delta) {
            Some(count) => {
                self.running = count;
                self.has_negative_bucket |= count < 0;
                match self.int_sum.checked_add(count.max(0) as u64) {
                    Some(sum) => self.int_sum = sum,
                    None => self.has_overflow = true,
                }
            }
            None => self.has_overflow = true,
        }
    }

    fn add_float(&mut self, count: f64) {
        self.float_buckets += 1;
        self.has_negative_bucket |= count < 0.0;
        self.float_sum += count;
    }

    fn buckets(&self) -> u64 {
        self.int_buckets + self.float_buckets
    }

    fn starts_below_zero(&self) -> bool {
        self.first_offset < 0
    }

    fn fault(&self) -> Option<HistogramFault> {
        if self.has_negative_offset {
            Some(HistogramFault::NegativeSpanOffset)
        } else if self.span_lengths != self.buckets() {
            Some(HistogramFault::SpanMismatch { spans: self.span_lengths, buckets: self.buckets() })
        } else if self.has_negative_bucket {
            Some(HistogramFault::NegativeBucket)
        } else {
            None
        }
    }
}

impl Bounds {
    fn add(&mut self, bound: f64) {
        self.bounds += 1;
        self.is_bad |=
            bound.is_nan() || bound == f64::INFINITY || self.last.is_some_and(|last| last >= bound);
        self.last = Some(bound);
    }
}

fn is_reserved(schema: i32) -> bool {
    (-9..=-5).contains(&schema) || (9..=52).contains(&schema)
}

fn zig_zag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

const CUSTOM_SCHEMA: i32 = -53;

/// The counts of float histograms are sums of many roundings.
const FLOAT_TOLERANCE: f64 = 1e-6;

#[cfg(test)]
mod tests;
