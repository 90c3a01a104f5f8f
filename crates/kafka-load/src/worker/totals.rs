//! What a worker knows and counts: partitions, streams, commits; and how `/metrics` shows it.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use rdkafka::{Offset, Statistics, TopicPartitionList};

use super::Begin;
use crate::{
    exposition::{Exposition, Kind},
    metrics::{LatencyFamilies, per_partition},
    payload::Header,
    record::{LatencyRecord, Outcome, PartitionSequences, StreamId},
};

/// A lag older than this is unknown.
pub(super) const LAG_EXPIRES_AFTER: Duration = Duration::from_secs(10);
/// The most (stream, partition) pairs with metrics of their own.
pub(super) const MAXIMUM_STREAM_METRICS: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) joined: bool,
    pub(super) assigned: HashMap<i32, AssignedPartition>,
    pub(super) totals: BTreeMap<i32, PartitionTotals>,
    pub(super) streams: BTreeMap<(StreamId, i32), StreamTotals>,
    pub(super) untracked: u64,
    pub(super) malformed: u64,
    pub(super) rebalances: u64,
    pub(super) commits: u64,
    pub(super) commit_failures: u64,
    pub(super) errors: u64,
    pub(super) latency: LatencyRecord,
}

/// A partition from its assignment to its revocation.
#[derive(Debug, Default)]
pub(super) struct AssignedPartition {
    /// Known from the first message on.
    pub(super) sequences: Option<PartitionSequences>,
    /// The offset after the last processed message.
    pub(super) position: Option<i64>,
    pub(super) uncommitted: bool,
    pub(super) lag: Option<(Instant, u64)>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct PartitionTotals {
    pub(super) consumed: u64,
    pub(super) bytes: u64,
    pub(super) lost: u64,
    pub(super) duplicates: u64,
    pub(super) reordered: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct StreamTotals {
    pub(super) consumed: u64,
    pub(super) highest: u64,
}

impl Record {
    pub(super) fn processed(&mut self, message: &Processed<'_>) {
        let totals = self.totals.entry(message.partition).or_default();
        totals.consumed += 1;
        totals.bytes += message.payload.len() as u64;
        let assigned = self.assigned.entry(message.partition).or_default();
        assigned.position = Some(message.offset + 1);
        assigned.uncommitted = true;
        let decoded = Header::decode(message.payload);
        let Some((header, stream)) = decoded.ok().and_then(|header| Some((header, StreamId::of(&header)?)))
        else {
            self.malformed += 1;
            return;
        };
        let sequences = assigned.sequences.get_or_insert_with(PartitionSequences::from_unknown);
        let outcome = sequences.observe(&stream, header.sequence);
        match outcome {
            Outcome::Gap { lost } => totals.lost += lost,
            Outcome::Duplicate => totals.duplicates += 1,
            Outcome::Reordered => totals.reordered += 1,
            Outcome::InOrder | Outcome::Started => {}
        }
        if outcome != Outcome::Duplicate {
            self.latency.record_between(header.intended_ns, message.processed_ns);
        }
        self.count_stream((stream, message.partition), header.sequence);
    }

    pub(super) fn count_stream(&mut self, key: (StreamId, i32), sequence: u64) {
        if self.streams.len() >= MAXIMUM_STREAM_METRICS && !self.streams.contains_key(&key) {
            self.untracked += 1;
            return;
        }
        let stream = self.streams.entry(key).or_default();
        stream.consumed += 1;
        stream.highest = stream.highest.max(sequence);
    }

    /// Makes the list of offsets to commit, out of the partitions chosen, and takes them as committed.
    pub(super) fn take_commit(
        &mut self,
        topic: &str,
        choose: impl Fn(i32, &AssignedPartition) -> bool,
    ) -> TopicPartitionList {
        let mut offsets = TopicPartitionList::new();
        for (&partition, assigned) in &mut self.assigned {
            let Some(position) = assigned.position.filter(|_| choose(partition, assigned)) else { continue };
            assigned.uncommitted = false;
            let mut element = offsets.add_partition(topic, partition);
            let metadata = assigned.sequences.as_ref().map(PartitionSequences::to_commit_metadata);
            element.set_metadata(metadata.unwrap_or_default());
            if let Err(error) = element.set_offset(Offset::Offset(position)) {
                tracing::error!(%error, partition, position, "offset refused");
            }
        }
        offsets
    }

    /// Takes what only the client knows: high watermarks and committed offsets.
    pub(super) fn update(&mut self, statistics: &Statistics, topic: &str, begin: Begin) {
        let Some(topic) = statistics.topics.get(topic) else { return };
        let now = Instant::now();
        for (partition, assigned) in &mut self.assigned {
            let Some(shown) = topic.partitions.get(partition) else { continue };
            // The client's own view of the committed offset tells when a commit must be repeated.
            assigned.uncommitted |=
                assigned.position.is_some_and(|position| shown.committed_offset < position);
            // Negative numbers are librdkafka's "unknown".
            let known = |offset: i64| (offset >= 0).then_some(offset);
            let begin = || known(shown.lo_offset).filter(|_| begin == Begin::Earliest);
            let position = assigned.position.or(known(shown.committed_offset)).or_else(begin);
            let lag =
                known(shown.hi_offset).zip(position).map(|(high, position)| (high - position).max(0) as u64);
            assigned.lag = lag.map(|lag| (now, lag));
        }
    }

    pub(super) fn write(&self, page: &mut Exposition) {
        self.write_partitions(page);
        self.write_streams(page);
        let mut counter = |name, help, value| page.single(name, Kind::Counter, help, value);
        counter(
            "kafka_load_malformed_messages_total",
            "Messages that no producer of ours wrote.",
            self.malformed,
        );
        counter(
            "kafka_load_untracked_messages_total",
            "Messages of streams above the metrics' limit.",
            self.untracked,
        );
        counter("kafka_load_rebalances_total", "Assignments received from the group.", self.rebalances);
        counter("kafka_load_commits_total", "Offset commits asked for.", self.commits);
        counter("kafka_load_commit_failures_total", "Offset commits that failed.", self.commit_failures);
        counter("kafka_load_errors_total", "Errors reported by the client.", self.errors);
        END_TO_END_LATENCY.write(page, &self.latency);
    }

    pub(super) fn write_partitions(&self, page: &mut Exposition) {
        page.single(
            "kafka_load_assigned_partitions",
            Kind::Gauge,
            "Partitions that this worker holds.",
            self.assigned.len(),
        );
        let totals = || self.totals.iter().map(|(partition, totals)| (*partition, totals));
        let mut counter = |name, help, value: fn(&PartitionTotals) -> u64| {
            per_partition(page, name, Kind::Counter, help, totals(), |totals| Some(value(totals)));
        };
        counter("kafka_load_consumed_messages_total", "Messages processed, repeated ones included.", |t| {
            t.consumed
        });
        counter("kafka_load_consumed_bytes_total", "Value bytes processed.", |t| t.bytes);
        counter(
            "kafka_load_lost_messages_total",
            "Sequence numbers skipped; those in kafka_load_reordered_messages_total came after all.",
            |t| t.lost,
        );
        counter(
            "kafka_load_duplicate_messages_total",
            "Sequence numbers consumed before, here or by the partition's previous owner.",
            |t| t.duplicates,
        );
        counter(
            "kafka_load_reordered_messages_total",
            "Skipped sequence numbers that came after all.",
            |t| t.reordered,
        );
        let assigned: BTreeMap<i32, &AssignedPartition> =
            self.assigned.iter().map(|(partition, assigned)| (*partition, assigned)).collect();
        per_partition(
            page,
            "kafka_load_lag_messages",
            Kind::Gauge,
            "High watermark minus position of the partitions held, at most 1 s old; no sample when unknown.",
            assigned,
            |assigned| {
                assigned.lag.filter(|(when, _)| when.elapsed() < LAG_EXPIRES_AFTER).map(|(_, lag)| lag)
            },
        );
    }

    pub(super) fn write_streams(&self, page: &mut Exposition) {
        let mut family = |name, kind, help, value: fn(&StreamTotals) -> u64| {
            let mut family = page.family(name, kind, help);
            for ((StreamId { run, producer, epoch }, partition), totals) in &self.streams {
                let labels: &[(&str, &dyn std::fmt::Display)] =
                    &[("run", run), ("producer", producer), ("epoch", epoch), ("partition", partition)];
                family.sample(labels, value(totals));
            }
        };
        family(
            "kafka_load_last_consumed_sequence",
            Kind::Gauge,
            "Highest sequence consumed by this worker; the first is 0.",
            |totals| totals.highest,
        );
        family(
            "kafka_load_stream_consumed_messages_total",
            Kind::Counter,
            "Messages of the stream processed by this worker, repeated ones included.",
            |totals| totals.consumed,
        );
    }
}

pub(super) const END_TO_END_LATENCY: LatencyFamilies = LatencyFamilies {
    histogram: "kafka_load_end_to_end_latency_seconds",
    quantile: "kafka_load_end_to_end_latency_quantile_seconds",
    maximum: "kafka_load_end_to_end_latency_max_seconds",
    clamped: "kafka_load_end_to_end_latency_clamped_total",
    meaning: "From a message's intended send time to the end of its processing, duplicates excluded.",
};

pub(super) struct Processed<'a> {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) payload: &'a [u8],
    pub(super) processed_ns: u64,
}
