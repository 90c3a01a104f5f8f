//! What a lane reads and prepares with: its reader, its cursor, and the request at hand.

use std::{
    error::Error,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use prom_remote::{Limits, Summary, WriteRequestView, decompress};
use sample_journal::{Cursor, CursorError, Position, ReadError, Reader};
use tokio::task::{JoinError, spawn_blocking};

use super::order;
use crate::source::{CURSOR, FORMAT_V1, SourceState, Workspace};

/// Goes to a blocking thread and comes back.
#[derive(Default)]
pub(super) struct Bench {
    tools: Option<Tools>,
    /// The record at hand, format byte included.
    pub(super) payload: Vec<u8>,
    pub(super) progress: Progress,
}

struct Tools {
    source: Arc<SourceState>,
    reader: Reader,
    cursor: Cursor,
    decoded: Vec<u8>,
    /// Reused from record to record.
    workspace: Workspace,
    /// Records read since the cursor was opened.
    records: u64,
}

pub(super) enum Found {
    Nothing,
    Prepared(Prepared),
    /// A record that this version, or these limits, cannot make sense of.
    Unreadable {
        next: Position,
        reason: String,
    },
    Skipped(ReadError),
    Failed(ReadError),
}

/// A record ready to be sent.
pub(super) struct Prepared {
    /// One request, or several if the sender's runs backwards in time.
    pub(super) requests: Vec<Outgoing>,
    pub(super) summary: Summary,
    pub(super) next: Position,
    /// An earlier run of the lane may have delivered it: the stored cursor lags behind.
    pub(super) may_be_stored: bool,
}

/// A request as it goes out.
pub(super) struct Outgoing {
    /// With the label, compressed.
    pub(super) body: Bytes,
    pub(super) summary: Summary,
    /// The message without the label; `None` if it is the whole record.
    pub(super) raw: Option<Vec<u8>>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum OpenBenchError {
    #[error("cursor cannot be opened: {0}")]
    Cursor(#[from] CursorError),
    #[error("file work panicked: {0}")]
    Panic(#[from] JoinError),
}

impl Bench {
    pub(super) async fn open(source: Arc<SourceState>) -> Result<Self, OpenBenchError> {
        let tools = spawn_blocking(move || {
            let cursor = source.journal.cursor(CURSOR)?;
            let reader = source.journal.reader(cursor.position());
            let (decoded, workspace) = (Vec::new(), Workspace::default());
            Ok::<_, CursorError>(Tools { source, reader, cursor, decoded, workspace, records: 0 })
        })
        .await??;
        Ok(Self { tools: Some(tools), ..Self::default() })
    }

    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    pub(super) fn position(&self) -> Position {
        self.tools.as_ref().map_or(Position::START, |tools| tools.reader.position())
    }

    pub(super) fn next(&mut self) -> Found {
        let Some(tools) = &mut self.tools else { return Found::Nothing };
        let record = match tools.reader.next(&mut self.payload) {
            Ok(Some(record)) => record,
            Ok(None) => return Found::Nothing,
            Err(error @ ReadError::Storage { .. }) => return Found::Failed(error),
            Err(error) => return Found::Skipped(error),
        };
        tools.records += 1;
        let may_be_stored = tools.records <= STORE_RECORDS;
        match tools.prepare(&self.payload) {
            Ok((requests, summary)) => {
                Found::Prepared(Prepared { requests, summary, next: record.next, may_be_stored })
            }
            Err(reason) => Found::Unreadable { next: record.next, reason },
        }
    }

    pub(super) fn store(&mut self) -> Result<(), String> {
        let Some(tools) = &mut self.tools else { return Ok(()) };
        let Some(position) = self.progress.position else { return Ok(()) };
        self.progress.stored_at = Instant::now();
        tools.cursor.store(position).map_err(|error| chain(&error))?;
        self.progress.position = None;
        self.progress.records = 0;
        tools.source.journal.release().map_err(|error| chain(&error))?;
        Ok(())
    }
}

impl Tools {
    fn prepare(&mut self, payload: &[u8]) -> Result<(Vec<Outgoing>, Summary), String> {
        decode(payload, &self.source.limits, &mut self.decoded)?;
        let summary = WriteRequestView::new(&self.decoded)
            .summary(&self.source.limits)
            .map_err(|error| error.to_string())?;
        let workspace = &mut self.workspace;
        let is_of_one_time = summary.timestamps.is_none_or(|bounds| bounds.min_ms == bounds.max_ms);
        let layers = if is_of_one_time {
            None
        } else {
            order::layers(&self.decoded).map_err(|error| error.to_string())?
        };
        let Some(layers) = layers else {
            let body = self.source.outgoing_body(&self.decoded, workspace)?;
            return Ok((vec![Outgoing { body, summary, raw: None }], summary));
        };
        self.source.metrics.split_backward.add(1);
        let outgoing = |raw: Vec<u8>| {
            let body = self.source.outgoing_body(&raw, workspace)?;
            let summary = WriteRequestView::new(&raw)
                .summary(&self.source.limits)
                .map_err(|error| error.to_string())?;
            Ok::<_, String>(Outgoing { body, summary, raw: Some(raw) })
        };
        Ok((layers.into_iter().map(outgoing).collect::<Result<_, _>>()?, summary))
    }
}

/// Decodes a journal record into the message that the sender sent.
pub(super) fn decode(payload: &[u8], limits: &Limits, decoded: &mut Vec<u8>) -> Result<(), String> {
    let body = match payload.split_first() {
        Some((&FORMAT_V1, body)) => body,
        Some((format, _)) => return Err(format!("journal record of unknown format {format}")),
        None => return Err("journal record is empty".to_owned()),
    };
    decompress(body, limits, decoded).map_err(|error| error.to_string())
}

/// Decodes a journal record and tells what stands in it.
pub(crate) fn summary(payload: &[u8], limits: &Limits, decoded: &mut Vec<u8>) -> Result<Summary, String> {
    decode(payload, limits, decoded)?;
    WriteRequestView::new(decoded).summary(limits).map_err(|error| error.to_string())
}

/// How far the lane is before its stored cursor.
pub(super) struct Progress {
    position: Option<Position>,
    records: u64,
    stored_at: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Self { position: None, records: 0, stored_at: Instant::now() }
    }
}

impl Progress {
    pub(super) fn done(&mut self, source: &SourceState, next: Position) {
        self.position = Some(next);
        self.records += 1;
        source.metrics.delivered_position.store(next.as_u64(), Ordering::Relaxed);
    }

    pub(super) fn is_due(&self) -> bool {
        self.position.is_some()
            && (self.records >= STORE_RECORDS || self.stored_at.elapsed() >= STORE_INTERVAL)
    }

    pub(super) fn due_in(&self) -> Option<Duration> {
        self.position.map(|_| STORE_INTERVAL.saturating_sub(self.stored_at.elapsed()))
    }
}

/// What an error says with its causes.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A store costs two syncs: at most one for so many records, or in this time.
const STORE_RECORDS: u64 = 64;
const STORE_INTERVAL: Duration = Duration::from_secs(1);
