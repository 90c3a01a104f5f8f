//! One testbed through everything that happens to it after its first `up`, in this order.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _, path::Path, process::Command};

use e2e::{alone, eventually, http::Page, note, process::send, testbed::Testbed};
use rustix::process::Signal;
use serde_json::Value;

use super::checks::{LOAD_PORT, MINUTE, by_label, expect_ready, what_was_produced_was_consumed};

type Step = fn(&Testbed);

#[test]
fn a_testbed_is_changed_while_it_runs() {
    let _alone = alone();
    let testbed = Testbed::new("life");
    let steps: &[(&str, Step)] = &[
        ("up with its own folder for metrics", comes_up_with_its_own_storage),
        ("Kafka's tools", the_tools_of_kafka_work_beside_the_agent),
        ("env and open", addresses_are_told),
        ("rules", rules_are_evaluated),
        ("scale", workers_are_scaled),
        ("load", the_load_is_changed_while_it_runs),
        ("stop, start, restart", single_services_are_stopped_and_started),
        ("another specification", a_changed_specification_is_taken_over),
        ("logs", logs_are_shown_by_time),
        ("reset", a_reset_keeps_metrics_and_nothing_of_kafka),
        ("list and dry runs", what_would_happen_is_told),
        ("gc", a_stopped_testbed_is_collected),
    ];
    for (name, step) in steps {
        let begun = std::time::Instant::now();
        note(&format!("step: {name}"));
        step(&testbed);
        note(&format!("step: {name} took {:.1} s", begun.elapsed().as_secs_f64()));
    }
}

fn comes_up_with_its_own_storage(testbed: &Testbed) {
    let storage = testbed.home().join("fast-disk");
    testbed.write_spec(&format!("prometheus: {{kafka: {{storage: '{}'}}}}\n", storage.display()));
    let output = testbed.command(&["up"]).expect_code(15);
    assert!(output.stderr.contains("does not exist; create it"), "{}", output.stderr);
    fs::create_dir(&storage).expect("the home can be written");
    fs::write(storage.join("mine.txt"), "mine").expect("the folder can be written");
    testbed.command(&["up"]).expect_code(0);
    expect_ready(testbed);
    let own = fs::read_dir(&storage).expect("it is there").flatten().map(|entry| entry.path());
    let own = own.into_iter().find(|path| path.is_dir()).expect("the testbed has made a folder in it");
    assert!(own.join("kafka-prometheus/wal").is_dir(), "Prometheus writes there");
}

fn the_tools_of_kafka_work_beside_the_agent(testbed: &Testbed) {
    let tool = |words: &[&str]| testbed.command(&[&["exec"], words].concat()).expect_code(0).stdout;
    let described = tool(&["kafka-topics", "--describe", "--topic", "work"]);
    assert!(described.contains("PartitionCount: 12"), "{described}");
    let groups =
        tool(&["kafka-consumer-groups.sh", "--describe", "--group", "workers", "--timeout", "60000"]);
    assert!(groups.contains("work ") && groups.contains("worker-1"), "{groups}");
    let perf = tool(&[
        "kafka-producer-perf-test",
        "--topic",
        "work",
        "--num-records",
        "100",
        "--record-size",
        "100",
        "--throughput",
        "-1",
    ]);
    assert!(perf.contains("100 records sent"), "{perf}");
    let shell = tool(&["sh", "-c", "echo $KAFKA_BOOTSTRAP_SERVERS run $TESTBED_RUN"]);
    assert!(shell.contains(testbed.status().endpoint("kafka")) && shell.contains("run 1"), "{shell}");
    testbed.command(&["exec", "sh", "-c", "exit 7"]).expect_code(7);
    testbed.command(&["exec", "no-such-program"]).expect_code(12).expect_words(&["kafka-topics"]);
}

