//! One source: what its ingest and its lane share.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use prom_remote::{Compressor, LabelEdit, LabelSplicer, Limits};
use sample_journal::{AppendError, Journal, JournalConfig, JournalHooks, Recovery};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use crate::{
    StartError,
    config::{Config, SourceConfig},
    dead_letters,
    machine::Machine,
    metrics::{JournalSizes, SourceMetrics},
    replicas::{MachineClock, MachineJournals, ReplicaGroup},
    token::Token,
};

/// The journals and counters of one source.
#[derive(Debug)]
pub(crate) struct SourceState {
    pub(crate) name: String,
    pub(crate) token: Option<Token>,
    /// The label of the source and its value.
    pub(crate) label: String,
    pub(crate) value: String,
    pub(crate) splicer: LabelSplicer,
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
    machine: Machine,
}

/// What making an outgoing body needs besides; worth keeping for the next one.
#[derive(Default)]
pub(crate) struct Workspace {
    labelled: Vec<u8>,
    compressor: Compressor,
}

impl SourceState {
    /// Opens both journals. Blocks on files.
    pub(crate) fn open(
        config: &Config,
        source: &SourceConfig,
        machine: &Machine,
    ) -> Result<Self, StartError> {
        let splicer = splicer(config, source)?;
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
            on_failure: failure_hook(&source.name, JOURNAL_KIND),
        };
        let journal = open_journal(config, machine, &source.name, JOURNAL_KIND, hooks)?;
        let hooks = JournalHooks {
            on_failure: failure_hook(&source.name, dead_letters::KIND),
            ..JournalHooks::default()
        };
        let dead_letters = open_journal(config, machine, &source.name, dead_letters::KIND, hooks)?;
        let metrics = SourceMetrics::default();
        let journal = Arc::new(journal);
        let replicas = open_replicas(config, source, machine, &journal)?;
        let cursor = journal
            .cursor(CURSOR)
            .map_err(|error| StartError::Cursor { name: source.name.clone(), source: error })?;
        metrics.delivered_position.store(cursor.position().as_u64(), Ordering::Relaxed);
        Ok(Self {
            name: source.name.clone(),
            token,
            label: config.label.clone(),
            value: source.value.clone(),
            splicer,
            future_limit: source.future_limit,
            limits: config.remote_limits(),
            journal,
            replicas,
            dead_letters: Arc::new(dead_letters),
            committed,
            metrics,
            machine: machine.clone(),
        })
    }

    /// Makes of a message what goes out: with the label, compressed.
    pub(crate) fn outgoing_body(&self, message: &[u8], workspace: &mut Workspace) -> Result<Bytes, String> {
        let Workspace { labelled, compressor } = workspace;
        let mut body = Vec::new();
        self.splicer.splice(message, &self.limits, labelled).map_err(|error| error.to_string())?;
        compressor.compress(labelled, &mut body).map_err(|error| error.to_string())?;
        Ok(body.into())
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.machine.clock.now_ms()
    }

    pub(crate) fn sizes(&self) -> JournalSizes {
        let statistics = self.journal.statistics();
        let dead_letters = self.dead_letters.statistics();
        let delivered = self.metrics.delivered_position.load(Ordering::Relaxed);
        JournalSizes {
            disk_bytes: statistics.bytes_on_disk,
            queued_bytes: statistics.pending_bytes,
            undelivered_records: statistics.durable_end.as_u64().saturating_sub(delivered),
            failed_commits: statistics.failed_commits,
            commits: statistics.commits,
            dead_letter_bytes: dead_letters.bytes_on_disk,
            dead_letter_records: dead_letters.records,
        }
    }
}

/// The label of the source, without that of its replicas.
fn splicer(config: &Config, source: &SourceConfig) -> Result<LabelSplicer, StartError> {
    let replica = source.replicas.as_ref().and_then(|replicas| replicas.label.as_ref());
    let edits =
        replica.map(LabelEdit::drop).into_iter().chain([LabelEdit::add(&config.label, &source.value)]);
    LabelSplicer::with_edits(edits).map_err(StartError::Label)
}

fn open_replicas(
    config: &Config,
    source: &SourceConfig,
    machine: &Machine,
    journal: &Arc<Journal>,
) -> Result<Option<Arc<ReplicaGroup>>, StartError> {
    let Some(replicas) = &source.replicas else {
        // Nothing is held for replicas that there were.
        return match journal.remove_cursor(REPLICAS_CURSOR) {
            Ok(()) => Ok(None),
            Err(error) => Err(StartError::Cursor { name: source.name.clone(), source: error }),
        };
    };
    let group = ReplicaGroup::open(
        &source.name,
        replicas,
        config.remote_limits(),
        (Arc::clone(journal), config.journal.max_bytes),
        Box::new(MachineJournals::new(config, machine, &source.name, replicas)),
        Box::new(MachineClock::new(machine)),
    );
    match group {
        Ok(group) => Ok(Some(Arc::new(group))),
        Err(error) => Err(StartError::Replicas { name: source.name.clone(), source: Box::new(error) }),
    }
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
/// In the journal of a source with replicas: what no checkpoint of theirs knows.
pub(crate) const REPLICAS_CURSOR: &str = "replicas";
pub(crate) const CURSOR: &str = "tsdb";
/// The first byte of a journal record: the rest is a snappy block of a remote-write 1.0 request.
pub(crate) const FORMAT_V1: u8 = 1;
