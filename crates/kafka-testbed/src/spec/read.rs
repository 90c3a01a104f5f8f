//! Reads a specification: every fault with its place, all of them at once.

mod kafka;

use std::{
    net::Ipv4Addr,
    path::{Component, PathBuf},
    time::Duration,
};

use yaml_source::{Diagnostics, Limits, MappingReader, Source, ValueReader, parse, value};

use super::{
    Kafka, Kubernetes, Load, MAX_BROKERS, MAX_WORKERS, Mode, Prometheus, Spec, Tsdb, Workers, ZooKeeper,
};

/// Reads `source`; what it leaves out is as in [`super::DEFAULT`].
///
/// # Errors
/// Every fault found, sorted by place.
pub fn read(source: &Source) -> Result<Spec, Diagnostics> {
    let parsed = parse(source, &Limits::default());
    let mut diagnostics = parsed.diagnostics;
    let mut spec = Spec::default();
    if let Some(root) = parsed.root {
        let mut reader = MappingReader::new(&root, &mut diagnostics);
        spec.name = reader.or("name", testbed_name, spec.name);
        spec.host_address = reader.optional("host", host).flatten();
        spec.kafka = reader.or("kafka", kafka::kafka, spec.kafka);
        spec.zookeeper = reader.or("zookeeper", zookeeper, spec.zookeeper);
        if spec.kafka.version.mode() == Mode::KRaft && reader.has("zookeeper") {
            let message = format!(
                "Kafka {} runs without ZooKeeper, so nothing would read this section; leave it out",
                spec.kafka.version.as_str()
            );
            reader.error_at("zookeeper", &message);
        }
        if let Some((kafka, kubernetes)) = reader.optional("prometheus", both_prometheus) {
            (spec.kafka_prometheus, spec.kubernetes_prometheus) = (kafka, kubernetes);
        }
        spec.tsdb = reader.or("tsdb", tsdb, spec.tsdb);
        spec.merger_port = reader.or("merger", merger, spec.merger_port);
        spec.kubernetes =
            reader.or("kubernetes", value::one_of(&[("simulated", Kubernetes::Simulated)]), spec.kubernetes);
        spec.workers = reader.or("workers", workers, spec.workers);
        spec.load = reader.or("load", load, spec.load);
        if spec.load.replication_factor as usize > spec.kafka.brokers.len() {
            let message = format!(
                "replication_factor is {}, but there are only {} brokers",
                spec.load.replication_factor,
                spec.kafka.brokers.len()
            );
            if reader.has("load") {
                reader.error_at("load", &message);
            } else {
                reader.error_at("kafka", &format!("load.{message}; set load.replication_factor"));
            }
        }
        reader.finish();
    }
    diagnostics.into_result(spec)
}

impl Default for Spec {
    fn default() -> Self {
        let prometheus = |port| Prometheus {
            port,
            scrape_interval: Duration::from_secs(5),
            evaluation_interval: Duration::from_secs(5),
            retention: Duration::from_secs(15 * 86_400),
            storage: None,
            admin_api: true,
            external_labels: Vec::new(),
        };
        Self {
            name: "kafka".to_owned(),
            host_address: None,
            kafka: Kafka::default(),
            zookeeper: ZooKeeper { port: 2181, heap_bytes: 128 << 20 },
            kafka_prometheus: prometheus(9091),
            kubernetes_prometheus: prometheus(9090),
            tsdb: Tsdb {
                port: 9092,
                retention: Duration::from_secs(10 * 365 * 86_400),
                out_of_order_window: Duration::from_secs(2 * 3600),
            },
            merger_port: 9099,
            kubernetes: Kubernetes::Simulated,
            workers: Workers { count: 2, group: "workers".to_owned() },
            load: Load {
                topic: "work".to_owned(),
                partitions: 12,
                replication_factor: 3,
                rate: 200.0,
                message_bytes: 512,
            },
        }
    }
}

