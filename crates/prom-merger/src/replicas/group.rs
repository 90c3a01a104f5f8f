//! The replicas of one source at work: their journals, the gate between requests and takeovers, and what is told about it.

mod open;
mod takeover;
#[cfg(test)]
mod tests;
mod upkeep;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use prom_remote::{
    CompressionError, Compressor, DecodeError, Limits, Summary, WriteRequestV2View, WriteRequestView,
    decompress,
};
use prom_remote_http::WriteVersion;
use sample_journal::{AppendError, Journal};
use thiserror::Error;
use tokio::{
    sync::{OwnedRwLockReadGuard, RwLock, oneshot},
    task::{JoinError, spawn_blocking},
};

pub(crate) use self::open::{Journals, OpenReplicasError};
use self::takeover::TakeoverError;
use super::{
    by_label::{ByLabelError, by_label},
    election::{Role, TooManyReplicas},
    filter::{Message, Part, Selected, select},
    identity::{SeriesKeys, is_replica_name},
    ledger::Ledger,
    memory::Progress,
    merge::Merge,
    metrics::ReplicaMetrics,
    record::format_of,
    spare::{Spare, SpareHeader},
};
use crate::config::ReplicasConfig;

/// The replicas of one source.
pub(crate) struct ReplicaGroup {
    pub(super) source: String,
    config: ReplicasConfig,
    limits: Limits,
    keys: SeriesKeys,
    /// The journal of the source.
    main: Arc<Journal>,
    /// The most bytes that it may have.
    main_bytes: u64,
    journals: Box<dyn Journals>,
    ledger: Ledger,
    merge: Mutex<Merge>,
    /// By name. Locked asynchronously by whoever opens or removes one.
    spares: tokio::sync::Mutex<BTreeMap<String, Arc<Spare>>>,
    /// Shared by what is on its way into the journal of the source; taken whole by takeovers and checkpoints.
    gate: Arc<RwLock<()>>,
    clock: Box<dyn Clock>,
    pub(super) metrics: ReplicaMetrics,
}

/// What tells the time.
pub(crate) trait Clock: Send + Sync {
    /// Milliseconds since the clock began; never goes back.
    fn monotonic_ms(&self) -> i64;
    /// Milliseconds since the Unix epoch.
    fn wall_ms(&self) -> i64;
}

impl fmt::Debug for ReplicaGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaGroup").field("source", &self.source).finish_non_exhaustive()
    }
}

/// A request whose series are all valid.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) version: WriteVersion,
    /// A snappy block of the message.
    pub(crate) compressed: Bytes,
    pub(crate) message: Bytes,
}

