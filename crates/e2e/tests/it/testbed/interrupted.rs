//! `up` that is ended half-way: `down` finds everything that it started.

use std::time::Duration;

use e2e::{alone, note, process::Running, testbed::Testbed};
use rustix::process::Signal;
use serde_json::Value;

/// When `up` is ended.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// The ledger has this many lines that tell of a process that was started.
    Started(usize),
    /// The ledger says that a process is about to be started for this.
    Spawn(&'static str),
    /// So many services were started.
    Services(usize),
}

/// How `up` is ended.
type End = fn(&Running);

#[test]
fn down_ends_all_that_an_interrupted_up_began() {
    let _alone = alone();
    let cases: &[(Moment, End)] = &[
        (Moment::Started(1), killed),
        (Moment::Started(2), interrupted),
        (Moment::Spawn("supervisor"), killed),
        (Moment::Started(3), hung_up),
        (Moment::Services(1), killed),
        (Moment::Services(5), interrupted),
    ];
    for (number, (moment, end)) in cases.iter().enumerate() {
        note(&format!("case {number}: {moment:?}"));
        check(&format!("cut-{number}"), *moment, *end);
    }
}

fn check(name: &str, moment: Moment, end: End) {
    let testbed = Testbed::new(name);
    let mut up = testbed.start(&["up"]);
    loop {
        if moment.has_come(&testbed.ledger()) {
            break;
        }
        if !up.is_running() {
            let output = up.wait(Duration::from_secs(1));
            panic!("up ended with {:?} before {moment:?}:\n{}", output.code, output.stderr);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    end(&up);
    up.wait(Duration::from_secs(60));
    testbed.command(&["down"]).expect_code(0);
    testbed.expect_no_process();
    testbed.command(&["purge", "--yes"]).expect_code(0);
    testbed.expect_no_process();
    assert!(!testbed.folder().exists(), "after {moment:?} purge leaves the folder");
}

impl Moment {
    fn has_come(self, ledger: &[Value]) -> bool {
        let started = || ledger.iter().filter(|entry| entry["event"] == "started");
        match self {
            Self::Started(number) => started().count() >= number,
            Self::Spawn(what) => {
                ledger.iter().any(|entry| entry["event"] == "spawn" && entry["what"] == what)
            }
            Self::Services(number) => {
                let supervisor = started().position(|entry| entry["what"] == "supervisor");
                supervisor.is_some_and(|position| started().count() > position + number)
            }
        }
    }
}

/// Out of memory, or `kill -9`.
fn killed(up: &Running) {
    up.signal(Signal::KILL);
}

/// Ctrl-C in the terminal: everything in the foreground gets it.
fn interrupted(up: &Running) {
    up.signal_group(Signal::INT);
}

/// The terminal is closed.
fn hung_up(up: &Running) {
    up.signal_group(Signal::HUP);
}
