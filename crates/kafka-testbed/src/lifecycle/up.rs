//! `up`: from nothing, from a stop, or from a half-dead testbed to one that is proven ready.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use compose_model::{Project, render};
use tokio::process::Command;

use super::{
    Error, Held, HostChoice, TakenPort, Workplace, apply, end_living, io_error, living, preflight,
    read_adjustments, reset,
};
use crate::{
    address::LoopbackBlock,
    adjustments::MovedPort,
    backend::native,
    control::{self, Request},
    doctor::candidates,
    home::TestbedFolder,
    ledger::{Entry, Ledger},
    logs::tail,
    plan::{AGENT, Plan},
    ports,
    process::{ProcessIdentity, TOKEN_VARIABLE},
    progress::Reporter,
    provision::{self, Tools},
    readiness::Proof,
    spec::Spec,
    status::TestbedStatus,
    supervisor::Runtime,
};

/// Name of the supervisor in the ledger.
pub(super) const SUPERVISOR: &str = "supervisor";

/// What `up` did.
#[derive(Debug, Clone, PartialEq)]
pub struct UpReport {
    /// How the testbed is now.
    pub status: TestbedStatus,
    /// Whether anything had to be done.
    pub changed: bool,
    /// From the start of the services to proven ready.
    pub took: Duration,
}

/// Brings the testbed of `spec` up; `text` is what `spec` was read from.
///
/// # Errors
/// Before anything is started: a taken port, missing or damaged programs, another specification. After that: a
/// service that fails or a step of the proof that takes too long; what runs then keeps running.
pub async fn up(
    place: &Workplace,
    spec: &Spec,
    text: &str,
    reporter: &mut impl Reporter,
) -> Result<UpReport, Error> {
    super::check_machine(place, spec, reporter).await?;
    let folder = place.folder();
    fs::create_dir_all(folder.path()).map_err(io_error("creating", folder.path()))?;
    let lock = folder.lock(&format!("`up`, pid {}", std::process::id()))?;
    let mut ledger = open_ledger(place, &folder)?;
    ledger.record_once(Entry::File { path: "lock".into() })?;
    let adjustments = read_adjustments(&folder)?;
    let mut held = Held { folder: folder.clone(), ledger, adjustments, _lock: lock };
    if let Some(choice) = place.host {
        held.adjustments.host = match choice {
            HostChoice::Specification => None,
            HostChoice::Address(address) => Some(address),
            HostChoice::Found => {
                let candidates = candidates();
                let Some(first) = candidates.first() else { return Err(Error::NoAddress) };
                let all: Vec<String> = candidates.iter().map(ToString::to_string).collect();
                reporter.note(format!(
                    "clients reach the brokers at {first}; this machine has {}",
                    all.join(", ")
                ));
                Some(first.address)
            }
        };
        held.keep_adjustments()?;
    }
    let begun = Instant::now();
    if folder.is_supervised() {
        return apply::go_over(place, &mut held, spec, text, begun, reporter).await;
    }
    let left_over = living(&held.ledger);
    if !left_over.is_empty() {
        reporter.note(format!(
            "{} processes of an earlier start live without their supervisor: ending them",
            left_over.len()
        ));
        end_living(&folder, &held.ledger).await?;
    }
    held.ledger.compact()?;
    wait_for_the_dying(&held, spec, reporter).await?;
    let plan = free_ports(place, &mut held, spec, reporter)?;
    let tools = provide(place, spec, &mut held.ledger, reporter).await?;
    if held.adjustments.resetting {
        reporter.note("an interrupted `reset` is finished: the data of brokers and ZooKeeper goes");
        reset::remove_data(&folder, &held.ledger)?;
        held.adjustments.resetting = false;
        held.keep_adjustments()?;
    }
    if held.adjustments.applying {
        // All of them read the plan anew now.
        held.adjustments.applying = false;
        held.keep_adjustments()?;
    }
    let begun = Instant::now();
    write_files(&mut held, &plan, &tools, &place.name, text)?;
    start_supervisor(&folder, &tools, &mut held.ledger).await?;
    let status = prove(place, &held, &plan, 2, reporter).await?;
    let took = begun.elapsed();
    preflight::tell(place, &held, reporter).await;
    Ok(UpReport { status, changed: true, took })
}

