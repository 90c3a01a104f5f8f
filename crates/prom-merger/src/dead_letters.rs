//! What could not be delivered, kept with the reason: one journal per source under `dead-letters/` of the data folder.
//!
//! A record is a [`Header`] as one line of JSON, a line break, and the remote-write body (a snappy block) without the label
//! of the source. Nothing is ever removed by a running merger; when the journal is full, what would go there waits: ingest answers
//! 503 and delivery stops.

mod stored;

use std::path::PathBuf;

use sample_journal::{AppendError, Journal, Position, ReadError};
use serde::{Deserialize, Serialize};

pub(crate) use self::stored::body;
pub use self::stored::{ChangeLettersError, OpenLettersError, Replayed, StoredDeadLetters};
use crate::{config::Config, source::FORMAT_V1};

/// Why a request, or a part of one, is a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Header {
    /// When it became one, in milliseconds since the epoch.
    pub time_ms: i64,
    /// Where: `ingest` or `delivery`.
    pub stage: Stage,
    /// The faults found at ingest, or the receiver's words.
    pub reason: String,
    /// The receiver's HTTP status, if it was asked.
    pub status: Option<u16>,
    /// How many series the body has; 0 if it cannot be read.
    pub series: usize,
    /// How many samples and histograms they have.
    pub samples: usize,
    /// The destination that refused it; others may have taken it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// What the body is: a snappy block of a remote-write request, of 1.0 if 1, of 2.0 if 2.
    #[serde(default = "first_format")]
    pub format: u8,
}

/// That of the letters that do not say.
fn first_format() -> u8 {
    FORMAT_V1
}

/// Where a dead letter was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Stage {
    /// Before it was journalled: it would poison a shared destination.
    Ingest,
    /// The destination refused it.
    Delivery,
}

/// One dead letter without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its position among the dead letters of its source.
    pub position: u64,
    /// What is known about it; an `Err` tells why it cannot be read.
    pub header: Result<Header, String>,
    /// The length of its body in bytes.
    pub body_bytes: usize,
}

/// The position of the first one that is not dropped.
fn first(journal: &Journal) -> Position {
    let dropped = journal.cursors().into_iter().find(|(name, _)| name == stored::DROPPED);
    dropped.map_or(Position::START, |(_, position)| position).max(journal.oldest())
}

/// Reads at most `limit` dead letters from a position on. Blocks on files.
pub(crate) fn read(journal: &Journal, from: Position, limit: usize) -> Result<Vec<DeadLetter>, ReadError> {
    let mut reader = journal.reader(from.max(first(journal)));
    let mut payload = Vec::new();
    let mut letters = Vec::new();
    while letters.len() < limit {
        match reader.next(&mut payload) {
            Ok(None) => break,
            Ok(Some(record)) => letters.push(DeadLetter::parse(record.position, &payload)),
            Err(ReadError::Damaged(damage)) => letters.push(DeadLetter {
                position: damage.first.as_u64(),
                header: Err(ReadError::Damaged(damage).to_string()),
                body_bytes: 0,
            }),
            Err(error) => return Err(error),
        }
    }
    Ok(letters)
}

impl DeadLetter {
    pub(crate) fn parse(position: Position, payload: &[u8]) -> Self {
        let end = payload.iter().position(|byte| *byte == b'\n').unwrap_or(payload.len());
        let (header, body) = payload.split_at(end);
        let header = serde_json::from_slice(header).map_err(|error| format!("no header: {error}"));
        Self { position: position.as_u64(), header, body_bytes: body.len().saturating_sub(1) }
    }
}

impl Header {
    /// Writes it as it begins a record.
    fn line(mut self) -> Vec<u8> {
        truncate(&mut self.reason);
        let mut line = serde_json::to_vec(&self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// Appends a dead letter and waits until it is durable.
pub(crate) async fn append(journal: &Journal, header: Header, body: &[u8]) -> Result<(), AppendError> {
    crate::source::append(journal, &[&header.line(), body]).await
}

/// Keeps the header far below the room that the longest record leaves for it, even if JSON escapes every character.
fn truncate(reason: &mut String) {
    if let Some((end, _)) = reason.char_indices().find(|(index, _)| *index >= MAX_REASON_BYTES) {
        reason.truncate(end);
    }
}

pub(crate) fn folder(config: &Config, source: &str) -> PathBuf {
    config.data.join(KIND).join(source)
}

pub(crate) const KIND: &str = "dead-letters";
/// The receiver's words are at most 4 KiB; JSON makes at most 6 bytes of one.
const MAX_REASON_BYTES: usize = 8 << 10;
