//! Set-up: everything that the services run on, found or provided.
//!
//! Order for a program: the search path, the cache, a Debian package unpacked into the cache. Jars come through
//! Maven from a pinned list. Each thing done is told; all of it is idempotent and goes on where it was interrupted.

mod debian;
pub mod helper;
mod jars;
pub mod pins;

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use self::{
    debian::{Apt, DebianError},
    helper::{HelperError, Helpers, Job},
    jars::JarError,
    pins::PinnedSet,
};
use crate::{
    ledger::Ledger,
    progress::{Event, Reporter},
};

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

/// What set-up needs to know.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The cache, shared by all testbeds of a user.
    pub cache: &'a Path,
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
}

/// Why the testbed has not all it runs on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
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
    /// A program is neither there nor to be had.
    #[error("there is no {program} on the search path, and it cannot be provided: {why}")]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// Why not.
        why: String,
    },
    /// A Debian package could not be used.
    #[error("cannot provide {program} from a Debian package")]
    Debian {
        /// The program.
        program: &'static str,
        /// The cause.
        source: DebianError,
    },
    /// The jars are not right.
    #[error("cannot provide the jars of {set}")]
    Jars {
        /// The set.
        set: &'static str,
        /// The cause.
        source: Box<JarError>,
    },
    /// A program of ours is missing.
    #[error("the program {} is missing", .0.display())]
    Own(PathBuf),
}

impl ProvisionError {
    /// Whether something was found that is not what it should be (as opposed to not found at all).
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Jars { source, .. } => {
                matches!(**source, JarError::Damaged { .. } | JarError::Other { .. })
            }
            _ => false,
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> String {
        match self {
            Self::Jars { source, .. } => match &**source {
                JarError::Damaged { .. } => "run the command again: it fetches the jar anew".to_owned(),
                JarError::Other { repository_path, .. } => {
                    format!("rm ~/.m2/repository/{repository_path}, then run the command again")
                }
                _ => "check that Maven works (`mvn -version`) and reaches its repository, then run the command again"
                    .to_owned(),
            },
            Self::NoProgram { program: "mvn", .. } => "install Maven (`apt-get install maven`)".to_owned(),
            Self::NoProgram { program, .. } => format!("install {program} so that it is on the search path"),
            Self::Debian { program, .. } => format!("install {program} yourself so that it is on the search path, or run the command again"),
            Self::Own(_) => "build it: `cargo build --release`".to_owned(),
            Self::Io { .. } => "free the disk or mend the folder's permissions, then run the command again".to_owned(),
        }
    }
}

/// Finds or provides everything; the second time it only looks.
///
/// # Errors
/// When something is missing and cannot be provided, or is not what it should be. Nothing of the testbed was
/// started then.
pub async fn provide(
    setup: &Setup<'_>,
    ledger: &mut Ledger,
    reporter: &mut impl Reporter,
) -> Result<Tools, ProvisionError> {
    let _lock = lock(setup.cache)?;
    for program in [
        &setup.own.prom_merger,
        &setup.own.kafka_load,
        &setup.own.simulated_kubelet,
        &setup.own.testbed_supervisor,
    ] {
        if !program.is_file() {
            return Err(ProvisionError::Own(program.clone()));
        }
    }
    let mut environment = setup.environment.clone();
    environment.push(("PATH".into(), setup.search_path.to_owned()));
    let mut helpers = Helpers { ledger, environment };
    let java = if setup.least_java > 11 { &JAVA_17 } else { &JAVA_11 };
    let java = program(java, setup, &mut helpers, reporter).await?;
    let prometheus = program(&PROMETHEUS, setup, &mut helpers, reporter).await?;
    if find(setup.search_path, "java").is_none() {
        // Maven is a script that needs a Java of its own.
        let home = java.path.parent().and_then(Path::parent).unwrap_or(Path::new("/")).to_owned();
        helpers.environment.push(("JAVA_HOME".into(), home.into_os_string()));
    }
    let kafka_jars = jar_folder(&setup.kafka, setup, &mut helpers, reporter).await?;
    let agent_folder = jar_folder(&setup.agent, setup, &mut helpers, reporter).await?;
    let jmx_agent = setup
        .agent
        .jars
        .first()
        .map(|pin| agent_folder.join(pin.file_name()))
        .expect("the pinned list of the agent has one jar");
    Ok(Tools { java, prometheus, kafka_jars, jmx_agent, own: setup.own.clone() })
}

