//! The dead letters of a merger that does not run: looked at, given back to delivery, dropped.

use prom_remote::decompress;
use sample_journal::{
    AppendError, CursorError, DiskStorage, Journal, JournalHooks, OpenDiskError, OpenError, Position,
    ReadError, ReleaseError,
};
use thiserror::Error;

use super::{DeadLetter, KIND, first, folder, read};
use crate::{
    StartError,
    config::{Config, OnConflict, SourceConfig},
    ingest::{Horizon, Incoming, Refused, Rules, judge, sample_count},
    machine::{self, Machine},
    source::{JOURNAL_KIND, format_of, open_journal},
};

/// The dead letters of one source; nobody else has them open meanwhile.
#[derive(Debug)]
pub struct StoredDeadLetters<'a> {
    config: &'a Config,
    source: &'a SourceConfig,
    journal: Journal,
}

/// Why dead letters cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenLettersError {
    /// The folder is in use: a running merger shows its own under `/api/v1/dead-letters`.
    #[error("cannot open the dead letters of source {name}")]
    Folder {
        /// The source.
        name: String,
        /// What the storage said.
        source: OpenDiskError,
    },
    /// The journal cannot be opened.
    #[error("cannot open the dead letters of source {name}")]
    Journal {
        /// The source.
        name: String,
        /// What the journal said.
        source: OpenError,
    },
}

