//! Specification → plan: a Compose model of every service, and the configuration files they mount.
//!
//! The plan decides everything; a backend only runs it. Each service has a fixed address in the testbed's network,
//! and listens on the ports of the specification.

mod addresses;
mod configs;
mod kraft;
mod services;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use compose_model::{Network, Project, ProjectName, Service};
use sha2::{Digest as _, Sha256};
use yaml_source::Tree;

pub use self::services::storage_folder;
use self::{
    addresses::Addresses,
    services::{
        bootstrap, broker_name, kafka_broker, kubelet, merger, need_zookeeper, network_name, producer,
        scraping_prometheus, service_name, topic, tsdb, worker, worker_name, zookeeper,
    },
};
use crate::{
    address::LoopbackBlock,
    spec::{Mode, Spec},
    status::Endpoints,
};

/// The rules of the JMX exporter agent.
const SCRAPER: &str = include_str!("../../../compose/configs/kafka_scraper.yml");
/// Name of the testbed's network in the model.
pub const NETWORK: &str = "testbed";
/// Path of the agent below the testbed's folder; `up` puts it there.
pub const AGENT: &str = "configs/jmx_prometheus_javaagent.jar";
/// Topic that the readiness probe writes to and reads from.
pub const PROBE_TOPIC: &str = "__testbed_probe";
/// Logging of the command-line tools below the testbed's folder, for log4j 1 and for log4j 2.
pub const TOOLS_LOGGING: [&str; 2] = [configs::TOOLS_LOG4J, configs::TOOLS_LOG4J2];

/// Everything about a testbed before it exists.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The services.
    pub project: Project,
    /// Files that the services mount, by path below the testbed's folder.
    pub files: Vec<PlannedFile>,
    /// Where users reach it.
    pub endpoints: Endpoints,
    /// What must be true for it to be ready.
    pub expected: Expected,
}

/// A configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Path below the testbed's folder.
    pub path: PathBuf,
    /// Its text.
    pub content: String,
    /// Whether only the user may read it, and nobody is shown it.
    pub is_secret: bool,
}

/// What readiness is proven against.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// The brokers.
    pub brokers: Vec<ExpectedBroker>,
    /// Replication factor of the probe's topic.
    pub probe_replication_factor: u32,
    /// Each scraping Prometheus: source name, base address, number of targets, interval.
    pub sources: Vec<ExpectedSource>,
    /// Base address of the database.
    pub tsdb: String,
}

/// A broker as clients must see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedBroker {
    /// `broker.id`.
    pub id: u32,
    /// INTERNAL listener and what it must advertise.
    pub internal: (SocketAddr, String),
    /// EXTERNAL listener and what it must advertise.
    pub external: (SocketAddr, String),
    /// Address of the agent.
    pub agent: SocketAddr,
    /// Whether it can become the controller, so that its agent tells whether it is.
    pub may_control: bool,
}

/// A Prometheus whose samples must arrive in the database.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedSource {
    /// Value of the label `source`.
    pub name: &'static str,
    /// Base address.
    pub url: String,
    /// How many targets it scrapes.
    pub targets: usize,
    /// Its scrape interval.
    pub interval: Duration,
}

/// What a plan depends on beside the specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The testbed's addresses.
    pub block: LoopbackBlock,
    /// Number of the run, from 1: the label `run` of every target.
    pub run: u32,
    /// What the write tokens are made from; known to this testbed alone.
    pub secret: String,
}

impl Placement {
    /// The first run at these addresses.
    pub fn new(block: LoopbackBlock, secret: impl Into<String>) -> Self {
        Self { block, run: 1, secret: secret.into() }
    }

