//! The bytes of one message: a checked header, then filler up to the wanted size.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 4 | magic `kld1` |
//! | 4 | 4 | CRC-32C of the header's remainder (from offset 8 to the end of the producer id), big-endian |
//! | 8 | 8 | sequence: from 0, consecutive per (run, producer, epoch, partition), big-endian like all that follow |
//! | 16 | 8 | intended send time, nanoseconds since the Unix epoch |
//! | 24 | 8 | actual send time, nanoseconds since the Unix epoch |
//! | 32 | 8 | epoch: the producer process's start time, nanoseconds since the Unix epoch; a restart begins a new one |
//! | 40 | 1 + n | run id, length first |
//! | 41 + n | 1 + m | producer id, length first |
//! | 42 + n + m | rest | filler, ignored |

use std::{fmt, str::FromStr, sync::Arc};

const MAGIC: &[u8; 4] = b"kld1";
const CHECKED_FROM: usize = 8;
const FIXED_BYTES: usize = 42;

/// The largest message accepted by [`Header::encode`], bytes; Kafka's own default limit is lower.
pub const MAXIMUM_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// A run's, producer's or worker's name: 1 to 64 characters out of `A-Z a-z 0-9 . _ -`.
///
/// So it needs no quoting in metrics, in offset metadata or in file names. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identifier(Arc<str>);

impl Identifier {
    /// The longest name, bytes.
    pub const MAXIMUM_BYTES: usize = 64;

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn check(name: &str) -> bool {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=Self::MAXIMUM_BYTES).contains(&name.len()) && name.bytes().all(allowed)
    }
}

impl FromStr for Identifier {
    type Err = ParseIdentifierError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if Self::check(name) { Ok(Self(name.into())) } else { Err(ParseIdentifierError) }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The name is empty, too long, or has a character that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 64 characters out of letters, digits, '.', '_' and '-'")]
pub struct ParseIdentifierError;

/// What a message says of itself; the ids are borrowed from the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The run that the message belongs to; a valid [`Identifier`] when decoded.
    pub run: &'a str,
    /// The producer; a valid [`Identifier`] when decoded.
    pub producer: &'a str,
    /// The producer process's start time, nanoseconds since the Unix epoch.
    pub epoch: u64,
    /// Position in the stream (run, producer, epoch, partition), from 0.
    pub sequence: u64,
    /// When the schedule wanted the message sent, nanoseconds since the Unix epoch.
    pub intended_ns: u64,
    /// When it was handed to the client library, nanoseconds since the Unix epoch.
    pub sent_ns: u64,
}

/// Why bytes are no message of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Shorter than the header.
    #[error("message of {bytes} bytes ends inside the header")]
    Truncated {
        /// The message's length.
        bytes: usize,
    },
    /// Another program's message.
    #[error("message does not begin with the magic bytes")]
    ForeignMagic,
    /// The header was changed on the way.
    #[error("header checksum is {actual:08x}, expected {expected:08x}")]
    Checksum {
        /// As written in the header.
        expected: u32,
        /// As computed.
        actual: u32,
    },
    /// An id that no producer of ours writes.
    #[error("run or producer id is not a valid identifier")]
    Identifier,
}

/// The message size is too small for the header, or above the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("message size {requested} bytes is not between {minimum} (the header) and {MAXIMUM_MESSAGE_BYTES}")]
pub struct MessageSizeError {
    /// The size asked for.
    pub requested: usize,
    /// What the header needs.
    pub minimum: usize,
}

impl<'a> Header<'a> {
    /// Returns the encoded size without filler.
    pub fn encoded_bytes(&self) -> usize {
        FIXED_BYTES + self.run.len() + self.producer.len()
    }

    /// Writes the header over the beginning of `message`, whose length is the message's; the remainder is filler and stays.
    ///
    /// # Errors
    /// The message is shorter than the header, or too long, or an id is longer than 255 bytes.
    pub fn encode(&self, message: &mut [u8]) -> Result<(), MessageSizeError> {
        let minimum = self.encoded_bytes();
        let error = MessageSizeError { requested: message.len(), minimum };
        if message.len() < minimum || message.len() > MAXIMUM_MESSAGE_BYTES {
            return Err(error);
        }
        let (run_length, producer_length) = match (self.run.len().try_into(), self.producer.len().try_into())
        {
            (Ok(run), Ok(producer)) => (run, producer),
            _ => return Err(error),
        };
        let mut writer = Writer { buffer: message, position: CHECKED_FROM };
        for number in [self.sequence, self.intended_ns, self.sent_ns, self.epoch] {
            writer.put(&number.to_be_bytes());
        }
        writer.put(&[run_length]);
        writer.put(self.run.as_bytes());
        writer.put(&[producer_length]);
        writer.put(self.producer.as_bytes());
        let checksum = crc32c::crc32c(&message[CHECKED_FROM..minimum]);
        message[..4].copy_from_slice(MAGIC);
        message[4..8].copy_from_slice(&checksum.to_be_bytes());
        Ok(())
    }

