//! Specification → plan: a Compose model of every service, and the configuration files they mount.
//!
//! The plan decides everything; a backend only runs it. Each service has a fixed address in the testbed's network,
//! and listens on the ports of the specification.

mod configs;
mod kraft;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use compose_model::{
    Attachment, Condition, Dependency, Healthcheck, HealthcheckTest, Mount, Network, NetworkName, Port,
    Project, ProjectName, RestartPolicy, Service, ServiceName, Ulimit,
};
use sha2::{Digest as _, Sha256};
use yaml_source::Tree;

use crate::{
    address::LoopbackBlock,
    spec::{Broker, Mode, Spec},
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

/// Metrics port of the producer and the workers.
const LOAD_PORT: u16 = 9400;
/// Port of the simulated kubelet.
const KUBELET_PORT: u16 = 10250;

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

/// The addresses of a testbed: which service has which.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    block: LoopbackBlock,
    /// Where the EXTERNAL listeners are.
    host: Ipv4Addr,
}

impl Addresses {
    fn zookeeper(self) -> Ipv4Addr {
        self.block.address(2)
    }
    fn kafka_prometheus(self) -> Ipv4Addr {
        self.block.address(3)
    }
    fn kubernetes_prometheus(self) -> Ipv4Addr {
        self.block.address(4)
    }
    fn tsdb(self) -> Ipv4Addr {
        self.block.address(5)
    }
    fn merger(self) -> Ipv4Addr {
        self.block.address(6)
    }
    fn producer(self) -> Ipv4Addr {
        self.block.address(7)
    }
    fn kubelet(self) -> Ipv4Addr {
        self.block.address(8)
    }
    fn topic(self) -> Ipv4Addr {
        self.block.address(9)
    }
    /// `index` is below [`crate::spec::MAX_BROKERS`].
    fn broker(self, index: usize) -> Ipv4Addr {
        self.block.address(11 + index as u8)
    }
    /// `number` is 1 to [`crate::spec::MAX_WORKERS`].
    fn worker(self, number: u32) -> Ipv4Addr {
        self.block.address(110 + number as u8)
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

fn zookeeper(spec: &Spec, addresses: Addresses) -> Service {
    let port = spec.zookeeper.port;
    let mut service = base(
        &format!("confluentinc/cp-zookeeper:{}", spec.kafka.version.confluent_tag()),
        addresses.zookeeper(),
    );
    set(&mut service, "ZOOKEEPER_CLIENT_PORT", port);
    set(&mut service, "ZOOKEEPER_TICK_TIME", 2000);
    set(&mut service, "ZOOKEEPER_ADMIN_ENABLE_SERVER", false);
    set(&mut service, "KAFKA_HEAP_OPTS", heap_options(spec.zookeeper.heap_bytes));
    set(&mut service, "KAFKA_JVM_PERFORMANCE_OPTS", "-server -XX:+UseSerialGC -Djava.awt.headless=true");
    expose(&mut service, &[port]);
    service.healthcheck = healthcheck(format!("echo srvr | nc localhost {port} | grep -q Mode"));
    service.volumes = vec![
        Mount::bind("./data/zookeeper/data", "/var/lib/zookeeper/data"),
        Mount::bind("./data/zookeeper/log", "/var/lib/zookeeper/log"),
    ];
    service.stop_grace_period = Some(Duration::from_secs(30));
    service
}

fn kafka_broker(spec: &Spec, addresses: Addresses, index: usize, broker: &Broker) -> Service {
    let kafka = &spec.kafka;
    let own = addresses.broker(index);
    let mut service = base(&format!("confluentinc/cp-kafka:{}", kafka.version.confluent_tag()), own);
    let internal = format!("{own}:{}", kafka.internal_port);
    let external = format!("{}:{}", addresses.host, broker.port);
    for (name, value) in &kafka.environment {
        set(&mut service, name, value);
    }
    let controller = kraft::listener(kafka, addresses, index);
    let listeners =
        [Some(format!("INTERNAL://{internal}")), Some(format!("EXTERNAL://{external}")), controller];
    let listeners: Vec<String> = listeners.into_iter().flatten().collect();
    set(&mut service, "KAFKA_LISTENERS", listeners.join(","));
    set(
        &mut service,
        "KAFKA_ADVERTISED_LISTENERS",
        format!(
            "INTERNAL://{},EXTERNAL://{}",
            broker.advertised_internal.as_ref().unwrap_or(&internal),
            broker.advertised_external.as_ref().unwrap_or(&external)
        ),
    );
    let protocols = match kafka.version.mode() {
        Mode::ZooKeeper => "INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT",
        Mode::KRaft => "INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
    };
    set(&mut service, "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", protocols);
    set(&mut service, "KAFKA_INTER_BROKER_LISTENER_NAME", "INTERNAL");
    set(&mut service, "KAFKA_HEAP_OPTS", heap_options(kafka.heap_bytes));
    set(&mut service, "KAFKA_JVM_PERFORMANCE_OPTS", &kafka.jvm);
    set(&mut service, "KAFKA_LOG4J_LOGGERS", "kafka.controller=INFO,state.change.logger=INFO");
    // Only the start script of the server reads EXTRA_ARGS, so the command-line tools never load the agent. The
    // first two words are the script's default, which setting the variable replaces.
    set(
        &mut service,
        "EXTRA_ARGS",
        format!(
            "-name kafkaServer -loggc -javaagent:/usr/app/jmx_prometheus_javaagent.jar={own}:{}:/usr/app/kafka_scraper.yml",
            kafka.agent_port
        ),
    );
    for (name, value) in &broker.environment {
        set(&mut service, name, value);
    }
    publish(&mut service, addresses.host, broker.port);
    let mut exposed = vec![kafka.internal_port, kafka.agent_port];
    if listeners.len() == 3 {
        exposed.push(kafka.controller_port);
    }
    expose(&mut service, &exposed);
    service.healthcheck =
        healthcheck(format!("nc -z {own} {} && nc -z {own} {}", kafka.internal_port, kafka.agent_port));
    let name = broker_name(broker);
    service.volumes = vec![
        Mount::bind(format!("./{AGENT}"), "/usr/app/jmx_prometheus_javaagent.jar").read_only(),
        Mount::bind("./configs/kafka_scraper.yml", "/usr/app/kafka_scraper.yml").read_only(),
        Mount::bind(format!("./data/{name}"), "/var/lib/kafka/data"),
    ];
    service.stop_grace_period = Some(Duration::from_secs(60));
    service.ulimits.insert("nofile".to_owned(), Ulimit { soft: 100_000, hard: 100_000 });
    service
}

fn need_zookeeper(service: &mut Service, spec: &Spec, addresses: Addresses, broker: &Broker) {
    set(service, "KAFKA_BROKER_ID", broker.id);
    let address = format!("{}:{}", addresses.zookeeper(), spec.zookeeper.port);
    set(service, "KAFKA_ZOOKEEPER_CONNECT", address);
    service.depends_on.insert(service_name("zookeeper"), Dependency::on(Condition::Healthy));
}

fn tsdb(spec: &Spec, addresses: Addresses) -> Service {
    let mut service =
        prometheus("tsdb", "prom/prometheus:v3.5.0", addresses.tsdb(), spec.tsdb.port, spec.tsdb.retention);
    let command = service.command.get_or_insert_default();
    command.push("--web.enable-admin-api".to_owned());
    command.push("--web.enable-remote-write-receiver".to_owned());
    service.volumes.push(Mount::bind("./data/tsdb", "/prometheus"));
    service
}

fn scraping_prometheus(source: &str, spec: &Spec, addresses: Addresses) -> Service {
    let (address, own) = match source {
        "kafka" => (addresses.kafka_prometheus(), &spec.kafka_prometheus),
        _ => (addresses.kubernetes_prometheus(), &spec.kubernetes_prometheus),
    };
    let name = format!("{source}-prometheus");
    let mut service = prometheus(&name, "prom/prometheus:v2.43.0", address, own.port, own.retention);
    if own.admin_api {
        service.command.get_or_insert_default().push("--web.enable-admin-api".to_owned());
    }
    let data = match &own.storage {
        Some(folder) => format!("{}/{}/{name}", folder.display(), storage_folder(spec)),
        None => format!("./data/{name}"),
    };
    let token = Mount::bind(format!("./configs/{source}.token"), configs::TOKEN_TARGET).read_only();
    let rules = configs::RULES.iter().filter(|_| source == "kafka").map(|(file, _)| {
        Mount::bind(format!("./configs/rules/{file}"), format!("/etc/prometheus/rules/{file}")).read_only()
    });
    // The configuration names the others, so it comes last.
    let configuration = service.volumes.pop();
    service.volumes.push(Mount::bind(data, "/prometheus"));
    service.volumes.push(token);
    service.volumes.extend(rules);
    service.volumes.extend(configuration);
    service.depends_on.insert(service_name("merger"), Dependency::on(Condition::Healthy));
    service
}

fn prometheus(name: &str, image: &str, address: Ipv4Addr, port: u16, retention: Duration) -> Service {
    let mut service = base(image, address);
    service.command = Some(vec![
        "--config.file=/etc/prometheus/prometheus.yml".to_owned(),
        "--storage.tsdb.path=/prometheus".to_owned(),
        format!("--storage.tsdb.retention.time={}", configs::prometheus_duration(retention)),
        format!("--web.listen-address={address}:{port}"),
        "--web.enable-lifecycle".to_owned(),
    ]);
    publish(&mut service, address, port);
    service.healthcheck = healthcheck(format!("wget -q -O - http://{address}:{port}/-/ready"));
    service.volumes =
        vec![Mount::bind(format!("./configs/{name}.yml"), "/etc/prometheus/prometheus.yml").read_only()];
    service.stop_grace_period = Some(Duration::from_secs(60));
    service
}

fn merger(spec: &Spec, addresses: Addresses) -> Service {
    let mut service = base("kafka-testbed/prom-merger:0.1.0", addresses.merger());
    service.command = Some(vec!["--config".to_owned(), "/etc/prom-merger/merger.yaml".to_owned()]);
    publish(&mut service, addresses.merger(), spec.merger_port);
    service.healthcheck =
        healthcheck(format!("wget -q -O - http://{}:{}/-/ready", addresses.merger(), spec.merger_port));
    service.volumes = vec![
        Mount::bind("./configs/kafka.token", "/etc/prom-merger/kafka.token").read_only(),
        Mount::bind("./configs/kubernetes.token", "/etc/prom-merger/kubernetes.token").read_only(),
        Mount::bind("./data/merger", "/var/lib/prom-merger"),
        Mount::bind("./configs/merger.yaml", "/etc/prom-merger/merger.yaml").read_only(),
    ];
    service.depends_on.insert(service_name("tsdb"), Dependency::on(Condition::Started));
    service.stop_grace_period = Some(Duration::from_secs(30));
    service
}

fn kubelet(addresses: Addresses) -> Service {
    let mut service = base("kafka-testbed/simulated-kubelet:0.1.0", addresses.kubelet());
    let listen = format!("{}:{KUBELET_PORT}", addresses.kubelet());
    service.command = Some(words(&["--listen", &listen, "--pods", "/etc/simulated-kubelet/pods.json"]));
    expose(&mut service, &[KUBELET_PORT]);
    service.healthcheck = healthcheck(format!("wget -q -O - http://{listen}/-/healthy"));
    service.volumes =
        vec![Mount::bind("./configs/pods.json", "/etc/simulated-kubelet/pods.json").read_only()];
    service
}

fn load_service(address: Ipv4Addr, command: &[&str]) -> Service {
    let mut service = base("kafka-testbed/kafka-load:0.1.0", address);
    service.command = Some(words(command));
    service
}

fn topic(spec: &Spec, addresses: Addresses) -> Service {
    let mut service = load_service(
        addresses.topic(),
        &[
            "topic",
            "--bootstrap",
            &bootstrap(spec, addresses),
            "--topic",
            &spec.load.topic,
            "--partitions",
            &spec.load.partitions.to_string(),
            "--replication-factor",
            &spec.load.replication_factor.to_string(),
            "--timeout",
            "60s",
        ],
    );
    for broker in &spec.kafka.brokers {
        service.depends_on.insert(service_name(&broker_name(broker)), Dependency::on(Condition::Healthy));
    }
    service.restart = Some(RestartPolicy::No);
    service
}

fn producer(spec: &Spec, addresses: Addresses, run: u32) -> Service {
    let listen = format!("{}:{LOAD_PORT}", addresses.producer());
    let mut service = load_service(
        addresses.producer(),
        &[
            "produce",
            "--bootstrap",
            &bootstrap(spec, addresses),
            "--topic",
            &spec.load.topic,
            "--rate",
            &spec.load.rate.to_string(),
            "--message-bytes",
            &spec.load.message_bytes.to_string(),
            "--producer-id",
            "producer",
            "--run-id",
            &format!("run-{run}"),
            "--metrics-listen",
            &listen,
        ],
    );
    served_load(spec, &mut service, &listen);
    service
}

fn worker(spec: &Spec, addresses: Addresses, number: u32) -> Service {
    let name = worker_name(number);
    let listen = format!("{}:{LOAD_PORT}", addresses.worker(number));
    let mut service = load_service(
        addresses.worker(number),
        &[
            "work",
            "--bootstrap",
            &bootstrap(spec, addresses),
            "--topic",
            &spec.load.topic,
            "--group",
            &spec.workers.group,
            "--worker-id",
            &name,
            "--metrics-listen",
            &listen,
        ],
    );
    set(&mut service, "TESTBED_POD", pod_token(addresses, number));
    served_load(spec, &mut service, &listen);
    service
}

fn served_load(spec: &Spec, service: &mut Service, listen: &str) {
    expose(service, &[LOAD_PORT]);
    service.healthcheck = healthcheck(format!("wget -q -O - http://{listen}/-/ready"));
    service.depends_on.insert(service_name("topic"), Dependency::on(Condition::Completed));
    // Clients end before the brokers do.
    for broker in &spec.kafka.brokers {
        service.depends_on.insert(service_name(&broker_name(broker)), Dependency::on(Condition::Healthy));
    }
    service.stop_grace_period = Some(Duration::from_secs(15));
}

/// What tells a worker's process from any other on this machine.
fn pod_token(addresses: Addresses, number: u32) -> String {
    format!("{}/{}", addresses.block.address(0), worker_name(number))
}

fn bootstrap(spec: &Spec, addresses: Addresses) -> String {
    let external = |broker: &Broker| {
        broker.advertised_external.clone().unwrap_or_else(|| format!("{}:{}", addresses.host, broker.port))
    };
    spec.kafka.brokers.iter().map(external).collect::<Vec<_>>().join(",")
}

fn base(image: &str, address: Ipv4Addr) -> Service {
    let mut service = Service { image: Some(image.to_owned()), ..Service::default() };
    let attachment = Attachment { ipv4_address: Some(address), ..Attachment::default() };
    service.networks.insert(network_name(), attachment);
    service
}

fn set(service: &mut Service, name: &str, value: impl ToString) {
    service.environment.insert(name.to_owned(), Some(value.to_string()));
}

fn publish(service: &mut Service, host: Ipv4Addr, port: u16) {
    service.ports.push(Port { host_ip: Some(host.into()), ..Port::new(port, port) });
}

fn expose(service: &mut Service, ports: &[u16]) {
    let list: Vec<Tree> = ports.iter().map(|port| Tree::from(port.to_string())).collect();
    service.extra.insert("expose".to_owned(), Tree::from(list));
}

fn healthcheck(line: String) -> Option<Healthcheck> {
    Some(Healthcheck {
        test: Some(HealthcheckTest::Shell(line)),
        interval: Some(Duration::from_secs(2)),
        timeout: Some(Duration::from_secs(2)),
        retries: Some(90),
        ..Healthcheck::default()
    })
}

/// The folder that a testbed makes in a storage folder of the user's.
pub fn storage_folder(spec: &Spec) -> String {
    format!("kafka-testbed-{}", spec.name)
}

fn heap_options(bytes: u64) -> String {
    let kilobytes = bytes / 1024;
    let size = if kilobytes.is_multiple_of(1024) {
        format!("{}m", kilobytes / 1024)
    } else {
        format!("{kilobytes}k")
    };
    format!("-Xms{size} -Xmx{size}")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn broker_name(broker: &Broker) -> String {
    format!("kafka-broker-{}", broker.id)
}

fn worker_name(number: u32) -> String {
    format!("worker-{number}")
}

fn service_name(name: &str) -> ServiceName {
    ServiceName::new(name).expect("names of planned services are letters, digits and dashes")
}

fn network_name() -> NetworkName {
    NetworkName::new(NETWORK).expect("a word")
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
