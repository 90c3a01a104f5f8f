//! Doubles as the difference (XOR) to the one before: a window of significant bits, kept while it fits.

use crate::{
    ChunkErrorKind,
    bits::{BitReader, BitWriter},
};

/// Which bits of a difference are written: all but so many at either end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) leading: u32,
    pub(crate) trailing: u32,
}

impl Window {
    #[inline(always)]
    pub(crate) fn significant(self) -> u32 {
        64 - self.leading - self.trailing
    }

    /// Reads the bits of a difference, put in their place.
    #[inline(always)]
    pub(crate) fn read_difference(self, reader: &mut BitReader<'_>) -> Result<u64, ChunkErrorKind> {
        let significant = self.significant();
        reader.refill();
        if significant > reader.valid() {
            // More than 56 bits, or the end.
            return Ok(reader.read(significant)? << self.trailing);
        }
        let difference = reader.word() >> self.leading >> self.trailing << self.trailing;
        reader.consume(significant);
        Ok(difference)
    }

    /// Takes the eleven bits of a new window from the low bits of a number.
    #[inline(always)]
    pub(crate) fn from_bits(bits: u64) -> Result<Self, ChunkErrorKind> {
        let leading = (bits >> 6) as u32 & 31;
        // 0 stands for 64.
        let significant = ((bits as u32).wrapping_sub(1) & 63) + 1;
        match (64 - leading).checked_sub(significant) {
            Some(trailing) => Ok(Self { leading, trailing }),
            None => {
                Err(ChunkErrorKind::InvalidWindow { leading: leading as u8, significant: significant as u8 })
            }
        }
    }

    /// Reads a new window.
    pub(crate) fn read(reader: &mut BitReader<'_>) -> Result<Self, ChunkErrorKind> {
        Self::from_bits(reader.read(11)?)
    }
}

/// A double of a row, for reading.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FloatReader {
    pub(crate) bits: u64,
    pub(crate) window: Window,
}

impl FloatReader {
    /// Reads the next double of the row.
    #[inline]
    pub(crate) fn read(&mut self, reader: &mut BitReader<'_>) -> Result<(), ChunkErrorKind> {
        if reader.read(1)? == 0 {
            return Ok(());
        }
        if reader.read(1)? == 1 {
            self.window = Window::read(reader)?;
        }
        self.bits ^= self.window.read_difference(reader)?;
        Ok(())
    }
}

/// A double of a row, for writing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FloatWriter {
    pub(crate) bits: u64,
    window: Option<Window>,
}

impl FloatWriter {
    pub(crate) fn starting_with(bits: u64) -> Self {
        Self { bits, window: None }
    }

    /// Writes the next double of the row.
    pub(crate) fn write(&mut self, bits: u64, writer: &mut BitWriter) {
        let difference = bits ^ self.bits;
        self.bits = bits;
        if difference == 0 {
            writer.write(0, 1);
            return;
        }
        // Five bits hold the leading zeros.
        let needed =
            Window { leading: difference.leading_zeros().min(31), trailing: difference.trailing_zeros() };
        let window = match self.window {
            Some(window) if needed.leading >= window.leading && needed.trailing >= window.trailing => {
                writer.write(0b10, 2);
                window
            }
            _ => {
                writer.write(0b11, 2);
                writer.write(needed.leading.into(), 5);
                writer.write(u64::from(needed.significant() & 63), 6);
                self.window = Some(needed);
                needed
            }
        };
        writer.write(difference >> window.trailing, window.significant());
    }
}
