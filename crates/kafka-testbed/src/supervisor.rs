//! The supervisor: one background process per testbed that owns the services' processes.
//!
//! All state lives in one task that takes [`Message`]s; a waiting task per process and a probing task per service
//! send them. The order of start follows the plan's dependencies, the order of stop is its reverse.

mod logs;
mod probe;

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant, SystemTime},
};

use compose_model::{Condition, Project, load};
use rustix::process::{Resource, Signal, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::Command,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tracing::{error, info, warn};
use yaml_source::Source;

pub use self::logs::tail;
use crate::{
    backend::native::{self, Launch, LaunchError, Probe},
    control::{self, MAX_LINE, Request},
    home::TestbedFolder,
    ledger::{Entry, Ledger, LedgerError},
    process::{ProcessIdentity, TOKEN_VARIABLE},
    provision::Tools,
    status::{Endpoints, ServiceState, ServiceStatus, TestbedState, TestbedStatus, timestamp},
};

/// How often a service that ends before it was ready is started again: a broker that comes back before its old
/// ZooKeeper session (18 s) has ended refuses to start.
const MAX_ATTEMPTS: u32 = 8;
/// A service that ends by itself so soon after its start counts as one that was not ready, whatever its probe said:
/// such a broker opens its listeners before it registers.
const SETTLING: Duration = Duration::from_secs(30);
/// Pause before such a start.
const RETRY_PAUSE: Duration = Duration::from_secs(3);

/// What the supervisor needs beside the plan; written by `up`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Name of the testbed.
    pub name: String,
    /// What the services run on.
    pub tools: Tools,
    /// Addresses for users.
    pub endpoints: Endpoints,
}

/// Why a supervisor could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// The file system refused.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another supervisor has this testbed.
    #[error("another supervisor has this testbed")]
    Taken,
    /// The ledger is not usable.
    #[error("cannot use the ledger")]
    Ledger(#[from] LedgerError),
    /// The plan cannot be read.
    #[error("cannot read the plan: {0}")]
    Plan(String),
    /// A service cannot be started from its model.
    #[error("cannot start from the plan")]
    Launch(#[from] LaunchError),
}

/// Runs the plan in `folder` until it is asked to stop. Nothing is started when it fails.
///
/// # Errors
/// When the plan or the testbed's folder is not usable.
pub async fn supervise(folder: TestbedFolder) -> Result<(), SupervisorError> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| SupervisorError::Io { doing, path, source }
    };
    let lock_path = folder.supervisor_lock();
    let lock =
        File::options().create(true).append(true).open(&lock_path).map_err(failed("opening", &lock_path))?;
    lock.try_lock().map_err(|_| SupervisorError::Taken)?;
    // A closed terminal or a Ctrl-C in it is not for us.
    let _ = rustix::process::setsid();
    raise_open_files();

    let runtime_path = folder.runtime();
    let runtime = fs::read(&runtime_path).map_err(failed("reading", &runtime_path))?;
    let runtime: Runtime =
        serde_json::from_slice(&runtime).map_err(|error| SupervisorError::Plan(error.to_string()))?;
    let project = read_plan(&folder)?;
    let ledger = Ledger::open(&folder.ledger())?;
    let mut services = Vec::new();
    for (name, service) in project.services.iter() {
        let launch = native::launch(name, service, folder.path(), &runtime.tools)?;
        let addresses = native::addresses(service).iter().map(ToString::to_string).collect();
        services.push(Supervised::new(name.to_string(), launch, addresses));
    }
    let links = Links::of(&project);
    let socket_path = folder.path().join(TestbedFolder::SOCKET);
    let listener = control::bind(&folder).map_err(failed("binding", &socket_path))?;

    let (sender, mut messages) = mpsc::channel(256);
    tokio::spawn(listen(listener, sender.clone()));
    let signal_failed = failed("handling signals for", folder.path());
    let mut terminate = signal(SignalKind::terminate()).map_err(signal_failed)?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(failed("handling signals for", folder.path()))?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed("handling signals for", folder.path()))?;

    let mut supervisor = Supervisor { folder, runtime, ledger, services, links, sender, stopping: false };
    info!(services = supervisor.services.len(), "supervising");
    supervisor.advance();
    while !supervisor.is_finished() {
        tokio::select! {
            message = messages.recv() => match message {
                Some(message) => supervisor.take(message),
                None => break,
            },
            _ = terminate.recv() => supervisor.stop(),
            _ = interrupt.recv() => supervisor.stop(),
            _ = hangup.recv() => {}
        }
        supervisor.advance();
    }
    info!("all services have ended");
    drop(lock);
    Ok(())
}

