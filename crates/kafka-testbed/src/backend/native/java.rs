//! Services that run on Java: the brokers and ZooKeeper.

use std::net::SocketAddr;

use super::{Context, Launch, LaunchError, Probe, Step, addresses, kafka, logging, zookeeper};
use crate::spec::{KafkaVersion, Mode};

/// What differs between the services.
struct Main<'a> {
    /// Name and lines of the properties file, the one argument.
    properties: (&'a str, Vec<(String, String)>),
    class: &'a str,
    logging: logging::Library,
    probe: Probe,
}

impl Context<'_> {
    pub(super) fn zookeeper(self) -> Result<Launch, LaunchError> {
        let mut lines = zookeeper::properties(self.variables()).ok_or_else(|| LaunchError::Variable {
            service: self.name.to_string(),
            variable: "ZOOKEEPER_CLIENT_PORT",
        })?;
        lines.push(("clientPortAddress".to_owned(), self.address.to_string()));
        let port = self.variable("ZOOKEEPER_CLIENT_PORT").and_then(|port| port.parse().ok()).unwrap_or(2181);
        let probe = Probe::ZooKeeper(SocketAddr::new(self.address.into(), port));
        Ok(self.java(Main {
            properties: ("zookeeper.properties", lines),
            class: "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            logging: logging::Library::Log4j,
            probe,
        }))
    }

    pub(super) fn kafka(self, version: KafkaVersion) -> Result<Launch, LaunchError> {
        let lines = kafka::server_properties(self.variables())
            .map_err(|source| LaunchError::Environment { service: self.name.to_string(), source })?;
        let logging = match version.mode() {
            Mode::ZooKeeper => logging::Library::Log4j,
            Mode::KRaft => logging::Library::Log4j2,
        };
        let cluster = self.variable("CLUSTER_ID").filter(|_| self.variable("KAFKA_PROCESS_ROLES").is_some());
        let (jars, run, java) =
            (self.tools.kafka_jars.clone(), self.run.clone(), self.tools.java.path.clone());
        let properties = ("server.properties", lines);
        let probe = Probe::Tcp(addresses(self.service));
        let mut launch = self.java(Main { properties, class: "kafka.Kafka", logging, probe });
        if let Some(cluster) = cluster {
            let arguments = [
                "-Xmx128m".to_owned(),
                "-XX:+UseSerialGC".to_owned(),
                "-XX:TieredStopAtLevel=1".to_owned(),
                logging.option(&run),
                "-Duser.timezone=UTC".to_owned(),
                "-cp".to_owned(),
                format!("{}/*", jars.display()),
                "kafka.tools.StorageTool".to_owned(),
                "format".to_owned(),
                format!("--cluster-id={cluster}"),
                "--config".to_owned(),
                run.join("server.properties").display().to_string(),
                "--ignore-formatted".to_owned(),
            ];
            launch.before.push(Step { program: java, arguments: arguments.into() });
        }
        Ok(launch)
    }

    fn java(mut self, main: Main<'_>) -> Launch {
        let (file_name, lines) = main.properties;
        let properties = self.run.join(file_name);
        let text: String =
            lines.iter().map(|(key, value)| format!("{key}={}\n", self.mounts.translate(value))).collect();
        let root_level = self.variable("KAFKA_LOG4J_ROOT_LOGLEVEL");
        let loggers = self.variable("KAFKA_LOG4J_LOGGERS");
        let logging_text = main.logging.properties(root_level.as_deref(), loggers.as_deref());
        let (before, after) = kafka::jvm_arguments(&|name| self.variable(name));
        let mut arguments = before;
        arguments.push(main.logging.option(&self.run));
        // Times in all logs of a testbed are in UTC, as in the image.
        arguments.push("-Duser.timezone=UTC".to_owned());
        arguments.push(format!("-Djava.io.tmpdir={}", self.run.display()));
        arguments.push("-cp".to_owned());
        arguments.push(format!("{}/*", self.tools.kafka_jars.display()));
        arguments.extend(after.iter().map(|word| self.mounts.translate(word)));
        arguments.push(main.class.to_owned());
        arguments.push(properties.display().to_string());
        self.files.push((properties, text));
        self.files.push((main.logging.file(&self.run), logging_text));
        let program = self.tools.java.path.clone();
        self.finish(program, arguments, Vec::new(), main.probe)
    }
}
