//! How a process ended, in words.

use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

/// `exited with code 1`, `killed by signal 9 (SIGKILL)`.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(number)) => format!("killed by signal {number} ({})", signal_name(number)),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

fn signal_name(number: i32) -> &'static str {
    const NAMES: &[(i32, &str)] = &[
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (4, "SIGILL"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (15, "SIGTERM"),
    ];
    NAMES.iter().find(|(known, _)| *known == number).map_or("signal", |(_, name)| name)
}

/// How many lines are kept with an end.
const MOST_LINES: usize = 8;

/// Of the last lines of a log those that tell why its service ended: from the last error on, else the very last ones.
pub(super) fn telling(lines: Vec<String>) -> Vec<String> {
    const WORDS: &[&str] = &[
        "ERROR",
        "FATAL",
        "level=error",
        "error:",
        "Exception in thread",
        "OutOfMemoryError",
        "panicked at",
    ];
    let is_error = |line: &String| WORDS.iter().any(|word| line.contains(word));
    let from = lines.iter().rposition(is_error).unwrap_or(lines.len().saturating_sub(MOST_LINES));
    lines.into_iter().skip(from).take(MOST_LINES).collect()
}

const OTHER_DATA: &str = "its data is of another cluster, or of a Kafka on the other side of the change from ZooKeeper to \
                          KRaft: `reset` makes it anew";

/// What the log of a service that ended says about the cause, when we know the words.
pub(super) fn advice(lines: &[String]) -> Option<&'static str> {
    const KNOWN: &[(&str, &str)] = &[
        ("OutOfMemoryError", "its heap is too small: raise `kafka.heap` in testbed.yaml"),
        (
            "NodeExistsException",
            "ZooKeeper still knows its session from before; it goes by itself within 18 s",
        ),
        (
            "InconsistentClusterIdException",
            "its data is of another cluster than ZooKeeper's: `reset` makes both anew",
        ),
        // The storage tool without ZooKeeper, a broker with it.
        ("Invalid cluster.id in", OTHER_DATA),
        ("Found unexpected version in", OTHER_DATA),
        ("No space left on device", "the disk is full: free some, then `up`"),
        ("BindException", "one of its addresses is taken: `doctor` says by whom"),
        ("address already in use", "one of its addresses is taken: `doctor` says by whom"),
    ];
    KNOWN.iter().find(|(words, _)| lines.iter().any(|line| line.contains(words))).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_by_code_or_signal() {
        assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "exited with code 3");
        assert_eq!(describe(ExitStatus::from_raw(9)), "killed by signal 9 (SIGKILL)");
    }

    #[test]
    fn the_last_error_tells_most() {
        let lines = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
        let log = lines(&["ERROR first", "INFO", "ERROR last", "  at a", "  at b"]);
        assert_eq!(telling(log), ["ERROR last", "  at a", "  at b"]);
        let many: Vec<String> = (0..20).map(|line| line.to_string()).collect();
        assert_eq!(telling(many).join(" "), "12 13 14 15 16 17 18 19");
        assert_eq!(telling(Vec::new()), Vec::<String>::new());
    }

    #[test]
    fn known_words_give_advice() {
        let line = |text: &str| [text.to_owned()];
        assert!(
            advice(&line("java.lang.OutOfMemoryError: Java heap space")).is_some_and(|a| a.contains("heap"))
        );
        for text in [
            "java.lang.RuntimeException: Invalid cluster.id in: /d/meta.properties. Expected a, but read b",
            "java.lang.RuntimeException: Found unexpected version in /d/meta.properties. ZK-based brokers that",
        ] {
            assert!(advice(&line(text)).is_some_and(|a| a.contains("`reset`")), "{text}");
        }
        assert_eq!(advice(&line("INFO all is well")), None);
    }
}
