//! How far a backfill is: the last record of a small journal.

use prom_remote::TimeRange;
use sample_journal::{AppendError, Cursor, CursorError, Journal, JournalHooks, ReadError, ReleaseError};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::info;

use super::BackfillPlan;
use crate::{
    StartError,
    config::Config,
    machine::Machine,
    source::{failure_hook, open_journal_with},
};

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counts {
    /// Windows of time.
    pub windows: u64,
    /// Series, counted in each window that has them.
    pub series: u64,
    /// Samples, stale markers included.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Samples that the source had twice with different values; the first one was taken.
    pub conflicts: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        self.windows += other.windows;
        self.series += other.series;
        self.samples += other.samples;
        self.histograms += other.histograms;
        self.conflicts += other.conflicts;
    }
}

/// Of one plan; another plan of the source begins anew.
#[derive(Debug)]
pub(super) struct State {
    journal: Journal,
    cursor: Cursor,
    record: Record,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    url: String,
    start_ms: i64,
    end_ms: i64,
    /// All before is done.
    next_ms: i64,
    counts: Counts,
}

#[derive(Debug, Error)]
pub(super) enum StateError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{0}")]
    Append(#[from] AppendError),
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("{0}")]
    Cursor(#[from] CursorError),
    #[error("{0}")]
    Release(#[from] ReleaseError),
    #[error("{0}")]
    Encode(#[from] serde_json::Error),
}

impl State {
    /// Reads how far the plan is. Blocks on files.
    pub(super) fn open(config: &Config, machine: &Machine, plan: &BackfillPlan) -> Result<Self, StateError> {
        let mut limits = config.journal_config(KIND, &plan.source);
        (limits.segment_bytes, limits.max_bytes) = (SEGMENT_BYTES, SEGMENT_BYTES * 4);
        (limits.max_record_bytes, limits.max_pending_bytes) = (SEGMENT_BYTES / 4, SEGMENT_BYTES);
        let hooks = JournalHooks { on_failure: failure_hook(&plan.source, KIND), ..JournalHooks::default() };
        let journal = open_journal_with(machine, &plan.source, KIND, limits, hooks)?;
        Self::of(journal, &plan.url, plan.range)
    }

    fn of(journal: Journal, url: &str, range: TimeRange) -> Result<Self, StateError> {
        let cursor = journal.cursor(CURSOR)?;
        let (start_ms, end_ms) = (range.start_ms(), range.end_ms());
        let url = url.to_owned();
        let mut record = Record { url, start_ms, end_ms, next_ms: start_ms, counts: Counts::default() };
        let mut reader = journal.reader(cursor.position());
        let mut payload = Vec::new();
        loop {
            match reader.next(&mut payload) {
                Ok(None) => break,
                Ok(Some(_)) => {}
                Err(error @ ReadError::Storage { .. }) => return Err(error.into()),
                Err(_) => continue,
            }
            let Ok(found) = serde_json::from_slice::<Record>(&payload) else { continue };
            if (&found.url, found.start_ms, found.end_ms) == (&record.url, start_ms, end_ms) {
                record = found;
            }
        }
        if record.next_ms > start_ms {
            info!(next_ms = record.next_ms, samples = record.counts.samples, "backfill goes on where it was");
        }
        Ok(Self { journal, cursor, record })
    }

    /// Makes it durable that all before `until_ms` is done. Blocks on files.
    pub(super) fn done(&mut self, until_ms: i64, counts: Counts) -> Result<(), StateError> {
        let mut record = self.record.clone();
        record.next_ms = until_ms;
        record.counts.add(counts);
        let position = self.journal.append_blocking(&[&serde_json::to_vec(&record)?])?;
        self.record = record;
        self.cursor.store(position)?;
        self.journal.release()?;
        Ok(())
    }

    pub(super) fn next_ms(&self) -> i64 {
        self.record.next_ms
    }

    pub(super) fn counts(&self) -> Counts {
        self.record.counts
    }
}

const KIND: &str = "backfill-state";
const CURSOR: &str = "state";
const SEGMENT_BYTES: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use sample_journal::{JournalConfig, JournalId, SimulatedStorage, Tear};

    use super::*;

    fn open(storage: SimulatedStorage, url: &str) -> State {
        let mut config = JournalConfig::new(JournalId([9; 16]));
        (config.segment_bytes, config.max_bytes) = (4 << 10, 16 << 10);
        config.max_record_bytes = 1 << 10;
        let (journal, _) = Journal::open(storage, config, JournalHooks::default()).unwrap();
        State::of(journal, url, TimeRange::new(0, 1_000_000).unwrap()).unwrap()
    }

    #[test]
    fn what_is_done_stays_done_and_another_plan_begins_anew() {
        let storage = SimulatedStorage::new();
        let mut state = open(storage.clone(), "http://a");
        assert_eq!(state.next_ms(), 0);
        // More than fits into the files, were nothing released.
        for window in 1..=1_000 {
            state.done(window * 1_000, Counts { samples: 3, windows: 1, ..Counts::default() }).unwrap();
        }
        let again = open(storage.crash(Tear::Lost), "http://a");
        assert_eq!(again.next_ms(), 1_000_000);
        assert_eq!((again.counts().samples, again.counts().windows), (3_000, 1_000));
        assert_eq!(open(storage.crash(Tear::Lost), "http://b").next_ms(), 0);
    }
}
