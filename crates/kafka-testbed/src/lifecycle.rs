//! The commands of a user: `up`, `status`, `down`, `purge`, and what changes a testbed while it runs.

mod apply;
mod collect;
mod down;
mod preflight;
mod purge;
mod reset;
mod services;
mod set_up;
mod up;

use std::{
    ffi::OsString,
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use self::set_up::{check_machine, setup_of};
pub use self::{
    collect::{Listed, list},
    down::{DownReport, down, would_end},
    purge::{PurgeReport, purge, would_remove},
    reset::{ResetReport, reset},
    services::{restart, scale, start, stop},
    set_up::{examine, set_up},
    up::{UpReport, up},
};
use crate::{
    address::LoopbackBlock,
    adjustments::Adjustments,
    control::{self, ControlError, Request},
    doctor::Finding,
    home::{Home, LockError, TestbedFolder},
    ledger::{self, Entry, Ledger, LedgerError},
    plan::{Placement, Plan, plan},
    ports::Holder,
    process::{self, ProcessIdentity},
    provision::{Fetching, OwnPrograms, ProvisionError},
    readiness::ReadinessError,
    spec::{self, Spec},
    status::{Endpoints, ServiceState, ServiceStatus, TestbedState, TestbedStatus, timestamp},
    supervisor::{Runtime, SupervisorError},
};

/// What a command works on.
#[derive(Debug, Clone)]
pub struct Workplace {
    /// Where the testbeds lie.
    pub home: Home,
    /// Name of the testbed.
    pub name: String,
    /// The search path for programs.
    pub search_path: OsString,
    /// Environment for programs that set-up runs, beside the search path.
    pub environment: Vec<(OsString, OsString)>,
    /// Our own programs.
    pub own: OwnPrograms,
    /// Where set-up may fetch from.
    pub fetching: Fetching,
    /// Limit for the proof that the testbed is ready.
    pub limit: Duration,
    /// Address of the EXTERNAL listeners that `up` was given; it holds until another is given.
    pub host: Option<HostChoice>,
    /// Whether another port is taken where the wanted one belongs to somebody else.
    pub any_port: bool,
    /// Whether services with data are started again when their plan has changed.
    pub restart_changed: bool,
}

/// Where the EXTERNAL listeners are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostChoice {
    /// Where the specification says.
    Specification,
    /// At the address of the default route's interface, or the next best of this machine.
    Found,
    /// At this address of this machine.
    Address(Ipv4Addr),
}

