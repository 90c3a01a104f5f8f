//! What a testbed of a specification needs of a machine, in figures.

use super::programs::Programs;
use crate::spec::Spec;

const MIB: u64 = 1 << 20;

/// About what a pinned jar takes, on the average.
pub(super) const JAR_BYTES: u64 = 800 << 10;
/// Least free space of a new testbed: its programs' logs and empty databases.
pub(super) const LEAST_DISK: u64 = 200 * MIB;
/// What a testbed takes beside the messages, over some hours.
const COMFORTABLE_DISK: u64 = 1024 * MIB;

/// What is not in the cache yet.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lacking {
    /// About how many bytes it takes.
    pub(super) bytes: u64,
}

impl Lacking {
    pub(super) fn of(programs: &Programs) -> Self {
        Self { bytes: programs.lacking_bytes }
    }
}

/// Heaps of all JVMs: the machine must have this much.
pub(super) fn heaps(spec: &Spec) -> u64 {
    let brokers = spec.kafka.brokers.len() as u64;
    brokers.saturating_mul(spec.kafka.heap_bytes).saturating_add(spec.zookeeper.heap_bytes)
}

/// About the resident memory of all services.
pub(super) fn memory(spec: &Spec) -> u64 {
    let brokers = spec.kafka.brokers.len() as u64;
    let jvms = brokers * 180 * MIB + 90 * MIB;
    let databases = 3 * 110 * MIB;
    let own = (80 + 15 * u64::from(spec.workers.count)) * MIB;
    heaps(spec).saturating_add(jvms + databases + own)
}

/// Free space that lasts for an hour of the load.
pub(super) fn disk(spec: &Spec) -> u64 {
    let load = &spec.load;
    let bytes_a_second = load.rate * f64::from(load.message_bytes) * f64::from(load.replication_factor);
    COMFORTABLE_DISK.saturating_add((bytes_a_second * 3600.0) as u64)
}

/// Replicas of partitions that one broker holds: the topic's, the committed offsets' and the probe's.
fn replicas(spec: &Spec) -> u64 {
    let brokers = spec.kafka.brokers.len().max(1) as u64;
    let topic = u64::from(spec.load.partitions) * u64::from(spec.load.replication_factor);
    let offsets = 50 * brokers.min(3);
    (topic + offsets).div_ceil(brokers) + brokers
}

/// Files that one broker holds open.
pub(super) fn open_files(spec: &Spec) -> u64 {
    400 + 4 * replicas(spec)
}

/// Memory maps of one broker: two indexes for each replica, and the JVM's own.
pub(super) fn memory_maps(spec: &Spec) -> u64 {
    1500 + 3 * replicas(spec)
}

/// Threads of all services.
pub(super) fn threads(spec: &Spec) -> u64 {
    let brokers = spec.kafka.brokers.len() as u64;
    brokers * 110 + 40 + 3 * 15 + (1 + u64::from(spec.workers.count)) * 8 + 30
}

#[cfg(test)]
mod tests {
    use yaml_source::Source;

    use super::*;

    fn spec(text: &str) -> Spec {
        crate::spec::read(&Source::new("test", text)).expect("a sound specification")
    }

    #[test]
    fn needs_follow_the_specification() {
        let small = spec("");
        assert_eq!(heaps(&small), (3 * 256 + 128) * MIB);
        assert!((1500 * MIB..2200 * MIB).contains(&memory(&small)), "{}", memory(&small));
        let large = spec("kafka: {heap: 4g}\nworkers: {count: 10}\nload: {partitions: 1000, rate: 10000}\n");
        assert_eq!(heaps(&large), (3 * 4096 + 128) * MIB);
        for need in [memory, disk, open_files, memory_maps, threads] {
            assert!(need(&large) > need(&small));
        }
    }
}
