use super::{BucketCounts, Histogram, ResetHeader, layout::Layout};
use crate::{
    ChunkError, ChunkErrorKind, Encoding, STALE_MARKER_BITS,
    bits::BitReader,
    float_value::FloatReader,
    start_time::StartTimes,
    varbit,
    xor::{check_count, error_at},
};

/// How many buckets [`HistogramDecoder::new`] allows on either side.
///
/// Clients keep to about 160; 2^16 buckets take some megabytes while a chunk is decoded.
pub const DEFAULT_MAX_BUCKETS: usize = 1 << 16;

/// Walks the histograms of a chunk and lends each.
///
/// Memory is taken when the first histogram is read, for its buckets; then no more.
///
/// ```
/// use prom_chunks::{Encoding, Histogram, HistogramDecoder, HistogramEncoder, ResetHeader};
///
/// let mut encoder = HistogramEncoder::new(Encoding::Histogram, ResetHeader::Unknown)?;
/// encoder.append(&Histogram { timestamp_ms: 1_000, sum: 2.5, ..Histogram::integer() })?;
/// let chunk = encoder.finish();
///
/// let mut decoder = HistogramDecoder::new(Encoding::Histogram, &chunk)?;
/// while let Some(histogram) = decoder.next_histogram()? {
///     assert_eq!((histogram.timestamp_ms, histogram.sum), (1_000, 2.5));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct HistogramDecoder<'a> {
    reader: BitReader<'a>,
    header: ResetHeader,
    count: u32,
    done: u32,
    max_buckets: usize,
    starts: StartTimes,
    layout: Layout,
    timestamp_delta: i64,
    counts: Counts,
    sum: FloatReader,
    current: Histogram,
    /// What is lent in place of `current`, whose layout must stay.
    stale: Histogram,
}

/// What is known of the counts after a histogram, beside what `current` holds.
#[derive(Debug, Clone)]
enum Counts {
    Integer { count_delta: i64, zero_delta: i64, positive: Vec<IntegerBucket>, negative: Vec<IntegerBucket> },
    Float { count: FloatReader, zero: FloatReader, positive: Vec<FloatReader>, negative: Vec<FloatReader> },
}

/// The difference of a bucket to the one before it, and how that changed last.
#[derive(Debug, Clone, Copy, Default)]
struct IntegerBucket {
    value: i64,
    delta: i64,
}

impl<'a> HistogramDecoder<'a> {
    /// Looks at a chunk of one of the four encodings that hold histograms, with at most [`DEFAULT_MAX_BUCKETS`].
    ///
    /// # Errors
    /// An encoding of doubles, no header, or more histograms declared than the bytes can hold.
    pub fn new(encoding: Encoding, chunk: &'a [u8]) -> Result<Self, ChunkError> {
        Self::with_max_buckets(encoding, chunk, DEFAULT_MAX_BUCKETS)
    }

    /// As [`new`](Self::new), with at most so many buckets, spans and bounds on either side.
    ///
    /// # Errors
    /// An encoding of doubles, no header, or more histograms declared than the bytes can hold.
    pub fn with_max_buckets(
        encoding: Encoding,
        chunk: &'a [u8],
        max_buckets: usize,
    ) -> Result<Self, ChunkError> {
        let at_start = |kind| ChunkError { kind, sample: 0, bit: 0 };
        let Some(header) = chunk.first_chunk::<HEADER>() else {
            return Err(at_start(ChunkErrorKind::Truncated));
        };
        let word = u16::from_be_bytes([header[0], header[1]]);
        let (is_float, has_starts) = match encoding {
            Encoding::Histogram => (false, false),
            Encoding::FloatHistogram => (true, false),
            Encoding::HistogramSt => (false, true),
            Encoding::FloatHistogramSt => (true, true),
            Encoding::Xor | Encoding::Xor2 => return Err(at_start(ChunkErrorKind::WrongEncoding)),
        };
        let (count, flags, starts) = if has_starts {
            (word & ST_COUNT_MASK, header[0], StartTimes::new(header[2]))
        } else {
            (word, header[2], StartTimes::default())
        };
        let reader = BitReader::new(chunk, HEADER);
        check_count(count, MIN_BITS, &reader)?;
        let (counts, current, stale) = if is_float {
            (Counts::float(), Histogram::float(), Histogram::float())
        } else {
            (Counts::integer(), Histogram::integer(), Histogram::integer())
        };
        Ok(Self {
            reader,
            header: ResetHeader::from_byte(flags),
            count: count.into(),
            done: 0,
            max_buckets,
            starts,
            layout: Layout::default(),
            timestamp_delta: 0,
            counts,
            sum: FloatReader::default(),
            current,
            stale,
        })
    }