impl Workplace {
    /// The testbed's folder.
    pub fn folder(&self) -> TestbedFolder {
        self.home.testbed(&self.name)
    }
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another command works on the testbed.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The ledger is not usable.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The file system refused.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Ports are taken by others.
    #[error("{}", taken_ports(.0))]
    PortsTaken(Vec<TakenPort>),
    /// All loopback blocks have testbeds.
    #[error("every block of loopback addresses belongs to a testbed")]
    NoBlock,
    /// The running testbed was planned from another specification, and services that hold data would have to be
    /// started again.
    #[error("the testbed runs from another specification than this one; these would have to be started again: {}", .0.join(", "))]
    PlanChanged(Vec<String>),
    /// The machine cannot bear the testbed; each finding is fatal.
    #[error("this machine cannot run the testbed: {}", .0.iter().map(Finding::line).collect::<Vec<_>>().join("; "))]
    Unfit(Vec<Finding>),
    /// This machine has no address but loopback ones.
    #[error("this machine has no address that others could reach: only loopback ones")]
    NoAddress,
    /// There is no testbed of this name.
    #[error("there is no testbed `{0}`")]
    Absent(String),
    /// The testbed does not run.
    #[error("the testbed `{0}` does not run")]
    NotRunning(String),
    /// The copy of the specification cannot be used.
    #[error("the testbed's copy of its specification cannot be read: {0}")]
    StoredSpec(String),
    /// A Prometheus does not take its new configuration; it goes on with the old one.
    #[error("{service} does not take its new configuration: {reason}")]
    Reload {
        /// The Prometheus.
        service: String,
        /// What it answers.
        reason: String,
    },
    /// A service did not come into the state that was asked for.
    #[error("{service}: {reason}")]
    Service {
        /// The service.
        service: String,
        /// Why, or what it is instead.
        reason: String,
    },
    /// Set-up failed.
    #[error(transparent)]
    Provision(Box<ProvisionError>),
    /// The plan has a fault.
    #[error("the plan has faults: {0}")]
    Plan(String),
    /// The supervisor could not be started or did not come up.
    #[error("the supervisor did not start: {0}")]
    Supervisor(String),
    /// The plan of a running testbed cannot be used.
    #[error(transparent)]
    Supervised(#[from] SupervisorError),
    /// The supervisor does not answer.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The testbed is not ready.
    #[error(transparent)]
    NotReady(#[from] ReadinessError),
    /// Processes survived all signals.
    #[error("these processes did not end: {}", .0.iter().map(|process| process.pid.to_string()).collect::<Vec<_>>().join(", "))]
    Survivors(Vec<ProcessIdentity>),
}

impl From<ProvisionError> for Error {
    fn from(error: ProvisionError) -> Self {
        Self::Provision(Box::new(error))
    }
}

/// A port that a service needs and somebody else has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenPort {
    /// The service.
    pub service: String,
    /// What it needs, `address:port`.
    pub wanted: std::net::SocketAddr,
    /// Who has it; unknown when the kernel refuses the address for another reason.
    pub holder: Result<Holder, String>,
}

fn taken_ports(ports: &[TakenPort]) -> String {
    ports
        .iter()
        .map(|port| match &port.holder {
            Ok(holder) => format!("{} is needed by {}, but {holder}", port.wanted, port.service),
            Err(reason) => {
                format!("{} is needed by {}, but cannot be used: {reason}", port.wanted, port.service)
            }
        })
        .collect::<Vec<_>>()
        .join("; ")
}

impl Error {
    /// The exit code for this failure, of the table in `docs/exit-codes.md`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::PortsTaken(_) => 11,
            Self::Provision(error) if error.is_damage() => 13,
            Self::Provision(_) => 12,
            Self::Lock(LockError::Busy { .. }) => 14,
            Self::NotReady(_) | Self::Supervisor(_) | Self::Service { .. } | Self::Reload { .. } => 15,
            Self::Absent(_) | Self::NotRunning(_) => 19,
            Self::PlanChanged(_) => 16,
            Self::Unfit(_) => 18,
            _ => 1,
        }
    }

    /// The name of this failure in `docs/troubleshooting.md`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PortsTaken(_) => "port-taken",
            Self::Provision(error) if error.is_damage() => "damaged-file",
            Self::Provision(_) => "missing",
            Self::Unfit(_) => "unfit",
            Self::Lock(LockError::Busy { .. }) => "busy",
            Self::NotReady(_) | Self::Service { .. } => "not-ready",
            Self::Control(ControlError::Refused(_)) => "refused",
            Self::Supervisor(_) | Self::Supervised(_) | Self::Control(_) => "supervisor",
            Self::Reload { .. } => "configuration-refused",
            Self::PlanChanged(_) => "other-specification",
            Self::Absent(_) => "no-testbed",
            Self::NotRunning(_) => "not-running",
            Self::Ledger(_) => "ledger",
            Self::Io { .. } | Self::Lock(LockError::Io { .. }) => "file-system",
            Self::NoBlock | Self::NoAddress => "no-addresses",
            Self::StoredSpec(_) | Self::Plan(_) => "internal-file",
            Self::Survivors(_) => "survivors",
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::PortsTaken(_) => Some(
                "end that process, choose another port in testbed.yaml, or say `up --any-port`".to_owned(),
            ),
            Self::Provision(error) => Some(error.hint()),
            Self::Unfit(findings) => findings.iter().find_map(|finding| finding.mend.clone()),
            Self::PlanChanged(_) => Some(
                "`up --restart-changed` starts them again; `down`, then `up`, starts everything again".to_owned(),
            ),
            Self::Absent(_) => Some("`up` makes it; `list` shows those that are there".to_owned()),
            Self::NotRunning(_) => Some("`up` starts it".to_owned()),
            Self::Ledger(_) => Some("`docs/troubleshooting.md` says how to go on without it".to_owned()),
            Self::NotReady(_) => Some(
                "`cargo xtask testbed status` shows every service, `logs SERVICE` its log; `up` again goes on, `down` stops all"
                    .to_owned(),
            ),
            Self::Lock(LockError::Busy { .. }) => Some("wait until it is done".to_owned()),
            _ => None,
        }
    }
}

