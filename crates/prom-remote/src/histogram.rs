//! Native histograms between their messages and values.

use prom_chunks::{BucketCounts, Buckets, Histogram, ResetHint, Span};
use prost::Message;
use thiserror::Error;

use crate::{
    HistogramView, Limits, ReadHistogram,
    proto::prometheus::{self, histogram},
    wire::{put_bytes, put_varint},
};

/// The message of a native histogram cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HistogramDecodeError {
    /// The bytes are not a `Histogram` message.
    #[error("not a histogram message: {reason}")]
    Malformed {
        /// The decoder's words.
        reason: String,
    },
    /// More buckets, spans or bounds than [`Limits::max_buckets`].
    #[error("histogram has more than {limit} buckets, spans or bounds")]
    TooManyBuckets {
        /// The limit.
        limit: usize,
    },
}

/// Reads a `prometheus.Histogram` message. What it says is not judged: spans and counts may disagree.
///
/// # Errors
/// Not such a message, or over [`Limits::max_buckets`].
pub fn decode_histogram(message: &[u8], limits: &Limits) -> Result<Histogram, HistogramDecodeError> {
    let limit = limits.max_buckets;
    let too_many = HistogramDecodeError::TooManyBuckets { limit };
    // So much memory may be taken before the buckets can be counted: a bucket takes 1 to 10 bytes of the message.
    if message.len() > limit.saturating_mul(MAX_BYTES_OF_BUCKET).saturating_add(SLACK) {
        return Err(too_many);
    }
    let message = prometheus::Histogram::decode(message)
        .map_err(|error| HistogramDecodeError::Malformed { reason: error.to_string() })?;
    let lengths = [
        message.positive_spans.len(),
        message.negative_spans.len(),
        message.positive_deltas.len(),
        message.negative_deltas.len(),
        message.positive_counts.len(),
        message.negative_counts.len(),
        message.custom_values.len(),
    ];
    if lengths.iter().any(|length| *length > limit) {
        return Err(too_many);
    }
    Ok(value_of(message))
}

/// Appends the `prometheus.Histogram` message of a histogram; it has no place for a start timestamp.
///
/// Doubles are written as bits: unlike most protobuf encoders it keeps a `-0.0`.
pub fn encode_histogram(histogram: &Histogram, message: &mut Vec<u8>) {
    match &histogram.counts {
        BucketCounts::Integer(buckets) => {
            put_number(message, 1, buckets.count);
            put_double(message, 3, histogram.sum.to_bits());
            put_layout(message, histogram);
            put_number(message, 6, buckets.zero_count);
            put_spans(message, 8, &histogram.negative_spans);
            put_deltas(message, 9, &buckets.negative);
            put_spans(message, 11, &histogram.positive_spans);
            put_deltas(message, 12, &buckets.positive);
        }
        BucketCounts::Float(buckets) => {
            put_fixed64(message, 2, buckets.count.to_bits());
            put_double(message, 3, histogram.sum.to_bits());
            put_layout(message, histogram);
            put_fixed64(message, 7, buckets.zero_count.to_bits());
            put_spans(message, 8, &histogram.negative_spans);
            put_doubles(message, 10, &buckets.negative);
            put_spans(message, 11, &histogram.positive_spans);
            put_doubles(message, 13, &buckets.positive);
        }
    }
    if histogram.reset_hint != ResetHint::Unknown {
        put_number(message, 14, histogram.reset_hint.number() as u64);
    }
    if histogram.timestamp_ms != 0 {
        put_number(message, 15, histogram.timestamp_ms as u64);
    }
    put_doubles(message, 16, &histogram.custom_values);
}

impl HistogramView<'_> {
    /// Reads the whole histogram, its start timestamp included.
    ///
    /// # Errors
    /// Over [`Limits::max_buckets`].
    pub fn decode(&self, limits: &Limits) -> Result<Histogram, HistogramDecodeError> {
        let histogram = decode_histogram(self.message_bytes, limits)?;
        Ok(Histogram { start_timestamp_ms: self.start_timestamp_ms(), ..histogram })
    }
}