    /// Reads the header at the beginning of a message.
    ///
    /// # Errors
    /// The bytes are not a message of ours; never panics.
    pub fn decode(message: &'a [u8]) -> Result<Self, DecodeError> {
        let truncated = DecodeError::Truncated { bytes: message.len() };
        let (magic, rest) = message.split_first_chunk::<4>().ok_or(truncated)?;
        if magic != MAGIC {
            return Err(DecodeError::ForeignMagic);
        }
        let (checksum, checked) = rest.split_first_chunk::<4>().ok_or(truncated)?;
        let mut reader = Reader { rest: checked };
        let header = reader.header().ok_or(truncated)?;
        let expected = u32::from_be_bytes(*checksum);
        let actual = crc32c::crc32c(&checked[..checked.len() - reader.rest.len()]);
        if expected != actual {
            return Err(DecodeError::Checksum { expected, actual });
        }
        let [run, producer] = [header.run, header.producer].map(|id| std::str::from_utf8(id).unwrap_or(""));
        if !Identifier::check(run) || !Identifier::check(producer) {
            return Err(DecodeError::Identifier);
        }
        let RawHeader { epoch, sequence, intended_ns, sent_ns, .. } = header;
        Ok(Self { run, producer, epoch, sequence, intended_ns, sent_ns })
    }
}

/// Makes the filler of a message: bytes that do not compress, the same for the same length.
pub fn filler(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(bytes)
    .collect()
}

struct Writer<'a> {
    buffer: &'a mut [u8],
    position: usize,
}

impl Writer<'_> {
    /// Copies; the caller has checked that the whole header fits.
    fn put(&mut self, bytes: &[u8]) {
        let end = self.position + bytes.len();
        self.buffer[self.position..end].copy_from_slice(bytes);
        self.position = end;
    }
}

struct RawHeader<'a> {
    sequence: u64,
    intended_ns: u64,
    sent_ns: u64,
    epoch: u64,
    run: &'a [u8],
    producer: &'a [u8],
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn header(&mut self) -> Option<RawHeader<'a>> {
        Some(RawHeader {
            sequence: self.number()?,
            intended_ns: self.number()?,
            sent_ns: self.number()?,
            epoch: self.number()?,
            run: self.text()?,
            producer: self.text()?,
        })
    }

    fn number(&mut self) -> Option<u64> {
        let (bytes, rest) = self.rest.split_first_chunk::<8>()?;
        self.rest = rest;
        Some(u64::from_be_bytes(*bytes))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first()?;
        let (text, rest) = rest.split_at_checked(usize::from(*length))?;
        self.rest = rest;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> Header<'static> {
        Header { run: "run-1", producer: "p1", epoch: 7, sequence: 42, intended_ns: 1_000, sent_ns: 2_000 }
    }

    fn encoded(header: &Header<'_>, extra: usize) -> Vec<u8> {
        let mut message = filler(header.encoded_bytes() + extra);
        header.encode(&mut message).expect("large enough");
        message
    }

    #[test]
    fn refuses_a_message_smaller_than_the_header() {
        let mut message = vec![0; example().encoded_bytes() - 1];
        let refused = example().encode(&mut message).expect_err("too small");
        assert_eq!(refused.minimum, 42 + 5 + 2);
    }

    #[test]
    fn names_what_is_wrong() {
        let message = encoded(&example(), 10);
        assert_eq!(Header::decode(&[]), Err(DecodeError::Truncated { bytes: 0 }));
        assert_eq!(Header::decode(b"{\"json\":1}"), Err(DecodeError::ForeignMagic));
        assert_eq!(Header::decode(&message[..45]), Err(DecodeError::Truncated { bytes: 45 }));
        let mut changed = message.clone();
        changed[15] ^= 1;
        assert!(matches!(Header::decode(&changed), Err(DecodeError::Checksum { .. })));
        let quoted = Header { run: "a\"b", ..example() };
        assert_eq!(Header::decode(&encoded(&quoted, 0)), Err(DecodeError::Identifier));
    }

    proptest! {
        #[test]
        fn round_trips(
            run in "[A-Za-z0-9._-]{1,64}",
            producer in "[A-Za-z0-9._-]{1,64}",
            numbers in any::<[u64; 4]>(),
            extra in 0usize..200,
        ) {
            let [epoch, sequence, intended_ns, sent_ns] = numbers;
            let header = Header { run: &run, producer: &producer, epoch, sequence, intended_ns, sent_ns };
            let message = encoded(&header, extra);
            prop_assert_eq!(Header::decode(&message), Ok(header));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), magic in any::<bool>()) {
            let mut bytes = bytes;
            if magic {
                bytes.splice(0..0, *MAGIC);
            }
            let _ = Header::decode(&bytes);
        }

        #[test]
        fn damaged_headers_are_noticed(position in 0usize..49, bit in 0u32..8) {
            let mut message = encoded(&example(), 5);
            message[position] ^= 1 << bit;
            prop_assert!(Header::decode(&message).is_err());
        }
    }
}