/// Reads the plan that `up` wrote.
pub(crate) fn read_plan(folder: &TestbedFolder) -> Result<Project, SupervisorError> {
    let path = folder.plan();
    let text = fs::read_to_string(&path).map_err(|source| SupervisorError::Io {
        doing: "reading",
        path: path.clone(),
        source,
    })?;
    let loaded = load(&Source::new(path.display().to_string(), text))
        .map_err(|faults| SupervisorError::Plan(faults.to_string()))?;
    Ok(loaded.project)
}

/// Something happened.
#[derive(Debug)]
enum Message {
    /// The process of a service ended.
    Exited { index: usize, start: u32, status: io::Result<ExitStatus> },
    /// The probe of a service was answered, or not.
    Probed { index: usize, start: u32, result: Result<(), String> },
    /// The pause before another attempt is over.
    Retry { index: usize, start: u32 },
    /// The time a service has to end is over.
    GraceOver { index: usize, start: u32 },
    /// A command asks.
    Request { request: Request, reply: oneshot::Sender<TestbedStatus> },
}

/// A service and where it is in its life.
#[derive(Debug)]
struct Supervised {
    name: String,
    launch: Launch,
    addresses: Vec<String>,
    state: ServiceState,
    since: SystemTime,
    process: Option<ProcessIdentity>,
    /// Whether its probe was answered last time.
    ready: bool,
    /// Starts since the supervisor runs; tells messages of an old process from those of the present one.
    starts: u32,
    /// Starts in a row that ended before the service was ready.
    attempts: u32,
    last_error: Option<String>,
    started_at: Option<Instant>,
    prober: Option<tokio::task::JoinHandle<()>>,
}

/// Who waits for whom, by index.
#[derive(Debug)]
struct Links {
    needs: Vec<Vec<(usize, Condition)>>,
    needed_by: Vec<Vec<usize>>,
}

struct Supervisor {
    folder: TestbedFolder,
    runtime: Runtime,
    ledger: Ledger,
    services: Vec<Supervised>,
    links: Links,
    sender: mpsc::Sender<Message>,
    stopping: bool,
}

impl Links {
    fn of(project: &Project) -> Self {
        let index: HashMap<&str, usize> =
            project.services.keys().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
        let needs: Vec<Vec<(usize, Condition)>> = project
            .services
            .values()
            .map(|service| {
                let known = |name: &str| index.get(name).copied();
                service
                    .depends_on
                    .iter()
                    .filter_map(|(name, dependency)| Some((known(name.as_str())?, dependency.condition)))
                    .collect()
            })
            .collect();
        let mut needed_by = vec![Vec::new(); needs.len()];
        for (index, needs) in needs.iter().enumerate() {
            for (needed, _) in needs {
                needed_by[*needed].push(index);
            }
        }
        Self { needs, needed_by }
    }
}

impl Supervised {
    fn new(name: String, launch: Launch, addresses: Vec<String>) -> Self {
        Self {
            name,
            launch,
            addresses,
            state: ServiceState::Waiting,
            since: SystemTime::now(),
            process: None,
            ready: false,
            starts: 0,
            attempts: 0,
            last_error: None,
            started_at: None,
            prober: None,
        }
    }

