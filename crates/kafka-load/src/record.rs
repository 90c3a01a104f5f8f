//! What is written down about each message: its place in the sequence and its latency. Pure values, no clock and no Kafka.
//!
//! # Lost, duplicate, reordered
//!
//! A *stream* is one (run, producer, epoch) within one partition; its sequence numbers are 0, 1, 2, … A worker expects the next
//! number of every stream:
//!
//! - a **higher** number skips some: they count as *lost* at once;
//! - a **lower** number out of a skipped range is *reordered*: it came after all. `lost − reordered` is what is missing;
//! - any other lower number is a *duplicate*: this worker, or one that held the partition before it, consumed it already.
//!
//! What a worker expects when it gets a partition is part of the question "was anything lost at the hand-over?". Each commit
//! carries the expectations of all streams in the offset's metadata ([`PartitionSequences::to_commit_metadata`]), so the next owner of
//! the partition continues the count: a gap across a rebalance is found like any other. Three cases remain:
//!
//! - the commit has our metadata, or the partition is read from offset 0: a stream not named there begins at sequence 0;
//! - there is no such commit (a foreign group, `auto.offset.reset=latest`): a stream begins at the first number seen, which is no loss;
//! - a worker died, or the group took its partitions away, after processing and before committing: the next owner's expectation is the committed one, so the
//!   messages in between are consumed by both and neither calls them a duplicate. They show in the sum over workers.
//!
//! # Produced equals consumed, from metrics alone
//!
//! Over all workers, per stream: `max(highest sequence) + 1` equals the producer's acknowledged count (if none failed),
//! `sum(lost) = sum(reordered)`, and `sum(consumed) − (max(highest) + 1)` is the number of repeated deliveries.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use hdrhistogram::{
    Histogram,
    serialization::{Serializer, V2Serializer},
};

use crate::payload::{Header, Identifier};

/// How many skipped ranges one stream remembers; a message out of a forgotten range counts as a duplicate.
const MAXIMUM_MISSING_RANGES: usize = 1024;

/// How many streams one partition follows; the one longest unseen is forgotten first.
const MAXIMUM_STREAMS_PER_PARTITION: usize = 256;

/// Kafka's `offset.metadata.max.bytes`.
const MAXIMUM_COMMIT_METADATA_BYTES: usize = 4096;

const COMPLETE: &str = "kafka-load/1 complete";
const PARTIAL: &str = "kafka-load/1 partial";

/// Names a stream within a partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// The run.
    pub run: Identifier,
    /// The producer.
    pub producer: Identifier,
    /// The producer process's start time, nanoseconds since the Unix epoch.
    pub epoch: u64,
}

impl StreamId {
    /// Returns the stream of a decoded message; `None` if the header's ids are not valid, which decoding excludes.
    pub fn of(header: &Header<'_>) -> Option<Self> {
        Some(Self {
            run: header.run.parse().ok()?,
            producer: header.producer.parse().ok()?,
            epoch: header.epoch,
        })
    }
}

/// What one sequence number means, given those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The expected number.
    InOrder,
    /// The first number of a stream whose beginning is not known.
    Started,
    /// Higher than expected.
    Gap {
        /// How many numbers were skipped; at least 1.
        lost: u64,
    },
    /// A skipped number that came after all.
    Reordered,
    /// A number consumed before.
    Duplicate,
}

/// Follows one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceTracker {
    next: u64,
    /// Skipped ranges: start to end, end excluded; disjoint and below `next`.
    missing: BTreeMap<u64, u64>,
}

impl SequenceTracker {
    /// Makes a tracker that expects `next`.
    pub fn expecting(next: u64) -> Self {
        Self { next, missing: BTreeMap::new() }
    }

