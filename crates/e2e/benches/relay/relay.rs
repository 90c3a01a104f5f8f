use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use e2e::{eventually, go_programs::VMAGENT, http, process::Running, programs, prometheus::free_address};
use tempfile::TempDir;

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Merger,
    Vmagent,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Merger => "prom-merger",
            Self::Vmagent => "vmagent 1.130",
        }
    }

    /// Both; the other one first each time.
    pub(crate) fn in_turn(round: usize) -> [Self; 2] {
        if round.is_multiple_of(2) { [Self::Vmagent, Self::Merger] } else { [Self::Merger, Self::Vmagent] }
    }
}

/// A relay that adds `source="bench"`, with a folder of its own on the disk of temporary files.
pub(crate) struct Relay {
    kind: Kind,
    address: SocketAddr,
    command: String,
    running: Option<Running>,
    _folder: TempDir,
}

impl Relay {
    pub(crate) fn start(kind: Kind, destination: &str) -> Self {
        let folder = TempDir::new().expect("a folder can be made");
        let address = free_address();
        let mut command = match kind {
            Kind::Vmagent => vmagent(folder.path(), address, destination),
            Kind::Merger => merger(folder.path(), address, destination),
        };
        let running = Some(Running::start(&mut command));
        let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
        let words: Vec<_> = [kind.name().to_owned()].into_iter().chain(words).collect();
        let ready = match kind {
            Kind::Vmagent => format!("http://{address}/health"),
            Kind::Merger => format!("http://{address}/-/ready"),
        };
        eventually(Duration::from_secs(30), "the relay is ready", || http::get(&ready));
        Self { kind, address, command: words.join(" "), running, _folder: folder }
    }

    pub(crate) fn write_url(&self) -> String {
        match self.kind {
            Kind::Vmagent => format!("http://{}/api/v1/write", self.address),
            Kind::Merger => format!("http://{}/api/v1/write/bench", self.address),
        }
    }

    pub(crate) fn command(&self) -> String {
        self.command.clone()
    }

    /// In user and kernel mode, of all its threads, in seconds.
    pub(crate) fn processor_time(&self) -> f64 {
        let stat = self.read("stat");
        let (_, fields) = stat.rsplit_once(')').expect("the command stands in parentheses");
        let mut ticks =
            fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks"));
        let sum = ticks.next().zip(ticks.next()).map_or(0, |(user, system)| user + system);
        sum as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    /// The most memory that was resident, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells it");
        let kilobytes = line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
        kilobytes.expect("a number of kB") * 1024
    }

    fn read(&self, name: &str) -> String {
        let pid = self.running.as_ref().expect("it runs").pid();
        fs::read_to_string(format!("/proc/{pid}/{name}")).expect("it runs")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}

fn vmagent(folder: &Path, address: SocketAddr, destination: &str) -> Command {
    let mut command = Command::new(VMAGENT.path());
    command
        .arg(format!("-httpListenAddr={address}"))
        .arg(format!("-remoteWrite.url={destination}"))
        .arg("-remoteWrite.label=source=bench")
        // Snappy, as the merger sends.
        .arg("-remoteWrite.forcePromProto")
        .arg(format!("-remoteWrite.tmpDataPath={}", folder.join("queue").display()));
    command
}

fn merger(folder: &Path, address: SocketAddr, destination: &str) -> Command {
    let config = folder.join("merger.yaml");
    let text = format!(
        "listen: {address}\ndata: {}\nsources: [{{name: bench}}]\ndestination: {{url: '{destination}'}}\n\
         journal: {{max_bytes: 4g}}\n",
        folder.join("data").display()
    );
    fs::write(&config, text).expect("the folder can be written");
    let mut command = Command::new(programs::path("prom-merger"));
    command.arg("--config").arg(config);
    command
}
