//! What is written is read again, bit by bit.

use prom_chunks::{
    AppendHistogramError, BucketCounts, Buckets, ChunkFull, Encoding, Histogram, HistogramDecoder,
    HistogramEncoder, ResetHeader, STALE_MARKER_BITS, Sample, Span, XorEncoder, XorSamples,
};
use proptest::{collection::vec, prelude::*};

fn bits() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0..40_i32).prop_map(|number| f64::from(number).to_bits()),
        (0..100_i32).prop_map(|number| (f64::from(number) * 0.1).to_bits()),
        Just(STALE_MARKER_BITS),
        Just(0x7ff8_0000_0000_0abc),
        Just((-0.0_f64).to_bits()),
    ]
}

/// Steps between timestamps: mostly the same, sometimes near each bound of a size.
fn step() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => Just(15_000_i64),
        2 => 14_990..15_010_i64,
        1 => (0..63_u32, -2..3_i64).prop_map(|(shift, near)| (1_i64 << shift).wrapping_add(near)),
        1 => any::<i64>(),
    ]
}

fn timestamps(count: usize) -> impl Strategy<Value = Vec<i64>> {
    (any::<i64>(), vec(step(), count)).prop_map(|(mut timestamp, steps)| {
        steps
            .into_iter()
            .map(|step| {
                timestamp = timestamp.wrapping_add(step);
                timestamp
            })
            .collect()
    })
}

fn histograms() -> impl Strategy<Value = (Encoding, Vec<Histogram>)> {
    let spans = || vec((-50..50_i32, 0..4_u32), 0..4);
    let schema = prop_oneof![-4..=12_i32, Just(Histogram::CUSTOM_BUCKETS)];
    let layout = (schema, bits(), spans(), spans(), vec(bits(), 0..6), any::<bool>(), 0..40_usize);
    layout.prop_flat_map(|(schema, threshold, positive, negative, bounds, is_float, count)| {
        let buckets = |spans: &[(i32, u32)]| spans.iter().map(|span| span.1 as usize).sum::<usize>();
        let (positives, negatives) = (buckets(&positive), buckets(&negative));
        let counts = vec((bits(), bits(), bits(), vec(bits(), positives), vec(bits(), negatives)), count);
        (timestamps(count), counts).prop_map(move |(timestamps, counts)| {
            let spans = |spans: &[(i32, u32)]| {
                spans.iter().map(|&(offset, length)| Span { offset, length }).collect::<Vec<_>>()
            };
            let float = |bits: Vec<u64>| bits.into_iter().map(f64::from_bits).collect();
            let histogram = |(timestamp_ms, (count, zero_count, sum, positive_counts, negative_counts))| {
                let mut histogram = Histogram::integer();
                histogram.timestamp_ms = timestamp_ms;
                histogram.sum = f64::from_bits(sum);
                histogram.schema = schema;
                histogram.zero_threshold = f64::from_bits(threshold);
                histogram.positive_spans = spans(&positive);
                histogram.negative_spans = spans(&negative);
                if schema == Histogram::CUSTOM_BUCKETS {
                    histogram.custom_values = float(bounds.clone());
                }
                histogram.counts = if is_float {
                    BucketCounts::Float(Buckets {
                        count: f64::from_bits(count),
                        zero_count: f64::from_bits(zero_count),
                        positive: float(positive_counts),
                        negative: float(negative_counts),
                    })
                } else {
                    BucketCounts::Integer(Buckets {
                        count,
                        zero_count,
                        positive: positive_counts,
                        negative: negative_counts,
                    })
                };
                histogram
            };
            let encoding = if is_float { Encoding::FloatHistogram } else { Encoding::Histogram };
            (encoding, timestamps.into_iter().zip(counts).map(histogram).collect())
        })
    })
}

/// What a chunk gives back: of a stale marker nothing but its timestamp and sum.
fn expected(histogram: &Histogram, index: usize, header: ResetHeader) -> Histogram {
    use prom_chunks::ResetHint::{Gauge, NotReset, Unknown};
    if histogram.is_stale() {
        let empty = match histogram.counts {
            BucketCounts::Integer(_) => Histogram::integer(),
            BucketCounts::Float(_) => Histogram::float(),
        };
        return Histogram { timestamp_ms: histogram.timestamp_ms, sum: histogram.sum, ..empty };
    }
    let reset_hint = match (header, index) {
        (ResetHeader::Gauge, _) => Gauge,
        (_, 0) => Unknown,
        _ => NotReset,
    };
    Histogram { reset_hint, ..histogram.clone() }
}