    /// Returns the number expected next: one above the highest seen.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Judges one sequence number.
    pub fn observe(&mut self, sequence: u64) -> Outcome {
        if sequence < self.next {
            return if self.take_missing(sequence) { Outcome::Reordered } else { Outcome::Duplicate };
        }
        let lost = sequence - self.next;
        if lost > 0 {
            self.missing.insert(self.next, sequence);
            if self.missing.len() > MAXIMUM_MISSING_RANGES {
                self.missing.pop_first();
            }
        }
        self.next = sequence.saturating_add(1);
        if lost > 0 { Outcome::Gap { lost } } else { Outcome::InOrder }
    }

    fn take_missing(&mut self, sequence: u64) -> bool {
        let Some((&start, &end)) =
            self.missing.range(..=sequence).next_back().filter(|(_, end)| sequence < **end)
        else {
            return false;
        };
        self.missing.remove(&start);
        if start < sequence {
            self.missing.insert(start, sequence);
        }
        if sequence + 1 < end {
            self.missing.insert(sequence + 1, end);
        }
        true
    }
}

/// Follows all streams of one partition, from its assignment to its revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionSequences {
    streams: HashMap<StreamId, FollowedStream>,
    /// Whether a stream not followed yet must begin at 0.
    complete: bool,
    observed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FollowedStream {
    tracker: SequenceTracker,
    last_observed: u64,
}

impl PartitionSequences {
    /// Nothing is known of what came before: each stream begins where it is first seen.
    pub fn from_unknown() -> Self {
        Self { streams: HashMap::new(), complete: false, observed: 0 }
    }

    /// The partition is read from its very beginning: each stream begins at 0.
    pub fn from_beginning() -> Self {
        Self { complete: true, ..Self::from_unknown() }
    }

    /// Continues from a commit's metadata; `None` if a worker of ours did not write it.
    pub fn from_commit_metadata(metadata: &str) -> Option<Self> {
        if metadata.len() > MAXIMUM_COMMIT_METADATA_BYTES {
            return None;
        }
        let mut entries = metadata.split(';');
        let complete = match entries.next()? {
            COMPLETE => true,
            PARTIAL => false,
            _ => return None,
        };
        let streams = entries.map(parse_stream).collect::<Option<HashMap<_, _>>>()?;
        Some(Self { streams, complete, observed: 0 })
    }

    /// Writes the expectations for the next owner of the partition; at most 4096 bytes, the most recently seen streams first.
    pub fn to_commit_metadata(&self) -> String {
        let mut streams: Vec<_> = self.streams.iter().collect();
        streams.sort_by(|a, b| b.1.last_observed.cmp(&a.1.last_observed).then_with(|| a.0.cmp(b.0)));
        let mut entries = String::new();
        let mut complete = self.complete;
        for (StreamId { run, producer, epoch }, stream) in streams {
            let entry = format!(";{run},{producer},{epoch},{}", stream.tracker.next);
            if COMPLETE.len() + entries.len() + entry.len() > MAXIMUM_COMMIT_METADATA_BYTES {
                complete = false;
                break;
            }
            entries.push_str(&entry);
        }
        format!("{}{entries}", if complete { COMPLETE } else { PARTIAL })
    }

    /// Judges one message.
    pub fn observe(&mut self, stream: &StreamId, sequence: u64) -> Outcome {
        self.observed += 1;
        if let Some(followed) = self.streams.get_mut(stream) {
            followed.last_observed = self.observed;
            return followed.tracker.observe(sequence);
        }
        self.make_room();
        let begin = if self.complete { 0 } else { sequence };
        let mut tracker = SequenceTracker::expecting(begin);
        let outcome = tracker.observe(sequence);
        self.streams.insert(stream.clone(), FollowedStream { tracker, last_observed: self.observed });
        if self.complete { outcome } else { Outcome::Started }
    }

    fn make_room(&mut self) {
        if self.streams.len() < MAXIMUM_STREAMS_PER_PARTITION {
            return;
        }
        let oldest =
            self.streams.iter().min_by_key(|(_, stream)| stream.last_observed).map(|(id, _)| id.clone());
        if let Some(oldest) = oldest {
            self.streams.remove(&oldest);
            self.complete = false;
        }
    }
}

