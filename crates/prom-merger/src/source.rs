//! One source: what its ingest and its lanes share.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, PoisonError, RwLock, atomic::Ordering},
    time::Duration,
};

use prom_remote::{LabelEdit, LabelSplicer, Limits, RelabelRule};
use sample_journal::{AppendError, Journal, JournalConfig, JournalHooks, Recovery};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use crate::{
    StartError,
    config::{Config, SourceConfig},
    dead_letters,
    machine::Machine,
    metrics::{JournalSizes, LaneMetrics, LaneState, SourceMetrics},
    replicas::{self, ReplicaGroup},
    token::Token,
};

/// Which journals a source has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kinds {
    journal: &'static str,
    dead_letters: &'static str,
}

impl Kinds {
    pub(crate) const LIVE: Self = Self { journal: JOURNAL_KIND, dead_letters: dead_letters::KIND };
    /// Those of a backfill, which may run beside a merger.
    pub(crate) const BACKFILL: Self = Self { journal: "backfill", dead_letters: "backfill-dead-letters" };
}

/// The journals and counters of one source.
#[derive(Debug)]
pub(crate) struct SourceState {
    pub(crate) name: String,
    pub(crate) token: Option<Token>,
    /// The label of the source and its value.
    pub(crate) label: String,
    pub(crate) value: String,
    pub(crate) splicer: LabelSplicer,
    /// Rules for each series before it gets the label.
    pub(crate) relabel: Vec<RelabelRule>,
    /// Samples further ahead of the clock are refused; no limit if zero.
    pub(crate) future_limit: Duration,
    pub(crate) limits: Limits,
    pub(crate) journal: Arc<Journal>,
    /// Where several senders have the same series.
    pub(crate) replicas: Option<Arc<ReplicaGroup>>,
    pub(crate) dead_letters: Arc<Journal>,
    /// Changes after each commit of the journal.
    pub(crate) committed: watch::Receiver<u64>,
    pub(crate) metrics: SourceMetrics,
    /// By destination.
    lanes: RwLock<BTreeMap<String, Arc<LaneMetrics>>>,
    machine: Machine,
}

impl SourceState {
    /// Opens both journals. Blocks on files.
    pub(crate) fn open(
        config: &Config,
        source: &SourceConfig,
        machine: &Machine,
    ) -> Result<Self, StartError> {
        let mut state = Self::open_as(config, source, machine, Kinds::LIVE)?;
        state.replicas = replicas::open(config, source, machine, &state.journal)?;
        Ok(state)
    }

    /// The same with journals of other kinds, and without replicas.
    pub(crate) fn open_as(
        config: &Config,
        source: &SourceConfig,
        machine: &Machine,
        kinds: Kinds,
    ) -> Result<Self, StartError> {
        let edits =
            replicas::label_edits(source).into_iter().chain([LabelEdit::add(&config.label, &source.value)]);
        let splicer = LabelSplicer::with_edits(edits).map_err(StartError::Label)?;
        let token = match &source.token_file {
            None => None,
            Some(path) => {
                let failed = |source| StartError::Token { path: path.clone(), source };
                Some(Token::read(path).map_err(failed)?)
            }
        };
        let (sender, committed) = watch::channel(0);
        let hooks = JournalHooks {
            on_commit: Box::new(move |end| {
                sender.send_replace(end.as_u64());
            }),
            on_failure: failure_hook(&source.name, kinds.journal),
        };
        let journal = open_journal(config, machine, &source.name, kinds.journal, hooks)?;
        let hooks = JournalHooks {
            on_failure: failure_hook(&source.name, kinds.dead_letters),
            ..JournalHooks::default()
        };
        let dead_letters = open_journal(config, machine, &source.name, kinds.dead_letters, hooks)?;
        forget_cursors(config, &source.name, &journal)?;
        Ok(Self {
            name: source.name.clone(),
            token,
            label: config.label.clone(),
            value: source.value.clone(),
            splicer,
            relabel: Vec::new(),
            future_limit: source.future_limit,
            limits: config.remote_limits(),
            journal: Arc::new(journal),
            replicas: None,
            dead_letters: Arc::new(dead_letters),
            committed,
            metrics: SourceMetrics::default(),
            lanes: RwLock::default(),
            machine: machine.clone(),
        })
    }

    /// The counters of the lane to a destination. From now on its cursor keeps the journal. Blocks on files if the cursor
    /// is new.
    pub(crate) fn open_lane(&self, destination: &str) -> Result<Arc<LaneMetrics>, StartError> {
        let cursor = self.journal.cursor(destination).map_err(|source| StartError::Cursor {
            name: self.name.clone(),
            destination: destination.to_owned(),
            source,
        })?;
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        let metrics = lanes.entry(destination.to_owned()).or_insert_with(|| {
            let metrics = LaneMetrics::default();
            metrics.delivered_position.store(cursor.position().as_u64(), Ordering::Relaxed);
            Arc::new(metrics)
        });
        Ok(Arc::clone(metrics))
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.machine.clock.now_ms()
    }

