//! Reads processes from `/proc`.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The most read of one file in `/proc`, bytes.
const MAXIMUM_READ_BYTES: u64 = 1024 * 1024;
/// The most processes looked at for a token.
const MAXIMUM_PROCESSES: usize = 100_000;

/// Reads below one `/proc`.
#[derive(Debug, Clone)]
pub struct ProcReader {
    root: PathBuf,
    ticks_per_second: u64,
    boot_time_seconds: u64,
}

/// Tells a process from a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessIdentity {
    /// The process id.
    pub pid: u32,
    /// When it started, clock ticks since boot.
    pub start_ticks: u64,
}

/// A living process at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessUsage {
    /// Which process.
    pub identity: ProcessIdentity,
    /// User and system time since its start, of all its threads, ended ones included; its children are not included.
    pub cpu_seconds: f64,
    /// When it started, seconds since the Unix epoch.
    pub start_time_seconds: f64,
    /// Its threads.
    pub threads: u64,
    /// Resident memory, mapped files included (`VmRSS`).
    pub resident_bytes: u64,
    /// Resident anonymous memory (`RssAnon`).
    pub resident_anonymous_bytes: u64,
}

impl ProcReader {
    /// Makes a reader of `root`, usually `/proc`.
    ///
    /// # Errors
    /// `root/stat` cannot be read or does not tell the boot time.
    pub fn new(root: &Path) -> io::Result<Self> {
        let stat = read_bounded(&root.join("stat"))?;
        let boot_time_seconds = String::from_utf8_lossy(&stat)
            .lines()
            .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no btime in stat"))?;
        let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
        Ok(Self { root: root.to_owned(), ticks_per_second, boot_time_seconds })
    }

    /// Reads a process; `None` if there is none, it is a zombie, or its start is not the one expected.
    pub fn usage(&self, pid: u32, expected_start_ticks: Option<u64>) -> Option<ProcessUsage> {
        let stat = self.living(pid)?;
        if expected_start_ticks.is_some_and(|expected| expected != stat.start_ticks) {
            return None;
        }
        let status = read_bounded(&self.file(pid, "status")).ok()?;
        let memory = parse_status(&String::from_utf8_lossy(&status));
        // The id may have passed to another process between the two reads.
        if self.living(pid)?.start_ticks != stat.start_ticks {
            return None;
        }
        let seconds = |ticks: u64| ticks as f64 / self.ticks_per_second as f64;
        Some(ProcessUsage {
            identity: ProcessIdentity { pid, start_ticks: stat.start_ticks },
            cpu_seconds: seconds(stat.user_ticks.saturating_add(stat.system_ticks)),
            start_time_seconds: self.boot_time_seconds as f64 + seconds(stat.start_ticks),
            threads: stat.threads,
            resident_bytes: memory.resident_bytes,
            resident_anonymous_bytes: memory.resident_anonymous_bytes,
        })
    }

    /// Finds the process that has `token` as an argument or as an environment variable's value.
    ///
    /// Children inherit their environment, so a process whose parent matches too does not count. `None` if there is not exactly one.
    pub fn find_by_token(&self, token: &str) -> Option<u32> {
        let matching: Vec<(u32, u32)> = std::fs::read_dir(&self.root)
            .ok()?
            .take(MAXIMUM_PROCESSES)
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| self.has_token(*pid, token))
            .filter_map(|pid| Some((pid, self.living(pid)?.parent)))
            .collect();
        let mut topmost = matching.iter().filter(|(_, parent)| matching.iter().all(|(pid, _)| pid != parent));
        match (topmost.next(), topmost.next()) {
            (Some((pid, _)), None) => Some(*pid),
            _ => None,
        }
    }

    fn has_token(&self, pid: u32, token: &str) -> bool {
        let contains = |name: &str, matches: fn(&[u8], &[u8]) -> bool| {
            read_bounded(&self.file(pid, name)).is_ok_and(|content| {
                content.split(|byte| *byte == 0).any(|entry| matches(entry, token.as_bytes()))
            })
        };
        contains("cmdline", |argument, token| argument == token)
            || contains("environ", |variable, token| {
                variable.strip_suffix(token).is_some_and(|name| name.ends_with(b"="))
            })
    }

    fn living(&self, pid: u32) -> Option<Stat> {
        let content = read_bounded(&self.file(pid, "stat")).ok()?;
        parse_stat(&String::from_utf8_lossy(&content)).filter(|stat| !matches!(stat.state, 'Z' | 'X' | 'x'))
    }

    fn file(&self, pid: u32, name: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(name)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: u32,
    user_ticks: u64,
    system_ticks: u64,
    threads: u64,
    start_ticks: u64,
}

