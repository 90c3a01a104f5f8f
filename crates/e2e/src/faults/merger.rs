//! The merger under test: the program, or the library in this process.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use prom_merger::{Config, Merger, Running as RunningMerger, machine::Machine};
use rustix::process::Signal;
use tokio::runtime::Runtime;

use crate::{
    http::{self, Page},
    process::Running,
    programs,
    prometheus::free_address,
};

/// The sources of every merger here.
pub(super) const SOURCES: [&str; 2] = ["kafka", "kubernetes"];

/// A configuration; `more` are further keys.
pub(super) fn configuration(listen: &str, data: &Path, destination: &str, more: &str) -> String {
    let data = data.display();
    let sources = SOURCES.map(|name| format!("{{name: {name}}}")).join(", ");
    format!(
        "listen: {listen}\ndata: {data}\nsources: [{sources}]\n\
         destination: {{url: '{destination}/api/v1/write', timeout: 2s}}\n\
         retry: {{minimum: 10ms, maximum: 200ms}}\n{more}\n"
    )
}

/// The program.
#[derive(Debug)]
pub(super) struct Program {
    config: PathBuf,
    data: PathBuf,
    address: SocketAddr,
    running: Option<Running>,
}

impl Program {
    /// Prepares one whose configuration and data lie in `folder`.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub(super) fn new(folder: &Path, destination: &str, more: &str) -> Self {
        fs::create_dir_all(folder).expect("the folder can be made");
        let address = free_address();
        let (config, data) = (folder.join("merger.yaml"), folder.join("data"));
        let text = configuration(&address.to_string(), &data, destination, more);
        fs::write(&config, text).expect("the folder can be written");
        Self { config, data, address, running: None }
    }

    /// Its base address.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The folder of its journals.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// It ended, or is not ready in time; its words.
    pub(super) fn start(&mut self) -> Result<(), String> {
        let mut running = Running::start(&mut self.command(&[]));
        let ready = format!("{}/-/ready", self.url());
        let end = Instant::now() + READY;
        while let Err(error) = http::get(&ready) {
            if !running.is_running() || Instant::now() > end {
                let said = running.finish(Duration::ZERO).map_or_else(|words| words, |output| output.stderr);
                return Err(format!("the merger does not become ready: {error}; it said:\n{said}"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.running = Some(running);
        Ok(())
    }

    /// Ends it with SIGKILL.
    pub(super) fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    /// Ends it with SIGTERM.
    ///
    /// # Errors
    /// It does not end in time.
    pub(super) fn terminate(&mut self) -> Result<(), String> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.signal(Signal::TERM);
        running.finish(Duration::from_secs(30)).map(drop)
    }

    /// Runs one of its commands and returns its exit code and what it printed.
    ///
    /// # Errors
    /// It does not end in time.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<(Option<i32>, String), String> {
        let output = Running::start(&mut self.command(arguments)).finish(Duration::from_secs(60))?;
        Ok((output.code, output.stdout + &output.stderr))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(programs::path("prom-merger"));
        command.args(arguments).arg("--config").arg(&self.config);
        command
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The library in a runtime of its own.
#[derive(Debug)]
pub(super) struct Embedded {
    runtime: Option<Runtime>,
    running: Option<RunningMerger>,
    address: SocketAddr,
}

impl Embedded {
    /// Reads a configuration.
    ///
    /// # Errors
    /// Its faults.
    pub(super) fn config(data: &Path, destination: &str, more: &str) -> Result<Config, String> {
        let text = configuration("127.0.0.1:0", data, destination, more);
        Config::parse("merger.yaml", text).map_err(|faults| faults.to_string())
    }

    /// Starts one.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn start(machine: Machine, config: Config) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        match runtime.block_on(Merger::start_on(machine, config)) {
            Ok(running) => {
                let address = running.address();
                Ok(Self { runtime: Some(runtime), running: Some(running), address })
            }
            Err(error) => {
                runtime.shutdown_timeout(Duration::from_secs(5));
                Err(format!("{error:?}"))
            }
        }
    }

    /// Its base address.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// Not in time.
    pub(super) fn shutdown(mut self) -> Result<(), String> {
        let (Some(runtime), Some(running)) = (self.runtime.take(), self.running.take()) else {
            return Ok(());
        };
        let stopped = runtime.block_on(running.shutdown(Duration::from_secs(20)));
        runtime.shutdown_timeout(Duration::from_secs(5));
        stopped.map_err(|error| error.to_string())
    }
}

impl Drop for Embedded {
    /// Ends everything where it stands.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

/// The sum of a metric over the sources of the merger at `base`.
///
/// # Errors
/// No page came.
pub(super) fn metric(base: &str, name: &str) -> Result<f64, String> {
    Ok(Page::fetch(&format!("{base}/metrics"))?.sum(&format!("prom_merger_{name}")))
}

/// Waits until everything is delivered or set aside, or `gives_up`.
///
/// # Errors
/// Not within `limit`.
pub(super) fn wait_until_done(
    base: &str,
    limit: Duration,
    gives_up: impl Fn() -> bool,
) -> Result<(), String> {
    let end = Instant::now() + limit;
    loop {
        match metric(base, "journal_pending_records") {
            Ok(0.0) => return Ok(()),
            _ if gives_up() => return Ok(()),
            other if Instant::now() > end => {
                return Err(format!("not everything is delivered after {limit:?}; pending: {other:?}"));
            }
            _ => thread::sleep(Duration::from_millis(5)),
        }
    }
}

const READY: Duration = Duration::from_secs(60);