    fn enter(&mut self, state: ServiceState) {
        if self.state != state {
            let error = self.last_error.as_deref().and_then(|error| error.lines().next());
            info!(service = %self.name, from = ?self.state, to = ?state, error, "state");
            self.state = state;
            self.since = SystemTime::now();
        }
    }

    fn satisfies(&self, condition: Condition) -> bool {
        match condition {
            Condition::Started => matches!(self.state, ServiceState::Starting | ServiceState::Running),
            Condition::Healthy => self.state == ServiceState::Running && self.ready,
            Condition::Completed => self.state == ServiceState::Completed,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.state, ServiceState::Stopped | ServiceState::Completed | ServiceState::Failed)
    }

    fn stop_probing(&mut self) {
        self.ready = false;
        if let Some(prober) = self.prober.take() {
            prober.abort();
        }
    }

    fn status(&self) -> ServiceStatus {
        let usage = self.process.and_then(|process| process.usage());
        ServiceStatus {
            name: self.name.clone(),
            state: self.state,
            ready: self.ready,
            since: timestamp(self.since),
            addresses: self.addresses.clone(),
            pid: self.process.map(|process| process.pid),
            cpu_seconds: usage.map(|usage| usage.cpu_seconds),
            memory_bytes: usage.map(|usage| usage.memory_bytes),
            starts: self.starts,
            last_error: self.last_error.clone(),
        }
    }
}

impl Supervisor {
    fn take(&mut self, message: Message) {
        match message {
            Message::Exited { index, start, status } if self.is_current(index, start) => {
                self.exited(index, status)
            }
            Message::Probed { index, start, result } if self.is_current(index, start) => {
                self.probed(index, result)
            }
            Message::Retry { index, start } if self.is_current(index, start) && !self.stopping => {
                self.start(index)
            }
            Message::GraceOver { index, start } if self.is_current(index, start) => self.kill(index),
            Message::Request { request, reply } => {
                match request {
                    Request::Status => {}
                    Request::Start => self.start_again(),
                    Request::Stop => self.stop(),
                }
                // Nobody is left to tell when the command has gone.
                let _ = reply.send(self.status());
            }
            _ => {}
        }
    }

    fn is_current(&self, index: usize, start: u32) -> bool {
        self.services.get(index).is_some_and(|service| service.starts == start)
    }

    fn is_finished(&self) -> bool {
        self.stopping && self.services.iter().all(|service| service.process.is_none())
    }

    /// Starts what may start, or asks to end what may end.
    fn advance(&mut self) {
        for index in 0..self.services.len() {
            if self.stopping {
                self.advance_stop(index);
            } else if self.services[index].state == ServiceState::Waiting {
                let may_start = self.links.needs[index]
                    .iter()
                    .all(|(needed, condition)| self.services[*needed].satisfies(*condition));
                if may_start {
                    self.services[index].attempts = 0;
                    self.start(index);
                }
            }
        }
    }

