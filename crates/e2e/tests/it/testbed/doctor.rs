//! `doctor` tells what stands in the way, with the command that mends it; `up` stops before it makes anything.

use std::{fs, net::TcpListener, process::Command};

use e2e::{process::Running, testbed::Testbed};
use serde_json::Value;

/// All findings of `doctor`, which ends with `code`.
#[track_caller]
fn all_findings(testbed: &Testbed, arguments: &[&str], code: i32) -> Vec<Value> {
    let arguments = [&["doctor", "--format", "json"], arguments].concat();
    let output = testbed.command(&arguments).expect_code(code);
    let mut report: Value = serde_json::from_str(&output.stdout).expect("doctor prints JSON");
    assert_eq!(report["level"] == "fatal", code == 18, "{report}");
    match report["findings"].take() {
        Value::Array(findings) => findings,
        other => panic!("no findings: {other}"),
    }
}

/// The findings on `topic`.
#[track_caller]
fn findings(testbed: &Testbed, arguments: &[&str], code: i32, topic: &str) -> Vec<Value> {
    all_findings(testbed, arguments, code).into_iter().filter(|finding| finding["topic"] == topic).collect()
}

#[track_caller]
fn text<'a>(finding: &'a Value, field: &str) -> &'a str {
    finding[field].as_str().unwrap_or_else(|| panic!("no {field}: {finding}"))
}

#[test]
fn a_look_changes_nothing_and_names_the_default_route_first() {
    let testbed = Testbed::new("look");
    let before = fs::read_dir(testbed.home()).expect("it can be read").count();
    let findings = all_findings(&testbed, &[], 0);
    for topic in ["programs", "jars", "folders", "disk", "memory", "ports", "kernel", "clock", "address"] {
        assert!(findings.iter().any(|finding| finding["topic"] == topic), "nothing about {topic}");
    }
    assert_eq!(fs::read_dir(testbed.home()).expect("it can be read").count(), before);
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let default = routes.lines().skip(1).find(|line| line.split('\t').nth(1) == Some("00000000"));
    if let Some(interface) = default.and_then(|line| line.split('\t').next()) {
        let first = findings.iter().find(|finding| finding["topic"] == "address");
        assert_eq!(text(first.expect("an address"), "where"), interface);
    }
}

#[test]
fn a_taken_port_is_fatal_and_names_who_is_to_be_ended() {
    let testbed = Testbed::new("taken");
    let plan = testbed.command(&["plan", "--format", "json"]).expect_code(0).stdout;
    let plan: Value = serde_json::from_str(&plan).expect("plan prints JSON");
    let address = plan["endpoints"]["tsdb"].as_str().and_then(|url| url.strip_prefix("http://"));
    let address = address.expect("the plan has endpoints");
    let listener = TcpListener::bind(address).expect("the planned address is free");
    let fatal = findings(&testbed, &[], 18, "ports").remove(0);
    assert_eq!((text(&fatal, "level"), text(&fatal, "where")), ("fatal", address));
    assert_eq!(text(&fatal, "mend"), format!("kill {}", std::process::id()));
    testbed
        .command(&["doctor"])
        .expect_code(18)
        .expect_words(&["cannot run here: 1 fatal finding", "hint: kill "]);
    drop(listener);
    assert!(findings(&testbed, &[], 0, "ports").iter().all(|finding| finding["level"] == "ok"));
}

#[test]
fn a_machine_without_the_memory_for_the_heaps_is_told_before_anything_is_made() {
    let testbed = Testbed::new("memory");
    let spec = testbed.home().join("large.yaml");
    fs::write(&spec, "kafka: {heap: 100000g}\n").expect("the home can be written");
    let spec = ["--spec", spec.to_str().expect("a path of ours is text")];
    let words = ["of memory are available", "as Java heaps", "hint: "];
    let unfit = testbed.command(&[&["up"], &spec[..]].concat()).expect_code(18);
    unfit.expect_words(&words).expect_words(&["error[unfit]"]);
    assert!(!testbed.folder().exists(), "up made something before it looked");
    assert_eq!(findings(&testbed, &spec, 18, "memory")[0]["level"], "fatal");
}

#[test]
fn too_few_open_files_are_told_before_anything_is_made() {
    let testbed = Testbed::new("files");
    let command = testbed.prepare(&["up"]);
    let mut limited = Command::new("/bin/sh");
    limited
        .args(["-c", "ulimit -n 200; exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args());
    for (key, value) in command.get_envs() {
        limited.env(key, value.unwrap_or_default());
    }
    let output =
        Running::start(limited.current_dir(testbed.home())).wait(std::time::Duration::from_secs(120));
    output.expect_code(18).expect_words(&["200 open files (ulimit -Hn)", "hint: sudo prlimit"]);
    assert!(!testbed.folder().exists(), "up made something before it looked");
}

#[test]
fn an_address_of_another_machine_is_fatal() {
    let testbed = Testbed::new("foreign");
    let spec = testbed.home().join("foreign.yaml");
    fs::write(&spec, "host: {address: 198.51.100.77}\n").expect("the home can be written");
    let spec = ["--spec", spec.to_str().expect("a path of ours is text")];
    let finding = findings(&testbed, &spec, 18, "address").remove(0);
    assert_eq!(text(&finding, "what"), "198.51.100.77 is no address of this machine");
}

#[test]
fn programs_of_ours_that_are_not_built_are_told() {
    let testbed = Testbed::new("unbuilt");
    let release = testbed.home().join("target/release");
    let built = fs::read_link(&release).expect("it is a link");
    fs::remove_file(&release).expect("the home can be written");
    let finding =
        findings(&testbed, &[], 0, "programs").into_iter().find(|finding| finding["level"] == "warning");
    let finding = finding.expect("what is not built is a warning");
    assert_eq!((text(&finding, "what"), finding["fixable"] == true), ("prom-merger is not built", true));
    // The cargo of these tests builds nothing.
    testbed
        .command(&["doctor", "--fix"])
        .expect_code(12)
        .expect_words(&["the program ", "prom-merger is missing"]);
    std::os::unix::fs::symlink(built, &release).expect("the home can be written");
    testbed.command(&["doctor", "--fix"]).expect_code(0);
}