/// Tells whether `name` may be a testbed's name: it becomes a folder and a part of Compose names.
pub fn is_testbed_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=40).contains(&name.len()) && name.chars().all(allowed) && !name.starts_with('-')
}

fn testbed_name(value: ValueReader<'_>) -> Option<String> {
    match value.node().as_scalar().map(|scalar| scalar.text.to_string()) {
        Some(text) if is_testbed_name(&text) => Some(text),
        _ => value.fail("expected a name of at most 40 lower-case letters, digits and dashes"),
    }
}

fn host(value: ValueReader<'_>) -> Option<Option<Ipv4Addr>> {
    let mut reader = value.mapping()?;
    let address = reader.optional("address", value::parsed::<Ipv4Addr>("an IPv4 address"));
    reader.finish();
    Some(address)
}

/// At least what a broker needs to start.
fn heap(mut value: ValueReader<'_>) -> Option<u64> {
    const LEAST: u64 = 64 << 20;
    let node = value.node().clone();
    let bytes = value::byte_size(ValueReader::new(&node, value.rules(), value.diagnostics()))?;
    if bytes < LEAST { value.fail("expected a heap of at least 64m") } else { Some(bytes) }
}

fn zookeeper(value: ValueReader<'_>) -> Option<ZooKeeper> {
    let default = Spec::default().zookeeper;
    let mut reader = value.mapping()?;
    let zookeeper = ZooKeeper {
        port: reader.or("port", value::port, default.port),
        heap_bytes: reader.or("heap", heap, default.heap_bytes),
    };
    reader.finish();
    Some(zookeeper)
}

fn both_prometheus(value: ValueReader<'_>) -> Option<(Prometheus, Prometheus)> {
    let Spec { kafka_prometheus, kubernetes_prometheus, .. } = Spec::default();
    let mut reader = value.mapping()?;
    let kafka = reader.optional("kafka", |value| prometheus(value, &kafka_prometheus));
    let kubernetes = reader.optional("kubernetes", |value| prometheus(value, &kubernetes_prometheus));
    reader.finish();
    Some((kafka.unwrap_or(kafka_prometheus), kubernetes.unwrap_or(kubernetes_prometheus)))
}

fn prometheus(value: ValueReader<'_>, default: &Prometheus) -> Option<Prometheus> {
    let mut reader = value.mapping()?;
    let prometheus = Prometheus {
        port: reader.or("port", value::port, default.port),
        scrape_interval: reader.or("scrape_interval", value::positive_duration, default.scrape_interval),
        evaluation_interval: reader.or(
            "evaluation_interval",
            value::positive_duration,
            default.evaluation_interval,
        ),
        retention: reader.or("retention", value::positive_duration, default.retention),
        storage: reader.optional("storage", absolute_path),
        admin_api: reader.or("admin_api", value::boolean, default.admin_api),
        external_labels: reader.or_default("external_labels", external_labels),
    };
    reader.finish();
    Some(prometheus)
}

fn absolute_path(value: ValueReader<'_>) -> Option<PathBuf> {
    let text = value.node().as_scalar().map(|scalar| scalar.text.to_string()).unwrap_or_default();
    let path = PathBuf::from(text);
    let is_plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && is_plain {
        Some(path)
    } else {
        value.fail("expected an absolute path without `..`")
    }
}

/// Labels that would be taken for those of the testbed are refused.
fn external_labels(value: ValueReader<'_>) -> Option<Vec<(String, String)>> {
    value.each_entry(|name, value| {
        let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        match name {
            "source" => value.fail("the merger sets this label: it tells the sources apart"),
            "run" => value.fail("the testbed sets this label: it tells the runs apart"),
            _ if first && rest && !name.starts_with("__") => value::scalar_text(value),
            _ => value.fail("this is no label name: letters, digits and underscores"),
        }
    })
}

