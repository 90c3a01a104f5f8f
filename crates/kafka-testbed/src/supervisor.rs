//! The supervisor: one background process per testbed that owns the services' processes.
//!
//! All state lives in one task that takes `Message`s; a waiting task per process and a probing task per service
//! send them. The order of start follows the plan's dependencies, the order of stop is its reverse. Each service has
//! a goal; `Supervisor::advance` moves every service one step towards it.

mod ending;
mod healing;
mod listener;
mod order;
mod probe;
mod service;
mod spawn;

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Instant, SystemTime},
};

use compose_model::{Project, load};
use rustix::process::{Resource, Signal, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tracing::{error, info, warn};
use yaml_source::Source;

use self::{
    healing::Verdict,
    order::Links,
    service::{Goal, Supervised},
};
use crate::{
    backend::native::{self, Launch, LaunchError, Probe},
    control::{self, Answer, Request},
    home::TestbedFolder,
    ledger::{Entry, Ledger, LedgerError},
    logs::tail,
    provision::Tools,
    status::{End, Endpoints, ServiceState, ServiceStatus, TestbedState, TestbedStatus, timestamp},
};

/// In how many lines of a log its service's end is looked for.
const LAST_LINES: usize = 200;

/// What the supervisor needs beside the plan; written by `up`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Name of the testbed.
    pub name: String,
    /// What the services run on.
    pub tools: Tools,
    /// Addresses for users.
    pub endpoints: Endpoints,
    /// Number of the present run.
    pub run: u32,
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

    let planned = Planned::read(&folder)?;
    let ledger = Ledger::open(&folder.ledger())?;
    let socket_path = folder.path().join(TestbedFolder::SOCKET);
    let listener = control::bind(&folder).map_err(failed("binding", &socket_path))?;

    let (sender, mut messages) = mpsc::channel(256);
    tokio::spawn(listener::listen(listener, sender.clone()));
    let signal_failed = || failed("handling signals for", folder.path());
    let mut terminate = signal(SignalKind::terminate()).map_err(signal_failed())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signal_failed())?;
    let mut hangup = signal(SignalKind::hangup()).map_err(signal_failed())?;

    let mut supervisor = Supervisor {
        folder,
        runtime: planned.runtime.clone(),
        ledger,
        services: Vec::new(),
        links: Links { needs: Vec::new(), needed_by: Vec::new() },
        sender,
        stopping: false,
    };
    supervisor.adopt(planned);
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

/// Everything that `up` wrote for a supervisor, read as a whole before anything of it is applied.
struct Planned {
    runtime: Runtime,
    project: Project,
    services: Vec<(String, Launch, Vec<String>)>,
}

impl Planned {
    fn read(folder: &TestbedFolder) -> Result<Self, SupervisorError> {
        let path = folder.runtime();
        let runtime = fs::read(&path).map_err(|source| SupervisorError::Io {
            doing: "reading",
            path: path.clone(),
            source,
        })?;
        let runtime: Runtime =
            serde_json::from_slice(&runtime).map_err(|error| SupervisorError::Plan(error.to_string()))?;
        let project = read_plan(folder)?;
        let mut services = Vec::new();
        for (name, service) in project.services.iter() {
            let launch = native::launch(name, service, folder.path(), &runtime.tools)?;
            let addresses = native::addresses(service).iter().map(ToString::to_string).collect();
            services.push((name.to_string(), launch, addresses));
        }
        Ok(Self { runtime, project, services })
    }
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
    Request { request: Request, reply: oneshot::Sender<Answer> },
}

