//! Short-lived programs that set-up runs (Maven, apt-get, dpkg): written into the ledger, never left behind.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
};

use crate::{
    ledger::{Entry, Ledger, LedgerError},
    process::{self, ProcessIdentity, TOKEN_VARIABLE},
};

/// Most lines of a program's output that are kept for a message.
const KEPT_LINES: usize = 20;
/// Most characters of a line that are kept.
const KEPT_CHARACTERS: usize = 400;

/// Runs programs for a testbed.
#[derive(Debug)]
pub struct Helpers<'a> {
    /// Where each start is written down; nothing where the disk cannot be written.
    pub ledger: Option<&'a mut Ledger>,
    /// The environment the programs get, nothing else.
    pub environment: Vec<(OsString, OsString)>,
}

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelperError {
    /// The ledger refused, so nothing was started.
    #[error("cannot write down the start of {what}")]
    Ledger {
        /// What the program was for.
        what: String,
        /// The cause.
        source: LedgerError,
    },
    /// The program could not be started.
    #[error("cannot start {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The program said no.
    #[error("{what}: {} ended with {status}{}", program.display(), last_words(tail))]
    Failed {
        /// What the program was for.
        what: String,
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its output.
        tail: Vec<String>,
    },
    /// The program took too long and was ended.
    #[error("{what}: {} did not finish within {} s and was ended{}", program.display(), limit.as_secs(), last_words(tail))]
    TimedOut {
        /// What the program was for.
        what: String,
        /// The program.
        program: PathBuf,
        /// The limit.
        limit: Duration,
        /// The last lines of its output.
        tail: Vec<String>,
    },
    /// The program hung: it printed nothing for too long and was ended.
    #[error("{what}: {} printed nothing for {} s and was ended{}", program.display(), silence.as_secs_f64(), last_words(tail))]
    Silent {
        /// What the program was for.
        what: String,
        /// The program.
        program: PathBuf,
        /// How long it printed nothing.
        silence: Duration,
        /// The last lines of its output.
        tail: Vec<String>,
    },
}

/// A program to run.
#[derive(Debug)]
pub struct Job<'a> {
    /// What it is for: `fetching jars`.
    pub what: &'a str,
    /// The program.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Where it runs.
    pub folder: &'a Path,
    /// How long it may take.
    pub limit: Duration,
    /// How long it may print nothing; nothing means as long as it may take.
    pub silence: Option<Duration>,
}

impl Helpers<'_> {
    /// Runs `job` to its end and hands each line of its output to `on_line`.
    ///
    /// # Errors
    /// When it cannot be started, fails or takes too long; the error holds its last lines.
    pub async fn run(&mut self, job: Job<'_>, mut on_line: impl FnMut(&str)) -> Result<(), HelperError> {
        self.record(job.what, Entry::Spawn { what: job.what.to_owned() })?;
        let mut command = Command::new(job.program);
        command
            .args(&job.arguments)
            .current_dir(job.folder)
            .env_clear()
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(ledger) = &self.ledger {
            command.env(TOKEN_VARIABLE, ledger.token());
        }
        let mut child = command
            .spawn()
            .map_err(|source| HelperError::Start { program: job.program.to_owned(), source })?;
        let identity = child.id().and_then(ProcessIdentity::of);
        if let Some(process) = identity {
            self.record(job.what, Entry::Started { what: job.what.to_owned(), process })?;
        }
        let mut tail = VecDeque::new();
        // Without a limit of its own, the limit of the whole counts.
        let silence = job.silence.unwrap_or(job.limit.saturating_mul(2));
        let outcome = tokio::time::timeout(job.limit, async {
            let mut output = Lines::new(child.stdout.take());
            let mut errors = Lines::new(child.stderr.take());
            loop {
                let next = next_line(&mut output, &mut errors);
                let Ok(line) = tokio::time::timeout(silence, next).await else { return None };
                let Some(line) = line else { break };
                on_line(&line);
                if tail.len() == KEPT_LINES {
                    tail.pop_front();
                }
                tail.push_back(line.chars().take(KEPT_CHARACTERS).collect::<String>());
            }
            Some(child.wait().await)
        })
        .await;
        let (what, program, tail) = (job.what.to_owned(), job.program.to_owned(), Vec::from(tail));
        let status = match outcome {
            Ok(Some(status)) => {
                status.map_err(|source| HelperError::Start { program: program.clone(), source })?
            }
            ended => {
                end_with_descendants(&mut child).await;
                self.ended(&job, identity, "took too long, killed".to_owned())?;
                return Err(match ended {
                    Ok(_) => HelperError::Silent { what, program, silence, tail },
                    Err(_) => HelperError::TimedOut { what, program, limit: job.limit, tail },
                });
            }
        };
        self.ended(&job, identity, status.to_string())?;
        if status.success() { Ok(()) } else { Err(HelperError::Failed { what, program, status, tail }) }
    }

    fn ended(
        &mut self,
        job: &Job<'_>,
        identity: Option<ProcessIdentity>,
        how: String,
    ) -> Result<(), HelperError> {
        let Some(process) = identity else { return Ok(()) };
        self.record(job.what, Entry::Ended { what: job.what.to_owned(), process, how })
    }

    fn record(&mut self, what: &str, entry: Entry) -> Result<(), HelperError> {
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        ledger.record(entry).map_err(|source| HelperError::Ledger { what: what.to_owned(), source })
    }
}

