//! Walks the records of a segment, telling damage from data.

use std::io;

use super::{HEADER_BYTES, RECORD_HEADER, RECORD_HEADER_BYTES, RecordHeader};
use crate::storage::{ReadFile, read_full};

/// Reads a segment's records in order and finds its way again behind damage.
///
/// Holds one window of the file; a payload larger than the window goes straight to the caller's buffer.
pub(crate) struct Scanner {
    file: Box<dyn ReadFile>,
    salt: u32,
    end: u64,
    offset: u64,
    expected: u64,
    window: Vec<u8>,
    window_start: u64,
}

/// What stands at the scanner's place.
#[derive(Debug)]
pub(crate) enum Step {
    /// An intact record; its payload is in the caller's buffer.
    Record(RecordHeader),
    /// The mark of a clean end.
    Seal(RecordHeader),
    /// Bytes that are not an intact record of the expected number.
    Damaged(Hole),
    /// The readable bytes are used up.
    End,
}

/// A stretch of damage.
#[derive(Debug, Clone)]
pub(crate) struct Hole {
    /// The first record that is missing.
    pub(crate) first: u64,
    /// The next record that is there; `None` if none is.
    pub(crate) end: Option<u64>,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// The header, if that much is intact.
    pub(crate) header: Option<RecordHeader>,
}

impl Scanner {
    /// Starts at the first record of a segment, of which bytes up to `end` may be read.
    pub(crate) fn new(file: Box<dyn ReadFile>, salt: u32, first: u64, end: u64) -> Self {
        Self { file, salt, end, offset: HEADER_BYTES, expected: first, window: Vec::new(), window_start: 0 }
    }

