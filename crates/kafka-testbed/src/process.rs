//! Processes as the kernel knows them: identity that survives pid reuse, search by token, signals, usage.

use std::{fs, io, path::Path, time::Duration};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// The environment variable that every process of a testbed carries.
///
/// Its value names the testbed; a survivor is found by it even if nobody wrote down its pid.
pub const TOKEN_VARIABLE: &str = "KAFKA_TESTBED_TOKEN";

/// A process, told apart from a later one with the same pid by its start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The pid.
    pub pid: u32,
    /// Start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
}

/// What a process has used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// User and system time in seconds.
    pub cpu_seconds: f64,
    /// Resident memory in bytes.
    pub memory_bytes: u64,
}

/// The fields of `/proc/PID/stat` that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: char,
    user_ticks: u64,
    system_ticks: u64,
    threads: u64,
    start_ticks: u64,
    resident_pages: u64,
}

impl Stat {
    /// A zombie has ended, unless other threads than the first still run: a Java process is in that state for a
    /// moment, with its sockets open.
    fn runs(&self) -> bool {
        match self.state {
            'Z' => self.threads > 1,
            'X' => false,
            _ => true,
        }
    }
}

impl ProcessIdentity {
    /// Returns the identity of the process that has `pid` now, if there is one.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = read_stat(pid)?;
        Some(Self { pid, start_ticks: stat.start_ticks })
    }

    /// Tells whether this very process still runs; a zombie does not, once all its threads have ended.
    pub fn is_alive(&self) -> bool {
        read_stat(self.pid).is_some_and(|stat| stat.start_ticks == self.start_ticks && stat.runs())
    }

    /// Returns what the process has used so far, or nothing when it is gone.
    pub fn usage(&self) -> Option<Usage> {
        let stat = read_stat(self.pid).filter(|stat| stat.start_ticks == self.start_ticks)?;
        let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
        let page = rustix::param::page_size() as u64;
        Some(Usage {
            cpu_seconds: (stat.user_ticks + stat.system_ticks) as f64 / ticks_per_second as f64,
            memory_bytes: stat.resident_pages.saturating_mul(page),
        })
    }

    /// Sends `signal` to this very process; a process that took over the pid is never hit.
    ///
    /// # Errors
    /// What the kernel answers, but for "no such process", which is success: it is gone already.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
        // The descriptor pins the process, so the start time that is read after it cannot belong to another.
        let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => descriptor,
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if !self.is_alive() {
            return Ok(());
        }
        match pidfd_send_signal(&descriptor, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the command line of the process, words joined by spaces, at most `limit` characters.
    pub fn command_line(&self, limit: usize) -> Option<String> {
        if !self.is_alive() {
            return None;
        }
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid)).ok()?;
        let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
        Some(text.trim_end().chars().take(limit).collect())
    }
}

/// Returns every live process whose environment carries `token`, but for `except`.
pub fn find_by_token(token: &str, except: &[u32]) -> Vec<ProcessIdentity> {
    let wanted = format!("{TOKEN_VARIABLE}={token}");
    pids()
        .filter(|pid| !except.contains(pid))
        .filter(|pid| carries(*pid, wanted.as_bytes()))
        .filter_map(ProcessIdentity::of)
        .filter(ProcessIdentity::is_alive)
        .collect()
}

/// Tells whether the process `pid` was started with exactly this token.
pub fn has_token(pid: u32, token: &str) -> bool {
    carries(pid, format!("{TOKEN_VARIABLE}={token}").as_bytes())
}

/// Returns all pids on this machine that we may see.
pub fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()))
}

/// Asks `processes` to end, waits up to `grace`, then kills what is left and waits for that too.
///
/// Returns those that are still alive at the end (none, but for processes in uninterruptible sleep).
pub async fn end_all(processes: &[ProcessIdentity], grace: Duration) -> Vec<ProcessIdentity> {
    for process in processes {
        // A stopped process handles SIGTERM only once it runs again.
        let _ = process.signal(Signal::TERM);
        let _ = process.signal(Signal::CONT);
    }
    if wait_until_gone(processes, grace).await {
        return Vec::new();
    }
    for process in processes {
        let _ = process.signal(Signal::KILL);
    }
    wait_until_gone(processes, Duration::from_secs(5)).await;
    processes.iter().copied().filter(ProcessIdentity::is_alive).collect()
}

async fn wait_until_gone(processes: &[ProcessIdentity], limit: Duration) -> bool {
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        if !processes.iter().any(ProcessIdentity::is_alive) {
            return true;
        }
        if tokio::time::Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn carries(pid: u32, wanted: &[u8]) -> bool {
    let path = format!("/proc/{pid}/environ");
    fs::read(Path::new(&path)).is_ok_and(|bytes| bytes.split(|byte| *byte == 0).any(|entry| entry == wanted))
}

fn read_stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Parses `/proc/PID/stat`: the command stands in parentheses and may hold spaces and parentheses itself.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        user_ticks: number(11)?,
        system_ticks: number(12)?,
        threads: number(17)?,
        start_ticks: number(19)?,
        resident_pages: number(21)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_a_command_with_spaces_and_parentheses() {
        let text = "42 (a ) b) S 1 42 42 0 -1 0 0 0 0 0 7 8 0 0 20 0 1 0 1234 1000 55 0 0";
        let stat = parse_stat(text).expect("well formed");
        assert_eq!((stat.state, stat.user_ticks, stat.system_ticks), ('S', 7, 8));
        assert_eq!((stat.start_ticks, stat.resident_pages), (1234, 55));
    }

    #[test]
    fn a_zombie_runs_as_long_as_other_threads_do() {
        for (state, threads, expected) in [("S", 1, true), ("Z", 1, false), ("Z", 7, true), ("X", 1, false)] {
            let text =
                format!("42 (java) {state} 1 42 42 0 -1 0 0 0 0 0 7 8 0 0 20 0 {threads} 0 1234 1000 55 0 0");
            assert_eq!(parse_stat(&text).expect("well formed").runs(), expected, "{text}");
        }
    }

    #[test]
    fn rejects_what_is_not_a_stat_line() {
        for text in ["", "1 (x", "1 (x) S", "1 (x) S 1 2 3"] {
            assert_eq!(parse_stat(text), None, "{text}");
        }
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let own = ProcessIdentity::of(std::process::id()).expect("we run");
        assert!(own.is_alive());
        let other = ProcessIdentity { start_ticks: own.start_ticks + 1, ..own };
        assert!(!other.is_alive());
        assert_eq!(other.usage(), None);
        // Would end the test run if it hit us.
        other.signal(Signal::KILL).expect("nothing to do");
    }

    #[tokio::test]
    async fn finds_and_ends_a_process_by_its_token() {
        let token = format!("test-{}", std::process::id());
        let mut child = tokio::process::Command::new("sleep")
            .arg("60")
            .env(TOKEN_VARIABLE, &token)
            .spawn()
            .expect("sleep starts");
        let mut found = find_by_token(&token, &[]);
        // The environment is visible only after the child's exec.
        while found.is_empty() {
            tokio::task::yield_now().await;
            found = find_by_token(&token, &[]);
        }
        assert_eq!(found.len(), 1);
        assert!(find_by_token(&token, &[found[0].pid]).is_empty());
        let (left, _) = tokio::join!(end_all(&found, Duration::from_secs(10)), child.wait());
        assert!(left.is_empty());
        assert!(find_by_token(&token, &[]).is_empty());
    }
}
