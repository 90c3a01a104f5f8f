//! Takes the captured payloads again that benches and tests read: real exporters, scraped and sent by real Prometheus servers.
//!
//! `cargo run -p e2e --example capture` takes those of Kafka and of the node exporter and the chunks, in some twelve
//! minutes; with `--kubelet https://ADDRESS:10250 --token-file FILE` those of a kubelet's cAdvisor too, which need a
//! cluster. What is taken, and how: `crates/prom-remote/benches/captured/README.md`.

mod chunks;
mod exporter;
mod recorder;

use std::{fs, path::PathBuf, time::Duration};

use clap::Parser;
use e2e::{
    eventually,
    go_programs::PROMETHEUS_3,
    note,
    programs::workspace,
    prometheus::{Prometheus, program},
    testbed::Testbed,
};
use prom_remote_http::WriteVersion;
use tempfile::TempDir;

use crate::{
    exporter::{Exporter, NodeExporter},
    recorder::Recorder,
};

/// Takes the captured payloads again
#[derive(Parser)]
struct Arguments {
    /// A kubelet to scrape; without it the payloads of Kubernetes stay as they are
    #[arg(long, requires = "token_file")]
    kubelet: Option<String>,
    /// A file with a token that may read its metrics
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Payloads alone, no chunks: those take ten minutes
    #[arg(long)]
    no_chunks: bool,
    /// Only the exporters whose name is this
    #[arg(long)]
    only: Option<String>,
}

fn main() {
    let arguments = Arguments::parse();
    let is_wanted = |name: &str| arguments.only.as_deref().is_none_or(|only| only == name);
    let mut exporters = Vec::new();
    let (mut testbed, mut nodes) = (None, Vec::new());
    if is_wanted("kafka") {
        exporters.push(Exporter::kafka(testbed.insert(started_testbed())));
    }
    if is_wanted("node") {
        nodes.extend((0..HOSTS).map(|_| NodeExporter::start()));
        exporters.push(Exporter::node(&nodes));
    }
    if let (Some(kubelet), Some(token_file)) = (&arguments.kubelet, &arguments.token_file) {
        exporters.extend(is_wanted("kubernetes").then(|| Exporter::kubernetes(kubelet, token_file)));
    }
    let recorder = Recorder::start();
    let captures: Vec<_> = exporters.iter().map(|exporter| Capture::start(exporter, &recorder)).collect();
    for exporter in &exporters {
        record(exporter, &recorder);
    }
    if !arguments.no_chunks {
        let sources: Vec<_> = captures.iter().map(|capture| capture.version_2.url()).collect();
        chunks::capture(&sources);
    }
}

const HOSTS: usize = 3;

/// The two servers that scrape one exporter.
struct Capture {
    version_2: Prometheus,
    _version_3: Prometheus,
    _folder: TempDir,
}

impl Capture {
    fn start(exporter: &Exporter, recorder: &Recorder) -> Self {
        let folder = TempDir::new().expect("a folder can be made");
        let start = |name: &str, program: PathBuf, message: &str, arguments: &[&str]| {
            let config = exporter.config(&recorder.url(exporter.name), message);
            let mut prometheus =
                Prometheus::configured(&folder.path().join(name), program, &config, arguments);
            prometheus.start();
            prometheus
        };
        let v2 = "protobuf_message: io.prometheus.write.v2.Request, ";
        let features = ["--enable-feature=metadata-wal-records"];
        let version_2 = start("2", program(), "", &[]);
        let version_3 = start("3", PROMETHEUS_3.path(), v2, &features);
        Self { version_2, _version_3: version_3, _folder: folder }
    }
}

/// Three brokers with as many partitions as a team has that experiments, and load on them.
fn started_testbed() -> Testbed {
    let testbed = Testbed::new("capture");
    testbed.write_spec("load: {partitions: 120}\n");
    testbed.command(&["up"]).expect_code(0);
    testbed
}

/// Waits for full requests of both versions and writes them.
fn record(exporter: &Exporter, recorder: &Recorder) {
    for (version, number) in [(WriteVersion::V1, "1.0"), (WriteVersion::V2, "2.0")] {
        let bodies = eventually(Duration::from_secs(300), "full requests come", || {
            recorder.full(exporter.name, version)
        });
        for (index, body) in bodies.iter().enumerate() {
            let name = format!("{}-{number}-{}.sz", exporter.name, index + 1);
            let path = workspace().join("crates/prom-remote/benches/captured").join(&name);
            fs::write(&path, body).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            note(&format!("{name}: {} bytes", body.len()));
        }
    }
}
