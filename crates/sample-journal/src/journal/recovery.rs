//! Opening: what is there, what of it is to be believed, and where to go on.

use std::io;

use super::{
    ConfigError, JournalConfig, Verify,
    state::{SegmentMeta, State},
    tail::{Holes, TailScan},
};
use crate::{
    cursor::{CursorError, CursorRecovery, CursorState, Cursors, TEMPORARY},
    position::Position,
    segment::{self, BadHeader, HEADER_BYTES, Hole, RecordHeader, Scanner, SegmentHeader, Step},
    storage::{Storage, read_full, with_reserve},
};

/// What opening a journal found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Records that are there, damaged ones included.
    pub records: u64,
    /// The first of them.
    pub oldest: Position,
    /// The place after the last of them: where appending goes on.
    pub durable_end: Position,
    /// Segment files in use.
    pub segments: u64,
    /// Segments removed on opening because every cursor had passed them.
    pub released_segments: u64,
    /// The unfinished commit that was cut off, if there was one.
    pub torn_tail: Option<TornTail>,
    /// Records of the last commit that were copied into a new segment, as no completed sync is known to cover them.
    pub copied_records: u64,
    /// Acknowledged records that are lost, and other damage, in file order. At most 1024 entries per segment.
    pub damage: Vec<Damage>,
    /// How many more there are.
    pub damage_omitted: u64,
    /// All cursors, by name.
    pub cursors: Vec<CursorRecovery>,
}

/// The remains of a commit that was never acknowledged. The bytes stay in the file, and are never read again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornTail {
    /// The segment's file.
    pub file: String,
    /// Where the remains begin.
    pub offset: u64,
    /// How many bytes there are, to the end of the file.
    pub bytes: u64,
    /// The first record that is cut off; its number is given again.
    pub first: Position,
    /// Intact records of the same commit behind the first torn one.
    pub intact_records: u64,
}

/// A stretch of a file that does not hold what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// What it is that is damaged.
    pub kind: DamageKind,
    /// The file.
    pub file: String,
    /// Where the damage begins.
    pub offset: u64,
    /// How many bytes are damaged; 0 if they are missing altogether.
    pub bytes: u64,
    /// The first record that is lost.
    pub first: Position,
    /// The next record that is there; equal to `first` if none is lost.
    pub end: Position,
}