/// Parses `/proc/PID/stat`; see `proc_pid_stat(5)`. The command's name may hold anything, also parentheses and spaces.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, after_name) = text.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    // The first field here is the third of the page.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: u32::try_from(number(4)?).ok()?,
        user_ticks: number(14)?,
        system_ticks: number(15)?,
        threads: number(20)?,
        start_ticks: number(22)?,
    })
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Memory {
    resident_bytes: u64,
    resident_anonymous_bytes: u64,
}

/// Parses the memory lines of `/proc/PID/status`; a process that just exits has none.
fn parse_status(text: &str) -> Memory {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kibibytes.unwrap_or(0).saturating_mul(1024)
    };
    Memory { resident_bytes: bytes("VmRSS"), resident_anonymous_bytes: bytes("RssAnon") }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(MAXIMUM_READ_BYTES).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    /// A child that ends with the test.
    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn start(program: &str, arguments: &[&str], token: Option<&str>) -> Running {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        if let Some(token) = token {
            command.env("SOME_TOKEN", token);
        }
        Running(command.spawn().expect("the program starts"))
    }

    fn reader() -> ProcReader {
        ProcReader::new(Path::new("/proc")).expect("Linux")
    }

    #[test]
    fn reads_stat_lines_with_strange_names() {
        let line = "7 (a) b) S 1 7 7 0 -1 4194304 1 2 3 4 11 22 5 6 20 0 3 0 530864 1 2 3";
        let expected = Stat {
            state: 'S',
            parent: 1,
            user_ticks: 11,
            system_ticks: 22,
            threads: 3,
            start_ticks: 530_864,
        };
        assert_eq!(parse_stat(line), Some(expected));
        for short in ["", "7 (a)", "7 (a) S 1 7", "7 a S 1"] {
            assert_eq!(parse_stat(short), None, "{short}");
        }
    }

    #[test]
    fn reads_a_real_child() {
        let child = start("sleep", &["60"], None);
        let usage = reader().usage(child.0.id(), None).expect("the child lives");
        assert!(usage.resident_bytes > 0 && usage.resident_bytes >= usage.resident_anonymous_bytes);
        assert_eq!(usage.threads, 1);
        let started = std::time::UNIX_EPOCH + std::time::Duration::from_secs_f64(usage.start_time_seconds);
        let age = std::time::SystemTime::now().duration_since(started).unwrap_or_default();
        assert!(age.as_secs() < 60, "{age:?}");
        assert!(reader().usage(child.0.id(), Some(usage.identity.start_ticks)).is_some());
        assert_eq!(reader().usage(child.0.id(), Some(usage.identity.start_ticks + 1)), None);
    }

    #[test]
    fn cpu_time_of_a_busy_child_grows() {
        let child = start("sh", &["-c", "while :; do :; done"], None);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while reader().usage(child.0.id(), None).expect("the child lives").cpu_seconds < 0.05 {
            assert!(std::time::Instant::now() < deadline, "no CPU time was shown");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_zombie_is_no_running_process() {
        let mut child = start("sleep", &["60"], None);
        let pid = child.0.id();
        child.0.kill().expect("our child");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while reader().usage(pid, None).is_some() {
            assert!(std::time::Instant::now() < deadline, "still shown");
            std::thread::yield_now();
        }
    }

    #[test]
    fn finds_the_topmost_process_with_the_token() {
        let token = format!("token-{}-topmost", std::process::id());
        let parent = start("sh", &["-c", "sleep 60 & wait"], Some(&token));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while reader().find_by_token(&token) != Some(parent.0.id()) {
            assert!(std::time::Instant::now() < deadline, "not found");
            std::thread::yield_now();
        }
        let twin = start("sleep", &["60"], Some(&token));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while reader().find_by_token(&token).is_some() {
            assert!(std::time::Instant::now() < deadline, "two processes are not clear");
            std::thread::yield_now();
        }
        drop(twin);
        assert_eq!(reader().find_by_token("no process has this token"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "([0-9]{1,4} )?\\(?.{0,20}\\)?( [A-Z])?( [0-9-]{1,25}){0,24}") {
            let _ = parse_stat(&text);
            let _ = parse_status(&text);
        }
    }
}
