//! One source: what its ingest and its lanes share.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, PoisonError, RwLock, atomic::Ordering},
    time::Duration,
};

use prom_remote::{LabelEdit, LabelSplicer, Limits, RelabelRule};
use prom_remote_http::WriteVersion;
use sample_journal::{AppendError, Journal, JournalConfig, JournalHooks, Recovery};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use tracing::{error, info, warn};

use crate::{
    StartError,
    config::{Config, OnConflict, SourceConfig},
    dead_letters,
    ingest::{ActiveSeries, RateLimit},
    machine::Machine,
    metrics::{JournalSizes, LaneMetrics, LaneState, SourceMetrics},
    replicas::{self, ReplicaGroup},
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
    /// The label of the source and its value.
    pub(crate) label: String,
    pub(crate) value: String,
    pub(crate) splicer: LabelSplicer,
    pub(crate) on_conflict: OnConflict,
    pub(crate) rate: RateLimit,
    /// New series over this number are refused; no limit if 0.
    pub(crate) max_active_series: usize,
    pub(crate) active_series: Arc<ActiveSeries>,
    /// Rules for each series before it gets the label.
    pub(crate) relabel: Vec<RelabelRule>,
    /// Samples further ahead of the clock are refused; no limit if zero.
    pub(crate) future_limit: Duration,
    pub(crate) limits: Limits,
    /// The most requests at a time.
    pub(crate) max_in_flight: usize,
    pub(crate) journal: Arc<Journal>,
    /// Where several senders have the same series.
    pub(crate) replicas: Option<Arc<ReplicaGroup>>,
    pub(crate) dead_letters: Arc<Journal>,
    /// Changes after each commit of the journal.
    pub(crate) committed: watch::Receiver<u64>,
    pub(crate) metrics: Arc<SourceMetrics>,
    /// By destination.
    lanes: Arc<RwLock<BTreeMap<String, Arc<LaneMetrics>>>>,
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
        let splicer = splicer(config, source)?;
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
            label: config.label.clone(),
            value: source.value.clone(),
            splicer,
            on_conflict: source.on_conflict,
            rate: RateLimit::new(&source.limits),
            max_active_series: source.limits.active_series,
            active_series: Arc::default(),
            relabel: source.relabel.clone(),
            future_limit: source.future_limit,
            limits: source.limits.remote(),
            max_in_flight: source.limits.in_flight,
            journal: Arc::new(journal),
            replicas: None,
            dead_letters: Arc::new(dead_letters),
            committed,
            metrics: Arc::default(),
            lanes: Arc::default(),
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
            active_series: (self.max_active_series > 0)
                .then(|| self.active_series.count(Instant::now()) as u64),
            lanes: lanes.iter().map(lane).collect(),
        }
    }
}

fn splicer(config: &Config, source: &SourceConfig) -> Result<LabelSplicer, StartError> {
    let edit = match source.on_conflict {
        // Where it is refused at ingest, what was journalled before keeps its label.
        OnConflict::Export | OnConflict::Refuse => LabelEdit::add(&config.label, &source.value),
        OnConflict::Replace => LabelEdit::replace(&config.label, &source.value),
    };
    let edits = replicas::label_edits(source).into_iter().chain([edit]);
    LabelSplicer::with_edits(edits).map_err(StartError::Label)
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
/// The same of a remote-write 2.0 request.
pub(crate) const FORMAT_V2: u8 = 2;

/// The version that the records with this first byte are of.
pub(crate) fn version_of(format: u8) -> Option<WriteVersion> {
    [WriteVersion::V1, WriteVersion::V2].into_iter().find(|version| format_of(*version) == format)
}

/// The first byte of the records of a version.
pub(crate) fn format_of(version: WriteVersion) -> u8 {
    match version {
        WriteVersion::V1 => FORMAT_V1,
        WriteVersion::V2 => FORMAT_V2,
    }
}
