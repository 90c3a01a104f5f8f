//! 128 bits of a thing: two lanes with different seeds.

use prom_chunks::{BucketCounts, Buckets, Histogram, Span};

use crate::Sample;

/// The digest of one sample.
pub(super) fn sample_digest(sample: Sample) -> u128 {
    let lane = |seed: u64| {
        let time = mix((sample.timestamp_ms as u64).wrapping_add(seed));
        mix((time ^ seed.rotate_left(32)).wrapping_add(sample.value_bits))
    };
    u128::from(lane(FIRST_SEED)) << 64 | u128::from(lane(SECOND_SEED))
}

/// The digest of one histogram, over what it says and not over how it is encoded.
pub(super) fn histogram_digest(histogram: &Histogram) -> u128 {
    let mut digest = Row::new(HISTOGRAM);
    digest.add(histogram.timestamp_ms as u64);
    digest.add(histogram.sum.to_bits());
    if histogram.is_stale() {
        return digest.finish();
    }
    digest.add(histogram.schema as u64);
    digest.add(histogram.zero_threshold.to_bits());
    match &histogram.counts {
        BucketCounts::Integer(buckets) => {
            add_buckets(&mut digest, INTEGER, histogram, buckets, |count| *count)
        }
        BucketCounts::Float(buckets) => {
            add_buckets(&mut digest, FLOAT, histogram, buckets, |count| count.to_bits())
        }
    }
    histogram.custom_values.iter().for_each(|bound| digest.add(bound.to_bits()));
    digest.finish()
}

/// The digest of a label set without order: the sum of those of its labels.
pub(super) fn labels_digest<Name: AsRef<[u8]>, Value: AsRef<[u8]>>(
    labels: impl IntoIterator<Item = (Name, Value)>,
) -> u128 {
    labels.into_iter().fold(0, |sum: u128, (name, value)| {
        let mut digest = Row::new(LABEL);
        for text in [name.as_ref(), value.as_ref()] {
            digest.add(text.len() as u64);
            for bytes in text.chunks(8) {
                let mut word = [0; 8];
                word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                digest.add(u64::from_le_bytes(word));
            }
        }
        sum.wrapping_add(digest.finish())
    })
}

/// The digest of a thing that belongs to another.
pub(super) fn digest_within(owner: u128, digest: u128) -> u128 {
    let mut row = Row::new(MEMBER);
    for number in [owner, digest] {
        row.add((number >> 64) as u64);
        row.add(number as u64);
    }
    row.finish()
}

fn add_buckets<Count>(
    digest: &mut Row,
    kind: u64,
    histogram: &Histogram,
    buckets: &Buckets<Count>,
    bits: impl Fn(&Count) -> u64,
) {
    digest.add(kind);
    digest.add(bits(&buckets.count));
    digest.add(bits(&buckets.zero_count));
    for (side, spans, counts) in [
        (POSITIVE, &histogram.positive_spans, &buckets.positive),
        (NEGATIVE, &histogram.negative_spans, &buckets.negative),
    ] {
        digest.add(side);
        for (index, count) in Span::indices(spans).zip(counts) {
            if bits(count) != 0 {
                digest.add(index as u64);
                digest.add(bits(count));
            }
        }
    }
}

/// A digest over a row of numbers, in their order.
struct Row {
    lanes: [u64; 2],
}

impl Row {
    fn new(kind: u64) -> Self {
        Self { lanes: [mix(FIRST_SEED ^ kind), mix(SECOND_SEED ^ kind)] }
    }

    fn add(&mut self, number: u64) {
        let seeds = [FIRST_SEED, SECOND_SEED];
        for (lane, seed) in self.lanes.iter_mut().zip(seeds) {
            *lane = mix((lane.rotate_left(23) ^ seed).wrapping_add(number));
        }
    }

    fn finish(self) -> u128 {
        u128::from(mix(self.lanes[0])) << 64 | u128::from(mix(self.lanes[1]))
    }
}

/// The finalizer of SplitMix64: a permutation in which every input bit changes half of the output bits.
fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

const FIRST_SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND_SEED: u64 = 0xd1b5_4a32_d192_ed03;

// What a digest is of.
const HISTOGRAM: u64 = 1;
const LABEL: u64 = 2;
const MEMBER: u64 = 3;

// What follows inside a histogram.
const INTEGER: u64 = 1;
const FLOAT: u64 = 2;
const POSITIVE: u64 = 3;
const NEGATIVE: u64 = 4;