    fn advance_stop(&mut self, index: usize) {
        let still_needed =
            self.links.needed_by[index].iter().any(|other| self.services[*other].process.is_some());
        let service = &mut self.services[index];
        match (service.process, service.state) {
            (None, ServiceState::Completed | ServiceState::Failed | ServiceState::Stopped) => {}
            (None, _) => service.enter(ServiceState::Stopped),
            (Some(_), ServiceState::Stopping) => {}
            (Some(process), _) if !still_needed => {
                service.enter(ServiceState::Stopping);
                service.stop_probing();
                if let Err(error) = process.signal(Signal::TERM).and_then(|()| process.signal(Signal::CONT)) {
                    warn!(service = %service.name, %error, "cannot ask to end");
                }
                let (sender, start, grace) = (self.sender.clone(), service.starts, service.launch.grace);
                tokio::spawn(async move {
                    tokio::time::sleep(grace).await;
                    let _ = sender.send(Message::GraceOver { index, start }).await;
                });
            }
            (Some(_), _) => {}
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn start_again(&mut self) {
        if self.stopping {
            return;
        }
        for service in &mut self.services {
            if matches!(service.state, ServiceState::Failed | ServiceState::Stopped) {
                service.enter(ServiceState::Waiting);
            }
        }
    }

    fn start(&mut self, index: usize) {
        match self.spawn(index) {
            Ok(()) => {
                let service = &mut self.services[index];
                service.enter(ServiceState::Starting);
                let (probe, start) = (service.launch.probe.clone(), service.starts);
                if probe != Probe::Exit {
                    service.prober =
                        Some(tokio::spawn(probe::watch(probe, index, start, self.sender.clone())));
                }
            }
            Err(reason) => {
                let service = &mut self.services[index];
                error!(service = %service.name, reason, "cannot start");
                service.last_error = Some(reason);
                service.enter(ServiceState::Failed);
            }
        }
    }

    /// Writes down, then starts; an error tells what went wrong and where.
    fn spawn(&mut self, index: usize) -> Result<(), String> {
        let service = &mut self.services[index];
        let launch = &service.launch;
        let root = self.folder.path();
        let mut create = |path: &Path, is_tree: bool| -> Result<(), String> {
            let below = path.strip_prefix(root).unwrap_or(path).to_owned();
            if let Some(parent) = below.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                record_parents(&mut self.ledger, parent)?;
            }
            let entry = if is_tree { Entry::Tree { path: below } } else { Entry::Directory { path: below } };
            self.ledger.record_once(entry).map_err(|error| chain(&error))?;
            fs::create_dir_all(path).map_err(|error| format!("creating {}: {error}", path.display()))
        };
        create(&launch.folder, true)?;
        for tree in &launch.trees {
            create(tree, true)?;
        }
        for (path, text) in &launch.files {
            fs::write(path, text).map_err(|error| format!("writing {}: {error}", path.display()))?;
        }
        let log_path = self.folder.log(&service.name);
        let log =
            logs::open(&log_path).map_err(|error| format!("opening {}: {error}", log_path.display()))?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        self.ledger.record(Entry::Spawn { what: service.name.clone() }).map_err(|error| chain(&error))?;
        let mut child = Command::new(&launch.program)
            .args(&launch.arguments)
            .env_clear()
            .envs(launch.environment.iter().map(|(key, value)| (key, value)))
            .env(TOKEN_VARIABLE, self.ledger.token())
            .current_dir(&launch.folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("starting {}: {error}", launch.program.display()))?;
        service.starts += 1;
        service.attempts += 1;
        service.started_at = Some(Instant::now());
        service.process = child.id().and_then(ProcessIdentity::of);
        if let Some(process) = service.process {
            let entry = Entry::Started { what: service.name.clone(), process };
            // The process runs already; without this line it is still found by its token.
            if let Err(error) = self.ledger.record(entry) {
                warn!(service = %service.name, error = chain(&error), "cannot write down the start");
            }
        }
        let (sender, start) = (self.sender.clone(), service.starts);
        tokio::spawn(async move {
            let status = child.wait().await;
            let _ = sender.send(Message::Exited { index, start, status }).await;
        });
        Ok(())
    }

    fn exited(&mut self, index: usize, status: io::Result<ExitStatus>) {
        let how = match &status {
            Ok(status) => describe(*status),
            Err(error) => format!("ended in an unknown way: {error}"),
        };
        let log = self.folder.log(&self.services[index].name);
        let service = &mut self.services[index];
        if let Some(process) = service.process.take() {
            let entry = Entry::Ended { what: service.name.clone(), process, how: how.clone() };
            if let Err(error) = self.ledger.record(entry) {
                warn!(service = %service.name, error = chain(&error), "cannot write down the end");
            }
        }
        let ended_by_itself = status.as_ref().is_ok_and(|status| status.code().is_some());
        let is_settled = service.started_at.is_none_or(|at| at.elapsed() >= SETTLING);
        let was_starting = service.state == ServiceState::Starting || (ended_by_itself && !is_settled);
        if is_settled {
            service.attempts = 0;
        }
        service.stop_probing();
        if self.stopping || service.state == ServiceState::Stopping {
            service.enter(ServiceState::Stopped);
            return;
        }
        let succeeded = status.is_ok_and(|status| status.success());
        if service.launch.probe == Probe::Exit && succeeded {
            service.last_error = None;
            service.ready = true;
            service.enter(ServiceState::Completed);
            return;
        }
        let words = tail(&log, 8).join("\n");
        service.last_error =
            Some(if words.is_empty() { how } else { format!("{how}; the last lines of its log:\n{words}") });
        if was_starting && service.attempts < MAX_ATTEMPTS {
            service.enter(ServiceState::Starting);
            let (sender, start) = (self.sender.clone(), service.starts);
            tokio::spawn(async move {
                tokio::time::sleep(RETRY_PAUSE).await;
                let _ = sender.send(Message::Retry { index, start }).await;
            });
        } else {
            service.enter(ServiceState::Failed);
        }
    }

    fn probed(&mut self, index: usize, result: Result<(), String>) {
        let service = &mut self.services[index];
        match result {
            Ok(()) => {
                service.ready = true;
                service.last_error = None;
                if service.state == ServiceState::Starting {
                    service.enter(ServiceState::Running);
                }
            }
            Err(reason) => {
                service.ready = false;
                service.last_error = Some(reason);
            }
        }
    }

    fn kill(&mut self, index: usize) {
        let service = &self.services[index];
        if let Some(process) = service.process {
            warn!(service = %service.name, "did not end in time, killing");
            let _ = process.signal(Signal::KILL);
        }
    }

    fn status(&self) -> TestbedStatus {
        let services: Vec<ServiceStatus> = self.services.iter().map(Supervised::status).collect();
        let state = if self.stopping && !self.services.iter().all(Supervised::is_over) {
            TestbedState::Stopping
        } else {
            TestbedState::of(&services)
        };
        TestbedStatus {
            name: self.runtime.name.clone(),
            backend: "native".to_owned(),
            state,
            folder: self.folder.path().to_owned(),
            endpoints: self.runtime.endpoints.clone(),
            supervisor_pid: Some(std::process::id()),
            services,
        }
    }
}

fn record_parents(ledger: &mut Ledger, path: &Path) -> Result<(), String> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        record_parents(ledger, parent)?;
    }
    ledger.record_once(Entry::Directory { path: path.to_owned() }).map_err(|error| chain(&error))
}

