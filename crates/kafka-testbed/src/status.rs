//! What a testbed says of itself: the shape of `status --format json`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A testbed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestbedStatus {
    /// Its name.
    pub name: String,
    /// How its services run: `native`.
    pub backend: String,
    /// All in all.
    pub state: TestbedState,
    /// Number of the run: 1, and one more after each `reset`. Every target's label `run` says it.
    pub run: u32,
    /// Where its data, logs and ledger lie.
    pub folder: PathBuf,
    /// Base addresses for users.
    pub endpoints: Endpoints,
    /// The supervisor's pid while it runs.
    pub supervisor_pid: Option<u32>,
    /// The services, in the order of their start.
    pub services: Vec<ServiceStatus>,
}

/// A testbed all in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestbedState {
    /// There is no testbed of this name.
    Absent,
    /// Services are on their way.
    Starting,
    /// Every service is ready.
    Running,
    /// A service has failed or is not ready any more.
    Degraded,
    /// Services run, but their supervisor is gone; `up` cleans up and starts anew, `down` cleans up.
    Unsupervised,
    /// Services are being stopped.
    Stopping,
    /// Nothing runs; data is kept.
    Stopped,
}

/// Base addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The database with the metrics of all sources.
    pub tsdb: String,
    /// The merger.
    pub merger: String,
    /// The Prometheus beside Kafka.
    pub kafka_prometheus: String,
    /// The Prometheus inside Kubernetes.
    pub kubernetes_prometheus: String,
    /// Bootstrap list (`host:port,…`) for clients outside the testbed.
    pub kafka: String,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name in the plan.
    pub name: String,
    /// Where it is in its life.
    pub state: ServiceState,
    /// Whether its probe was answered last time (for a one-shot service: whether it succeeded).
    pub ready: bool,
    /// When it came into this state (RFC 3339, UTC).
    pub since: String,
    /// Where it listens (`host:port`).
    pub addresses: Vec<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// User and system time of the process so far.
    pub cpu_seconds: Option<f64>,
    /// Resident memory of the process.
    pub memory_bytes: Option<u64>,
    /// How often it was started since the supervisor runs.
    pub starts: u32,
    /// How often it was started again because it had ended unasked.
    pub restarts: u32,
    /// Why it is not ready or ended, with the last lines of its log where that helps.
    pub last_error: Option<String>,
    /// How its processes ended although nobody had asked them to, oldest first; the last [`MOST_ENDS`].
    pub ends: Vec<End>,
}

/// How many ends of a service are kept.
pub const MOST_ENDS: usize = 5;

/// The end of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// In words: `exited with code 1`, `killed by signal 9 (SIGKILL)`.
    pub how: String,
    /// The exit code, unless a signal ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When (RFC 3339, UTC).
    pub at: String,
    /// The lines of its log that tell most about it.
    pub log: Vec<String>,
}

/// Where a service is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// Waits for services that it depends on.
    Waiting,
    /// Runs, not ready yet.
    Starting,
    /// Runs and was ready.
    Running,
    /// A one-shot service that succeeded.
    Completed,
    /// Ended although nobody asked it to, and is started again after a pause.
    BackingOff,
    /// Ended too often although nobody asked it to, or could not be started.
    Failed,
    /// Was asked to end.
    Stopping,
    /// Ended as asked.
    Stopped,
}

impl ServiceState {
    /// Whether a process of the service runs in this state.
    pub fn has_process(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping)
    }
}

impl TestbedState {
    /// The state of a supervised testbed with these services.
    pub fn of(services: &[ServiceStatus]) -> Self {
        let any = |state| services.iter().any(|service| service.state == state);
        if any(ServiceState::Stopping) {
            Self::Stopping
        } else if any(ServiceState::Failed) || any(ServiceState::BackingOff) {
            Self::Degraded
        } else if any(ServiceState::Waiting) || any(ServiceState::Starting) {
            Self::Starting
        } else if services.iter().all(|service| service.state == ServiceState::Stopped) {
            Self::Stopped
        } else if services.iter().all(|service| service.ready) {
            Self::Running
        } else {
            Self::Degraded
        }
    }
}

/// Formats a point in time as the status has it.
pub fn timestamp(at: std::time::SystemTime) -> String {
    jiff::Timestamp::try_from(at).map(|at| format!("{at:.3}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(services: &[(ServiceState, bool)], expected: TestbedState) {
        let services: Vec<ServiceStatus> = services
            .iter()
            .map(|(state, ready)| ServiceStatus {
                name: String::new(),
                state: *state,
                ready: *ready,
                since: String::new(),
                addresses: Vec::new(),
                pid: None,
                cpu_seconds: None,
                memory_bytes: None,
                starts: 1,
                restarts: 0,
                last_error: None,
                ends: Vec::new(),
            })
            .collect();
        assert_eq!(TestbedState::of(&services), expected);
    }

    #[test]
    fn the_whole_is_as_good_as_its_worst_part() {
        use ServiceState::{BackingOff, Completed, Failed, Running, Starting, Stopped, Stopping, Waiting};
        check(&[(Running, true), (Completed, true)], TestbedState::Running);
        check(&[(Running, true), (Running, false)], TestbedState::Degraded);
        check(&[(Running, true), (Failed, false), (Starting, false)], TestbedState::Degraded);
        check(&[(Running, true), (BackingOff, false), (Starting, false)], TestbedState::Degraded);
        check(&[(Running, true), (Waiting, false)], TestbedState::Starting);
        check(&[(Stopped, false), (Stopping, false)], TestbedState::Stopping);
        check(&[(Stopped, false), (Stopped, false)], TestbedState::Stopped);
        check(&[(Stopped, false), (Running, true)], TestbedState::Degraded);
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(timestamp(std::time::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
    }
}
