//! The journals of a merger that does not run: looked at, verified, sent again.

use std::{fs, io, path::PathBuf};

use prom_remote::{Limits, Summary};
use sample_journal::{
    AppendError, CloseError, CursorState, Damage, DiskStorage, Journal, JournalHooks, OpenDiskError,
    OpenError, Position, ReadError, RewindError, Survey, rewind_cursor, survey,
};
use serde::Serialize;
use thiserror::Error;

use crate::{
    config::Config,
    dead_letters::{self, DeadLetter},
    deliver,
    source::JOURNAL_KIND,
};

/// The journal, or the dead letters, of one source; nobody else has them open meanwhile.
#[derive(Debug)]
pub struct StoredJournal<'a> {
    config: &'a Config,
    kind: JournalKind,
    name: String,
    folder: PathBuf,
    storage: DiskStorage,
}

/// What a journal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum JournalKind {
    /// What was acknowledged, on its way to the destinations.
    Journal,
    /// What could not be delivered.
    DeadLetters,
}

/// What a journal holds, by segment and by cursor.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct JournalReport {
    /// The source.
    pub source: String,
    /// The segments in order.
    pub segments: Vec<SegmentReport>,
    /// The cursors: one for each destination.
    pub cursors: Vec<CursorReport>,
    /// Stretches of damage; [`StoredJournal::verify`] tells each.
    pub damaged_places: u64,
    /// Bytes of an unfinished commit that was never acknowledged and is cut off at the next start.
    pub torn_bytes: u64,
}

/// Records, and what stands in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Contents {
    /// Records: one for each request.
    pub records: u64,
    /// Their payloads in bytes.
    pub bytes: u64,
    /// Their series.
    pub series: u64,
    /// Their samples and histograms.
    pub samples: u64,
    /// The earliest of these, in milliseconds since the epoch.
    pub earliest_ms: Option<i64>,
    /// The latest.
    pub latest_ms: Option<i64>,
    /// Records that cannot be decoded.
    pub unreadable: u64,
}

/// One segment file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SegmentReport {
    /// The file.
    pub file: PathBuf,
    /// Its size in bytes.
    pub file_bytes: u64,
    /// The position of its first record.
    pub first: u64,
    /// The position after its last one.
    pub end: u64,
    /// What is in it.
    #[serde(flatten)]
    pub contents: Contents,
}

/// How far a destination has got.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CursorReport {
    /// The cursor's name.
    pub cursor: String,
    /// The position of the next record that the destination needs.
    pub position: u64,
    /// Whether its files are intact.
    pub is_intact: bool,
    /// What it has not got yet.
    pub undelivered: Contents,
}

/// A place that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// Where in the file.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verified {
    /// The source.
    pub source: String,
    /// Journal or dead letters.
    pub kind: JournalKind,
    /// Records whose checksum is right and that can be decoded.
    pub records: u64,
    /// Everything else; at most 1024 places of damage for each segment.
    pub faults: Vec<Fault>,
}

/// A record of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// By its position.
    Position(u64),
    /// By the time of its samples, in milliseconds since the epoch.
    Time(i64),
}

/// What is sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Resent {
    /// The position of the first record.
    pub from: u64,
    /// The position after the last one.
    pub end: u64,
    /// How many records.
    pub records: u64,
    /// The cursors that were moved back; none if the records were appended anew, for all destinations.
    pub cursors: Vec<String>,
}

/// Why a stored journal cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenJournalError {
    /// The folder of journals cannot be read.
    #[error("cannot list {}", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder is in use, or cannot be used. A running merger has its journals to itself.
    #[error("cannot open the journal of source {name}")]
    Folder {
        /// The source.
        name: String,
        /// What the storage said.
        source: OpenDiskError,
    },
}

/// Why nothing, or not all, is sent again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResendError {
    /// No record is there.
    #[error("no record of the journal is in the range; it holds the positions {oldest} to {end}")]
    Empty {
        /// The first position that is there.
        oldest: u64,
        /// The position after the last one.
        end: u64,
    },
    /// The journal cannot be read.
    #[error("cannot read the journal")]
    Open(#[from] OpenError),
    /// A cursor cannot be moved.
    #[error("cannot move the cursor back")]
    Rewind(#[from] RewindError),
    /// A record cannot be read.
    #[error("cannot read the journal")]
    Read(#[from] ReadError),
    /// The journal takes nothing more.
    #[error(
        "cannot append to the journal; {done} records of the range are appended, up to position {through}"
    )]
    Append {
        /// How many are.
        done: u64,
        /// The position of the last one that is.
        through: u64,
        /// Why.
        source: AppendError,
    },
    /// The end could not be marked; all that was appended is durable.
    #[error("journal did not close cleanly")]
    Close(#[from] CloseError),
}

impl JournalKind {
    fn folder(self) -> &'static str {
        match self {
            Self::Journal => JOURNAL_KIND,
            Self::DeadLetters => dead_letters::KIND,
        }
    }
}

