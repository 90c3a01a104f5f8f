//! The native backend: each planned service as a process of this machine.
//!
//! A service is started from its model alone. What its image would do with command, environment and mounts is done
//! here for the images that a testbed uses: container paths become the mounted paths of this machine, and files that
//! an image makes from variables are written to the service's run folder.

mod java;
mod kafka;
mod logging;
mod mounts;
mod zookeeper;

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use compose_model::{MountKind, Service, ServiceName};
use yaml_source::Tree;

use self::mounts::Mounts;
use crate::{plan::NETWORK, provision::Tools, spec::KafkaVersion};

pub use kafka::{KafkaEnvironmentError, property_name, server_properties};

/// Everything needed to start a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// What runs before the program at each start, one after the other, each to its end with code 0.
    pub before: Vec<Step>,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment; it gets nothing else but the testbed's token.
    pub environment: Vec<(String, String)>,
    /// Where it runs.
    pub folder: PathBuf,
    /// Files to write before it starts.
    pub files: Vec<(PathBuf, String)>,
    /// Folders that belong to it.
    pub trees: Vec<PathBuf>,
    /// How to see that it works.
    pub probe: Probe,
    /// How long it may take to end.
    pub grace: Duration,
    /// Whether it takes new files while it runs: by itself, or when it is asked by HTTP.
    pub reloads: bool,
}

/// A program that prepares the start of a service, in the same folder and environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// How to see that a service works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// ZooKeeper's `srvr` command tells its mode.
    ZooKeeper(SocketAddr),
    /// Every address accepts a connection.
    Tcp(Vec<SocketAddr>),
    /// A GET of this address is answered with 2xx.
    Http(String),
    /// It ends with exit code 0.
    Exit,
}

/// Why a service cannot be started from its model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The native backend does not know what the image does.
    #[error("service {service}: the native backend does not know the image {image}")]
    Image {
        /// The service.
        service: String,
        /// Its image, or nothing.
        image: String,
    },
    /// The service has no address in the testbed's network.
    #[error("service {0} has no ipv4_address in the network `testbed`")]
    Address(String),
    /// The environment is not one the image would start with.
    #[error("service {service}")]
    Environment {
        /// The service.
        service: String,
        /// The cause.
        source: KafkaEnvironmentError,
    },
    /// A variable is missing.
    #[error("service {service}: {variable} is not set")]
    Variable {
        /// The service.
        service: String,
        /// The variable.
        variable: &'static str,
    },
    /// A mounted file cannot be read.
    #[error("service {service}: cannot read the mounted file {}", path.display())]
    File {
        /// The service.
        service: String,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Works out how to start `service`, whose testbed lies in `folder`.
///
/// # Errors
/// When the model asks for something that the native backend cannot do.
pub fn launch(
    name: &ServiceName,
    service: &Service,
    folder: &Path,
    tools: &Tools,
) -> Result<Launch, LaunchError> {
    let context = Context::new(name, service, folder, tools)?;
    let image = service.image.as_deref().unwrap_or_default();
    let repository = image.split_once('@').map_or(image, |(before, _)| before);
    let (repository, tag) = match repository.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => (before, tag),
        _ => (repository, ""),
    };
    let own = &tools.own;
    match (repository, KafkaVersion::of_confluent_tag(tag)) {
        ("confluentinc/cp-zookeeper", Some(_)) => return context.zookeeper(),
        ("confluentinc/cp-kafka", Some(version)) => return context.kafka(version),
        _ => {}
    }
    match repository {
        "prom/prometheus" => {
            let pages = pages_beside(&tools.prometheus.path);
            let mut launch = context.program(&tools.prometheus.path, "/-/ready").map(reloading)?;
            launch.arguments.extend(pages.map(|folder| format!("--web.local-assets={}", folder.display())));
            Ok(launch)
        }
        "kafka-testbed/prom-merger" => context.program(&own.prom_merger, "/-/ready"),
        "kafka-testbed/kafka-load" => context.program(&own.kafka_load, "/-/ready"),
        "kafka-testbed/simulated-kubelet" => {
            context.program(&own.simulated_kubelet, "/-/healthy").map(reloading)
        }
        _ => Err(LaunchError::Image { service: name.to_string(), image: image.to_owned() }),
    }
}