    /// What the header says about the beginning of the chunk.
    pub fn reset_header(&self) -> ResetHeader {
        self.header
    }

    /// The number of histograms that are still to come, if the chunk is sound.
    pub fn remaining(&self) -> usize {
        (self.count - self.done) as usize
    }

    /// Reads the next histogram; `None` at the end, and after an error.
    ///
    /// # Errors
    /// The chunk ends early or holds what no chunk may.
    pub fn next_histogram(&mut self) -> Result<Option<&Histogram>, ChunkError> {
        if self.done >= self.count {
            return Ok(None);
        }
        match self.advance() {
            Ok(()) => self.done += 1,
            Err(kind) => {
                let sample = self.done;
                self.done = self.count;
                return Err(error_at(kind, sample, self.reader.bit_position()));
            }
        }
        if self.current.is_stale() {
            self.stale.timestamp_ms = self.current.timestamp_ms;
            self.stale.start_timestamp_ms = self.current.start_timestamp_ms;
            self.stale.sum = self.current.sum;
            return Ok(Some(&self.stale));
        }
        self.current.reset_hint = self.header.hint(self.done - 1);
        Ok(Some(&self.current))
    }

    fn advance(&mut self) -> Result<(), ChunkErrorKind> {
        let previous = self.current.timestamp_ms;
        if self.done == 0 {
            self.read_first()?
        } else {
            self.read_next()?
        }
        self.starts.read(self.done, previous, self.current.timestamp_ms, &mut self.reader)?;
        self.current.start_timestamp_ms = self.starts.current;
        Ok(())
    }

    fn read_first(&mut self) -> Result<(), ChunkErrorKind> {
        let reader = &mut self.reader;
        let layout = Layout::read(reader, self.max_buckets)?;
        let (positive_count, negative_count) = (layout.positive_count(), layout.negative_count());
        self.current.timestamp_ms = varbit::read_int(reader)?;
        match (&mut self.counts, &mut self.current.counts) {
            (Counts::Integer { positive, negative, .. }, BucketCounts::Integer(buckets)) => {
                buckets.count = varbit::read_uint(reader)?;
                buckets.zero_count = varbit::read_uint(reader)?;
                self.sum.bits = reader.read(64)?;
                check_buckets(positive_count, negative_count, 1, reader)?;
                positive.resize(positive_count, IntegerBucket::default());
                negative.resize(negative_count, IntegerBucket::default());
                read_integers(positive, &mut buckets.positive, reader, true)?;
                read_integers(negative, &mut buckets.negative, reader, true)?;
            }
            (Counts::Float { count, zero, positive, negative }, BucketCounts::Float(buckets)) => {
                count.bits = reader.read(64)?;
                zero.bits = reader.read(64)?;
                self.sum.bits = reader.read(64)?;
                buckets.count = f64::from_bits(count.bits);
                buckets.zero_count = f64::from_bits(zero.bits);
                check_buckets(positive_count, negative_count, 64, reader)?;
                positive.resize(positive_count, FloatReader::default());
                negative.resize(negative_count, FloatReader::default());
                read_first_floats(positive, &mut buckets.positive, reader)?;
                read_first_floats(negative, &mut buckets.negative, reader)?;
            }
            _ => return Err(ChunkErrorKind::WrongEncoding),
        }
        self.current.sum = f64::from_bits(self.sum.bits);
        self.current.schema = layout.schema;
        self.current.zero_threshold = layout.zero_threshold;
        self.current.positive_spans.clone_from(&layout.positive_spans);
        self.current.negative_spans.clone_from(&layout.negative_spans);
        self.current.custom_values.clone_from(&layout.custom_values);
        self.layout = layout;
        Ok(())
    }