async fn listen(listener: tokio::net::UnixListener, sender: mpsc::Sender<Message>) {
    while let Ok((stream, _)) = listener.accept().await {
        let sender = sender.clone();
        tokio::spawn(async move {
            // A command that says nothing must not hold a task for ever.
            let _ = tokio::time::timeout(Duration::from_secs(30), answer(stream, sender)).await;
        });
    }
}

async fn answer(stream: tokio::net::UnixStream, sender: mpsc::Sender<Message>) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read).take(MAX_LINE).read_line(&mut line).await.ok()?;
    let request = serde_json::from_str(&line).ok()?;
    let (reply, status) = oneshot::channel();
    sender.send(Message::Request { request, reply }).await.ok()?;
    let mut answer = serde_json::to_vec(&status.await.ok()?).ok()?;
    answer.push(b'\n');
    write.write_all(&answer).await.ok()
}

/// Lets services have as many open files as the system allows us.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the limit of open files");
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(number)) => format!("killed by signal {number} ({})", signal_name(number)),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

fn signal_name(number: i32) -> &'static str {
    const NAMES: &[(i32, &str)] = &[
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (4, "SIGILL"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (15, "SIGTERM"),
    ];
    NAMES.iter().find(|(known, _)| *known == number).map_or("signal", |(_, name)| name)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}
