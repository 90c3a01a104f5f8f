//! XOR2 chunks: control bits shared by timestamp and value, short stale markers, start timestamps.

use crate::{
    ChunkError, ChunkErrorKind, STALE_MARKER_BITS, Sample, StartedSample,
    bits::BitReader,
    float_value::Window,
    start_time::StartTimes,
    xor::{error_at, start},
};

/// Walks the samples of an XOR2 chunk, with their start timestamps.
///
/// After an error the walk ends. Takes no memory; cheap to clone.
#[derive(Debug, Clone)]
pub struct Xor2Samples<'a> {
    state: State<'a>,
    count: u32,
    done: u32,
}

#[derive(Debug, Clone, Copy)]
struct State<'a> {
    reader: BitReader<'a>,
    timestamp: i64,
    delta: i64,
    /// The last value that was no stale marker: differences are to it.
    baseline: u64,
    value_bits: u64,
    window: Window,
    starts: StartTimes,
}

impl<'a> Xor2Samples<'a> {
    /// Looks at a chunk: the bytes of the message, without the block format's length and checksum.
    ///
    /// # Errors
    /// No header, or more samples declared than the bytes can hold.
    pub fn new(chunk: &'a [u8]) -> Result<Self, ChunkError> {
        let (count, reader) = start(chunk, HEADER, MIN_BITS)?;
        let starts = StartTimes::new(chunk.get(2).copied().unwrap_or_default());
        let state = State {
            reader,
            timestamp: 0,
            delta: 0,
            baseline: 0,
            value_bits: 0,
            window: Window::default(),
            starts,
        };
        Ok(Self { state, count: count.into(), done: 0 })
    }

    /// The number of samples that are still to come, if the chunk is sound.
    pub fn remaining(&self) -> usize {
        (self.count - self.done) as usize
    }
}

impl Iterator for Xor2Samples<'_> {
    type Item = Result<StartedSample, ChunkError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done >= self.count {
            return None;
        }
        let advanced = if self.done >= 2 {
            self.state.advance(self.done)
        } else {
            let (state, advanced) = self.state.advanced_to_first(self.done);
            self.state = state;
            advanced
        };
        if let Err(kind) = advanced {
            let sample = self.done;
            self.done = self.count;
            return Some(Err(error_at(kind, sample, self.state.reader.bit_position())));
        }
        self.done += 1;
        let sample = Sample { timestamp_ms: self.state.timestamp, value_bits: self.state.value_bits };
        Some(Ok(StartedSample { sample, start_timestamp_ms: self.state.starts.current }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.remaining()))
    }
}

impl<'a> State<'a> {
    /// Reads the third sample or a later one.
    #[inline(always)]
    fn advance(&mut self, index: u32) -> Result<(), ChunkErrorKind> {
        let previous = self.timestamp;
        self.advance_joint()?;
        self.starts.read(index, previous, self.timestamp, &mut self.reader)
    }

    #[inline(never)]
    fn advanced_to_first(mut self, index: u32) -> (State<'a>, Result<(), ChunkErrorKind>) {
        let advanced = self.advance_to_first(index);
        (self, advanced)
    }

    fn advance_to_first(&mut self, index: u32) -> Result<(), ChunkErrorKind> {
        let previous = self.timestamp;
        if index == 0 {
            self.timestamp = self.reader.read_varint()?;
            self.value_bits = self.reader.read(64)?;
            if self.value_bits != STALE_MARKER_BITS {
                self.baseline = self.value_bits;
            }
        } else {
            self.delta = self.reader.read_uvarint()? as i64;
            self.timestamp = self.timestamp.wrapping_add(self.delta);
            self.advance_value()?;
        }
        self.starts.read(index, previous, self.timestamp, &mut self.reader)
    }

    /// Reads a sample whose control bits speak of timestamp and value.
    #[inline(always)]
    fn advance_joint(&mut self) -> Result<(), ChunkErrorKind> {
        self.reader.refill();
        let word = self.reader.word();
        let ones = (!word).leading_zeros().min(5);
        let (prefix, width) = match ones {
            0 => (1, 0),
            1 => (3, 0),
            2 => (3, 13),
            3 => (4, 20),
            _ => (5, 0),
        };
        if self.reader.valid() < prefix + width {
            return Err(ChunkErrorKind::Truncated);
        }
        match ones {
            0 => {
                self.reader.consume(1);
                self.value_bits = self.baseline;
            }
            1 => {
                self.reader.consume(3);
                if word >> 61 & 1 != 0 {
                    self.window = Window::read(&mut self.reader)?;
                }
                self.apply_difference()?;
            }
            2 | 3 => {
                self.reader.consume(prefix + width);
                let change = (word << prefix) as i64 >> (64 - width);
                self.delta = self.delta.wrapping_add(change);
            }
            4 => {
                self.reader.consume(5);
                self.delta = self.delta.wrapping_add(self.reader.read(64)? as i64);
            }
            _ => {
                self.reader.consume(5);
                self.value_bits = STALE_MARKER_BITS;
            }
        }
        self.timestamp = self.timestamp.wrapping_add(self.delta);
        if matches!(ones, 2..=4) { self.advance_value() } else { Ok(()) }
    }

    /// Reads a value that has control bits of its own.
    #[inline(always)]
    fn advance_value(&mut self) -> Result<(), ChunkErrorKind> {
        self.reader.refill();
        let ones = (!self.reader.word()).leading_zeros().min(3);
        let prefix = (ones + 1).min(3);
        if self.reader.valid() < prefix {
            return Err(ChunkErrorKind::Truncated);
        }
        self.reader.consume(prefix);
        match ones {
            0 => self.value_bits = self.baseline,
            1 => self.apply_difference()?,
            2 => {
                self.window = Window::read(&mut self.reader)?;
                self.apply_difference()?;
            }
            _ => self.value_bits = STALE_MARKER_BITS,
        }
        Ok(())
    }

    #[inline(always)]
    fn apply_difference(&mut self) -> Result<(), ChunkErrorKind> {
        self.baseline ^= self.window.read_difference(&mut self.reader)?;
        self.value_bits = self.baseline;
        Ok(())
    }
}

/// The number of samples, and the byte about start timestamps.
const HEADER: usize = 3;
/// The same distance and value.
const MIN_BITS: usize = 1;