/// Why dead letters were not, or not all, given back or dropped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChangeLettersError {
    /// The dead letters cannot be read.
    #[error("cannot read the dead letters")]
    Read(#[from] ReadError),
    /// The journal of the source cannot be opened.
    #[error("cannot open the journal of the source")]
    Journal(#[source] StartError),
    /// A journal takes nothing more.
    #[error("cannot store what a dead letter holds")]
    Append(#[from] AppendError),
    /// How far they are dropped cannot be stored.
    #[error("cannot store how far dead letters are dropped")]
    Cursor(#[from] CursorError),
    /// Dropped ones still take room.
    #[error("cannot free the room of dropped dead letters")]
    Release(#[from] ReleaseError),
}

/// What a replay did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// Dead letters of which something is in the journal of the source again.
    pub letters: usize,
    /// Samples and histograms that are.
    pub samples: u64,
    /// Dead letters that stay, or of which a part stays, under a new position: still invalid, or unreadable.
    pub kept: usize,
}

impl<'a> StoredDeadLetters<'a> {
    /// Opens the dead letters of a source; `None` if it has never had any. Blocks on files.
    ///
    /// # Errors
    /// They are in use, or cannot be opened.
    pub fn open(config: &'a Config, source: &'a SourceConfig) -> Result<Option<Self>, OpenLettersError> {
        let folder = folder(config, &source.name);
        if !folder.is_dir() {
            return Ok(None);
        }
        let name = || source.name.clone();
        let storage = DiskStorage::open(&folder)
            .map_err(|error| OpenLettersError::Folder { name: name(), source: error })?;
        let journal_config = config.journal_config(KIND, &source.name);
        let (journal, _) = Journal::open(storage, journal_config, JournalHooks::default())
            .map_err(|error| OpenLettersError::Journal { name: name(), source: error })?;
        Ok(Some(Self { config, source, journal }))
    }

    /// Lists them by position. Blocks on files.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn list(&self) -> Result<Vec<DeadLetter>, ReadError> {
        read(&self.journal, Position::START, usize::MAX)
    }

    /// Reads one with its body, a snappy block; `None` if there is none at this position. Blocks on files.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn letter(&self, position: u64) -> Result<Option<(DeadLetter, Vec<u8>)>, ReadError> {
        let position = Position::from_u64(position);
        if position < first(&self.journal) {
            return Ok(None);
        }
        let mut payload = Vec::new();
        let record = self.journal.reader(position).next(&mut payload)?;
        Ok(record.filter(|record| record.position == position).map(|_| {
            let letter = DeadLetter::parse(position, &payload);
            (letter, body(&payload).to_vec())
        }))
    }

    /// Drops all up to this position, itself included; the room is free once whole files are dropped. Blocks on files.
    ///
    /// # Errors
    /// Where they begin cannot be stored.
    pub fn drop_through(&self, position: u64) -> Result<(), ChangeLettersError> {
        let next = Position::from_u64(position.saturating_add(1)).min(self.journal.durable_end());
        self.drop_before(next)
    }

    fn drop_before(&self, next: Position) -> Result<(), ChangeLettersError> {
        if next > first(&self.journal) {
            self.journal.cursor(DROPPED)?.store(next)?;
            self.journal.release()?;
        }
        Ok(())
    }

    /// Puts all up to this position back into the journal of the source, from which they are delivered at the next start,
    /// and drops them. They are judged as at ingest; what is refused again becomes a new dead letter. After an error, or a
    /// crash, those not done are still there. Blocks on files.
    ///
    /// # Errors
    /// A journal that cannot be read, or takes nothing.
    pub fn replay_through(&self, position: u64) -> Result<Replayed, ChangeLettersError> {
        let hooks = JournalHooks::default();
        let machine = Machine::real(self.config);
        let target = open_journal(self.config, &machine, &self.source.name, JOURNAL_KIND, hooks)
            .map_err(ChangeLettersError::Journal)?;
        let end = Position::from_u64(position.saturating_add(1)).min(self.journal.durable_end());
        let mut reader = self.journal.reader(first(&self.journal));
        let mut done = Replayed::default();
        let mut payload = Vec::new();
        while reader.position() < end {
            let before = reader.position();
            let step = match reader.next(&mut payload) {
                Ok(Some(_)) => self.replay(&target, &payload, &mut done),
                Ok(None) => break,
                // Lost records are told by the listing; there is nothing to give back.
                Err(ReadError::Damaged(_)) => Ok(()),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = step {
                self.drop_before(before)?;
                return Err(error);
            }
        }
        self.drop_before(reader.position().min(end))?;
        Ok(done)
    }

    fn replay(
        &self,
        target: &Journal,
        payload: &[u8],
        done: &mut Replayed,
    ) -> Result<(), ChangeLettersError> {
        let limits = self.source.limits.remote();
        let header = DeadLetter::parse(Position::START, payload).header;
        let judged = header.ok().and_then(|header| {
            let (version, compressed) = (header.version()?, body(payload).to_vec());
            let mut decoded = Vec::new();
            decompress(&compressed, &limits, &mut decoded).ok()?;
            let refuses_label = self.source.on_conflict == OnConflict::Refuse;
            let rules = Rules {
                limits,
                horizon: Horizon::at(machine::now_ms(), self.source.future_limit),
                refused_label: refuses_label.then(|| self.config.label.clone()),
                // Who gives them back wants them.
                active: None,
            };
            let incoming = Incoming::validated(version, compressed.into(), decoded.into(), &limits).ok()?;
            judge(incoming, &rules).ok().map(|judged| (version, judged))
        });
        let Some((version, judged)) = judged else {
            self.journal.append_blocking(&[payload])?;
            done.kept += 1;
            return Ok(());
        };
        if let Some(valid) = judged.valid {
            target.append_blocking(&[&[format_of(version)], &valid.body])?;
            done.letters += 1;
            done.samples += sample_count(&valid.summary);
        }
        done.kept += usize::from(!judged.refused.is_empty());
        for Refused { header, body, .. } in judged.refused {
            self.journal.append_blocking(&[&header.line(), &body])?;
        }
        Ok(())
    }
}

/// The body of a dead letter's record.
pub(crate) fn body(payload: &[u8]) -> &[u8] {
    let line = payload.iter().position(|byte| *byte == b'\n').map_or(payload.len(), |end| end + 1);
    payload.get(line..).unwrap_or_default()
}

/// The cursor behind the dropped ones.
pub(super) const DROPPED: &str = "dropped";
