//! Pinned jars and releases: what a version consists of, to the byte.

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

    /// `group:artifact:version`.
    pub fn coordinate(&self) -> String {
        format!("{}:{}:{}", self.group, self.artifact, self.version)
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

/// A release archive of a project: where it is, what it must be, and which program it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinnedArchive {
    /// Name of the program and of its folder in the cache.
    pub program: &'static str,
    /// Version of the release.
    pub version: &'static str,
    /// Architecture as the compiler names it.
    pub architecture: &'static str,
    /// Path below the base address of GitHub.
    pub path: &'static str,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: &'static str,
}

/// Releases for systems without Debian packages.
///
/// Each checksum was compared in at least two independent places that state it:
///
/// - Temurin: the image recipes of the project itself (`adoptium/containers`, `17/jre/ubuntu/resolute/Dockerfile`);
///   the history of Docker's official images (`docker-library/repo-info`, `eclipse-temurin`); and, for both
///   architectures, the installer of Maestro (`select_temurin_asset`).
/// - Prometheus: `scripts/fetch-prometheus` of the Ravel PromQL difference tests, which says that it was checked
///   against the release's `sha256sums.txt`; the release policy check of sith-hub (`EXPECTED_LINUX_AMD64_SHA256`,
///   x86-64); the provisioning of heuresys-advanced (`provision-prometheus-vm.sh`, aarch64).
pub const RELEASES: &[PinnedArchive] = &[
    PinnedArchive {
        program: "java",
        version: "17.0.20.1+1",
        architecture: "x86_64",
        path: "adoptium/temurin17-binaries/releases/download/jdk-17.0.20.1%2B1/OpenJDK17U-jre_x64_linux_hotspot_17.0.20.1_1.tar.gz",
        sha256: "0b2b640e3046b64c8ec504de0ab9d91bb5610182bda21fad454681ce54d45a62",
    },
    PinnedArchive {
        program: "java",
        version: "17.0.20.1+1",
        architecture: "aarch64",
        path: "adoptium/temurin17-binaries/releases/download/jdk-17.0.20.1%2B1/OpenJDK17U-jre_aarch64_linux_hotspot_17.0.20.1_1.tar.gz",
        sha256: "b8efcd5acc9109fe8d35bed132499643048a257b4f6042906ece37d03c839d77",
    },
    PinnedArchive {
        program: "prometheus",
        version: "3.13.1",
        architecture: "x86_64",
        path: "prometheus/prometheus/releases/download/v3.13.1/prometheus-3.13.1.linux-amd64.tar.gz",
        sha256: "962b812371aff838d152b6ff2d56fdb7a6396f5542f48ebf73421b9721f0d103",
    },
    PinnedArchive {
        program: "prometheus",
        version: "3.13.1",
        architecture: "aarch64",
        path: "prometheus/prometheus/releases/download/v3.13.1/prometheus-3.13.1.linux-arm64.tar.gz",
        sha256: "fbd8e5e0f6ad2e7d053e717739186caee4fd0cab2cf9335bfc86c292fe2a2bfe",
    },
];

/// The pinned release of `program` for `architecture` (as in `std::env::consts::ARCH`).
pub fn release(program: &str, architecture: &str) -> Option<&'static PinnedArchive> {
    RELEASES.iter().find(|pin| pin.program == program && pin.architecture == architecture)
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
    fn releases_are_whole_and_name_their_version() {
        for pin in RELEASES {
            assert_eq!(pin.sha256.len(), 64, "{}", pin.path);
            assert!(pin.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{}", pin.path);
            assert!(pin.path.contains(&pin.version.replace('+', "_")), "{}", pin.path);
            assert_eq!(release(pin.program, pin.architecture), Some(pin));
        }
        assert_eq!(release("java", "riscv64"), None);
    }

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