    /// Allows reading up to `end`, as the file has grown.
    pub(crate) fn extend(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    /// The file offset of the next step.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The sequence number of the record that should come next.
    pub(crate) fn expected(&self) -> u64 {
        self.expected
    }

    /// Looks for the first intact record header in the file, whatever its number.
    pub(crate) fn find_first(&mut self) -> io::Result<Option<RecordHeader>> {
        let found = self.find_header(HEADER_BYTES, 0, u64::MAX)?;
        Ok(found.map(|(_, header)| header))
    }

    /// Moves on to record `sequence` without reading payloads. Damage before it is passed over; if the record itself
    /// is missing, the next step says so.
    pub(crate) fn seek(&mut self, sequence: u64) -> io::Result<()> {
        while self.expected < sequence {
            match self.header_at(self.offset)? {
                Some(header) if header.length.is_some() && self.is_next(&header) => self.pass(&header),
                _ => match self.find_next(self.offset)? {
                    Some((offset, header)) if header.sequence <= sequence => {
                        self.offset = offset;
                        self.expected = header.sequence;
                        if header.length.is_none() {
                            return Ok(());
                        }
                    }
                    _ => {
                        self.expected = sequence;
                        return Ok(());
                    }
                },
            }
        }
        Ok(())
    }

    /// Takes one step; `payload` is overwritten if it is a record.
    pub(crate) fn step(&mut self, payload: &mut Vec<u8>) -> io::Result<Step> {
        payload.clear();
        if self.offset >= self.end {
            return Ok(Step::End);
        }
        let offset = self.offset;
        match self.header_at(offset)? {
            Some(header) if header.length.is_none() && header.sequence == self.expected => {
                self.offset = offset + RECORD_HEADER;
                Ok(Step::Seal(header))
            }
            Some(header) if self.is_next(&header) => {
                self.read_payload(offset + RECORD_HEADER, &header, payload)?;
                self.pass(&header);
                if crc32c::crc32c(payload) == header.payload_crc {
                    return Ok(Step::Record(header));
                }
                payload.clear();
                Ok(Step::Damaged(Hole {
                    first: header.sequence,
                    end: Some(self.expected),
                    offset,
                    bytes: header.frame_bytes(),
                    header: Some(header),
                }))
            }
            other => self.damage(offset, other),
        }
    }

    fn damage(&mut self, offset: u64, header: Option<RecordHeader>) -> io::Result<Step> {
        let first = self.expected;
        let header = header.filter(|header| header.sequence == first);
        let next = self.find_next(offset)?;
        self.offset = next.as_ref().map_or(self.end, |(offset, _)| *offset);
        self.expected = next.as_ref().map_or(first, |(_, header)| header.sequence);
        let end = next.map(|(_, header)| header.sequence);
        Ok(Step::Damaged(Hole { first, end, offset, bytes: self.offset - offset, header }))
    }

    /// Whether a header at the current offset is that of the expected record, and the whole record fits.
    fn is_next(&self, header: &RecordHeader) -> bool {
        header.sequence == self.expected && self.fits(self.offset, header)
    }

    fn fits(&self, offset: u64, header: &RecordHeader) -> bool {
        offset.checked_add(header.frame_bytes()).is_some_and(|end| end <= self.end)
    }

    fn pass(&mut self, header: &RecordHeader) {
        self.offset += header.frame_bytes();
        self.expected = header.sequence + 1;
    }

    /// Finds the nearest intact header from `offset` on whose number may follow the expected one. A record takes at
    /// least a header's bytes, so the file's size bounds the number.
    fn find_next(&mut self, offset: u64) -> io::Result<Option<(u64, RecordHeader)>> {
        let highest = self.expected.saturating_add(self.end / RECORD_HEADER);
        self.find_header(offset, self.expected, highest)
    }

    fn find_header(
        &mut self,
        from: u64,
        lowest: u64,
        highest: u64,
    ) -> io::Result<Option<(u64, RecordHeader)>> {
        let mut offset = from;
        while let Some(bytes) = self.peek(offset, RECORD_HEADER_BYTES)? {
            let sequence =
                bytes.get(8..16).and_then(|field| field.try_into().ok()).map_or(0, u64::from_le_bytes);
            if (lowest..=highest).contains(&sequence)
                && let Some(header) = self.header_at(offset)?
                && self.fits(offset, &header)
            {
                return Ok(Some((offset, header)));
            }
            offset += 1;
        }
        Ok(None)
    }

    fn header_at(&mut self, offset: u64) -> io::Result<Option<RecordHeader>> {
        let salt = self.salt;
        let bytes = self.peek(offset, RECORD_HEADER_BYTES)?;
        Ok(bytes.and_then(|bytes| bytes.first_chunk()).and_then(|bytes| RecordHeader::decode(bytes, salt)))
    }

    fn read_payload(&mut self, offset: u64, header: &RecordHeader, payload: &mut Vec<u8>) -> io::Result<()> {
        // `fits` has bounded the length by the file's size.
        let length = usize::try_from(header.length.unwrap_or(0)).map_err(io::Error::other)?;
        if length <= WINDOW_BYTES {
            let bytes = self.peek(offset, length)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            payload.extend_from_slice(bytes);
            return Ok(());
        }
        payload.resize(length, 0);
        let count = read_full(self.file.as_ref(), offset, payload)?;
        if count < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Returns `length` bytes (at most a window) at `offset`, or `None` if the readable bytes do not reach so far.
    fn peek(&mut self, offset: u64, length: usize) -> io::Result<Option<&[u8]>> {
        let Some(available) = self.end.checked_sub(offset).filter(|available| *available >= length as u64)
        else {
            return Ok(None);
        };
        let window_end = self.window_start + self.window.len() as u64;
        let is_inside = offset >= self.window_start && offset + length as u64 <= window_end;
        if !is_inside {
            self.window.resize(usize::try_from(available).unwrap_or(usize::MAX).min(WINDOW_BYTES), 0);
            self.window_start = offset;
            let count = match read_full(self.file.as_ref(), offset, &mut self.window) {
                Ok(count) => count,
                Err(error) => {
                    self.window.clear();
                    return Err(error);
                }
            };
            self.window.truncate(count);
        }
        let start = usize::try_from(offset - self.window_start).unwrap_or(usize::MAX);
        let bytes = self.window.get(start..).and_then(|rest| rest.get(..length));
        bytes.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()).map(Some)
    }
}

const WINDOW_BYTES: usize = 64 * 1024;
