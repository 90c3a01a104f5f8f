//! Chunks of a streamed answer, and how a server makes them.

use prom_chunks::{
    AppendHistogramError, BucketCounts, Encoding, Histogram, HistogramEncoder, ResetHeader, ResetHint,
    Sample, XorEncoder,
};

/// A chunk of a series (`prometheus.Chunk`), undecoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The earliest timestamp inside, in milliseconds since the Unix epoch, as the server says.
    pub min_time_ms: i64,
    /// The latest timestamp inside (closed form), in milliseconds since the Unix epoch, as the server says.
    pub max_time_ms: i64,
    /// The number of the encoding: see [`Encoding::from_number`].
    pub encoding: i32,
    /// The encoded samples.
    pub data: Vec<u8>,
}

/// Encodes samples as XOR chunks of at most 120 samples, as Prometheus cuts them.
///
/// Samples should be in the order of time.
pub fn chunk_samples(samples: &[Sample]) -> Vec<Chunk> {
    let chunk = |samples: &[Sample]| {
        let mut encoder = XorEncoder::new();
        for sample in samples {
            if encoder.append(*sample).is_err() {
                // Not reached: a chunk holds many more than are given.
                break;
            }
        }
        let times = || samples.iter().map(|sample| sample.timestamp_ms);
        Chunk {
            min_time_ms: times().min().unwrap_or_default(),
            max_time_ms: times().max().unwrap_or_default(),
            encoding: Encoding::Xor.number(),
            data: encoder.finish(),
        }
    };
    samples.chunks(SAMPLES_PER_CHUNK).map(chunk).collect()
}

/// Encodes histograms as HISTOGRAM and FLOAT_HISTOGRAM chunks of at most 120.
///
/// A new chunk begins where the layout or the type of counts changes, after a stale marker, and where a reset hint
/// says so. Histograms should be in the order of time. Start timestamps and the hints of histograms inside of a
/// chunk are not part of these encodings.
///
/// # Errors
/// A histogram whose spans and counts disagree, or of an unknown schema.
pub fn chunk_histograms(histograms: &[Histogram]) -> Result<Vec<Chunk>, AppendHistogramError> {
    let mut chunks = Vec::new();
    let mut open: Option<OpenChunk> = None;
    for histogram in histograms {
        if let Some(chunk) = &mut open {
            match chunk.append(histogram) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => return Err(error),
            }
        }
        chunks.extend(open.take().map(OpenChunk::finish));
        open = Some(OpenChunk::start(histogram)?);
    }
    chunks.extend(open.map(OpenChunk::finish));
    Ok(chunks)
}

struct OpenChunk {
    encoder: HistogramEncoder,
    encoding: Encoding,
    is_gauge: bool,
    min_time_ms: i64,
    max_time_ms: i64,
}

impl OpenChunk {
    fn start(histogram: &Histogram) -> Result<Self, AppendHistogramError> {
        let encoding = match histogram.counts {
            BucketCounts::Integer(_) => Encoding::Histogram,
            BucketCounts::Float(_) => Encoding::FloatHistogram,
        };
        let header = match histogram.reset_hint {
            ResetHint::Unknown => ResetHeader::Unknown,
            ResetHint::Reset => ResetHeader::Reset,
            ResetHint::NotReset => ResetHeader::NotReset,
            ResetHint::Gauge => ResetHeader::Gauge,
        };
        let mut encoder = HistogramEncoder::new(encoding, header)?;
        encoder.append(histogram)?;
        let time = histogram.timestamp_ms;
        let is_gauge = histogram.reset_hint == ResetHint::Gauge;
        Ok(Self { encoder, encoding, is_gauge, min_time_ms: time, max_time_ms: time })
    }

    /// Tells whether the histogram could be added, or needs a new chunk.
    fn append(&mut self, histogram: &Histogram) -> Result<bool, AppendHistogramError> {
        // In a chunk of counters each histogram but the first is said to be no reset.
        let fits = match histogram.reset_hint {
            _ if histogram.is_stale() => true,
            ResetHint::NotReset => !self.is_gauge,
            ResetHint::Gauge => self.is_gauge,
            ResetHint::Unknown | ResetHint::Reset => false,
        };
        if !fits || self.encoder.sample_count() >= SAMPLES_PER_CHUNK {
            return Ok(false);
        }
        match self.encoder.append(histogram) {
            Ok(()) => {
                self.min_time_ms = self.min_time_ms.min(histogram.timestamp_ms);
                self.max_time_ms = self.max_time_ms.max(histogram.timestamp_ms);
                Ok(true)
            }
            Err(
                AppendHistogramError::OtherLayout
                | AppendHistogramError::OtherCounts
                | AppendHistogramError::Full,
            ) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn finish(self) -> Chunk {
        Chunk {
            min_time_ms: self.min_time_ms,
            max_time_ms: self.max_time_ms,
            encoding: self.encoding.number(),
            data: self.encoder.finish(),
        }
    }
}

/// Where Prometheus cuts.
const SAMPLES_PER_CHUNK: usize = 120;
