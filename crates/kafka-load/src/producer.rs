//! The open-loop producer: it sends at the schedule's times, whatever Kafka does.
//!
//! A full send queue does not skip slots: the message waits, late, and so do those behind it; the time is counted as blocked.
//! Idempotence is on and retries are unlimited within the message timeout, so a broker that is killed and comes back causes
//! neither duplicates nor reordering. Partitions are chosen round robin, so each has an exact sequence.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
};

use crate::{
    client::{
        BootstrapServers, ClientSetting, LogThrottle, MonotonicClock, client_config, fetch_metadata,
        log_client, wall_clock_ns,
    },
    exposition::{Exposition, Kind},
    metrics::{LatencyFamilies, per_partition},
    payload::{self, Header, Identifier, MessageSizeError},
    record::LatencyRecord,
    schedule::{MessagesPerSecond, RateError, Schedule, Slot},
};

/// The longest sleep of the sending thread, so that stopping and new rates are noticed.
const LONGEST_SLEEP: Duration = Duration::from_millis(5);
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(1);
const METADATA_TIMEOUT: Duration = Duration::from_secs(3);

/// What to produce, and how.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// The first brokers to ask.
    pub bootstrap: BootstrapServers,
    /// The topic; it must exist before sending begins, and is waited for.
    pub topic: String,
    /// The rate over all partitions at start.
    pub rate: MessagesPerSecond,
    /// The size of each message's value, bytes.
    pub message_bytes: usize,
    /// This producer's name, part of every message.
    pub producer: Identifier,
    /// The run's name, part of every message.
    pub run: Identifier,
    /// `acks`: `all`, `1` or `0`. Idempotence needs `all` and is off otherwise.
    pub acks: String,
    /// How long the client may wait to fill a batch.
    pub linger: Duration,
    /// After this time without acknowledgement a message has failed; zero means never.
    pub message_timeout: Duration,
    /// The most messages waiting for acknowledgement.
    pub maximum_in_flight_messages: u32,
    /// The most memory for messages waiting for acknowledgement, KiB.
    pub maximum_in_flight_kibibytes: u32,
    /// How long to wait for acknowledgements when stopping.
    pub flush_timeout: Duration,
    /// librdkafka settings over these.
    pub settings: Vec<ClientSetting>,
}

