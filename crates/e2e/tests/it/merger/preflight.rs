//! `prom-merger preflight` before real databases and real sources: what it says of them is true.

use std::{fs, path::Path, process::Command, time::Duration};

use e2e::{
    eventually,
    go_programs::{PROMETHEUS_3, VICTORIA_METRICS},
    http,
    process::Running,
    programs,
    prometheus::{Prometheus, free_address, program},
};
use serde_json::Value;

struct Found {
    report: Value,
    code: i32,
}

impl Found {
    fn details(&self, pointer: &str) -> &Value {
        self.report.pointer(&format!("/destinations/0/details/{pointer}")).unwrap_or(&Value::Null)
    }

    fn findings(&self, severity: &str) -> Vec<String> {
        let all = self.report["findings"].as_array().expect("findings are a list");
        let of = all.iter().filter(|finding| finding["severity"] == severity);
        of.map(|finding| format!("{}: {}", finding["about"], finding["what"])).collect()
    }
}

fn preflight(folder: &Path, database: &str, keys: &str, arguments: &[&str]) -> Found {
    let config = folder.join("merger.yaml");
    let text = format!(
        "data: {}\nsources: [{{name: kafka}}, {{name: kubernetes}}]\n\
         destination: {{url: '{database}/api/v1/write'{keys}}}\n",
        folder.join("merger").display()
    );
    fs::write(&config, text).expect("the folder can be written");
    let mut command = Command::new(programs::path("prom-merger"));
    command.args(["preflight", "--format", "json", "--config"]).arg(&config).args(arguments);
    let ended = Running::start(&mut command).wait(Duration::from_secs(120));
    let report = serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("{error} in {}{}", ended.stdout, ended.stderr));
    Found { report, code: ended.code.expect("it exits") }
}

/// The same as Prometheus says when it is asked: the window of two hours, and not a minute where there is none.
#[test]
fn knows_what_prometheus_2_42_takes() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    for (mut database, accepted_ms, refused_ms) in [
        (Prometheus::new(&folder.path().join("lenient")), Some(2 * 3_600_000), 6 * 3_600_000),
        (Prometheus::strict(&folder.path().join("strict")), None, 60_000),
    ] {
        database.start();
        let read = format!(", read_url: '{}/api/v1/read'", database.url());
        let found = preflight(folder.path(), &database.url(), &read, &[]);
        assert_eq!(found.code, 0, "{:#}", found.report);
        assert_eq!(found.report["destinations"][0]["remote_write_1"]["outcome"], "stored");
        assert_eq!(found.details("remote_write_2/outcome"), "swallowed");
        assert_eq!(found.details("zstd/outcome"), "refused");
        assert_eq!(found.details("conflict/status"), 400);
        let window = found.details("floats_out_of_order");
        assert_eq!(window["accepted_ms"].as_i64(), accepted_ms, "{window}");
        assert_eq!(window["refused_ms"].as_i64(), Some(refused_ms), "{window}");
        assert!(found.details("body/accepted_bytes").as_u64() >= Some(1 << 20));
        database.stop();
    }
}

#[test]
fn knows_that_prometheus_3_keeps_2_0_and_native_histograms() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let config = "storage: {tsdb: {out_of_order_time_window: 31m}}\n";
    let arguments = ["--enable-feature=native-histograms"];
    let mut database = Prometheus::configured(folder.path(), PROMETHEUS_3.path(), config, &arguments);
    database.start();
    let read = format!(", read_url: '{}/api/v1/read'", database.url());
    let found = preflight(folder.path(), &database.url(), &read, &[]);
    for what in ["remote_write_2", "native_histograms"] {
        assert_eq!(found.details(&format!("{what}/outcome")), "stored", "{:#}", found.report);
    }
    for what in ["floats_out_of_order", "histograms_out_of_order"] {
        assert_eq!(found.details(&format!("{what}/accepted_ms")), 1_800_000, "{:#}", found.report);
    }
    // Less than the hour that an outage may take.
    assert_eq!(found.findings("warning").len(), 2, "{:#}", found.report);
}

#[test]
fn knows_that_victoria_metrics_takes_zstd_and_throws_2_0_away() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let address = free_address();
    let _database = Running::start(
        Command::new(VICTORIA_METRICS.path())
            .current_dir(folder.path())
            .arg(format!("-httpListenAddr={address}"))
            .arg("-storageDataPath=data"),
    );
    let url = format!("http://{address}");
    eventually(Duration::from_secs(60), "the database is ready", || http::get(&format!("{url}/health")));
    let found = preflight(folder.path(), &url, "", &[]);
    assert_eq!(found.details("zstd/outcome"), "accepted", "{:#}", found.report);
    assert_eq!(found.details("remote_write_2/outcome"), "swallowed", "{:#}", found.report);
    assert_eq!(found.details("floats_out_of_order/refused_ms"), &Value::Null, "{:#}", found.report);
}

#[test]
fn says_that_a_destination_that_takes_nothing_is_an_error() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let mut database = Prometheus::strict(folder.path());
    database.set_takes_remote_write(false);
    database.start();
    let found = preflight(folder.path(), &database.url(), "", &[]);
    assert_eq!(found.code, 1);
    assert_eq!(found.findings("error").len(), 1, "{:#}", found.report);
}

/// Two that scrape themselves under the same job and address label, at different intervals; one has the label already.
#[test]
fn finds_where_two_real_sources_collide() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let mut database = Prometheus::new(&folder.path().join("database"));
    database.start();
    let source = |name: &str, interval: &str, external: &str| {
        let config = format!(
            "global: {{scrape_interval: {interval}, external_labels: {{{external}}}}}\n\
             scrape_configs: [{{job_name: self, static_configs: [{{targets: [SELF], labels: {{instance: here}}}}]}}]\n"
        );
        let mut source = Prometheus::configured(&folder.path().join(name), program(), &config, &[]);
        source.start();
        let url = source.url();
        eventually(Duration::from_secs(60), "a scrape is stored", || match http::query(&url, "up") {
            Ok(found) if !found.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        });
        source
    };
    let kafka = source("kafka", "1s", "cluster: one, source: mine");
    let kubernetes = source("kubernetes", "2s", "cluster: one");
    let (first, second) = (format!("kafka={}", kafka.url()), format!("kubernetes={}", kubernetes.url()));
    let found = preflight(folder.path(), &database.url(), "", &["--source", &first, "--source", &second]);
    let notes = found.findings("note").join("\n");
    assert!(notes.contains("external label `source` is"), "{notes}");
    let warnings = found.findings("warning").join("\n");
    for expected in ["every 1 s and every 2 s", "series have the same labels in both"] {
        assert!(warnings.contains(expected), "{expected} in {warnings}");
    }
    assert_eq!(found.report["sources"][1]["external_labels"]["cluster"], "one");
    let skew = found.report["sources"][0]["clock_skew_ms"].as_f64().expect("a number");
    assert!(skew.abs() < 500.0, "the same clock, and {skew} ms apart");
    assert_eq!(found.code, 0, "{:#}", found.report);
}
