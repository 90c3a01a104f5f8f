//! Reads durable records, independently of the writer.

use std::{fmt, io, sync::Arc};

use crate::{
    journal::{Damage, DamageKind, Shared},
    position::Position,
    segment::{self, Hole, Scanner, Step},
};

/// Reads the records of a journal in order, from any position on. Sees durable records only.
///
/// Holds one file open and at most 64 KiB of it in memory, besides the caller's buffer.
pub struct Reader {
    shared: Arc<Shared>,
    /// The next record to return.
    next: u64,
    /// Records before this are known to be durable.
    durable_end: u64,
    open: Option<OpenSegment>,
}

/// Where a record stands, and where the one after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordInfo {
    /// The record's position.
    pub position: Position,
    /// What to store in a cursor once the record is done with.
    pub next: Position,
}

/// Why there is no record to return. Except for `Storage`, the reader has moved behind the fault: the next call goes on there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Acknowledged records are lost.
    #[error("records {} to {} are damaged ({} bytes at {} of {})", .0.first, .0.end, .0.bytes, .0.offset, .0.file)]
    Damaged(Damage),
    /// The position is before the oldest record; the reader goes on at the oldest.
    #[error("records from {position} were released, the oldest is {oldest}")]
    Released {
        /// What was asked for.
        position: Position,
        /// What is there.
        oldest: Position,
    },
    /// The storage failed; the reader stays where it is, and the next call tries again.
    #[error("cannot read segment file {file}")]
    Storage {
        /// The file.
        file: String,
        /// What the storage said.
        source: io::Error,
    },
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, from: Position) -> Self {
        Self { shared, next: from.0, durable_end: 0, open: None }
    }

    /// Returns the position of the record that the next call looks for.
    pub fn position(&self) -> Position {
        Position(self.next)
    }

    /// Reads the next record into `payload`, replacing what is there; `None` means that the durable end is reached for now.
    ///
    /// # Errors
    /// [`ReadError`]; `payload` is then empty.
    pub fn next(&mut self, payload: &mut Vec<u8>) -> Result<Option<RecordInfo>, ReadError> {
        payload.clear();
        while self.next < self.durable_end || self.refresh() {
            let Some(mut open) = self.take_segment()? else { continue };
            let step = open.scanner.step(payload).map_err(|source| open.storage_error(source))?;
            let hole = match step {
                Step::Record(header) => {
                    self.next = header.sequence + 1;
                    self.open = Some(open);
                    let info = RecordInfo { position: Position(header.sequence), next: Position(self.next) };
                    return Ok(Some(info));
                }
                Step::Damaged(hole) => hole,
                Step::Seal(_) | Step::End => Hole {
                    first: self.next,
                    end: None,
                    offset: open.scanner.offset(),
                    bytes: 0,
                    header: None,
                },
            };
            payload.clear();
            let damage = open.damage(self.next, &hole);
            self.next = damage.end.0;
            self.open = Some(open);
            return Err(ReadError::Damaged(damage));
        }
        Ok(None)
    }

    /// Looks whether there is more than was known; returns whether the next record is durable.
    fn refresh(&mut self) -> bool {
        self.durable_end = self.shared.state().durable_end;
        self.next < self.durable_end
    }

    /// Takes the segment that holds the next record, with the scanner in front of that record. `None`: look again.
    fn take_segment(&mut self) -> Result<Option<OpenSegment>, ReadError> {
        if let Some(open) =
            self.open.take_if(|open| self.next < open.limit && open.scanner.expected() == self.next)
        {
            return Ok(Some(open));
        }
        let state = self.shared.state();
        let index = state.segments.partition_point(|segment| segment.first <= self.next);
        let Some(meta) = index.checked_sub(1).and_then(|index| state.segments.get(index)).copied() else {
            let (position, oldest) = (self.next, state.oldest());
            drop(state);
            self.next = oldest;
            let (position, oldest) = (Position(position), Position(oldest));
            return Err(ReadError::Released { position, oldest });
        };
        let limit = state.segments.get(index).map_or(state.durable_end, |successor| successor.first);
        drop(state);
        if let Some(mut open) = self.open.take()
            && open.number == meta.number
            && open.scanner.expected() == self.next
        {
            open.limit = limit;
            open.scanner.extend(meta.readable);
            return Ok(Some(open));
        }
        self.open_segment(meta.number, meta.first, meta.readable, limit)
    }

    fn open_segment(
        &self,
        number: u64,
        first: u64,
        readable: u64,
        limit: u64,
    ) -> Result<Option<OpenSegment>, ReadError> {
        let name = segment::file_name(number);
        let open = || {
            let file = self.shared.storage.open(&name)?;
            let mut scanner =
                Scanner::new(file, segment::salt(self.shared.config.id, number), first, readable);
            scanner.seek(self.next)?;
            Ok::<_, io::Error>(scanner)
        };
        match open() {
            Ok(scanner) => Ok(Some(OpenSegment { number, limit, scanner })),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_listed(number) => Ok(None),
            Err(source) => Err(ReadError::Storage { file: name, source }),
        }
    }

    fn is_listed(&self, number: u64) -> bool {
        self.shared.state().segments.iter().any(|segment| segment.number == number)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("next", &self.next).finish_non_exhaustive()
    }
}

struct OpenSegment {
    number: u64,
    /// Records from here on are in a later segment, or not durable yet.
    limit: u64,
    scanner: Scanner,
}

impl OpenSegment {
    fn damage(&self, first: u64, hole: &Hole) -> Damage {
        let end = hole.end.unwrap_or(self.limit).min(self.limit).max(first + 1);
        Damage {
            kind: DamageKind::Records,
            file: segment::file_name(self.number),
            offset: hole.offset,
            bytes: hole.bytes,
            first: Position(first),
            end: Position(end),
        }
    }

    fn storage_error(&self, source: io::Error) -> ReadError {
        ReadError::Storage { file: segment::file_name(self.number), source }
    }
}
