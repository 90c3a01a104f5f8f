//! The typed model. All fields are public: any combination of values can be built, [`check`](crate::check()) says what is
//! wrong with it, and [`render`](crate::render()) writes it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use yaml_source::Tree;

use crate::{NetworkName, OrderedMap, ProjectName, ServiceName, VolumeName};

/// Keys without a field in the model (`x-*`, other attributes of Compose, unknown ones), in the order of the file.
///
/// A value means what go-yaml makes of it; a `$` stands for itself.
pub type Extra = OrderedMap<String, Tree>;

/// A Compose file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Project {
    /// The name; without one, whoever starts the project chooses.
    pub name: Option<ProjectName>,
    /// The services, in order.
    pub services: OrderedMap<ServiceName, Service>,
    /// The networks that services may name. `default` exists without being listed.
    pub networks: OrderedMap<NetworkName, Network>,
    /// The volumes that services may name.
    pub volumes: OrderedMap<VolumeName, Volume>,
    /// `x-*`, `configs`, `secrets` and whatever else stands at the top.
    pub extra: Extra,
}

/// One service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// The image; a service without one needs a `build` in `extra`.
    pub image: Option<String>,
    /// The name of the one container.
    pub container_name: Option<String>,
    /// The host name inside the container.
    pub hostname: Option<String>,
    /// User and perhaps group, `user:group`.
    pub user: Option<String>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// The words of the entry point; `Some` and empty clears the image's.
    pub entrypoint: Option<Vec<String>>,
    /// The words of the command; `Some` and empty clears the image's.
    pub command: Option<Vec<String>>,
    /// Variables; `None` takes the value from the environment of whoever starts the project.
    pub environment: OrderedMap<String, Option<String>>,
    /// Ports of the container that are reachable from outside.
    pub ports: Vec<Port>,
    /// Mounts of directories, volumes and memory.
    pub volumes: Vec<Mount>,
    /// Services that start before this one and stop after it.
    pub depends_on: OrderedMap<ServiceName, Dependency>,
    /// How to find out that the service works.
    pub healthcheck: Option<Healthcheck>,
    /// The networks; empty means `default`, unless `extra` has a `network_mode`.
    pub networks: OrderedMap<NetworkName, Attachment>,
    /// Labels.
    pub labels: OrderedMap<String, String>,
    /// When a container that ended is started again.
    pub restart: Option<RestartPolicy>,
    /// The signal that asks the service to stop; SIGTERM without one.
    pub stop_signal: Option<String>,
    /// How long the service may take to stop; 10 s without one.
    pub stop_grace_period: Option<Duration>,
    /// Limits such as `nofile`.
    pub ulimits: OrderedMap<String, Ulimit>,
    /// The profiles that the service belongs to; empty means always.
    pub profiles: Vec<String>,
    /// Everything else.
    pub extra: Extra,
}

/// A port of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The address of the host to listen on; all without one.
    pub host_ip: Option<IpAddr>,
    /// The port on the host; the engine chooses without one.
    pub published: Option<PublishedPorts>,
    /// The port inside the container.
    pub target: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// `mode`, `name`, `app_protocol` and the like.
    pub extra: Extra,
}

/// One port of the host, or a range of which the engine takes a free one. Both ends are included; 0 lets the engine choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublishedPorts {
    /// The first port.
    pub first: u16,
    /// The last port, not less than the first.
    pub last: u16,
}

/// The protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Something mounted into a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountKind,
    /// A path of the host, as written, or the name of a volume; `None` for an anonymous volume and for memory.
    pub source: Option<String>,
    /// The path inside the container.
    pub target: String,
    /// Whether the container may only read.
    pub read_only: bool,
    /// `bind`, `volume`, `tmpfs`, `consistency` and the like.
    pub extra: Extra,
}

/// What is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MountKind {
    /// A directory or file of the host.
    Bind,
    /// A volume.
    Volume,
    /// Memory.
    Tmpfs,
}

/// How one service waits for another.
#[derive(Clone, Debug, PartialEq)]
pub struct Dependency {
    /// What to wait for.
    pub condition: Condition,
    /// Whether the other service must exist; `true` unless said otherwise.
    pub required: bool,
    /// Whether to restart when the other one is updated.
    pub restart: bool,
    /// `x-*`.
    pub extra: Extra,
}

/// What a dependency waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The other service has been started.
    #[default]
    Started,
    /// Its health check succeeds.
    Healthy,
    /// It has ended with exit code 0.
    Completed,
}

