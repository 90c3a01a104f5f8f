//! The section `kafka`.

use std::collections::BTreeSet;

use yaml_source::{MappingReader, Spanned, ValueReader, value};

use super::heap;
use crate::spec::{Broker, Kafka, KafkaVersion, MAX_BROKERS, Mode};

const VERSIONS: &[(&str, KafkaVersion)] =
    &[("3.3.1", KafkaVersion::V3_3_1), ("3.9.2", KafkaVersion::V3_9_2), ("4.1.2", KafkaVersion::V4_1_2)];

/// Variables that the plan sets from other keys, and the key that sets them.
const PLANNED: &[(&str, &str)] = &[
    ("KAFKA_BROKER_ID", "brokers[n].id"),
    ("KAFKA_NODE_ID", "brokers[n].id"),
    ("KAFKA_ZOOKEEPER_CONNECT", "zookeeper.port"),
    ("KAFKA_PROCESS_ROLES", "kafka.version and the order of the brokers"),
    ("KAFKA_CONTROLLER_QUORUM_VOTERS", "kafka.controller_port and the order of the brokers"),
    ("KAFKA_CONTROLLER_QUORUM_BOOTSTRAP_SERVERS", "kafka.controller_port and the order of the brokers"),
    ("KAFKA_CONTROLLER_LISTENER_NAMES", "the listener CONTROLLER"),
    ("CLUSTER_ID", "the name of the testbed"),
    ("KAFKA_LISTENERS", "brokers[n].port and internal_port"),
    ("KAFKA_ADVERTISED_LISTENERS", "brokers[n].advertised"),
    ("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "the listeners INTERNAL and EXTERNAL"),
    ("KAFKA_INTER_BROKER_LISTENER_NAME", "the listeners INTERNAL and EXTERNAL"),
    ("KAFKA_HEAP_OPTS", "kafka.heap"),
    ("KAFKA_JVM_PERFORMANCE_OPTS", "kafka.jvm"),
    ("KAFKA_LOG_DIRS", "the data folder of the broker"),
];

impl Default for Kafka {
    fn default() -> Self {
        let variable = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            version: KafkaVersion::V3_3_1,
            heap_bytes: 256 << 20,
            jvm: "-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 \
                  -XX:+ExplicitGCInvokesConcurrent -XX:+ExitOnOutOfMemoryError -Djava.awt.headless=true"
                .to_owned(),
            internal_port: 11000,
            agent_port: 11001,
            controller_port: 11002,
            environment: [
                ("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false"),
                ("KAFKA_NUM_PARTITIONS", "10"),
                ("KAFKA_DEFAULT_REPLICATION_FACTOR", "3"),
                ("KAFKA_MIN_INSYNC_REPLICAS", "2"),
                ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "3"),
                ("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "10"),
                ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "3"),
                ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "2"),
                ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
            ]
            .into_iter()
            .map(variable)
            .collect(),
            brokers: (1..=3)
                .map(|id| Broker {
                    id,
                    port: 10_000 + id as u16,
                    environment: Vec::new(),
                    advertised_internal: None,
                    advertised_external: None,
                })
                .collect(),
        }
    }
}

pub(super) fn kafka(value: ValueReader<'_>) -> Option<Kafka> {
    let default = Kafka::default();
    let mut reader = value.mapping()?;
    let kafka = Kafka {
        version: reader.or("version", value::one_of(VERSIONS), default.version),
        heap_bytes: reader.or("heap", heap, default.heap_bytes),
        jvm: reader.or("jvm", value::text, default.jvm),
        internal_port: reader.or("internal_port", value::port, default.internal_port),
        agent_port: reader.or("agent_port", value::port, default.agent_port),
        controller_port: reader.or("controller_port", value::port, default.controller_port),
        environment: reader.or("environment", environment, default.environment),
        brokers: reader.or("brokers", brokers, default.brokers),
    };
    if kafka.internal_port == kafka.agent_port {
        reader.error_at("agent_port", "is the same as internal_port");
    }
    check_controller_port(&mut reader, &kafka);
    reader.finish();
    Some(kafka)
}

