//! What a group begins with: its journals, and what a former run has left in them.

use std::{collections::BTreeMap, io, sync::Arc};

use prom_remote::{Limits, decompress};
use sample_journal::{CursorError, Journal, Position, ReadError};
use thiserror::Error;
use tokio::sync::RwLock;
use tracing::{error, info, warn};

use super::{Clock, ReplicaGroup, select};
use crate::{
    StartError,
    config::ReplicasConfig,
    replicas::{
        filter::Message,
        identity::SeriesKeys,
        ledger::{Checkpoint, Ledger, LedgerError, Recovered},
        merge::{Merge, MergeConfig},
        metrics::ReplicaMetrics,
        record::version_of,
        spare::{Spare, SpareError},
    },
    source::REPLICAS_CURSOR,
};

/// Where the journals of a group come from; all block on files.
pub(crate) trait Journals: Send + Sync {
    /// Opens the journal of the ledger.
    fn ledger(&self) -> Result<Journal, StartError>;
    /// Opens the journal of a replica, with its bound in bytes.
    fn spare(&self, replica: &str) -> Result<(Journal, u64), StartError>;
    /// The replicas that have a journal.
    fn replicas(&self) -> io::Result<Vec<String>>;
    /// Removes the journal of a replica, which is closed.
    fn remove(&self, replica: &str) -> io::Result<()>;
}

/// Why a group cannot begin, or a replica not be added.
#[derive(Debug, Error)]
pub(crate) enum OpenReplicasError {
    #[error(transparent)]
    Start(#[from] Box<StartError>),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Spare(#[from] SpareError),
    #[error("cannot place the cursor of the replicas")]
    Cursor(#[from] CursorError),
    #[error("cannot read the journal of the source")]
    Read(#[from] ReadError),
    #[error("cannot list or remove journals of replicas")]
    Folder(#[from] io::Error),
}

impl ReplicaGroup {
    /// Opens the ledger and the spare data, and finds out how far every series is. Blocks on files.
    pub(crate) fn open(
        source: &str,
        config: &ReplicasConfig,
        limits: Limits,
        (main, main_bytes): (Arc<Journal>, u64),
        journals: Box<dyn Journals>,
        clock: Box<dyn Clock>,
    ) -> Result<Self, OpenReplicasError> {
        let (ledger, Recovered { elected, checkpoint }) = Ledger::open(journals.ledger().map_err(Box::new)?)?;
        let keys = SeriesKeys::new(config.label.as_deref());
        let mut merge = Merge::new(&MergeConfig {
            maximum: config.maximum,
            freshness: config.freshness,
            spare_retention: config.spare_retention,
            active_series: config.active_series,
        });
        let cursor = main.cursor(REPLICAS_CURSOR)?;
        let from = restore(&mut merge, &keys, checkpoint, source);
        let from = from.map_or(cursor.position(), Position::from_u64);
        replay(&mut merge, &keys, &limits, &main, from)?;
        merge.memory.begin_term();
        let now_ms = clock.monotonic_ms();
        let mut spares = BTreeMap::new();
        if let Some((elected, term)) = elected {
            // It was heard when it sent the latest that was delivered, about.
            let age_ms = merge.memory.latest_ms().map_or(0, |latest| clock.wall_ms().saturating_sub(latest));
            merge.election.resume(&elected, term, now_ms.saturating_sub(age_ms.max(0)));
        }
        for replica in journals.replicas()? {
            let is_configured = config.names.is_empty() || config.names.contains(&replica);
            if !is_configured || merge.admit(&replica, now_ms).is_err() {
                warn!(
                    source,
                    replica, "journal of a replica that is not configured, or one too many, is left alone"
                );
                continue;
            }
            spares.insert(replica.clone(), Arc::new(open_spare(&*journals, &replica, config)?));
        }
        let (series, known) = (merge.memory.len(), spares.len());
        let elected = merge.election.elected().and_then(|elected| merge.election.names().nth(elected));
        info!(source, series, replicas = known, elected, "replicas are ready");
        Ok(Self {
            source: source.to_owned(),
            config: config.clone(),
            limits,
            keys,
            main,
            main_bytes,
            journals,
            ledger,
            merge: merge.into(),
            spares: spares.into(),
            gate: Arc::new(RwLock::new(())),
            clock,
            metrics: ReplicaMetrics::default(),
        })
    }

    pub(super) fn open_spare(&self, replica: &str) -> Result<Spare, OpenReplicasError> {
        open_spare(&*self.journals, replica, &self.config)
    }
}

fn open_spare(
    journals: &dyn Journals,
    replica: &str,
    config: &ReplicasConfig,
) -> Result<Spare, OpenReplicasError> {
    let (journal, max_bytes) = journals.spare(replica).map_err(Box::new)?;
    Ok(Spare::open(journal, config.spare_retention, max_bytes)?)
}

/// Takes over a checkpoint; returns the first record that it does not know.
fn restore(
    merge: &mut Merge,
    keys: &SeriesKeys,
    checkpoint: Option<Checkpoint>,
    source: &str,
) -> Option<u64> {
    let Checkpoint { head, series } = checkpoint?;
    merge.memory.raise_forgotten(head.forgotten_ms);
    if head.keys_version == keys.version() {
        merge.advance(&series);
    } else if let Some(latest) = series.iter().map(|progress| progress.last_ms).max() {
        // The keys mean other series now: nothing up to there is delivered again.
        warn!(
            source,
            latest, "series are told apart in another way than before, all are taken as delivered so far"
        );
        merge.memory.raise_forgotten(latest);
    }
    Some(head.position)
}

/// Reads on in the journal of the source.
fn replay(
    merge: &mut Merge,
    keys: &SeriesKeys,
    limits: &Limits,
    main: &Journal,
    from: Position,
) -> Result<(), ReadError> {
    let mut reader = main.reader(from);
    let (mut payload, mut message) = (Vec::new(), Vec::new());
    loop {
        match reader.next(&mut payload) {
            Ok(None) => return Ok(()),
            Ok(Some(_)) => {}
            Err(error @ ReadError::Storage { .. }) => return Err(error),
            Err(ReadError::Released { .. }) => continue,
            Err(damage) => {
                error!(%damage, "how far some series were is not known");
                continue;
            }
        }
        let Some((format, body)) = payload.split_first() else { continue };
        let Some(version) = version_of(*format) else { continue };
        if decompress(body, limits, &mut message).is_err() {
            continue;
        }
        let message = Message { version, bytes: &message };
        let all = |keys: &mut dyn Iterator<Item = _>| keys.map(|_| i64::MIN).collect();
        if let Ok(selected) = select(message, keys, limits, all) {
            merge.advance(&selected.progress);
        }
    }
}