fn tsdb(value: ValueReader<'_>) -> Option<Tsdb> {
    let default = Spec::default().tsdb;
    let mut reader = value.mapping()?;
    let tsdb = Tsdb {
        port: reader.or("port", value::port, default.port),
        retention: reader.or("retention", value::positive_duration, default.retention),
        out_of_order_window: reader.or("out_of_order_window", value::duration, default.out_of_order_window),
    };
    reader.finish();
    Some(tsdb)
}

fn merger(value: ValueReader<'_>) -> Option<u16> {
    let mut reader = value.mapping()?;
    let port = reader.or("port", value::port, Spec::default().merger_port);
    reader.finish();
    Some(port)
}

fn workers(value: ValueReader<'_>) -> Option<Workers> {
    let default = Spec::default().workers;
    let mut reader = value.mapping()?;
    let workers = Workers {
        count: reader.or("count", value::integer_in(0..=MAX_WORKERS), default.count),
        group: reader.or("group", topic_like, default.group),
    };
    reader.finish();
    Some(workers)
}

fn load(value: ValueReader<'_>) -> Option<Load> {
    let default = Spec::default().load;
    let mut reader = value.mapping()?;
    let load = Load {
        topic: reader.or("topic", topic_like, default.topic),
        partitions: reader.or("partitions", value::integer_in(1..=10_000), default.partitions),
        replication_factor: reader.or(
            "replication_factor",
            value::integer_in(1..=MAX_BROKERS as u32),
            default.replication_factor,
        ),
        rate: reader.or("rate", value::float_in(0.001..=10_000_000.0), default.rate),
        message_bytes: reader.or("message_bytes", value::integer_in(64..=1_000_000), default.message_bytes),
    };
    reader.finish();
    Some(load)
}

