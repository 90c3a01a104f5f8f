//! The program `prom-merger`, started by a test.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use e2e::{eventually, http, process::Running, programs, prometheus::free_address};
use prom_remote::TimeRange;

/// The program, with sources `kafka` and `kubernetes`.
pub(super) struct Merger {
    config: PathBuf,
    address: SocketAddr,
    running: Option<Running>,
}

impl Merger {
    /// `keys` are further keys of the destination.
    pub(super) fn new(folder: &Path, database: &str, keys: &str) -> Self {
        let destination = format!("destination: {{url: '{database}/api/v1/write'{keys}}}");
        Self::with_sources(folder, &destination, "[{name: kafka}, {name: kubernetes}]")
    }

    /// With `destinations`, or a destination, as the configuration has them.
    pub(super) fn before(folder: &Path, destinations: &str) -> Self {
        Self::with_sources(folder, destinations, "[{name: kafka}, {name: kubernetes}]")
    }

    /// The same with `sources`.
    pub(super) fn with_sources(folder: &Path, destinations: &str, sources: &str) -> Self {
        let address = free_address();
        let config = folder.join("merger.yaml");
        let text = format!(
            "listen: {address}\ndata: {}\nsources: {sources}\n{destinations}\nretry: {{maximum: 1s}}\n",
            folder.join("merger").display()
        );
        fs::write(&config, text).expect("the folder can be written");
        Self { config, address, running: None }
    }

    pub(super) fn start(&mut self) {
        self.running = Some(Running::start(self.command().arg("--config").arg(&self.config)));
        let ready = format!("http://{}/-/ready", self.address);
        eventually(Duration::from_secs(60), "the merger becomes ready", || http::get(&ready));
    }

    pub(super) fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    pub(super) fn write_url(&self, source: &str) -> String {
        format!("http://{}/api/v1/write/{source}", self.address)
    }

    /// Starts to read the history of a source, so many seconds at once.
    pub(super) fn backfill(&self, source: &str, url: &str, range: TimeRange, window: u64) -> Running {
        let time = |ms: i64| format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000));
        let (from, to) = (time(range.start_ms()), time(range.end_ms()));
        let window = window.to_string();
        Running::start(
            self.command()
                .arg("backfill")
                .arg("--config")
                .arg(&self.config)
                .args(["--source", source, "--url", url, "--from", &from, "--to", &to, "--window", &window]),
        )
    }

    pub(super) fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }

    /// A running merger has its dead letters to itself.
    pub(super) fn dead_letters(&self) -> String {
        let listed = Running::start(self.command().arg("dead-letters").arg("--config").arg(&self.config));
        listed.wait(Duration::from_secs(60)).expect_code(0).stdout
    }

    /// The value of a line of its metrics page.
    pub(super) fn metric(&self, name: &str, source: &str) -> Result<f64, String> {
        self.metric_of(name, source, "")
    }

    /// The value of the first line with a further label too.
    pub(super) fn metric_of(&self, name: &str, source: &str, label: &str) -> Result<f64, String> {
        let page = http::get(&format!("http://{}/metrics", self.address))?;
        let start = format!("prom_merger_{name}{{source=\"{source}\"");
        let line = page.lines().find(|found| found.starts_with(&start) && found.contains(label));
        let value = line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok());
        value.ok_or_else(|| format!("no {start} in\n{page}"))
    }

    /// Waits until everything of a source is delivered everywhere or set aside.
    pub(super) fn wait_until_done(&self, source: &str) {
        let start = format!("prom_merger_journal_pending_records{{source=\"{source}\"");
        eventually(Duration::from_secs(120), "the lanes are done", || {
            let page = http::get(&format!("http://{}/metrics", self.address))?;
            let pending: Vec<_> = page.lines().filter(|line| line.starts_with(&start)).collect();
            let is_done = !pending.is_empty() && pending.iter().all(|line| line.ends_with(" 0"));
            if is_done { Ok(()) } else { Err(format!("{pending:?}")) }
        });
    }

    fn command(&self) -> Command {
        Command::new(programs::path("prom-merger"))
    }
}

impl Drop for Merger {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is right");
    since.as_millis().try_into().expect("a time of this age")
}