fn addresses_are_told(testbed: &Testbed) {
    let variables = testbed.command(&["env"]).expect_code(0).stdout;
    let shown = Command::new("sh")
        .args(["-c", &format!("{variables}\nprintf %s $KAFKA_BOOTSTRAP_SERVERS")])
        .output()
        .expect("there is a shell");
    assert_eq!(String::from_utf8_lossy(&shown.stdout), testbed.status().endpoint("kafka"));
    let pages = testbed.command(&["open", "--format", "json"]).expect_code(0).stdout;
    let pages: Vec<Value> = serde_json::from_str(&pages).expect("open prints JSON");
    assert!(pages.len() >= 11, "{pages:?}");
    for page in pages {
        let url = page["url"].as_str().expect("a page has an address");
        e2e::http::get(url).unwrap_or_else(|reason| panic!("{url}: {reason}"));
    }
}

fn rules_are_evaluated(testbed: &Testbed) {
    let url = format!("{}/api/v1/rules", testbed.status().endpoint("kafka_prometheus"));
    eventually(MINUTE, "every rule is evaluated without a fault", || {
        let answer: Value =
            serde_json::from_str(&e2e::http::get(&url)?).map_err(|error| error.to_string())?;
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let rules: Vec<Value> =
            groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect();
        let alerts = rules.iter().filter(|rule| rule["type"] == "alerting").count();
        let bad: Vec<&Value> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
        if alerts >= 7 && rules.len() > alerts && bad.is_empty() {
            Ok(())
        } else {
            Err(format!("{alerts} alerts, {bad:?}"))
        }
    });
    for record in [
        "run:kafka_broker_bytesin:rate1m",
        "run_topic:kafka_topic_messagesin:rate1m",
        "run_broker:process_cpu:rate1m",
    ] {
        eventually(2 * MINUTE, "what is recorded is in the database, with its run", || {
            let found = testbed.query(&format!("{{__name__=\"{record}\", run=\"1\", source=\"kafka\"}}"))?;
            if found.is_empty() { Err(format!("no {record}")) } else { Ok(()) }
        });
    }
    let firing = testbed.query("ALERTS{alertstate=\"firing\"}").expect("the database answers");
    assert_eq!(firing, [], "nothing is wrong with this testbed");
}

