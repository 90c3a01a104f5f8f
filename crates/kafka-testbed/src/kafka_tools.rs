//! Kafka's own command-line tools against a testbed: the real classes out of the brokers' jars.
//!
//! The tools run as processes of their own and inherit nothing of a broker's variables, so the metrics agent is never
//! loaded a second time (it would find its port taken and end the tool).

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{plan::TOOLS_LOGGING, supervisor::Runtime};

/// A tool: its name, the classes that it is in some version, and how it is told the brokers.
struct Tool {
    name: &'static str,
    classes: &'static [&'static str],
    brokers: Brokers,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Brokers {
    /// `--bootstrap-server LIST`.
    BootstrapServer,
    /// `--producer-props bootstrap.servers=LIST`.
    ProducerProperties,
    /// It asks no broker.
    None,
}

const fn tool(name: &'static str, classes: &'static [&'static str]) -> Tool {
    Tool { name, classes, brokers: Brokers::BootstrapServer }
}

const TOOLS: &[Tool] = &[
    tool("kafka-topics", &["org.apache.kafka.tools.TopicCommand", "kafka.admin.TopicCommand"]),
    tool(
        "kafka-consumer-groups",
        &["org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "kafka.admin.ConsumerGroupCommand"],
    ),
    Tool {
        name: "kafka-producer-perf-test",
        classes: &["org.apache.kafka.tools.ProducerPerformance"],
        brokers: Brokers::ProducerProperties,
    },
    tool(
        "kafka-consumer-perf-test",
        &["org.apache.kafka.tools.ConsumerPerformance", "kafka.tools.ConsumerPerformance"],
    ),
    tool(
        "kafka-console-producer",
        &["org.apache.kafka.tools.ConsoleProducer", "kafka.tools.ConsoleProducer"],
    ),
    tool(
        "kafka-console-consumer",
        &["org.apache.kafka.tools.consumer.ConsoleConsumer", "kafka.tools.ConsoleConsumer"],
    ),
    tool("kafka-configs", &["org.apache.kafka.tools.ConfigCommand", "kafka.admin.ConfigCommand"]),
    tool("kafka-get-offsets", &["org.apache.kafka.tools.GetOffsetShell", "kafka.tools.GetOffsetShell"]),
    tool("kafka-log-dirs", &["org.apache.kafka.tools.LogDirsCommand", "kafka.admin.LogDirsCommand"]),
    tool(
        "kafka-leader-election",
        &["org.apache.kafka.tools.LeaderElectionCommand", "kafka.admin.LeaderElectionCommand"],
    ),
    tool(
        "kafka-reassign-partitions",
        &[
            "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
            "kafka.admin.ReassignPartitionsCommand",
        ],
    ),
    tool(
        "kafka-broker-api-versions",
        &["org.apache.kafka.tools.BrokerApiVersionsCommand", "kafka.admin.BrokerApiVersionsCommand"],
    ),
    tool(
        "kafka-delete-records",
        &["org.apache.kafka.tools.DeleteRecordsCommand", "kafka.admin.DeleteRecordsCommand"],
    ),
    tool("kafka-transactions", &["org.apache.kafka.tools.TransactionsCommand"]),
    tool(
        "kafka-metadata-quorum",
        &["org.apache.kafka.tools.MetadataQuorumCommand", "kafka.admin.MetadataQuorumCommand"],
    ),
    Tool { name: "kafka-dump-log", classes: &["kafka.tools.DumpLogSegments"], brokers: Brokers::None },
];

/// How to run a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Why a tool cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// None of its classes is in the jars.
    #[error("the jars of this Kafka have no {name} (looked for {})", classes.join(", "))]
    NoClass {
        /// The tool.
        name: String,
        /// The classes.
        classes: Vec<String>,
    },
}

/// The names of all tools.
pub fn names() -> impl Iterator<Item = &'static str> {
    TOOLS.iter().map(|tool| tool.name)
}