/// Ends the program and all that it started: Maven is a script, and its Java would go on.
async fn end_with_descendants(child: &mut Child) {
    let parents: Vec<(u32, u32)> = process::pids().filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
    let mut family: Vec<u32> = child.id().into_iter().collect();
    let mut next = 0;
    while let Some(&ancestor) = family.get(next) {
        family.extend(parents.iter().filter(|(_, parent)| *parent == ancestor).map(|(pid, _)| *pid));
        next += 1;
    }
    let descendants: Vec<ProcessIdentity> =
        family.into_iter().skip(1).filter_map(ProcessIdentity::of).collect();
    let _ = child.kill().await;
    process::end_all(&descendants, Duration::ZERO).await;
}

/// The parent's pid: the second field of `/proc/PID/stat` behind the command, which stands in parentheses.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn last_words(tail: &[String]) -> String {
    if tail.is_empty() { String::new() } else { format!("; its last words:\n{}", tail.join("\n")) }
}

struct Lines<R>(Option<tokio::io::Lines<BufReader<R>>>);

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(stream: Option<R>) -> Self {
        Self(stream.map(|stream| BufReader::new(stream).lines()))
    }

    /// The next line; nothing once the stream has ended (or carries something that is not text).
    async fn next(&mut self) -> Option<String> {
        let line = match &mut self.0 {
            Some(lines) => lines.next_line().await.ok().flatten(),
            None => None,
        };
        if line.is_none() {
            self.0 = None;
        }
        line
    }
}

async fn next_line<A, B>(output: &mut Lines<A>, errors: &mut Lines<B>) -> Option<String>
where
    A: AsyncRead + Unpin,
    B: AsyncRead + Unpin,
{
    loop {
        let line = match (output.0.is_some(), errors.0.is_some()) {
            (false, false) => return None,
            (true, false) => output.next().await,
            (false, true) => errors.next().await,
            (true, true) => tokio::select! {
                line = output.next() => line,
                line = errors.next() => line,
            },
        };
        if line.is_some() {
            return line;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(
        program: &str,
        script: &str,
        limit: Duration,
        silence: Option<Duration>,
    ) -> (Result<(), HelperError>, Vec<String>, Ledger) {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(Ledger::FILE_NAME);
        let mut ledger = Ledger::open_or_begin(&path, || Entry::Testbed {
            name: "a".to_owned(),
            token: "t".to_owned(),
            block: [127, 64, 0],
        })
        .expect("ledger");
        let mut lines = Vec::new();
        let mut helpers = Helpers { ledger: Some(&mut ledger), environment: Vec::new() };
        let job = Job {
            what: "testing",
            program: Path::new(program),
            arguments: vec!["-c".into(), script.into()],
            folder: folder.path(),
            limit,
            silence,
        };
        let result = helpers.run(job, |line| lines.push(line.to_owned())).await;
        (result, lines, ledger)
    }

    #[tokio::test]
    async fn gives_the_lines_of_both_streams_and_leaves_nothing_running() {
        let (result, mut lines, ledger) = run(
            "/bin/sh",
            "echo one; echo two >&2; echo $KAFKA_TESTBED_TOKEN",
            Duration::from_secs(60),
            None,
        )
        .await;
        result.expect("succeeds");
        lines.sort();
        assert_eq!(lines, ["one", "t", "two"]);
        assert!(ledger.running().is_empty());
        assert_eq!(ledger.entries().len(), 4);
    }

    #[tokio::test]
    async fn a_failure_carries_the_last_words() {
        let (result, _, _) = run("/bin/sh", "echo no room; exit 3", Duration::from_secs(60), None).await;
        let text = result.expect_err("fails").to_string();
        assert!(
            text.contains("testing") && text.contains("exit status: 3") && text.contains("no room"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn what_takes_too_long_is_ended() {
        let (result, _, ledger) = run("/bin/sh", "exec sleep 60", Duration::from_millis(50), None).await;
        assert!(matches!(result, Err(HelperError::TimedOut { .. })));
        assert!(ledger.running().is_empty());
    }

    #[tokio::test]
    async fn what_hangs_is_ended_with_all_that_it_started() {
        let script = "echo begun; sleep 6061 & wait";
        let (result, _, ledger) =
            run("/bin/sh", script, Duration::from_secs(60), Some(Duration::from_millis(300))).await;
        let text = result.expect_err("hangs").to_string();
        assert!(text.contains("printed nothing for 0.3 s") && text.ends_with("begun"), "{text}");
        assert!(ledger.running().is_empty());
        let left = process::find_by_token(ledger.token(), &[]);
        assert!(
            left.iter().all(|process| process.command_line(80).as_deref() != Some("sleep 6061")),
            "{left:?}"
        );
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let (result, _, _) = run("/nowhere/mvn", "", Duration::from_secs(60), None).await;
        assert_eq!(result.expect_err("not there").to_string(), "cannot start /nowhere/mvn");
    }
}
