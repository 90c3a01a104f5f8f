//! Snappy blocks, bounded.
//!
//! Remote write and read use the block format; the framed format is forbidden (remote write 1.0, "Protocol").

use thiserror::Error;

use crate::Limits;

/// A snappy block was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CompressionError {
    /// The block is longer than [`Limits::max_compressed_bytes`].
    #[error("snappy block of {actual} bytes is over the limit of {limit}")]
    CompressedTooLarge {
        /// Its length in bytes.
        actual: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The block declares more bytes than [`Limits::max_decoded_bytes`].
    #[error("snappy block declares {declared} decoded bytes, over the limit of {limit}")]
    DecodedTooLarge {
        /// What the header of the block says.
        declared: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The block declares more bytes than a block of its length can hold.
    #[error("snappy block of {compressed} bytes cannot hold the {declared} bytes that it declares")]
    ImpossibleRatio {
        /// The length of the block in bytes.
        compressed: usize,
        /// What the header of the block says.
        declared: usize,
    },
    /// The bytes are not a snappy block.
    #[error("not a snappy block: {reason}")]
    Malformed {
        /// The decoder's words.
        reason: String,
    },
}

/// Decompresses one snappy block into `output`, replacing what was there.
///
/// The declared length is checked against the limits and against what a block of this size can hold at all
/// (64 bytes out of 3 in) before anything is allocated; `output` keeps its capacity between calls, and what it holds
/// is overwritten rather than cleared, so give it back as it is.
///
/// # Errors
/// Over a limit, an impossible length, or not a snappy block; `output` is then empty.
pub fn decompress(compressed: &[u8], limits: &Limits, output: &mut Vec<u8>) -> Result<(), CompressionError> {
    let declared = match declared_length(compressed, limits) {
        Ok(declared) => declared,
        Err(error) => {
            output.clear();
            return Err(error);
        }
    };
    // Without `clear`: only what the buffer grows by is filled with zeros.
    output.resize(declared, 0);
    match snap::raw::Decoder::new().decompress(compressed, output) {
        Ok(length) => {
            output.truncate(length);
            Ok(())
        }
        Err(error) => {
            output.clear();
            Err(malformed(&error))
        }
    }
}

/// Compresses messages into snappy blocks; keeps its working memory between calls.
///
/// The memory is that of the largest message so far, compressed at its worst: 7/6 of its length.
#[derive(Debug)]
pub struct Compressor {
    encoder: snap::raw::Encoder,
    /// Never shrinks, so that it is filled with zeros only once.
    block: Vec<u8>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Compressor {
    /// Makes a compressor.
    pub fn new() -> Self {
        Self { encoder: snap::raw::Encoder::new(), block: Vec::new() }
    }

    /// Compresses `message` into one snappy block in `output`, replacing what was there.
    ///
    /// # Errors
    /// A message of 4 GiB or more, which the format cannot express; `output` is then empty.
    pub fn compress(&mut self, message: &[u8], output: &mut Vec<u8>) -> Result<(), CompressionError> {
        output.clear();
        let too_long =
            CompressionError::DecodedTooLarge { declared: message.len(), limit: u32::MAX as usize };
        let bound = match snap::raw::max_compress_len(message.len()) {
            0 => return Err(too_long),
            bound => bound,
        };
        if self.block.len() < bound {
            self.block.resize(bound, 0);
        }
        let length = self.encoder.compress(message, &mut self.block).map_err(|_| too_long)?;
        output.extend_from_slice(self.block.get(..length).unwrap_or_default());
        Ok(())
    }
}

fn declared_length(compressed: &[u8], limits: &Limits) -> Result<usize, CompressionError> {
    let actual = compressed.len();
    if actual > limits.max_compressed_bytes {
        return Err(CompressionError::CompressedTooLarge { actual, limit: limits.max_compressed_bytes });
    }
    if actual == 0 {
        return Err(CompressionError::Malformed { reason: "empty".to_owned() });
    }
    let declared = snap::raw::decompress_len(compressed).map_err(|error| malformed(&error))?;
    if declared > limits.max_decoded_bytes {
        return Err(CompressionError::DecodedTooLarge { declared, limit: limits.max_decoded_bytes });
    }
    if declared > actual.saturating_mul(MAX_EXPANSION).saturating_add(EXPANSION_SLACK) {
        return Err(CompressionError::ImpossibleRatio { compressed: actual, declared });
    }
    Ok(declared)
}

fn malformed(error: &snap::Error) -> CompressionError {
    CompressionError::Malformed { reason: error.to_string() }
}

/// A copy of three bytes yields at most 64, so a block grows less than 22 times.
const MAX_EXPANSION: usize = 22;
const EXPANSION_SLACK: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compress(message: &[u8]) -> Vec<u8> {
        let mut block = Vec::new();
        Compressor::new().compress(message, &mut block).unwrap();
        block
    }

    #[test]
    fn accepts_at_the_limit_and_refuses_over_it() {
        let block = compress(&[7; 1_000]);
        let mut output = Vec::new();
        let at = Limits { max_decoded_bytes: 1_000, max_compressed_bytes: block.len(), ..Limits::default() };
        decompress(&block, &at, &mut output).unwrap();
        assert_eq!(output, [7; 1_000]);

        let decoded = Limits { max_decoded_bytes: 999, ..at };
        assert_eq!(
            decompress(&block, &decoded, &mut output),
            Err(CompressionError::DecodedTooLarge { declared: 1_000, limit: 999 })
        );
        assert!(output.is_empty());
        let compressed = Limits { max_compressed_bytes: block.len() - 1, ..at };
        assert!(matches!(
            decompress(&block, &compressed, &mut output),
            Err(CompressionError::CompressedTooLarge { .. })
        ));
    }

    #[test]
    fn refuses_a_length_that_no_block_of_this_size_can_hold() {
        let header_of_16_mib = [0x80, 0x80, 0x80, 0x08, 0];
        let mut output = Vec::new();
        let result = decompress(&header_of_16_mib, &Limits::default(), &mut output);
        assert_eq!(result, Err(CompressionError::ImpossibleRatio { compressed: 5, declared: 16 << 20 }));
        assert_eq!(output.capacity(), 0);
    }

    #[test]
    fn refuses_an_empty_body() {
        let result = decompress(&[], &Limits::default(), &mut Vec::new());
        assert!(matches!(result, Err(CompressionError::Malformed { .. })));
    }

    #[test]
    fn the_densest_block_passes_the_ratio_check() {
        let block = compress(&vec![0; 8 << 20]);
        let mut output = Vec::new();
        decompress(&block, &Limits::default(), &mut output).unwrap();
        assert_eq!(output.len(), 8 << 20);
    }

    proptest! {
        #[test]
        fn what_is_compressed_decompresses(message in prop::collection::vec(any::<u8>(), 0..4_000)) {
            let mut output = vec![1, 2, 3];
            decompress(&compress(&message), &Limits::default(), &mut output).unwrap();
            prop_assert_eq!(output, message);
        }

        #[test]
        fn any_bytes_are_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decompress(&bytes, &Limits::default(), &mut Vec::new());
        }
    }
}
