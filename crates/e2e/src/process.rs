//! Processes: run with a limit, found by the testbed's token, signalled by their pid.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::note;

/// What a program said, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code; nothing when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Checks the exit code.
    ///
    /// # Panics
    /// When it is another one: the panic shows all output.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Checks that each of `words` stands in standard error.
    ///
    /// # Panics
    /// When one does not.
    #[track_caller]
    pub fn expect_words(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is not in stderr:\n{}", self.stderr);
        }
        self
    }
}

/// A program that runs, with its output in files, so that nobody it started can hold the test by a pipe.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: File,
    stderr: File,
}

impl Running {
    /// Starts `command` in a process group of its own.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        use std::os::unix::process::CommandExt as _;
        let file = || tempfile::tempfile().expect("the folder of temporary files can be written");
        let (stdout, stderr) = (file(), file());
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout.try_clone().expect("a descriptor is left"))
            .stderr(stderr.try_clone().expect("a descriptor is left"))
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child, stdout, stderr }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended after `limit`; it is killed then.
    #[track_caller]
    pub fn wait(self, limit: Duration) -> Output {
        self.finish(limit).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It had not ended after `limit`, so it was killed.
    pub fn finish(mut self, limit: Duration) -> Result<Output, String> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait().expect("our own child can be waited for") {
                Some(status) => {
                    let (stdout, stderr) = (text(&mut self.stdout), text(&mut self.stderr));
                    return Ok(Output { code: status.code(), stdout, stderr });
                }
                None if Instant::now() >= deadline => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    let words = text(&mut self.stderr);
                    return Err(format!(
                        "did not end within {} s, killed; its stderr:\n{words}",
                        limit.as_secs()
                    ));
                }
                None => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Sends `signal` to it alone.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Sends `signal` to it and to whom it started, like a terminal does.
    pub fn signal_group(&self, signal: Signal) {
        let _ = kill_process_group(pid(self.pid()), signal);
    }

    /// Kills it at once; when the test has failed, shows the end of what it said.
    pub fn end(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let words = text(&mut self.stderr);
            let lines: Vec<_> = words.lines().collect();
            note(&format!("a peer's last words:\n{}", lines[lines.len().saturating_sub(30)..].join("\n")));
        }
    }

    /// Kills it at once and waits for that.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends `signal` to the process `pid`.
///
/// # Panics
/// When there is no such process.
#[track_caller]
pub fn send(number: u32, signal: Signal) {
    if let Err(error) = kill_process(pid(number), signal) {
        panic!("cannot send {signal:?} to process {number}: {error}");
    }
}

/// Kills what is left of a test, as far as it still lives.
pub fn kill_all(pids: &[u32]) {
    for number in pids {
        let _ = kill_process(pid(*number), Signal::KILL);
    }
}

/// The pids of all processes whose environment carries `token`.
pub fn with_token(token: &str) -> Vec<u32> {
    let wanted = format!("KAFKA_TESTBED_TOKEN={token}");
    fs::read_dir("/proc")
        .expect("this is Linux")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
        })
        .collect()
}

/// Command lines of `pids`, for messages.
pub fn describe(pids: &[u32]) -> String {
    let line = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: String = String::from_utf8_lossy(&words).replace('\0', " ").chars().take(160).collect();
        format!("{pid}: {words}")
    };
    pids.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// When the process `pid` was started, in clock ticks since boot.
///
/// # Panics
/// When there is no such process.
pub fn start_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let (_, fields) = stat.rsplit_once(')').expect("the command stands in parentheses");
    fields.split_whitespace().nth(19).and_then(|ticks| ticks.parse().ok()).expect("field 22 is a number")
}

fn pid(number: u32) -> Pid {
    i32::try_from(number).ok().and_then(Pid::from_raw).expect("a pid")
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let _ = file.rewind();
    let _ = file.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
