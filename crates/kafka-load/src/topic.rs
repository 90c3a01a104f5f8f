//! Creates a topic if it is absent, and checks that it is as wanted.

use std::time::{Duration, Instant};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    metadata::MetadataTopic,
    types::RDKafkaRespErr,
};
use serde::Serialize;

use crate::client::{BootstrapServers, client_config, fetch_metadata};

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions; at least 1.
    pub partitions: i32,
    /// How many replicas of each partition; at least 1.
    pub replication_factor: i32,
    /// Topic settings used when it is created, such as `("retention.ms", "3600000")`; not compared when it exists.
    pub settings: Vec<(String, String)>,
}

/// What became of the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TopicOutcome {
    /// Whether this call created it.
    pub created: bool,
    /// Its partitions.
    pub partitions: usize,
    /// Partitions that have a leader; all of them.
    pub leaders: usize,
}

/// Why the topic is not as wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// It exists with another number of partitions.
    #[error("topic {topic:?} has {actual} partitions, expected {expected}")]
    PartitionCount {
        /// The topic.
        topic: String,
        /// As wanted.
        expected: i32,
        /// As found.
        actual: usize,
    },
    /// It exists with another number of replicas.
    #[error("topic {topic:?} has a partition of {actual} replicas, expected {expected}")]
    ReplicationFactor {
        /// The topic.
        topic: String,
        /// As wanted.
        expected: i32,
        /// As found.
        actual: usize,
    },
    /// Kafka refuses such a topic.
    #[error("topic {topic:?} cannot be created: {reason}")]
    Refused {
        /// The topic.
        topic: String,
        /// Kafka's reason.
        reason: RDKafkaErrorCode,
    },
    /// librdkafka refused the settings.
    #[error("failed to make the Kafka client")]
    Client(#[source] KafkaError),
    /// The time is over.
    #[error("topic {topic:?} is not usable after {timeout:?}: {last_problem}")]
    Timeout {
        /// The topic.
        topic: String,
        /// The time given.
        timeout: Duration,
        /// What was wrong at last.
        last_problem: String,
    },
}

/// Creates the topic if it is absent and waits until all partitions have a leader; idempotent.
///
/// # Errors
/// It exists otherwise, Kafka refuses it, or the time is over (brokers that are not there yet are waited for).
pub async fn ensure(
    bootstrap: &BootstrapServers,
    spec: &TopicSpec,
    timeout: Duration,
) -> Result<TopicOutcome, TopicError> {
    let deadline = Instant::now() + timeout;
    let mut created = false;
    loop {
        let problem = match step(bootstrap, spec, deadline).await? {
            Step::Usable(outcome) => return Ok(TopicOutcome { created, ..outcome }),
            Step::Created => {
                created = true;
                continue;
            }
            Step::NotYet(problem) => problem,
        };
        if Instant::now() + RETRY_PAUSE >= deadline {
            return Err(TopicError::Timeout { topic: spec.name.clone(), timeout, last_problem: problem });
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

enum Step {
    Usable(TopicOutcome),
    Created,
    NotYet(String),
}

async fn step(bootstrap: &BootstrapServers, spec: &TopicSpec, deadline: Instant) -> Result<Step, TopicError> {
    let remaining = deadline.saturating_duration_since(Instant::now()).min(ATTEMPT_TIMEOUT);
    let (servers, name) = (bootstrap.clone(), spec.name.clone());
    let fetched =
        tokio::task::spawn_blocking(move || fetch_metadata(servers.as_str(), Some(&name), remaining)).await;
    let metadata = match fetched {
        Ok(Ok(metadata)) => metadata,
        Ok(Err(error)) => return Ok(Step::NotYet(error.to_string())),
        Err(error) => return Ok(Step::NotYet(error.to_string())),
    };
    match metadata.topics().first() {
        Some(topic) if topic.error().is_none() => check(spec, topic),
        Some(topic) if topic.error() != Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => {
            Ok(Step::NotYet(format!("{:?}", topic.error())))
        }
        _ => create(bootstrap, spec, remaining).await,
    }
}

fn check(spec: &TopicSpec, topic: &MetadataTopic) -> Result<Step, TopicError> {
    let partitions = topic.partitions();
    if usize::try_from(spec.partitions) != Ok(partitions.len()) {
        let (topic, expected) = (spec.name.clone(), spec.partitions);
        return Err(TopicError::PartitionCount { topic, expected, actual: partitions.len() });
    }
    let other = partitions
        .iter()
        .map(|partition| partition.replicas().len())
        .find(|replicas| usize::try_from(spec.replication_factor) != Ok(*replicas));
    if let Some(actual) = other {
        let (topic, expected) = (spec.name.clone(), spec.replication_factor);
        return Err(TopicError::ReplicationFactor { topic, expected, actual });
    }
    let leaders = partitions.iter().filter(|partition| partition.leader() >= 0).count();
    if leaders < partitions.len() {
        return Ok(Step::NotYet(format!("only {leaders} of {} partitions have a leader", partitions.len())));
    }
    Ok(Step::Usable(TopicOutcome { created: false, partitions: partitions.len(), leaders }))
}

async fn create(
    bootstrap: &BootstrapServers,
    spec: &TopicSpec,
    timeout: Duration,
) -> Result<Step, TopicError> {
    let admin: AdminClient<DefaultClientContext> =
        client_config(bootstrap.as_str(), "kafka-load", &[]).create().map_err(TopicError::Client)?;
    let mut topic =
        NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(spec.replication_factor));
    for (key, value) in &spec.settings {
        topic = topic.set(key, value);
    }
    let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
    let results = match admin.create_topics([&topic], &options).await {
        Ok(results) => results,
        Err(error) => return Ok(Step::NotYet(error.to_string())),
    };
    match results.into_iter().next() {
        Some(Ok(_)) => Ok(Step::Created),
        // Someone else was faster; the next look tells whether it fits.
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {
            Ok(Step::NotYet("it was just created".to_owned()))
        }
        Some(Err((_, reason))) if is_final(reason) => {
            Err(TopicError::Refused { topic: spec.name.clone(), reason })
        }
        Some(Err((_, reason))) => Ok(Step::NotYet(reason.to_string())),
        None => Ok(Step::NotYet("Kafka answered without a result".to_owned())),
    }
}

/// Whether no waiting helps. Too large a replication factor may be right as soon as more brokers are up.
fn is_final(reason: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{
        InvalidConfig, InvalidPartitions, InvalidRequest, InvalidTopic, PolicyViolation,
        TopicAuthorizationFailed,
    };
    matches!(
        reason,
        InvalidConfig
            | InvalidPartitions
            | InvalidRequest
            | InvalidTopic
            | PolicyViolation
            | TopicAuthorizationFailed
    )
}
