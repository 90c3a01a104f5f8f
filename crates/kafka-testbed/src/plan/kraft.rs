//! Brokers that keep the metadata of their cluster themselves: which are controllers, and what each is told.

use compose_model::Service;
use sha2::{Digest as _, Sha256};

use super::{addresses::Addresses, services::set};
use crate::{
    address::LoopbackBlock,
    spec::{Broker, Kafka, Mode, Spec},
};

/// The identity of a cluster and of all data in it: a broker refuses a log folder of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClusterId(String);

impl ClusterId {
    /// The id of the testbed `name` in its `run`: each run begins with fresh data, and nothing of an earlier one must
    /// be taken for part of it.
    pub(super) fn of(name: &str, block: LoopbackBlock, run: u32) -> Self {
        let mut hash = Sha256::new();
        hash.update(name);
        hash.update([0]);
        hash.update(block.octets());
        hash.update(run.to_be_bytes());
        let mut bytes: [u8; 16] = std::array::from_fn({
            let hash = hash.finalize();
            move |index| hash[index]
        });
        // The text must not begin with a dash, which the command line of Kafka's tools would take for an option.
        bytes[0] &= 0x7f;
        Self(base64_url(&bytes))
    }
}

/// The brokers that are controllers too, by their place in the list: three, so that one may fail; where there are fewer
/// than three, one, since two would need each other.
pub(super) fn controllers(kafka: &Kafka) -> usize {
    if kafka.brokers.len() < 3 { 1 } else { 3 }
}

/// Whether the broker at `index` can become the controller.
pub(super) fn may_control(kafka: &Kafka, index: usize) -> bool {
    match kafka.version.mode() {
        Mode::ZooKeeper => true,
        Mode::KRaft => index < controllers(kafka),
    }
}

/// The CONTROLLER listener of the broker at `index`, if it has one.
pub(super) fn listener(kafka: &Kafka, addresses: Addresses, index: usize) -> Option<String> {
    let is_controller = kafka.version.mode() == Mode::KRaft && may_control(kafka, index);
    is_controller.then(|| format!("CONTROLLER://{}:{}", addresses.broker(index), kafka.controller_port))
}

/// Sets what a broker needs in order to run without ZooKeeper.
pub(super) fn configure(
    service: &mut Service,
    spec: &Spec,
    addresses: Addresses,
    run: u32,
    (index, broker): (usize, &Broker),
) {
    let kafka = &spec.kafka;
    let roles = if may_control(kafka, index) { "broker,controller" } else { "broker" };
    let voters: Vec<String> = kafka.brokers[..controllers(kafka)]
        .iter()
        .enumerate()
        .map(|(index, voter)| format!("{}@{}:{}", voter.id, addresses.broker(index), kafka.controller_port))
        .collect();
    set(service, "CLUSTER_ID", ClusterId::of(&spec.name, addresses.block, run).0);
    set(service, "KAFKA_NODE_ID", broker.id);
    set(service, "KAFKA_PROCESS_ROLES", roles);
    set(service, "KAFKA_CONTROLLER_QUORUM_VOTERS", voters.join(","));
    set(service, "KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER");
}

