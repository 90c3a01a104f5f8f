//! Pinned jars: what a version consists of, to the byte.

use crate::spec::KafkaVersion;

/// One jar: its Maven coordinate and the SHA-256 of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Maven group.
    pub group: &'static str,
    /// Maven artifact.
    pub artifact: &'static str,
    /// Maven version.
    pub version: &'static str,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: &'static str,
}

impl Pin {
    /// File name of the jar.
    pub fn file_name(&self) -> String {
        format!("{}-{}.jar", self.artifact, self.version)
    }

    /// Where Maven keeps the jar in a local repository.
    pub fn repository_path(&self) -> String {
        format!("{}/{}/{}/{}", self.group.replace('.', "/"), self.artifact, self.version, self.file_name())
    }
}

/// A set of jars that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedSet {
    /// Name of the set and of its folder in the cache.
    pub name: &'static str,
    /// The jars.
    pub jars: Vec<Pin>,
}

/// The JMX exporter agent 0.17.2.
pub fn jmx_agent() -> PinnedSet {
    PinnedSet { name: "jmx-agent-0.17.2", jars: parse(include_str!("../../pins/jmx-agent-0.17.2.txt")) }
}

/// Kafka with ZooKeeper as long as it ran with it, the tools and a logger.
pub fn kafka(version: KafkaVersion) -> PinnedSet {
    let (name, list) = match version {
        KafkaVersion::V3_3_1 => ("kafka-3.3.1", include_str!("../../pins/kafka-3.3.1.txt")),
        KafkaVersion::V3_9_2 => ("kafka-3.9.2", include_str!("../../pins/kafka-3.9.2.txt")),
        KafkaVersion::V4_1_2 => ("kafka-4.1.2", include_str!("../../pins/kafka-4.1.2.txt")),
    };
    PinnedSet { name, jars: parse(list) }
}

fn parse(text: &'static str) -> Vec<Pin> {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .filter_map(|line| {
            let (coordinate, sha256) = line.split_once(' ')?;
            let mut parts = coordinate.split(':');
            Some(Pin { group: parts.next()?, artifact: parts.next()?, version: parts.next()?, sha256 })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::spec::Mode;

    #[test]
    fn every_line_of_the_lists_is_a_pin() {
        let sets = [
            (kafka(KafkaVersion::V3_3_1), 49),
            (kafka(KafkaVersion::V3_9_2), 63),
            (kafka(KafkaVersion::V4_1_2), 53),
            (jmx_agent(), 1),
        ];
        for (set, jars) in sets {
            assert_eq!(set.jars.len(), jars, "{}", set.name);
            let names: BTreeSet<String> = set.jars.iter().map(Pin::file_name).collect();
            assert_eq!(names.len(), jars, "file names differ in {}", set.name);
            assert!(set.jars.iter().all(|pin| pin.sha256.len() == 64), "{}", set.name);
        }
    }

    #[test]
    fn every_version_is_there_with_its_tools_and_a_logger() {
        for version in KafkaVersion::ALL {
            let set = kafka(*version);
            assert_eq!(set.name, format!("kafka-{}", version.as_str()));
            let has = |artifact: &str| set.jars.iter().any(|pin| pin.artifact == artifact);
            let own = set.jars.iter().filter(|pin| pin.group == "org.apache.kafka");
            assert!(own.clone().all(|pin| pin.version == version.as_str()), "{}", set.name);
            assert!(has("kafka_2.13") && has("kafka-tools"), "{}", set.name);
            let (zookeeper, logger) = match version.mode() {
                Mode::ZooKeeper => (true, "slf4j-reload4j"),
                Mode::KRaft => (false, "log4j-slf4j-impl"),
            };
            assert!(has("zookeeper") == zookeeper && has(logger), "{}", set.name);
        }
    }
}
