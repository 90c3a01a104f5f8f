//! Tells whether a Kafka cluster really works: every listener, every leader, and a message through every partition.

use std::{
    collections::BTreeSet,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError,
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};
use serde::Serialize;

use crate::{
    client::{BootstrapServers, LastError, client_config, fetch_metadata, wall_clock_ns},
    topic::{self, TopicSpec},
};

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_PAUSE: Duration = Duration::from_millis(200);
const POLL_TIMEOUT: Duration = Duration::from_millis(50);

/// What to probe.
#[derive(Debug, Clone)]
pub struct ProbeConfig {
    /// Used for the topic; also the listeners to look at when none are given.
    pub bootstrap: BootstrapServers,
    /// The listener addresses to look at, each through a client that knows only this address.
    pub listeners: Vec<Listener>,
    /// How many brokers every listener must name.
    pub expected_brokers: usize,
    /// The topic for the round trip; created if absent.
    pub topic: TopicSpec,
    /// If given, the consumed offsets are committed for this group, so that the group coordinator and `__consumer_offsets` work too.
    pub group: Option<String>,
    /// The time for all of it; attempts are repeated until then.
    pub timeout: Duration,
}

/// One listener address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What to call it in the report.
    pub name: String,
    /// Its one address.
    pub address: BootstrapServers,
}

impl FromStr for Listener {
    type Err = ParseListenerError;

    /// Reads `NAME=host:port`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('=').filter(|(name, address)| !name.is_empty() && !address.contains(','));
        let (name, address) = parts.ok_or(ParseListenerError)?;
        Ok(Self { name: name.to_owned(), address: address.parse().map_err(|_| ParseListenerError)? })
    }
}

/// The text is not `NAME=host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected NAME=host:port")]
pub struct ParseListenerError;

/// What was found; [`Self::ok`] is the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeReport {
    /// One per listener asked for, in that order.
    pub listeners: Vec<ListenerReport>,
    /// The round trip.
    pub topic: TopicReport,
    /// Whether everything is as expected.
    pub ok: bool,
    /// The first thing that is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What one listener says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListenerReport {
    /// As given.
    pub name: String,
    /// As given.
    pub address: String,
    /// Whether it names the expected number of brokers.
    pub ok: bool,
    /// The brokers as advertised through this listener, by id; those of the last answer, if any.
    pub brokers: Vec<BrokerReport>,
    /// The last error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A broker as advertised.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct BrokerReport {
    /// The broker's id.
    pub id: i32,
    /// The advertised host.
    pub host: String,
    /// The advertised port.
    pub port: i32,
}

/// What became of the round trip.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TopicReport {
    /// The topic's name.
    pub name: String,
    /// Its partitions.
    pub partitions: usize,
    /// Partitions with a leader.
    pub leaders: usize,
    /// Partitions that acknowledged a message.
    pub produced: usize,
    /// Partitions whose message was read back.
    pub consumed: usize,
    /// Whether offsets were committed for the group; absent without a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committed: Option<bool>,
}

/// Probes until all is well or the time is over; never longer than the timeout and one attempt.
pub async fn probe(config: &ProbeConfig) -> ProbeReport {
    let deadline = Instant::now() + config.timeout;
    let tasks: Vec<_> = listeners(config)
        .into_iter()
        .map(|listener| {
            let expected = config.expected_brokers;
            let task = tokio::task::spawn_blocking({
                let listener = listener.clone();
                move || probe_listener(&listener, expected, deadline)
            });
            (listener, task)
        })
        .collect();
    let (topic, topic_error) = probe_topic(config, deadline).await;
    let mut listeners = Vec::with_capacity(tasks.len());
    for (listener, task) in tasks {
        listeners
            .push(task.await.unwrap_or_else(|error| listener.report(Vec::new(), Some(error.to_string()))));
    }
    let listener_error = listeners.iter().find_map(|report| {
        let error = report.error.as_deref()?;
        Some(format!("listener {} at {}: {error}", report.name, report.address))
    });
    let error = listener_error.or(topic_error);
    ProbeReport { listeners, topic, ok: error.is_none(), error }
}

fn listeners(config: &ProbeConfig) -> Vec<Listener> {
    if !config.listeners.is_empty() {
        return config.listeners.clone();
    }
    let addresses = config.bootstrap.addresses().filter_map(|address| address.parse().ok());
    addresses.map(|address| Listener { name: "bootstrap".to_owned(), address }).collect()
}

impl Listener {
    fn report(&self, brokers: Vec<BrokerReport>, error: Option<String>) -> ListenerReport {
        ListenerReport {
            name: self.name.clone(),
            address: self.address.to_string(),
            ok: error.is_none(),
            brokers,
            error,
        }
    }
}