/// Finds `name` in the folders of `search_path`.
pub fn find(search_path: &OsStr, name: &str) -> Option<PathBuf> {
    std::env::split_paths(search_path).map(|folder| folder.join(name)).find(|path| is_executable(path))
}

struct Wanted {
    name: &'static str,
    /// Arguments that print the version.
    version: &'static [&'static str],
    packages: &'static [&'static str],
    candidates: &'static [&'static str],
    accepts: fn(&str) -> bool,
    least: &'static str,
}

const JAVA_11: Wanted = Wanted {
    name: "java",
    version: &["-version"],
    packages: &["openjdk-17-jre-headless", "openjdk-21-jre-headless", "openjdk-25-jre-headless"],
    candidates: &["usr/lib/jvm/java-*/bin/java"],
    accepts: |text| major_version(text).is_some_and(|major| major >= 11),
    least: "11",
};

const JAVA_17: Wanted =
    Wanted { accepts: |text| major_version(text).is_some_and(|major| major >= 17), least: "17", ..JAVA_11 };

const PROMETHEUS: Wanted = Wanted {
    name: "prometheus",
    version: &["--version"],
    packages: &["prometheus"],
    candidates: &["usr/bin/prometheus"],
    // A binary built from the Go module says nothing after "version": then nothing speaks against it.
    accepts: |text| match prometheus_version(text) {
        Some(version) => version >= (2, 42),
        None => text.starts_with("prometheus, version"),
    },
    least: "2.42",
};

async fn program(
    wanted: &Wanted,
    setup: &Setup<'_>,
    helpers: &mut Helpers<'_>,
    reporter: &mut impl Reporter,
) -> Result<Program, ProvisionError> {
    if let Some(path) = find(setup.search_path, wanted.name) {
        let version = version_of(wanted, &path, setup.cache, helpers).await.unwrap_or_default();
        if (wanted.accepts)(&version) {
            reporter.note(format!("{}: {} ({version})", wanted.name, path.display()));
            return Ok(Program { path, version });
        }
        reporter.note(format!(
            "{}: {} is passed over, it says \"{version}\" and {} or newer is needed",
            wanted.name,
            path.display(),
            wanted.least
        ));
    }
    let folder = setup.cache.join("debian").join(wanted.name);
    if let Some(path) = debian::find_program(&folder, wanted.candidates) {
        let version = version_of(wanted, &path, setup.cache, helpers).await.unwrap_or_default();
        if (wanted.accepts)(&version) {
            reporter.note(format!("{}: {} ({version})", wanted.name, path.display()));
            return Ok(Program { path, version });
        }
        fs::remove_dir_all(&folder).map_err(io_error("removing", &folder))?;
    }
    let (Some(apt_get), Some(dpkg)) = (find(setup.search_path, "apt-get"), find(setup.search_path, "dpkg"))
    else {
        let why = "this system has no apt-get and dpkg to unpack a Debian package with".to_owned();
        return Err(ProvisionError::NoProgram { program: wanted.name, why });
    };
    let parent = setup.cache.join("debian");
    fs::create_dir_all(&parent).map_err(io_error("creating", &parent))?;
    let begun = begin(reporter, format!("providing {} from a Debian package", wanted.name));
    let apt = Apt { apt_get, dpkg };
    let mut outcome = Err(DebianError::NoFile(wanted.name.to_owned()));
    for package in wanted.packages {
        outcome = debian::unpack(package, &folder, &apt, helpers).await;
        if outcome.is_ok() {
            break;
        }
    }
    let found = match outcome {
        Ok(()) => debian::find_program(&folder, wanted.candidates).ok_or_else(|| DebianError::NoProgram {
            package: wanted.packages.join(" or "),
            wanted: wanted.name.to_owned(),
        }),
        Err(error) => Err(error),
    };
    match found {
        Ok(path) => {
            let version = version_of(wanted, &path, setup.cache, helpers).await.unwrap_or_default();
            begun.done(reporter, format!("{} ({version})", path.display()));
            Ok(Program { path, version })
        }
        Err(source) => {
            reporter.event(Event::Abandoned);
            Err(ProvisionError::Debian { program: wanted.name, source })
        }
    }
}

