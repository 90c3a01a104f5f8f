//! A Prometheus and a VictoriaMetrics behind one merger, one of them dead.

use std::{path::Path, process::Command, time::Duration};

use e2e::{
    eventually,
    go_programs::VICTORIA_METRICS,
    http::{self, block_on},
    process::Running,
    prometheus::{Prometheus, free_address},
};
use prom_remote::SeriesSetFingerprint;

use super::{
    poison::{SERIES, TIMES_PER_REQUEST, read_all, send},
    program::{Merger, now_ms},
};

#[test]
fn a_dead_prometheus_does_not_hold_victoria_metrics_and_gets_everything_later() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let mut prometheus = Prometheus::strict(&folder.path().join("prometheus"));
    let archive = VictoriaMetrics::start(folder.path());
    let destinations = format!(
        "destinations:\n  - {{name: tsdb, url: '{}/api/v1/write'}}\n  \
         - {{name: archive, url: 'http://{}/api/v1/write', compression: zstd}}",
        prometheus.url(),
        archive.address
    );
    let mut merger = Merger::before(folder.path(), &destinations);
    merger.start();
    let begin_ms = now_ms() - 600_000;
    let mut expected = SeriesSetFingerprint::new();
    for request in 0..=10 {
        assert_eq!(send(&merger, "kafka", begin_ms, request, None, &mut expected), 204);
    }
    let samples = SERIES * (1 + 10 * TIMES_PER_REQUEST as usize);
    eventually(Duration::from_secs(60), "VictoriaMetrics has all samples", || {
        let found = archive.count("{__name__=\"e2e_poison\",source=\"kafka\"}")?;
        if found == samples { Ok(()) } else { Err(format!("{found} of {samples}")) }
    });
    assert_eq!(merger.metric("destination_down", "kafka"), Ok(0.0), "the first in the list is the archive");

    prometheus.start();
    merger.wait_until_done("kafka");
    let found = block_on(read_all(&prometheus.url(), "kafka", begin_ms)).expect("Prometheus answers");
    assert!(expected.differences(&found).is_empty(), "{:?}", expected.differences(&found).first());
    merger.kill();
    assert_eq!(merger.dead_letters(), "");
}

struct VictoriaMetrics {
    address: String,
    running: Option<Running>,
}

impl VictoriaMetrics {
    fn start(folder: &Path) -> Self {
        let address = free_address().to_string();
        let running = Running::start(
            Command::new(VICTORIA_METRICS.path())
                .current_dir(folder)
                .arg(format!("-httpListenAddr={address}"))
                .arg("-storageDataPath=victoria-metrics"),
        );
        let ready = format!("http://{address}/health");
        eventually(Duration::from_secs(60), "VictoriaMetrics becomes ready", || http::get(&ready));
        Self { address, running: Some(running) }
    }

    /// How many samples it has of the series that match.
    fn count(&self, selector: &str) -> Result<usize, String> {
        http::post(&format!("http://{}/internal/force_flush", self.address))?;
        let url = reqwest::Url::parse_with_params(
            &format!("http://{}/api/v1/export", self.address),
            [("match[]", selector)],
        );
        let mut count = 0;
        for line in http::get(url.map_err(|error| error.to_string())?.as_str())?.lines() {
            let block: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
            count += block["timestamps"].as_array().map_or(0, Vec::len);
        }
        Ok(count)
    }
}

impl Drop for VictoriaMetrics {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}