fn probe_listener(listener: &Listener, expected_brokers: usize, deadline: Instant) -> ListenerReport {
    loop {
        let (brokers, error) = match fetch_metadata(listener.address.as_str(), None, attempt_time(deadline)) {
            Ok(metadata) => {
                let mut brokers: Vec<_> = metadata
                    .brokers()
                    .iter()
                    .map(|broker| BrokerReport {
                        id: broker.id(),
                        host: broker.host().to_owned(),
                        port: broker.port(),
                    })
                    .collect();
                brokers.sort();
                let found = brokers.len();
                let error = (found != expected_brokers)
                    .then(|| format!("expected {expected_brokers} brokers, found {found}"));
                (brokers, error)
            }
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        if error.is_none() || !pause_before(deadline) {
            return listener.report(brokers, error);
        }
    }
}

async fn probe_topic(config: &ProbeConfig, deadline: Instant) -> (TopicReport, Option<String>) {
    let mut report = TopicReport { name: config.topic.name.clone(), ..TopicReport::default() };
    let remaining = deadline.saturating_duration_since(Instant::now());
    match topic::ensure(&config.bootstrap, &config.topic, remaining).await {
        Ok(outcome) => (report.partitions, report.leaders) = (outcome.partitions, outcome.leaders),
        Err(error) => return (report, Some(chain(&error))),
    }
    let (config, started) = (config.clone(), report.clone());
    let exchanged = tokio::task::spawn_blocking(move || {
        loop {
            let mut attempt = started.clone();
            let error = exchange(&config, &mut attempt, deadline).err().map(|error| chain(&error));
            if error.is_none() || !pause_before(deadline) {
                return (attempt, error);
            }
        }
    });
    exchanged.await.unwrap_or_else(|error| (report, Some(error.to_string())))
}

/// Why one attempt of the round trip did not succeed.
#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error("failed to make the Kafka client")]
    Client(#[source] KafkaError),
    #[error("{acknowledged} of {partitions} partitions acknowledged a message: {reason}")]
    Produce { acknowledged: usize, partitions: usize, reason: String },
    #[error("{consumed} of {partitions} messages could be read back: {reason}")]
    Consume { consumed: usize, partitions: usize, reason: String },
    #[error("failed to commit offsets for group {group:?}: {reason}")]
    Commit { group: String, reason: String },
}

fn exchange(config: &ProbeConfig, report: &mut TopicReport, deadline: Instant) -> Result<(), ExchangeError> {
    let nonce = wall_clock_ns().to_be_bytes();
    let offsets = produce(config, report, &nonce, deadline)?;
    consume(config, report, &nonce, &offsets, deadline)
}

#[derive(Default)]
struct Deliveries {
    offsets: Mutex<Vec<(i32, i64)>>,
    failure: Mutex<Option<String>>,
    last_error: LastError,
}

impl Deliveries {
    fn offsets(&self) -> Vec<(i32, i64)> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct DeliveryContext(Arc<Deliveries>);

impl ClientContext for DeliveryContext {
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.last_error.error(error, reason);
    }
}

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => self
                .0
                .offsets
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((message.partition(), message.offset())),
            Err((error, _)) => {
                *self.0.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            }
        }
    }
}

/// Sends one message to every partition; returns partitions and offsets.
fn produce(
    config: &ProbeConfig,
    report: &mut TopicReport,
    nonce: &[u8],
    deadline: Instant,
) -> Result<Vec<(i32, i64)>, ExchangeError> {
    let deliveries = Arc::new(Deliveries::default());
    let time = attempt_time(deadline);
    let producer: BaseProducer<DeliveryContext> = client_config(config.bootstrap.as_str(), "kafka-load", &[])
        .set("acks", "all")
        .set("linger.ms", "0")
        .set("message.timeout.ms", time.as_millis().max(1).to_string())
        .create_with_context(DeliveryContext(deliveries.clone()))
        .map_err(ExchangeError::Client)?;
    let partitions = report.partitions;
    let failed = |acknowledged, reason| ExchangeError::Produce { acknowledged, partitions, reason };
    for partition in 0..config.topic.partitions {
        let record = BaseRecord::<(), [u8]>::to(&config.topic.name).partition(partition).payload(nonce);
        producer.send(record).map_err(|(error, _)| failed(0, error.to_string()))?;
    }
    let flushed = producer.flush(time);
    let offsets = deliveries.offsets();
    report.produced = offsets.len();
    if offsets.len() < partitions {
        let reason = match (deliveries.failure(), flushed) {
            (Some(failure), _) => failure,
            (None, Err(error)) => error.to_string(),
            (None, Ok(())) => "no report came".to_owned(),
        };
        return Err(failed(offsets.len(), deliveries.last_error.explain(&reason)));
    }
    Ok(offsets)
}

