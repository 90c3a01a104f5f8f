//! Each service of a testbed as a Compose model.

use std::{net::Ipv4Addr, time::Duration};

use compose_model::{
    Attachment, Condition, Dependency, Healthcheck, HealthcheckTest, Mount, NetworkName, Port, RestartPolicy,
    Service, ServiceName, Ulimit,
};
use yaml_source::Tree;

use super::{AGENT, NETWORK, addresses::Addresses, configs, kraft};
use crate::spec::{Broker, Mode, Spec};

/// Metrics port of the producer and the workers.
pub(super) const LOAD_PORT: u16 = 9400;
/// Port of the simulated kubelet.
pub(super) const KUBELET_PORT: u16 = 10250;

pub(super) fn zookeeper(spec: &Spec, addresses: Addresses) -> Service {
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

pub(super) fn kafka_broker(spec: &Spec, addresses: Addresses, index: usize, broker: &Broker) -> Service {
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

pub(super) fn need_zookeeper(service: &mut Service, spec: &Spec, addresses: Addresses, broker: &Broker) {
    set(service, "KAFKA_BROKER_ID", broker.id);
    let address = format!("{}:{}", addresses.zookeeper(), spec.zookeeper.port);
    set(service, "KAFKA_ZOOKEEPER_CONNECT", address);
    service.depends_on.insert(service_name("zookeeper"), Dependency::on(Condition::Healthy));
}

pub(super) fn tsdb(spec: &Spec, addresses: Addresses) -> Service {
    let mut service =
        prometheus("tsdb", "prom/prometheus:v3.5.0", addresses.tsdb(), spec.tsdb.port, spec.tsdb.retention);
    let command = service.command.get_or_insert_default();
    command.push("--web.enable-admin-api".to_owned());
    command.push("--web.enable-remote-write-receiver".to_owned());
    service.volumes.push(Mount::bind("./data/tsdb", "/prometheus"));
    service
}

pub(super) fn scraping_prometheus(source: &str, spec: &Spec, addresses: Addresses) -> Service {
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

pub(super) fn prometheus(
    name: &str,
    image: &str,
    address: Ipv4Addr,
    port: u16,
    retention: Duration,
) -> Service {
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

pub(super) fn merger(spec: &Spec, addresses: Addresses) -> Service {
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

pub(super) fn kubelet(addresses: Addresses) -> Service {
    let mut service = base("kafka-testbed/simulated-kubelet:0.1.0", addresses.kubelet());
    let listen = format!("{}:{KUBELET_PORT}", addresses.kubelet());
    service.command = Some(words(&["--listen", &listen, "--pods", "/etc/simulated-kubelet/pods.json"]));
    expose(&mut service, &[KUBELET_PORT]);
    service.healthcheck = healthcheck(format!("wget -q -O - http://{listen}/-/healthy"));
    service.volumes =
        vec![Mount::bind("./configs/pods.json", "/etc/simulated-kubelet/pods.json").read_only()];
    service
}

pub(super) fn load_service(address: Ipv4Addr, command: &[&str]) -> Service {
    let mut service = base("kafka-testbed/kafka-load:0.1.0", address);
    service.command = Some(words(command));
    service
}

pub(super) fn topic(spec: &Spec, addresses: Addresses) -> Service {
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

pub(super) fn producer(spec: &Spec, addresses: Addresses, run: u32) -> Service {
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

pub(super) fn worker(spec: &Spec, addresses: Addresses, number: u32) -> Service {
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

pub(super) fn served_load(spec: &Spec, service: &mut Service, listen: &str) {
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
pub(super) fn pod_token(addresses: Addresses, number: u32) -> String {
    format!("{}/{}", addresses.block.address(0), worker_name(number))
}

pub(super) fn bootstrap(spec: &Spec, addresses: Addresses) -> String {
    let external = |broker: &Broker| {
        broker.advertised_external.clone().unwrap_or_else(|| format!("{}:{}", addresses.host, broker.port))
    };
    spec.kafka.brokers.iter().map(external).collect::<Vec<_>>().join(",")
}

pub(super) fn base(image: &str, address: Ipv4Addr) -> Service {
    let mut service = Service { image: Some(image.to_owned()), ..Service::default() };
    let attachment = Attachment { ipv4_address: Some(address), ..Attachment::default() };
    service.networks.insert(network_name(), attachment);
    service
}

pub(super) fn set(service: &mut Service, name: &str, value: impl ToString) {
    service.environment.insert(name.to_owned(), Some(value.to_string()));
}

pub(super) fn publish(service: &mut Service, host: Ipv4Addr, port: u16) {
    service.ports.push(Port { host_ip: Some(host.into()), ..Port::new(port, port) });
}

pub(super) fn expose(service: &mut Service, ports: &[u16]) {
    let list: Vec<Tree> = ports.iter().map(|port| Tree::from(port.to_string())).collect();
    service.extra.insert("expose".to_owned(), Tree::from(list));
}

pub(super) fn healthcheck(line: String) -> Option<Healthcheck> {
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

pub(super) fn heap_options(bytes: u64) -> String {
    let kilobytes = bytes / 1024;
    let size = if kilobytes.is_multiple_of(1024) {
        format!("{}m", kilobytes / 1024)
    } else {
        format!("{kilobytes}k")
    };
    format!("-Xms{size} -Xmx{size}")
}

pub(super) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

pub(super) fn broker_name(broker: &Broker) -> String {
    format!("kafka-broker-{}", broker.id)
}

pub(super) fn worker_name(number: u32) -> String {
    format!("worker-{number}")
}

pub(super) fn service_name(name: &str) -> ServiceName {
    ServiceName::new(name).expect("names of planned services are letters, digits and dashes")
}

pub(super) fn network_name() -> NetworkName {
    NetworkName::new(NETWORK).expect("a word")
}
