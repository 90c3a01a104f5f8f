//! The keys of `testbed.yaml` as users are told of them; tests hold them against the reader.

/// A key of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its path: `kafka.brokers[].port`.
    pub path: &'static str,
    /// What it takes.
    pub kind: &'static str,
    /// What it is when it is left out.
    pub default: Default,
    /// What it means (Markdown).
    pub meaning: &'static str,
}

/// What a key is when it is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// This, as it would be written.
    Text(&'static str),
    /// Something that is not one word of the file.
    Words(&'static str),
}

const fn key(path: &'static str, kind: &'static str, default: Default, meaning: &'static str) -> Key {
    Key { path, kind, default, meaning }
}

/// All keys, in the order of the file.
pub const KEYS: &[Key] = &[
    key(
        "name",
        "1 to 40 of `a-z 0-9 -`, not beginning with `-`",
        Default::Text("kafka"),
        "Name of the testbed and of its folder. `--name` wins over it.",
    ),
    key(
        "host.address",
        "IPv4 address",
        Default::Words("the testbed's own loopback address"),
        "Address of the EXTERNAL listeners; see [Addresses](testbed.md#addresses).",
    ),
    key(
        "kafka.version",
        "`3.3.1`, `3.9.2` or `4.1.2`",
        Default::Text("3.3.1"),
        "Version of Apache Kafka; see [Versions of Kafka](testbed.md#versions-of-kafka).",
    ),
    key(
        "kafka.heap",
        "size, at least `64m`",
        Default::Text("256m"),
        "Heap of each broker (`-Xms` and `-Xmx`).",
    ),
    key(
        "kafka.jvm",
        "text",
        Default::Words("G1, see the file"),
        "Further JVM options, in place of the start script's own.",
    ),
    key(
        "kafka.internal_port",
        "port",
        Default::Text("11000"),
        "Port of the INTERNAL listeners: brokers among themselves.",
    ),
    key(
        "kafka.agent_port",
        "port, not `internal_port`",
        Default::Text("11001"),
        "Port of the JMX exporter agent.",
    ),
    key(
        "kafka.controller_port",
        "port, none of the two",
        Default::Text("11002"),
        "Port of the CONTROLLER listeners. A fault with a version that runs with ZooKeeper.",
    ),
    key(
        "kafka.environment",
        "mapping of `KAFKA_*` or `CONFLUENT_SUPPORT_*`",
        Default::Words("see the file"),
        "Variables of every broker, mapped to `server.properties` as the image does. A given mapping replaces the default one as a whole.",
    ),
    key(
        "kafka.brokers",
        "list, 1 to 50",
        Default::Words("three brokers"),
        "The brokers; ids and ports differ.",
    ),
    key("kafka.brokers[].id", "0 to 1,000,000", Default::Words("required"), "`broker.id`."),
    key("kafka.brokers[].port", "port", Default::Words("required"), "Port of its EXTERNAL listener."),
    key(
        "kafka.brokers[].environment",
        "mapping",
        Default::Words("empty"),
        "Its own variables; they win over the shared ones.",
    ),
    key(
        "kafka.brokers[].advertised.internal",
        "`host:port`",
        Default::Words("the listener's own address"),
        "What its INTERNAL listener advertises.",
    ),
    key(
        "kafka.brokers[].advertised.external",
        "`host:port`",
        Default::Words("the listener's own address"),
        "What its EXTERNAL listener advertises, and what clients are given as bootstrap address.",
    ),
    key(
        "zookeeper",
        "mapping",
        Default::Words(""),
        "A fault with a version that runs without ZooKeeper: nothing would read it.",
    ),
    key("zookeeper.port", "port", Default::Text("2181"), "Client port."),
    key("zookeeper.heap", "size, at least `64m`", Default::Text("128m"), "Its heap."),
    key("prometheus.kafka.port", "port", Default::Text("9091"), "Port of the Prometheus beside Kafka."),
    key(
        "prometheus.kafka.scrape_interval",
        "duration",
        Default::Text("5s"),
        "Interval of all its scrapes. The timeout is the same, at most 10 s.",
    ),
    key(
        "prometheus.kafka.evaluation_interval",
        "duration",
        Default::Text("5s"),
        "Interval at which rules are evaluated.",
    ),
    key("prometheus.kafka.retention", "duration", Default::Text("15d"), "How long it keeps samples itself."),
    key(
        "prometheus.kafka.storage",
        "absolute path of an existing folder",
        Default::Words("the testbed's own folder"),
        "Folder in which a folder `kafka-testbed-NAME` is made for its data; `purge` removes that one.",
    ),
    key(
        "prometheus.kafka.admin_api",
        "`true` or `false`",
        Default::Text("true"),
        "Whether its API may delete series and take snapshots.",
    ),
    key(
        "prometheus.kafka.external_labels",
        "mapping of label names",
        Default::Words("empty"),
        "Labels of everything that it sends on. `source` and `run` are set by merger and testbed.",
    ),
    key(
        "prometheus.kubernetes.port",
        "port",
        Default::Text("9090"),
        "Port of the Prometheus inside (simulated) Kubernetes. Its other keys are as those above.",
    ),
    key(
        "prometheus.kubernetes.scrape_interval",
        "duration",
        Default::Text("5s"),
        "Interval of all its scrapes.",
    ),
    key(
        "prometheus.kubernetes.evaluation_interval",
        "duration",
        Default::Text("5s"),
        "Interval at which rules are evaluated.",
    ),
    key(
        "prometheus.kubernetes.retention",
        "duration",
        Default::Text("15d"),
        "How long it keeps samples itself.",
    ),
    key(
        "prometheus.kubernetes.storage",
        "absolute path of an existing folder",
        Default::Words("the testbed's own folder"),
        "Folder in which a folder `kafka-testbed-NAME` is made for its data; `purge` removes that one.",
    ),
    key(
        "prometheus.kubernetes.admin_api",
        "`true` or `false`",
        Default::Text("true"),
        "Whether its API may delete series and take snapshots.",
    ),
    key(
        "prometheus.kubernetes.external_labels",
        "mapping of label names",
        Default::Words("empty"),
        "Labels of everything that it sends on. `source` and `run` are set by merger and testbed.",
    ),
    key("tsdb.port", "port", Default::Text("9092"), "Port of the database."),
    key("tsdb.retention", "duration", Default::Text("10y"), "How long it keeps samples."),
    key(
        "tsdb.out_of_order_window",
        "duration, `0` allowed",
        Default::Text("2h"),
        "How far behind the newest sample a sample may arrive.",
    ),
    key("merger.port", "port", Default::Text("9099"), "Port of the merger."),
    key(
        "kubernetes",
        "`simulated`",
        Default::Text("simulated"),
        "Where the workers run; see [Simulated](testbed.md#what-simulated-means).",
    ),
    key("workers.count", "0 to 100", Default::Text("2"), "How many workers."),
    key(
        "workers.group",
        "1 to 249 of letters, digits, `. _ -`",
        Default::Text("workers"),
        "Their consumer group.",
    ),
    key("load.topic", "as `workers.group`", Default::Text("work"), "The topic."),
    key("load.partitions", "1 to 10,000", Default::Text("12"), "Its partitions."),
    key(
        "load.replication_factor",
        "1 to 50, at most the number of brokers",
        Default::Text("3"),
        "Its replication factor.",
    ),
    key("load.rate", "0.001 to 10,000,000", Default::Text("200"), "Messages a second, at fixed times."),
    key("load.message_bytes", "64 to 1,000,000", Default::Text("512"), "Bytes of a message's value."),
];

/// The table of all keys, in Markdown.
pub fn markdown() -> String {
    let mut text = "| key | type | default | meaning |\n|---|---|---|---|\n".to_owned();
    for key in KEYS {
        let default = match key.default {
            Default::Text(text) => format!("`{text}`"),
            Default::Words(words) => words.to_owned(),
        };
        text.push_str(&format!("| `{}` | {} | {default} | {} |\n", key.path, key.kind, key.meaning));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use yaml_source::Source;

    use super::*;
    use crate::spec::{DEFAULT, Spec, read};

    /// `a.b.c` and `1` → `a: {b: {c: 1}}`.
    fn document(path: &str, value: &str) -> String {
        let parts: Vec<&str> = path.split('.').collect();
        format!("{}: {value}{}\n", parts.join(": {"), "}".repeat(parts.len() - 1))
    }

    #[test]
    fn every_default_that_is_told_is_the_default() {
        let mut checked = 0;
        for key in KEYS {
            let Default::Text(value) = key.default else { continue };
            let is_of_another_version = key.path == "kafka.controller_port";
            let text = match is_of_another_version {
                true => format!("kafka: {{version: 4.1.2, controller_port: {value}}}\n"),
                false => document(key.path, value),
            };
            let spec = read(&Source::new("testbed.yaml", text.as_str()))
                .unwrap_or_else(|faults| panic!("{text}{faults}"));
            if is_of_another_version {
                let expected = read(&Source::new("testbed.yaml", "kafka: {version: 4.1.2}\n")).expect("good");
                assert_eq!(spec, expected, "{text}");
            } else {
                assert_eq!(spec, Spec::default(), "{text}");
            }
            checked += 1;
        }
        assert!(checked > 25, "{checked} keys have a literal default");
    }

    #[test]
    fn every_key_that_the_reader_asks_for_is_told() {
        let told: BTreeSet<&str> =
            KEYS.iter().flat_map(|key| key.path.split('.')).map(|part| part.trim_end_matches("[]")).collect();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/spec");
        let mut files = vec![folder.join("read.rs")];
        files.extend(
            fs::read_dir(folder.join("read")).into_iter().flatten().flatten().map(|entry| entry.path()),
        );
        let mut asked = BTreeSet::new();
        for file in files {
            let source =
                fs::read_to_string(&file).expect("the source is there").replace(char::is_whitespace, "");
            for method in ["reader.or(\"", "reader.optional(\"", "reader.required(\"", "reader.or_default(\""]
            {
                for part in source.split(method).skip(1) {
                    asked.insert(part.split('"').next().unwrap_or_default().to_owned());
                }
            }
        }
        assert!(asked.len() > 25, "{asked:?}");
        let untold: Vec<&String> = asked.iter().filter(|key| !told.contains(key.as_str())).collect();
        assert!(untold.is_empty(), "not in KEYS: {untold:?}");
    }

    #[test]
    fn every_key_of_the_file_is_told() {
        for line in DEFAULT.lines() {
            let line = line.trim_start().trim_start_matches("- ");
            let Some((name, _)) = line.split_once(':').filter(|_| !line.starts_with(['#', 'K'])) else {
                continue;
            };
            assert!(
                KEYS.iter().any(|key| key.path.split('.').any(|part| part.trim_end_matches("[]") == name)),
                "{name} is not in KEYS"
            );
        }
    }
}