impl ReadHistogram {
    /// Reads the whole histogram.
    ///
    /// # Errors
    /// Over [`Limits::max_buckets`].
    pub fn decode(&self, limits: &Limits) -> Result<Histogram, HistogramDecodeError> {
        decode_histogram(&self.message, limits)
    }
}

fn value_of(message: prometheus::Histogram) -> Histogram {
    let is_float = matches!(message.count, Some(histogram::Count::CountFloat(_)));
    let counts = if is_float {
        BucketCounts::Float(Buckets {
            count: match message.count {
                Some(histogram::Count::CountFloat(count)) => count,
                _ => 0.0,
            },
            zero_count: match message.zero_count {
                Some(histogram::ZeroCount::ZeroCountFloat(count)) => count,
                _ => 0.0,
            },
            positive: message.positive_counts,
            negative: message.negative_counts,
        })
    } else {
        BucketCounts::Integer(Buckets {
            count: match message.count {
                Some(histogram::Count::CountInt(count)) => count,
                _ => 0,
            },
            zero_count: match message.zero_count {
                Some(histogram::ZeroCount::ZeroCountInt(count)) => count,
                _ => 0,
            },
            positive: absolute(&message.positive_deltas),
            negative: absolute(&message.negative_deltas),
        })
    };
    let spans = |spans: Vec<prometheus::BucketSpan>| {
        spans.into_iter().map(|span| Span { offset: span.offset, length: span.length }).collect()
    };
    let mut histogram = if is_float { Histogram::float() } else { Histogram::integer() };
    histogram.timestamp_ms = message.timestamp;
    histogram.reset_hint = ResetHint::from_number(message.reset_hint);
    histogram.schema = message.schema;
    histogram.zero_threshold = message.zero_threshold;
    histogram.sum = message.sum;
    histogram.positive_spans = spans(message.positive_spans);
    histogram.negative_spans = spans(message.negative_spans);
    histogram.custom_values = message.custom_values;
    histogram.counts = counts;
    histogram
}

/// Counts out of their differences.
fn absolute(deltas: &[i64]) -> Vec<u64> {
    let mut count = 0_i64;
    let next = |delta: &i64| {
        count = count.wrapping_add(*delta);
        count as u64
    };
    deltas.iter().map(next).collect()
}

fn put_layout(message: &mut Vec<u8>, histogram: &Histogram) {
    if histogram.schema != 0 {
        put_number(message, 4, zig_zag(histogram.schema.into()));
    }
    put_double(message, 5, histogram.zero_threshold.to_bits());
}

fn put_key(message: &mut Vec<u8>, field: u8, wire_type: u8) {
    put_varint(message, u64::from(field) << 3 | u64::from(wire_type));
}

fn put_number(message: &mut Vec<u8>, field: u8, number: u64) {
    put_key(message, field, 0);
    put_varint(message, number);
}

fn put_fixed64(message: &mut Vec<u8>, field: u8, bits: u64) {
    put_key(message, field, 1);
    message.extend_from_slice(&bits.to_le_bytes());
}

/// A double that is left out when it is 0.0, but not when it is -0.0.
fn put_double(message: &mut Vec<u8>, field: u8, bits: u64) {
    if bits != 0 {
        put_fixed64(message, field, bits);
    }
}

fn put_content(message: &mut Vec<u8>, field: u8, content: &[u8]) {
    put_key(message, field, 2);
    put_varint(message, content.len() as u64);
    message.extend_from_slice(content);
}

fn put_spans(message: &mut Vec<u8>, field: u8, spans: &[Span]) {
    let mut content = Vec::new();
    for span in spans {
        content.clear();
        if span.offset != 0 {
            put_number(&mut content, 1, zig_zag(span.offset.into()));
        }
        if span.length != 0 {
            put_number(&mut content, 2, span.length.into());
        }
        put_bytes(message, field, &content);
    }
}

fn put_deltas(message: &mut Vec<u8>, field: u8, counts: &[u64]) {
    let mut content = Vec::new();
    let mut before = 0;
    for count in counts {
        put_varint(&mut content, zig_zag(count.wrapping_sub(before) as i64));
        before = *count;
    }
    if !content.is_empty() {
        put_content(message, field, &content);
    }
}