/// A process that was killed holds its addresses until its memory is gone, and by then nobody can tell whose it was.
/// Waits a little for such holders of the testbed's own addresses.
async fn wait_for_the_dying(held: &Held, spec: &Spec, reporter: &mut impl Reporter) -> Result<(), Error> {
    let block = held.ledger.block().ok_or(Error::NoBlock)?;
    let project = held.plan(spec)?.project;
    let dying = || {
        taken(&project).into_iter().find(|port| {
            let is_own = matches!(port.wanted, SocketAddr::V4(own) if own.ip().octets()[..3] == block);
            is_own && matches!(&port.holder, Ok(holder) if holder.process.is_none())
        })
    };
    let begun = Instant::now();
    let mut is_told = false;
    while let Some(port) = dying() {
        if begun.elapsed() > Duration::from_secs(10) {
            // Then it is somebody else's, and will be told as such.
            break;
        }
        if !is_told {
            reporter.note(format!("waiting for what is ending to leave {} ({})", port.wanted, port.service));
            is_told = true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Plans with ports that are free: the wanted ones, or others where the user lets us choose.
fn free_ports(
    place: &Workplace,
    held: &mut Held,
    spec: &Spec,
    reporter: &mut impl Reporter,
) -> Result<Plan, Error> {
    // Each round moves at least one port; more rounds than ports are not needed.
    for _ in 0..spec.clone().ports_mut().len() {
        let plan = held.plan(spec)?;
        let taken = taken(&plan.project);
        if taken.is_empty() {
            return Ok(plan);
        }
        let moved = if place.any_port { move_ports(held, spec, &taken) } else { Vec::new() };
        if moved.is_empty() {
            return Err(Error::PortsTaken(taken));
        }
        for text in moved {
            reporter.note(text);
        }
        held.keep_adjustments()?;
    }
    let plan = held.plan(spec)?;
    let taken = taken(&plan.project);
    if taken.is_empty() { Ok(plan) } else { Err(Error::PortsTaken(taken)) }
}

/// Chooses another port for each taken one that a key of the specification has; tells what it chose.
fn move_ports(held: &mut Held, spec: &Spec, taken: &[TakenPort]) -> Vec<String> {
    let mut wanted = spec.clone();
    let wanted: BTreeMap<String, u16> =
        wanted.ports_mut().into_iter().map(|(key, port)| (key, *port)).collect();
    let mut present = spec.clone();
    held.adjustments.apply(&mut present);
    let mut told = Vec::new();
    for port in taken {
        let mut in_use: BTreeSet<u16> = present.ports_mut().into_iter().map(|(_, port)| *port).collect();
        let Some(key) = key_of(&port.service, port.wanted.port(), &mut present) else { continue };
        let Some(instead_of) = wanted.get(&key).copied() else { continue };
        in_use.extend(held.adjustments.ports.values().map(|moved| moved.port));
        let free = (port.wanted.port().saturating_add(1)..=u16::MAX).find(|candidate| {
            let address = SocketAddr::new(port.wanted.ip(), *candidate);
            !in_use.contains(candidate) && TcpListener::bind(address).is_ok()
        });
        if let Some(free) = free {
            let holder = match &port.holder {
                Ok(holder) => holder.to_string(),
                Err(reason) => reason.clone(),
            };
            told.push(format!("{key} is {free} instead of {}: {holder}", port.wanted.port()));
            held.adjustments.ports.insert(key, MovedPort { instead_of, port: free });
            held.adjustments.apply(&mut present);
        }
    }
    told
}

/// The key of the specification that says this port of this service.
fn key_of(service: &str, port: u16, spec: &mut Spec) -> Option<String> {
    let prefix = match service {
        "zookeeper" | "tsdb" | "merger" => service.to_owned(),
        "kafka-prometheus" => "prometheus.kafka".to_owned(),
        "kubernetes-prometheus" => "prometheus.kubernetes".to_owned(),
        _ => format!("kafka.brokers[{}]", service.strip_prefix("kafka-broker-")?),
    };
    let shared = ["kafka.internal_port", "kafka.agent_port", "kafka.controller_port"];
    let is_broker = prefix.starts_with("kafka.brokers");
    spec.ports_mut()
        .into_iter()
        .filter(|(_, own)| **own == port)
        .map(|(key, _)| key)
        .find(|key| *key == format!("{prefix}.port") || (is_broker && shared.contains(&key.as_str())))
}

/// Proves that everything of `plan` works.
pub(super) async fn prove(
    place: &Workplace,
    held: &Held,
    plan: &Plan,
    scrapes: usize,
    reporter: &mut impl Reporter,
) -> Result<TestbedStatus, Error> {
    let proof = Proof {
        folder: &held.folder,
        expected: &plan.expected,
        kafka_load: &place.own.kafka_load,
        token: held.ledger.token(),
        limit: place.limit,
        scrapes,
    };
    Ok(proof.run(reporter).await?)
}

/// Opens the ledger, or begins it with a token and a block of addresses that no other testbed has.
fn open_ledger(place: &Workplace, folder: &TestbedFolder) -> Result<Ledger, Error> {
    let path = folder.ledger();
    if path.exists() && fs::metadata(&path).is_ok_and(|data| data.len() > 0) {
        return Ok(Ledger::open(&path)?);
    }
    // Two new testbeds must not choose the same block at the same time. A folder can be locked like a file.
    let testbeds = folder.path().parent().unwrap_or(folder.path());
    let lock = File::open(testbeds).map_err(io_error("opening", testbeds))?;
    lock.lock().map_err(io_error("locking", testbeds))?;
    let taken = place.home.taken_blocks()?;
    let block = LoopbackBlock::allot(&place.name, &taken).ok_or(Error::NoBlock)?;
    let mut random = [0_u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .map_err(io_error("reading", Path::new("/dev/urandom")))?;
    let token = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let first = Entry::Testbed { name: place.name.clone(), token, block: block.octets() };
    Ok(Ledger::open_or_begin(&path, || first)?)
}

/// The addresses that a service will listen on and that are not free now.
pub(super) fn taken(project: &Project) -> Vec<TakenPort> {
    let listeners = ports::listeners();
    let mut taken = Vec::new();
    for (name, service) in project.services.iter() {
        for wanted in native::addresses(service) {
            let holder = match ports::holder(wanted, &listeners) {
                Some(holder) => Ok(holder),
                // Not ours to have: an address of another machine, or a port below the privileged limit.
                None => match TcpListener::bind(wanted) {
                    Ok(_) => continue,
                    Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                        let all: Vec<String> = candidates().iter().map(ToString::to_string).collect();
                        Err(format!(
                            "no interface of this machine has this address; it has {}",
                            all.join(", ")
                        ))
                    }
                    Err(error) => Err(error.to_string()),
                },
            };
            taken.push(TakenPort { service: name.to_string(), wanted, holder });
        }
    }
    taken
}

async fn provide(
    place: &Workplace,
    spec: &Spec,
    ledger: &mut Ledger,
    reporter: &mut impl Reporter,
) -> Result<Tools, Error> {
    let setup = super::setup_of(place, spec, "up");
    Ok(provision::provide(&setup, ledger, reporter).await?)
}

/// Writes everything that the supervisor and the services read.
pub(super) fn write_files(
    held: &mut Held,
    plan: &Plan,
    tools: &Tools,
    name: &str,
    spec_text: &str,
) -> Result<(), Error> {
    let Held { folder, ledger, adjustments, .. } = held;
    for directory in ["configs", "configs/rules", "logs", "run", "data"] {
        ledger.record_once(Entry::Directory { path: directory.into() })?;
        let path = folder.path().join(directory);
        fs::create_dir_all(&path).map_err(io_error("creating", &path))?;
    }
    let mut write = |path: &Path, bytes: &[u8], mode: u32| -> Result<(), Error> {
        ledger.record_once(Entry::File { path: path.to_owned() })?;
        let path = folder.path().join(path);
        if fs::read(&path).is_ok_and(|present| present == bytes) {
            return Ok(());
        }
        let mut options = File::options();
        let file = options.create(true).write(true).truncate(true).mode(mode).open(&path);
        file.and_then(|mut file| file.write_all(bytes)).map_err(io_error("writing", &path))
    };
    for file in &plan.files {
        write(&file.path, file.content.as_bytes(), if file.is_secret { 0o600 } else { 0o644 })?;
    }
    let agent = fs::read(&tools.jmx_agent).map_err(io_error("reading", &tools.jmx_agent))?;
    write(Path::new(AGENT), &agent, 0o644)?;
    let runtime = Runtime {
        name: name.to_owned(),
        tools: tools.clone(),
        endpoints: plan.endpoints.clone(),
        run: adjustments.run,
    };
    let runtime = serde_json::to_vec_pretty(&runtime).expect("paths are text");
    write(Path::new("runtime.json"), &runtime, 0o644)?;
    write(Path::new("compose.yaml"), render(&plan.project).as_bytes(), 0o644)?;
    write(Path::new(TestbedFolder::SPEC), spec_text.as_bytes(), 0o644)?;
    for path in ["supervisor.lock", TestbedFolder::SOCKET, "logs/supervisor.log"] {
        ledger.record_once(Entry::File { path: path.into() })?;
    }
    for service in plan.project.services.keys() {
        for suffix in ["log", "log.1"] {
            ledger.record_once(Entry::File { path: format!("logs/{service}.{suffix}").into() })?;
        }
    }
    Ok(())
}

async fn start_supervisor(folder: &TestbedFolder, tools: &Tools, ledger: &mut Ledger) -> Result<(), Error> {
    let log_path = folder.log(SUPERVISOR);
    let log =
        File::options().create(true).append(true).open(&log_path).map_err(io_error("opening", &log_path))?;
    let output = log.try_clone().map_err(io_error("opening", &log_path))?;
    ledger.record(Entry::Spawn { what: SUPERVISOR.to_owned() })?;
    let mut child = Command::new(&tools.own.testbed_supervisor)
        .arg(folder.path())
        .env_clear()
        .env(TOKEN_VARIABLE, ledger.token())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(log)
        .spawn()
        .map_err(|error| Error::Supervisor(format!("{}: {error}", tools.own.testbed_supervisor.display())))?;
    if let Some(process) = child.id().and_then(ProcessIdentity::of) {
        ledger.record(Entry::Started { what: SUPERVISOR.to_owned(), process })?;
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            let words = tail(&log_path, 5).join("\n");
            return Err(Error::Supervisor(format!("it ended with {status}; its log:\n{words}")));
        }
        if control::ask(folder, Request::Status).await.is_ok() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::Supervisor("it does not answer".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}
