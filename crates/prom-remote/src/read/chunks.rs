//! Chunks of a streamed answer, and how a server makes them.

use prom_chunks::{
    AppendHistogramError, BucketCounts, Buckets, Encoding, Histogram, HistogramEncoder, ResetHeader,
    ResetHint, Sample, XorEncoder,
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
/// A new chunk begins where the layout or the type of counts changes, after a stale marker, and where there was a
/// reset: a hint says so, or nothing is known and a count is lower than before. Inside of a chunk a reader takes each
/// histogram for no reset. Histograms should be in the order of time. Start timestamps are not part of these
/// encodings.
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
    last: Histogram,
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
        Ok(Self { encoder, encoding, last: histogram.clone(), min_time_ms: time, max_time_ms: time })
    }

    /// Tells whether the histogram could be added, or needs a new chunk.
    fn append(&mut self, histogram: &Histogram) -> Result<bool, AppendHistogramError> {
        let is_gauge = self.last.reset_hint == ResetHint::Gauge;
        let fits = match histogram.reset_hint {
            _ if histogram.is_stale() => true,
            ResetHint::NotReset => !is_gauge,
            ResetHint::Gauge => is_gauge,
            ResetHint::Unknown => !is_gauge && !has_lower_count(&self.last, histogram),
            ResetHint::Reset => false,
        };
        if !fits || self.encoder.sample_count() >= SAMPLES_PER_CHUNK {
            return Ok(false);
        }
        match self.encoder.append(histogram) {
            Ok(()) => {
                self.last.clone_from(histogram);
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

/// Tells whether a count of the second histogram, which has the layout of the first, is lower than in the first.
fn has_lower_count(first: &Histogram, second: &Histogram) -> bool {
    fn any_lower<Count: PartialOrd>(first: &Buckets<Count>, second: &Buckets<Count>) -> bool {
        let pairs = [(&first.count, &second.count), (&first.zero_count, &second.zero_count)];
        let positive = first.positive.iter().zip(&second.positive);
        let negative = first.negative.iter().zip(&second.negative);
        pairs.into_iter().chain(positive).chain(negative).any(|(first, second)| second < first)
    }
    match (&first.counts, &second.counts) {
        (BucketCounts::Integer(first), BucketCounts::Integer(second)) => any_lower(first, second),
        (BucketCounts::Float(first), BucketCounts::Float(second)) => any_lower(first, second),
        _ => true,
    }
}

/// Where Prometheus cuts.
const SAMPLES_PER_CHUNK: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    /// How many histograms of these counts and hints the chunks have.
    #[track_caller]
    fn check(histograms: &[(u64, ResetHint)], expected: &[usize]) {
        let histogram = |(time, &(count, reset_hint)): (usize, &(u64, ResetHint))| Histogram {
            timestamp_ms: time as i64,
            reset_hint,
            counts: BucketCounts::Integer(Buckets { count, ..Buckets::default() }),
            ..Histogram::integer()
        };
        let histograms: Vec<_> = histograms.iter().enumerate().map(histogram).collect();
        let chunks = chunk_histograms(&histograms).unwrap();
        let counts: Vec<_> = chunks
            .iter()
            .map(|chunk| usize::from(u16::from_be_bytes([chunk.data[0], chunk.data[1]])))
            .collect();
        assert_eq!(counts, expected);
        let times = chunks.iter().map(|chunk| (chunk.max_time_ms - chunk.min_time_ms) as usize + 1);
        assert_eq!(times.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_chunk_ends_where_counting_begins_again() {
        use ResetHint::{Gauge, NotReset, Reset, Unknown};
        check(&[], &[]);
        check(&[(1, Unknown), (1, Unknown), (2, Unknown)], &[3]);
        check(&[(1, Unknown), (2, Unknown), (1, Unknown), (5, Unknown)], &[2, 2]);
        check(&[(1, Unknown), (2, Reset), (3, NotReset)], &[1, 2]);
        check(&[(3, Gauge), (1, Gauge), (2, Gauge)], &[3]);
        check(&[(1, Gauge), (2, Unknown), (3, Gauge)], &[1, 1, 1]);
        check(&[(0, NotReset); 250], &[120, 120, 10]);
    }
}
