use thiserror::Error;

use crate::{Sample, bits::BitWriter, float_value::FloatWriter, varbit::fits};

/// A chunk holds as many samples as it can: 65,535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("chunk is full")]
pub struct ChunkFull;

/// Writes an XOR chunk, byte for byte as Prometheus does.
///
/// The caller decides when to begin the next chunk; Prometheus does so after 120 samples, or before a chunk goes
/// over 1,024 bytes. Timestamps should rise, as every reader expects it; any are written right.
#[derive(Debug, Clone)]
pub struct XorEncoder {
    writer: BitWriter,
    count: u16,
    timestamp: i64,
    delta: i64,
    value: FloatWriter,
}

impl Default for XorEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl XorEncoder {
    /// Starts an empty chunk.
    pub fn new() -> Self {
        Self {
            writer: BitWriter::after_header(vec![0, 0]),
            count: 0,
            timestamp: 0,
            delta: 0,
            value: FloatWriter::default(),
        }
    }

    /// Adds a sample.
    ///
    /// # Errors
    /// 65,535 samples are in the chunk; nothing was added.
    pub fn append(&mut self, sample: Sample) -> Result<(), ChunkFull> {
        let count = self.count.checked_add(1).ok_or(ChunkFull)?;
        let delta = sample.timestamp_ms.wrapping_sub(self.timestamp);
        match self.count {
            0 => {
                self.writer.write_varint(sample.timestamp_ms);
                self.writer.write(sample.value_bits, 64);
                self.value = FloatWriter::starting_with(sample.value_bits);
            }
            1 => {
                self.writer.write_uvarint(delta as u64);
                self.value.write(sample.value_bits, &mut self.writer);
                self.delta = delta;
            }
            _ => {
                write_change(&mut self.writer, delta.wrapping_sub(self.delta));
                self.value.write(sample.value_bits, &mut self.writer);
                self.delta = delta;
            }
        }
        self.timestamp = sample.timestamp_ms;
        self.count = count;
        Ok(())
    }

    /// Returns the number of samples.
    pub fn sample_count(&self) -> usize {
        self.count.into()
    }

    /// Returns the length of the chunk so far, in bytes; a sample adds at most 20.
    pub fn byte_count(&self) -> usize {
        self.writer.len()
    }

    /// Returns the chunk.
    pub fn finish(mut self) -> Vec<u8> {
        self.writer.set_u16(0, self.count);
        self.writer.into_bytes()
    }
}

fn write_change(writer: &mut BitWriter, change: i64) {
    let (prefix, prefix_width, width) = match change {
        0 => (0, 1, 0),
        _ if fits(change, 14) => (0b10, 2, 14),
        _ if fits(change, 17) => (0b110, 3, 17),
        _ if fits(change, 20) => (0b1110, 4, 20),
        _ => (0b1111, 4, 64),
    };
    writer.write(prefix, prefix_width);
    writer.write(change as u64, width);
}
