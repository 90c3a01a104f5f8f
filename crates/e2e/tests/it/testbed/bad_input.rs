//! What the user or the machine has wrong is told before anything runs.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use e2e::{
    alone,
    testbed::{Testbed, fill_shared_cache, shared_cache},
};
use serde_json::Value;

#[test]
fn a_fault_of_the_specification_is_told_with_its_place() {
    let testbed = Testbed::new("spec");
    let spec = testbed.home().join("broken.yaml");
    fs::write(&spec, "name: a\nkafka:\n  heep: 512m\n").expect("the home can be written");
    let path = spec.to_str().expect("a path of ours is text");
    let place = format!("{path}:3:3");
    for command in ["plan", "up"] {
        testbed.command(&[command, "--spec", path]).expect_code(10).expect_words(&[
            "error[bad-specification]",
            &place,
            "heep",
            "`heap`",
        ]);
    }
    assert!(!testbed.folder().exists(), "a broken specification makes no testbed");
}

#[test]
fn a_taken_port_is_told_with_its_holder_and_an_existing_testbed_is_not_purged_by_accident() {
    let _alone = alone();
    let testbed = Testbed::new("port");
    let plan = testbed.command(&["plan", "--format", "json"]).expect_code(0).stdout;
    let plan: Value = serde_json::from_str(&plan).expect("plan prints JSON");
    let url = plan["endpoints"]["kafka_prometheus"].as_str().expect("the plan has endpoints");
    let address = url.strip_prefix("http://").expect("an http address");
    let listener = TcpListener::bind(address).expect("the planned address is free");
    let holder = format!("process {} ", std::process::id());
    testbed.command(&["up"]).expect_code(11).expect_words(&[address, "kafka-prometheus", &holder, "hint: "]);
    testbed.expect_no_process();
    drop(listener);

    testbed.command(&["purge"]).expect_code(17).expect_words(&["error[not-confirmed]", "purge --yes"]);
    assert!(testbed.ledger_path().exists(), "a purge that was not confirmed removed the ledger");
    testbed.command(&["purge", "--yes"]).expect_code(0);
    assert!(!testbed.folder().exists(), "purge leaves the folder");
}

#[test]
fn an_address_of_another_machine_is_told() {
    let testbed = Testbed::new("host");
    let refused = testbed.command(&["up", "--host", "192.0.2.77"]).expect_code(11);
    refused.expect_words(&[
        "error[port-taken]",
        "192.0.2.77:10001",
        "kafka-broker-1",
        "no interface of this machine",
    ]);
    testbed.command(&["up", "--host", "kafka.example"]).expect_code(2).expect_words(&["an IPv4 address"]);
    testbed.expect_no_process();
}

#[test]
fn what_does_not_exist_is_down_and_purged() {
    let testbed = Testbed::new("absent");
    for arguments in [&["down"][..], &["purge"], &["purge", "--yes"]] {
        testbed.command(arguments).expect_code(0);
    }
    assert_eq!(testbed.status().state(), "absent");
    assert!(!testbed.folder().exists(), "asking about a testbed makes none");
}

#[test]
fn a_damaged_jar_is_named_and_fetched_by_the_next_up() {
    let _alone = alone();
    fill_shared_cache();
    let testbed = Testbed::without_cache("jar");
    let cache = testbed.cache();
    copy(&shared_cache().join("jars"), &cache.join("jars"));
    if shared_cache().join("debian").exists() {
        symlink(shared_cache().join("debian"), cache.join("debian")).expect("the cache can be written");
    }
    // The cache may hold other versions too, which this `up` does not look at.
    let jar = smallest_jar(&cache.join("jars/kafka-3.3.1"));
    let sound = fs::read(&jar).expect("the jar can be read");
    let mut damaged = sound.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&jar, damaged).expect("the jar can be written");

    let name = jar.file_name().and_then(|name| name.to_str()).expect("a jar has a name");
    testbed.command(&["up"]).expect_code(13).expect_words(&[name, "damaged", "hint: "]);
    testbed.expect_no_process();

    // A second is too short for the proof, so nobody has to wait for the brokers: the jars come before that.
    testbed.command(&["up", "--timeout", "1"]).expect_code(15);
    assert!(fs::read(&jar).expect("the jar is there again") == sound, "{name} is another than before");
    testbed.command(&["down"]).expect_code(0);
    testbed.expect_no_process();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder can be created");
    for entry in fs::read_dir(from).expect("the folder can be read").flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("the file can be copied");
        }
    }
}

fn smallest_jar(folder: &Path) -> PathBuf {
    fs::read_dir(folder)
        .expect("there are jars")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jar"))
        .min_by_key(|path| fs::metadata(path).map_or(u64::MAX, |data| data.len()))
        .expect("there is a jar")
}