fn parse_stream(entry: &str) -> Option<(StreamId, FollowedStream)> {
    let mut fields = entry.split(',');
    let run = fields.next()?.parse().ok()?;
    let producer = fields.next()?.parse().ok()?;
    let epoch = fields.next()?.parse().ok()?;
    let tracker = SequenceTracker::expecting(fields.next()?.parse().ok()?);
    let finished = fields.next().is_none();
    finished.then_some((StreamId { run, producer, epoch }, FollowedStream { tracker, last_observed: 0 }))
}

/// Upper bounds of the Prometheus buckets, microseconds; each is inclusive.
pub const BUCKET_BOUNDS_US: [u64; 19] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    15_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
];

/// The quantiles shown as gauges, as their label values and as numbers.
pub const QUANTILES: [(&str, f64); 6] =
    [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99), ("0.999", 0.999), ("0.9999", 0.9999), ("1", 1.0)];

const LOWEST_US: u64 = 1;
const HIGHEST_US: u64 = 600_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// A latency distribution: an HDR histogram (1 µs to 10 min, 3 digits) for quantiles, and exact counts for the fixed buckets.
#[derive(Debug, Clone)]
pub struct LatencyRecord {
    histogram: Histogram<u64>,
    /// One more than the bounds: the last holds what is above them all.
    buckets: [u64; BUCKET_BOUNDS_US.len() + 1],
    sum_ns: u128,
    maximum_ns: u64,
    clamped: Clamped,
}

/// How many latencies lay outside the histogram's range and were recorded at its edge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clamped {
    /// Below 1 µs, negative ones included: the clocks of producer and worker disagree.
    pub low: u64,
    /// Above 10 min.
    pub high: u64,
}

impl Default for LatencyRecord {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
            .expect("the bounds are constants that the histogram allows");
        Self {
            histogram,
            buckets: [0; BUCKET_BOUNDS_US.len() + 1],
            sum_ns: 0,
            maximum_ns: 0,
            clamped: Clamped::default(),
        }
    }
}

impl LatencyRecord {
    /// Records the time from `start_ns` to `end_ns` (one clock, nanoseconds).
    pub fn record_between(&mut self, start_ns: u64, end_ns: u64) {
        let latency_ns = end_ns.saturating_sub(start_ns);
        let latency_us = latency_ns.div_ceil(1_000);
        if latency_ns < LOWEST_US * 1_000 {
            self.clamped.low += 1;
        }
        if latency_us > HIGHEST_US {
            self.clamped.high += 1;
        }
        self.histogram.saturating_record(latency_us.clamp(LOWEST_US, HIGHEST_US));
        let bucket = BUCKET_BOUNDS_US.partition_point(|bound_us| bound_us * 1_000 < latency_ns);
        self.buckets[bucket] += 1;
        self.sum_ns += u128::from(latency_ns);
        self.maximum_ns = self.maximum_ns.max(latency_ns);
    }

    /// Returns how many latencies were recorded.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Returns the sum of all latencies, unclamped.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }

    /// Returns the highest latency, unclamped and exact.
    pub fn maximum(&self) -> Duration {
        Duration::from_nanos(self.maximum_ns)
    }

    /// Returns how many latencies were out of range.
    pub fn clamped(&self) -> Clamped {
        self.clamped
    }

    /// Returns a quantile in seconds, to 3 digits, within the histogram's range; `None` when nothing is recorded.
    pub fn quantile_seconds(&self, quantile: f64) -> Option<f64> {
        (!self.histogram.is_empty()).then(|| self.histogram.value_at_quantile(quantile) as f64 / 1e6)
    }