    /// The token with which the Prometheus of `source` writes to the merger.
    fn write_token(&self, source: &str) -> String {
        let digest = Sha256::digest(format!("kafka-testbed/write/{source}/{}", self.secret));
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Plans `spec` where `placement` says.
///
/// The external address is the one of the specification. Where it is absent, it is where the workers are:
/// simulated workers run on this machine, so it is the first address of the block, which never leaves it.
pub fn plan(spec: &Spec, placement: &Placement) -> Plan {
    let block = placement.block;
    let addresses = Addresses { block, host: spec.host_address.unwrap_or_else(|| block.address(1)) };
    let mut project =
        Project { name: ProjectName::new(format!("testbed-{}", spec.name)).ok(), ..Project::default() };
    let ipam = Tree::from_iter([(
        "config",
        Tree::from(vec![Tree::from_iter([("subnet", Tree::from(block.subnet()))])]),
    )]);
    let mut network = Network::default();
    network.extra.insert("ipam".to_owned(), ipam);
    project.networks.insert(network_name(), network);

    let mut add = |name: &str, service: Service| {
        project.services.insert(service_name(name), service);
    };
    if spec.kafka.version.mode() == Mode::ZooKeeper {
        add("zookeeper", zookeeper(spec, addresses));
    }
    for (index, broker) in spec.kafka.brokers.iter().enumerate() {
        let mut service = kafka_broker(spec, addresses, index, broker);
        match spec.kafka.version.mode() {
            Mode::ZooKeeper => need_zookeeper(&mut service, spec, addresses, broker),
            Mode::KRaft => kraft::configure(&mut service, spec, addresses, placement.run, (index, broker)),
        }
        add(&broker_name(broker), service);
    }
    add("tsdb", tsdb(spec, addresses));
    add("merger", merger(spec, addresses));
    add("kafka-prometheus", scraping_prometheus("kafka", spec, addresses));
    add("kubernetes-prometheus", scraping_prometheus("kubernetes", spec, addresses));
    add("simulated-kubelet", kubelet(addresses));
    add("topic", topic(spec, addresses));
    add("producer", producer(spec, addresses, placement.run));
    for number in 1..=spec.workers.count {
        add(&worker_name(number), worker(spec, addresses, number));
    }

    let url = |address: Ipv4Addr, port: u16| format!("http://{address}:{port}");
    let endpoints = Endpoints {
        tsdb: url(addresses.tsdb(), spec.tsdb.port),
        merger: url(addresses.merger(), spec.merger_port),
        kafka_prometheus: url(addresses.kafka_prometheus(), spec.kafka_prometheus.port),
        kubernetes_prometheus: url(addresses.kubernetes_prometheus(), spec.kubernetes_prometheus.port),
        kafka: bootstrap(spec, addresses),
    };
    let expected = expected(spec, addresses, &endpoints);
    Plan { project, files: configs::files(spec, addresses, placement), endpoints, expected }
}

fn expected(spec: &Spec, addresses: Addresses, endpoints: &Endpoints) -> Expected {
    let brokers = spec
        .kafka
        .brokers
        .iter()
        .enumerate()
        .map(|(index, broker)| {
            let address = IpAddr::from(addresses.broker(index));
            let internal = SocketAddr::new(address, spec.kafka.internal_port);
            let external = SocketAddr::new(addresses.host.into(), broker.port);
            ExpectedBroker {
                id: broker.id,
                internal: (
                    internal,
                    broker.advertised_internal.clone().unwrap_or_else(|| internal.to_string()),
                ),
                external: (
                    external,
                    broker.advertised_external.clone().unwrap_or_else(|| external.to_string()),
                ),
                agent: SocketAddr::new(address, spec.kafka.agent_port),
                may_control: kraft::may_control(&spec.kafka, index),
            }
        })
        .collect();
    let sources = vec![
        ExpectedSource {
            name: "kafka",
            url: endpoints.kafka_prometheus.clone(),
            targets: spec.kafka.brokers.len() + 3,
            interval: spec.kafka_prometheus.scrape_interval,
        },
        ExpectedSource {
            name: "kubernetes",
            url: endpoints.kubernetes_prometheus.clone(),
            targets: spec.workers.count as usize + 3,
            interval: spec.kubernetes_prometheus.scrape_interval,
        },
    ];
    let probe_replication_factor = (spec.kafka.brokers.len() as u32).min(3);
    Expected { brokers, probe_replication_factor, sources, tsdb: endpoints.tsdb.clone() }
}

#[cfg(test)]
mod tests {
    use compose_model::{check, graph, load, render};
    use yaml_source::Source;

    use super::*;

    fn placement() -> Placement {
        Placement::new(LoopbackBlock::from_octets([127, 70, 1]), "secret")
    }

    fn default_plan() -> Plan {
        plan(&Spec::default(), &placement())
    }

    #[test]
    fn the_plan_is_sound_and_survives_its_own_yaml() {
        let plan = default_plan();
        assert_eq!(check(&plan.project), []);
        let loaded = load(&Source::new("compose.yaml", render(&plan.project))).expect("loads");
        assert_eq!(loaded.project, plan.project);
    }

    #[test]
    fn brokers_start_after_zookeeper_and_stop_before_it() {
        let levels = graph::stop_levels(&default_plan().project).expect("no cycle");
        let level = |name: &str| levels.iter().position(|level| level.iter().any(|n| n.as_str() == name));
        assert!(level("worker-1") < level("kafka-broker-1"));
        assert!(level("kafka-broker-3") < level("zookeeper"));
        assert!(level("kafka-prometheus") < level("merger") && level("merger") < level("tsdb"));
    }

    #[test]
    fn a_brokers_own_variable_wins_and_both_addresses_are_advertised() {
        let mut spec = Spec { host_address: Some(Ipv4Addr::new(192, 0, 2, 10)), ..Spec::default() };
        spec.kafka.brokers[1].environment = vec![("KAFKA_NUM_PARTITIONS".to_owned(), "4".to_owned())];
        let plan = plan(&spec, &placement());
        let value = |service: &str, name: &str| {
            plan.project.services[service].environment[name].clone().unwrap_or_default()
        };
        assert_eq!(value("kafka-broker-1", "KAFKA_NUM_PARTITIONS"), "10");
        assert_eq!(value("kafka-broker-2", "KAFKA_NUM_PARTITIONS"), "4");
        assert_eq!(
            value("kafka-broker-2", "KAFKA_ADVERTISED_LISTENERS"),
            "INTERNAL://127.70.1.12:11000,EXTERNAL://192.0.2.10:10002"
        );
        assert_eq!(plan.endpoints.kafka, "192.0.2.10:10001,192.0.2.10:10002,192.0.2.10:10003");
    }

    #[test]
    fn the_agent_is_in_no_variable_that_tools_inherit() {
        let plan = default_plan();
        for (name, service) in plan.project.services.iter() {
            for (variable, value) in service.environment.iter() {
                let has_agent = value.as_ref().is_some_and(|value| value.contains("-javaagent"));
                assert!(!has_agent || variable == "EXTRA_ARGS", "{name}: {variable}");
            }
        }
    }
}
