//! Memory: what the machine, or the control group that holds us, has and has free.

use std::{fs, path::Path};

use super::{Finding, Level, Topic, limits, needs, text};
use crate::spec::Spec;

pub(super) fn examine(root: &Path, spec: &Spec) -> Option<Finding> {
    let machine = Memory::read(root)?;
    Some(judge(machine, needs::heaps(spec), needs::memory(spec)))
}

/// In bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    total: u64,
    available: u64,
    swap: u64,
    /// Whether a control group gives less than the machine has.
    is_limited: bool,
}

impl Memory {
    fn read(root: &Path) -> Option<Self> {
        let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kibibytes.saturating_mul(1024))
        };
        let machine = Self {
            total: field("MemTotal")?,
            available: field("MemAvailable")?,
            swap: field("SwapFree").unwrap_or(0),
            is_limited: false,
        };
        Some(
            match limits::of_groups(
                root,
                "memory",
                ("memory.max", "memory.current"),
                ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            ) {
                Some(group) if group.limit < machine.total => Self {
                    total: group.limit,
                    available: machine.available.min(group.limit.saturating_sub(group.used)),
                    is_limited: true,
                    ..machine
                },
                _ => machine,
            },
        )
    }
}

fn judge(memory: Memory, heaps: u64, need: u64) -> Finding {
    let what = format!("{} of memory are available", text::bytes(memory.available));
    let place = if memory.is_limited { "control group" } else { "/proc/meminfo" };
    let level = if heaps > memory.total.saturating_add(memory.swap) {
        Level::Fatal
    } else if need > memory.available {
        Level::Warning
    } else {
        Level::Ok
    };
    let finding = Finding::new(level, Topic::Memory, what, place).why(format!(
        "the services need about {}, {} of it as Java heaps; there are {} in all{}",
        text::bytes(need),
        text::bytes(heaps),
        text::bytes(memory.total),
        if memory.swap > 0 { format!(" and {} of swap", text::bytes(memory.swap)) } else { String::new() }
    ));
    match level {
        Level::Ok => finding,
        Level::Warning => finding.mend("ps -eo pid,rss,args --sort=-rss | head"),
        Level::Fatal => finding.mend("sed -i 's/heap: .*/heap: 128m/' testbed.yaml"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn memory_is_judged_by_what_is_free_and_fatal_only_when_it_is_impossible() {
        let machine = Memory { total: 4 * GIB, available: 2 * GIB, swap: 0, is_limited: false };
        for (heaps, need, swap, expected) in [
            (GIB, 2 * GIB, 0, Level::Ok),
            (GIB, 2 * GIB + 1, 0, Level::Warning),
            (4 * GIB, 5 * GIB, 0, Level::Warning),
            (4 * GIB + 1, 5 * GIB, 0, Level::Fatal),
            (4 * GIB + 1, 5 * GIB, GIB, Level::Warning),
        ] {
            let finding = judge(Memory { swap, ..machine }, heaps, need);
            assert_eq!(finding.level, expected, "{}", finding.why);
        }
    }

    #[test]
    fn a_control_group_counts_where_it_gives_less_than_the_machine_has() {
        let root = tempfile::tempdir().expect("folder");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("has one")).expect("creates");
            fs::write(path, text).expect("writes");
        };
        write("proc/meminfo", "MemTotal: 4194304 kB\nMemAvailable: 3145728 kB\nSwapFree: 0 kB\n");
        write("proc/self/cgroup", "0::/a/b\n");
        let read = || Memory::read(root.path()).expect("readable");
        assert_eq!((read().total, read().is_limited), (4 * GIB, false));
        write("sys/fs/cgroup/a/memory.max", "1073741824\n");
        write("sys/fs/cgroup/a/memory.current", "536870912\n");
        write("sys/fs/cgroup/a/b/memory.max", "max\n");
        assert_eq!(read(), Memory { total: GIB, available: GIB / 2, swap: 0, is_limited: true });
    }
}
