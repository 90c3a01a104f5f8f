use prost::Message;

use super::*;
use crate::{
    WriteRequestView,
    proto::prometheus::{BucketSpan, Histogram, Label, TimeSeries, WriteRequest, histogram},
};

fn span(offset: i32, length: u32) -> BucketSpan {
    BucketSpan { offset, length }
}

/// Buckets 1, 2, 3 above zero, 1 below, 2 in the zero bucket: 9 in all.
fn integers() -> Histogram {
    Histogram {
        count: Some(histogram::Count::CountInt(9)),
        zero_count: Some(histogram::ZeroCount::ZeroCountInt(2)),
        sum: 18.4,
        schema: 1,
        zero_threshold: 0.001,
        positive_spans: vec![span(-2, 2), span(1, 1)],
        positive_deltas: vec![1, 1, 1],
        negative_spans: vec![span(0, 1)],
        negative_deltas: vec![1],
        timestamp: 1,
        ..Default::default()
    }
}

fn floats() -> Histogram {
    Histogram {
        count: Some(histogram::Count::CountFloat(3.5)),
        zero_count: Some(histogram::ZeroCount::ZeroCountFloat(0.5)),
        positive_spans: vec![span(0, 2)],
        positive_counts: vec![1.0, 2.0],
        sum: 1.0,
        ..Default::default()
    }
}

fn custom() -> Histogram {
    Histogram {
        count: Some(histogram::Count::CountInt(6)),
        schema: -53,
        sum: 6.0,
        positive_spans: vec![span(0, 3)],
        positive_deltas: vec![1, 1, 1],
        custom_values: vec![0.1, 2.5],
        ..Default::default()
    }
}

#[track_caller]
fn check(base: Histogram, change: impl FnOnce(&mut Histogram), expected: Option<HistogramFault>) {
    let mut histogram = base;
    change(&mut histogram);
    let series = TimeSeries {
        labels: vec![Label { name: b"__name__".to_vec(), value: b"h".to_vec() }],
        histograms: vec![histogram],
        ..Default::default()
    };
    let request = WriteRequest { timeseries: vec![series], metadata: vec![] }.encode_to_vec();
    let series = WriteRequestView::new(&request).series().next().unwrap().unwrap();
    assert_eq!(series.histograms().next().unwrap().fault(), expected);
}

#[test]
fn good_histograms_have_no_fault() {
    check(integers(), |_| (), None);
    check(floats(), |_| (), None);
    check(custom(), |_| (), None);
    check(Histogram::default(), |_| (), None);
    check(integers(), |h| h.schema = -4, None);
    check(integers(), |h| h.schema = 8, None);
    // A NaN was observed: it is in the count and in no bucket.
    check(
        integers(),
        |h| {
            h.sum = f64::NAN;
            h.count = Some(histogram::Count::CountInt(10));
        },
        None,
    );
    check(floats(), |h| h.count = Some(histogram::Count::CountFloat(3.5 + 1e-9)), None);
    check(custom(), |h| h.custom_values = vec![f64::NEG_INFINITY, 1.0], None);
}

#[test]
fn a_stale_marker_is_not_looked_at() {
    let stale = f64::from_bits(STALE_MARKER_BITS);
    check(Histogram { sum: stale, ..Default::default() }, |_| (), None);
    check(integers(), |h| (h.sum, h.schema) = (stale, 1_000), None);
}

#[test]
fn schemas() {
    check(integers(), |h| h.schema = 9, Some(HistogramFault::ReservedSchema(9)));
    check(integers(), |h| h.schema = 52, Some(HistogramFault::ReservedSchema(52)));
    check(integers(), |h| h.schema = -9, Some(HistogramFault::ReservedSchema(-9)));
    check(integers(), |h| h.schema = 53, Some(HistogramFault::UnknownSchema(53)));
    check(integers(), |h| h.schema = -10, Some(HistogramFault::UnknownSchema(-10)));
    check(integers(), |h| h.custom_values.push(1.0), Some(HistogramFault::UnexpectedCustomValues(1)));
}

#[test]
fn counts_and_buckets() {
    let count = |count| move |h: &mut Histogram| h.count = Some(histogram::Count::CountInt(count));
    check(integers(), count(99), Some(HistogramFault::CountMismatch));
    check(integers(), count(8), Some(HistogramFault::CountMismatch));
    check(
        integers(),
        |h| {
            h.sum = f64::NAN;
            h.count = Some(histogram::Count::CountInt(8));
        },
        Some(HistogramFault::CountMismatch),
    );
    check(integers(), |h| h.count = None, Some(HistogramFault::CountMismatch));
    check(
        floats(),
        |h| h.count = Some(histogram::Count::CountFloat(99.0)),
        Some(HistogramFault::CountMismatch),
    );
    check(integers(), |h| h.positive_deltas = vec![1, -2, 1], Some(HistogramFault::NegativeBucket));
    check(floats(), |h| h.positive_counts = vec![-1.0, 4.0], Some(HistogramFault::NegativeBucket));
    check(
        floats(),
        |h| h.zero_count = Some(histogram::ZeroCount::ZeroCountFloat(-1.0)),
        Some(HistogramFault::NegativeCount),
    );
    check(integers(), |h| h.positive_deltas = vec![1, i64::MAX, 1], Some(HistogramFault::CountMismatch));
    check(
        integers(),
        |h| h.zero_count = Some(histogram::ZeroCount::ZeroCountFloat(2.0)),
        Some(HistogramFault::MixedCounts),
    );
    check(
        floats(),
        |h| {
            h.negative_spans = vec![span(0, 1)];
            h.negative_deltas = vec![1];
        },
        Some(HistogramFault::MixedCounts),
    );
}

#[test]
fn spans() {
    check(integers(), |h| h.positive_spans[1].offset = -1, Some(HistogramFault::NegativeSpanOffset));
    check(
        integers(),
        |h| h.positive_deltas.push(0),
        Some(HistogramFault::SpanMismatch { spans: 3, buckets: 4 }),
    );
    check(
        integers(),
        |h| h.negative_spans.clear(),
        Some(HistogramFault::SpanMismatch { spans: 0, buckets: 1 }),
    );
    check(
        integers(),
        |h| h.positive_spans.push(span(1, u32::MAX)),
        Some(HistogramFault::SpanMismatch { spans: 3 + u64::from(u32::MAX), buckets: 3 }),
    );
}

#[test]
fn custom_buckets() {
    check(custom(), |h| h.custom_values = vec![2.5, 0.1], Some(HistogramFault::CustomBounds));
    check(custom(), |h| h.custom_values = vec![1.0, 1.0], Some(HistogramFault::CustomBounds));
    check(custom(), |h| h.custom_values = vec![1.0, f64::NAN], Some(HistogramFault::CustomBounds));
    check(custom(), |h| h.custom_values = vec![1.0, f64::INFINITY], Some(HistogramFault::CustomBounds));
    check(custom(), |h| h.custom_values = vec![1.0], Some(HistogramFault::CustomSpans { bounds: 1 }));
    check(custom(), |h| h.positive_spans[0].offset = 1, Some(HistogramFault::CustomSpans { bounds: 2 }));
    check(custom(), |h| h.zero_threshold = 0.1, Some(HistogramFault::CustomWithZeroOrNegative));
    check(
        custom(),
        |h| h.zero_count = Some(histogram::ZeroCount::ZeroCountInt(1)),
        Some(HistogramFault::CustomWithZeroOrNegative),
    );
    check(custom(), |h| h.negative_spans = vec![span(0, 0)], Some(HistogramFault::CustomWithZeroOrNegative));
}