/// The pages of a Prometheus out of an unpacked Debian package: that one has them in files, and looks for these where
/// the package would have been installed.
fn pages_beside(program: &Path) -> Option<PathBuf> {
    let prefix = program.parent()?.parent()?;
    let folder = prefix.join("share/prometheus/web");
    (prefix != Path::new("/usr") && folder.join("templates").is_dir()).then_some(folder)
}

/// Whether the service takes new files while it runs.
pub fn reloads(service: &Service) -> bool {
    is_prometheus(service) || has_image(service, &["kafka-testbed/simulated-kubelet"])
}

/// Whether the service is a Prometheus.
pub fn is_prometheus(service: &Service) -> bool {
    has_image(service, &["prom/prometheus"])
}

/// Whether the service is a broker or ZooKeeper: what `reset` makes anew.
pub fn is_kafka(service: &Service) -> bool {
    has_image(service, &["confluentinc/cp-kafka", "confluentinc/cp-zookeeper"])
}

/// Whether the service produces or consumes, or makes topics.
pub fn is_load(service: &Service) -> bool {
    has_image(service, &["kafka-testbed/kafka-load"])
}

/// Whether others wait for the service's data, so that it is not started again unasked.
pub fn holds_data(service: &Service) -> bool {
    is_kafka(service) || is_prometheus(service) || has_image(service, &["kafka-testbed/prom-merger"])
}

fn has_image(service: &Service, names: &[&str]) -> bool {
    let image = service.image.as_deref().unwrap_or_default();
    let name = image.rsplit_once(':').map_or(image, |(name, _)| name);
    names.contains(&name)
}

fn reloading(launch: Launch) -> Launch {
    Launch { reloads: true, ..launch }
}

/// Where a service listens: its published ports on their host addresses, and its exposed ports on its own.
pub fn addresses(service: &Service) -> Vec<SocketAddr> {
    let own = own_address(service);
    let published = service.ports.iter().filter_map(|port| {
        let host = port.host_ip.or_else(|| own.map(IpAddr::from))?;
        Some(SocketAddr::new(host, port.published.map_or(port.target, |published| published.first)))
    });
    let exposed = exposed(service).into_iter().filter_map(|port| Some(SocketAddr::new(own?.into(), port)));
    published.chain(exposed).collect()
}

fn own_address(service: &Service) -> Option<Ipv4Addr> {
    service.networks.get(NETWORK)?.ipv4_address
}