/// How to find out that a service works. Absent fields are the image's or the engine's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Healthcheck {
    /// What is run inside the container.
    pub test: Option<HealthcheckTest>,
    /// Time between two checks.
    pub interval: Option<Duration>,
    /// Time that one check may take.
    pub timeout: Option<Duration>,
    /// Failures in a row until the service counts as unhealthy.
    pub retries: Option<u32>,
    /// Time after the start during which failures do not count.
    pub start_period: Option<Duration>,
    /// Time between two checks during the start period.
    pub start_interval: Option<Duration>,
    /// Everything else.
    pub extra: Extra,
}

/// What a health check runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthcheckTest {
    /// Nothing, also if the image has a check: `NONE`.
    Disabled,
    /// A program with its arguments: `CMD`.
    Command(Vec<String>),
    /// A line for the container's shell: `CMD-SHELL`.
    Shell(String),
}

/// How a service hangs on a network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attachment {
    /// A fixed address.
    pub ipv4_address: Option<Ipv4Addr>,
    /// Further names of the service on this network.
    pub aliases: Vec<String>,
    /// Everything else.
    pub extra: Extra,
}

/// When a container that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Never.
    No,
    /// Always, also after a restart of the engine.
    Always,
    /// Always, except after it was stopped by hand.
    UnlessStopped,
    /// When it failed, at most so many times.
    OnFailure {
        /// `None` means without limit.
        max_retries: Option<u32>,
    },
}

/// A limit of the kernel; -1 means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// The limit that a process may raise up to the hard one.
    pub soft: i64,
    /// The limit that only root may raise.
    pub hard: i64,
}

/// A network of the project.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// Its name at the engine; `<project>_<key>` without one.
    pub name: Option<String>,
    /// The driver.
    pub driver: Option<String>,
    /// Whether somebody else creates it.
    pub external: bool,
    /// Whether it has no way out.
    pub internal: bool,
    /// Labels.
    pub labels: OrderedMap<String, String>,
    /// `ipam` and everything else.
    pub extra: Extra,
}

/// A volume of the project.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Volume {
    /// Its name at the engine; `<project>_<key>` without one.
    pub name: Option<String>,
    /// The driver.
    pub driver: Option<String>,
    /// Whether somebody else creates it.
    pub external: bool,
    /// Labels.
    pub labels: OrderedMap<String, String>,
    /// `driver_opts` and everything else.
    pub extra: Extra,
}

impl Port {
    /// Creates a TCP port that is published on all addresses of the host.
    pub fn new(published: u16, target: u16) -> Self {
        let published = Some(PublishedPorts::from(published));
        Self { host_ip: None, published, target, protocol: Protocol::Tcp, extra: Extra::new() }
    }
}

impl From<u16> for PublishedPorts {
    fn from(port: u16) -> Self {
        Self { first: port, last: port }
    }
}

impl fmt::Display for PublishedPorts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(formatter, "{}", self.first),
            false => write!(formatter, "{}-{}", self.first, self.last),
        }
    }
}

impl Protocol {
    /// Returns the protocol's name in a Compose file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl Mount {
    /// Creates a mount of a path of the host, which the container may write.
    pub fn bind(source: impl Into<String>, target: impl Into<String>) -> Self {
        Self::new(MountKind::Bind, Some(source.into()), target)
    }

    /// Creates a mount of a volume of the project.
    pub fn volume(source: VolumeName, target: impl Into<String>) -> Self {
        Self::new(MountKind::Volume, Some(source.into()), target)
    }

    /// Creates a mount of memory.
    pub fn tmpfs(target: impl Into<String>) -> Self {
        Self::new(MountKind::Tmpfs, None, target)
    }

    /// Makes the mount read-only.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }

    pub(crate) fn new(kind: MountKind, source: Option<String>, target: impl Into<String>) -> Self {
        Self { kind, source, target: target.into(), read_only: false, extra: Extra::new() }
    }
}

impl MountKind {
    /// Returns the name of the type in a Compose file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
        }
    }
}

impl Dependency {
    /// Creates a required dependency.
    pub fn on(condition: Condition) -> Self {
        Self { condition, required: true, restart: false, extra: Extra::new() }
    }
}

impl Condition {
    /// Returns the condition's name in a Compose file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "service_started",
            Self::Healthy => "service_healthy",
            Self::Completed => "service_completed_successfully",
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => formatter.write_str("no"),
            Self::Always => formatter.write_str("always"),
            Self::UnlessStopped => formatter.write_str("unless-stopped"),
            Self::OnFailure { max_retries: None } => formatter.write_str("on-failure"),
            Self::OnFailure { max_retries: Some(most) } => write!(formatter, "on-failure:{most}"),
        }
    }
}
