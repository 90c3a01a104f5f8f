//! Set-up: everything that the services run on, found or provided.
//!
//! Order for a program: the search path, the cache, a Debian package unpacked into the cache, the project's own
//! release archive. Jars come from a pinned list: through Maven where there is one, else (and where Maven fails)
//! straight from Maven Central. Each thing done is told; all of it is idempotent and goes on where it was interrupted.

mod archive;
mod cache_lock;
mod debian;
mod download;
mod error;
pub mod helper;
pub(crate) mod jars;
pub mod pins;
pub(crate) mod programs;

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub use self::{
    archive::ArchiveError, debian::DebianError, download::DownloadError, error::ProvisionError,
    jars::JarError,
};
use self::{cache_lock::CacheLock, error::io_error, helper::Helpers, pins::PinnedSet, programs::PROMETHEUS};
use crate::{
    ledger::{Entry, Ledger},
    process,
    progress::{Event, Reporter},
};

/// Where Maven Central is.
pub const MAVEN_CENTRAL: &str = "https://repo.maven.apache.org/maven2";
/// Where projects publish their releases.
pub const GITHUB: &str = "https://github.com";

/// Ledger of a set-up that belongs to no testbed.
const OWN_LEDGER: &str = "set-up.jsonl";

/// What a testbed runs on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tools {
    /// Program `java`, as new as the version of Kafka needs it.
    pub java: Program,
    /// Program `prometheus`.
    pub prometheus: Program,
    /// Folder of the Kafka jars.
    pub kafka_jars: PathBuf,
    /// The JMX exporter agent.
    pub jmx_agent: PathBuf,
    /// Our own programs.
    pub own: OwnPrograms,
}

/// A program that was found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// What it says its version is.
    pub version: String,
}

/// The programs of this project that a testbed starts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OwnPrograms {
    /// `prom-merger`.
    pub prom_merger: PathBuf,
    /// `kafka-load`.
    pub kafka_load: PathBuf,
    /// `simulated-kubelet`.
    pub simulated_kubelet: PathBuf,
    /// `testbed-supervisor`.
    pub testbed_supervisor: PathBuf,
}

impl OwnPrograms {
    /// All of them.
    pub fn all(&self) -> [&Path; 4] {
        [&self.prom_merger, &self.kafka_load, &self.simulated_kubelet, &self.testbed_supervisor]
    }
}

/// Where set-up may fetch from, and how long it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetching {
    /// Nothing is fetched: only what is on the search path and in the cache counts.
    pub offline: bool,
    /// Base address of Maven Central or of a mirror with the same layout.
    pub maven_central: String,
    /// Base address of GitHub or of a mirror with the same layout.
    pub github: String,
    /// How long a source may say nothing before it is given up.
    pub silence: Duration,
}

impl Default for Fetching {
    fn default() -> Self {
        Self {
            offline: false,
            maven_central: MAVEN_CENTRAL.to_owned(),
            github: GITHUB.to_owned(),
            silence: Duration::from_secs(120),
        }
    }
}

/// What set-up needs to know.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The cache, shared by all testbeds of a user.
    pub cache: PathBuf,
    /// The search path for programs (`PATH`).
    pub search_path: &'a OsStr,
    /// Environment for the programs that set-up runs, beside the search path (`HOME`, proxies).
    pub environment: Vec<(OsString, OsString)>,
    /// The jars of the brokers.
    pub kafka: PinnedSet,
    /// The oldest Java that they run on.
    pub least_java: u32,
    /// The jar of the agent.
    pub agent: PinnedSet,
    /// Our own programs.
    pub own: OwnPrograms,
    /// Where to fetch from.
    pub fetching: Fetching,
    /// Who sets up, as others that wait are told: `` `up` of testbed `kafka` (pid 7) ``.
    pub holder: String,
    /// Remove what is damaged and go on, in place of ending with it.
    pub mend: bool,
}

/// Finds or provides everything; the second time it only looks.
///
/// Only one set-up works on a cache at a time: a second one waits, and tells for whom.
///
/// # Errors
/// When something is missing and cannot be provided, or is not what it should be. Nothing of the testbed was
/// started then.
pub async fn provide(
    setup: &Setup<'_>,
    ledger: &mut Ledger,
    reporter: &mut impl Reporter,
) -> Result<Tools, ProvisionError> {
    let lock = cache_lock::take(&setup.cache, &setup.holder, reporter).await?;
    end_left_over(&setup.cache).await;
    provide_locked(setup, Some(ledger), &lock, reporter).await
}

/// Like [`provide`], for no testbed in particular: the processes it starts are written down beside the cache.
///
/// # Errors
/// As [`provide`].
pub async fn provide_alone(setup: &Setup<'_>, reporter: &mut impl Reporter) -> Result<Tools, ProvisionError> {
    let lock = cache_lock::take(&setup.cache, &setup.holder, reporter).await?;
    if !lock.is_writable() {
        return provide_locked(setup, None, &lock, reporter).await;
    }
    end_left_over(&setup.cache).await;
    let path = setup.cache.join(OWN_LEDGER);
    let token = random_token()?;
    let mut ledger =
        Ledger::open_or_begin(&path, || Entry::Testbed { name: "set-up".to_owned(), token, block: [0; 3] })
            .map_err(|source| ProvisionError::Ledger { path: path.clone(), source })?;
    let outcome = provide_locked(setup, Some(&mut ledger), &lock, reporter).await;
    drop(ledger);
    // Only of use while something runs: nothing does any more.
    let _ = fs::remove_file(&path);
    outcome
}

