//! What is done from time to time: spare data is released, and how far the series are is written down.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use sample_journal::Position;
use tokio::{select, task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{OpenReplicasError, ReplicaError, ReplicaGroup};
use crate::{
    replicas::{ledger::Checkpoint, record::CheckpointHead, spare::Spare},
    source::REPLICAS_CURSOR,
};

/// What was written down last.
struct Written {
    position: Position,
    at: Instant,
}

impl ReplicaGroup {
    /// Keeps the group until it is told to stop, then writes down how far all is.
    pub(crate) async fn keep_up(self: Arc<Self>, stop: CancellationToken) {
        let mut written = Written { position: Position::START, at: Instant::now() };
        loop {
            let is_stopping = select! {
                () = stop.cancelled() => true,
                () = sleep(TICK) => false,
            };
            self.release_spares().await;
            if is_stopping || self.is_due(&written) {
                match self.write_checkpoint(written.position).await {
                    Ok(position) => written.position = position,
                    Err(error) => {
                        self.metrics.checkpoint_failures.add(1);
                        error!(source = self.source, %error, "how far the replicas are is not written down");
                    }
                }
                written.at = Instant::now();
            }
            if is_stopping {
                return;
            }
        }
    }

    /// After a while, and before what no checkpoint knows takes much of the journal's room.
    fn is_due(&self, written: &Written) -> bool {
        let statistics = self.main.statistics();
        let is_old = written.at.elapsed() >= CHECKPOINT_INTERVAL;
        let is_crowded = self.is_nearly_full() && written.at.elapsed() >= CROWDED_INTERVAL;
        statistics.durable_end > written.position && (is_old || is_crowded && self.is_slowest())
    }

    /// Whether nothing else keeps what no checkpoint knows.
    fn is_slowest(&self) -> bool {
        let (own, others): (Vec<_>, Vec<_>) =
            self.main.cursors().into_iter().partition(|(name, _)| name == REPLICAS_CURSOR);
        let first =
            |cursors: Vec<(String, Position)>| cursors.into_iter().map(|(_, position)| position).min();
        first(own) < first(others)
    }

    async fn write_checkpoint(self: &Arc<Self>, before: Position) -> Result<Position, ReplicaError> {
        let guard = Arc::clone(&self.gate).write_owned().await;
        let position = self.main.durable_end();
        if position <= before {
            return Ok(before);
        }
        let checkpoint = self.checkpoint(position);
        drop(guard);
        let group = Arc::clone(self);
        spawn_blocking(move || {
            let written = group.ledger.checkpoint(&checkpoint).map_err(OpenReplicasError::from);
            // Without a checkpoint too: a journal that is full would refuse those that live.
            if written.is_ok() || group.is_nearly_full() {
                group
                    .main
                    .cursor(REPLICAS_CURSOR)
                    .and_then(|mut cursor| cursor.store(position))
                    .map_err(OpenReplicasError::from)?;
            }
            written.map(|()| position)
        })
        .await?
        .map_err(ReplicaError::Open)
    }

    pub(super) fn checkpoint(&self, position: Position) -> Checkpoint {
        let merge = self.merge();
        let series: Vec<_> = merge.memory.entries().collect();
        let elected = merge.election.elected().and_then(|elected| merge.election.names().nth(elected));
        self.metrics.series.store(series.len() as u64, Ordering::Relaxed);
        self.metrics.forgotten_series.store(merge.memory.forgotten(), Ordering::Relaxed);
        let head = CheckpointHead {
            id: position.as_u64(),
            position: position.as_u64(),
            keys_version: self.keys.version(),
            forgotten_ms: merge.memory.forgotten_ms(),
            series: series.len() as u64,
            elected: elected.unwrap_or_default().to_owned(),
            term: merge.election.term(),
        };
        Checkpoint { head, series }
    }

    fn is_nearly_full(&self) -> bool {
        let statistics = self.main.statistics();
        statistics.bytes_on_disk > self.main_bytes / 4 * 3
    }

    async fn release_spares(self: &Arc<Self>) {
        let spares: Vec<_> = self.spares.lock().await.clone().into_iter().collect();
        for (replica, spare) in spares {
            let now_ms = self.clock.wall_ms();
            let released = spawn_blocking(move || {
                let released = spare.release_old(now_ms);
                (released, spare)
            });
            let Ok((released, spare)) = released.await else { continue };
            self.metrics.set_held(&replica, spare.samples(), spare.bytes_on_disk());
            match released {
                Ok((old, early)) => {
                    self.metrics.released_samples.add(old);
                    self.count_released_early(early);
                }
                Err(error) => error!(source = self.source, replica, %error, "spare data is not released"),
            }
        }
        let merge = self.merge();
        let (election, now_ms) = (&merge.election, self.now_ms());
        for (number, name) in election.names().enumerate() {
            let is_elected = Some(number) == election.elected();
            self.metrics.set_role(name, is_elected, election.is_fresh(number, now_ms));
        }
    }

    pub(super) fn count_released_early(&self, samples: u64) {
        if samples > 0 {
            self.metrics.released_early_samples.add(samples);
            warn!(
                source = self.source,
                samples, "spare data is released before its time: its journal is full"
            );
        }
    }

    /// Removes the spare data of a replica that another one takes the place of.
    pub(super) async fn forget(
        self: &Arc<Self>,
        replica: &str,
        spare: Option<Arc<Spare>>,
    ) -> Result<(), OpenReplicasError> {
        let samples = spare.as_ref().map_or(0, |spare| spare.samples());
        warn!(source = self.source, replica, samples, "a replica that was silent for long is forgotten");
        self.metrics.released_early_samples.add(samples);
        self.metrics.forget(replica);
        let (group, replica) = (Arc::clone(self), replica.to_owned());
        let removed = spawn_blocking(move || {
            if let Some(spare) = spare
                && let Err(error) = spare.close()
            {
                warn!(source = group.source, replica, %error, "journal did not close cleanly");
            }
            group.journals.remove(&replica)
        });
        match removed.await {
            Ok(removed) => Ok(removed?),
            Err(error) => Err(OpenReplicasError::Folder(std::io::Error::other(error))),
        }
    }

    /// Closes all journals but that of the source. Blocks on files.
    pub(crate) fn close(&self) {
        let spares = self.spares.blocking_lock();
        let closed = spares.values().map(|spare| spare.close()).chain([self.ledger.close()]);
        for error in closed.filter_map(Result::err) {
            error!(source = self.source, %error, "journal of the replicas did not close cleanly");
        }
    }
}

const TICK: Duration = Duration::from_secs(1);
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(30);
const CROWDED_INTERVAL: Duration = Duration::from_secs(5);