/// What is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// Records `first..end`.
    Records,
    /// A segment's header. Its records are read all the same, except those that are told separately.
    SegmentHeader,
    /// A whole segment: nothing in it can be read. It stays on disk, and is not used. How many records it held is
    /// unknown; where a later segment shows it, they are told as `Records`.
    Segment,
    /// No file: a cursor says that records up to `end` were durable, and the last of them are not there.
    BeforeCursor,
}

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The limits do not fit together.
    #[error("invalid journal configuration")]
    Config(#[from] ConfigError),
    /// A segment belongs to another journal.
    #[error("segment file {file} belongs to another journal")]
    ForeignSegment {
        /// The file.
        file: String,
    },
    /// A segment was written by a later version of this code.
    #[error("segment file {file} has format version {version}, this code reads version {}", segment::VERSION)]
    UnsupportedVersion {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
    /// The storage failed.
    #[error("cannot {activity}")]
    Storage {
        /// What was being done, as in "cannot …".
        activity: &'static str,
        /// What the storage said.
        source: io::Error,
    },
    /// A cursor could not be stored again.
    #[error("cannot store a cursor")]
    Cursor(#[from] CursorError),
    /// The writer thread could not be started.
    #[error("cannot start the writer thread")]
    Thread(#[source] io::Error),
}

pub(super) struct Opened {
    pub(super) state: State,
    pub(super) cursors: Cursors,
    pub(super) next_number: u64,
    pub(super) recovery: Recovery,
}

pub(super) fn recover(storage: &dyn Storage, config: &JournalConfig) -> Result<Opened, OpenError> {
    let files = storage.list().map_err(failed("list the journal's files"))?;
    let names: Vec<String> = files.into_iter().map(|file| file.name).collect();
    for name in names.iter().filter(|name| name.ends_with(TEMPORARY) && is_ours(name)) {
        storage.remove(name).map_err(failed("remove an unfinished file"))?;
    }
    // What is found by its name now must not be gone after the next crash.
    storage.sync_directory().map_err(failed("sync the journal's directory"))?;
    let (mut cursors, cursor_recoveries) =
        Cursors::load(storage, config.id, &names).map_err(failed("read the cursors"))?;
    let mut recoverer = Recoverer::new(storage, config, cursor_recoveries);
    recoverer.find_segments(&names)?;
    let has_reset = recoverer.recovery.cursors.iter().any(|cursor| cursor.state == CursorState::Reset);
    if has_reset {
        // What the lost cursor still needs is unknown: nothing is removed, and it starts at the oldest record.
        cursors.place_reset(&mut recoverer.recovery.cursors, recoverer.state.oldest());
    }
    cursors.store_again(storage)?;
    if let Some(slowest) = cursors.slowest().filter(|_| config.release_on_open && !has_reset) {
        recoverer.release(slowest)?;
    }
    recoverer.verify_earlier_segments()?;
    recoverer.recover_last_segment()?;
    recoverer.catch_up_with(cursors.fastest().unwrap_or(0));
    Ok(recoverer.finish(cursors))
}

struct Recoverer<'a> {
    storage: &'a dyn Storage,
    config: &'a JournalConfig,
    state: State,
    next_number: u64,
    recovery: Recovery,
}

impl<'a> Recoverer<'a> {
    fn new(storage: &'a dyn Storage, config: &'a JournalConfig, cursors: Vec<CursorRecovery>) -> Self {
        let recovery = Recovery {
            records: 0,
            oldest: Position::START,
            durable_end: Position::START,
            segments: 0,
            released_segments: 0,
            torn_tail: None,
            copied_records: 0,
            damage: Vec::new(),
            damage_omitted: 0,
            cursors,
        };
        Self { storage, config, state: State::default(), next_number: 0, recovery }
    }

    fn find_segments(&mut self, names: &[String]) -> Result<(), OpenError> {
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment::parse_file_name(name)).collect();
        numbers.sort_unstable();
        self.next_number = numbers.last().map_or(0, |number| number + 1);
        for number in numbers {
            self.find_segment(number)?;
        }
        Ok(())
    }

    fn find_segment(&mut self, number: u64) -> Result<(), OpenError> {
        let name = segment::file_name(number);
        let failed = failed("read a segment's header");
        let file = self.storage.open(&name).map_err(failed)?;
        let bytes = file.size().map_err(failed)?;
        let mut header = [0; HEADER_BYTES as usize];
        let count = read_full(file.as_ref(), 0, &mut header).map_err(failed)?;
        let header = header.get(..count).map_or(Err(BadHeader::Damaged), SegmentHeader::decode);
        let lowest = self.state.segments.back().map_or(0, |previous| previous.first);
        let first = match header {
            Err(BadHeader::Version(version)) => {
                return Err(OpenError::UnsupportedVersion { file: name, version });
            }
            Ok(header) if header.journal != self.config.id => {
                return Err(OpenError::ForeignSegment { file: name });
            }
            Ok(header) if header.number == number && header.first >= lowest => header.first,
            // The header is durable before anything follows it: this one was never used.
            Err(BadHeader::Damaged) if bytes <= HEADER_BYTES => {
                return self.storage.remove(&name).map_err(self::failed("remove an unfinished segment"));
            }
            _ => {
                let mut scanner = Scanner::new(file, segment::salt(self.config.id, number), 0, bytes);
                let found = scanner.find_first().map_err(failed)?.filter(|header| header.sequence >= lowest);
                let (kind, place) = match found {
                    Some(header) => (DamageKind::SegmentHeader, header.sequence),
                    None => (DamageKind::Segment, lowest),
                };
                let bytes_damaged = if found.is_some() { HEADER_BYTES } else { bytes };
                self.state.disk_bytes += bytes;
                self.report(Damage {
                    kind,
                    file: name,
                    offset: 0,
                    bytes: bytes_damaged,
                    first: Position(place),
                    end: Position(place),
                });
                if found.is_none() {
                    self.state.unreadable_segments += 1;
                    return Ok(());
                }
                self.state.disk_bytes -= bytes;
                place
            }
        };
        self.state.disk_bytes += bytes;
        self.state.segments.push_back(SegmentMeta { number, first, bytes, readable: bytes });
        Ok(())
    }

    /// Removes what no cursor needs, and with it what damage there is.
    fn release(&mut self, slowest: u64) -> Result<(), OpenError> {
        while self.state.segments.get(1).is_some_and(|successor| successor.first <= slowest) {
            let Some(meta) = self.state.segments.pop_front() else { break };
            self.remove_segment(&meta)?;
            self.recovery.released_segments += 1;
        }
        Ok(())
    }

    fn remove_segment(&mut self, meta: &SegmentMeta) -> Result<(), OpenError> {
        let name = segment::file_name(meta.number);
        self.storage.remove(&name).map_err(failed("remove a released segment"))?;
        self.storage.sync_directory().map_err(failed("sync the journal's directory"))?;
        self.state.disk_bytes -= meta.bytes;
        self.recovery.damage.retain(|damage| damage.file != name);
        Ok(())
    }

    fn scanner(&self, meta: &SegmentMeta) -> Result<Scanner, OpenError> {
        let failed = failed("read a segment");
        let file = self.storage.open(&segment::file_name(meta.number)).map_err(failed)?;
        Ok(Scanner::new(file, segment::salt(self.config.id, meta.number), meta.first, meta.readable))
    }

    fn verify_earlier_segments(&mut self) -> Result<(), OpenError> {
        let limits: Vec<u64> = self.state.segments.iter().skip(1).map(|successor| successor.first).collect();
        if self.config.verify == Verify::All {
            let metas: Vec<SegmentMeta> = self.state.segments.iter().copied().collect();
            for (meta, limit) in metas.iter().zip(limits) {
                self.verify_segment(meta, limit)?;
            }
        }
        Ok(())
    }

    /// Records before `limit` must all be there, as the next segment was begun after they were durable.
    fn verify_segment(&mut self, meta: &SegmentMeta, limit: u64) -> Result<(), OpenError> {
        let mut scanner = self.scanner(meta)?;
        let mut holes = Holes::default();
        let mut payload = Vec::new();
        while scanner.expected() < limit {
            let offset = scanner.offset();
            match scanner.step(&mut payload).map_err(failed("read a segment"))? {
                Step::Record(_) => {}
                Step::Damaged(hole) => {
                    let goes_on = hole.end.is_some();
                    holes.push(hole);
                    if !goes_on {
                        break;
                    }
                }
                Step::Seal(_) | Step::End => {
                    holes.push(Hole { first: scanner.expected(), end: None, offset, bytes: 0, header: None });
                    break;
                }
            }
        }
        self.report_holes(meta, holes, limit);
        Ok(())
    }

    fn recover_last_segment(&mut self) -> Result<(), OpenError> {
        let Some(meta) = self.state.segments.back().copied() else { return Ok(()) };
        let scan =
            TailScan::run(&mut self.scanner(&meta)?, &mut |_, _, _| ()).map_err(failed("read a segment"))?;
        self.state.durable_end = scan.end;
        let committed = scan.committed.min(scan.end);
        let file = segment::file_name(meta.number);
        if let Some(torn) = &scan.torn
            && torn.offset < meta.bytes
        {
            self.recovery.torn_tail = Some(TornTail {
                file,
                offset: torn.offset,
                bytes: meta.bytes - torn.offset,
                first: Position(scan.end),
                intact_records: scan.intact_after_torn,
            });
            if let Some(last) = self.state.segments.back_mut() {
                last.readable = torn.offset;
            }
        }
        self.report_holes(&meta, scan.damage, committed);
        if committed < scan.end {
            self.copy_uncertain(&meta, committed, scan.end)?;
        }
        Ok(())
    }

    /// Copies the last commit into a segment of its own. It can be read now, but perhaps only from a cache: its sync may
    /// have failed, or never been tried, and a sync now would not tell.
    fn copy_uncertain(&mut self, meta: &SegmentMeta, first: u64, end: u64) -> Result<(), OpenError> {
        let failed = failed("copy the last commit");
        let number = self.next_number;
        self.next_number += 1;
        let name = segment::file_name(number);
        let temporary = format!("{name}{TEMPORARY}");
        let copy = || self.write_copy(meta, first, end, number, &temporary);
        let bytes = with_reserve(self.storage, copy).map_err(failed)?;
        self.storage.rename(&temporary, &name).map_err(failed)?;
        if let Err(error) = self.storage.sync_directory() {
            // Its entry is not durable and may never be: the next opening must not find it and believe its seal.
            let _ = self.storage.remove(&name);
            return Err(failed(error));
        }
        self.state.segments.push_back(SegmentMeta { number, first, bytes, readable: bytes });
        self.state.disk_bytes += bytes;
        self.recovery.copied_records = end - first;
        if meta.first == first && self.recovery.torn_tail.is_none() {
            self.remove_segment(meta)?;
            self.state.segments.retain(|segment| segment.number != meta.number);
        }
        Ok(())
    }

    /// Writes the copy under a name of its own and returns its size.
    fn write_copy(
        &self,
        meta: &SegmentMeta,
        first: u64,
        end: u64,
        number: u64,
        temporary: &str,
    ) -> io::Result<u64> {
        let journal = self.config.id;
        let opened = self.storage.open(&segment::file_name(meta.number))?;
        let mut scanner =
            Scanner::new(opened, segment::salt(journal, meta.number), meta.first, meta.readable);
        scanner.seek(first)?;
        let salt = segment::salt(journal, number);
        match self.storage.remove(temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = self.storage.create(temporary)?;
        file.append(&SegmentHeader { journal, number, first }.encode())?;
        let mut bytes = HEADER_BYTES;
        let mut payload = Vec::new();
        while scanner.expected() < end {
            let Step::Record(header) = scanner.step(&mut payload)? else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            file.append(&[&header.encode(salt)[..], &payload].concat())?;
            bytes += header.frame_bytes();
        }
        let seal = RecordHeader::seal(end);
        file.append(&seal.encode(salt))?;
        file.sync_data()?;
        Ok(bytes + seal.frame_bytes())
    }

    /// Never gives a number again that a cursor has passed: its record would not be delivered.
    fn catch_up_with(&mut self, fastest: u64) {
        let end = self.state.durable_end;
        if fastest > end {
            let file =
                self.state.segments.back().map_or_else(String::new, |meta| segment::file_name(meta.number));
            let (first, end) = (Position(end), Position(fastest));
            self.report(Damage { kind: DamageKind::BeforeCursor, file, offset: 0, bytes: 0, first, end });
            self.state.durable_end = fastest;
        }
    }

    fn report_holes(&mut self, meta: &SegmentMeta, holes: Holes, limit: u64) {
        for hole in holes.kept {
            self.report(Damage {
                kind: DamageKind::Records,
                file: segment::file_name(meta.number),
                offset: hole.offset,
                bytes: hole.bytes,
                first: Position(hole.first),
                end: Position(hole.end.unwrap_or(limit).min(limit).max(hole.first)),
            });
        }
        self.recovery.damage_omitted += holes.omitted;
    }

    fn report(&mut self, damage: Damage) {
        self.recovery.damage.push(damage);
    }

    fn finish(self, cursors: Cursors) -> Opened {
        let Self { state, next_number, mut recovery, .. } = self;
        let oldest = state.oldest();
        recovery.oldest = Position(oldest);
        recovery.durable_end = Position(state.durable_end);
        recovery.records = state.durable_end.saturating_sub(oldest);
        recovery.segments = state.segments.len() as u64;
        recovery.damage.sort_by(|one, two| (&one.file, one.offset).cmp(&(&two.file, two.offset)));
        Opened { state, cursors, next_number, recovery }
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with("segment-") || name.starts_with("cursor-")
}

fn failed(activity: &'static str) -> impl Fn(io::Error) -> OpenError + Copy {
    move |source| OpenError::Storage { activity, source }
}
