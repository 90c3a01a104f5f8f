//! What the image `confluentinc/cp-kafka` does with its environment, done for a plain process.
//!
//! Sources: kafka-images 7.3.0-post, 7.9.x and 8.1.x (`configure`, `ensure`, `launch`), confluent-docker-utils v0.0.53
//! (`dub.env_to_props`), Kafka 3.3.1 `bin/kafka-server-start.sh` and `bin/kafka-run-class.sh`.

/// Variables that the image keeps out of the properties file.
///
/// The image's list lacks a comma between `KAFKA_HEAP_OPTS` and `KAFKA_LOG4J_OPTS`, so there both leak into the
/// file as `heap.opts` and `log4j.opts`. The broker ignores them; we leave them out.
const NOT_PROPERTIES: &[&str] = &[
    "KAFKA_VERSION",
    "KAFKA_HEAP_OPTS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_OPTS",
    "KAFKA_JMX_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_ZOOKEEPER_CLIENT_CNXN_SOCKET",
];

/// Variables that the image refuses to start with: they were replaced by listeners long ago.
const REFUSED: &[&str] = &["KAFKA_ADVERTISED_PORT", "KAFKA_ADVERTISED_HOST", "KAFKA_HOST", "KAFKA_PORT"];

/// Variables that the image refuses to start without.
const REQUIRED: &[&str] = &["KAFKA_ZOOKEEPER_CONNECT", "KAFKA_ADVERTISED_LISTENERS"];
/// The same with `KAFKA_PROCESS_ROLES`, which says that there is no ZooKeeper.
const REQUIRED_WITH_ROLES: &[&str] = &["CLUSTER_ID", "KAFKA_ADVERTISED_LISTENERS"];