    /// Returns the Prometheus buckets: each bound in seconds with the count at or below it; the last is above all bounds.
    pub fn cumulative_buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BUCKET_BOUNDS_US.iter().map(|bound_us| *bound_us as f64 / 1e6).chain([f64::INFINITY]);
        bounds.zip(self.buckets.iter().scan(0, |total, count| {
            *total += count;
            Some(*total)
        }))
    }

    /// Returns the HDR histogram in its V2 serialization, values in microseconds; such histograms can be added.
    pub fn to_hdr_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(&self.histogram, &mut bytes)
            .expect("the histogram's range fits the format");
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn stream(epoch: u64) -> StreamId {
        StreamId { run: "r".parse().expect("valid"), producer: "p".parse().expect("valid"), epoch }
    }

    #[track_caller]
    fn check(mut sequences: PartitionSequences, numbers: &[u64], expected: &[Outcome]) {
        let outcomes: Vec<_> = numbers.iter().map(|number| sequences.observe(&stream(1), *number)).collect();
        assert_eq!(outcomes, expected);
    }

    #[test]
    fn judges_gaps_duplicates_and_late_arrivals() {
        use Outcome::{Duplicate, Gap, InOrder, Reordered, Started};
        let (unknown, beginning) = (PartitionSequences::from_unknown, PartitionSequences::from_beginning);
        check(
            unknown(),
            &[5, 6, 8, 7, 7, 9],
            &[Started, InOrder, Gap { lost: 1 }, Reordered, Duplicate, InOrder],
        );
        check(unknown(), &[5, 4], &[Started, Duplicate]);
        check(beginning(), &[0, 1], &[InOrder, InOrder]);
        check(beginning(), &[3, 1, 1, 0, 2], &[Gap { lost: 3 }, Reordered, Duplicate, Reordered, Reordered]);
        check(beginning(), &[u64::MAX, u64::MAX], &[Gap { lost: u64::MAX }, InOrder]);
    }

    #[test]
    fn a_producer_restart_is_a_new_stream() {
        let mut sequences = PartitionSequences::from_beginning();
        assert_eq!(sequences.observe(&stream(1), 0), Outcome::InOrder);
        assert_eq!(sequences.observe(&stream(2), 0), Outcome::InOrder);
        assert_eq!(sequences.observe(&stream(3), 2), Outcome::Gap { lost: 2 });
        assert_eq!(sequences.observe(&stream(1), 1), Outcome::InOrder);
    }

    #[test]
    fn a_loss_across_a_rebalance_is_found_through_the_commit() {
        let mut first = PartitionSequences::from_beginning();
        for number in 0..10 {
            first.observe(&stream(1), number);
        }
        let committed = first.to_commit_metadata();
        assert_eq!(committed, "kafka-load/1 complete;r,p,1,10");
        let mut second = PartitionSequences::from_commit_metadata(&committed).expect("our own metadata");
        assert_eq!(second.clone().observe(&stream(1), 10), Outcome::InOrder);
        assert_eq!(second.clone().observe(&stream(1), 9), Outcome::Duplicate);
        assert_eq!(second.observe(&stream(1), 12), Outcome::Gap { lost: 2 });
        assert_eq!(second.observe(&stream(2), 1), Outcome::Gap { lost: 1 });
    }

    #[test]
    fn foreign_commit_metadata_is_not_ours() {
        for metadata in
            ["", "x", "kafka-load/2 complete", "kafka-load/1 complete;r,p,1", "kafka-load/1 partial;r,p,x,1"]
        {
            assert_eq!(PartitionSequences::from_commit_metadata(metadata), None, "{metadata}");
        }
    }

    #[test]
    fn commit_metadata_is_bounded_and_says_when_it_is_partial() {
        let mut sequences = PartitionSequences::from_beginning();
        for epoch in 0..10_000 {
            sequences.observe(&stream(epoch), 0);
        }
        assert_eq!(sequences.streams.len(), MAXIMUM_STREAMS_PER_PARTITION);
        let long = "x".repeat(64);
        for epoch in 0..200 {
            let id = StreamId { run: long.parse().expect("valid"), ..stream(epoch) };
            sequences.observe(&id, 0);
        }
        let metadata = sequences.to_commit_metadata();
        assert!(metadata.len() <= MAXIMUM_COMMIT_METADATA_BYTES);
        assert!(metadata.starts_with(PARTIAL));
        assert!(metadata.contains(",199,1"));
    }

    proptest! {
        /// Against an oracle that remembers every number.
        #[test]
        fn agrees_with_a_naive_oracle(start in 0u64..5, numbers in prop::collection::vec(0u64..40, 0..120)) {
            let mut tracker = SequenceTracker::expecting(start);
            let mut seen: BTreeSet<u64> = (0..start).collect();
            let (mut lost, mut reordered) = (0, 0);
            for number in numbers {
                let end = seen.last().map_or(0, |highest| highest + 1);
                let expected = match number {
                    _ if seen.contains(&number) => Outcome::Duplicate,
                    _ if number == end => Outcome::InOrder,
                    _ if number > end => Outcome::Gap { lost: number - end },
                    _ => Outcome::Reordered,
                };
                seen.insert(number);
                let outcome = tracker.observe(number);
                prop_assert_eq!(outcome, expected);
                match outcome {
                    Outcome::Gap { lost: skipped } => lost += skipped,
                    Outcome::Reordered => reordered += 1,
                    _ => {}
                }
                let really_missing = (0..tracker.next()).filter(|number| !seen.contains(number)).count() as u64;
                prop_assert_eq!(lost - reordered, really_missing);
            }
        }

        #[test]
        fn hand_over_at_any_point_changes_no_verdict_of_a_clean_log(cut in 0usize..50, epochs in 1u64..4) {
            let mut sequences = PartitionSequences::from_beginning();
            for position in 0..50_usize {
                if position == cut {
                    sequences = PartitionSequences::from_commit_metadata(&sequences.to_commit_metadata())
                        .expect("our own metadata");
                }
                let (epoch, number) = (position as u64 % epochs, position as u64 / epochs);
                prop_assert_eq!(sequences.observe(&stream(epoch), number), Outcome::InOrder);
            }
        }

        #[test]
        fn commit_metadata_never_panics(metadata in "(kafka-load/1 (complete|partial))?[;,a-z0-9]{0,80}") {
            let _ = PartitionSequences::from_commit_metadata(&metadata);
        }

        /// Buckets are exact; the histogram agrees with them within its 3 digits.
        #[test]
        fn buckets_and_histogram_agree(latencies_ns in prop::collection::vec(0u64..700_000_000_000, 1..200)) {
            let mut record = LatencyRecord::default();
            for latency_ns in &latencies_ns {
                record.record_between(5, latency_ns + 5);
            }
            let mut sorted = latencies_ns.clone();
            sorted.sort_unstable();
            for (bound, count) in record.cumulative_buckets() {
                let expected = sorted.iter().filter(|latency_ns| **latency_ns as f64 / 1e9 <= bound).count();
                prop_assert_eq!(count, expected as u64, "bound {}", bound);
            }
            let median_ns = sorted[sorted.len().div_ceil(2) - 1].clamp(1_000, 600_000_000_000) as f64;
            let shown = record.quantile_seconds(0.5).expect("not empty") * 1e9;
            prop_assert!((shown - median_ns).abs() <= median_ns * 0.002 + 1_000.0, "{} {}", shown, median_ns);
            prop_assert_eq!(record.maximum().as_nanos(), u128::from(*sorted.last().expect("not empty")));
            prop_assert_eq!(record.count(), latencies_ns.len() as u64);
        }
    }

    #[test]
    fn counts_what_it_clamps() {
        let mut record = LatencyRecord::default();
        record.record_between(10, 5);
        record.record_between(0, 601_000_000_000);
        assert_eq!(record.clamped(), Clamped { low: 1, high: 1 });
        assert_eq!(record.quantile_seconds(0.5), Some(1e-6));
        assert_eq!(record.maximum(), Duration::from_secs(601));
        assert_eq!(LatencyRecord::default().quantile_seconds(0.5), None);
    }
}