/// Tells how the testbed is, whatever state it is in.
///
/// # Errors
/// When its ledger cannot be read.
pub async fn status(place: &Workplace) -> Result<TestbedStatus, Error> {
    let folder = place.folder();
    if folder.is_supervised() {
        // Between taking its lock and listening, or on its way out, the supervisor gives no answer: look once more.
        for _ in 0..20 {
            match control::ask(&folder, Request::Status).await {
                Ok(status) => return Ok(status),
                Err(_) if folder.is_supervised() => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(_) => break,
            }
        }
    }
    unsupervised_status(place, &folder)
}

fn unsupervised_status(place: &Workplace, folder: &TestbedFolder) -> Result<TestbedStatus, Error> {
    let mut status = TestbedStatus {
        name: place.name.clone(),
        backend: "native".to_owned(),
        state: TestbedState::Absent,
        run: Adjustments::read(folder.path()).unwrap_or_default().run,
        folder: folder.path().to_owned(),
        endpoints: Endpoints::default(),
        supervisor_pid: None,
        services: Vec::new(),
    };
    if !folder.ledger().exists() {
        return Ok(status);
    }
    status.state = TestbedState::Stopped;
    if let Some(runtime) = read_runtime(folder) {
        status.endpoints = runtime.endpoints;
    }
    let entries = ledger::read(&folder.ledger())?;
    let planned = crate::supervisor::read_plan(folder).ok();
    let token = match entries.first() {
        Some(Entry::Testbed { token, .. }) => token.as_str(),
        _ => "",
    };
    for (name, service) in planned.iter().flat_map(|project| project.services.iter()) {
        status.services.push(last_known(
            name.as_str(),
            &entries,
            token,
            crate::backend::native::addresses(service),
        ));
    }
    if status.services.iter().any(|service| service.pid.is_some()) {
        status.state = TestbedState::Unsupervised;
    }
    Ok(status)
}

fn last_known(
    name: &str,
    entries: &[Entry],
    token: &str,
    addresses: Vec<std::net::SocketAddr>,
) -> ServiceStatus {
    let mut process = None;
    let mut how = None;
    for entry in entries {
        match entry {
            Entry::Started { what, process: started } if what == name => {
                (process, how) = (Some(*started), None)
            }
            Entry::Ended { what, how: ended, .. } if what == name => {
                (process, how) = (None, Some(ended.clone()))
            }
            _ => {}
        }
    }
    // A forged or stale line must not make a foreign process ours.
    let alive = process.filter(|process| process.is_alive() && process::has_token(process.pid, token));
    let usage = alive.and_then(|process| process.usage());
    let last_error = match (process, alive, how) {
        (Some(_), Some(_), _) => Some("runs without a supervisor".to_owned()),
        (Some(_), None, _) => Some("ended while nobody watched".to_owned()),
        (None, _, Some(how))
            if how != "exited with code 0" && !how.contains("SIGTERM") && !how.ends_with("code 143") =>
        {
            Some(how)
        }
        _ => None,
    };
    ServiceStatus {
        name: name.to_owned(),
        state: if alive.is_some() { ServiceState::Running } else { ServiceState::Stopped },
        ready: false,
        since: timestamp(std::time::SystemTime::now()),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        pid: alive.map(|process| process.pid),
        cpu_seconds: usage.map(|usage| usage.cpu_seconds),
        memory_bytes: usage.map(|usage| usage.memory_bytes),
        starts: 0,
        restarts: 0,
        last_error,
        ends: Vec::new(),
    }
}

fn read_runtime(folder: &TestbedFolder) -> Option<Runtime> {
    serde_json::from_slice(&std::fs::read(folder.runtime()).ok()?).ok()
}

/// A testbed that a command works on: nobody else does as long as this lives.
struct Held {
    folder: TestbedFolder,
    ledger: Ledger,
    adjustments: Adjustments,
    _lock: fs::File,
}

impl Held {
    /// Takes an existing testbed; `doing` is what others are told.
    fn take(place: &Workplace, doing: &str) -> Result<Self, Error> {
        let folder = place.folder();
        if !folder.ledger().exists() {
            return Err(Error::Absent(place.name.clone()));
        }
        let lock = folder.lock(&format!("`{doing}`, pid {}", std::process::id()))?;
        let ledger = Ledger::open(&folder.ledger())?;
        let adjustments = read_adjustments(&folder)?;
        Ok(Self { folder, ledger, adjustments, _lock: lock })
    }

