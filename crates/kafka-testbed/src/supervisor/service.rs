//! One supervised service: what is wanted of it, and where it is in its life.

use std::{collections::VecDeque, time::SystemTime};

use compose_model::Condition;
use tracing::info;

use super::healing::Healing;
use crate::{
    backend::native::Launch,
    process::ProcessIdentity,
    status::{End, MOST_ENDS, ServiceState, ServiceStatus, timestamp},
};

/// What is wanted of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// It shall run (or have run, for a one-shot service).
    Up,
    /// It shall not run now.
    Down,
    /// It is in the plan no more.
    Gone,
}

/// A service and where it is in its life.
#[derive(Debug)]
pub(super) struct Supervised {
    pub(super) name: String,
    pub(super) launch: Launch,
    pub(super) addresses: Vec<String>,
    pub(super) goal: Goal,
    /// Whether it is killed where its goal is to be down.
    pub(super) at_once: bool,
    /// It runs and shall be ended, and started again when it has ended.
    pub(super) restarting: bool,
    pub(super) state: ServiceState,
    pub(super) since: SystemTime,
    pub(super) process: Option<ProcessIdentity>,
    /// Whether its probe was answered last time.
    pub(super) ready: bool,
    /// Starts since the supervisor runs; tells messages of an old process from those of the present one.
    pub(super) starts: u32,
    /// How many of the launch's steps before the program have been done in this start.
    pub(super) prepared: usize,
    /// Starts after an end that nobody asked for.
    pub(super) restarts: u32,
    pub(super) healing: Healing,
    pub(super) last_error: Option<String>,
    pub(super) ends: VecDeque<End>,
    pub(super) prober: Option<tokio::task::JoinHandle<()>>,
}

impl Supervised {
    pub(super) fn new(name: String, launch: Launch, addresses: Vec<String>) -> Self {
        Self {
            name,
            launch,
            addresses,
            goal: Goal::Up,
            at_once: false,
            restarting: false,
            state: ServiceState::Waiting,
            since: SystemTime::now(),
            process: None,
            ready: false,
            starts: 0,
            prepared: 0,
            restarts: 0,
            healing: Healing::default(),
            last_error: None,
            ends: VecDeque::new(),
            prober: None,
        }
    }

    pub(super) fn enter(&mut self, state: ServiceState) {
        if self.state != state {
            let error = self.last_error.as_deref().and_then(|error| error.lines().next());
            info!(service = %self.name, from = ?self.state, to = ?state, error, "state");
            self.state = state;
            self.since = SystemTime::now();
        }
    }

    pub(super) fn satisfies(&self, condition: Condition) -> bool {
        match condition {
            Condition::Started => matches!(self.state, ServiceState::Starting | ServiceState::Running),
            Condition::Healthy => self.state == ServiceState::Running && self.ready,
            Condition::Completed => self.state == ServiceState::Completed,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, ServiceState::Stopped | ServiceState::Completed | ServiceState::Failed)
    }

    /// Whether its process shall end though the testbed goes on.
    pub(super) fn shall_end(&self) -> bool {
        self.restarting || self.goal != Goal::Up
    }

    /// Somebody wants it to run: what went wrong before counts no more.
    pub(super) fn want(&mut self) {
        self.goal = Goal::Up;
        self.at_once = false;
        self.healing.forget();
        if matches!(self.state, ServiceState::Failed | ServiceState::Stopped | ServiceState::BackingOff) {
            self.enter(ServiceState::Waiting);
        }
    }

    pub(super) fn remember(&mut self, end: End) {
        if self.ends.len() == MOST_ENDS {
            self.ends.pop_front();
        }
        self.ends.push_back(end);
    }

    pub(super) fn stop_probing(&mut self) {
        self.ready = false;
        if let Some(prober) = self.prober.take() {
            prober.abort();
        }
    }

    pub(super) fn status(&self) -> ServiceStatus {
        let usage = self.process.and_then(|process| process.usage());
        ServiceStatus {
            name: self.name.clone(),
            state: self.state,
            ready: self.ready,
            since: timestamp(self.since),
            addresses: self.addresses.clone(),
            pid: self.process.map(|process| process.pid),
            cpu_seconds: usage.map(|usage| usage.cpu_seconds),
            memory_bytes: usage.map(|usage| usage.memory_bytes),
            starts: self.starts,
            restarts: self.restarts,
            last_error: self.last_error.clone(),
            ends: self.ends.iter().cloned().collect(),
        }
    }
}
