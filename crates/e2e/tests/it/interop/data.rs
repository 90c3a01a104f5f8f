//! Series that ask something of a peer.

use e2e::series::Series;
use prom_remote::{
    STALE_MARKER_BITS, Sample, StartedSample, TimeRange,
    prom_chunks::{BucketCounts, Buckets, Histogram, ResetHint, Span},
};

/// Matches the names of all series here.
pub(crate) const NAMES: &str = "interop_.*";

/// Samples of a series: more than two chunks of Prometheus hold, and no longer than it takes from the future.
const LENGTH: i64 = 300;

/// The time of all series that begin at `base`.
pub(crate) fn range(base: i64) -> TimeRange {
    TimeRange::new(base, base + LENGTH * STEP_MS).expect("it is not empty")
}

/// The series without the last moment of each, and these: two requests. In one, Prometheus 2.42 takes the end of a
/// series of double counts for one of whole counts, stores it first, and throws the rest away as out of order.
pub(crate) fn requests(series: &[Series]) -> [Vec<Series>; 2] {
    let [mut first, mut last] = [series.to_vec(), series.to_vec()];
    for (first, last) in first.iter_mut().zip(&mut last) {
        last.samples.drain(..first.samples.len().saturating_sub(1));
        last.histograms.drain(..first.histograms.len().saturating_sub(1));
        first.samples.pop();
        first.histograms.pop();
    }
    [first, last]
}

/// Series of samples.
pub(crate) fn floats(base: i64) -> Vec<Series> {
    let special = |step: i64| SPECIAL[step as usize % SPECIAL.len()];
    let counter = |step: i64| (step % 70) as f64 * 1.25;
    let gauge = |step: i64| 20.0 + (step as f64 / 7.0).sin();
    vec![
        samples(base, "interop_gauge", "sine", |step| gauge(step).to_bits()),
        samples(base, "interop_gauge", "flat", |_| 1.0_f64.to_bits()),
        samples(base, "interop_gauge", "special", special),
        samples(base, "interop_total", "resets", |step| counter(step).to_bits()),
        samples(base, "interop_total", "\u{fc}n\u{ef}c\"\\\n", |step| (step as f64).to_bits()),
    ]
}

/// Series of samples that tell when their counting started, which the resets of the counter do.
pub(crate) fn started_floats(base: i64) -> Vec<Series> {
    let mut series = samples(base, "interop_started_total", "resets", |step| ((step % 70) as f64).to_bits());
    for (step, sample) in (0..).zip(&mut series.samples) {
        sample.start_timestamp_ms = base + (step - step % 70) * STEP_MS - 500;
    }
    vec![series]
}

/// Series of native histograms with buckets of exponential width: whole counts with a reset, with more and more buckets,
/// those of a gauge, doubles; each ends with a stale marker.
pub(crate) fn histograms(base: i64) -> Vec<Series> {
    let resets = |step: i64| integer((step % 130) as u64, ResetHint::Unknown);
    let gauge = |step: i64| integer((step * 7 % 11) as u64, ResetHint::Gauge);
    let doubles = |step: i64| double(step as f64 * 0.75);
    vec![
        series_of(base, "integer", resets, Histogram::integer()),
        series_of(base, "growing", growing, Histogram::integer()),
        series_of(base, "gauge", gauge, Histogram::integer()),
        series_of(base, "double", doubles, Histogram::float()),
    ]
}

/// A series of native histograms with bounds of their own.
pub(crate) fn custom_histograms(base: i64) -> Vec<Series> {
    let custom = |step: i64| {
        let step = step as u64;
        let counts = vec![step, 2 * step, 1];
        let mut histogram = Histogram::integer();
        histogram.schema = Histogram::CUSTOM_BUCKETS;
        histogram.custom_values = vec![0.1, 0.25, 1.0, 10.0];
        histogram.positive_spans = vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }];
        histogram.sum = step as f64 * 0.3;
        histogram.counts = BucketCounts::Integer(Buckets {
            count: counts.iter().sum(),
            zero_count: 0,
            positive: counts,
            negative: Vec::new(),
        });
        histogram
    };
    vec![series_of(base, "custom", custom, Histogram::integer())]
}

fn samples(base: i64, name: &str, case: &str, bits: impl Fn(i64) -> u64) -> Series {
    let mut series = Series::new([("__name__", name), ("case", case), ("job", "interop")]);
    let sample = |step| Sample { timestamp_ms: base + step * STEP_MS, value_bits: bits(step) };
    series.samples = (0..LENGTH).map(|step| StartedSample::from(sample(step))).collect();
    series
}

fn series_of(base: i64, case: &str, value: impl Fn(i64) -> Histogram, mut last: Histogram) -> Series {
    let mut series = Series::new([("__name__", "interop_histogram"), ("case", case), ("job", "interop")]);
    last.sum = f64::from_bits(STALE_MARKER_BITS);
    series.histograms = (0..LENGTH - 1).map(value).chain([last]).collect();
    for (step, histogram) in (0..).zip(&mut series.histograms) {
        histogram.timestamp_ms = base + step * STEP_MS;
    }
    series
}

fn integer(step: u64, reset_hint: ResetHint) -> Histogram {
    let (positive, negative) = (vec![step, 3 * step, step / 2, 1], vec![step / 3, 2]);
    let zero_count = step / 5;
    let count = zero_count + positive.iter().chain(&negative).sum::<u64>();
    let counts = BucketCounts::Integer(Buckets { count, zero_count, positive, negative });
    Histogram { counts, reset_hint, sum: step as f64 * 1.1, ..laid_out() }
}

/// A bucket more each minute, beside or between the others.
fn growing(step: i64) -> Histogram {
    let buckets = 1 + step as u64 / 60;
    let gap = if buckets.is_multiple_of(2) { 3 } else { 1 };
    let positive: Vec<_> = (0..buckets).map(|bucket| (step as u64 + 1) * 4 / (bucket + 1)).collect();
    let spans = (0..buckets).map(|bucket| Span { offset: if bucket == 0 { 2 } else { gap }, length: 1 });
    Histogram {
        schema: 0,
        sum: step as f64,
        positive_spans: spans.collect(),
        counts: BucketCounts::Integer(Buckets {
            count: positive.iter().sum(),
            zero_count: 0,
            positive,
            negative: Vec::new(),
        }),
        ..Histogram::integer()
    }
}

fn double(step: f64) -> Histogram {
    let (positive, negative) = (vec![step, step * 0.5, step * 2.0, 0.25], vec![step, 0.5]);
    let zero_count = step * 0.125;
    let count = zero_count + positive.iter().chain(&negative).sum::<f64>();
    let counts = BucketCounts::Float(Buckets { count, zero_count, positive, negative });
    Histogram { counts, sum: step * -0.1, ..laid_out() }
}

fn laid_out() -> Histogram {
    Histogram {
        schema: 2,
        zero_threshold: 0.001,
        positive_spans: vec![Span { offset: -3, length: 2 }, Span { offset: 5, length: 2 }],
        negative_spans: vec![Span { offset: 1, length: 2 }],
        ..Histogram::integer()
    }
}

const STEP_MS: i64 = 1_000;

/// Zeros, infinities, the smallest, a stale marker, NaNs of either sign with and without payload.
const SPECIAL: &[u64] = &[
    0,
    1 << 63,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    1,
    STALE_MARKER_BITS,
    0x7ff8_0000_0000_0001,
    0x7ff8_dead_beef_0001,
    0xfff8_0000_0000_0000,
    0x3ff8_0000_0000_0000,
];
