//! How a command talks to the supervisor: one JSON object a line over a socket in the testbed's folder.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

use crate::{home::TestbedFolder, status::TestbedStatus};

/// Longest line either side takes.
pub const MAX_LINE: u64 = 4 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a command asks of the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    /// Tell how things are.
    Status,
    /// Start these services (all when none is named) and what they need, where they do not run.
    Start {
        /// Names.
        services: Vec<String>,
    },
    /// Stop these services, those that need others first; they stay stopped until somebody starts them.
    StopServices {
        /// Names.
        services: Vec<String>,
        /// Kill them: what they have not written is not wanted any more.
        at_once: bool,
    },
    /// Stop these services and start them again.
    Restart {
        /// Names.
        services: Vec<String>,
    },
    /// Read the plan again and go over to it.
    Reload,
    /// Stop all services in order, then end.
    Stop,
}

/// What the supervisor answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// How things are.
    pub status: TestbedStatus,
    /// Why it did not do what was asked; nothing was changed then.
    pub refused: Option<String>,
}

/// Why the supervisor gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The socket does not work.
    #[error("cannot reach the supervisor through {}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// No answer in time.
    #[error("the supervisor did not answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// The supervisor did not do it.
    #[error("{0}")]
    Refused(String),
    /// Not an answer.
    #[error("the supervisor's answer cannot be read")]
    Answer(#[source] serde_json::Error),
}

/// Sends `request` and returns how things are then.
///
/// # Errors
/// When there is no supervisor, it does not answer, or refuses.
pub async fn ask(folder: &TestbedFolder, request: Request) -> Result<TestbedStatus, ControlError> {
    let path = folder.path().join(TestbedFolder::SOCKET);
    let failed = |source| ControlError::Io { path: path.clone(), source };
    let exchange = async {
        let (_directory, short) = short_path(folder.path()).map_err(failed)?;
        let mut stream = UnixStream::connect(&short).await.map_err(failed)?;
        let mut line = serde_json::to_vec(&request).expect("a request is words and names");
        line.push(b'\n');
        stream.write_all(&line).await.map_err(failed)?;
        let mut answer = String::new();
        BufReader::new(stream).take(MAX_LINE).read_line(&mut answer).await.map_err(failed)?;
        let answer: Answer = serde_json::from_str(&answer).map_err(ControlError::Answer)?;
        match answer.refused {
            None => Ok(answer.status),
            Some(reason) => Err(ControlError::Refused(reason)),
        }
    };
    tokio::time::timeout(TIMEOUT, exchange).await.unwrap_or(Err(ControlError::TimedOut))
}

/// Binds the supervisor's socket.
pub(crate) fn bind(folder: &TestbedFolder) -> io::Result<UnixListener> {
    let (_directory, short) = short_path(folder.path())?;
    match std::fs::remove_file(&short) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(&short)
}

/// A path of the socket that fits into a socket address (108 bytes) however long the folder's is: through a
/// descriptor of the folder, which must live as long as the path is used.
fn short_path(folder: &Path) -> io::Result<(File, PathBuf)> {
    let directory = File::open(folder)?;
    let path = format!("/proc/self/fd/{}/{}", directory.as_raw_fd(), TestbedFolder::SOCKET);
    Ok((directory, path.into()))
}
