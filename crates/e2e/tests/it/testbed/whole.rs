//! One testbed from `up` to `purge`: starting it is dear, so the steps share it, in this order.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    process::{Child, Command},
    thread,
    time::Duration,
};

use e2e::{
    alone, eventually,
    http::Page,
    note,
    process::{self, send},
    testbed::Testbed,
};
use rustix::process::Signal;
use serde_json::json;

use super::checks::{LOAD_PORT, MINUTE, by_label, expect_ready, what_was_produced_was_consumed};

const WORKERS: [&str; 2] = ["worker-1", "worker-2"];
pub(super) const BROKERS: [&str; 3] = ["kafka-broker-1", "kafka-broker-2", "kafka-broker-3"];
pub(super) const AGENT_PORT: u16 = 11001;
const MOST_KAFKA_SERIES: usize = 300;

type Step = fn(&Testbed);

#[test]
fn a_testbed_from_up_to_purge() {
    let _alone = alone();
    let testbed = Testbed::new("whole");
    let steps: &[(&str, Step)] = &[
        ("up", comes_up),
        ("both sources", both_sources_arrive),
        ("every broker", every_broker_is_measured),
        ("source label", every_series_names_its_source),
        ("workers", workers_go_on),
        ("sequences", what_was_produced_was_consumed),
        ("second up", a_second_up_changes_nothing),
        ("stopped worker", a_stopped_worker_shows_in_the_latency),
        ("killed broker", a_killed_broker_is_told_and_healed),
        ("sequences after it", what_was_produced_was_consumed),
        ("killed supervisor", a_killed_supervisor_is_told),
        ("removal", only_what_is_ours_is_removed),
    ];
    for (name, step) in steps {
        let begun = std::time::Instant::now();
        note(&format!("step: {name}"));
        step(&testbed);
        note(&format!("step: {name} took {:.1} s", begun.elapsed().as_secs_f64()));
    }
}

pub(super) fn comes_up(testbed: &Testbed) {
    testbed.command(&["up"]).expect_code(0);
    expect_ready(testbed);
}

fn both_sources_arrive(testbed: &Testbed) {
    eventually(MINUTE, "targets of both sources are up", || {
        let counts = by_label(&testbed.query("count by (source) (up == 1)")?, "source");
        let count = |source: &str| counts.get(source).copied().unwrap_or_default();
        let is_all = count("kafka") >= 4.0 && count("kubernetes") >= 2.0;
        if is_all { Ok(()) } else { Err(format!("{counts:?}")) }
    });
}

pub(super) fn every_broker_is_measured(testbed: &Testbed) {
    for prefix in ["kafka", "jvm"] {
        eventually(MINUTE, "each broker has series", || {
            let expression = format!("count by (broker) ({{__name__=~\"{prefix}_.+\", job=\"kafka\"}})");
            let counts = by_label(&testbed.query(&expression)?, "broker");
            let is_all = BROKERS.iter().all(|broker| counts.get(*broker).is_some_and(|count| *count > 10.0));
            if is_all { Ok(()) } else { Err(format!("{prefix}: {counts:?}")) }
        });
    }
    let status = testbed.status();
    for broker in BROKERS {
        let page = Page::fetch(&status.service(broker).metrics_url(AGENT_PORT)).expect("the agent answers");
        let series = page.samples().iter().filter(|sample| sample.name.starts_with("kafka_")).count();
        note(&format!("{broker} has {series} kafka_ series"));
        assert!((1..=MOST_KAFKA_SERIES).contains(&series), "{broker} has {series} kafka_ series");
    }
}

fn every_series_names_its_source(testbed: &Testbed) {
    let without = testbed.query("count({__name__=~\".+\", source=\"\"})").expect("the database answers");
    assert_eq!(
        without,
        [],
        "these have no source: {:?}",
        testbed.query("count by (__name__) ({source=\"\"})")
    );
}

pub(super) fn workers_go_on(testbed: &Testbed) {
    for worker in WORKERS {
        let url = testbed.status().service(worker).metrics_url(LOAD_PORT);
        let consumed = || Page::fetch(&url).map(|page| page.sum("kafka_load_consumed_messages_total"));
        let before = consumed().expect("the worker answers");
        eventually(MINUTE, "the worker goes on", || match consumed()? {
            now if now > before => Ok(()),
            now => Err(format!("{worker} has consumed {now} messages, as before")),
        });
    }
}

fn a_second_up_changes_nothing(testbed: &Testbed) {
    let before = testbed.status();
    let output = testbed.command(&["up"]).expect_code(0);
    assert!(output.stdout.contains("all is well"), "{}", output.stdout);
    let after = testbed.status();
    assert_eq!(before.processes(), after.processes());
    assert_eq!(before.supervisor(), after.supervisor());
}