    pub(crate) fn sizes(&self) -> JournalSizes {
        let statistics = self.journal.statistics();
        let dead_letters = self.dead_letters.statistics();
        let end = statistics.durable_end.as_u64();
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        let lane = |(destination, metrics): (&String, &Arc<LaneMetrics>)| LaneState {
            destination: destination.clone(),
            metrics: Arc::clone(metrics),
            undelivered_records: end.saturating_sub(metrics.delivered_position.load(Ordering::Relaxed)),
        };
        JournalSizes {
            disk_bytes: statistics.bytes_on_disk,
            max_bytes: statistics.max_bytes,
            queued_bytes: statistics.pending_bytes,
            failed_commits: statistics.failed_commits,
            commits: statistics.commits,
            dead_letter_bytes: dead_letters.bytes_on_disk,
            dead_letter_max_bytes: dead_letters.max_bytes,
            dead_letter_records: dead_letters.records,
            lanes: lanes.iter().map(lane).collect(),
        }
    }
}

/// Forgets what the configuration says is gone for good, and tells of cursors that nothing moves any more.
fn forget_cursors(config: &Config, source: &str, journal: &Journal) -> Result<(), StartError> {
    let end = journal.durable_end().as_u64();
    for (destination, position) in journal.cursors() {
        let is_known = config.destinations.iter().any(|known| known.name == destination)
            || destination == REPLICAS_CURSOR;
        let undelivered = end.saturating_sub(position.as_u64());
        if is_known {
            continue;
        }
        if !config.forgotten_destinations.contains(&destination) {
            warn!(
                source,
                destination,
                undelivered,
                "no such destination any more: its place keeps the journal until it is a destination again, or stands in \
                 forgotten_destinations"
            );
            continue;
        }
        journal.remove_cursor(&destination).map_err(|error| StartError::Cursor {
            name: source.to_owned(),
            destination: destination.clone(),
            source: error,
        })?;
        warn!(source, destination, undelivered, "destination is forgotten");
    }
    Ok(())
}

pub(crate) fn failure_hook(source: &str, kind: &'static str) -> Box<dyn Fn(&io::Error) + Send + Sync> {
    let source = source.to_owned();
    Box::new(
        move |error| error!(source, kind, %error, "journal commit failed, nothing of it is acknowledged"),
    )
}

/// Opens a journal of a source, which is made if need be. Blocks on files.
pub(crate) fn open_journal(
    config: &Config,
    machine: &Machine,
    name: &str,
    kind: &str,
    hooks: JournalHooks,
) -> Result<Journal, StartError> {
    open_journal_with(machine, name, kind, config.journal_config(kind, name), hooks)
}

/// The same with limits of its own.
pub(crate) fn open_journal_with(
    machine: &Machine,
    name: &str,
    kind: &str,
    config: JournalConfig,
    hooks: JournalHooks,
) -> Result<Journal, StartError> {
    let storage = machine.disks.open(kind, name)?;
    let (journal, recovery) = Journal::open(storage, config, hooks)
        .map_err(|error| StartError::Journal { name: name.to_owned(), source: error })?;
    tell(name, kind, &recovery);
    Ok(journal)
}

fn tell(source: &str, kind: &str, recovery: &Recovery) {
    let Recovery { records, segments, torn_tail, copied_records, .. } = recovery;
    info!(source, kind, records, segments, copied_records, "journal open");
    if let Some(torn) = torn_tail {
        let (file, offset, bytes) = (&torn.file, torn.offset, torn.bytes);
        warn!(source, kind, file, offset, bytes, "unacknowledged end of the journal was torn and is cut off");
    }
    for damage in &recovery.damage {
        error!(source, kind, ?damage, "journal is damaged");
    }
}

/// Appends a record and waits until it is durable.
pub(crate) async fn append(journal: &Journal, parts: &[&[u8]]) -> Result<(), AppendError> {
    let (sender, receiver) = oneshot::channel();
    journal.append(parts, move |result| {
        let _ = sender.send(result);
    });
    receiver.await.unwrap_or(Err(AppendError::Closed)).map(|_| ())
}

pub(crate) const JOURNAL_KIND: &str = "journal";
/// In the journal of a source with replicas: what no checkpoint of theirs knows. No destination has this name.
pub(crate) const REPLICAS_CURSOR: &str = "_replicas";
/// The first byte of a journal record: the rest is a snappy block of a remote-write 1.0 request.
pub(crate) const FORMAT_V1: u8 = 1;
/// Likewise of remote write 2.0.
pub(crate) const FORMAT_V2: u8 = 2;
