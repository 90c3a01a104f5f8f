//! Looks at the files of a journal that nobody has open, and changes nothing.

use std::io;

use crate::{
    cursor::{CursorError, CursorRecovery, Cursors},
    journal::{Damage, DamageKind, Holes, JournalId, OpenError, TailScan, TornTail},
    position::Position,
    segment::{self, BadHeader, HEADER_BYTES, Hole, RECORD_HEADER, Scanner, SegmentHeader, Step},
    storage::{Storage, read_full},
};

/// What the files of a journal hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// The segments in order; one of which nothing can be read is told as damage only.
    pub segments: Vec<SegmentSurvey>,
    /// All cursors, by name.
    pub cursors: Vec<CursorRecovery>,
    /// The oldest record that is there.
    pub oldest: Position,
    /// The place after the last one.
    pub end: Position,
    /// The unfinished commit that the next opening cuts off, if there is one.
    pub torn_tail: Option<TornTail>,
    /// Acknowledged records that are lost, and other damage, in file order. At most 1024 entries per segment.
    pub damage: Vec<Damage>,
    /// How many more there are.
    pub damage_omitted: u64,
}

/// One segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentSurvey {
    /// The file.
    pub file: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its first record.
    pub first: Position,
    /// The place after its last one.
    pub end: Position,
    /// How many of its records are intact.
    pub records: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
}

/// An intact record, shown while its file is read.
#[derive(Debug, Clone, Copy)]
pub struct SurveyedRecord<'a> {
    /// Where it stands in the journal.
    pub position: Position,
    /// The file.
    pub file: &'a str,
    /// Where its payload begins in the file.
    pub offset: u64,
    /// What was appended.
    pub payload: &'a [u8],
}

/// Why a cursor was not moved back. It is where it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewindError {
    /// The journal cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no such cursor.
    #[error("the journal has no cursor `{name}`")]
    NoCursor {
        /// The name.
        name: String,
    },
    /// It would move forward, past what was never done with.
    #[error("cursor `{name}` is at {current}: it does not move forward to {requested}")]
    Forward {
        /// The name.
        name: String,
        /// Where it is.
        current: Position,
        /// Where it should have gone.
        requested: Position,
    },
    /// The records were released.
    #[error("records from {requested} were released, the oldest is {oldest}")]
    Released {
        /// What is there.
        oldest: Position,
        /// Where it should have gone.
        requested: Position,
    },
    /// It cannot be stored.
    #[error(transparent)]
    Cursor(#[from] CursorError),
}

/// Reads every record of every segment and checks it as opening the journal would, but changes nothing: the journal must
/// not be open. `visit` is given each intact record in order. Memory: one record, and the damage told.
///
/// # Errors
/// Files of another journal or of a later version, failing storage.
pub fn survey(
    storage: &dyn Storage,
    journal: JournalId,
    visit: &mut dyn FnMut(SurveyedRecord<'_>),
) -> Result<Survey, OpenError> {
    let names = names(storage)?;
    let (_, cursors) = Cursors::load(storage, journal, &names).map_err(failed("read the cursors"))?;
    let mut surveyor = Surveyor { storage, journal, found: Found::default(), torn_tail: None, visit };
    surveyor.found.find(storage, journal, &names)?;
    let mut segments = Vec::new();
    let starts = std::mem::take(&mut surveyor.found.segments);
    for (index, start) in starts.iter().enumerate() {
        let limit = starts.get(index + 1).map(|next| next.first);
        segments.push(surveyor.read(start, limit)?);
    }
    let Surveyor { found: Found { mut damage, damage_omitted, .. }, torn_tail, .. } = surveyor;
    damage.sort_by(|one, two| (&one.file, one.offset).cmp(&(&two.file, two.offset)));
    let fastest = cursors.iter().map(|cursor| cursor.position).max().unwrap_or_default();
    let end = segments.last().map_or(Position::START, |last| last.end);
    if fastest > end {
        let file = segments.last().map_or_else(String::new, |last| last.file.clone());
        let kind = DamageKind::BeforeCursor;
        damage.push(Damage { kind, file, offset: 0, bytes: 0, first: end, end: fastest });
    }
    let oldest = segments.first().map_or(end, |first| first.first);
    Ok(Survey { segments, cursors, oldest, end: end.max(fastest), torn_tail, damage, damage_omitted })
}

/// Moves a cursor of a journal that nobody has open back to `position`, so that what comes from there on is read again.
/// Returns where it was.
///
/// # Errors
/// [`RewindError`]; the cursor is where it was, or if it cannot be stored, perhaps at the new place.
pub fn rewind_cursor(
    storage: &dyn Storage,
    journal: JournalId,
    name: &str,
    position: Position,
) -> Result<Position, RewindError> {
    let names = names(storage)?;
    let mut found = Found::default();
    found.find(storage, journal, &names)?;
    let (mut cursors, _) = Cursors::load(storage, journal, &names).map_err(failed("read the cursors"))?;
    let current = cursors.positions().into_iter().find(|(found, _)| found == name);
    let Some((_, current)) = current else { return Err(RewindError::NoCursor { name: name.to_owned() }) };
    if position > current {
        return Err(RewindError::Forward { name: name.to_owned(), current, requested: position });
    }
    let oldest = found.segments.first().map_or(current, |start| Position(start.first));
    if position < oldest {
        return Err(RewindError::Released { oldest, requested: position });
    }
    cursors.place(storage, name, position)?;
    Ok(current)
}

fn names(storage: &dyn Storage) -> Result<Vec<String>, OpenError> {
    let files = storage.list().map_err(failed("list the journal's files"))?;
    Ok(files.into_iter().map(|file| file.name).collect())
}

struct Start {
    number: u64,
    first: u64,
    bytes: u64,
}

#[derive(Default)]
struct Found {
    segments: Vec<Start>,
    damage: Vec<Damage>,
    damage_omitted: u64,
}

impl Found {
    /// Reads the headers.
    fn find(&mut self, storage: &dyn Storage, journal: JournalId, names: &[String]) -> Result<(), OpenError> {
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment::parse_file_name(name)).collect();
        numbers.sort_unstable();
        let failed = failed("read a segment's header");
        for number in numbers {
            let file_name = segment::file_name(number);
            let file = storage.open(&file_name).map_err(failed)?;
            let bytes = file.size().map_err(failed)?;
            let mut header = [0; HEADER_BYTES as usize];
            let count = read_full(file.as_ref(), 0, &mut header).map_err(failed)?;
            let lowest = self.segments.last().map_or(0, |previous| previous.first);
            match header.get(..count).map_or(Err(BadHeader::Damaged), SegmentHeader::decode) {
                Err(BadHeader::Version(version)) => {
                    return Err(OpenError::UnsupportedVersion { file: file_name, version });
                }
                Ok(header) if header.journal != journal => {
                    return Err(OpenError::ForeignSegment { file: file_name });
                }
                Ok(header) if header.number == number && header.first >= lowest => {
                    self.segments.push(Start { number, first: header.first, bytes });
                }
                // Never used.
                Err(BadHeader::Damaged) if bytes <= HEADER_BYTES => {}
                _ => {
                    let mut scanner = Scanner::new(file, segment::salt(journal, number), 0, bytes);
                    let first = scanner.find_first().map_err(failed)?.map(|header| header.sequence);
                    let first = first.filter(|first| *first >= lowest);
                    let (kind, place, damaged) = match first {
                        Some(first) => (DamageKind::SegmentHeader, Position(first), HEADER_BYTES),
                        None => (DamageKind::Segment, Position(lowest), bytes),
                    };
                    let damage =
                        Damage { kind, file: file_name, offset: 0, bytes: damaged, first: place, end: place };
                    self.damage.push(damage);
                    self.segments.extend(first.map(|first| Start { number, first, bytes }));
                }
            }
        }
        Ok(())
    }

    fn report(&mut self, file: &str, holes: Holes, limit: u64) {
        self.damage.extend(holes.kept.into_iter().map(|hole| Damage {
            kind: DamageKind::Records,
            file: file.to_owned(),
            offset: hole.offset,
            bytes: hole.bytes,
            first: Position(hole.first),
            end: Position(hole.end.unwrap_or(limit).min(limit).max(hole.first)),
        }));
        self.damage_omitted += holes.omitted;
    }
}

