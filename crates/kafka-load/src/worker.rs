//! The measured worker: a member of a consumer group that checks every message's place and latency.
//!
//! Latency is from the *intended* send time to the end of processing, so a worker that was stopped for ten seconds shows ten
//! seconds. Offsets are committed after processing, with what the next owner of the partition should expect (see
//! [`crate::record`]); so delivery is at least once. A duplicate's latency is not recorded.

mod totals;

use std::{
    collections::hash_map::Entry,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message, Offset, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, RDKafkaErrorCode},
};

use self::totals::{AssignedPartition, Processed, Record};
use crate::{
    client::{BootstrapServers, ClientSetting, LogThrottle, client_config, log_client, wall_clock_ns},
    exposition::{Exposition, Kind},
    payload::Identifier,
    record::PartitionSequences,
};

const POLL_TIMEOUT: Duration = Duration::from_millis(100);
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(5);
const STATISTICS_INTERVAL: Duration = Duration::from_secs(1);

/// What to consume, and how.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The first brokers to ask.
    pub bootstrap: BootstrapServers,
    /// The topic; it need not exist yet.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// This worker's name.
    pub worker: Identifier,
    /// How often processed offsets are committed.
    pub commit_interval: Duration,
    /// Simulated work: how long each message is held before it counts as processed.
    pub processing_time: Duration,
    /// After this time without heartbeat the group takes the partitions away.
    pub session_timeout: Duration,
    /// `partition.assignment.strategy`.
    pub assignment_strategy: String,
    /// Where to begin without a committed offset.
    pub begin: Begin,
    /// librdkafka settings over these.
    pub settings: Vec<ClientSetting>,
}

/// Where a partition without a committed offset is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// The oldest message.
    Earliest,
    /// Messages written from now on.
    Latest,
}

