//! What must survive a restart: who is elected, and from time to time how far every series is.
//!
//! A checkpoint is a head, its series in several records, and an end. One that has no end does not count. Nobody waits for the
//! ledger: without it a restart reads all that is left of the journal of the source.

use std::sync::{Mutex, PoisonError};

use sample_journal::{AppendError, Cursor, CursorError, Journal, Position, ReadError, ReleaseError};
use thiserror::Error;

use super::{
    memory::Progress,
    record::{CheckpointHead, LedgerRecord},
};

/// The ledger of one source.
#[derive(Debug)]
pub(crate) struct Ledger {
    journal: Journal,
    cursor: Mutex<Cursor>,
}

/// What a former run has left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Who is elected, and in which term.
    pub(crate) elected: Option<(String, u64)>,
    pub(crate) checkpoint: Option<Checkpoint>,
}

/// How far every series was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) head: CheckpointHead,
    pub(crate) series: Vec<Progress>,
}

/// Why something did not get into the ledger, or could not be read.
#[derive(Debug, Error)]
pub(crate) enum LedgerError {
    #[error("cannot write to the ledger of the replicas")]
    Append(#[from] AppendError),
    #[error("cannot read the ledger of the replicas")]
    Read(#[from] ReadError),
    #[error("cannot move on in the ledger of the replicas")]
    Cursor(#[from] CursorError),
    #[error("cannot release what the ledger does not need any more")]
    Release(#[from] ReleaseError),
}

impl Ledger {
    /// Reads what a former run has left. Blocks on files.
    pub(crate) fn open(journal: Journal) -> Result<(Self, Recovered), LedgerError> {
        let cursor = journal.cursor(CURSOR)?;
        let mut recovered = Recovered::default();
        let mut open: Option<Checkpoint> = None;
        let mut reader = journal.reader(cursor.position());
        let mut payload = Vec::new();
        loop {
            match reader.next(&mut payload) {
                Ok(None) => break,
                Ok(Some(_)) => {}
                Err(error @ ReadError::Storage { .. }) => return Err(error.into()),
                Err(_) => {
                    open = None;
                    continue;
                }
            }
            match LedgerRecord::decode(&payload) {
                Some(LedgerRecord::Elected { term, replica }) => recovered.elected = Some((replica, term)),
                Some(LedgerRecord::Begin(head)) => open = Some(Checkpoint { head, series: Vec::new() }),
                Some(LedgerRecord::Series { id, progress }) => match &mut open {
                    Some(open) if open.head.id == id => open.series.extend(progress),
                    _ => {}
                },
                Some(LedgerRecord::End { id }) => {
                    let whole = open
                        .take()
                        .filter(|open| open.head.id == id && open.head.series == open.series.len() as u64);
                    if let Some(checkpoint) = whole {
                        let head = &checkpoint.head;
                        let is_later = recovered.elected.as_ref().is_none_or(|(_, term)| *term < head.term);
                        if is_later && !head.elected.is_empty() {
                            recovered.elected = Some((head.elected.clone(), head.term));
                        }
                        recovered.checkpoint = Some(checkpoint);
                    }
                }
                None => open = None,
            }
        }
        Ok((Self { journal, cursor: Mutex::new(cursor) }, recovered))
    }

    /// Makes it durable that a replica is elected. Blocks on files.
    pub(crate) fn elected(&self, replica: &str, term: u64) -> Result<(), LedgerError> {
        let record = LedgerRecord::Elected { term, replica: replica.to_owned() };
        self.journal.append_blocking(&[&record.encode()])?;
        Ok(())
    }

    /// Makes a checkpoint durable and lets go what was before it. Blocks on files.
    pub(crate) fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), LedgerError> {
        let Checkpoint { head, series } = checkpoint;
        let begin = self.journal.append_blocking(&[&LedgerRecord::Begin(head.clone()).encode()])?;
        for progress in series.chunks(SERIES_PER_RECORD) {
            let record = LedgerRecord::Series { id: head.id, progress: progress.to_vec() };
            self.journal.append_blocking(&[&record.encode()])?;
        }
        self.journal.append_blocking(&[&LedgerRecord::End { id: head.id }.encode()])?;
        self.release_before(begin)
    }

    fn release_before(&self, position: Position) -> Result<(), LedgerError> {
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        cursor.store(position)?;
        self.journal.release()?;
        Ok(())
    }

    pub(crate) fn close(&self) -> Result<(), sample_journal::CloseError> {
        self.journal.close()
    }
}

/// The largest record and the room that a ledger needs for checkpoints of so many series.
pub(crate) fn sizes(active_series: usize) -> LedgerSizes {
    let checkpoint = (active_series as u64).saturating_mul(BYTES_PER_SERIES).saturating_add(1 << 16);
    let record = SERIES_PER_RECORD as u64 * BYTES_PER_SERIES + 1024;
    let segment = checkpoint.max(record + 4096);
    // Room for a whole checkpoint besides the one that counts, and for the rest of a broken one.
    LedgerSizes { record, segment, total: segment.saturating_mul(5) }
}

/// Bounds of the journal of a ledger, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LedgerSizes {
    pub(crate) record: u64,
    pub(crate) segment: u64,
    pub(crate) total: u64,
}

const CURSOR: &str = "ledger";
const SERIES_PER_RECORD: usize = 1 << 15;
const BYTES_PER_SERIES: u64 = 17;

#[cfg(test)]
mod tests {
    use sample_journal::{JournalConfig, JournalHooks, JournalId, SimulatedStorage, Tear};

    use super::*;
    use crate::replicas::identity::SeriesKey;

    fn open(storage: SimulatedStorage) -> (Ledger, Recovered) {
        let mut config = JournalConfig::new(JournalId([7; 16]));
        let sizes = sizes(100);
        (config.segment_bytes, config.max_bytes) = (sizes.segment, sizes.total);
        config.max_record_bytes = sizes.record;
        let (journal, _) = Journal::open(storage, config, JournalHooks::default()).unwrap();
        Ledger::open(journal).unwrap()
    }

    fn checkpoint(id: u64, term: u64, elected: &str, series: u64) -> Checkpoint {
        let progress = |key| Progress { key: SeriesKey(key), last_ms: id as i64, has_ended: key == 1 };
        let elected = elected.to_owned();
        let head =
            CheckpointHead { id, position: id * 10, keys_version: 3, forgotten_ms: 4, series, elected, term };
        Checkpoint { head, series: (0..series).map(progress).collect() }
    }

    #[test]
    fn the_last_whole_checkpoint_and_the_last_election_count() {
        let storage = SimulatedStorage::new();
        let (ledger, recovered) = open(storage.clone());
        assert_eq!(recovered, Recovered::default());
        ledger.elected("a", 1).unwrap();
        ledger.checkpoint(&checkpoint(1, 1, "a", 3)).unwrap();
        ledger.elected("b", 2).unwrap();
        let expected =
            Recovered { elected: Some(("b".to_owned(), 2)), checkpoint: Some(checkpoint(1, 1, "a", 3)) };
        assert_eq!(open(storage.crash(Tear::Lost)).1, expected);
        ledger.checkpoint(&checkpoint(2, 2, "b", 100)).unwrap();
        let expected =
            Recovered { elected: Some(("b".to_owned(), 2)), checkpoint: Some(checkpoint(2, 2, "b", 100)) };
        assert_eq!(open(storage.crash(Tear::Lost)).1, expected);
    }

    #[test]
    fn a_checkpoint_counts_whole_or_not_at_all_at_every_crash() {
        let storage = SimulatedStorage::new();
        let (ledger, _) = open(storage.clone());
        ledger.checkpoint(&checkpoint(1, 1, "a", 50)).unwrap();
        drop(ledger);
        for operation in 0.. {
            let disk = storage.restart();
            let (ledger, _) = open(disk.clone());
            disk.cut_power_at(disk.operations() + operation);
            let is_done = ledger.checkpoint(&checkpoint(2, 2, "b", 100)).is_ok();
            let (_, recovered) = open(disk.crash(Tear::Prefix(operation)));
            let found = recovered.checkpoint.unwrap();
            assert!(found == checkpoint(2, 2, "b", 100) || (!is_done && found == checkpoint(1, 1, "a", 50)));
            if is_done {
                break;
            }
        }
    }

    #[test]
    fn checkpoints_do_not_fill_the_ledger() {
        let (ledger, _) = open(SimulatedStorage::new());
        (0..200).for_each(|id| ledger.checkpoint(&checkpoint(id, 1, "a", 100)).unwrap());
        assert!(ledger.journal.statistics().bytes_on_disk <= sizes(100).total);
    }
}