struct Surveyor<'a> {
    storage: &'a dyn Storage,
    journal: JournalId,
    found: Found,
    torn_tail: Option<TornTail>,
    visit: &'a mut dyn FnMut(SurveyedRecord<'_>),
}

impl Surveyor<'_> {
    /// Reads one segment, whose records before `limit` must all be there; the last one has no such limit.
    fn read(&mut self, start: &Start, limit: Option<u64>) -> Result<SegmentSurvey, OpenError> {
        let failed = failed("read a segment");
        let file = segment::file_name(start.number);
        let opened = self.storage.open(&file).map_err(failed)?;
        let salt = segment::salt(self.journal, start.number);
        let mut scanner = Scanner::new(opened, salt, start.first, start.bytes);
        let (mut records, mut payload_bytes) = (0, 0);
        let mut seen = |offset: u64, sequence: u64, payload: &[u8]| {
            records += 1;
            payload_bytes += payload.len() as u64;
            let (position, offset) = (Position(sequence), offset + RECORD_HEADER);
            (self.visit)(SurveyedRecord { position, file: &file, offset, payload });
        };
        let end = match limit {
            Some(limit) => {
                let holes = walk(&mut scanner, limit, &mut seen).map_err(failed)?;
                self.found.report(&file, holes, limit);
                limit
            }
            None => {
                let scan = TailScan::run(&mut scanner, &mut |offset, header, payload| {
                    seen(offset, header.sequence, payload);
                });
                let scan = scan.map_err(failed)?;
                self.found.report(&file, scan.damage, scan.committed.min(scan.end));
                self.torn_tail = scan.torn.filter(|torn| torn.offset < start.bytes).map(|torn| TornTail {
                    file: file.clone(),
                    offset: torn.offset,
                    bytes: start.bytes - torn.offset,
                    first: Position(scan.end),
                    intact_records: scan.intact_after_torn,
                });
                scan.end
            }
        };
        let (first, end) = (Position(start.first), Position(end));
        Ok(SegmentSurvey { file, bytes: start.bytes, first, end, records, payload_bytes })
    }
}

fn walk(scanner: &mut Scanner, limit: u64, seen: &mut dyn FnMut(u64, u64, &[u8])) -> io::Result<Holes> {
    let mut holes = Holes::default();
    let mut payload = Vec::new();
    while scanner.expected() < limit {
        let offset = scanner.offset();
        match scanner.step(&mut payload)? {
            Step::Record(header) => seen(offset, header.sequence, &payload),
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
    Ok(holes)
}

fn failed(activity: &'static str) -> impl Fn(io::Error) -> OpenError + Copy {
    move |source| OpenError::Storage { activity, source }
}