/// Why producing ended with a fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProducerError {
    /// The size does not fit.
    #[error(transparent)]
    MessageSize(#[from] MessageSizeError),
    /// librdkafka refused the settings.
    #[error("failed to make the Kafka client")]
    Client(#[source] KafkaError),
    /// A send can never succeed, or the idempotent producer cannot go on without risking duplicates.
    #[error("failed to send to partition {partition}")]
    Send {
        /// The partition of the message.
        partition: i32,
        /// What librdkafka says.
        #[source]
        source: KafkaError,
    },
    /// Messages were not acknowledged before the flush deadline.
    #[error("{unacknowledged} messages were not acknowledged within {timeout:?} after stopping")]
    Flush {
        /// How many.
        unacknowledged: u64,
        /// The deadline.
        timeout: Duration,
    },
}

/// The running producer as others see it: control and metrics.
#[derive(Debug)]
pub struct ProducerState {
    run: Identifier,
    producer: Identifier,
    epoch: u64,
    clock: MonotonicClock,
    stop: AtomicBool,
    pace: Mutex<Pace>,
    counters: Mutex<Counters>,
}

#[derive(Debug)]
struct Pace {
    rate: MessagesPerSecond,
    paused: bool,
    /// Exists as soon as the topic does.
    schedule: Option<Schedule>,
}

#[derive(Debug)]
struct Counters {
    partitions: Vec<PartitionCounters>,
    blocked: Duration,
    latency: LatencyRecord,
    failures: LogThrottle,
}

#[derive(Debug, Clone, Default)]
struct PartitionCounters {
    produced: u64,
    produced_bytes: u64,
    acknowledged: u64,
    acknowledged_bytes: u64,
    failed: u64,
    last_acknowledged: Option<u64>,
}

impl PartitionCounters {
    /// Returns how many are not reported yet; a report may be counted an instant before its send.
    fn in_flight(&self) -> u64 {
        self.produced.saturating_sub(self.acknowledged + self.failed)
    }
}

impl ProducerState {
    /// Makes the state of a producer that will run with `config`; the epoch is the time of this call.
    pub fn new(config: &ProducerConfig) -> Self {
        Self {
            run: config.run.clone(),
            producer: config.producer.clone(),
            epoch: wall_clock_ns(),
            clock: MonotonicClock::start(),
            stop: AtomicBool::new(false),
            pace: Mutex::new(Pace { rate: config.rate, paused: false, schedule: None }),
            counters: Mutex::new(Counters {
                partitions: Vec::new(),
                blocked: Duration::ZERO,
                latency: LatencyRecord::default(),
                failures: LogThrottle::every(Duration::from_secs(1)),
            }),
        }
    }

    /// Asks the producer to stop sending, flush and return.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Returns whether the topic was found and sending has begun.
    pub fn is_ready(&self) -> bool {
        self.pace().schedule.is_some()
    }

    /// Stops the schedule; messages already due are still sent.
    ///
    /// # Errors
    /// Too many changes wait behind late messages.
    pub fn pause(&self) -> Result<(), RateError> {
        self.change_pace(|pace| pace.paused = true)
    }

    /// Continues the schedule at the rate it had; what was not scheduled in between is not made up for.
    ///
    /// # Errors
    /// Too many changes wait behind late messages.
    pub fn resume(&self) -> Result<(), RateError> {
        self.change_pace(|pace| pace.paused = false)
    }

    /// Changes the rate from now on; while paused, from the next resume on.
    ///
    /// # Errors
    /// Too many changes wait behind late messages.
    pub fn set_rate(&self, rate: MessagesPerSecond) -> Result<(), RateError> {
        self.change_pace(|pace| pace.rate = rate)
    }

    /// Returns the intended-to-acknowledged latencies as a serialized HDR histogram (V2, microseconds).
    pub fn latency_hdr(&self) -> Vec<u8> {
        self.counters().latency.to_hdr_bytes()
    }

    /// Returns the metrics page.
    pub fn metrics(&self) -> String {
        let mut page = Exposition::default();
        self.write_pace(&mut page);
        self.write_counters(&mut page);
        page.finish()
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_pace(&self, change: impl FnOnce(&mut Pace)) -> Result<(), RateError> {
        let mut pace = self.pace();
        let before = (pace.rate, pace.paused);
        change(&mut pace);
        let rate = if pace.paused { MessagesPerSecond::PAUSED } else { pace.rate };
        let Some(schedule) = &mut pace.schedule else { return Ok(()) };
        if schedule.rate() == rate {
            return Ok(());
        }
        let changed = schedule.set_rate(self.clock.now_ns(), rate);
        if changed.is_err() {
            (pace.rate, pace.paused) = before;
        }
        changed
    }

    fn begin(&self, partitions: usize) {
        self.counters().partitions = vec![PartitionCounters::default(); partitions];
        let mut pace = self.pace();
        let rate = if pace.paused { MessagesPerSecond::PAUSED } else { pace.rate };
        pace.schedule = Some(Schedule::new(self.clock.now_ns(), rate));
    }

    fn take_due(&self) -> Due {
        let mut pace = self.pace();
        let now_ns = self.clock.now_ns();
        let Some(schedule) = &mut pace.schedule else { return Due::In(LONGEST_SLEEP) };
        if let Some(slot) = schedule.take_due(now_ns) {
            return Due::Now(slot);
        }
        let wait =
            schedule.next_slot().map(|slot| Duration::from_nanos(slot.intended_ns.saturating_sub(now_ns)));
        Due::In(wait.map_or(LONGEST_SLEEP, |wait| wait.min(LONGEST_SLEEP)))
    }

    fn count(&self, partition: i32, change: impl FnOnce(&mut PartitionCounters)) {
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        if let Some(counters) = self.counters().partitions.get_mut(index) {
            change(counters);
        }
    }

    fn write_pace(&self, page: &mut Exposition) {
        let mut pace = self.pace();
        let rate = if pace.paused { 0.0 } else { pace.rate.as_f64() };
        let now_ns = self.clock.now_ns();
        let lag_ns = pace.schedule.as_mut().map(|schedule| schedule.lag_ns(now_ns));
        drop(pace);
        page.family("kafka_load_producer_info", Kind::Gauge, "Who produces; always 1.")
            .sample(&[("run", &self.run), ("producer", &self.producer), ("epoch", &self.epoch)], 1);
        page.single(
            "kafka_load_intended_messages_per_second",
            Kind::Gauge,
            "Rate of the schedule over all partitions; 0 while paused.",
            rate,
        );
        if let Some(lag_ns) = lag_ns {
            page.single(
                "kafka_load_schedule_lag_seconds",
                Kind::Gauge,
                "How late the oldest message is that is due and not yet handed to the client.",
                lag_ns as f64 / 1e9,
            );
        }
    }

    fn write_counters(&self, page: &mut Exposition) {
        let (partitions, blocked, latency) = {
            let counters = self.counters();
            (counters.partitions.clone(), counters.blocked, counters.latency.clone())
        };
        let numbered = || (0..).zip(&partitions);
        let mut counter = |name, help, value: fn(&PartitionCounters) -> u64| {
            per_partition(page, name, Kind::Counter, help, numbered(), |counters| Some(value(counters)));
        };
        counter("kafka_load_produced_messages_total", "Messages handed to the client.", |c| c.produced);
        counter("kafka_load_produced_bytes_total", "Value bytes handed to the client.", |c| c.produced_bytes);
        counter("kafka_load_acknowledged_messages_total", "Messages acknowledged by Kafka.", |c| {
            c.acknowledged
        });
        counter("kafka_load_acknowledged_bytes_total", "Value bytes acknowledged by Kafka.", |c| {
            c.acknowledged_bytes
        });
        counter(
            "kafka_load_failed_messages_total",
            "Messages given up; Kafka may have stored them nevertheless.",
            |c| c.failed,
        );
        let in_flight: u64 = partitions.iter().map(PartitionCounters::in_flight).sum();
        page.single(
            "kafka_load_in_flight_messages",
            Kind::Gauge,
            "Messages handed to the client and neither acknowledged nor failed.",
            in_flight,
        );
        page.single(
            "kafka_load_blocked_seconds_total",
            Kind::Counter,
            "Time that due messages waited because the client's queue was full or refused them.",
            blocked.as_secs_f64(),
        );
        let mut sequences = page.family(
            "kafka_load_last_acknowledged_sequence",
            Kind::Gauge,
            "Highest sequence acknowledged; the first is 0. No sample before the first.",
        );
        for (partition, counters) in numbered() {
            if let Some(sequence) = counters.last_acknowledged {
                sequences.sample(
                    &[
                        ("run", &self.run),
                        ("producer", &self.producer),
                        ("epoch", &self.epoch),
                        ("partition", &partition),
                    ],
                    sequence,
                );
            }
        }
        ACKNOWLEDGE_LATENCY.write(page, &latency);
    }
}

const ACKNOWLEDGE_LATENCY: LatencyFamilies = LatencyFamilies {
    histogram: "kafka_load_acknowledge_latency_seconds",
    quantile: "kafka_load_acknowledge_latency_quantile_seconds",
    maximum: "kafka_load_acknowledge_latency_max_seconds",
    clamped: "kafka_load_acknowledge_latency_clamped_total",
    meaning: "From a message's intended send time to its acknowledgement.",
};

enum Due {
    Now(Slot),
    In(Duration),
}

/// What a delivery report needs to know of its message.
#[derive(Debug)]
struct InFlight {
    sequence: u64,
    /// On the state's monotonic clock.
    intended_ns: u64,
}

struct ReportContext {
    state: Arc<ProducerState>,
}

impl ClientContext for ReportContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_client(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // What went wrong stands in the client's log already.
        tracing::debug!(%error, reason, "client error");
    }
}

impl ProducerContext for ReportContext {
    type DeliveryOpaque = Box<InFlight>;

    fn delivery(&self, result: &DeliveryResult<'_>, in_flight: Self::DeliveryOpaque) {
        match result {
            Ok(message) => self.acknowledged(message, &in_flight),
            Err((error, message)) => self.failed(error, message.partition(), &in_flight),
        }
    }
}

impl ReportContext {
    fn acknowledged(&self, message: &impl Message, in_flight: &InFlight) {
        let bytes = message.payload().map_or(0, <[u8]>::len) as u64;
        let now_ns = self.state.clock.now_ns();
        self.state.count(message.partition(), |counters| {
            counters.acknowledged += 1;
            counters.acknowledged_bytes += bytes;
            counters.last_acknowledged = counters.last_acknowledged.max(Some(in_flight.sequence));
        });
        self.state.counters().latency.record_between(in_flight.intended_ns, now_ns);
    }

    fn failed(&self, error: &KafkaError, partition: i32, in_flight: &InFlight) {
        self.state.count(partition, |counters| counters.failed += 1);
        if let Some(more) = self.state.counters().failures.pass() {
            tracing::warn!(%error, partition, sequence = in_flight.sequence, more, "message failed");
        }
    }
}

/// Produces until [`ProducerState::stop`], then flushes; blocks the calling thread.
///
/// Waits for brokers and for the topic as long as needed. Messages that are due and not yet handed to the client when it is
/// stopped are not sent and take no sequence number.
///
/// # Errors
/// The settings are wrong, Kafka refuses for good, or the flush deadline passes.
pub fn run(config: &ProducerConfig, state: &Arc<ProducerState>) -> Result<(), ProducerError> {
    let mut message = payload::filler(config.message_bytes);
    header(config, state, 0).encode(&mut message)?;
    let producer = make_client(config, state)?;
    let Some(partitions) = wait_for_topic(config, state) else { return Ok(()) };
    let mut next_sequences = vec![0_u64; partitions];
    state.begin(partitions);
    tracing::info!(topic = %config.topic, partitions, epoch = state.epoch, "producing");
    while !state.stopping() {
        let slot = match state.take_due() {
            Due::Now(slot) => slot,
            Due::In(wait) => {
                thread::sleep(wait);
                continue;
            }
        };
        let index = (slot.index % partitions as u64) as usize;
        let sent = send(config, state, &producer, &mut message, index as i32, next_sequences[index], slot)?;
        next_sequences[index] += u64::from(sent);
    }
    flush(config, state, &producer)
}

type Client = ThreadedProducer<ReportContext>;

fn make_client(config: &ProducerConfig, state: &Arc<ProducerState>) -> Result<Client, ProducerError> {
    let idempotence = config.acks == "all" || config.acks == "-1";
    let mut client = client_config(config.bootstrap.as_str(), config.producer.as_str(), &[]);
    client
        .set("acks", &config.acks)
        .set("enable.idempotence", idempotence.to_string())
        .set("max.in.flight.requests.per.connection", "5")
        .set("linger.ms", config.linger.as_millis().to_string())
        .set("message.timeout.ms", config.message_timeout.as_millis().to_string())
        .set("queue.buffering.max.messages", config.maximum_in_flight_messages.to_string())
        .set("queue.buffering.max.kbytes", config.maximum_in_flight_kibibytes.to_string())
        .set("message.max.bytes", (config.message_bytes + 1024).max(1_000_000).to_string())
        .set("topic.metadata.refresh.interval.ms", "30000");
    for ClientSetting { key, value } in &config.settings {
        client.set(key, value);
    }
    client.create_with_context(ReportContext { state: state.clone() }).map_err(ProducerError::Client)
}

/// Returns the number of partitions, or `None` when stopped first.
fn wait_for_topic(config: &ProducerConfig, state: &ProducerState) -> Option<usize> {
    let mut throttle = LogThrottle::every(Duration::from_secs(5));
    while !state.stopping() {
        let problem = match fetch_metadata(config.bootstrap.as_str(), Some(&config.topic), METADATA_TIMEOUT) {
            Ok(metadata) => match metadata.topics().first() {
                Some(topic) if topic.error().is_none() && !topic.partitions().is_empty() => {
                    return Some(topic.partitions().len());
                }
                _ => "the topic does not exist".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        if throttle.pass().is_some() {
            tracing::warn!(topic = %config.topic, problem, "waiting for the topic");
        }
        thread::sleep(Duration::from_millis(200));
    }
    None
}

fn header<'a>(config: &'a ProducerConfig, state: &ProducerState, sequence: u64) -> Header<'a> {
    Header {
        run: config.run.as_str(),
        producer: config.producer.as_str(),
        epoch: state.epoch,
        sequence,
        intended_ns: 0,
        sent_ns: 0,
    }
}

/// Hands one message to the client, waiting while it is full; `false` when stopped first.
fn send(
    config: &ProducerConfig,
    state: &ProducerState,
    producer: &Client,
    message: &mut [u8],
    partition: i32,
    sequence: u64,
    slot: Slot,
) -> Result<bool, ProducerError> {
    let mut blocked_since: Option<Instant> = None;
    let mut throttle = LogThrottle::every(Duration::from_secs(1));
    loop {
        let sent_ns = wall_clock_ns();
        let late_ns = state.clock.now_ns().saturating_sub(slot.intended_ns);
        let intended_ns = sent_ns.saturating_sub(late_ns);
        Header { intended_ns, sent_ns, ..header(config, state, sequence) }.encode(message)?;
        let in_flight = Box::new(InFlight { sequence, intended_ns: slot.intended_ns });
        let record = BaseRecord::<(), [u8], _>::with_opaque_to(&config.topic, in_flight)
            .partition(partition)
            .payload(message);
        let refused = producer.send(record).err().map(|(error, _)| error);
        if let Some(since) = blocked_since.take() {
            state.counters().blocked += since.elapsed();
        }
        let Some(error) = refused else {
            state.count(partition, |counters| {
                counters.produced += 1;
                counters.produced_bytes += message.len() as u64;
            });
            return Ok(true);
        };
        if !may_pass(&error) {
            return Err(ProducerError::Send { partition, source: error });
        }
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull)
            && let Some(more) = throttle.pass()
        {
            tracing::warn!(%error, partition, sequence, more, "send refused, keeping the message");
        }
        if state.stopping() {
            return Ok(false);
        }
        blocked_since = Some(Instant::now());
        thread::sleep(QUEUE_FULL_PAUSE);
    }
}

/// Whether a refused send can succeed later.
fn may_pass(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, LeaderNotAvailable, QueueFull, UnknownPartition, UnknownTopic};
    matches!(
        error.rdkafka_error_code(),
        Some(QueueFull | UnknownPartition | UnknownTopic | AllBrokersDown | LeaderNotAvailable)
    )
}

fn flush(config: &ProducerConfig, state: &ProducerState, producer: &Client) -> Result<(), ProducerError> {
    tracing::info!(unacknowledged = producer.in_flight_count(), "stopping, waiting for acknowledgements");
    let flushed = producer.flush(config.flush_timeout);
    let unacknowledged: u64 = state.counters().partitions.iter().map(PartitionCounters::in_flight).sum();
    match flushed {
        Ok(()) if unacknowledged == 0 => Ok(()),
        _ => Err(ProducerError::Flush { unacknowledged, timeout: config.flush_timeout }),
    }
}
