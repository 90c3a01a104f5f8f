//! One source: what its ingest and its lane share.

use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use prom_remote::{Compressor, LabelSplicer, Limits};
use sample_journal::{AppendError, DiskStorage, Journal, JournalHooks, Recovery};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use crate::{
    StartError,
    config::{Config, SourceConfig},
    dead_letters,
    metrics::{JournalSizes, SourceMetrics},
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
    pub(crate) dead_letters: Arc<Journal>,
    /// Changes after each commit of the journal.
    pub(crate) committed: watch::Receiver<u64>,
    pub(crate) metrics: SourceMetrics,
}

impl SourceState {
    /// Opens both journals. Blocks on files.
    pub(crate) fn open(config: &Config, source: &SourceConfig) -> Result<Self, StartError> {
        let splicer = LabelSplicer::new(&config.label, &source.value).map_err(StartError::Label)?;
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
        let journal = open_journal(config, &source.name, JOURNAL_KIND, hooks)?;
        let hooks = JournalHooks {
            on_failure: failure_hook(&source.name, dead_letters::KIND),
            ..JournalHooks::default()
        };
        let dead_letters = open_journal(config, &source.name, dead_letters::KIND, hooks)?;
        let metrics = SourceMetrics::default();
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
            journal: Arc::new(journal),
            dead_letters: Arc::new(dead_letters),
            committed,
            metrics,
        })
    }

    /// Makes of a message what goes out: with the label, compressed.
    pub(crate) fn outgoing_body(&self, message: &[u8]) -> Result<Bytes, String> {
        let (mut labelled, mut body) = (Vec::new(), Vec::new());
        self.splicer.splice(message, &self.limits, &mut labelled).map_err(|error| error.to_string())?;
        Compressor::new().compress(&labelled, &mut body).map_err(|error| error.to_string())?;
        Ok(body.into())
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

fn failure_hook(source: &str, kind: &'static str) -> Box<dyn Fn(&io::Error) + Send + Sync> {
    let source = source.to_owned();
    Box::new(
        move |error| error!(source, kind, %error, "journal commit failed, nothing of it is acknowledged"),
    )
}

/// Opens a journal of a source, in a folder that is made if need be. Blocks on files.
pub(crate) fn open_journal(
    config: &Config,
    name: &str,
    kind: &str,
    hooks: JournalHooks,
) -> Result<Journal, StartError> {
    let parent = config.data.join(kind);
    create_durably(&parent).map_err(|error| StartError::Folder { path: parent.clone(), source: error })?;
    let storage = DiskStorage::open(parent.join(name))
        .map_err(|error| StartError::Storage { name: name.to_owned(), source: error })?;
    let (journal, recovery) = Journal::open(storage, config.journal_config(kind, name), hooks)
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

/// Creates a folder and those above it, each durable before the next.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_durably(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(parent)?.sync_all()
}

/// Appends a record and waits until it is durable.
pub(crate) async fn append(journal: &Journal, parts: &[&[u8]]) -> Result<(), AppendError> {
    let (sender, receiver) = oneshot::channel();
    journal.append(parts, move |result| {
        let _ = sender.send(result);
    });
    receiver.await.unwrap_or(Err(AppendError::Closed)).map(|_| ())
}

pub(crate) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) const JOURNAL_KIND: &str = "journal";
pub(crate) const CURSOR: &str = "tsdb";
/// The first byte of a journal record: the rest is a snappy block of a remote-write 1.0 request.
pub(crate) const FORMAT_V1: u8 = 1;