/// Kafka's rule for topic names, which is good for groups too.
fn topic_like(value: ValueReader<'_>) -> Option<String> {
    let text = value.node().as_scalar().map(|scalar| scalar.text.to_string()).unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let valid = (1..=249).contains(&text.len()) && text.chars().all(allowed) && text != "." && text != "..";
    if valid { Some(text) } else { value.fail("expected letters, digits, dots, dashes and underscores") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Spec, String> {
        read(&Source::new("testbed.yaml", text)).map_err(|faults| faults.to_string())
    }

    #[track_caller]
    fn check_fault(text: &str, expected: &[&str]) {
        let faults = read_text(text).expect_err("has a fault");
        for part in expected {
            assert!(faults.contains(part), "{part} is not in:\n{faults}");
        }
    }

    #[test]
    fn the_file_in_the_repository_says_the_defaults() {
        assert_eq!(read_text(super::super::DEFAULT), Ok(Spec::default()));
        assert_eq!(read_text(""), Ok(Spec::default()));
        assert_eq!(read_text("kafka:\nload:\n"), Ok(Spec::default()));
    }

    #[test]
    fn a_broker_has_variables_of_its_own() {
        let spec = read_text(
            "kafka:\n  environment: {KAFKA_NUM_IO_THREADS: 4}\n  brokers:\n  - id: 7\n    port: 20001\n    \
             environment: {KAFKA_BROKER_RACK: a}\n    advertised: {external: broker.example:9}\nload: {replication_factor: 1}\n",
        )
        .expect("good");
        let broker = &spec.kafka.brokers[0];
        assert_eq!((broker.id, broker.port, broker.environment[0].1.as_str()), (7, 20001, "a"));
        assert_eq!(broker.advertised_external.as_deref(), Some("broker.example:9"));
        assert_eq!(spec.kafka.environment, [("KAFKA_NUM_IO_THREADS".to_owned(), "4".to_owned())]);
    }

    #[test]
    fn faults_name_place_key_and_remedy() {
        check_fault("kafka:\n  heep: 1g\n", &["testbed.yaml:2:3: error", "heep", "did you mean `heap`"]);
        check_fault("kafka: {heap: 3}\n", &["testbed.yaml:1:15", "kafka.heap", "64m"]);
        check_fault("kafka:\n  version: 3.3.2\n", &["testbed.yaml:2:12", "3.3.1", "3.9.2", "4.1.2"]);
        check_fault("kafka:\n  brokers: []\n", &["testbed.yaml:2:12", "must not be empty"]);
        check_fault(
            "kafka: {brokers: [{id: 1, port: 1}, {id: 1, port: 2}]}\n",
            &["two brokers have the id 1"],
        );
        check_fault(
            "kafka: {brokers: [{id: 1, port: 1}, {id: 2, port: 1}]}\n",
            &["two brokers have the port 1"],
        );
        check_fault(
            "kafka:\n  environment:\n    KAFKA_BROKER_ID: 1\n",
            &["testbed.yaml:3:", "brokers[n].id"],
        );
        check_fault("kafka:\n  environment:\n    NUM_PARTITIONS: 1\n", &["KAFKA_NUM_PARTITIONS"]);
        check_fault("prometheus: {kafka: {port: 90910}}\n", &["prometheus.kafka.port", "65535"]);
        check_fault("prometheus: {kafka: {scrape_interval: 5}}\n", &["scrape_interval", "unit"]);
        check_fault("prometheus: {kafka: {storage: data}}\n", &["prometheus.kafka.storage", "absolute path"]);
        check_fault("prometheus: {kafka: {external_labels: {run: a}}}\n", &["run", "tells the runs apart"]);
        check_fault("prometheus: {kafka: {external_labels: {source: a}}}\n", &["source", "merger"]);
        check_fault("prometheus: {kafka: {external_labels: {a-b: a}}}\n", &["a-b", "no label name"]);
        check_fault("kubernetes: attach\n", &["kubernetes", "simulated"]);
        check_fault("host: {address: kafka.example}\n", &["host.address", "IPv4"]);
        check_fault("name: Kafka!\n", &["testbed.yaml:1:7", "lower-case"]);
        check_fault("load: {replication_factor: 4}\n", &["only 3 brokers"]);
        check_fault("workers: {count: -1}\n", &["workers.count"]);
    }

    #[test]
    fn what_a_version_does_not_read_is_a_fault() {
        check_fault(
            "kafka: {version: 4.1.2}\nzookeeper:\n  port: 2181\n",
            &["testbed.yaml:2:1: error", "zookeeper: Kafka 4.1.2 runs without ZooKeeper"],
        );
        check_fault(
            "kafka:\n  version: 3.9.2\n  controller_port: 11002\n",
            &["testbed.yaml:3:3: error", "kafka: controller_port: Kafka 3.9.2 runs with ZooKeeper"],
        );
        check_fault(
            "kafka: {version: 4.1.2, internal_port: 11002}\n",
            &["testbed.yaml:1:9: error", "11002", "set controller_port"],
        );
        check_fault(
            "kafka: {version: 4.1.2, controller_port: 11001}\n",
            &["kafka: controller_port", "agent_port"],
        );
        check_fault(
            "kafka: {environment: {KAFKA_PROCESS_ROLES: broker}}\n",
            &["KAFKA_PROCESS_ROLES", "kafka.version"],
        );
        check_fault("kafka: {environment: {CLUSTER_ID: a}}\n", &["CLUSTER_ID", "name of the testbed"]);
        let spec = read_text("kafka: {version: 4.1.2}\nzookeeper:\n").expect("an empty section says nothing");
        assert_eq!(spec.kafka.version.mode(), Mode::KRaft);
    }

    #[test]
    fn all_faults_of_a_file_are_told_at_once() {
        let faults = read_text("nane: a\nkafka: {heap: x}\nload: {rate: fast}\n").expect_err("faults");
        assert!(faults.ends_with("3 errors, 0 warnings"), "{faults}");
    }
}