fn a_stopped_worker_shows_in_the_latency(testbed: &Testbed) {
    let status = testbed.status();
    let worker = status.service("worker-1");
    let url = worker.metrics_url(LOAD_PORT);
    let above_five_seconds = |page: &Page| -> Result<f64, String> {
        let bucket = |bound| page.value("kafka_load_end_to_end_latency_seconds_bucket", ("le", bound));
        Ok(bucket("+Inf")? - bucket("5")?)
    };
    let before =
        above_five_seconds(&Page::fetch(&url).expect("the worker answers")).expect("there are buckets");
    send(worker.pid(), Signal::STOP);
    // What is measured here is this very pause.
    thread::sleep(Duration::from_millis(10_500));
    send(worker.pid(), Signal::CONT);
    eventually(MINUTE, "the pause shows in the latency", || {
        let page = Page::fetch(&url)?;
        let longest = page.value("kafka_load_end_to_end_latency_quantile_seconds", ("quantile", "1"))?;
        let late = above_five_seconds(&page)? - before;
        let is_shown = longest >= 10.0 && late > 0.0;
        if is_shown {
            Ok(())
        } else {
            Err(format!("the longest took {longest} s, {late} took more than 5 s"))
        }
    });
    expect_ready(testbed);
}

fn a_killed_broker_is_told_and_healed(testbed: &Testbed) {
    let killed = testbed.status().service("kafka-broker-2").pid();
    send(killed, Signal::KILL);
    eventually(2 * MINUTE, "the broker's end is told, and another one runs", || {
        let status = testbed.status();
        let broker = status.service("kafka-broker-2");
        let is_told = broker.ends().any(|how| how == "killed by signal 9 (SIGKILL)");
        let is_healed = status.state() == "running" && broker.pid() != killed && broker.restarts() > 0;
        if is_told && is_healed { Ok(()) } else { Err(format!("{} {broker:?}", status.state())) }
    });
    let text = testbed.command(&["status"]).expect_code(0).stdout;
    assert!(text.contains("killed by signal 9 (SIGKILL)"), "{text}");
    testbed.command(&["up"]).expect_code(0);
    expect_ready(testbed);
}

fn a_killed_supervisor_is_told(testbed: &Testbed) {
    send(testbed.status().supervisor(), Signal::KILL);
    eventually(MINUTE, "the supervisor's end is told", || match testbed.status().state() {
        "unsupervised" => Ok(()),
        other => Err(other.to_owned()),
    });
}

/// After a supervisor that cannot help, with a ledger that names processes of others.
fn only_what_is_ours_is_removed(testbed: &Testbed) {
    let status = testbed.status();
    let addresses: BTreeSet<&str> = status.services().flat_map(|service| service.addresses()).collect();
    assert!(addresses.len() >= 15, "{addresses:?}");
    let folder = testbed.folder();
    let files = [folder.join("notes.txt"), folder.join("logs/mine.log")];
    for file in &files {
        fs::write(file, "mine").expect("the folder can be written");
    }
    let strangers = [Stranger::start(), Stranger::start(), Stranger::start()];
    let [reused, known, supervisor] = strangers.each_ref().map(|stranger| stranger.0.id());
    let started = |what: &str, pid: u32, start_ticks: u64| {
        format!("{}\n", json!({"event": "started", "what": what, "pid": pid, "start_ticks": start_ticks}))
    };
    let mut ledger = fs::read_to_string(testbed.ledger_path()).expect("there is a ledger");
    ledger += &started("worker-1", reused, process::start_ticks(reused) - 1);
    ledger += &started("kafka-broker-1", known, process::start_ticks(known));
    ledger += &started("supervisor", supervisor, process::start_ticks(supervisor));
    fs::write(testbed.ledger_path(), ledger).expect("the ledger can be written");

    testbed.command(&["down"]).expect_code(0);
    testbed.expect_no_process();
    for address in &addresses {
        if let Err(error) = TcpListener::bind(address) {
            panic!("{address} is not free after `down`: {error}");
        }
    }
    testbed.command(&["purge", "--yes"]).expect_code(0);
    for mut stranger in strangers {
        assert!(matches!(stranger.0.try_wait(), Ok(None)), "a process of somebody else was ended");
    }
    let mut left = Vec::new();
    list(&folder, &mut left);
    left.sort();
    let mut expected = files.to_vec();
    expected.sort();
    assert_eq!(left, expected, "what is left in the testbed's folder");
}

/// A process that does not belong to the testbed; ended with the test.
struct Stranger(Child);

impl Stranger {
    fn start() -> Self {
        Self(Command::new("sleep").arg("600").spawn().expect("sleep starts"))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn list(folder: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is left").flatten() {
        let path = entry.path();
        if path.is_dir() { list(&path, files) } else { files.push(path) }
    }
}