/// A key that nothing would read must not stand there as if it counted.
fn check_controller_port(reader: &mut MappingReader<'_>, kafka: &Kafka) {
    let is_given = reader.has("controller_port");
    match kafka.version.mode() {
        Mode::ZooKeeper if is_given => {
            let message = format!(
                "Kafka {} runs with ZooKeeper and has no CONTROLLER listener; leave this out",
                kafka.version.as_str()
            );
            reader.error_at("controller_port", &message);
        }
        Mode::KRaft if [kafka.internal_port, kafka.agent_port].contains(&kafka.controller_port) => {
            let key = if is_given { "controller_port" } else { "version" };
            let message = format!(
                "the port {} of the CONTROLLER listener is also internal_port or agent_port; set controller_port",
                kafka.controller_port
            );
            reader.error_at(key, &message);
        }
        Mode::ZooKeeper | Mode::KRaft => {}
    }
}

fn environment(value: ValueReader<'_>) -> Option<Vec<(String, String)>> {
    value.each_entry(|name, value| {
        if let Some((_, key)) = PLANNED.iter().find(|(planned, _)| *planned == name) {
            return value.fail(format!("the testbed sets this variable itself, from {key}"));
        }
        let known = ["KAFKA_", "CONFLUENT_SUPPORT_"].iter().any(|prefix| name.starts_with(prefix));
        if known {
            value::scalar_text(value)
        } else {
            value.fail_with_hint(
                "this is not a variable of a broker",
                format!("variables of a broker start with KAFKA_, such as `KAFKA_{name}`"),
            )
        }
    })
}

fn brokers(value: ValueReader<'_>) -> Option<Vec<Broker>> {
    let mut value = value;
    let node = value.node().clone();
    let rules = value.rules();
    let list = value::non_empty_list(value::spanned(broker));
    let brokers: Vec<Spanned<Broker>> = list(ValueReader::new(&node, rules, value.diagnostics()))?;
    if brokers.len() > MAX_BROKERS {
        return value.fail(format!("{} brokers are more than {MAX_BROKERS}", brokers.len()));
    }
    let (mut ids, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for broker in &brokers {
        let (id, port) = (broker.value.id, broker.value.port);
        let mut report = |message: String| {
            value.diagnostics().push(yaml_source::Diagnostic::error(broker.span.clone(), message));
        };
        if !ids.insert(id) {
            report(format!("kafka.brokers: two brokers have the id {id}"));
        }
        if !ports.insert(port) {
            report(format!("kafka.brokers: two brokers have the port {port}"));
        }
    }
    Some(brokers.into_iter().map(|broker| broker.value).collect())
}

fn broker(value: ValueReader<'_>) -> Option<Broker> {
    let mut reader = value.mapping()?;
    let id = reader.required("id", value::integer_in(0..=1_000_000));
    let port = reader.required("port", value::port);
    let environment = reader.or_default("environment", environment);
    let advertised = reader.or_default("advertised", advertised);
    reader.finish();
    Some(Broker {
        id: id?,
        port: port?,
        environment,
        advertised_internal: advertised.0,
        advertised_external: advertised.1,
    })
}

fn advertised(value: ValueReader<'_>) -> Option<(Option<String>, Option<String>)> {
    let mut reader = value.mapping()?;
    let internal = reader.optional("internal", host_and_port);
    let external = reader.optional("external", host_and_port);
    reader.finish();
    Some((internal, external))
}

fn host_and_port(value: ValueReader<'_>) -> Option<String> {
    let text = value.node().as_scalar().map(|scalar| scalar.text.to_string()).unwrap_or_default();
    let valid = text.rsplit_once(':').is_some_and(|(host, port)| {
        let host_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        !host.is_empty() && host.chars().all(host_allowed) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if valid { Some(text) } else { value.fail("expected host:port") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_can_be_chosen() {
        let versions: Vec<KafkaVersion> = VERSIONS.iter().map(|(_, version)| *version).collect();
        assert_eq!(versions, KafkaVersion::ALL);
        for (text, version) in VERSIONS {
            assert_eq!(*text, version.as_str());
            assert_eq!(KafkaVersion::of_confluent_tag(version.confluent_tag()), Some(*version));
        }
    }
}
