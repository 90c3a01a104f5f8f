//! Limits and hooks.

use std::{fmt, io, time::Duration};

use super::state::MIN_SEGMENTS;
use crate::{
    position::Position,
    segment::{HEADER_BYTES, MAX_PAYLOAD_BYTES, RECORD_HEADER},
};

/// Sixteen bytes that tell one journal's files from another's.
///
/// The journal neither invents nor interprets it: take, for instance, a hash of the source's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JournalId(pub [u8; 16]);

/// The limits of a journal. All may change from one opening to the next, except `id`.
#[derive(Debug, Clone)]
pub struct JournalConfig {
    /// Whose files these are; files of another journal are refused.
    pub id: JournalId,
    /// The largest size of a segment file in bytes; a new segment is begun when the next record would not fit.
    pub segment_bytes: u64,
    /// The longest record in bytes, at most 1 GiB and small enough for one segment (88 + 24 bytes less than it).
    pub max_record_bytes: u64,
    /// The largest sum of all segment files in bytes, at least two segments. Cursor files (two of 52 bytes per cursor) and a
    /// copy of the last commit that recovery may make are not counted against it.
    pub max_bytes: u64,
    /// The largest sum of queued records in bytes, 24 bytes per record included: the bound of the journal's memory,
    /// up to 320 KiB of buffers. A record larger than this is never accepted.
    pub max_pending_bytes: u64,
    /// How long the writer waits for company after the first record of a group. Zero (the default) still groups all that is
    /// queued while the previous group is being synced.
    pub commit_window: Duration,
    /// The window is cut short once this many bytes are queued.
    pub commit_bytes: u64,
    /// How much is checked on opening.
    pub verify: Verify,
    /// Whether opening removes segments that every cursor has passed; default `true`. Without it they can be read once
    /// more, until the next [`release`](crate::Journal::release).
    pub release_on_open: bool,
}

impl JournalConfig {
    /// Returns the defaults: segments of 64 MiB, records of up to 16 MiB, 1 GiB on disk, 64 MiB in memory, no window,
    /// everything verified.
    pub const fn new(id: JournalId) -> Self {
        Self {
            id,
            segment_bytes: 64 * MIB,
            max_record_bytes: 16 * MIB,
            max_bytes: 1024 * MIB,
            max_pending_bytes: 64 * MIB,
            commit_window: Duration::ZERO,
            commit_bytes: 4 * MIB,
            verify: Verify::All,
            release_on_open: true,
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let overhead = HEADER_BYTES + 2 * RECORD_HEADER;
        let longest = self.segment_bytes.saturating_sub(overhead).min(MAX_PAYLOAD_BYTES);
        if self.max_record_bytes > longest {
            return Err(ConfigError::RecordTooLong { max_record_bytes: self.max_record_bytes, longest });
        }
        let least = self.segment_bytes.saturating_mul(MIN_SEGMENTS);
        if self.max_bytes < least {
            return Err(ConfigError::BudgetTooSmall { max_bytes: self.max_bytes, least });
        }
        let least = self.max_record_bytes + RECORD_HEADER;
        if self.max_pending_bytes < least {
            return Err(ConfigError::PendingTooSmall { max_pending_bytes: self.max_pending_bytes, least });
        }
        Ok(())
    }
}

/// How much of the journal is checked when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Every record of every segment: reads the whole journal once, and [`Recovery`](crate::Recovery) tells all damage.
    All,
    /// The last segment only; damage elsewhere is told by the reader that comes upon it.
    LastSegment,
}

/// Limits that do not fit together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A record of the greatest length does not fit into a segment.
    #[error("max_record_bytes is {max_record_bytes}, and a segment holds at most {longest}")]
    RecordTooLong {
        /// The configured limit.
        max_record_bytes: u64,
        /// The most that fits.
        longest: u64,
    },
    /// The budget does not hold two segments.
    #[error("max_bytes is {max_bytes}, and two segments take {least}")]
    BudgetTooSmall {
        /// The configured limit.
        max_bytes: u64,
        /// The least that works.
        least: u64,
    },
    /// A record of the greatest length could never be queued.
    #[error("max_pending_bytes is {max_pending_bytes}, and one record takes {least}")]
    PendingTooSmall {
        /// The configured limit.
        max_pending_bytes: u64,
        /// The least that works.
        least: u64,
    },
}

/// What the journal calls from its writer thread. Hooks must not block for long: no commit happens meanwhile.
pub struct JournalHooks {
    /// Called after each commit, after its records were acknowledged, with the new durable end.
    pub on_commit: Box<dyn Fn(Position) + Send + Sync>,
    /// Called for each commit that failed, before its records are told.
    pub on_failure: Box<dyn Fn(&io::Error) + Send + Sync>,
}

impl Default for JournalHooks {
    fn default() -> Self {
        Self { on_commit: Box::new(|_| {}), on_failure: Box::new(|_| {}) }
    }
}

impl fmt::Debug for JournalHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalHooks").finish_non_exhaustive()
    }
}

const MIB: u64 = 1024 * 1024;
