//! Limits of the kernel that many small files and threads run into.

use std::path::Path;

use super::{Finding, Level, Topic, limits, needs, text};
use crate::spec::Spec;

/// Below this, not even a JVM starts with all its jars.
const LEAST_FILES: u64 = 256;

pub(super) fn examine(root: &Path, spec: &Spec) -> Vec<Finding> {
    let files = limits::of_process(root, "Max open files").map(|(_, hard)| hard.unwrap_or(u64::MAX));
    let maps = text::number(root, "proc/sys/vm/max_map_count");
    let findings = [
        files.map(|files| open_files(files, needs::open_files(spec))),
        maps.map(|maps| memory_maps(maps, needs::memory_maps(spec))),
        processes(root, needs::threads(spec)),
    ];
    findings.into_iter().flatten().collect()
}

/// Java and Prometheus raise their own soft limit to the hard one, so only that counts.
fn open_files(limit: u64, need: u64) -> Finding {
    let level = match limit {
        limit if limit < LEAST_FILES => Level::Fatal,
        limit if limit < need => Level::Warning,
        _ => Level::Ok,
    };
    let what = match limit {
        u64::MAX => "no limit of open files".to_owned(),
        limit => format!("{limit} open files"),
    };
    let finding = Finding::new(level, Topic::Kernel, what, "ulimit -Hn")
        .why(format!("a broker holds about {need} open"));
    match level {
        Level::Ok => finding,
        _ => finding.mend("sudo prlimit --pid $$ --nofile=65536:65536"),
    }
}

fn memory_maps(limit: u64, need: u64) -> Finding {
    let level = if limit < need { Level::Warning } else { Level::Ok };
    let finding = Finding::new(level, Topic::Kernel, format!("{limit} memory maps"), "vm.max_map_count")
        .why(format!("a broker needs about {need}"));
    match level {
        Level::Ok => finding,
        _ => finding.mend("sudo sysctl -w vm.max_map_count=262144"),
    }
}

/// Threads count as processes.
fn processes(root: &Path, need: u64) -> Option<Finding> {
    let names = ("pids.max", "pids.current");
    let group = limits::of_groups(root, "pids", names, names);
    let of_user = limits::of_process(root, "Max processes").and_then(|(soft, _)| soft);
    let candidates = [
        ("kernel.pid_max", text::number(root, "proc/sys/kernel/pid_max")),
        ("kernel.threads-max", text::number(root, "proc/sys/kernel/threads-max")),
        ("ulimit -u", of_user),
        ("pids.max of the control group", group.map(|group| group.limit.saturating_sub(group.used))),
    ];
    let (place, limit) = candidates
        .into_iter()
        .filter_map(|(place, limit)| Some((place, limit?)))
        .min_by_key(|(_, limit)| *limit)?;
    Some(judge_processes(place, limit, need))
}

fn judge_processes(place: &str, limit: u64, need: u64) -> Finding {
    let level = match limit {
        limit if limit < need => Level::Fatal,
        limit if limit < need * 2 => Level::Warning,
        _ => Level::Ok,
    };
    let finding = Finding::new(level, Topic::Kernel, format!("{limit} processes and threads"), place)
        .why(format!("the services have about {need} threads"));
    match (level, place) {
        (Level::Ok, _) => finding,
        (_, "ulimit -u") => finding.mend("sudo prlimit --pid $$ --nproc=65536:65536"),
        (_, place) if place.starts_with("kernel.") => finding.mend(format!("sudo sysctl -w {place}=65536")),
        _ => finding.mend("sudo systemctl set-property user-$UID.slice TasksMax=65536"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_judged_at_and_over_their_bounds() {
        for (limit, expected) in [
            (LEAST_FILES - 1, Level::Fatal),
            (LEAST_FILES, Level::Warning),
            (799, Level::Warning),
            (800, Level::Ok),
            (u64::MAX, Level::Ok),
        ] {
            assert_eq!(open_files(limit, 800).level, expected, "{limit} files");
        }
        for (limit, expected) in [(99, Level::Fatal), (100, Level::Warning), (200, Level::Ok)] {
            assert_eq!(judge_processes("kernel.pid_max", limit, 100).level, expected, "{limit} processes");
        }
        assert_eq!(memory_maps(10, 11).level, Level::Warning);
        assert_eq!(memory_maps(11, 11).level, Level::Ok);
    }

    #[test]
    fn what_is_tight_has_a_command_for_the_place_that_is_tight() {
        for (place, word) in [
            ("kernel.pid_max", "kernel.pid_max="),
            ("ulimit -u", "--nproc"),
            ("pids.max of the control group", "TasksMax"),
        ] {
            let mend = judge_processes(place, 1, 100).mend.expect("a command");
            assert!(mend.contains(word), "{mend}");
        }
    }
}
