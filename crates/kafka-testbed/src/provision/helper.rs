//! Short-lived programs that set-up runs (Maven, apt-get, dpkg): written into the ledger, never left behind.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
};

use crate::{
    ledger::{Entry, Ledger, LedgerError},
    process::{ProcessIdentity, TOKEN_VARIABLE},
};

/// Most lines of a program's output that are kept for a message.
const KEPT_LINES: usize = 20;
/// Most characters of a line that are kept.
const KEPT_CHARACTERS: usize = 400;

/// Runs programs for a testbed.
#[derive(Debug)]
pub struct Helpers<'a> {
    /// Where each start is written down.
    pub ledger: &'a mut Ledger,
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
    #[error("{what}: {} ended with {status}; its last words:\n{}", program.display(), tail.join("\n"))]
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
    #[error("{what}: {} did not finish within {} s and was ended; its last words:\n{}", program.display(), limit.as_secs(), tail.join("\n"))]
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
}

impl Helpers<'_> {
    /// Runs `job` to its end and hands each line of its output to `on_line`.
    ///
    /// # Errors
    /// When it cannot be started, fails or takes too long; the error holds its last lines.
    pub async fn run(&mut self, job: Job<'_>, mut on_line: impl FnMut(&str)) -> Result<(), HelperError> {
        let ledger_failed = |source| HelperError::Ledger { what: job.what.to_owned(), source };
        self.ledger.record(Entry::Spawn { what: job.what.to_owned() }).map_err(ledger_failed)?;
        let mut child = Command::new(job.program)
            .args(&job.arguments)
            .current_dir(job.folder)
            .env_clear()
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .env(TOKEN_VARIABLE, self.ledger.token())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| HelperError::Start { program: job.program.to_owned(), source })?;
        let identity = child.id().and_then(ProcessIdentity::of);
        if let Some(process) = identity {
            self.ledger
                .record(Entry::Started { what: job.what.to_owned(), process })
                .map_err(ledger_failed)?;
        }
        let mut tail = VecDeque::new();
        let outcome = tokio::time::timeout(job.limit, async {
            let mut output = Lines::new(child.stdout.take());
            let mut errors = Lines::new(child.stderr.take());
            while let Some(line) = next_line(&mut output, &mut errors).await {
                on_line(&line);
                if tail.len() == KEPT_LINES {
                    tail.pop_front();
                }
                tail.push_back(line.chars().take(KEPT_CHARACTERS).collect::<String>());
            }
            child.wait().await
        })
        .await;
        let tail: Vec<String> = tail.into();
        let status = match outcome {
            Ok(status) => {
                status.map_err(|source| HelperError::Start { program: job.program.to_owned(), source })?
            }
            Err(_) => {
                let _ = child.kill().await;
                self.ended(&job, identity, "timed out, killed".to_owned())?;
                return Err(HelperError::TimedOut {
                    what: job.what.to_owned(),
                    program: job.program.to_owned(),
                    limit: job.limit,
                    tail,
                });
            }
        };
        self.ended(&job, identity, status.to_string())?;
        if status.success() {
            Ok(())
        } else {
            Err(HelperError::Failed {
                what: job.what.to_owned(),
                program: job.program.to_owned(),
                status,
                tail,
            })
        }
    }

    fn ended(
        &mut self,
        job: &Job<'_>,
        identity: Option<ProcessIdentity>,
        how: String,
    ) -> Result<(), HelperError> {
        let Some(process) = identity else { return Ok(()) };
        self.ledger
            .record(Entry::Ended { what: job.what.to_owned(), process, how })
            .map_err(|source| HelperError::Ledger { what: job.what.to_owned(), source })
    }
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
        let mut helpers = Helpers { ledger: &mut ledger, environment: Vec::new() };
        let job = Job {
            what: "testing",
            program: Path::new(program),
            arguments: vec!["-c".into(), script.into()],
            folder: folder.path(),
            limit,
        };
        let result = helpers.run(job, |line| lines.push(line.to_owned())).await;
        (result, lines, ledger)
    }

    #[tokio::test]
    async fn gives_the_lines_of_both_streams_and_leaves_nothing_running() {
        let (result, mut lines, ledger) =
            run("/bin/sh", "echo one; echo two >&2; echo $KAFKA_TESTBED_TOKEN", Duration::from_secs(60))
                .await;
        result.expect("succeeds");
        lines.sort();
        assert_eq!(lines, ["one", "t", "two"]);
        assert!(ledger.running().is_empty());
        assert_eq!(ledger.entries().len(), 4);
    }

    #[tokio::test]
    async fn a_failure_carries_the_last_words() {
        let (result, _, _) = run("/bin/sh", "echo no room; exit 3", Duration::from_secs(60)).await;
        let text = result.expect_err("fails").to_string();
        assert!(
            text.contains("testing") && text.contains("exit status: 3") && text.contains("no room"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn what_takes_too_long_is_ended() {
        let (result, _, ledger) = run("/bin/sh", "exec sleep 60", Duration::from_millis(50)).await;
        assert!(matches!(result, Err(HelperError::TimedOut { .. })));
        assert!(ledger.running().is_empty());
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let (result, _, _) = run("/nowhere/mvn", "", Duration::from_secs(60)).await;
        assert_eq!(result.expect_err("not there").to_string(), "cannot start /nowhere/mvn");
    }
}