struct Supervisor {
    folder: TestbedFolder,
    runtime: Runtime,
    ledger: Ledger,
    /// A service that is in the plan no more keeps its place: messages name services by it.
    services: Vec<Supervised>,
    links: Links,
    sender: mpsc::Sender<Message>,
    stopping: bool,
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
            Message::Retry { index, start } if self.is_current(index, start) => {
                let service = &mut self.services[index];
                if service.state == ServiceState::BackingOff && !self.stopping {
                    service.restarts += 1;
                    service.enter(ServiceState::Waiting);
                }
            }
            Message::GraceOver { index, start } if self.is_current(index, start) => self.kill(index),
            Message::Request { request, reply } => {
                let refused = self.answer(&request).err();
                // Nobody is left to tell when the command has gone.
                let _ = reply.send(Answer { status: self.status(), refused });
            }
            _ => {}
        }
    }

    /// Does what a command asks, or says why not; then nothing was done.
    fn answer(&mut self, request: &Request) -> Result<(), String> {
        if self.stopping && !matches!(request, Request::Status | Request::Stop) {
            return Err("the testbed is being stopped".to_owned());
        }
        match request {
            Request::Status => {}
            Request::Stop => self.stop(),
            Request::Start { services } => {
                for index in self.find(services)? {
                    for needed in self.links.with_needs(index) {
                        if self.services[needed].goal != Goal::Gone {
                            self.services[needed].want();
                        }
                    }
                }
            }
            Request::StopServices { services, at_once } => {
                for index in self.find(services)? {
                    self.services[index].goal = Goal::Down;
                    self.services[index].at_once = *at_once;
                }
            }
            Request::Restart { services } => {
                for index in self.find(services)? {
                    let service = &mut self.services[index];
                    service.restarting = service.process.is_some();
                    if service.state == ServiceState::Completed {
                        service.enter(ServiceState::Stopped);
                    }
                    service.want();
                }
            }
            Request::Reload => {
                let planned = Planned::read(&self.folder).map_err(|error| chain(&error))?;
                self.adopt(planned);
            }
        }
        Ok(())
    }

    /// The services of these names; all of the plan when none is named.
    fn find(&self, names: &[String]) -> Result<Vec<usize>, String> {
        let planned = || self.services.iter().enumerate().filter(|(_, service)| service.goal != Goal::Gone);
        if names.is_empty() {
            return Ok(planned().map(|(index, _)| index).collect());
        }
        names
            .iter()
            .map(|name| {
                planned().find(|(_, service)| service.name == *name).map(|(index, _)| index).ok_or_else(
                    || {
                        let known: Vec<&str> = planned().map(|(_, service)| service.name.as_str()).collect();
                        format!("there is no service `{name}`; there are {}", known.join(", "))
                    },
                )
            })
            .collect()
    }

    /// Takes a plan over: new services come, old ones go, changed ones are started again, and those that read their
    /// files again when asked get new files.
    fn adopt(&mut self, planned: Planned) {
        let mut index_of = HashMap::new();
        for (name, launch, addresses) in planned.services {
            let known = self.services.iter().position(|service| service.name == name);
            let index = known.unwrap_or(self.services.len());
            index_of.insert(name.clone(), index);
            match known {
                None => self.services.push(Supervised::new(name, launch, addresses)),
                Some(index) => self.change(index, launch, addresses),
            }
        }
        let count = self.services.len();
        for (index, service) in self.services.iter_mut().enumerate() {
            if !index_of.values().any(|planned| *planned == index) {
                service.goal = Goal::Gone;
                index_of.insert(service.name.clone(), index);
            }
        }
        debug_assert_eq!(index_of.len(), count);
        self.links = Links::of(&planned.project, &index_of);
        self.runtime = planned.runtime;
    }

    fn change(&mut self, index: usize, launch: Launch, addresses: Vec<String>) {
        let service = &mut self.services[index];
        let returns = service.goal == Goal::Gone;
        let same_files = service.launch.files == launch.files;
        let same_rest = Launch { files: Vec::new(), ..service.launch.clone() }
            == Launch { files: Vec::new(), ..launch.clone() };
        service.launch = launch;
        service.addresses = addresses;
        if returns {
            service.want();
        }
        match (same_rest, same_files) {
            (true, true) => {}
            (true, false) if service.launch.reloads && service.process.is_some() => {
                info!(service = %service.name, "new files");
                if let Err(reason) = spawn::write_files(&service.launch) {
                    error!(service = %service.name, reason, "cannot write its files");
                    service.last_error = Some(reason);
                }
            }
            _ => {
                info!(service = %service.name, "changed");
                service.restarting = service.process.is_some();
                if service.state == ServiceState::Completed {
                    service.enter(ServiceState::Waiting);
                }
            }
        }
    }

    fn is_current(&self, index: usize, start: u32) -> bool {
        self.services.get(index).is_some_and(|service| service.starts == start)
    }

    fn is_finished(&self) -> bool {
        self.stopping && self.services.iter().all(|service| service.process.is_none())
    }

    /// Moves every service a step towards its goal.
    fn advance(&mut self) {
        for index in 0..self.services.len() {
            if self.stopping || self.services[index].shall_end() {
                self.advance_stop(index);
            }
            let service = &self.services[index];
            let is_wanted = !self.stopping && !service.shall_end();
            if is_wanted && matches!(service.state, ServiceState::Waiting | ServiceState::Stopped) {
                let may_start = self.links.needs[index]
                    .iter()
                    .all(|(needed, condition)| self.services[*needed].satisfies(*condition));
                if may_start {
                    self.start(index);
                }
            }
        }
    }

    fn advance_stop(&mut self, index: usize) {
        // Who ends together with others ends after those that need it.
        let still_needed = self.links.needed_by[index].iter().any(|other| {
            let other = &self.services[*other];
            other.process.is_some() && (self.stopping || other.shall_end())
        });
        let stopping = self.stopping;
        let service = &mut self.services[index];
        match (service.process, service.state) {
            (None, ServiceState::Completed | ServiceState::Failed) if stopping => {}
            (None, _) => {
                service.restarting = false;
                service.ready = false;
                service.last_error = None;
                service.enter(ServiceState::Stopped);
            }
            (Some(_), ServiceState::Stopping) => {}
            (Some(process), _) if !still_needed => {
                service.enter(ServiceState::Stopping);
                service.stop_probing();
                let signal = if service.at_once && !stopping { Signal::KILL } else { Signal::TERM };
                if let Err(error) = process.signal(signal).and_then(|()| process.signal(Signal::CONT)) {
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

    fn start(&mut self, index: usize) {
        self.services[index].prepared = 0;
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
            Err(reason) => self.cannot_start(index, reason),
        }
    }

    fn cannot_start(&mut self, index: usize, reason: String) {
        let service = &mut self.services[index];
        error!(service = %service.name, reason, "cannot start");
        service.stop_probing();
        service.last_error = Some(reason);
        service.enter(ServiceState::Failed);
    }

    fn exited(&mut self, index: usize, status: io::Result<ExitStatus>) {
        let log = self.folder.log(&self.services[index].name);
        let service = &mut self.services[index];
        let end = End::of(&status, SystemTime::now(), ending::telling(tail(&log, LAST_LINES)));
        if let Some(process) = service.process.take() {
            let entry = Entry::Ended { what: service.name.clone(), process, how: end.how.clone() };
            if let Err(error) = self.ledger.record(entry) {
                warn!(service = %service.name, error = chain(&error), "cannot write down the end");
            }
        }
        let is_stopping = self.stopping || service.state == ServiceState::Stopping;
        if end.exit_code == Some(0) && !is_stopping && service.prepared < service.launch.before.len() {
            service.prepared += 1;
            if let Err(reason) = self.spawn(index) {
                self.cannot_start(index, reason);
            }
            return;
        }
        service.stop_probing();
        if is_stopping {
            service.enter(ServiceState::Stopped);
            return;
        }
        if service.launch.probe == Probe::Exit && end.exit_code == Some(0) {
            service.last_error = None;
            service.ready = true;
            service.enter(ServiceState::Completed);
            return;
        }
        let verdict = service.healing.ended(Instant::now());
        let what = match verdict {
            Verdict::Again(pause) => format!("{}; it is started again after {} s", end.how, pause.as_secs()),
            Verdict::GiveUp => format!(
                "{}; given up: that was the {}th end within {} min",
                end.how,
                healing::MOST_ENDS,
                healing::WINDOW.as_secs() / 60
            ),
        };
        service.last_error = Some(end.explained(&what));
        service.remember(end);
        match verdict {
            Verdict::Again(pause) => {
                service.enter(ServiceState::BackingOff);
                let (sender, start) = (self.sender.clone(), service.starts);
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    let _ = sender.send(Message::Retry { index, start }).await;
                });
            }
            Verdict::GiveUp => service.enter(ServiceState::Failed),
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
        let shown = |service: &&Supervised| service.goal != Goal::Gone || service.process.is_some();
        let services: Vec<ServiceStatus> =
            self.services.iter().filter(shown).map(Supervised::status).collect();
        let state = if self.stopping && !self.services.iter().all(Supervised::is_over) {
            TestbedState::Stopping
        } else {
            TestbedState::of(&services)
        };
        TestbedStatus {
            name: self.runtime.name.clone(),
            backend: "native".to_owned(),
            state,
            run: self.runtime.run,
            folder: self.folder.path().to_owned(),
            endpoints: self.runtime.endpoints.clone(),
            supervisor_pid: Some(std::process::id()),
            services,
        }
    }
}

impl End {
    fn of(status: &io::Result<ExitStatus>, at: SystemTime, log: Vec<String>) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let (how, exit_code, signal) = match status {
            Ok(status) => (ending::describe(*status), status.code(), status.signal()),
            Err(error) => (format!("ended in an unknown way: {error}"), None, None),
        };
        Self { how, exit_code, signal, at: timestamp(at), log }
    }

    /// `what`, the advice that we have, and the last lines of the log.
    fn explained(&self, what: &str) -> String {
        let mut text = what.to_owned();
        if let Some(advice) = ending::advice(&self.log) {
            text.push_str(&format!("\n{advice}"));
        }
        if !self.log.is_empty() {
            text.push_str(&format!("\nits log says:\n{}", self.log.join("\n")));
        }
        text
    }
}

/// Lets services have as many open files as the system allows us.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the limit of open files");
    }
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