    fn read_next(&mut self) -> Result<(), ChunkErrorKind> {
        let reader = &mut self.reader;
        let change = varbit::read_int(reader)?;
        self.timestamp_delta = self.timestamp_delta.wrapping_add(change);
        self.current.timestamp_ms = self.current.timestamp_ms.wrapping_add(self.timestamp_delta);
        match (&mut self.counts, &mut self.current.counts) {
            (
                Counts::Integer { count_delta, zero_delta, positive, negative },
                BucketCounts::Integer(buckets),
            ) => {
                *count_delta = count_delta.wrapping_add(varbit::read_int(reader)?);
                buckets.count = buckets.count.wrapping_add_signed(*count_delta);
                *zero_delta = zero_delta.wrapping_add(varbit::read_int(reader)?);
                buckets.zero_count = buckets.zero_count.wrapping_add_signed(*zero_delta);
                self.sum.read(reader)?;
                self.current.sum = f64::from_bits(self.sum.bits);
                if self.sum.bits != STALE_MARKER_BITS {
                    read_integers(positive, &mut buckets.positive, reader, false)?;
                    read_integers(negative, &mut buckets.negative, reader, false)?;
                }
            }
            (Counts::Float { count, zero, positive, negative }, BucketCounts::Float(buckets)) => {
                count.read(reader)?;
                zero.read(reader)?;
                self.sum.read(reader)?;
                buckets.count = f64::from_bits(count.bits);
                buckets.zero_count = f64::from_bits(zero.bits);
                self.current.sum = f64::from_bits(self.sum.bits);
                if self.sum.bits != STALE_MARKER_BITS {
                    read_floats(positive, &mut buckets.positive, reader)?;
                    read_floats(negative, &mut buckets.negative, reader)?;
                }
            }
            _ => return Err(ChunkErrorKind::WrongEncoding),
        }
        Ok(())
    }
}

impl Counts {
    fn integer() -> Self {
        Self::Integer { count_delta: 0, zero_delta: 0, positive: Vec::new(), negative: Vec::new() }
    }

    fn float() -> Self {
        let start = FloatReader::default();
        Self::Float { count: start, zero: start, positive: Vec::new(), negative: Vec::new() }
    }
}

/// Refuses buckets that the bits that are left cannot hold.
fn check_buckets(
    positive: usize,
    negative: usize,
    bits: usize,
    reader: &BitReader<'_>,
) -> Result<(), ChunkErrorKind> {
    let limit = reader.remaining() / bits;
    if positive.saturating_add(negative) > limit {
        return Err(ChunkErrorKind::TooManyBuckets { limit });
    }
    Ok(())
}

fn read_integers(
    buckets: &mut [IntegerBucket],
    counts: &mut Vec<u64>,
    reader: &mut BitReader<'_>,
    is_first: bool,
) -> Result<(), ChunkErrorKind> {
    counts.clear();
    let mut count = 0_i64;
    for bucket in buckets {
        let number = varbit::read_int(reader)?;
        if is_first {
            bucket.value = number;
        } else {
            bucket.delta = bucket.delta.wrapping_add(number);
            bucket.value = bucket.value.wrapping_add(bucket.delta);
        }
        count = count.wrapping_add(bucket.value);
        counts.push(count as u64);
    }
    Ok(())
}

fn read_first_floats(
    buckets: &mut [FloatReader],
    counts: &mut Vec<f64>,
    reader: &mut BitReader<'_>,
) -> Result<(), ChunkErrorKind> {
    counts.clear();
    for bucket in buckets {
        bucket.bits = reader.read(64)?;
        counts.push(f64::from_bits(bucket.bits));
    }
    Ok(())
}

fn read_floats(
    buckets: &mut [FloatReader],
    counts: &mut Vec<f64>,
    reader: &mut BitReader<'_>,
) -> Result<(), ChunkErrorKind> {
    counts.clear();
    for bucket in buckets {
        bucket.read(reader)?;
        counts.push(f64::from_bits(bucket.bits));
    }
    Ok(())
}

/// The count, and a byte of flags or about start timestamps.
const HEADER: usize = 3;
/// Four numbers of one bit.
const MIN_BITS: usize = 4;
/// Below the two bits of the reset header.
const ST_COUNT_MASK: u16 = 0x3fff;