fn workers_are_scaled(testbed: &Testbed) {
    for count in [4, 2] {
        testbed.command(&["scale", "workers", &count.to_string()]).expect_code(0);
        let status = testbed.status();
        let workers = status.services().filter(|service| service.name().starts_with("worker-")).count();
        assert_eq!(workers, count);
        eventually(MINUTE, "so many workers are seen as pods", || {
            let pods = testbed.query("count(kube_pod_info{namespace=\"workers\"})")?;
            let up = testbed.query("count(up{job=\"workers\"} == 1)")?;
            let value = |samples: &[e2e::http::Sample]| samples.first().map_or(0.0, |sample| sample.value);
            match (value(&pods), value(&up)) {
                (pods, up) if pods == count as f64 && up == count as f64 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
    what_was_produced_was_consumed(testbed);
}

fn the_load_is_changed_while_it_runs(testbed: &Testbed) {
    let load = |words: &[&str]| -> Value {
        let output =
            testbed.command(&[&["load"], words, &["--format", "json"]].concat()).expect_code(0).stdout;
        serde_json::from_str(&output).expect("load prints JSON")
    };
    assert_eq!(load(&["--rate", "50"])["intended_messages_per_second"], 50.0);
    assert_eq!(load(&["--pause"])["intended_messages_per_second"], 0.0);
    assert_eq!(load(&["--resume"])["intended_messages_per_second"], 50.0);
    assert_eq!(load(&["--show"])["intended_messages_per_second"], 50.0);
    testbed.command(&["load"]).expect_code(2);
}

fn single_services_are_stopped_and_started(testbed: &Testbed) {
    testbed.command(&["stop", "worker-1"]).expect_code(0);
    let status = testbed.status();
    assert_eq!(status.service("worker-1").state(), "stopped");
    assert_eq!(status.service("worker-2").state(), "running");
    testbed.command(&["start", "worker-1"]).expect_code(0);
    let before = testbed.status();
    testbed.command(&["restart", "worker-1", "kubernetes-prometheus"]).expect_code(0);
    let after = testbed.status();
    for name in ["worker-1", "kubernetes-prometheus"] {
        assert_ne!(before.service(name).pid(), after.service(name).pid(), "{name}");
        assert_eq!(after.service(name).restarts(), 0, "{name}: an asked restart is no healing");
    }
    assert_eq!(before.service("worker-2").pid(), after.service("worker-2").pid());
    let refused = testbed.command(&["restart", "worker-9"]).expect_code(1);
    refused.expect_words(&["error[refused]", "worker-9", "worker-1"]);
    expect_ready(testbed);
}

fn a_changed_specification_is_taken_over(testbed: &Testbed) {
    let storage = testbed.home().join("fast-disk");
    let kafka = |rest: &str| format!("prometheus: {{kafka: {{storage: '{}', {rest}}}}}\n", storage.display());
    let before = testbed.status();
    testbed.write_spec(&kafka("scrape_interval: 2s, external_labels: {team: a}"));
    testbed.command(&["up"]).expect_code(0).expect_words(&["kafka-prometheus: reads its new configuration"]);
    let after = testbed.status();
    assert_eq!(before.processes(), after.processes(), "nothing is started again for a configuration");
    eventually(MINUTE, "the new label and interval are in force", || {
        let count = testbed.query("count(up{source=\"kafka\", team=\"a\"})")?;
        let config = e2e::http::get(&format!("{}/api/v1/status/config", after.endpoint("kafka_prometheus")))?;
        if !count.is_empty() && config.contains("scrape_interval: 2s") {
            Ok(())
        } else {
            Err(format!("{count:?}"))
        }
    });

    // A Prometheus that does not answer has not taken its configuration.
    send(after.service("kafka-prometheus").pid(), Signal::STOP);
    testbed.write_spec(&kafka("scrape_interval: 2s"));
    let refused = testbed.command(&["up"]).expect_code(15);
    refused.expect_words(&["error[configuration-refused]", "kafka-prometheus"]);
    send(after.service("kafka-prometheus").pid(), Signal::CONT);

    testbed.write_spec(&(kafka("scrape_interval: 2s") + "kafka: {heap: 320m}\n"));
    let refused = testbed.command(&["up"]).expect_code(16);
    let names = ["kafka-broker-1", "kafka-broker-3", "--restart-changed", "error[other-specification]"];
    refused.expect_words(&names);
    assert_eq!(testbed.status().processes(), after.processes(), "a refused change changes nothing");
    testbed.command(&["up", "--restart-changed"]).expect_code(0);
    let changed = testbed.status();
    assert_ne!(changed.service("kafka-broker-1").pid(), after.service("kafka-broker-1").pid());
    assert_eq!(changed.service("zookeeper").pid(), after.service("zookeeper").pid());
    let command = fs::read_to_string(format!("/proc/{}/cmdline", changed.service("kafka-broker-1").pid()));
    assert!(command.expect("it runs").contains("-Xmx320m"));
    expect_ready(testbed);
}

fn logs_are_shown_by_time(testbed: &Testbed) {
    let lines = |words: &[&str]| -> Vec<Value> {
        let output = testbed.command(&[&["logs", "--format", "json"], words].concat()).expect_code(0).stdout;
        output.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
    };
    let all = lines(&["--since", "1h"]);
    let services: BTreeSet<&str> = all.iter().filter_map(|line| line["service"].as_str()).collect();
    for service in ["zookeeper", "kafka-broker-2", "kafka-prometheus", "merger", "supervisor"] {
        assert!(services.contains(service), "{service} is not among {services:?}");
    }
    let times: Vec<&str> = all.iter().filter_map(|line| line["at"].as_str()).map(|at| &at[..19]).collect();
    assert!(times.is_sorted(), "lines are sorted by time");
    assert_eq!(lines(&["--since", "0s"]), Vec::<Value>::new());
    assert_eq!(lines(&["-n", "3", "kafka-broker-1"]).len(), 3);
    testbed.command(&["logs", "nobody"]).expect_code(1).expect_words(&["nobody", "zookeeper"]);
}

fn a_reset_keeps_metrics_and_nothing_of_kafka(testbed: &Testbed) {
    resets(testbed, 2);
}

/// Resets `count` times: what Kafka stored is gone, what was measured is there, by run.
fn resets(testbed: &Testbed, count: u64) {
    let cluster = || {
        let path = testbed.folder().join("data/kafka-broker-1/meta.properties");
        let text = fs::read_to_string(path).expect("a broker has run");
        text.lines().find(|line| line.starts_with("cluster.id=")).expect("it has a cluster").to_owned()
    };
    let mut clusters = BTreeSet::from([cluster()]);
    let mut kafka_bytes = Vec::new();
    let first = testbed.status().run();
    for reset in 1..=count {
        testbed.command(&["reset"]).expect_code(0);
        let status = testbed.status();
        assert_eq!(status.run(), first + reset);
        assert!(clusters.insert(cluster()), "each run has a new cluster");
        what_was_produced_was_consumed(testbed);
        let data = testbed.folder().join("data");
        let kafka: u64 = fs::read_dir(&data)
            .expect("there is data")
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                name.to_string_lossy().starts_with("kafka-broker-") || name == "zookeeper"
            })
            .map(|entry| disk_bytes(&entry.path()))
            .sum();
        kafka_bytes.push(kafka);
        note(&format!(
            "reset {reset}: Kafka and ZooKeeper {} KiB, the testbed {} KiB, {} processes",
            kafka >> 10,
            disk_bytes(&testbed.folder()) >> 10,
            testbed.processes().len()
        ));
        assert_eq!(
            testbed.processes().len(),
            testbed.status().processes().len(),
            "the supervisor in place of `topic`"
        );
    }
    let (least, most) = (kafka_bytes.iter().min(), kafka_bytes.iter().max());
    assert!(most < least.map(|least| least * 2).as_ref(), "what Kafka stores grows: {kafka_bytes:?}");
    eventually(MINUTE, "all runs are in the database and told apart", || {
        let query = "count by (run) (count by (run, broker) (last_over_time(up{job=\"kafka\"}[2h])))";
        let runs = by_label(&testbed.query(query)?, "run");
        let is_all = (first..=first + count).all(|run| runs.get(&run.to_string()) == Some(&3.0));
        if is_all { Ok(()) } else { Err(format!("{runs:?}")) }
    });
    let url = testbed.status().service("producer").metrics_url(LOAD_PORT);
    Page::fetch(&url).expect("the producer answers");
}

/// Twenty experiments in a row.
#[test]
#[ignore = "long: `cargo xtask e2e --long`"]
fn twenty_resets_leave_metrics_and_no_garbage() {
    let _alone = alone();
    let testbed = Testbed::new("resets");
    testbed.command(&["up"]).expect_code(0);
    resets(&testbed, 20);
}

fn what_would_happen_is_told(testbed: &Testbed) {
    let list = testbed.command(&["list", "--format", "json"]).expect_code(0).stdout;
    let list: Vec<Value> = serde_json::from_str(&list).expect("list prints JSON");
    assert_eq!(list.len(), 1);
    assert_eq!((list[0]["state"].as_str(), list[0]["running"].as_u64()), (Some("running"), Some(12)));
    let json = |words: &[&str]| -> Value {
        let output = testbed.command(&[words, &["--format", "json"]].concat()).expect_code(0).stdout;
        serde_json::from_str(&output).expect("a dry run prints JSON")
    };
    let processes = testbed.processes();
    let down = json(&["down", "--dry-run"]);
    let pids: BTreeSet<u32> = down["would_end"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|process| process["pid"].as_u64().map(|pid| pid as u32))
        .collect();
    assert_eq!(pids, processes.iter().copied().collect());
    let watched = Command::new("sh")
        .args(["-c", "\"$0\" testbed --name \"$1\" --home \"$2\" status --watch --format json | head -n 2"])
        .arg(e2e::programs::path("xtask"))
        .args([testbed.name(), testbed.home().to_str().expect("a path of ours is text")])
        .output()
        .expect("there is a shell");
    let states: Vec<Value> = String::from_utf8_lossy(&watched.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect();
    assert_eq!(states.iter().map(|status| &status["state"]).collect::<Vec<_>>(), ["running", "running"]);
    let gc = json(&["gc", "--yes"]);
    assert_eq!(gc["dead"].as_array().map(Vec::len), Some(0), "a running testbed is not dead");
    assert_eq!(testbed.processes(), processes, "a dry run ends nothing");
}

fn a_stopped_testbed_is_collected(testbed: &Testbed) {
    testbed.command(&["down"]).expect_code(0);
    testbed.expect_no_process();
    testbed.command(&["start"]).expect_code(19).expect_words(&["error[not-running]", "does not run", "up"]);
    let plan = testbed.command(&["purge", "--dry-run", "--format", "json"]).expect_code(0).stdout;
    let plan: Value = serde_json::from_str(&plan).expect("a dry run prints JSON");
    files_that_somebody_damaged_are_told(testbed);
    testbed.command(&["gc", "--older-than", "1h", "--yes"]).expect_code(0);
    assert!(testbed.ledger_path().exists(), "it was used just now");
    testbed.command(&["gc"]).expect_code(17).expect_words(&["gc --yes"]);
    testbed.command(&["gc", "--yes"]).expect_code(0);
    assert!(!testbed.folder().exists());
    let storage = testbed.home().join("fast-disk");
    let left: Vec<_> = fs::read_dir(&storage).expect("it is the user's").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    for path in plan["would_remove"].as_array().expect("it says what would go") {
        let path = Path::new(path.as_str().expect("a path"));
        assert!(!path.exists(), "{} was promised to go", path.display());
    }
    testbed.command(&["reset"]).expect_code(19).expect_words(&["error[no-testbed]", "there is no testbed"]);
}

/// Each file is put back afterwards.
fn files_that_somebody_damaged_are_told(testbed: &Testbed) {
    let cases: &[(&str, &str, &[&str], &str)] = &[
        ("ledger.jsonl", "{\n{}\n", &["down"], "error[ledger]"),
        ("spec.yaml", "kafka: {heap: none}\n", &["reset"], "error[internal-file]"),
        ("adjustments.json", "{", &["reset"], "error[file-system]"),
    ];
    for (name, content, command, expected) in cases {
        let path = testbed.folder().join(name);
        let sound = fs::read(&path).expect("it is there");
        fs::write(&path, content).expect("it can be written");
        testbed.command(command).expect_code(1).expect_words(&[expected, name]);
        fs::write(&path, sound).expect("it can be written");
    }
    let socket = testbed.folder().join("supervisor.sock");
    fs::remove_file(&socket).expect("a supervisor has run");
    fs::create_dir_all(socket.join("in-the-way")).expect("the folder can be written");
    testbed.command(&["up"]).expect_code(15).expect_words(&["error[supervisor]", "supervisor.sock"]);
    testbed.expect_no_process();
    fs::remove_dir_all(&socket).expect("it can be removed");
}

#[test]
fn a_machine_without_a_network_has_no_address_for_others() {
    let testbed = Testbed::new("lonely");
    let command = std::process::Command::new("unshare")
        .args(["--map-root-user", "--net", "--"])
        .arg(e2e::programs::path("xtask"))
        .args(["testbed", "--home"])
        .arg(testbed.home())
        .args(["up", "--host", "auto"])
        .env("CARGO", "true")
        .env("CARGO_TARGET_DIR", testbed.home().join("target"))
        .output()
        .expect("there is `unshare`");
    let words = String::from_utf8_lossy(&command.stderr);
    assert!(words.contains("error[no-addresses]"), "{words}");
    assert_eq!(command.status.code(), Some(1));
    fs::remove_dir_all(testbed.home().join("testbeds")).expect("it has only a ledger");
}

fn disk_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => disk_bytes(&entry.path()),
            // A file may go while we look.
            other => other.map_or(0, |data| data.blocks() * 512),
        })
        .sum()
}