fn put_doubles(message: &mut Vec<u8>, field: u8, doubles: &[f64]) {
    if doubles.is_empty() {
        return;
    }
    put_key(message, field, 2);
    put_varint(message, doubles.len() as u64 * 8);
    doubles.iter().for_each(|double| message.extend_from_slice(&double.to_bits().to_le_bytes()));
}

fn zig_zag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// The longest way to write one bucket of one side.
const MAX_BYTES_OF_BUCKET: usize = 10;
/// What is no bucket.
const SLACK: usize = 4_096;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn double() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            Just(-0.0),
            Just(0.0),
            (0..1_000_i32).prop_map(f64::from)
        ]
    }

    /// Any histogram, sound or not.
    pub(crate) fn histogram() -> impl Strategy<Value = Histogram> {
        let spans =
            || vec((any::<i32>(), any::<u32>()).prop_map(|(offset, length)| Span { offset, length }), 0..3);
        let integer = (any::<u64>(), any::<u64>(), vec(any::<u64>(), 0..4), vec(0..1_000_u64, 0..4))
            .prop_map(|(count, zero_count, positive, negative)| {
                BucketCounts::Integer(Buckets { count, zero_count, positive, negative })
            });
        let float = (double(), double(), vec(double(), 0..4), vec(double(), 0..4)).prop_map(
            |(count, zero_count, positive, negative)| {
                BucketCounts::Float(Buckets { count, zero_count, positive, negative })
            },
        );
        let layout = (any::<i32>(), double(), spans(), spans(), vec(double(), 0..3));
        let rest = (any::<i64>(), 0..4_i32, double(), prop_oneof![integer, float]);
        (layout, rest).prop_map(|(layout, (timestamp_ms, hint, sum, counts))| {
            let (schema, zero_threshold, positive_spans, negative_spans, custom_values) = layout;
            let mut histogram = Histogram::integer();
            histogram.timestamp_ms = timestamp_ms;
            histogram.reset_hint = ResetHint::from_number(hint);
            histogram.schema = schema;
            histogram.zero_threshold = zero_threshold;
            histogram.sum = sum;
            histogram.positive_spans = positive_spans;
            histogram.negative_spans = negative_spans;
            histogram.custom_values = custom_values;
            histogram.counts = counts;
            histogram
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(histogram in histogram()) {
            let mut message = Vec::new();
            encode_histogram(&histogram, &mut message);
            let decoded = decode_histogram(&message, &Limits::default()).unwrap();
            prop_assert_eq!(&decoded, &histogram);
            // But for a -0.0, prost writes the same bytes.
            let by_prost = prometheus::Histogram::decode(&message[..]).unwrap();
            if ![histogram.sum, histogram.zero_threshold].iter().any(|double| double.to_bits() == 1 << 63) {
                prop_assert_eq!(by_prost.encode_to_vec(), message);
            }
        }
    }

    #[test]
    fn buckets_are_bounded_at_and_over() {
        let mut histogram = Histogram::integer();
        histogram.counts = BucketCounts::Integer(Buckets { positive: vec![1; 5], ..Buckets::default() });
        let mut message = Vec::new();
        encode_histogram(&histogram, &mut message);
        let at = Limits { max_buckets: 5, ..Limits::default() };
        assert!(decode_histogram(&message, &at).is_ok());
        let over = Limits { max_buckets: 4, ..at };
        let error = HistogramDecodeError::TooManyBuckets { limit: 4 };
        assert_eq!(decode_histogram(&message, &over), Err(error.clone()));
        assert_eq!(decode_histogram(&vec![0; 5_000], &over), Err(error));
    }

    #[test]
    fn the_start_of_counting_is_read_from_a_request() {
        let mut message = Vec::new();
        encode_histogram(&Histogram::integer(), &mut message);
        // Field 17 as a varint.
        message.extend([0x88, 0x01, 42]);
        let mut builder = crate::WriteRequestBuilder::new();
        builder.series_with_histograms([("__name__", "a")], [], [&message]);
        let request = builder.finish();
        let series = crate::WriteRequestView::new(&request).series().next().unwrap().unwrap();
        let found = series.histograms().next().unwrap().decode(&Limits::default()).unwrap();
        assert_eq!(found.start_timestamp_ms, 42);
    }
}
