//! The rules that are shipped, judged by the real promtool.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use e2e::{programs, prometheus};

/// For each alert of the merger: series that must raise it, and it alone.
const TESTS: &str = include_str!("rules/merger_test.yml");

fn rules() -> PathBuf {
    programs::workspace().join("compose/configs/rules")
}

/// It lies beside Prometheus.
fn promtool(folder: &Path, arguments: &[&str]) -> Output {
    let program = prometheus::program().with_file_name("promtool");
    Command::new(&program)
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()))
}

#[track_caller]
fn expect_success(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn promtool_takes_all_rules() {
    for file in ["alerts.yml", "recording.yml", "merger.yml"] {
        expect_success(&promtool(&rules(), &["check", "rules", "--lint-fatal", file]));
    }
}

#[test]
fn every_alert_of_the_merger_is_raised_by_what_it_is_for() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    fs::copy(rules().join("merger.yml"), folder.path().join("merger.yml")).expect("the rules are there");
    fs::write(folder.path().join("merger_test.yml"), TESTS).expect("the folder can be written");
    expect_success(&promtool(folder.path(), &["test", "rules", "merger_test.yml"]));
    let text = fs::read_to_string(rules().join("merger.yml")).expect("the rules are there");
    for alert in text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(TESTS.contains(&format!("alertname=\"{alert}\"")), "no test of {alert}");
    }
}

/// A metric that rules name is one that a merger shows.
#[test]
fn rules_name_metrics_that_exist() {
    let documented = fs::read_to_string(programs::workspace().join("docs/merger-metrics.md"));
    let documented = documented.expect("the page is there");
    for file in ["alerts.yml", "recording.yml", "merger.yml"] {
        let text = fs::read_to_string(rules().join(file)).expect("the rules are there");
        for line in text.lines().filter(|line| !line.contains("record:")) {
            for rest in line.split("prom_merger_").skip(1) {
                let name: String =
                    rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                let is_there = [format!("| `{name}` |"), format!("| `{name}{{")]
                    .iter()
                    .any(|start| documented.contains(start));
                assert!(is_there, "{file} names prom_merger_{name}");
            }
        }
    }
}
