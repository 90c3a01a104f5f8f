//! Prometheus' chunk encodings on bytes: what its storage writes and what remote read streams.
//!
//! | encoding | decode | encode |
//! |---|---|---|
//! | [`Xor`](Encoding::Xor) | [`XorSamples`] | [`XorEncoder`] |
//! | [`Xor2`](Encoding::Xor2), with start timestamps | [`Xor2Samples`] | |
//! | [`Histogram`](Encoding::Histogram), [`FloatHistogram`](Encoding::FloatHistogram) | [`HistogramDecoder`] | [`HistogramEncoder`] |
//! | [`HistogramSt`](Encoding::HistogramSt), [`FloatHistogramSt`](Encoding::FloatHistogramSt) | [`HistogramDecoder`] | |
//!
//! What is kept: every bit of every value. Stale markers, NaN payloads and `-0.0` come out as they went in; values
//! of doubles are compared and kept as bits.
//!
//! What is refused: no input panics. Memory is taken for what the bytes of a chunk can hold at most, and for
//! buckets up to a limit of the caller. Decoding takes no memory for a sample: a histogram is lent, not given.
//!
//! Bytes after the last sample are padding and are not looked at. Whether timestamps rise is not checked, as
//! Prometheus does not either; arithmetic on them wraps.
//!
//! No protobuf and no I/O: chunks come from `prometheus.Chunk` messages of a remote-read stream (crate
//! `prom-remote`), or from the files of a block. The formats are described bit by bit in `docs/formats`.
//!
//! ```
//! use prom_chunks::{Sample, XorEncoder, XorSamples};
//!
//! let mut encoder = XorEncoder::new();
//! encoder.append(Sample::new(1_700_000_000_000, 1.5))?;
//! encoder.append(Sample::stale(1_700_000_015_000))?;
//! let chunk = encoder.finish();
//!
//! let samples: Vec<Sample> = XorSamples::new(&chunk)?.collect::<Result<_, _>>()?;
//! assert_eq!(samples[0].value(), 1.5);
//! assert!(samples[1].is_stale());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod bits;
mod encoding;
mod error;
mod float_value;
mod histogram;
mod sample;
mod start_time;
mod varbit;
mod xor;
mod xor2;

pub use encoding::Encoding;
pub use error::{ChunkError, ChunkErrorKind};
pub use histogram::{
    AppendHistogramError, BucketCounts, Buckets, DEFAULT_MAX_BUCKETS, Histogram, HistogramDecoder,
    HistogramEncoder, ResetHeader, ResetHint, Span,
};
pub use sample::{STALE_MARKER_BITS, Sample, StartedSample};
pub use xor::{ChunkFull, XorEncoder, XorSamples};
pub use xor2::Xor2Samples;