fn exposed(service: &Service) -> Vec<u16> {
    match service.extra.get("expose") {
        Some(Tree::Sequence(ports)) => ports
            .iter()
            .filter_map(|port| match port {
                Tree::Text(text) => text.parse().ok(),
                Tree::Integer(number) => u16::try_from(*number).ok(),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

struct Context<'a> {
    name: &'a ServiceName,
    service: &'a Service,
    tools: &'a Tools,
    address: Ipv4Addr,
    /// The service's folder for files that are made for it.
    run: PathBuf,
    mounts: Mounts,
    /// Copies of mounted configuration files with their container paths replaced.
    files: Vec<(PathBuf, String)>,
    trees: Vec<PathBuf>,
}

impl<'a> Context<'a> {
    fn new(
        name: &'a ServiceName,
        service: &'a Service,
        folder: &Path,
        tools: &'a Tools,
    ) -> Result<Self, LaunchError> {
        let address = own_address(service).ok_or_else(|| LaunchError::Address(name.to_string()))?;
        let run = folder.join("run").join(name.as_str());
        let mut mounts = Mounts::default();
        let mut trees = Vec::new();
        let mut texts = Vec::new();
        for mount in service.volumes.iter().filter(|mount| mount.kind == MountKind::Bind) {
            let Some(source) = &mount.source else { continue };
            let path = folder.join(source.strip_prefix("./").unwrap_or(source));
            let is_text =
                path.extension().is_some_and(|kind| kind == "yml" || kind == "yaml" || kind == "json");
            if mount.read_only && is_text {
                texts.push((path, mount.target.clone()));
            } else {
                if !mount.read_only {
                    trees.push(path.clone());
                }
                mounts.add(&mount.target, path);
            }
        }
        let mut files = Vec::new();
        for (path, target) in texts {
            let text = fs::read_to_string(&path).map_err(|source| LaunchError::File {
                service: name.to_string(),
                path: path.clone(),
                source,
            })?;
            let copy = run.join(path.file_name().unwrap_or_default());
            files.push((copy.clone(), mounts.translate(&text)));
            mounts.add(&target, copy);
        }
        Ok(Self { name, service, tools, address, run, mounts, files, trees })
    }

    fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.service.environment.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)))
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.service.environment.get(name)?.clone()
    }

    /// An image whose entry point is a program that takes the command as its arguments.
    fn program(self, program: &Path, ready: &str) -> Result<Launch, LaunchError> {
        let words = self.service.command.iter().flatten();
        let arguments = words.map(|word| self.mounts.translate(word)).collect();
        let environment =
            self.variables().map(|(key, value)| (key.to_owned(), self.mounts.translate(value))).collect();
        let probe = match addresses(self.service).first() {
            Some(address) => Probe::Http(format!("http://{address}{ready}")),
            None => Probe::Exit,
        };
        Ok(self.finish(program.to_owned(), arguments, environment, probe))
    }

    fn finish(
        self,
        program: PathBuf,
        arguments: Vec<String>,
        environment: Vec<(String, String)>,
        probe: Probe,
    ) -> Launch {
        Launch {
            before: Vec::new(),
            program,
            arguments,
            environment,
            folder: self.run,
            files: self.files,
            trees: self.trees,
            probe,
            // Compose's own default.
            grace: self.service.stop_grace_period.unwrap_or(Duration::from_secs(10)),
            reloads: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::LoopbackBlock,
        plan::{Placement, plan},
        provision::{OwnPrograms, Program},
        spec::Spec,
    };

    fn tools() -> Tools {
        let program = |name: &str| Program { path: format!("/bin/{name}").into(), version: String::new() };
        Tools {
            java: program("java"),
            prometheus: program("prometheus"),
            kafka_jars: "/cache/jars".into(),
            jmx_agent: "/cache/agent.jar".into(),
            own: OwnPrograms {
                prom_merger: "/bin/prom-merger".into(),
                kafka_load: "/bin/kafka-load".into(),
                simulated_kubelet: "/bin/simulated-kubelet".into(),
                testbed_supervisor: "/bin/testbed-supervisor".into(),
            },
        }
    }

    fn launches(version: KafkaVersion) -> (tempfile::TempDir, Vec<(String, Launch)>) {
        let folder = tempfile::tempdir().expect("folder");
        let block = LoopbackBlock::from_octets([127, 70, 1]);
        let mut spec = Spec::default();
        spec.kafka.version = version;
        let plan = plan(&spec, &Placement::new(block, "secret"));
        fs::create_dir_all(folder.path().join("configs/rules")).expect("creates");
        for file in &plan.files {
            fs::write(folder.path().join(&file.path), &file.content).expect("writes");
        }
        let launches = plan
            .project
            .services
            .iter()
            .map(|(name, service)| {
                (name.to_string(), launch(name, service, folder.path(), &tools()).expect("can be started"))
            })
            .collect();
        (folder, launches)
    }

    #[test]
    fn every_planned_service_can_be_started_and_no_container_path_is_left() {
        for (version, services) in
            [(KafkaVersion::V3_3_1, 13), (KafkaVersion::V3_9_2, 13), (KafkaVersion::V4_1_2, 12)]
        {
            let (folder, launches) = launches(version);
            assert_eq!(launches.len(), services);
            check_paths(&folder, &launches);
        }
    }

    fn check_paths(folder: &tempfile::TempDir, launches: &[(String, Launch)]) {
        for (name, launch) in launches {
            let before = launch.before.iter().flat_map(|step| &step.arguments);
            let texts =
                launch.arguments.iter().chain(before).chain(launch.files.iter().map(|(_, text)| text));
            for text in texts {
                for container in ["/var/lib/", "/usr/app/", "/etc/prom", "/etc/simulated"] {
                    assert!(!text.contains(container), "{name}: {text}");
                }
            }
            for (path, _) in &launch.files {
                assert!(path.starts_with(folder.path().join("run").join(name)), "{name}: {}", path.display());
            }
        }
    }

    #[test]
    fn a_broker_runs_with_the_agent_on_its_own_address() {
        let (folder, launches) = launches(KafkaVersion::V3_3_1);
        let (_, broker) = launches.iter().find(|(name, _)| name == "kafka-broker-2").expect("planned");
        let agent =
            broker.arguments.iter().find(|word| word.starts_with("-javaagent:")).expect("has the agent");
        let expected = format!(
            "-javaagent:{0}/configs/jmx_prometheus_javaagent.jar=127.70.1.12:11001:{0}/run/kafka-broker-2/kafka_scraper.yml",
            folder.path().display()
        );
        assert_eq!(*agent, expected);
        assert!(broker.environment.is_empty(), "nothing for command-line tools to inherit");
        let (_, properties) =
            broker.files.iter().find(|(path, _)| path.ends_with("server.properties")).expect("written");
        assert!(properties.contains("listeners=INTERNAL://127.70.1.12:11000,EXTERNAL://127.70.1.1:10002\n"));
        assert!(properties.contains(&format!("log.dirs={}/data/kafka-broker-2\n", folder.path().display())));
        assert_eq!(broker.grace, Duration::from_secs(60));
    }

    #[test]
    fn without_zookeeper_a_broker_formats_its_storage_before_it_starts() {
        let (folder, launches) = launches(KafkaVersion::V4_1_2);
        let (_, broker) = launches.iter().find(|(name, _)| name == "kafka-broker-1").expect("planned");
        let [format] = &broker.before[..] else { panic!("{:?}", broker.before) };
        let words = format.arguments.join(" ");
        let expected = format!(
            "--config {}/run/kafka-broker-1/server.properties --ignore-formatted",
            folder.path().display()
        );
        assert!(
            words.contains("kafka.tools.StorageTool format --cluster-id=") && words.ends_with(&expected),
            "{words}"
        );
        assert!(!words.contains("-javaagent"), "{words}");
        let has = |word: &str| broker.arguments.iter().any(|argument| argument.starts_with(word));
        assert!(
            has("-Dlog4j2.configurationFile=") && !has("-Dlog4j.configuration="),
            "{:?}",
            broker.arguments
        );
        let (_, properties) =
            broker.files.iter().find(|(path, _)| path.ends_with("server.properties")).expect("written");
        assert!(properties.contains("process.roles=broker,controller\n"), "{properties}");
        assert!(!properties.contains("zookeeper"), "{properties}");
    }

    #[test]
    fn an_unknown_image_is_named() {
        let service = Service { image: Some("redis:7".to_owned()), ..Service::default() };
        let name = ServiceName::new("cache").expect("a name");
        let mut service = service;
        service.networks.insert(
            compose_model::NetworkName::new(NETWORK).expect("a name"),
            compose_model::Attachment { ipv4_address: Some(Ipv4Addr::LOCALHOST), ..Default::default() },
        );
        let error = launch(&name, &service, Path::new("/nowhere"), &tools()).expect_err("unknown");
        assert_eq!(error.to_string(), "service cache: the native backend does not know the image redis:7");
    }
}