/// How to run the tool `name` (with or without `.sh`) against the testbed in `folder`; nothing when it is no tool.
///
/// # Errors
/// When this version of Kafka does not have it.
pub fn command(
    name: &str,
    arguments: &[String],
    folder: &Path,
    runtime: &Runtime,
) -> Option<Result<ToolCommand, ToolError>> {
    let name = name.strip_suffix(".sh").unwrap_or(name);
    let tool = TOOLS.iter().find(|tool| tool.name == name)?;
    let Some(class) = tool.classes.iter().find(|class| jars_have(&runtime.tools.kafka_jars, class)) else {
        let classes = tool.classes.iter().map(|class| (*class).to_owned()).collect();
        return Some(Err(ToolError::NoClass { name: name.to_owned(), classes }));
    };
    let logging = TOOLS_LOGGING.map(|path| folder.join(path));
    let mut all = vec![
        "-Xmx256m".to_owned(),
        "-XX:+UseSerialGC".to_owned(),
        format!("-Dlog4j.configuration=file:{}", logging[0].display()),
        format!("-Dlog4j2.configurationFile={}", logging[1].display()),
        "-cp".to_owned(),
        format!("{}/*", runtime.tools.kafka_jars.display()),
        (*class).to_owned(),
    ];
    all.extend(with_brokers(tool.brokers, arguments, &runtime.endpoints.kafka));
    Some(Ok(ToolCommand { program: runtime.tools.java.path.clone(), arguments: all }))
}

/// Adds the brokers unless the user names some.
fn with_brokers(brokers: Brokers, arguments: &[String], list: &str) -> Vec<String> {
    let mut all = arguments.to_vec();
    let has =
        |option: &str| arguments.iter().any(|word| word == option || word.starts_with(&format!("{option}=")));
    match brokers {
        Brokers::None => {}
        Brokers::BootstrapServer => {
            let named = ["--bootstrap-server", "--zookeeper", "--broker-list", "--bootstrap-controller"];
            if !named.iter().any(|option| has(option)) {
                // First: tools with subcommands take it only before them.
                all.splice(0..0, ["--bootstrap-server".to_owned(), list.to_owned()]);
            }
        }
        Brokers::ProducerProperties => {
            let named = arguments.iter().any(|word| word.starts_with("bootstrap.servers="));
            if !named && !has("--producer.config") {
                let property = format!("bootstrap.servers={list}");
                match all.iter().position(|word| word == "--producer-props") {
                    Some(place) => all.insert(place + 1, property),
                    None => all.extend(["--producer-props".to_owned(), property]),
                }
            }
        }
    }
    all
}

/// Whether a jar in `folder` has `class`: its entry's name stands in the jar's directory as it is.
fn jars_have(folder: &Path, class: &str) -> bool {
    let entry = format!("{}.class", class.replace('.', "/"));
    let mut jars: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jar"))
        .collect();
    // Tools are in Kafka's own jars: these first.
    jars.sort_by_key(|path| {
        !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kafka"))
    });
    jars.iter().any(|path| fs::read(path).is_ok_and(|bytes| contains(&bytes, entry.as_bytes())))
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    let Some(first) = wanted.first() else { return true };
    let mut rest = bytes;
    while let Some(place) = rest.iter().position(|byte| byte == first) {
        if rest[place..].starts_with(wanted) {
            return true;
        }
        rest = &rest[place + 1..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(brokers: Brokers, arguments: &[&str], expected: &[&str]) {
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(with_brokers(brokers, &arguments, "b:1"), expected);
    }

    #[test]
    fn the_brokers_are_added_unless_named() {
        use Brokers::{BootstrapServer, ProducerProperties};
        check(BootstrapServer, &["--list"], &["--bootstrap-server", "b:1", "--list"]);
        check(BootstrapServer, &["--bootstrap-server", "c:2"], &["--bootstrap-server", "c:2"]);
        check(BootstrapServer, &["--bootstrap-server=c:2"], &["--bootstrap-server=c:2"]);
        check(
            ProducerProperties,
            &["--topic", "t"],
            &["--topic", "t", "--producer-props", "bootstrap.servers=b:1"],
        );
        check(
            ProducerProperties,
            &["--producer-props", "acks=1", "--topic", "t"],
            &["--producer-props", "bootstrap.servers=b:1", "acks=1", "--topic", "t"],
        );
        check(
            ProducerProperties,
            &["--producer-props", "bootstrap.servers=c:2"],
            &["--producer-props", "bootstrap.servers=c:2"],
        );
        check(Brokers::None, &["--files", "x"], &["--files", "x"]);
    }

    #[test]
    fn a_class_is_found_by_its_entry() {
        let folder = tempfile::tempdir().expect("folder");
        assert!(!jars_have(folder.path(), "a.b.C"));
        fs::write(folder.path().join("x.jar"), b"PK..aa/b/C.class..").expect("writes");
        assert!(jars_have(folder.path(), "a.b.C"));
        assert!(!jars_have(folder.path(), "a.b.D"));
    }
}