/// Why a worker ended with a fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// librdkafka refused the settings.
    #[error("failed to make the Kafka client")]
    Client(#[source] KafkaError),
    /// The topic's name cannot be subscribed to.
    #[error("failed to subscribe to {topic:?}")]
    Subscribe {
        /// The topic.
        topic: String,
        /// What librdkafka says.
        #[source]
        source: KafkaError,
    },
    /// The client cannot go on.
    #[error("the Kafka client failed for good")]
    Fatal(#[source] KafkaError),
}

/// The running worker as others see it: control and metrics.
#[derive(Debug)]
pub struct WorkerState {
    config: WorkerConfig,
    stop: AtomicBool,
    record: Mutex<Record>,
}

impl WorkerState {
    /// Makes the state of a worker that will run with `config`.
    pub fn new(config: WorkerConfig) -> Self {
        Self { config, stop: AtomicBool::new(false), record: Mutex::default() }
    }

    /// Asks the worker to commit, leave the group and return.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Returns whether the group was joined: an assignment came, though it may be empty.
    pub fn is_ready(&self) -> bool {
        self.record().joined
    }

    /// Returns the end-to-end latencies as a serialized HDR histogram (V2, microseconds).
    pub fn latency_hdr(&self) -> Vec<u8> {
        self.record().latency.to_hdr_bytes()
    }

    /// Returns the metrics page.
    pub fn metrics(&self) -> String {
        let mut page = Exposition::default();
        page.family("kafka_load_worker_info", Kind::Gauge, "Who works; always 1.").sample(
            &[("worker", &self.config.worker), ("group", &self.config.group), ("topic", &self.config.topic)],
            1,
        );
        self.record().write(&mut page);
        page.finish()
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct WorkerContext {
    state: Arc<WorkerState>,
}

impl ClientContext for WorkerContext {
    fn stats(&self, statistics: Statistics) {
        let config = &self.state.config;
        self.state.record().update(&statistics, &config.topic, config.begin);
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // The only trace of an asynchronous commit that failed: its callback is not called for commits of given offsets.
        if facility == "COMMITFAIL" {
            self.state.record().commit_failures += 1;
        }
        log_client(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.state.record().errors += 1;
        // What went wrong stands in the client's log already.
        tracing::debug!(%error, reason, "client error");
    }
}

impl ConsumerContext for WorkerContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(revoked) = rebalance else { return };
        let revoked: Vec<i32> = revoked.elements().iter().map(|element| element.partition()).collect();
        tracing::info!(partitions = ?revoked, "partitions revoked");
        if !consumer.assignment_lost() {
            commit(consumer, &self.state, CommitMode::Sync, |partition, _| revoked.contains(&partition));
        }
        self.state.record().assigned.retain(|partition, _| !revoked.contains(partition));
    }

    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(assigned) => {
                let assigned: Vec<i32> =
                    assigned.elements().iter().map(|element| element.partition()).collect();
                tracing::info!(partitions = ?assigned, "partitions assigned");
                let mut record = self.state.record();
                record.joined = true;
                record.rebalances += 1;
                record
                    .assigned
                    .extend(assigned.into_iter().map(|partition| (partition, AssignedPartition::default())));
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance failed"),
        }
    }
}

/// Works until [`WorkerState::stop`], then commits and leaves the group; blocks the calling thread.
///
/// # Errors
/// The settings are wrong, or the client cannot go on.
pub fn run(state: &Arc<WorkerState>) -> Result<(), WorkerError> {
    let config = &state.config;
    let consumer = make_client(config, state)?;
    consumer
        .subscribe(&[&config.topic])
        .map_err(|source| WorkerError::Subscribe { topic: config.topic.clone(), source })?;
    let mut throttle = LogThrottle::every(Duration::from_secs(1));
    let mut last_commit = Instant::now();
    while !state.stopping() {
        match consumer.poll(POLL_TIMEOUT) {
            Some(Ok(message)) => {
                let payload = message.payload().unwrap_or_default();
                process(state, &consumer, message.partition(), message.offset(), payload);
            }
            Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) => {
                return Err(WorkerError::Fatal(error));
            }
            Some(Err(error)) => {
                state.record().errors += 1;
                if let Some(more) = throttle.pass() {
                    tracing::warn!(%error, more, "poll failed");
                }
            }
            None => {}
        }
        if last_commit.elapsed() >= config.commit_interval {
            commit(&consumer, state, CommitMode::Async, |_, assigned| assigned.uncommitted);
            last_commit = Instant::now();
        }
    }
    tracing::info!("stopping, leaving the group");
    commit(&consumer, state, CommitMode::Sync, |_, _| true);
    // Dropping the consumer leaves the group.
    Ok(())
}