/// Base64 with the alphabet for URLs and no padding, as Kafka writes its ids.
fn base64_url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let number = chunk.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
            let number = number << (8 * (3 - chunk.len()));
            let digits = (0..=chunk.len()).map(move |digit| number >> (18 - 6 * digit) & 0x3f);
            digits.map(|digit| char::from(ALPHABET[digit as usize]))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{Placement, Plan, plan},
        spec::KafkaVersion,
    };

    fn spec(brokers: u32) -> Spec {
        let mut spec = Spec::default();
        spec.kafka.version = KafkaVersion::V4_1_2;
        let first = spec.kafka.brokers[0].clone();
        spec.kafka.brokers =
            (1..=brokers).map(|id| Broker { id, port: 10_000 + id as u16, ..first.clone() }).collect();
        spec
    }

    fn placement(run: u32) -> Placement {
        Placement { run, ..Placement::new(LoopbackBlock::from_octets([127, 70, 1]), "secret") }
    }

    fn value(plan: &Plan, service: &str, name: &str) -> String {
        plan.project.services[service].environment.get(name).cloned().flatten().unwrap_or_default()
    }

    #[test]
    fn three_brokers_are_the_quorum_and_there_is_no_zookeeper() {
        let plan = plan(&spec(3), &placement(1));
        assert!(!plan.project.services.keys().any(|name| name.as_str() == "zookeeper"));
        assert_eq!(
            value(&plan, "kafka-broker-2", "KAFKA_CONTROLLER_QUORUM_VOTERS"),
            "1@127.70.1.11:11002,2@127.70.1.12:11002,3@127.70.1.13:11002"
        );
        assert_eq!(
            value(&plan, "kafka-broker-2", "KAFKA_LISTENERS"),
            "INTERNAL://127.70.1.12:11000,EXTERNAL://127.70.1.1:10002,CONTROLLER://127.70.1.12:11002"
        );
        assert_eq!(
            value(&plan, "kafka-broker-2", "KAFKA_ADVERTISED_LISTENERS"),
            "INTERNAL://127.70.1.12:11000,EXTERNAL://127.70.1.1:10002"
        );
        for name in ["KAFKA_BROKER_ID", "KAFKA_ZOOKEEPER_CONNECT"] {
            assert_eq!(value(&plan, "kafka-broker-2", name), "", "{name}");
        }
        assert!(plan.project.services["kafka-broker-2"].depends_on.is_empty());
    }

    #[test]
    fn of_more_than_three_brokers_the_first_three_are_controllers() {
        let plan = plan(&spec(5), &placement(1));
        let roles = |id: u32| value(&plan, &format!("kafka-broker-{id}"), "KAFKA_PROCESS_ROLES");
        assert_eq!((1..=5).map(roles).filter(|roles| roles == "broker,controller").count(), 3);
        assert_eq!(roles(4), "broker");
        assert!(!value(&plan, "kafka-broker-4", "KAFKA_LISTENERS").contains("CONTROLLER"));
        assert_eq!(
            value(&plan, "kafka-broker-4", "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"),
            "INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"
        );
        let controllers: Vec<bool> = plan.expected.brokers.iter().map(|broker| broker.may_control).collect();
        assert_eq!(controllers, [true, true, true, false, false]);
    }

    #[test]
    fn two_brokers_have_one_controller() {
        let plan = plan(&spec(2), &placement(1));
        assert_eq!(value(&plan, "kafka-broker-2", "KAFKA_PROCESS_ROLES"), "broker");
        assert_eq!(value(&plan, "kafka-broker-2", "KAFKA_CONTROLLER_QUORUM_VOTERS"), "1@127.70.1.11:11002");
    }

    #[test]
    fn the_cluster_id_is_that_of_the_testbed_and_its_run() {
        let of = |name: &str, run| {
            let spec = Spec { name: name.to_owned(), ..spec(3) };
            value(&plan(&spec, &placement(run)), "kafka-broker-3", "CLUSTER_ID")
        };
        assert_eq!(of("a", 1), of("a", 1));
        assert_ne!(of("a", 1), of("b", 1));
        assert_ne!(of("a", 1), of("a", 2));
        assert_eq!(value(&plan(&spec(3), &placement(1)), "kafka-broker-1", "CLUSTER_ID").len(), 22);
        for run in 1..200 {
            assert!(!of("a", run).starts_with('-'), "{run}");
        }
    }

    /// The vectors come from `base64.urlsafe_b64encode` of Python.
    #[test]
    fn ids_are_written_as_kafka_reads_them() {
        for (bytes, expected) in [
            (&b""[..], ""),
            (b"a", "YQ"),
            (b"ab", "YWI"),
            (b"abc", "YWJj"),
            (&[0xff, 0xfe, 0xfb, 0xff], "__77_w"),
        ] {
            assert_eq!(base64_url(bytes), expected);
        }
    }
}
