//! Start timestamps beside the samples: how long before the previous sample the counting began.

use crate::{ChunkErrorKind, bits::BitReader, varbit};

/// Reads the start timestamps of a chunk.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StartTimes {
    /// Whether the first sample has one.
    first_known: bool,
    /// The index of the sample from which on each has one; 0 for never.
    change_on: u8,
    lag: i64,
    /// That of the last sample; 0 for none.
    pub(crate) current: i64,
}

impl StartTimes {
    pub(crate) fn new(header: u8) -> Self {
        Self { first_known: header & 0x80 != 0, change_on: header & 0x7f, lag: 0, current: 0 }
    }

    /// Reads what follows sample `index`.
    #[inline(always)]
    pub(crate) fn read(
        &mut self,
        index: u32,
        previous_timestamp: i64,
        timestamp: i64,
        reader: &mut BitReader<'_>,
    ) -> Result<(), ChunkErrorKind> {
        if index == 0 {
            if self.first_known {
                self.current = timestamp.wrapping_sub(reader.read_varint()?);
            }
            return Ok(());
        }
        let change_on = u32::from(self.change_on);
        if change_on == 0 || index < change_on {
            return Ok(());
        }
        let number = varbit::read_int(reader)?;
        self.lag = if index == change_on { number } else { self.lag.wrapping_add(number) };
        self.current = previous_timestamp.wrapping_sub(self.lag);
        Ok(())
    }
}