fn make_client(
    config: &WorkerConfig,
    state: &Arc<WorkerState>,
) -> Result<BaseConsumer<WorkerContext>, WorkerError> {
    let begin = match config.begin {
        Begin::Earliest => "earliest",
        Begin::Latest => "latest",
    };
    let mut client = client_config(config.bootstrap.as_str(), config.worker.as_str(), &[]);
    client
        .set("group.id", &config.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", begin)
        .set("partition.assignment.strategy", &config.assignment_strategy)
        .set("session.timeout.ms", config.session_timeout.as_millis().to_string())
        .set("queued.max.messages.kbytes", "16384")
        .set("statistics.interval.ms", STATISTICS_INTERVAL.as_millis().to_string())
        .set("topic.metadata.refresh.interval.ms", "5000");
    for ClientSetting { key, value } in &config.settings {
        client.set(key, value);
    }
    client.create_with_context(WorkerContext { state: state.clone() }).map_err(WorkerError::Client)
}

fn process(
    state: &WorkerState,
    consumer: &BaseConsumer<WorkerContext>,
    partition: i32,
    offset: i64,
    payload: &[u8],
) {
    let first = state.record().assigned.get(&partition).is_none_or(|assigned| assigned.sequences.is_none());
    if first {
        let sequences = known_sequences(consumer, &state.config.topic, partition, offset);
        match state.record().assigned.entry(partition) {
            Entry::Occupied(mut entry) => entry.get_mut().sequences = Some(sequences),
            Entry::Vacant(entry) => {
                entry
                    .insert(AssignedPartition { sequences: Some(sequences), ..AssignedPartition::default() });
            }
        }
    }
    if !state.config.processing_time.is_zero() {
        thread::sleep(state.config.processing_time);
    }
    state.record().processed(&Processed { partition, offset, payload, processed_ns: wall_clock_ns() });
}

/// Finds out what the partition's first message, at `first_offset`, should be compared with.
fn known_sequences(
    consumer: &BaseConsumer<WorkerContext>,
    topic: &str,
    partition: i32,
    first_offset: i64,
) -> PartitionSequences {
    let mut request = TopicPartitionList::new();
    request.add_partition(topic, partition);
    let committed = match consumer.committed_offsets(request, COMMITTED_TIMEOUT) {
        Ok(committed) => committed,
        Err(error) => {
            tracing::warn!(%error, partition, "committed offset unknown, beginning at the first sequence seen");
            return PartitionSequences::from_unknown();
        }
    };
    let element = committed.find_partition(topic, partition);
    let committed = element.as_ref().and_then(|element| match element.offset() {
        Offset::Offset(offset) => Some((offset, element.metadata())),
        _ => None,
    });
    continue_from(committed, first_offset, || {
        consumer.fetch_watermarks(topic, partition, COMMITTED_TIMEOUT).ok().map(|(low, _)| low)
    })
}

/// What to expect at `first_offset`, where an offset was committed with what its committer expected next.
///
/// A committed offset below the first one is either what retention has removed since (those messages are lost), or a
/// commit that was overtaken by a later one and applied after it: then somebody has processed what lies between, and what
/// comes next is not known. `low` tells the first offset that the partition still has.
fn continue_from(
    committed: Option<(i64, &str)>,
    first_offset: i64,
    low: impl FnOnce() -> Option<i64>,
) -> PartitionSequences {
    let continued = match committed {
        Some((offset, metadata)) if offset == first_offset => {
            PartitionSequences::from_commit_metadata(metadata)
        }
        Some((offset, metadata)) if offset < first_offset => {
            let is_removed = low().is_some_and(|low| low > offset);
            if !is_removed {
                tracing::warn!(
                    offset,
                    first_offset,
                    "an older commit came last, beginning at the first sequence seen"
                );
                return PartitionSequences::from_unknown();
            }
            PartitionSequences::from_commit_metadata(metadata)
        }
        _ => None,
    };
    continued.unwrap_or_else(|| match first_offset {
        0 => PartitionSequences::from_beginning(),
        _ => PartitionSequences::from_unknown(),
    })
}

fn commit(
    consumer: &BaseConsumer<WorkerContext>,
    state: &WorkerState,
    mode: CommitMode,
    choose: impl Fn(i32, &AssignedPartition) -> bool,
) {
    let offsets = {
        let mut record = state.record();
        let offsets = record.take_commit(&state.config.topic, choose);
        record.commits += u64::from(offsets.count() > 0);
        offsets
    };
    if offsets.count() == 0 {
        return;
    }
    if let Err(error) = consumer.commit(&offsets, mode) {
        tracing::warn!(%error, "commit failed");
        state.record().commit_failures += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{totals::LAG_EXPIRES_AFTER, *};
    use crate::{
        payload::Header,
        record::{Outcome, StreamId},
    };

    fn message(epoch: u64, sequence: u64, intended_ns: u64) -> Vec<u8> {
        let header = Header { run: "r", producer: "p", epoch, sequence, intended_ns, sent_ns: intended_ns };
        let mut message = vec![0; header.encoded_bytes()];
        header.encode(&mut message).expect("large enough");
        message
    }

    fn process_all(record: &mut Record, partition: i32, sequences: &[u64]) {
        for (offset, sequence) in (0..).zip(sequences) {
            let payload = message(1, *sequence, 1_000_000_000);
            record.processed(&Processed {
                partition,
                offset,
                payload: &payload,
                processed_ns: 11_000_000_000,
            });
        }
    }

    #[track_caller]
    fn check_line(record: &Record, line: &str) {
        let mut page = Exposition::default();
        record.write(&mut page);
        let text = page.finish();
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    }

    #[test]
    fn shows_what_was_consumed() {
        let mut record = Record::default();
        process_all(&mut record, 2, &[5, 6, 8, 8]);
        record.processed(&Processed { partition: 2, offset: 4, payload: b"foreign", processed_ns: 0 });
        for line in [
            "kafka_load_consumed_messages_total{partition=\"2\"} 5",
            "kafka_load_lost_messages_total{partition=\"2\"} 1",
            "kafka_load_duplicate_messages_total{partition=\"2\"} 1",
            "kafka_load_malformed_messages_total 1",
            "kafka_load_last_consumed_sequence{run=\"r\",producer=\"p\",epoch=\"1\",partition=\"2\"} 8",
            "kafka_load_stream_consumed_messages_total{run=\"r\",producer=\"p\",epoch=\"1\",partition=\"2\"} 4",
            "kafka_load_end_to_end_latency_seconds_bucket{le=\"5\"} 0",
            "kafka_load_end_to_end_latency_seconds_bucket{le=\"10\"} 3",
        ] {
            check_line(&record, line);
        }
    }

    #[test]
    fn an_unknown_or_old_lag_is_not_shown() {
        let mut record = Record::default();
        let mut show = |lag| {
            record.assigned.insert(0, AssignedPartition { lag, ..AssignedPartition::default() });
            let mut page = Exposition::default();
            record.write(&mut page);
            page.finish().contains("kafka_load_lag_messages{partition=\"0\"} 7")
        };
        assert!(!show(None));
        assert!(show(Some((Instant::now(), 7))));
        let Some(long_ago) = Instant::now().checked_sub(LAG_EXPIRES_AFTER) else { return };
        assert!(!show(Some((long_ago, 7))));
    }

    #[test]
    fn only_the_commit_of_the_first_offset_or_of_removed_messages_tells_what_comes_next() {
        let mut known = PartitionSequences::from_beginning();
        let stream = StreamId { run: "r".parse().unwrap(), producer: "p".parse().unwrap(), epoch: 1 };
        for sequence in 0..10 {
            known.observe(&stream, sequence);
        }
        let metadata = known.to_commit_metadata();
        let first = |committed, first_offset, low| {
            continue_from(committed, first_offset, || low).observe(&stream, 12)
        };
        // Committed at 10, and the next one seen is the twelfth: two are lost.
        assert_eq!(first(Some((10, metadata.as_str())), 10, None), Outcome::Gap { lost: 2 });
        assert_eq!(first(Some((10, metadata.as_str())), 12, Some(12)), Outcome::Gap { lost: 2 });
        // The partition still has 10 and 11, so a later commit was there when this worker began.
        assert_eq!(first(Some((10, metadata.as_str())), 12, Some(0)), Outcome::Started);
        assert_eq!(first(Some((10, metadata.as_str())), 12, None), Outcome::Started);
        assert_eq!(first(Some((13, metadata.as_str())), 12, None), Outcome::Started);
        assert_eq!(first(None, 12, None), Outcome::Started);
        assert_eq!(first(None, 0, None), Outcome::Gap { lost: 12 });
    }

    #[test]
    fn commits_carry_position_and_expectation() {
        let mut record = Record::default();
        process_all(&mut record, 0, &[7, 8]);
        process_all(&mut record, 1, &[3]);
        let offsets = record.take_commit("t", |partition, _| partition == 0);
        assert_eq!(offsets.count(), 1);
        let element = offsets.find_partition("t", 0).expect("partition 0 was chosen");
        assert_eq!(
            (element.offset(), element.metadata()),
            (Offset::Offset(2), "kafka-load/1 partial;r,p,1,9")
        );
        assert_eq!(record.take_commit("t", |_, assigned| assigned.uncommitted).count(), 1);
        assert_eq!(record.take_commit("t", |_, assigned| assigned.uncommitted).count(), 0);
    }
}
