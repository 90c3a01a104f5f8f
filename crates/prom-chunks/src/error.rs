use thiserror::Error;

/// A chunk cannot be decoded (further).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{kind}, in sample {sample} at bit {bit} of the chunk")]
pub struct ChunkError {
    /// What is wrong.
    pub kind: ChunkErrorKind,
    /// The sample that was being read, counted from 0.
    pub sample: u32,
    /// Where the reading stopped, as bits from the start of the chunk.
    pub bit: u32,
}

/// What is wrong with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChunkErrorKind {
    /// The chunk is shorter than its header, or ends inside a sample.
    #[error("chunk ends early")]
    Truncated,
    /// The header declares more samples than the bits can hold.
    #[error("{declared} samples are declared, more than the chunk can hold")]
    ImpossibleCount {
        /// The declared number of samples.
        declared: u16,
    },
    /// A number of variable length takes more than 64 bits.
    #[error("number is longer than 64 bits")]
    VarintTooLong,
    /// The significant bits of a value lie outside of its 64 bits.
    #[error("window of {significant} bits after {leading} does not fit into 64 bits")]
    InvalidWindow {
        /// Declared leading zero bits.
        leading: u8,
        /// Declared significant bits.
        significant: u8,
    },
    /// The schema of the histograms is none that exists.
    #[error("unknown histogram schema {0}")]
    UnknownSchema(i64),
    /// An offset or length of a span does not fit into 32 bits.
    #[error("span of buckets is out of range")]
    InvalidSpan,
    /// More buckets, spans or custom bounds than the chunk can hold or the caller allows.
    #[error("more than {limit} buckets, spans or bounds")]
    TooManyBuckets {
        /// What is allowed.
        limit: usize,
    },
    /// The encoding holds other values than the decoder was asked for.
    #[error("chunk does not hold the asked kind of values")]
    WrongEncoding,
}