proptest! {
    #[test]
    fn samples_come_back((timestamps, values) in (0..300_usize).prop_flat_map(|n| (timestamps(n), vec(bits(), n)))) {
        let samples: Vec<_> = timestamps
            .into_iter()
            .zip(values)
            .map(|(timestamp_ms, value_bits)| Sample { timestamp_ms, value_bits })
            .collect();
        let mut encoder = XorEncoder::new();
        for sample in &samples {
            let before = encoder.byte_count();
            encoder.append(*sample).unwrap();
            prop_assert!(encoder.byte_count() - before <= 20);
        }
        prop_assert_eq!(encoder.sample_count(), samples.len());
        let chunk = encoder.finish();
        let walk = XorSamples::new(&chunk).unwrap();
        prop_assert_eq!(walk.remaining(), samples.len());
        // By `fold`, which has a loop of its own, and one by one.
        let mut one_by_one = walk.clone();
        let read = walk.fold(Vec::new(), |mut read, sample| { read.push(sample.unwrap()); read });
        prop_assert_eq!(&read, &samples);
        for sample in samples {
            prop_assert_eq!(one_by_one.next(), Some(Ok(sample)));
        }
        prop_assert_eq!(one_by_one.next(), None);
    }

    #[test]
    fn histograms_come_back(
        (encoding, histograms) in histograms(),
        header in prop_oneof![Just(ResetHeader::Unknown), Just(ResetHeader::Reset), Just(ResetHeader::NotReset), Just(ResetHeader::Gauge)],
    ) {
        // Nothing but stale markers follows a stale marker.
        let mut histograms = histograms;
        if let Some(first) = histograms.iter().position(Histogram::is_stale) {
            histograms[first..].iter_mut().for_each(|histogram| histogram.sum = f64::from_bits(STALE_MARKER_BITS));
        }
        let mut encoder = HistogramEncoder::new(encoding, header).unwrap();
        for histogram in &histograms {
            encoder.append(histogram).unwrap();
        }
        let chunk = encoder.finish();
        let mut decoder = HistogramDecoder::new(encoding, &chunk).unwrap();
        prop_assert_eq!(decoder.reset_header(), header);
        prop_assert_eq!(decoder.remaining(), histograms.len());
        for (index, histogram) in histograms.iter().enumerate() {
            prop_assert_eq!(decoder.next_histogram().unwrap(), Some(&expected(histogram, index, header)));
        }
        prop_assert_eq!(decoder.next_histogram(), Ok(None));
    }
}

#[test]
fn a_chunk_holds_65535_samples_and_no_more() {
    let mut encoder = XorEncoder::new();
    for index in 0..65_535 {
        encoder.append(Sample::new(index, 1.0)).unwrap();
    }
    assert_eq!(encoder.append(Sample::new(65_535, 1.0)), Err(ChunkFull));
    let chunk = encoder.finish();
    assert_eq!(XorSamples::new(&chunk).unwrap().map(Result::unwrap).count(), 65_535);
}

#[test]
fn histograms_that_need_a_chunk_of_their_own() {
    let first = Histogram { schema: 1, ..Histogram::integer() };
    let stale = Histogram { sum: f64::from_bits(STALE_MARKER_BITS), ..Histogram::integer() };
    let check = |second: &Histogram, expected| {
        let mut encoder = HistogramEncoder::new(Encoding::Histogram, ResetHeader::Unknown).unwrap();
        encoder.append(&first).unwrap();
        assert_eq!(encoder.append(second), expected);
    };
    check(&first, Ok(()));
    check(&stale, Ok(()));
    check(&Histogram { schema: 2, ..first.clone() }, Err(AppendHistogramError::OtherLayout));
    check(&Histogram { zero_threshold: 1.0, ..first.clone() }, Err(AppendHistogramError::OtherLayout));
    check(&Histogram { schema: 1, ..Histogram::float() }, Err(AppendHistogramError::OtherCounts));
    check(&Histogram { schema: 53, ..first.clone() }, Err(AppendHistogramError::UnknownSchema(53)));
    let span = Span { offset: 0, length: 1 };
    check(
        &Histogram { positive_spans: vec![span], ..first.clone() },
        Err(AppendHistogramError::CountMismatch { buckets: 1, counts: 0 }),
    );
    let mut encoder = HistogramEncoder::new(Encoding::Histogram, ResetHeader::Unknown).unwrap();
    encoder.append(&stale).unwrap();
    encoder.append(&stale).unwrap();
    assert_eq!(encoder.append(&first), Err(AppendHistogramError::OtherLayout));
    assert!(HistogramEncoder::new(Encoding::Xor2, ResetHeader::Unknown).is_err());
}
