//! The bounds of journals and of requests, and whether they fit together.

use std::time::Duration;

use sample_journal::{JournalConfig, JournalId};
use yaml_source::{ValueReader, value};

use super::IngestLimits;

/// Bounds of one journal; see [`JournalConfig`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalLimits {
    /// The largest segment file in bytes; default 64 MiB.
    pub segment_bytes: u64,
    /// The most bytes on disk, then senders are told to wait; default 1 GiB.
    pub max_bytes: u64,
    /// The most bytes waiting for a sync, then senders are told to wait; default 64 MiB.
    pub max_pending_bytes: u64,
    /// How long a commit waits for company; default 0 s.
    pub commit_window: Duration,
}

impl Default for JournalLimits {
    fn default() -> Self {
        let defaults = JournalConfig::new(JournalId([0; 16]));
        Self {
            segment_bytes: defaults.segment_bytes,
            max_bytes: defaults.max_bytes,
            max_pending_bytes: defaults.max_pending_bytes,
            commit_window: defaults.commit_window,
        }
    }
}

pub(super) fn read_journal(value: ValueReader<'_>) -> Option<JournalLimits> {
    let defaults = JournalLimits::default();
    let mut reader = value.mapping()?;
    let segment_bytes = reader.or("segment_bytes", value::byte_size, defaults.segment_bytes);
    let max_bytes = reader.or("max_bytes", value::byte_size, defaults.max_bytes);
    let max_pending_bytes = reader.or("max_pending_bytes", value::byte_size, defaults.max_pending_bytes);
    let commit_window = reader.or("commit_window", value::duration, defaults.commit_window);
    reader.finish();
    Some(JournalLimits { segment_bytes, max_bytes, max_pending_bytes, commit_window })
}

/// Whether the longest record that the limits allow can be journalled at all.
pub(super) fn check_fit(journal: &JournalLimits, limits: &IngestLimits) -> Result<(), String> {
    let longest = longest_record(limits);
    let segment = longest.saturating_add(SEGMENT_OVERHEAD);
    let because =
        format!("limits.body ({}) and limits.decoded ({}) allow records of", limits.body, limits.decoded);
    if longest > MAX_RECORD {
        return Err(format!("{because} {longest} bytes, and a journal takes at most {MAX_RECORD}"));
    }
    if journal.segment_bytes < segment {
        let found = journal.segment_bytes;
        return Err(format!(
            "{because} {longest} bytes: segment_bytes is {found}, and must be at least {segment}"
        ));
    }
    if journal.max_bytes < journal.segment_bytes.saturating_mul(2) {
        return Err(format!(
            "max_bytes is {}, and must be at least two segments of {}",
            journal.max_bytes, journal.segment_bytes
        ));
    }
    if journal.max_pending_bytes < segment {
        let found = journal.max_pending_bytes;
        return Err(format!(
            "{because} {longest} bytes: max_pending_bytes is {found}, and must be at least {segment}"
        ));
    }
    Ok(())
}

/// The longest journal record: a body as received, or the valid part of one compressed again (which snappy may make a
/// sixth longer than the message), and room for the header of a dead letter.
pub(super) fn longest_record(limits: &IngestLimits) -> u64 {
    let compressed_again = limits.decoded.saturating_add(limits.decoded / 6).saturating_add(32);
    limits.body.max(compressed_again).saturating_add(HEADER_ROOM)
}

/// A segment's header and seal, and a record's header.
const SEGMENT_OVERHEAD: u64 = 88 + 24;
const MAX_RECORD: u64 = 1 << 30;
const HEADER_ROOM: u64 = 64 << 10;