/// Reads exactly the messages at `offsets`, and commits behind them if a group is given.
fn consume(
    config: &ProbeConfig,
    report: &mut TopicReport,
    nonce: &[u8],
    offsets: &[(i32, i64)],
    deadline: Instant,
) -> Result<(), ExchangeError> {
    let last_error = LastError::default();
    let consumer: BaseConsumer<LastError> = client_config(config.bootstrap.as_str(), "kafka-load", &[])
        .set("group.id", config.group.as_deref().unwrap_or("kafka-load-probe"))
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "50")
        .create_with_context(last_error.clone())
        .map_err(ExchangeError::Client)?;
    let list = |add: i64| {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&config.topic.name, *partition, Offset::Offset(offset + add))?;
        }
        Ok::<_, KafkaError>(list)
    };
    let partitions = report.partitions;
    let failed = |consumed, reason| ExchangeError::Consume { consumed, partitions, reason };
    let assigned = list(0).and_then(|list| consumer.assign(&list));
    assigned.map_err(|error| failed(0, error.to_string()))?;
    let until = Instant::now() + attempt_time(deadline);
    let mut seen = BTreeSet::new();
    while seen.len() < partitions {
        match consumer.poll(POLL_TIMEOUT) {
            Some(Ok(message)) if message.payload() == Some(nonce) => {
                seen.insert(message.partition());
            }
            Some(Err(error)) => last_error.set(&error.to_string()),
            Some(Ok(_)) | None => {}
        }
        report.consumed = seen.len();
        if seen.len() < partitions && Instant::now() >= until {
            return Err(failed(seen.len(), last_error.explain(&"the time is over")));
        }
    }
    let Some(group) = &config.group else { return Ok(()) };
    let committed = list(1).and_then(|list| consumer.commit(&list, CommitMode::Sync));
    report.committed = Some(committed.is_ok());
    committed
        .map_err(|error| ExchangeError::Commit { group: group.clone(), reason: last_error.explain(&error) })
}

fn attempt_time(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(100), ATTEMPT_TIMEOUT)
}

/// Waits before another attempt; `false` when there is no time for one.
fn pause_before(deadline: Instant) -> bool {
    let another = Instant::now() + RETRY_PAUSE < deadline;
    if another {
        std::thread::sleep(RETRY_PAUSE);
    }
    another
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(|error| error.to_string())
        .collect::<Vec<_>>()
        .join(": ")
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for listener in &self.listeners {
            let verdict = listener.error.as_deref().unwrap_or("ok");
            writeln!(formatter, "listener {} {}: {verdict}", listener.name, listener.address)?;
            for BrokerReport { id, host, port } in &listener.brokers {
                writeln!(formatter, "  broker {id} advertises {host}:{port}")?;
            }
        }
        let TopicReport { name, partitions, leaders, produced, consumed, .. } = &self.topic;
        writeln!(
            formatter,
            "topic {name}: {partitions} partitions, {leaders} leaders, {produced} produced, {consumed} consumed"
        )?;
        write!(formatter, "{}", self.error.as_deref().unwrap_or("ok"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_listeners() {
        let listener: Listener = "INTERNAL=127.0.0.1:9092".parse().expect("valid");
        assert_eq!((listener.name.as_str(), listener.address.as_str()), ("INTERNAL", "127.0.0.1:9092"));
        for text in ["127.0.0.1:9092", "=a:1", "A=a:1,b:2", "A=a"] {
            assert_eq!(text.parse::<Listener>(), Err(ParseListenerError), "{text}");
        }
    }

    #[tokio::test]
    async fn says_what_is_wrong_when_nobody_answers() {
        let address = "127.0.0.1:9";
        let report = probe(&ProbeConfig {
            bootstrap: address.parse().expect("valid"),
            listeners: vec![Listener { name: "A".to_owned(), address: address.parse().expect("valid") }],
            expected_brokers: 3,
            topic: TopicSpec {
                name: "t".to_owned(),
                partitions: 1,
                replication_factor: 1,
                settings: Vec::new(),
            },
            group: None,
            timeout: Duration::from_millis(700),
        })
        .await;
        assert!(!report.ok);
        let error = report.listeners[0].error.as_deref().expect("an error");
        assert!(error.contains("Connection refused"), "{error}");
        let json = serde_json::to_value(&report).expect("plain data");
        assert_eq!(json["listeners"][0]["ok"], false);
        assert_eq!(json["topic"]["consumed"], 0);
    }
}
