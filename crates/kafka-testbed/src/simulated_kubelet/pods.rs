//! The pods file: which processes are shown as which pods.
//!
//! ```json
//! {"namespace": "workers", "node": "simulated-node", "pods": [
//!   {"pod": "worker-1", "container": "worker", "deployment": "worker", "pid": 123, "start_time": 530864,
//!    "limits": {"memory_bytes": 268435456, "cpu_cores": 0.5}},
//!   {"pod": "worker-2", "container": "worker", "process_token": "0d0c8f1e-worker-2"}
//! ]}
//! ```

use std::collections::BTreeSet;

use serde::Deserialize;

/// The largest pods file, bytes.
pub const MAXIMUM_FILE_BYTES: u64 = 1024 * 1024;
/// The most pods in one file.
pub const MAXIMUM_PODS: usize = 1000;
/// A token shorter than this could match by chance.
const MINIMUM_TOKEN_BYTES: usize = 8;

/// A checked pods file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodsFile {
    /// The namespace of all pods.
    pub namespace: String,
    /// The node of all pods.
    pub node: String,
    /// The pods, unique by pod and container.
    pub pods: Vec<Pod>,
}

/// One container of one pod, and the process that plays it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pod {
    /// The pod's name.
    pub pod: String,
    /// The container's name.
    pub container: String,
    /// The deployment that the pod counts for, if any.
    pub deployment: Option<String>,
    /// The process, by id.
    pub pid: Option<u32>,
    /// With `pid`: the process's start time, clock ticks since boot (field 22 of `/proc/PID/stat`); another one is another process.
    pub start_time: Option<u64>,
    /// The process, by an argument or the value of an environment variable that equals this.
    pub process_token: Option<String>,
    /// The resource limits to declare; nothing enforces them.
    #[serde(default)]
    pub limits: Limits,
}

/// Declared resource limits.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory.
    pub memory_bytes: Option<u64>,
    /// CPU.
    pub cpu_cores: Option<f64>,
}

/// What is wrong with a pods file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PodsFileError {
    /// It is not the JSON expected.
    #[error("not a pods file")]
    Json(#[source] serde_json::Error),
    /// Too many pods.
    #[error("{count} pods, at most {MAXIMUM_PODS} are allowed")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// The same container twice.
    #[error("container {container:?} of pod {pod:?} is listed twice")]
    Twice {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
    },
    /// It does not say which process, or not clearly.
    #[error(
        "pod {pod:?} needs either pid (with start_time if known) or process_token of {MINIMUM_TOKEN_BYTES} bytes or more"
    )]
    Process {
        /// The pod.
        pod: String,
    },
    /// A limit that cannot be.
    #[error("pod {pod:?} has a cpu_cores limit that is not a positive number")]
    Limit {
        /// The pod.
        pod: String,
    },
}

impl PodsFile {
    /// Reads and checks the file's content.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(content: &[u8]) -> Result<Self, PodsFileError> {
        let file: Self = serde_json::from_slice(content).map_err(PodsFileError::Json)?;
        if file.pods.len() > MAXIMUM_PODS {
            return Err(PodsFileError::TooMany { count: file.pods.len() });
        }
        let mut names = BTreeSet::new();
        for pod in &file.pods {
            pod.check()?;
            if !names.insert((&pod.pod, &pod.container)) {
                return Err(PodsFileError::Twice { pod: pod.pod.clone(), container: pod.container.clone() });
            }
        }
        Ok(file)
    }
}

impl Pod {
    fn check(&self) -> Result<(), PodsFileError> {
        let clear = match (&self.pid, &self.process_token) {
            (Some(_), None) => true,
            (None, Some(token)) => token.len() >= MINIMUM_TOKEN_BYTES && self.start_time.is_none(),
            _ => false,
        };
        if !clear {
            return Err(PodsFileError::Process { pod: self.pod.clone() });
        }
        if self.limits.cpu_cores.is_some_and(|cores| !(cores.is_finite() && cores > 0.0)) {
            return Err(PodsFileError::Limit { pod: self.pod.clone() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pods: &str, expected: Result<usize, &str>) {
        let content = format!(r#"{{"namespace":"workers","node":"n","pods":[{pods}]}}"#);
        match (PodsFile::parse(content.as_bytes()), expected) {
            (Ok(file), Ok(count)) => assert_eq!(file.pods.len(), count),
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            (outcome, expected) => panic!("{outcome:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn reads_pods_and_names_faults() {
        check("", Ok(0));
        check(
            r#"{"pod":"a","container":"c","pid":1},{"pod":"a","container":"d","process_token":"12345678"}"#,
            Ok(2),
        );
        check(
            r#"{"pod":"a","container":"c","pid":1},{"pod":"a","container":"c","pid":2}"#,
            Err("listed twice"),
        );
        check(r#"{"pod":"a","container":"c"}"#, Err("needs either pid"));
        check(r#"{"pod":"a","container":"c","pid":1,"process_token":"12345678"}"#, Err("needs either pid"));
        check(r#"{"pod":"a","container":"c","process_token":"short"}"#, Err("needs either pid"));
        check(r#"{"pod":"a","container":"c","pid":1,"limits":{"cpu_cores":0}}"#, Err("cpu_cores"));
        check(r#"{"pod":"a","container":"c","pid":1,"limit":{}}"#, Err("not a pods file"));
    }
}