    /// The specification of the last `up`.
    fn spec(&self, place: &Workplace) -> Result<Spec, Error> {
        stored_spec(place)?.ok_or_else(|| Error::NotRunning(place.name.clone()))
    }

    /// Writes the adjustments to the disk.
    fn keep_adjustments(&mut self) -> Result<(), Error> {
        for name in [Adjustments::FILE_NAME, Adjustments::NEW_FILE_NAME] {
            self.ledger.record_once(Entry::File { path: name.into() })?;
        }
        let path = self.folder.path().join(Adjustments::FILE_NAME);
        self.adjustments.write(self.folder.path()).map_err(io_error("writing", &path))
    }

    /// Plans `spec` as adjusted, at the testbed's addresses.
    fn plan(&self, spec: &Spec) -> Result<Plan, Error> {
        let mut spec = spec.clone();
        self.adjustments.apply(&mut spec);
        let block = LoopbackBlock::from_octets(self.ledger.block().ok_or(Error::NoBlock)?);
        let placement = Placement { run: self.adjustments.run, ..Placement::new(block, self.ledger.token()) };
        let plan = plan(&spec, &placement);
        let faults = compose_model::check(&plan.project);
        if faults.is_empty() {
            return Ok(plan);
        }
        Err(Error::Plan(faults.iter().map(|fault| format!("{fault:?}")).collect::<Vec<_>>().join("; ")))
    }
}

fn read_adjustments(folder: &TestbedFolder) -> Result<Adjustments, Error> {
    let path = folder.path().join(Adjustments::FILE_NAME);
    Adjustments::read(folder.path()).map_err(io_error("reading", &path))
}

/// The specification of the testbed's last `up`, if it has had one, under the testbed's name.
///
/// # Errors
/// When the copy cannot be read.
pub fn stored_spec(place: &Workplace) -> Result<Option<Spec>, Error> {
    let path = place.folder().spec();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("reading", &path)(error)),
    };
    let source = yaml_source::Source::new(path.display().to_string(), text);
    let mut spec = spec::read(&source).map_err(|faults| Error::StoredSpec(faults.to_string()))?;
    spec.name.clone_from(&place.name);
    Ok(Some(spec))
}

/// What the present or last start of the testbed ran on and where it is reached, if it has had one.
pub fn runtime(place: &Workplace) -> Option<Runtime> {
    read_runtime(&place.folder())
}

/// Every process of the testbed that lives: found by its token, whether or not anybody wrote down its pid.
fn living(ledger: &Ledger) -> Vec<ProcessIdentity> {
    process::find_by_token(ledger.token(), &[std::process::id()])
}

/// Ends every process of the testbed: clients first, brokers before ZooKeeper, what nobody knows at the end.
async fn end_living(folder: &TestbedFolder, ledger: &Ledger) -> Result<usize, Error> {
    // A supervisor would start again what we end.
    let supervisors: Vec<ProcessIdentity> = ledger
        .running()
        .into_iter()
        .filter(|(what, process)| what == up::SUPERVISOR && process::has_token(process.pid, ledger.token()))
        .map(|(_, process)| process)
        .collect();
    for supervisor in &supervisors {
        let _ = supervisor.signal(rustix::process::Signal::KILL);
    }
    process::end_all(&supervisors, Duration::ZERO).await;
    let found = living(ledger);
    let levels = crate::supervisor::read_plan(folder)
        .ok()
        .and_then(|project| compose_model::graph::stop_levels(&project).ok())
        .unwrap_or_default();
    let running = ledger.running();
    for level in levels {
        let processes: Vec<ProcessIdentity> = running
            .iter()
            .filter(|(what, process)| {
                level.iter().any(|name| name.as_str() == what) && found.contains(process)
            })
            .map(|(_, process)| *process)
            .collect();
        process::end_all(&processes, Duration::from_secs(60)).await;
    }
    let left = process::end_all(&living(ledger), Duration::from_secs(10)).await;
    if left.is_empty() { Ok(found.len()) } else { Err(Error::Survivors(left)) }
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}
