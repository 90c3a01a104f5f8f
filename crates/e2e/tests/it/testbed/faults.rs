//! What goes wrong in a running testbed, as a table: each fault is made, told, and healed.

use std::{fs, time::Duration};

use e2e::{alone, eventually, note, process::send, testbed::Testbed};
use rustix::process::Signal;

use super::checks::{MINUTE, expect_ready, what_was_produced_was_consumed};

/// Who heals a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Healer {
    /// The supervisor, by itself.
    Supervisor,
    /// The next `up`.
    Up,
}

struct Fault {
    what: &'static str,
    make: fn(&Testbed),
    /// The state of the testbed afterwards, where nobody heals it before we look.
    state: &'static str,
    /// What `status` says, if not at once then soon.
    told: &'static [&'static str],
    healer: Healer,
}

const FAULTS: &[Fault] = &[
    Fault {
        what: "a broker killed by hand",
        make: |testbed| kill(testbed, "kafka-broker-1"),
        state: "degraded",
        told: &["kafka-broker-1", "killed by signal 9 (SIGKILL)"],
        healer: Healer::Supervisor,
    },
    Fault {
        what: "ZooKeeper gone",
        make: |testbed| kill(testbed, "zookeeper"),
        state: "degraded",
        told: &["zookeeper", "killed by signal 9 (SIGKILL)"],
        healer: Healer::Supervisor,
    },
    Fault {
        what: "the database gone",
        make: |testbed| kill(testbed, "tsdb"),
        state: "degraded",
        told: &["tsdb", "killed by signal 9 (SIGKILL)"],
        healer: Healer::Supervisor,
    },
    Fault {
        what: "the supervisor killed",
        make: |testbed| send(testbed.status().supervisor(), Signal::KILL),
        state: "unsupervised",
        told: &["runs without a supervisor"],
        healer: Healer::Up,
    },
    Fault {
        what: "the machine started anew: no process, but a ledger",
        make: |testbed| {
            let supervisor = testbed.status().supervisor();
            send(supervisor, Signal::KILL);
            for pid in testbed.processes() {
                send(pid, Signal::KILL);
            }
        },
        state: "stopped",
        told: &["ended while nobody watched"],
        healer: Healer::Up,
    },
];

#[test]
fn every_fault_is_told_and_healed() {
    let _alone = alone();
    let testbed = Testbed::new("faults");
    testbed.command(&["up"]).expect_code(0);
    for fault in FAULTS {
        note(&format!("fault: {}", fault.what));
        (fault.make)(&testbed);
        eventually(MINUTE, "the fault is told", || {
            let text = testbed.command(&["status"]).expect_code(0).stdout;
            match fault.told.iter().find(|words| !text.contains(**words)) {
                None => Ok(()),
                Some(missing) => Err(format!("`{missing}` is not in\n{text}")),
            }
        });
        if fault.healer == Healer::Up {
            assert_eq!(testbed.status().state(), fault.state, "{}", fault.what);
            testbed.command(&["up"]).expect_code(0);
        }
        expect_ready(&testbed);
        what_was_produced_was_consumed(&testbed);
    }
    a_second_command_is_told_who_works(&testbed);
    a_broker_without_memory_is_given_up_and_healed(&testbed);
}

fn a_second_command_is_told_who_works(testbed: &Testbed) {
    // A broker takes some seconds to end in order.
    let first = testbed.start(&["restart", "kafka-broker-1"]);
    let pid = first.pid().to_string();
    eventually(MINUTE, "the first command has the lock", || {
        let holder = fs::read_to_string(testbed.folder().join("lock")).map_err(|error| error.to_string())?;
        if holder.contains(&pid) { Ok(()) } else { Err(holder) }
    });
    let second = testbed.command(&["restart", "worker-2"]).expect_code(14);
    second.expect_words(&["error[busy]", "`restart`", &pid]);
    first.wait(2 * MINUTE).expect_code(0);
    expect_ready(testbed);
}

/// A heap in which the log cleaner's buffer does not fit: the broker dies of it each time, by itself.
fn a_broker_without_memory_is_given_up_and_healed(testbed: &Testbed) {
    testbed.command(&["down"]).expect_code(0);
    testbed.write_spec("kafka: {heap: 64m}\n");
    let output = testbed.command(&["up", "--timeout", "30"]).expect_code(15);
    let told = ["error[not-ready]", "kafka-broker-"];
    let output = output.expect_words(&told);
    note(&output.stderr);
    eventually(Duration::from_secs(180), "the brokers' memory is told", || {
        let text = testbed.command(&["status"]).expect_code(0).stdout;
        let words = ["exited with code 3", "raise `kafka.heap`"];
        match words.iter().find(|word| !text.contains(**word)) {
            None => Ok(()),
            Some(missing) => Err(format!("`{missing}` is not in\n{text}")),
        }
    });
    fs::remove_file(testbed.home().join("testbed.yaml")).expect("it is there");
    testbed.command(&["up", "--restart-changed"]).expect_code(0);
    expect_ready(testbed);
}

fn kill(testbed: &Testbed, service: &str) {
    send(testbed.status().service(service).pid(), Signal::KILL);
}
