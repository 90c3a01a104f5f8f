use crate::{
    ChunkError, ChunkErrorKind, Sample,
    bits::BitReader,
    float_value::{FloatReader, Window},
    varbit::signed,
};

/// Walks the samples of an XOR chunk.
///
/// After an error the walk ends. Takes no memory; cheap to clone.
#[derive(Debug, Clone)]
pub struct XorSamples<'a> {
    state: State<'a>,
    count: u32,
    done: u32,
}

/// What is known after a sample; small and copied, to live in registers.
#[derive(Debug, Clone, Copy)]
struct State<'a> {
    reader: BitReader<'a>,
    timestamp: i64,
    delta: i64,
    value: FloatReader,
}

impl<'a> XorSamples<'a> {
    /// Looks at a chunk: the bytes of the message, without the block format's length and checksum.
    ///
    /// # Errors
    /// No header, or more samples declared than the bytes can hold.
    pub fn new(chunk: &'a [u8]) -> Result<Self, ChunkError> {
        let (count, reader) = start(chunk, HEADER, MIN_BITS)?;
        let state = State { reader, timestamp: 0, delta: 0, value: FloatReader::default() };
        Ok(Self { state, count: count.into(), done: 0 })
    }

    /// The number of samples that are still to come, if the chunk is sound.
    pub fn remaining(&self) -> usize {
        (self.count - self.done) as usize
    }
}

impl Iterator for XorSamples<'_> {
    type Item = Result<Sample, ChunkError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done >= self.count {
            return None;
        }
        // No reference to the state may leave this function, or a loop could not keep it in registers.
        let advanced = if self.done >= 2 {
            self.state.advance()
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
        Some(Ok(Sample { timestamp_ms: self.state.timestamp, value_bits: self.state.value.bits }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.remaining()))
    }

    #[inline]
    fn fold<B, F: FnMut(B, Self::Item) -> B>(mut self, init: B, mut fold: F) -> B {
        let mut accumulated = init;
        while self.done < 2 {
            let Some(item) = self.next() else { return accumulated };
            accumulated = fold(accumulated, item);
        }
        let mut state = self.state;
        for done in self.done..self.count {
            if let Err(kind) = state.advance() {
                return fold(accumulated, Err(error_at(kind, done, state.reader.bit_position())));
            }
            let sample = Sample { timestamp_ms: state.timestamp, value_bits: state.value.bits };
            accumulated = fold(accumulated, Ok(sample));
        }
        accumulated
    }
}

impl<'a> State<'a> {
    /// Reads the third sample or a later one.
    #[inline(always)]
    fn advance(&mut self) -> Result<(), ChunkErrorKind> {
        self.reader.refill();
        if self.reader.word() >> 62 == 0 {
            // The same distance and the same value: the most frequent sample of all.
            if self.reader.valid() < 2 {
                return Err(ChunkErrorKind::Truncated);
            }
            self.reader.consume(2);
            self.timestamp = self.timestamp.wrapping_add(self.delta);
            return Ok(());
        }
        if self.reader.word() >> 63 == 0 {
            self.reader.consume(1);
        } else {
            let change = read_change(&mut self.reader)?;
            self.delta = self.delta.wrapping_add(change);
        }
        self.timestamp = self.timestamp.wrapping_add(self.delta);
        self.advance_value()
    }

    #[inline(always)]
    fn advance_value(&mut self) -> Result<(), ChunkErrorKind> {
        // After the refill and at most 20 bits of a change, or after another refill: enough for all control bits.
        let word = self.reader.word();
        if word >> 63 == 0 {
            if self.reader.valid() < 1 {
                return Err(ChunkErrorKind::Truncated);
            }
            self.reader.consume(1);
            return Ok(());
        }
        let is_new = word >> 62 & 1 != 0;
        let control = if is_new { 13 } else { 2 };
        if self.reader.valid() < control {
            return Err(ChunkErrorKind::Truncated);
        }
        if is_new {
            self.value.window = Window::from_bits(word >> 51)?;
        }
        self.reader.consume(control);
        self.value.bits ^= self.value.window.read_difference(&mut self.reader)?;
        Ok(())
    }

    #[inline(never)]
    fn advanced_to_first(mut self, index: u32) -> (State<'a>, Result<(), ChunkErrorKind>) {
        let advanced = self.advance_to_first(index);
        (self, advanced)
    }

    fn advance_to_first(&mut self, index: u32) -> Result<(), ChunkErrorKind> {
        if index == 0 {
            self.timestamp = self.reader.read_varint()?;
            self.value.bits = self.reader.read(64)?;
            return Ok(());
        }
        self.delta = self.reader.read_uvarint()? as i64;
        self.timestamp = self.timestamp.wrapping_add(self.delta);
        self.value.read(&mut self.reader)
    }
}

/// Reads a change of the distance that is not zero; afterwards at least 16 bits are valid, or all that are left.
#[inline(always)]
fn read_change(reader: &mut BitReader<'_>) -> Result<i64, ChunkErrorKind> {
    let ones = (!reader.word()).leading_zeros().min(4);
    let (prefix, width) = match ones {
        1 => (2, 14),
        2 => (3, 17),
        3 => (4, 20),
        _ => {
            if reader.valid() < 4 {
                return Err(ChunkErrorKind::Truncated);
            }
            reader.consume(4);
            let change = reader.read(64)? as i64;
            reader.refill();
            return Ok(change);
        }
    };
    if reader.valid() < prefix + width {
        return Err(ChunkErrorKind::Truncated);
    }
    let raw = reader.word() << prefix >> (64 - width);
    reader.consume(prefix + width);
    Ok(signed(raw, width))
}

/// Reads the number of samples and moves to the first; `header` and `min_bits` are those of the encoding.
pub(crate) fn start(
    chunk: &[u8],
    header: usize,
    min_bits: usize,
) -> Result<(u16, BitReader<'_>), ChunkError> {
    let reader = BitReader::new(chunk, header);
    let count = match chunk.first_chunk::<2>() {
        Some(count) if chunk.len() >= header => u16::from_be_bytes(*count),
        _ => return Err(ChunkError { kind: ChunkErrorKind::Truncated, sample: 0, bit: 0 }),
    };
    check_count(count, min_bits, &reader)?;
    Ok((count, reader))
}

/// Refuses a number of samples that takes more than all the bits.
pub(crate) fn check_count(count: u16, min_bits: usize, reader: &BitReader<'_>) -> Result<(), ChunkError> {
    if usize::from(count) * min_bits > reader.remaining() {
        let kind = ChunkErrorKind::ImpossibleCount { declared: count };
        return Err(error_at(kind, 0, reader.bit_position()));
    }
    Ok(())
}

#[cold]
pub(crate) fn error_at(kind: ChunkErrorKind, sample: u32, bit: usize) -> ChunkError {
    ChunkError { kind, sample, bit: u32::try_from(bit).unwrap_or(u32::MAX) }
}

/// The number of samples.
const HEADER: usize = 2;
/// A bit for the timestamp and one for the value.
const MIN_BITS: usize = 2;