async fn provide_locked(
    setup: &Setup<'_>,
    ledger: Option<&mut Ledger>,
    lock: &CacheLock,
    reporter: &mut impl Reporter,
) -> Result<Tools, ProvisionError> {
    if let Some(program) = setup.own.all().into_iter().find(|program| !program.is_file()) {
        return Err(ProvisionError::Own(program.to_owned()));
    }
    let mut environment = setup.environment.clone();
    environment.push(("PATH".into(), setup.search_path.to_owned()));
    let mut helpers = Helpers { ledger, environment };
    let mut missing = Vec::new();
    let java = or_missing(
        programs::provide(programs::java(setup.least_java), setup, lock, &mut helpers, reporter).await,
        &mut missing,
    )?;
    let prometheus =
        or_missing(programs::provide(&PROMETHEUS, setup, lock, &mut helpers, reporter).await, &mut missing)?;
    if let Some(java) = &java
        && find(setup.search_path, "java").is_none()
    {
        // Maven is a script that needs a Java of its own.
        let home = java.path.parent().and_then(Path::parent).unwrap_or(Path::new("/")).to_owned();
        helpers.environment.push(("JAVA_HOME".into(), home.into_os_string()));
    }
    let kafka = jars::provide(&setup.kafka, setup, lock, &mut helpers, reporter).await;
    let kafka_jars = or_missing(kafka, &mut missing)?;
    let agent = jars::provide(&setup.agent, setup, lock, &mut helpers, reporter).await;
    let agent_folder = or_missing(agent, &mut missing)?;
    let (Some(java), Some(prometheus), Some(kafka_jars), Some(agent_folder)) =
        (java, prometheus, kafka_jars, agent_folder)
    else {
        return Err(match lock.is_writable() {
            true => ProvisionError::Offline { missing },
            false => ProvisionError::ReadOnly { cache: setup.cache.clone(), missing },
        });
    };
    let jmx_agent = setup
        .agent
        .jars
        .first()
        .map(|pin| agent_folder.join(pin.file_name()))
        .expect("the pinned list of the agent has one jar");
    Ok(Tools { java, prometheus, kafka_jars, jmx_agent, own: setup.own.clone() })
}

/// What one look for a thing came to.
enum Found<T> {
    /// It is there.
    Here(T),
    /// It is not there, and nothing may be fetched; this is what it is.
    Missing(String),
}

fn or_missing<T>(
    found: Result<Found<T>, ProvisionError>,
    missing: &mut Vec<String>,
) -> Result<Option<T>, ProvisionError> {
    Ok(match found? {
        Found::Here(thing) => Some(thing),
        Found::Missing(what) => {
            missing.push(what);
            None
        }
    })
}

/// Finds `name` in the folders of `search_path`.
pub fn find(search_path: &OsStr, name: &str) -> Option<PathBuf> {
    std::env::split_paths(search_path).map(|folder| folder.join(name)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Ends what a set-up without a testbed left running when it was killed. Called with the lock held.
async fn end_left_over(cache: &Path) {
    let path = cache.join(OWN_LEDGER);
    if let Ok(entries) = crate::ledger::read(&path)
        && let Some(Entry::Testbed { token, .. }) = entries.first()
    {
        let living = process::find_by_token(token, &[std::process::id()]);
        process::end_all(&living, Duration::from_secs(5)).await;
    }
    // Where that fails, the ledger is opened again or the error told.
    let _ = fs::remove_file(&path);
}

fn random_token() -> Result<String, ProvisionError> {
    let source = Path::new("/dev/urandom");
    let mut random = [0_u8; 16];
    fs::File::open(source)
        .and_then(|mut file| io::Read::read_exact(&mut file, &mut random))
        .map_err(io_error("reading", source))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A step that takes time.
struct Begun {
    what: String,
    at: Instant,
}

impl Begun {
    fn new(reporter: &mut impl Reporter, what: String) -> Self {
        reporter.event(Event::Begin { what: what.clone(), expected: None });
        Self { what, at: Instant::now() }
    }

    fn done(self, reporter: &mut impl Reporter, result: String) {
        reporter.event(Event::Done { what: self.what, result, took: self.at.elapsed() });
    }

    fn failed(self, reporter: &mut impl Reporter) {
        reporter.event(Event::Abandoned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_only_what_can_be_executed() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("java");
        fs::write(&path, "").expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("sets");
        assert_eq!(find(folder.path().as_os_str(), "java"), None);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("sets");
        assert_eq!(find(folder.path().as_os_str(), "java"), Some(path));
    }
}
