//! Two testbeds on one machine, under load at the same time.

use std::net::TcpListener;

use e2e::{alone, testbed::Testbed};
use serde_json::Value;

use super::checks::{expect_ready, what_was_produced_was_consumed};

#[test]
fn one_does_not_notice_the_other() {
    let _alone = alone();
    let (first, second) = (Testbed::new("first"), Testbed::new("second"));
    // Room for both on a small machine; what is shown does not depend on it.
    for testbed in [&first, &second] {
        testbed.write_spec("kafka: {heap: 200m}\nload: {rate: 50}\n");
    }
    // An address of its own for clients from outside; it is kept for what comes later.
    let host = "127.200.77.9";
    first.command(&["up", "--host", host]).expect_code(0);
    assert!(first.status().endpoint("kafka").starts_with(host), "{}", first.status().endpoint("kafka"));

    let plan = second.command(&["plan", "--format", "json"]).expect_code(0).stdout;
    let plan: Value = serde_json::from_str(&plan).expect("plan prints JSON");
    let wanted = plan["endpoints"]["tsdb"].as_str().expect("the plan has endpoints");
    let address = wanted.strip_prefix("http://").expect("an http address");
    let holder = TcpListener::bind(address).expect("the planned address is free");
    second.command(&["up"]).expect_code(11).expect_words(&["error[port-taken]", address, "--any-port"]);
    let moved = second.command(&["up", "--any-port", "--timeout", "300"]).expect_code(0);
    moved.expect_words(&["tsdb.port is ", &format!("process {}", std::process::id())]);
    assert_ne!(second.status().endpoint("tsdb"), wanted);

    for testbed in [&first, &second] {
        expect_ready(testbed);
        what_was_produced_was_consumed(testbed);
    }
    let before = first.status();
    let addresses: Vec<&str> = before.services().flat_map(|service| service.addresses()).collect();
    let status = second.status();
    for address in status.services().flat_map(|service| service.addresses()) {
        assert!(!addresses.contains(&address), "both have {address}");
    }
    second.command(&["purge", "--yes"]).expect_code(0);
    assert!(!second.folder().exists());
    drop(holder);
    let after = first.status();
    assert_eq!(before.processes(), after.processes());
    expect_ready(&first);
    what_was_produced_was_consumed(&first);
}
