//! The bytes of a segment file: header, records, seal. See [`crate::format`].

mod scan;

pub(crate) use scan::{Hole, Scanner, Step};

use crate::journal::JournalId;

/// Size of a segment's header in bytes.
pub(crate) const HEADER_BYTES: u64 = 64;
/// Size of a record's header, and of a seal, in bytes.
pub(crate) const RECORD_HEADER_BYTES: usize = 24;
/// The same as a file offset.
pub(crate) const RECORD_HEADER: u64 = RECORD_HEADER_BYTES as u64;
/// The longest payload that the format allows, in bytes.
pub(crate) const MAX_PAYLOAD_BYTES: u64 = 1 << 30;
/// The version of the format that is written; the only one that is read.
pub(crate) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"\x89SJSEG\r\n";
const SEAL_LENGTH: u32 = u32::MAX;
/// Sequence numbers beyond this are damage: nobody appends that many records.
const MAX_SEQUENCE: u64 = 1 << 62;

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) journal: JournalId,
    pub(crate) number: u64,
    pub(crate) first: u64,
}

/// Why bytes are not a header of this version.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Too short, a wrong magic or a wrong checksum.
    Damaged,
    /// A good checksum, and a version that this code does not know.
    Version(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut writer = FieldWriter::default();
        writer.put(&MAGIC);
        writer.put(&VERSION.to_le_bytes());
        writer.put(&0u32.to_le_bytes());
        writer.put(&self.journal.0);
        writer.put(&self.number.to_le_bytes());
        writer.put(&self.first.to_le_bytes());
        writer.put(&[0; 12]);
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let bytes: &[u8; HEADER_BYTES as usize] = bytes.try_into().map_err(|_| BadHeader::Damaged)?;
        let mut reader = FieldReader::new(bytes);
        let magic: [u8; 8] = reader.take();
        let version = u32::from_le_bytes(reader.take());
        let _flags: [u8; 4] = reader.take();
        let journal = JournalId(reader.take());
        let number = u64::from_le_bytes(reader.take());
        let first = u64::from_le_bytes(reader.take());
        let _reserved: [u8; 12] = reader.take();
        let crc = u32::from_le_bytes(reader.take());
        if magic != MAGIC
            || crc != crc32c::crc32c(&bytes[..HEADER_BYTES as usize - 4])
            || first > MAX_SEQUENCE
        {
            return Err(BadHeader::Damaged);
        }
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        Ok(Self { journal, number, first })
    }
}

/// The value that a segment's record checksums start from, so that a record of one segment is not valid in another.
pub(crate) fn salt(journal: JournalId, number: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&journal.0), &number.to_le_bytes())
}

/// The fixed part in front of each payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    /// Bytes of payload; `None` for a seal.
    pub(crate) length: Option<u32>,
    /// How many records precede this one in the same commit.
    pub(crate) batch_index: u32,
    pub(crate) sequence: u64,
    pub(crate) payload_crc: u32,
}

impl RecordHeader {
    pub(crate) fn seal(sequence: u64) -> Self {
        Self { length: None, batch_index: 0, sequence, payload_crc: 0 }
    }

    pub(crate) fn encode(&self, salt: u32) -> [u8; RECORD_HEADER_BYTES] {
        let mut writer = FieldWriter::default();
        writer.put(&self.length.unwrap_or(SEAL_LENGTH).to_le_bytes());
        writer.put(&self.batch_index.to_le_bytes());
        writer.put(&self.sequence.to_le_bytes());
        writer.put(&self.payload_crc.to_le_bytes());
        writer.finish_salted(salt)
    }

    /// Decodes a header; `None` if its checksum or a value is wrong.
    pub(crate) fn decode(bytes: &[u8; RECORD_HEADER_BYTES], salt: u32) -> Option<Self> {
        let mut reader = FieldReader::new(bytes);
        let length = u32::from_le_bytes(reader.take());
        let batch_index = u32::from_le_bytes(reader.take());
        let sequence = u64::from_le_bytes(reader.take());
        let payload_crc = u32::from_le_bytes(reader.take());
        let crc = u32::from_le_bytes(reader.take());
        let length = (length != SEAL_LENGTH).then_some(length);
        let is_sane = length.is_none_or(|length| u64::from(length) <= MAX_PAYLOAD_BYTES)
            && sequence <= MAX_SEQUENCE
            && u64::from(batch_index) <= sequence;
        let is_whole = crc == crc32c::crc32c_append(salt, &bytes[..RECORD_HEADER_BYTES - 4]);
        (is_sane && is_whole).then_some(Self { length, batch_index, sequence, payload_crc })
    }

    /// All records before this sequence number were durable when this header was written.
    pub(crate) fn committed(&self) -> u64 {
        self.sequence.saturating_sub(u64::from(self.batch_index))
    }

    /// Bytes of header and payload.
    pub(crate) fn frame_bytes(&self) -> u64 {
        RECORD_HEADER + self.length.map_or(0, u64::from)
    }
}

/// Returns the file name of a segment.
pub(crate) fn file_name(number: u64) -> String {
    format!("segment-{number:020}.sj")
}

/// Returns the segment number in a file name, or `None` if it is not one that [`file_name`] makes.
pub(crate) fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("segment-")?.strip_suffix(".sj")?;
    let is_canonical = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_canonical { digits.parse().ok().filter(|number| *number < MAX_SEQUENCE) } else { None }
}

/// Puts fields one after another into an array that ends with a checksum.
pub(crate) struct FieldWriter<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

impl<const N: usize> Default for FieldWriter<N> {
    fn default() -> Self {
        Self { bytes: [0; N], used: 0 }
    }
}

impl<const N: usize> FieldWriter<N> {
    pub(crate) fn put(&mut self, field: &[u8]) {
        let end = self.used + field.len();
        self.bytes[self.used..end].copy_from_slice(field);
        self.used = end;
    }

    pub(crate) fn finish(self) -> [u8; N] {
        self.finish_salted(0)
    }

    pub(crate) fn finish_salted(mut self, salt: u32) -> [u8; N] {
        assert_eq!(self.used, N - 4, "the fields fill the array");
        let crc = crc32c::crc32c_append(salt, &self.bytes[..N - 4]);
        self.bytes[N - 4..].copy_from_slice(&crc.to_le_bytes());
        self.bytes
    }
}

/// Takes fields one after another from an array whose size is known to suffice.
pub(crate) struct FieldReader<'a> {
    rest: &'a [u8],
}

impl<'a> FieldReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.rest.split_first_chunk() {
            Some((field, rest)) => {
                self.rest = rest;
                *field
            }
            None => [0; N],
        }
    }
}
