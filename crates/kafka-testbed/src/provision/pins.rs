//! Pinned jars: what a version consists of, to the byte.

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

/// Kafka 3.3.1 with ZooKeeper 3.6.3, the tools and a logger.
pub fn kafka_3_3_1() -> PinnedSet {
    PinnedSet { name: "kafka-3.3.1", jars: parse(include_str!("../../pins/kafka-3.3.1.txt")) }
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

    #[test]
    fn every_line_of_the_lists_is_a_pin() {
        for (set, jars) in [(kafka_3_3_1(), 49), (jmx_agent(), 1)] {
            assert_eq!(set.jars.len(), jars, "{}", set.name);
            let names: BTreeSet<String> = set.jars.iter().map(Pin::file_name).collect();
            assert_eq!(names.len(), jars, "file names differ in {}", set.name);
            assert!(set.jars.iter().all(|pin| pin.sha256.len() == 64), "{}", set.name);
        }
    }
}
