use crate::ChunkErrorKind::{self, Truncated, VarintTooLong};

/// Reads bits through one word that holds the next of them.
///
/// It is a small value on purpose: the loops of the decoders keep copies of it in registers, so nothing here may
/// take it by reference in a function that is not inlined.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// The first byte that is not, or not wholly, counted in `valid`.
    position: usize,
    /// The next bits, from the highest on. Bits past `valid` are those of the stream too, or zero.
    word: u64,
    /// How many bits of `word` count; after [`refill`](Self::refill) at least 56, or all that are left.
    valid: u32,
}

impl<'a> BitReader<'a> {
    /// Reads from byte `position` on.
    pub(crate) fn new(bytes: &'a [u8], position: usize) -> Self {
        Self { bytes, position, word: 0, valid: 0 }
    }

    /// Where the next bit stands, counted from the start of the bytes.
    pub(crate) fn bit_position(&self) -> usize {
        self.position * 8 - self.valid as usize
    }

    /// How many bits are left.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len().saturating_mul(8).saturating_sub(self.bit_position())
    }

    /// The next bits, highest first; only the first [`valid`](Self::valid) of them count.
    #[inline(always)]
    pub(crate) fn word(&self) -> u64 {
        self.word
    }

    #[inline(always)]
    pub(crate) fn valid(&self) -> u32 {
        self.valid
    }

    /// Makes at least 56 bits valid, or all that are left.
    #[inline(always)]
    pub(crate) fn refill(&mut self) {
        match self.bytes.get(self.position..).and_then(<[u8]>::first_chunk::<8>) {
            Some(next) => {
                // Also adds bits past the new `valid`; adding them again later changes nothing.
                self.word |= u64::from_be_bytes(*next) >> self.valid;
                self.position += ((63 - self.valid) >> 3) as usize;
                self.valid |= 56;
            }
            None => *self = self.refilled_near_the_end(),
        }
    }

    #[inline(never)]
    fn refilled_near_the_end(mut self) -> Self {
        // The word may hold bits past `valid` that the loop would add a second time, which changes nothing.
        while self.valid < 56 {
            let Some(byte) = self.bytes.get(self.position) else { break };
            self.word |= u64::from(*byte) << (56 - self.valid);
            self.position += 1;
            self.valid += 8;
        }
        self
    }

    /// Moves past `count` valid bits, at most 63.
    #[inline(always)]
    pub(crate) fn consume(&mut self, count: u32) {
        debug_assert!(count <= self.valid && count < 64);
        self.word <<= count;
        self.valid -= count;
    }

    /// Reads `count` bits, at most 64, into the low bits of the result.
    #[inline(always)]
    pub(crate) fn read(&mut self, count: u32) -> Result<u64, ChunkErrorKind> {
        if count > self.valid || count > 56 {
            self.refill();
            if count > self.valid || count > 56 {
                let (reader, bits) = self.read_in_two(count)?;
                *self = reader;
                return Ok(bits);
            }
        }
        // Shifts in two steps, for a count of 0.
        let bits = (self.word >> 1) >> (63 - count);
        self.consume(count);
        Ok(bits)
    }

    #[inline(never)]
    fn read_in_two(mut self, count: u32) -> Result<(Self, u64), ChunkErrorKind> {
        if self.remaining() < count as usize {
            return Err(Truncated);
        }
        let first = count / 2;
        let second = count - first;
        let mut bits = 0;
        for count in [first, second] {
            self.refill();
            bits = bits << count | (self.word >> 1) >> (63 - count);
            self.consume(count);
        }
        Ok((self, bits))
    }

    /// Reads an unsigned LEB128 number; its bytes need not be aligned.
    pub(crate) fn read_uvarint(&mut self) -> Result<u64, ChunkErrorKind> {
        let mut number = 0;
        for index in 0..10 {
            let byte = self.read(8)?;
            if index == 9 && byte > 1 {
                return Err(VarintTooLong);
            }
            number |= (byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(VarintTooLong)
    }

    /// Reads a zig-zag LEB128 number.
    pub(crate) fn read_varint(&mut self) -> Result<i64, ChunkErrorKind> {
        let number = self.read_uvarint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::bits::BitWriter;

    proptest! {
        #[test]
        fn reads_what_was_written(pieces in vec((any::<u64>(), 0..=64_u32), 0..200)) {
            let mut writer = BitWriter::after_header(vec![]);
            for (bits, count) in &pieces {
                writer.write(*bits, *count);
            }
            let bytes = writer.into_bytes();
            let mut reader = BitReader::new(&bytes, 0);
            let mut position = 0;
            for (bits, count) in pieces {
                let expected = if count == 64 { bits } else { bits & ((1 << count) - 1) };
                prop_assert_eq!(reader.read(count), Ok(expected));
                position += count as usize;
                prop_assert_eq!(reader.bit_position(), position);
                prop_assert_eq!(reader.remaining(), bytes.len() * 8 - position);
            }
            prop_assert_eq!(reader.read((bytes.len() * 8 - position) as u32 + 1), Err(Truncated));
        }

        #[test]
        fn varints_of_any_size_and_place(numbers in vec(any::<i64>().prop_flat_map(|n| (0..64_u32).prop_map(move |s| n >> s)), 1..20)) {
            let mut writer = BitWriter::after_header(vec![]);
            for number in &numbers {
                writer.write(1, 1);
                writer.write_varint(*number);
                writer.write_uvarint(*number as u64);
            }
            let bytes = writer.into_bytes();
            let mut reader = BitReader::new(&bytes, 0);
            for number in numbers {
                prop_assert_eq!(reader.read(1), Ok(1));
                prop_assert_eq!(reader.read_varint(), Ok(number));
                prop_assert_eq!(reader.read_uvarint(), Ok(number as u64));
            }
        }
    }

    #[test]
    fn a_varint_of_more_than_64_bits_is_refused() {
        let mut at = BitReader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], 0);
        assert_eq!(at.read_uvarint(), Ok(u64::MAX));
        let mut over = BitReader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], 0);
        assert_eq!(over.read_uvarint(), Err(VarintTooLong));
    }
}
