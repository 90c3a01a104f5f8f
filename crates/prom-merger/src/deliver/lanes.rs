//! All lanes that run: one for each source and destination, each started and stopped by itself.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Destination, Lane};
use crate::{config::RetryConfig, merger::StartError, source::SourceState};

/// The lanes, by source and destination. Dropped, they stop by themselves, and nobody waits for them.
#[derive(Debug)]
pub(crate) struct Lanes {
    running: Mutex<BTreeMap<(String, String), Running>>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Lanes {
    pub(crate) fn new() -> Self {
        let stop = CancellationToken::new();
        Self { running: Mutex::default(), _stop_on_drop: stop.clone().drop_guard(), stop }
    }

    /// Starts a lane at its stored cursor, unless it runs.
    ///
    /// # Errors
    /// A cursor that cannot be opened, or rules that are none. Blocks on files for a cursor that is new.
    pub(crate) fn start(
        &self,
        source: &Arc<SourceState>,
        destination: &Arc<Destination>,
        retry: &RetryConfig,
    ) -> Result<(), StartError> {
        let key = (source.name.clone(), destination.name().to_owned());
        let mut all = self.running();
        if all.contains_key(&key) {
            return Ok(());
        }
        let stop = self.stop.child_token();
        let metrics = source.open_lane(destination.name())?;
        let lane =
            Lane::new(Arc::clone(source), Arc::clone(destination), metrics, retry.clone(), stop.clone());
        let lane = lane.map_err(|reason| StartError::Lane {
            name: source.name.clone(),
            destination: destination.name().to_owned(),
            reason,
        })?;
        let task = tokio::spawn(Arc::new(lane).run());
        all.insert(key, Running { stop, task });
        Ok(())
    }

    /// Stops a lane and waits until its cursor is stored; tells whether that was in time. What it has not delivered stays
    /// in the journal.
    pub(crate) async fn stop(&self, source: &str, destination: &str, deadline: Instant) -> bool {
        let key = (source.to_owned(), destination.to_owned());
        let Some(running) = self.running().remove(&key) else { return true };
        running.stop.cancel();
        running.end(deadline).await
    }

    /// Stops all at once; tells whether all ended in time.
    pub(crate) async fn stop_all(&self, deadline: Instant) -> bool {
        self.stop.cancel();
        let all = std::mem::take(&mut *self.running());
        let mut in_time = true;
        for running in all.into_values() {
            in_time &= running.end(deadline).await;
        }
        in_time
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<(String, String), Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    async fn end(mut self, deadline: Instant) -> bool {
        let in_time = timeout_at(deadline, &mut self.task).await.is_ok();
        if !in_time {
            self.task.abort();
        }
        in_time
    }
}