/// Why the image would not start with this environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaEnvironmentError {
    /// A variable is missing.
    #[error("{0} is not set; the image confluentinc/cp-kafka does not start without it")]
    Missing(&'static str),
    /// A variable is not supported any more.
    #[error("{0} is not supported by the image confluentinc/cp-kafka; use KAFKA_ADVERTISED_LISTENERS")]
    Refused(&'static str),
}

/// Turns the environment into the lines of `server.properties`, sorted by variable name as given.
///
/// Values are copied as they are, like in the image: a backslash or a line break keeps its meaning for Java's
/// property reader. `KAFKA_LISTENERS` is derived from the advertised ones when it is absent, and
/// `KAFKA_LOG_DIRS` is `/var/lib/kafka/data`.
///
/// # Errors
/// When the image would refuse to start.
pub fn server_properties<'a>(
    environment: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<(String, String)>, KafkaEnvironmentError> {
    let environment: Vec<(&str, &str)> = environment.into_iter().collect();
    let value = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    if let Some(name) = REFUSED.iter().find(|name| value(name).is_some()) {
        return Err(KafkaEnvironmentError::Refused(name));
    }
    let required = if value("KAFKA_PROCESS_ROLES").is_some() { REQUIRED_WITH_ROLES } else { REQUIRED };
    if let Some(name) = required.iter().find(|name| value(name).is_none()) {
        return Err(KafkaEnvironmentError::Missing(name));
    }
    let mut lines: Vec<(String, String)> = Vec::new();
    if value("KAFKA_LISTENERS").is_none() {
        let advertised = value("KAFKA_ADVERTISED_LISTENERS").unwrap_or_default();
        lines.push(("listeners".to_owned(), derived_listeners(advertised)));
    }
    if value("KAFKA_LOG_DIRS").is_none() {
        lines.push(("log.dirs".to_owned(), "/var/lib/kafka/data".to_owned()));
    }
    if let Some(socket) = value("KAFKA_ZOOKEEPER_CLIENT_CNXN_SOCKET") {
        lines.push(("zookeeper.clientCnxnSocket".to_owned(), socket.to_owned()));
    }
    for (name, value) in &environment {
        if let Some(property) = property_name(name) {
            lines.push((property, (*value).to_owned()));
        }
    }
    Ok(lines)
}

/// Returns the property that a `KAFKA_*` or `CONFLUENT_SUPPORT_*` variable stands for, if it stands for one.
pub fn property_name(variable: &str) -> Option<String> {
    if NOT_PROPERTIES.contains(&variable) {
        return None;
    }
    match variable.strip_prefix("KAFKA_") {
        Some(rest) => Some(mapped(rest)),
        None => variable
            .strip_prefix("CONFLUENT_")
            .filter(|rest| rest.starts_with("SUPPORT_"))
            .map(|rest| format!("confluent.{}", mapped(rest))),
    }
}

/// `dub.env_to_props`: lower case; a single `_` between two other characters is a dot, then `___` a dash,
/// then `__` an underscore.
fn mapped(rest: &str) -> String {
    let characters: Vec<char> = rest.to_lowercase().chars().collect();
    let other =
        |index: Option<usize>| index.and_then(|index| characters.get(index)).is_some_and(|c| *c != '_');
    let dotted: String = characters
        .iter()
        .enumerate()
        .map(|(index, c)| {
            let single = *c == '_' && other(index.checked_sub(1)) && other(Some(index + 1));
            if single { '.' } else { *c }
        })
        .collect();
    dotted.replace("___", "-").replace("__", "_")
}

/// The image's rule for absent listeners: the advertised ones, every host replaced by `0.0.0.0`.
fn derived_listeners(advertised: &str) -> String {
    advertised
        .split(',')
        .map(|listener| match listener.split_once("://") {
            Some((name, address)) => match address.split_once(':') {
                Some((_, port)) => format!("{name}://0.0.0.0:{port}"),
                None => listener.to_owned(),
            },
            None => listener.to_owned(),
        })
        .collect::<Vec<_>>()
        .join(",")
}

/// The arguments for `java` that `kafka-server-start` would end up with, up to the class path.
///
/// `EXTRA_ARGS` is read by the start script of the server alone, so an agent there never reaches the command-line
/// tools; its own `-name` and `-loggc` are taken out as `kafka-run-class` does.
pub(super) fn jvm_arguments(environment: &impl Fn(&str) -> Option<String>) -> (Vec<String>, Vec<String>) {
    let words = |name: &str, default: &str| -> Vec<String> {
        environment(name)
            .unwrap_or_else(|| default.to_owned())
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    let before = [
        words("KAFKA_HEAP_OPTS", "-Xmx1G -Xms1G"),
        words("KAFKA_JVM_PERFORMANCE_OPTS", DEFAULT_PERFORMANCE),
        words("KAFKA_GC_LOG_OPTS", ""),
        words("KAFKA_JMX_OPTS", ""),
        words("KAFKA_LOG4J_OPTS", ""),
    ]
    .concat();
    let mut after = words("KAFKA_OPTS", "");
    let mut extra = words("EXTRA_ARGS", "").into_iter();
    while let Some(word) = extra.next() {
        match word.as_str() {
            "-name" => drop(extra.next()),
            "-loggc" | "-daemon" => {}
            _ => after.push(word),
        }
    }
    (before, after)
}

/// `kafka-run-class` of 3.3.1.
const DEFAULT_PERFORMANCE: &str = "-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 \
    -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent -XX:MaxInlineLevel=15 \
    -Djava.awt.headless=true";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variable: &str, expected: &str) {
        assert_eq!(property_name(variable).unwrap_or_default(), expected, "{variable}");
    }

    /// The vectors were printed by the image's own `dub` (confluent-docker-utils v0.0.53).
    #[test]
    fn variables_become_properties_like_in_the_image() {
        check("KAFKA_LOG_RETENTION_MS", "log.retention.ms");
        check("KAFKA_A__B", "a_b");
        check("KAFKA_A___B", "a-b");
        check("KAFKA_A____B", "a-_b");
        check(
            "KAFKA_LISTENER_NAME_PLAINTEXT__HOST_SSL_KEYSTORE_LOCATION",
            "listener.name.plaintext_host.ssl.keystore.location",
        );
        check("KAFKA_X_", "x_");
        check("KAFKA__X", "_x");
        check("CONFLUENT_SUPPORT_METRICS_ENABLE", "confluent.support.metrics.enable");
        check("KAFKA_HEAP_OPTS", "");
        check("EXTRA_ARGS", "");
        check("PATH", "");
    }

    #[test]
    fn listeners_and_log_folder_have_the_defaults_of_the_image() {
        let properties = server_properties([
            ("KAFKA_ZOOKEEPER_CONNECT", "z:2181"),
            ("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://b:11000,PLAINTEXT_HOST://192.0.2.10:10001"),
        ])
        .expect("starts");
        assert!(properties.contains(&(
            "listeners".to_owned(),
            "PLAINTEXT://0.0.0.0:11000,PLAINTEXT_HOST://0.0.0.0:10001".to_owned()
        )));
        assert!(properties.contains(&("log.dirs".to_owned(), "/var/lib/kafka/data".to_owned())));
        assert!(properties.contains(&("zookeeper.connect".to_owned(), "z:2181".to_owned())));
    }

    #[test]
    fn the_image_refuses_what_it_refuses() {
        let base = [("KAFKA_ZOOKEEPER_CONNECT", "z"), ("KAFKA_ADVERTISED_LISTENERS", "A://b:1")];
        assert_eq!(
            server_properties([base[0]]),
            Err(KafkaEnvironmentError::Missing("KAFKA_ADVERTISED_LISTENERS"))
        );
        assert_eq!(
            server_properties([("KAFKA_PROCESS_ROLES", "broker"), base[1]]),
            Err(KafkaEnvironmentError::Missing("CLUSTER_ID"))
        );
        assert!(server_properties([("KAFKA_PROCESS_ROLES", "broker"), ("CLUSTER_ID", "a"), base[1]]).is_ok());
        assert_eq!(
            server_properties(base.into_iter().chain([("KAFKA_PORT", "1")])),
            Err(KafkaEnvironmentError::Refused("KAFKA_PORT"))
        );
    }

    #[test]
    fn the_agent_stays_with_the_server() {
        let (before, after) = jvm_arguments(&|name| match name {
            "KAFKA_HEAP_OPTS" => Some("-Xmx1g".to_owned()),
            "KAFKA_JVM_PERFORMANCE_OPTS" => Some("-XX:+UseSerialGC".to_owned()),
            "EXTRA_ARGS" => Some("-name kafkaServer -loggc -javaagent:/a.jar=1:/c.yml".to_owned()),
            _ => None,
        });
        assert_eq!(before, ["-Xmx1g", "-XX:+UseSerialGC"]);
        assert_eq!(after, ["-javaagent:/a.jar=1:/c.yml"]);
    }
}