impl Contents {
    fn add(&mut self, payload: &[u8], summary: Option<&Summary>) {
        self.records += 1;
        self.bytes += payload.len() as u64;
        let Some(summary) = summary else {
            self.unreadable += 1;
            return;
        };
        self.series += summary.series as u64;
        self.samples += (summary.samples + summary.histograms) as u64;
        if let Some(bounds) = summary.timestamps {
            self.earliest_ms = Some(self.earliest_ms.map_or(bounds.min_ms, |found| found.min(bounds.min_ms)));
            self.latest_ms = Some(self.latest_ms.map_or(bounds.max_ms, |found| found.max(bounds.max_ms)));
        }
    }
}

impl<'a> StoredJournal<'a> {
    /// The names of all journals of a kind that lie in the data folder, those of sources that are configured no more too.
    ///
    /// # Errors
    /// The folder cannot be read; one that does not exist holds none.
    pub fn names(config: &Config, kind: JournalKind) -> Result<Vec<String>, OpenJournalError> {
        let path = config.data.join(kind.folder());
        let failed = |source| OpenJournalError::List { path: path.clone(), source };
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_dir() {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Opens the journal `name`; `None` if there is none. Changes nothing. Blocks on files.
    ///
    /// # Errors
    /// It is in use, or its folder cannot be used.
    pub fn open(config: &'a Config, kind: JournalKind, name: &str) -> Result<Option<Self>, OpenJournalError> {
        let folder = config.data.join(kind.folder()).join(name);
        if !folder.is_dir() {
            return Ok(None);
        }
        let storage = DiskStorage::open(&folder)
            .map_err(|source| OpenJournalError::Folder { name: name.to_owned(), source })?;
        Ok(Some(Self { config, kind, name: name.to_owned(), folder, storage }))
    }

    /// Tells what is there and what of it is not delivered yet. Reads the whole journal.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn inspect(&self) -> Result<JournalReport, OpenError> {
        let limits = self.config.remote_limits();
        let mut segments: Vec<(String, Contents)> = Vec::new();
        let mut cursors: Vec<CursorReport> = self
            .survey(|_, _| ())?
            .cursors
            .into_iter()
            .map(|cursor| CursorReport {
                cursor: cursor.name,
                position: cursor.position.as_u64(),
                is_intact: cursor.state == CursorState::Intact,
                undelivered: Contents::default(),
            })
            .collect();
        let mut scratch = Vec::new();
        let survey = self.survey(|record, payload| {
            let summary = self.summary(payload, &limits, &mut scratch).ok();
            if segments.last().is_none_or(|(file, _)| file != record.file) {
                segments.push((record.file.to_owned(), Contents::default()));
            }
            if let Some((_, contents)) = segments.last_mut() {
                contents.add(payload, summary.as_ref());
            }
            let behind = cursors.iter_mut().filter(|cursor| cursor.position <= record.position.as_u64());
            behind.for_each(|cursor| cursor.undelivered.add(payload, summary.as_ref()));
        })?;
        let report = |segment: &sample_journal::SegmentSurvey| SegmentReport {
            file: self.folder.join(&segment.file),
            file_bytes: segment.bytes,
            first: segment.first.as_u64(),
            end: segment.end.as_u64(),
            contents: segments
                .iter()
                .find(|(file, _)| *file == segment.file)
                .map(|(_, contents)| *contents)
                .unwrap_or_default(),
        };
        Ok(JournalReport {
            source: self.name.clone(),
            segments: survey.segments.iter().map(report).collect(),
            cursors,
            damaged_places: survey.damage.len() as u64 + survey.damage_omitted,
            torn_bytes: survey.torn_tail.map_or(0, |torn| torn.bytes),
        })
    }

    /// Checks every checksum and decodes every record. Reads the whole journal.
    ///
    /// # Errors
    /// The files cannot be read, belong to another journal or to a later version. Damage is a fault, not an error.
    pub fn verify(&self) -> Result<Verified, OpenError> {
        let limits = self.config.remote_limits();
        let (mut faults, mut records) = (Vec::new(), 0);
        let mut scratch = Vec::new();
        let survey = self.survey(|record, payload| match self.summary(payload, &limits, &mut scratch) {
            Ok(_) => records += 1,
            Err(reason) => faults.push(Fault {
                file: self.folder.join(record.file),
                offset: record.offset,
                what: format!("record {} cannot be decoded: {reason}", record.position),
            }),
        })?;
        faults.extend(survey.damage.iter().map(|damage| self.fault(damage)));
        faults.extend(survey.cursors.iter().filter(|cursor| cursor.state != CursorState::Intact).map(
            |cursor| Fault {
                file: self.folder.join(format!("cursor-{}", cursor.name)),
                offset: 0,
                what: format!(
                    "cursor is damaged ({:?}): records from {} on are delivered again",
                    cursor.state, cursor.position
                ),
            },
        ));
        faults.sort_by(|one, two| (&one.file, one.offset).cmp(&(&two.file, two.offset)));
        Ok(Verified { source: self.name.clone(), kind: self.kind, records, faults })
    }

    /// Lets records be delivered again at the next start.
    ///
    /// Without `through`, the cursor of `destination` (or every cursor) moves back to `from`: all from there on comes
    /// again, in its order. With it, the records of the range are appended once more, and go to every destination.
    ///
    /// # Errors
    /// [`ResendError`].
    pub fn resend(
        self,
        destination: Option<&str>,
        from: Place,
        through: Option<Place>,
    ) -> Result<Resent, ResendError> {
        let (first, end, survey) = self.range(from, through)?;
        let records = end.saturating_sub(first);
        if through.is_some() {
            return self.append_again(first, end);
        }
        let all = || survey.cursors.iter().map(|cursor| cursor.name.clone()).collect();
        let names: Vec<String> = destination.map_or_else(all, |name| vec![name.to_owned()]);
        let mut cursors = Vec::new();
        for name in names {
            let is_behind = |cursor: &&sample_journal::CursorRecovery| cursor.position.as_u64() <= first;
            let found = survey.cursors.iter().find(|cursor| cursor.name == name);
            if found.is_none_or(|cursor| !is_behind(&cursor)) {
                let id = self.config.journal_config(self.kind.folder(), &self.name).id;
                rewind_cursor(&self.storage, id, &name, Position::from_u64(first))?;
                cursors.push(name);
            }
        }
        Ok(Resent { from: first, end, records, cursors })
    }

    /// The positions of a range, of which something must be there.
    fn range(&self, from: Place, through: Option<Place>) -> Result<(u64, u64, Survey), ResendError> {
        let limits = self.config.remote_limits();
        let (mut first, mut last) = (None, None);
        let mut scratch = Vec::new();
        let survey = self.survey(|record, payload| {
            let position = record.position.as_u64();
            let times = self.summary(payload, &limits, &mut scratch).ok().and_then(|found| found.timestamps);
            let is_from = match from {
                Place::Position(from) => position >= from,
                Place::Time(from) => times.is_some_and(|bounds| bounds.max_ms >= from),
            };
            let is_through = match through {
                None => true,
                Some(Place::Position(through)) => position <= through,
                Some(Place::Time(through)) => times.is_some_and(|bounds| bounds.min_ms <= through),
            };
            if is_from && first.is_none() {
                first = Some(position);
            }
            if is_through {
                last = Some(position);
            }
        })?;
        match (first, last) {
            (Some(first), Some(last)) if first <= last => Ok((first, last + 1, survey)),
            _ => Err(ResendError::Empty { oldest: survey.oldest.as_u64(), end: survey.end.as_u64() }),
        }
    }

    fn append_again(self, first: u64, end: u64) -> Result<Resent, ResendError> {
        let mut config = self.config.journal_config(self.kind.folder(), &self.name);
        config.release_on_open = false;
        let (journal, _) = Journal::open(self.storage, config, JournalHooks::default())?;
        let mut reader = journal.reader(Position::from_u64(first));
        let mut payload = Vec::new();
        let mut records = 0;
        let mut through = first;
        while reader.position().as_u64() < end {
            match reader.next(&mut payload) {
                Ok(None) => break,
                Ok(Some(record)) => {
                    let failed = |source| ResendError::Append { done: records, through, source };
                    journal.append_blocking(&[&payload]).map_err(failed)?;
                    records += 1;
                    through = record.position.as_u64();
                }
                // What is lost cannot be sent again; `verify` tells it.
                Err(ReadError::Damaged(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        journal.close()?;
        Ok(Resent { from: first, end, records, cursors: Vec::new() })
    }

    fn survey(
        &self,
        mut visit: impl FnMut(&sample_journal::SurveyedRecord<'_>, &[u8]),
    ) -> Result<Survey, OpenError> {
        let id = self.config.journal_config(self.kind.folder(), &self.name).id;
        survey(&self.storage, id, &mut |record| visit(&record, record.payload))
    }

    /// Decodes a record and tells what stands in it.
    fn summary(&self, payload: &[u8], limits: &Limits, scratch: &mut Vec<u8>) -> Result<Summary, String> {
        match self.kind {
            JournalKind::Journal => deliver::summary(payload, limits, scratch),
            JournalKind::DeadLetters => {
                DeadLetter::parse(Position::START, payload).header?;
                let body = dead_letters::body(payload);
                prom_remote::decompress(body, limits, scratch).map_err(|error| error.to_string())?;
                let view = prom_remote::WriteRequestView::new(scratch);
                view.summary(limits).map_err(|error| error.to_string())
            }
        }
    }

    fn fault(&self, damage: &Damage) -> Fault {
        let Damage { kind, file, offset, bytes, first, end, .. } = damage;
        let what = if first == end {
            format!("{kind:?} is damaged: {bytes} bytes")
        } else {
            format!("{kind:?} {first} to {end} (exclusive) are lost: {bytes} bytes are damaged")
        };
        Fault { file: self.folder.join(file), offset: *offset, what }
    }
}
