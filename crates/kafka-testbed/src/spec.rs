//! The specification of a testbed (`testbed.yaml`), typed and valid by construction.

pub mod keys;
mod read;

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

pub use read::{is_testbed_name, read};

/// The default specification, as it stands in the repository's `testbed.yaml`.
pub const DEFAULT: &str = include_str!("../../../testbed.yaml");

/// A testbed as a user describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Name of the testbed: lower-case letters, digits and dashes, at most 40.
    pub name: String,
    /// Address of the EXTERNAL listeners; nothing means "found".
    pub host_address: Option<Ipv4Addr>,
    /// The brokers.
    pub kafka: Kafka,
    /// ZooKeeper; only with [`Mode::ZooKeeper`].
    pub zookeeper: ZooKeeper,
    /// The Prometheus beside Kafka.
    pub kafka_prometheus: Prometheus,
    /// The Prometheus inside Kubernetes.
    pub kubernetes_prometheus: Prometheus,
    /// The one database.
    pub tsdb: Tsdb,
    /// The merger's port.
    pub merger_port: u16,
    /// Where the workers run.
    pub kubernetes: Kubernetes,
    /// The workers.
    pub workers: Workers,
    /// The load.
    pub load: Load,
}

/// What all brokers share, and each broker's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Kafka {
    /// Version of Apache Kafka.
    pub version: KafkaVersion,
    /// Heap of a broker in bytes (`-Xms` and `-Xmx`).
    pub heap_bytes: u64,
    /// Further JVM options, in place of the start script's default.
    pub jvm: String,
    /// Port of the INTERNAL listener.
    pub internal_port: u16,
    /// Port of the JMX exporter agent.
    pub agent_port: u16,
    /// Port of the CONTROLLER listener; only with [`Mode::KRaft`].
    pub controller_port: u16,
    /// Variables of every broker, in the order of the file.
    pub environment: Vec<(String, String)>,
    /// The brokers, at least one, with different ids and ports.
    pub brokers: Vec<Broker>,
}

/// The versions of Kafka that have a pinned list of jars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaVersion {
    /// 3.3.1, which is what `confluentinc/cp-kafka:7.3.0` holds.
    V3_3_1,
    /// 3.9.2, of the last line that runs with ZooKeeper.
    V3_9_2,
    /// 4.1.2.
    V4_1_2,
}

/// Who keeps the metadata of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// ZooKeeper.
    ZooKeeper,
    /// The brokers themselves, in a Raft quorum.
    KRaft,
}

impl KafkaVersion {
    /// All of them, the oldest first.
    pub const ALL: &[Self] = &[Self::V3_3_1, Self::V3_9_2, Self::V4_1_2];

    /// As written in the specification.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V3_3_1 => "3.3.1",
            Self::V3_9_2 => "3.9.2",
            Self::V4_1_2 => "4.1.2",
        }
    }

    /// The tag of the Confluent images with this version.
    pub fn confluent_tag(self) -> &'static str {
        match self {
            Self::V3_3_1 => "7.3.0",
            Self::V3_9_2 => "7.9.6",
            Self::V4_1_2 => "8.1.2",
        }
    }

    /// The version in the Confluent images with this tag.
    pub fn of_confluent_tag(tag: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|version| version.confluent_tag() == tag)
    }

    /// Who keeps the metadata of a cluster of this version in a testbed.
    pub fn mode(self) -> Mode {
        match self {
            Self::V3_3_1 | Self::V3_9_2 => Mode::ZooKeeper,
            Self::V4_1_2 => Mode::KRaft,
        }
    }

    /// The oldest Java that its brokers run on.
    pub fn least_java(self) -> u32 {
        match self.mode() {
            Mode::ZooKeeper => 11,
            Mode::KRaft => 17,
        }
    }
}

/// One broker.
#[derive(Debug, Clone, PartialEq)]
pub struct Broker {
    /// `broker.id`.
    pub id: u32,
    /// Port of the EXTERNAL listener.
    pub port: u16,
    /// Its own variables; they win over the shared ones.
    pub environment: Vec<(String, String)>,
    /// Advertised address of the INTERNAL listener (`host:port`) where it is not the listener's own.
    pub advertised_internal: Option<String>,
    /// Advertised address of the EXTERNAL listener (`host:port`) where it is not the listener's own.
    pub advertised_external: Option<String>,
}

/// ZooKeeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZooKeeper {
    /// Client port.
    pub port: u16,
    /// Heap in bytes.
    pub heap_bytes: u64,
}

/// A Prometheus that scrapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prometheus {
    /// Port of its web interface.
    pub port: u16,
    /// Interval of all its scrapes.
    pub scrape_interval: Duration,
    /// Interval at which its rules are evaluated.
    pub evaluation_interval: Duration,
    /// How long it keeps samples itself.
    pub retention: Duration,
    /// Folder for its data instead of the one in the testbed's folder: a folder of its own is made in it.
    pub storage: Option<PathBuf>,
    /// Whether its API may delete series and take snapshots.
    pub admin_api: bool,
    /// Labels of everything that it sends on.
    pub external_labels: Vec<(String, String)>,
}

/// The database that holds everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tsdb {
    /// Port of its web interface.
    pub port: u16,
    /// How long it keeps samples.
    pub retention: Duration,
    /// How far behind the newest sample of its series a sample may arrive.
    pub out_of_order_window: Duration,
}

/// Where the workers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kubernetes {
    /// As processes of this machine.
    Simulated,
}

/// The workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workers {
    /// How many.
    pub count: u32,
    /// Their consumer group.
    pub group: String,
}

/// What the producer sends.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// The topic.
    pub topic: String,
    /// Its partitions.
    pub partitions: u32,
    /// Its replication factor.
    pub replication_factor: u32,
    /// Messages a second.
    pub rate: f64,
    /// Bytes of a message.
    pub message_bytes: u32,
}

impl Spec {
    /// Every port that this version of Kafka uses, by the key that has it: brokers' by their id.
    pub fn ports_mut(&mut self) -> Vec<(String, &mut u16)> {
        let mut ports = vec![
            ("kafka.internal_port".to_owned(), &mut self.kafka.internal_port),
            ("kafka.agent_port".to_owned(), &mut self.kafka.agent_port),
            match self.kafka.version.mode() {
                Mode::ZooKeeper => ("zookeeper.port".to_owned(), &mut self.zookeeper.port),
                Mode::KRaft => ("kafka.controller_port".to_owned(), &mut self.kafka.controller_port),
            },
            ("prometheus.kafka.port".to_owned(), &mut self.kafka_prometheus.port),
            ("prometheus.kubernetes.port".to_owned(), &mut self.kubernetes_prometheus.port),
            ("tsdb.port".to_owned(), &mut self.tsdb.port),
            ("merger.port".to_owned(), &mut self.merger_port),
        ];
        for broker in &mut self.kafka.brokers {
            ports.push((format!("kafka.brokers[{}].port", broker.id), &mut broker.port));
        }
        ports
    }
}

/// Most brokers in one testbed (their addresses share a block).
pub const MAX_BROKERS: usize = 50;
/// Most workers in one testbed.
pub const MAX_WORKERS: u32 = 100;
