//! The program `prom-merger`, started by a test.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use e2e::{eventually, http, process::Running, programs, prometheus::free_address};

/// The program, with sources `kafka` and `kubernetes`.
pub(super) struct Merger {
    config: PathBuf,
    address: SocketAddr,
    running: Option<Running>,
}

impl Merger {
    /// `keys` are further keys of the destination.
    pub(super) fn new(folder: &Path, database: &str, keys: &str) -> Self {
        let address = free_address();
        let config = folder.join("merger.yaml");
        let text = format!(
            "listen: {address}\ndata: {}\nsources: [{{name: kafka}}, {{name: kubernetes}}]\n\
             destination: {{url: '{database}/api/v1/write'{keys}}}\nretry: {{maximum: 1s}}\n",
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

    /// A running merger has its dead letters to itself.
    pub(super) fn dead_letters(&self) -> String {
        let listed = Running::start(self.command().arg("dead-letters").arg("--config").arg(&self.config));
        listed.wait(Duration::from_secs(60)).expect_code(0).stdout
    }

    /// The value of a line of its metrics page.
    pub(super) fn metric(&self, name: &str, source: &str) -> Result<f64, String> {
        let page = http::get(&format!("http://{}/metrics", self.address))?;
        let start = format!("prom_merger_{name}{{source=\"{source}\"");
        let line = page.lines().find(|found| found.starts_with(&start));
        let value = line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok());
        value.ok_or_else(|| format!("no {start} in\n{page}"))
    }

    /// Waits until everything of a source is delivered or set aside.
    pub(super) fn wait_until_done(&self, source: &str) {
        eventually(Duration::from_secs(120), "the lane is done", || {
            match self.metric("journal_pending_records", source)? {
                0.0 => Ok(()),
                pending => Err(format!("{pending} records are pending")),
            }
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