/// Why a request is not stored.
#[derive(Debug, Error)]
pub(crate) enum ReplicaError {
    #[error(transparent)]
    TooMany(#[from] TooManyReplicas),
    #[error(transparent)]
    ByLabel(#[from] ByLabelError),
    #[error("replica {name:?} is not one of the configured names: {}", known.join(", "))]
    Unknown { name: String, known: Vec<String> },
    #[error(
        "the name of a replica has {bytes} bytes, which is none or more than a folder can be named after"
    )]
    Name { bytes: usize },
    #[error("the replica was replaced by another one just now")]
    Replaced,
    #[error("journal: {0}")]
    Journal(AppendError),
    #[error("spare data: {0}")]
    Spare(AppendError),
    #[error("journal of a replica: {0}")]
    Open(#[from] OpenReplicasError),
    #[error("a replica cannot take over: {0}")]
    Takeover(#[from] TakeoverError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Compress(#[from] CompressionError),
    #[error("file work broke off: {0}")]
    Broken(#[from] JoinError),
}

impl Incoming {
    /// Decodes the body of a request.
    pub(crate) fn new(
        version: WriteVersion,
        compressed: Bytes,
        limits: &Limits,
    ) -> Result<Self, ReplicaError> {
        let mut message = Vec::new();
        decompress(&compressed, limits, &mut message)?;
        Ok(Self { version, compressed, message: message.into() })
    }
}

impl ReplicaError {
    /// Whether the same request may be stored later, so that its sender should come again. It is so too where the configuration
    /// must be changed before: nothing is lost meanwhile.
    pub(crate) fn is_for_now(&self) -> bool {
        match self {
            Self::TooMany(_)
            | Self::Replaced
            | Self::Unknown { .. }
            | Self::ByLabel(ByLabelError::TooMany { .. }) => true,
            Self::Journal(cause) | Self::Spare(cause) | Self::Takeover(TakeoverError::Append(cause)) => {
                matches!(cause, AppendError::Full | AppendError::Overloaded | AppendError::Closed)
            }
            _ => false,
        }
    }
}

impl ReplicaGroup {
    /// Makes a request durable, in the journal of the source or as spare data. `replica` is the one that the path names.
    pub(crate) async fn take(
        self: &Arc<Self>,
        replica: Option<&str>,
        incoming: Incoming,
    ) -> Result<(), ReplicaError> {
        let (Some(label), None) = (self.keys.replica_label(), replica) else {
            return match replica {
                Some(replica) => self.take_of(replica, incoming).await,
                None => self.pass(incoming, Vec::new(), None).await,
            };
        };
        let message = Message { version: incoming.version, bytes: &incoming.message };
        let parts = by_label(message, label, &self.limits, self.config.maximum)?;
        for part in parts {
            let incoming = match part.part {
                Part::All => incoming.clone(),
                Part::Some(message) => compress(incoming.version, message)?,
                Part::Nothing => continue,
            };
            match part.replica {
                Some(replica) => self.take_of(&replica, incoming).await?,
                None => self.pass(incoming, Vec::new(), None).await?,
            }
        }
        Ok(())
    }

    /// The same of what one replica has sent.
    async fn take_of(self: &Arc<Self>, replica: &str, incoming: Incoming) -> Result<(), ReplicaError> {
        let summary = self.summary(incoming.version, &incoming.message)?;
        let (member, spare) = self.spare_of(replica).await?;
        if summary.timestamps.is_none() {
            // Metadata, say: nothing to hear of the replica's targets.
            let is_spoken_for = self.merge().election.elected().is_some_and(|elected| elected != member);
            return match is_spoken_for {
                true => self.keep(&spare, &incoming, &summary).await,
                false => self.pass(incoming, Vec::new(), None).await,
            };
        }
        loop {
            let role = self.merge().hear(member, replica, self.now_ms());
            match role.ok_or(ReplicaError::Replaced)? {
                Role::Spare => return self.keep(&spare, &incoming, &summary).await,
                Role::Successor => self.take_over(member, replica, &spare).await?,
                Role::Elected => {
                    let guard = Arc::clone(&self.gate).read_owned().await;
                    // Another one may have taken over while this one waited.
                    if self.merge().election.elected() == Some(member) {
                        return self.deliver(incoming, &spare, guard).await;
                    }
                }
            }
        }
    }

    async fn deliver(
        self: &Arc<Self>,
        incoming: Incoming,
        spare: &Arc<Spare>,
        guard: OwnedRwLockReadGuard<()>,
    ) -> Result<(), ReplicaError> {
        let Incoming { version, message, .. } = &incoming;
        let Selected { part, rest, rest_samples, progress, .. } =
            self.select(*version, message, |merge, keys| merge.floors_ms(keys))?;
        if let Part::Some(rest) = rest {
            let rest = compress(*version, rest)?;
            let summary = self.summary(*version, &rest.message)?;
            self.keep(spare, &rest, &summary).await?;
            self.metrics.late_samples.add(rest_samples);
        }
        match part {
            Part::All => self.pass(incoming, progress, Some(guard)).await,
            Part::Some(part) => self.pass(compress(*version, part)?, progress, Some(guard)).await,
            Part::Nothing => Ok(()),
        }
    }

    fn select(
        &self,
        version: WriteVersion,
        message: &[u8],
        bounds_ms: impl FnOnce(&Merge, &mut dyn Iterator<Item = super::identity::SeriesKey>) -> Vec<i64>,
    ) -> Result<Selected, DecodeError> {
        select(Message { version, bytes: message }, &self.keys, &self.limits, |keys| {
            bounds_ms(&self.merge(), keys)
        })
    }

    /// Appends to the journal of the source. What gets durable is noted before the guard is let go, even if nobody waits any
    /// more.
    async fn pass(
        self: &Arc<Self>,
        incoming: Incoming,
        progress: Vec<Progress>,
        guard: Option<OwnedRwLockReadGuard<()>>,
    ) -> Result<(), ReplicaError> {
        let (sender, receiver) = oneshot::channel();
        let group = Arc::clone(self);
        let format = [format_of(incoming.version)];
        self.main.append(&[&format, &incoming.compressed], move |result| {
            if result.is_ok() {
                group.merge().advance(&progress);
            }
            drop(guard);
            let _ = sender.send(result);
        });
        receiver.await.unwrap_or(Err(AppendError::Closed)).map(|_| ()).map_err(ReplicaError::Journal)
    }

    /// Appends to the spare data.
    async fn keep(
        &self,
        spare: &Arc<Spare>,
        incoming: &Incoming,
        summary: &Summary,
    ) -> Result<(), ReplicaError> {
        let header = SpareHeader {
            version: incoming.version,
            arrival_ms: self.clock.wall_ms(),
            latest_ms: summary.timestamps.map_or(i64::MIN, |bounds| bounds.max_ms),
            samples: (summary.samples + summary.histograms) as u64,
        };
        let gone = spare.append(header, &incoming.compressed).await.map_err(ReplicaError::Spare)?;
        self.metrics.spare_samples.add(header.samples);
        self.count_released_early(gone);
        Ok(())
    }

    fn summary(&self, version: WriteVersion, message: &[u8]) -> Result<Summary, DecodeError> {
        match version {
            WriteVersion::V1 => WriteRequestView::new(message).summary(&self.limits),
            WriteVersion::V2 => WriteRequestV2View::new(message, &self.limits)?.summary(&self.limits),
        }
    }

    /// The number of a replica and its spare data, which is begun if it is new.
    async fn spare_of(self: &Arc<Self>, replica: &str) -> Result<(usize, Arc<Spare>), ReplicaError> {
        if !is_replica_name(replica) {
            return Err(ReplicaError::Name { bytes: replica.len() });
        }
        let known = &self.config.names;
        if !known.is_empty() && !known.iter().any(|name| name == replica) {
            return Err(ReplicaError::Unknown { name: replica.to_owned(), known: known.clone() });
        }
        let mut spares = self.spares.lock().await;
        let admission = self.merge().admit(replica, self.now_ms())?;
        if let Some(replaced) = &admission.replaced {
            self.forget(replaced, spares.remove(replaced)).await?;
        }
        if let Some(spare) = spares.get(replica) {
            return Ok((admission.member, Arc::clone(spare)));
        }
        let (group, name) = (Arc::clone(self), replica.to_owned());
        let spare = Arc::new(spawn_blocking(move || group.open_spare(&name)).await??);
        spares.insert(replica.to_owned(), Arc::clone(&spare));
        Ok((admission.member, spare))
    }

    fn now_ms(&self) -> i64 {
        self.clock.monotonic_ms()
    }

    fn merge(&self) -> MutexGuard<'_, Merge> {
        self.merge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn compress(version: WriteVersion, message: Vec<u8>) -> Result<Incoming, CompressionError> {
    let mut compressed = Vec::new();
    Compressor::new().compress(&message, &mut compressed)?;
    Ok(Incoming { version, compressed: compressed.into(), message: message.into() })
}
