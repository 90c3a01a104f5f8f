//! A testbed in a home of its own, which is taken down whatever happens.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    env, fs,
    io::ErrorKind,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    http::{self, Sample},
    note,
    process::{self, Output, Running},
    programs,
};

/// Longest time that any command may take; `down` alone may take four minutes.
const LIMIT: Duration = Duration::from_secs(300);

/// A testbed of the built-in specification.
#[derive(Debug)]
pub struct Testbed {
    home: TempDir,
    name: String,
    /// Kept because the ledger is gone after `purge`.
    token: RefCell<Option<String>>,
}

/// Where the downloads are that all testbeds of the tests share.
///
/// # Panics
/// When the folder cannot be created.
pub fn shared_cache() -> PathBuf {
    let cache = match (env::var_os("KAFKA_TESTBED_E2E_CACHE"), env::var_os("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => PathBuf::from(home).join(".local/share/kafka-testbed/cache"),
        (None, None) => panic!("neither KAFKA_TESTBED_E2E_CACHE nor HOME says where the cache lies"),
    };
    fs::create_dir_all(&cache).unwrap_or_else(|error| panic!("cannot create {}: {error}", cache.display()));
    cache
}

/// Makes sure that the shared cache holds the jars and Prometheus: lets `doctor --fix` fetch them.
pub fn fill_shared_cache() {
    let is_full = shared_cache().join("jars").exists()
        && (programs::on_search_path("prometheus").is_some()
            || shared_cache().join("debian/prometheus").exists());
    if !is_full {
        let testbed = Testbed::new("fill");
        testbed.command(&["doctor", "--fix"]).expect_code(0);
    }
}

impl Testbed {
    /// A testbed that does not exist yet, with the shared cache.
    ///
    /// # Panics
    /// When a program that it needs is missing.
    pub fn new(name: &str) -> Self {
        let testbed = Self::without_cache(name);
        symlink(shared_cache(), testbed.cache()).expect("the home can be written");
        testbed
    }

    /// A testbed that does not exist yet, with no cache.
    ///
    /// # Panics
    /// When a program that it needs is missing.
    pub fn without_cache(name: &str) -> Self {
        for program in ["java", "mvn"] {
            assert!(
                programs::on_search_path(program).is_some(),
                "there is no {program} on the search path, and these tests need it"
            );
        }
        let home =
            tempfile::Builder::new().prefix("e2e-").tempdir().expect("there is a folder for temporary files");
        // `up` takes its programs from the release folder of the target; these are built already.
        let target = home.path().join("target");
        fs::create_dir(&target).expect("the home can be written");
        symlink(fs::canonicalize(programs::folder()).expect("it exists"), target.join("release"))
            .expect("the home can be written");
        // Not a name of the user's own: each name has its own block of addresses.
        let name = format!("e2e-{name}-{}", std::process::id());
        Self { home, name, token: RefCell::new(None) }
    }

    /// Puts the specification where commands find it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_spec(&self, text: &str) {
        fs::write(self.home().join("testbed.yaml"), text).expect("the home can be written");
    }

    /// The folder of all that this testbed writes.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cache that its commands use.
    pub fn cache(&self) -> PathBuf {
        self.home().join("cache")
    }

    /// The testbed's own folder.
    pub fn folder(&self) -> PathBuf {
        self.home().join("testbeds").join(&self.name)
    }

    /// Starts `cargo xtask testbed` with `arguments`.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::start(&mut self.prepare(arguments))
    }

    /// `cargo xtask testbed` with `arguments`, to be started with changes.
    pub fn prepare(&self, arguments: &[&str]) -> Command {
        self.prepare_in(self.home(), arguments)
    }

    /// Like [`Self::prepare`], with another home.
    pub fn prepare_in(&self, home: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(programs::path("xtask"));
        command
            .current_dir(self.home())
            .args(["testbed", "--name", &self.name, "--home"])
            .arg(home)
            .args(arguments)
            .env("CARGO_TARGET_DIR", self.home().join("target"))
            // The programs are built already.
            .env("CARGO", programs::on_search_path("true").expect("every system has `true`"));
        command
    }

    /// Runs `cargo xtask testbed` with `arguments`.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> Output {
        let output = self.start(arguments).wait(LIMIT);
        self.remember_token();
        output
    }

    /// `status --format json`.
    ///
    /// # Panics
    /// When the command fails or prints something else.
    #[track_caller]
    pub fn status(&self) -> Status {
        let output = self.command(&["status", "--format", "json"]).expect_code(0);
        Status(serde_json::from_str(&output.stdout).expect("status prints JSON"))
    }

    /// The lines of the ledger; none when there is none.
    pub fn ledger(&self) -> Vec<Value> {
        let text = match fs::read_to_string(self.ledger_path()) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => panic!("cannot read the ledger: {error}"),
        };
        // A line being written is not there yet.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Path of the ledger.
    pub fn ledger_path(&self) -> PathBuf {
        self.folder().join("ledger.jsonl")
    }

    /// Every process of the testbed that lives.
    pub fn processes(&self) -> Vec<u32> {
        self.remember_token();
        self.token.borrow().as_deref().map(process::with_token).unwrap_or_default()
    }

    /// Checks that nothing of the testbed runs.
    ///
    /// # Panics
    /// When something does.
    #[track_caller]
    pub fn expect_no_process(&self) {
        let left = self.processes();
        assert!(left.is_empty(), "these processes are left:\n{}", process::describe(&left));
    }

    /// Asks the database, which holds both sources.
    ///
    /// # Errors
    /// No answer, or the expression is refused.
    pub fn query(&self, expression: &str) -> Result<Vec<Sample>, String> {
        http::query(self.status().endpoint("tsdb"), expression)
    }

    fn remember_token(&self) {
        if let Some(token) = self.ledger().first().and_then(|entry| entry["token"].as_str()) {
            self.token.replace(Some(token.to_owned()));
        }
    }

    /// Takes everything down; returns what went wrong with that.
    fn remove(&self) -> Result<(), String> {
        self.remember_token();
        for arguments in [&["down"][..], &["purge", "--yes"]] {
            let output = self.start(arguments).finish(LIMIT)?;
            if output.code != Some(0) {
                return Err(format!("{arguments:?} ends with {:?}:\n{}", output.code, output.stderr));
            }
        }
        match &self.processes()[..] {
            [] => Ok(()),
            left => Err(format!("these processes are left:\n{}", process::describe(left))),
        }
    }

    fn tell_about_failure(&self) {
        let text = match self.start(&["status"]).finish(LIMIT) {
            Ok(status) => status.stdout + &status.stderr,
            Err(reason) => reason,
        };
        note(&format!("the testbed at the failure:\n{text}"));
        let log = fs::read_to_string(self.folder().join("logs/supervisor.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        note(&format!("its supervisor's log:\n{}", lines[lines.len().saturating_sub(60)..].join("\n")));
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        let failed = thread::panicking();
        if failed {
            self.tell_about_failure();
        }
        let removed = self.remove();
        if let Err(reason) = removed {
            // Nothing of a test may outlive it.
            process::kill_all(&self.processes());
            if failed {
                note(&format!("and it could not be removed: {reason}"));
            } else {
                panic!("the testbed could not be removed: {reason}");
            }
        }
    }
}

/// What `status` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Status(Value);

impl Status {
    /// The state of the whole.
    pub fn state(&self) -> &str {
        self.0["state"].as_str().expect("the status has a state")
    }

    /// The address of an endpoint.
    #[track_caller]
    pub fn endpoint(&self, name: &str) -> &str {
        self.0["endpoints"][name].as_str().unwrap_or_else(|| panic!("no endpoint {name}"))
    }

    /// Number of the run.
    pub fn run(&self) -> u64 {
        self.0["run"].as_u64().expect("the status has a run")
    }

    /// The supervisor's pid.
    #[track_caller]
    pub fn supervisor(&self) -> u32 {
        self.0["supervisor_pid"].as_u64().and_then(|pid| pid.try_into().ok()).expect("a supervisor runs")
    }

    /// All services.
    pub fn services(&self) -> impl Iterator<Item = Service<'_>> {
        self.0["services"].as_array().into_iter().flatten().map(Service)
    }

    /// One service.
    #[track_caller]
    pub fn service(&self, name: &str) -> Service<'_> {
        self.services().find(|service| service.name() == name).unwrap_or_else(|| panic!("no service {name}"))
    }

    /// Pid and number of starts of each service.
    pub fn processes(&self) -> BTreeMap<&str, (Option<u32>, u64)> {
        self.services()
            .map(|service| {
                (service.name(), (service.0["pid"].as_u64().map(|pid| pid as u32), service.starts()))
            })
            .collect()
    }

    /// The services that are not ready, each with its reason.
    pub fn not_ready(&self) -> Vec<String> {
        self.services()
            .filter(|service| service.0["ready"] != true)
            .map(|service| format!("{} ({}): {}", service.name(), service.state(), service.last_error()))
            .collect()
    }
}

