//! Puts the pods file and the processes together, and remembers what a look at `/proc` cannot tell: restarts.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::simulated_kubelet::{
    pods::{MAXIMUM_FILE_BYTES, Pod, PodsFile, PodsFileError},
    proc_reader::{ProcReader, ProcessIdentity, ProcessUsage},
};

/// Follows one pods file.
#[derive(Debug)]
pub struct Observer {
    path: PathBuf,
    reader: ProcReader,
    content: Vec<u8>,
    file: PodsFile,
    file_is_valid: bool,
    history: BTreeMap<(String, String), History>,
}

#[derive(Debug, Default)]
struct History {
    last: Option<ProcessIdentity>,
    restarts: u64,
}

/// Everything to show at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The namespace of all pods.
    pub namespace: String,
    /// The node of all pods.
    pub node: String,
    /// The pods, in the file's order.
    pub pods: Vec<ObservedPod>,
    /// Whether the file could be read at the last look; if not, the pods are those of the last valid one.
    pub file_is_valid: bool,
}

/// One container at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedPod {
    /// As in the file.
    pub pod: Pod,
    /// The process, if it runs.
    pub usage: Option<ProcessUsage>,
    /// Whether its process was ever seen.
    pub was_seen: bool,
    /// How often another process took the place of the last one, as seen since this program's start.
    pub restarts: u64,
}

/// Why the pods file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObserverError {
    /// It cannot be read.
    #[error("failed to read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its content is wrong.
    #[error("{path:?} is wrong")]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PodsFileError,
    },
}

impl Observer {
    /// Reads the pods file for the first time.
    ///
    /// # Errors
    /// The file cannot be read or is wrong; later such faults only show in [`Observation::file_is_valid`].
    pub fn open(path: &Path, reader: ProcReader) -> Result<Self, ObserverError> {
        let content = read(path)?;
        let file = parse(path, &content)?;
        Ok(Self {
            path: path.to_owned(),
            reader,
            content,
            file,
            file_is_valid: true,
            history: BTreeMap::new(),
        })
    }

    /// Looks at the file and at all processes. Restarts between two looks count once.
    pub fn observe(&mut self) -> Observation {
        self.reload();
        let Self { reader, file, history, .. } = self;
        let pods = file.pods.iter().map(|pod| observe_pod(reader, history, pod)).collect();
        Observation {
            namespace: self.file.namespace.clone(),
            node: self.file.node.clone(),
            pods,
            file_is_valid: self.file_is_valid,
        }
    }

    fn reload(&mut self) {
        let outcome = read(&self.path).and_then(|content| {
            if content == self.content {
                return Ok(None);
            }
            parse(&self.path, &content).map(|file| Some((content, file)))
        });
        match outcome {
            Ok(None) => self.file_is_valid = true,
            Ok(Some((content, file))) => {
                let listed = |key: &(String, String)| {
                    file.pods.iter().any(|pod| (&pod.pod, &pod.container) == (&key.0, &key.1))
                };
                self.history.retain(|key, _| listed(key));
                (self.content, self.file, self.file_is_valid) = (content, file, true);
                tracing::info!(path = %self.path.display(), pods = self.file.pods.len(), "pods file read again");
            }
            Err(error) => {
                if self.file_is_valid {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "keeping the last valid pods");
                }
                self.file_is_valid = false;
            }
        }
    }
}

fn observe_pod(
    reader: &ProcReader,
    history: &mut BTreeMap<(String, String), History>,
    pod: &Pod,
) -> ObservedPod {
    let pid = pod.pid.or_else(|| reader.find_by_token(pod.process_token.as_deref()?));
    let usage = pid.and_then(|pid| reader.usage(pid, pod.start_time));
    let history = history.entry((pod.pod.clone(), pod.container.clone())).or_default();
    if let Some(identity) = usage.as_ref().map(|usage| usage.identity) {
        let replaced = history.last.is_some_and(|last| last != identity);
        history.restarts += u64::from(replaced);
        history.last = Some(identity);
    }
    ObservedPod { pod: pod.clone(), usage, was_seen: history.last.is_some(), restarts: history.restarts }
}

fn read(path: &Path) -> Result<Vec<u8>, ObserverError> {
    let mut content = Vec::new();
    let outcome =
        File::open(path).and_then(|file| file.take(MAXIMUM_FILE_BYTES + 1).read_to_end(&mut content));
    let outcome = outcome.and_then(|bytes| match bytes as u64 > MAXIMUM_FILE_BYTES {
        true => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {MAXIMUM_FILE_BYTES} bytes"),
        )),
        false => Ok(()),
    });
    outcome.map(|()| content).map_err(|source| ObserverError::Read { path: path.to_owned(), source })
}

fn parse(path: &Path, content: &[u8]) -> Result<PodsFile, ObserverError> {
    PodsFile::parse(content).map_err(|source| ObserverError::Content { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn child() -> Child {
        Command::new("sleep").arg("60").spawn().expect("sleep starts")
    }

    fn end(mut child: Child) {
        child.kill().expect("our child");
        child.wait().expect("our child");
    }

    fn write(path: &Path, pid: u32) {
        let content = format!(
            r#"{{"namespace":"workers","node":"n","pods":[{{"pod":"w","container":"c","pid":{pid}}}]}}"#
        );
        std::fs::write(path, content).expect("a temporary folder");
    }

    #[test]
    fn follows_the_file_and_counts_restarts() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("pods.json");
        let (first, second) = (child(), child());
        write(&path, first.id());
        let mut observer =
            Observer::open(&path, ProcReader::new(Path::new("/proc")).expect("Linux")).expect("a valid file");
        let mut look = || {
            let observation = observer.observe();
            let pod = &observation.pods[0];
            (pod.usage.is_some(), pod.was_seen, pod.restarts, observation.file_is_valid)
        };
        assert_eq!(look(), (true, true, 0, true));
        end(first);
        assert_eq!(look(), (false, true, 0, true));
        std::fs::write(&path, "{").expect("a temporary folder");
        assert_eq!(look(), (false, true, 0, false));
        write(&path, second.id());
        assert_eq!(look(), (true, true, 1, true));
        std::fs::remove_file(&path).expect("it exists");
        assert_eq!(look(), (true, true, 1, false));
        end(second);
    }

    #[test]
    fn a_missing_or_wrong_file_is_an_error_at_start() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("pods.json");
        let reader = ProcReader::new(Path::new("/proc")).expect("Linux");
        assert!(matches!(Observer::open(&path, reader.clone()), Err(ObserverError::Read { .. })));
        std::fs::write(&path, "[]").expect("a temporary folder");
        assert!(matches!(Observer::open(&path, reader), Err(ObserverError::Content { .. })));
    }
}
