//! `up`: from nothing, from a stop, or from a half-dead testbed to one that is proven ready.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Read as _,
    net::TcpListener,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use compose_model::{Project, check, render};
use tokio::process::Command;

use super::{Error, TakenPort, Workplace, end_living, io_error, living};
use crate::{
    address::LoopbackBlock,
    backend::native,
    control::{self, Request},
    home::TestbedFolder,
    ledger::{Entry, Ledger},
    plan::{AGENT, Plan, plan},
    ports,
    process::{ProcessIdentity, TOKEN_VARIABLE},
    progress::Reporter,
    provision::{self, Setup, Tools, pins},
    readiness::Proof,
    spec::{KafkaVersion, Spec},
    status::{TestbedState, TestbedStatus},
    supervisor::{Runtime, tail},
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

/// Brings the testbed of `spec` up.
///
/// # Errors
/// Before anything is started: a taken port, missing or damaged programs, another specification. After that: a
/// service that fails or a step of the proof that takes too long; what runs then keeps running.
pub async fn up(place: &Workplace, spec: &Spec, reporter: &mut impl Reporter) -> Result<UpReport, Error> {
    let folder = place.folder();
    fs::create_dir_all(folder.path()).map_err(io_error("creating", folder.path()))?;
    let _lock = folder.lock(&format!("`up`, pid {}", std::process::id()))?;
    let mut ledger = open_ledger(place, &folder)?;
    ledger.record_once(Entry::File { path: "lock".into() })?;
    let block = LoopbackBlock::from_octets(ledger.block().ok_or(Error::NoBlock)?);
    let plan = plan(spec, block);
    let faults = check(&plan.project);
    if !faults.is_empty() {
        return Err(Error::Plan(
            faults.iter().map(|fault| format!("{fault:?}")).collect::<Vec<_>>().join("; "),
        ));
    }
    let begun = Instant::now();
    if folder.is_supervised() {
        return heal(place, &folder, &ledger, &plan, begun, reporter).await;
    }
    let left_over = living(&ledger);
    if !left_over.is_empty() {
        reporter.note(format!(
            "{} processes of an earlier start live without their supervisor: ending them",
            left_over.len()
        ));
        end_living(&folder, &ledger).await?;
    }
    check_ports(&plan.project)?;
    let tools = provide(place, spec, &mut ledger, reporter).await?;
    let begun = Instant::now();
    write_files(&folder, &plan, &tools, &place.name, &mut ledger)?;
    start_supervisor(&folder, &tools, &mut ledger).await?;
    let status = prove(place, &folder, &ledger, &plan, 2, reporter).await?;
    Ok(UpReport { status, changed: true, took: begun.elapsed() })
}

async fn heal(
    place: &Workplace,
    folder: &TestbedFolder,
    ledger: &Ledger,
    plan: &Plan,
    begun: Instant,
    reporter: &mut impl Reporter,
) -> Result<UpReport, Error> {
    let running = crate::supervisor::read_plan(folder)?;
    let differing = differences(&running, plan, folder);
    if !differing.is_empty() {
        return Err(Error::PlanChanged(differing));
    }
    let status = control::ask(folder, Request::Status).await?;
    let healthy = status.state == TestbedState::Running;
    if !healthy {
        for service in status.services.iter().filter(|service| !service.ready) {
            let why =
                service.last_error.as_deref().and_then(|error| error.lines().next()).unwrap_or("not ready");
            reporter.note(format!("{}: {why}", service.name));
        }
        control::ask(folder, Request::Start).await?;
    }
    let scrapes = if healthy { 1 } else { 2 };
    let status = prove(place, folder, ledger, plan, scrapes, reporter).await?;
    Ok(UpReport { status, changed: !healthy, took: begun.elapsed() })
}

/// Which services and files of the running testbed are not as planned now.
fn differences(running: &Project, plan: &Plan, folder: &TestbedFolder) -> Vec<String> {
    let names: BTreeSet<&str> =
        running.services.keys().chain(plan.project.services.keys()).map(|name| name.as_str()).collect();
    let services = names
        .into_iter()
        .filter(|name| running.services.get(*name) != plan.project.services.get(*name))
        .map(str::to_owned);
    let files = plan
        .files
        .iter()
        .filter(|file| {
            fs::read_to_string(folder.path().join(&file.path)).ok().as_ref() != Some(&file.content)
        })
        .map(|file| file.path.display().to_string());
    services.chain(files).collect()
}

async fn prove(
    place: &Workplace,
    folder: &TestbedFolder,
    ledger: &Ledger,
    plan: &Plan,
    scrapes: usize,
    reporter: &mut impl Reporter,
) -> Result<TestbedStatus, Error> {
    let proof = Proof {
        folder,
        expected: &plan.expected,
        kafka_load: &place.own.kafka_load,
        token: ledger.token(),
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
    let cache = place.home.cache();
    fs::create_dir_all(&cache).map_err(io_error("creating", &cache))?;
    // Two new testbeds must not choose the same block at the same time.
    let lock_path = cache.join("blocks.lock");
    let lock = File::options()
        .create(true)
        .append(true)
        .open(&lock_path)
        .map_err(io_error("opening", &lock_path))?;
    lock.lock().map_err(io_error("locking", &lock_path))?;
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

/// Every address that a service will listen on must be free now.
fn check_ports(project: &Project) -> Result<(), Error> {
    let listeners = ports::listeners();
    let mut taken = Vec::new();
    for (name, service) in project.services.iter() {
        for wanted in native::addresses(service) {
            let holder = match ports::holder(wanted, &listeners) {
                Some(holder) => Ok(holder),
                // Not ours to have: an address of another machine, or a port below the privileged limit.
                None => match TcpListener::bind(wanted) {
                    Ok(_) => continue,
                    Err(error) => Err(error.to_string()),
                },
            };
            taken.push(TakenPort { service: name.to_string(), wanted, holder });
        }
    }
    if taken.is_empty() { Ok(()) } else { Err(Error::PortsTaken(taken)) }
}

async fn provide(
    place: &Workplace,
    spec: &Spec,
    ledger: &mut Ledger,
    reporter: &mut impl Reporter,
) -> Result<Tools, Error> {
    let setup = Setup {
        cache: &place.home.cache(),
        search_path: &place.search_path,
        environment: place.environment.clone(),
        kafka: match spec.kafka.version {
            KafkaVersion::V3_3_1 => pins::kafka_3_3_1(),
        },
        agent: pins::jmx_agent(),
        own: place.own.clone(),
    };
    Ok(provision::provide(&setup, ledger, reporter).await?)
}

fn write_files(
    folder: &TestbedFolder,
    plan: &Plan,
    tools: &Tools,
    name: &str,
    ledger: &mut Ledger,
) -> Result<(), Error> {
    for directory in ["configs", "logs", "run", "data"] {
        ledger.record_once(Entry::Directory { path: directory.into() })?;
        let path = folder.path().join(directory);
        fs::create_dir_all(&path).map_err(io_error("creating", &path))?;
    }
    let mut write = |path: &Path, bytes: &[u8]| -> Result<(), Error> {
        ledger.record_once(Entry::File { path: path.to_owned() })?;
        let path = folder.path().join(path);
        fs::write(&path, bytes).map_err(io_error("writing", &path))
    };
    for file in &plan.files {
        write(&file.path, file.content.as_bytes())?;
    }
    let agent = fs::read(&tools.jmx_agent).map_err(io_error("reading", &tools.jmx_agent))?;
    write(Path::new(AGENT), &agent)?;
    let runtime = Runtime { name: name.to_owned(), tools: tools.clone(), endpoints: plan.endpoints.clone() };
    let runtime = serde_json::to_vec_pretty(&runtime).expect("paths are text");
    write(Path::new("runtime.json"), &runtime)?;
    write(Path::new("compose.yaml"), render(&plan.project).as_bytes())?;
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