/// One service of a status.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Service<'a>(&'a Value);

impl<'a> Service<'a> {
    /// Its name.
    pub fn name(self) -> &'a str {
        self.0["name"].as_str().expect("a service has a name")
    }

    /// Its state.
    pub fn state(self) -> &'a str {
        self.0["state"].as_str().expect("a service has a state")
    }

    /// Its pid.
    #[track_caller]
    pub fn pid(self) -> u32 {
        self.0["pid"].as_u64().and_then(|pid| pid.try_into().ok()).expect("the service runs")
    }

    /// How often it was started.
    pub fn starts(self) -> u64 {
        self.0["starts"].as_u64().expect("the status counts starts")
    }

    /// How often it was started again because it had ended unasked.
    pub fn restarts(self) -> u64 {
        self.0["restarts"].as_u64().expect("the status counts restarts")
    }

    /// How it ended unasked, oldest first.
    pub fn ends(self) -> impl Iterator<Item = &'a str> {
        self.0["ends"].as_array().into_iter().flatten().filter_map(|end| end["how"].as_str())
    }

    /// Why it is not ready.
    pub fn last_error(self) -> &'a str {
        self.0["last_error"].as_str().unwrap_or_default()
    }

    /// Where it listens.
    pub fn addresses(self) -> impl Iterator<Item = &'a str> {
        self.0["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str)
    }

    /// Its page of metrics, where it has one of its own: the address with `port`.
    #[track_caller]
    pub fn metrics_url(self, port: u16) -> String {
        let end = format!(":{port}");
        let address = self.addresses().find(|address| address.ends_with(&end));
        let address = address.unwrap_or_else(|| panic!("{} does not listen on port {port}", self.name()));
        format!("http://{address}/metrics")
    }
}