async fn version_of(
    wanted: &Wanted,
    path: &Path,
    folder: &Path,
    helpers: &mut Helpers<'_>,
) -> Result<String, HelperError> {
    let mut first = None;
    let what = format!("asking {} for its version", wanted.name);
    let job = Job {
        what: &what,
        program: path,
        arguments: wanted.version.iter().map(Into::into).collect(),
        folder,
        limit: Duration::from_secs(30),
    };
    helpers
        .run(job, |line| {
            first.get_or_insert_with(|| line.trim().to_owned());
        })
        .await?;
    Ok(first.unwrap_or_default())
}

async fn jar_folder(
    set: &PinnedSet,
    setup: &Setup<'_>,
    helpers: &mut Helpers<'_>,
    reporter: &mut impl Reporter,
) -> Result<PathBuf, ProvisionError> {
    let folder = setup.cache.join("jars").join(set.name);
    fs::create_dir_all(&folder).map_err(io_error("creating", &folder))?;
    let failed = |source| ProvisionError::Jars { set: set.name, source: Box::new(source) };
    let missing = jars::missing(set, &folder).map_err(failed)?;
    if missing.is_empty() {
        reporter.note(format!(
            "{}: {} jars in {}, checksums right",
            set.name,
            set.jars.len(),
            folder.display()
        ));
        return Ok(folder);
    }
    let Some(maven) = find(setup.search_path, "mvn") else {
        let why = format!("the jars of {} come through Maven", set.name);
        return Err(ProvisionError::NoProgram { program: "mvn", why });
    };
    let wanted = missing.len() as u64;
    let begun = begin(reporter, format!("fetching {wanted} of {} jars of {}", set.jars.len(), set.name));
    let fetched = jars::fetch(&missing, &folder, &maven, helpers, |done| {
        let parts = Some((done.min(wanted), wanted));
        reporter.event(Event::Going { detail: "downloading".to_owned(), parts });
    })
    .await;
    match fetched {
        Ok(()) => {
            begun.done(reporter, "checksums right".to_owned());
            Ok(folder)
        }
        Err(source) => {
            reporter.event(Event::Abandoned);
            Err(failed(source))
        }
    }
}

struct Begun {
    what: String,
    at: Instant,
}

fn begin(reporter: &mut impl Reporter, what: String) -> Begun {
    reporter.event(Event::Begin { what: what.clone(), expected: None });
    Begun { what, at: Instant::now() }
}

impl Begun {
    fn done(self, reporter: &mut impl Reporter, result: String) {
        reporter.event(Event::Done { what: self.what, result, took: self.at.elapsed() });
    }
}

/// Two set-ups at once would fetch everything twice; the second waits.
fn lock(cache: &Path) -> Result<File, ProvisionError> {
    fs::create_dir_all(cache).map_err(io_error("creating", cache))?;
    let path = cache.join("lock");
    let file = File::options().create(true).append(true).open(&path).map_err(io_error("opening", &path))?;
    file.lock().map_err(io_error("locking", &path))?;
    Ok(file)
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// `openjdk version "17.0.15" 2025-04-15` → 17; `java version "1.8.0_291"` → 8.
fn major_version(text: &str) -> Option<u32> {
    let quoted = text.split('"').nth(1)?;
    let mut parts = quoted.split(['.', '-', '+', '_']).filter_map(|part| part.parse().ok());
    match parts.next()? {
        1 => parts.next(),
        major => Some(major),
    }
}

/// `prometheus, version 2.42.0+ds (branch: …)` → (2, 42).
fn prometheus_version(text: &str) -> Option<(u32, u32)> {
    let version = text.split_once("version ")?.1;
    let mut parts = version.split(['.', '+', ' ', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ProvisionError {
    let path = path.to_owned();
    move |source| ProvisionError::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_the_programs_print_them() {
        for (text, expected) in [
            ("openjdk version \"17.0.15\" 2025-04-15", Some(17)),
            ("openjdk version \"11.0.2\"", Some(11)),
            ("java version \"1.8.0_291\"", Some(8)),
            ("openjdk version \"25\" 2025-09-16", Some(25)),
            ("bash: java: command not found", None),
        ] {
            assert_eq!(major_version(text), expected, "{text}");
        }
        for (text, expected) in [
            ("prometheus, version 2.42.0+ds (branch: debian/sid, revision: 2.42.0+ds-5)", Some((2, 42))),
            ("prometheus, version 3.16.0 (branch: HEAD)", Some((3, 16))),
            ("prometheus, version  (branch: , revision: unknown)", None),
        ] {
            assert_eq!(prometheus_version(text), expected, "{text}");
        }
    }

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
