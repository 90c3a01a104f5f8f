use thiserror::Error;

use super::{
    BucketCounts, Buckets, Histogram, ResetHeader,
    layout::{Layout, bucket_count},
};
use crate::{Encoding, bits::BitWriter, float_value::FloatWriter, varbit};

/// A histogram cannot be added to a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AppendHistogramError {
    /// 65,535 histograms are in the chunk.
    #[error("chunk is full")]
    Full,
    /// It has another schema, zero threshold, spans or custom bounds than the others: begin a new chunk. The same is
    /// needed for all but stale markers after a stale marker.
    #[error("histogram has another layout than its chunk")]
    OtherLayout,
    /// It has counts of another type than the encoding: whole numbers, or doubles.
    #[error("histogram has another type of counts than its chunk")]
    OtherCounts,
    /// Its spans and counts are not as many.
    #[error("histogram has {counts} counts for {buckets} buckets")]
    CountMismatch {
        /// The lengths of the spans, added.
        buckets: usize,
        /// The number of counts.
        counts: usize,
    },
    /// Its schema is none that exists.
    #[error("unknown histogram schema {0}")]
    UnknownSchema(i32),
    /// Only chunks of the encodings HISTOGRAM and FLOAT_HISTOGRAM can be written.
    #[error("chunks of encoding {0:?} are not written")]
    Encoding(Encoding),
}

/// Writes a chunk of histograms, byte for byte as Prometheus does.
///
/// The caller decides when to begin the next chunk, and must do so where [`append`](Self::append) asks for it. Reset
/// hints of the histograms are not looked at: the chunk has one header, and says "not reset" of all but the first.
/// Start timestamps are not written.
#[derive(Debug, Clone)]
pub struct HistogramEncoder {
    writer: BitWriter,
    count: u16,
    is_float: bool,
    is_stale: bool,
    layout: Layout,
    timestamp: i64,
    timestamp_delta: i64,
    sum: FloatWriter,
    integers: Integers,
    floats: Floats,
}

#[derive(Debug, Clone, Default)]
struct Integers {
    count: IntegerRow,
    zero: IntegerRow,
    positive: Vec<IntegerRow>,
    negative: Vec<IntegerRow>,
}

#[derive(Debug, Clone, Default)]
struct Floats {
    count: FloatWriter,
    zero: FloatWriter,
    positive: Vec<FloatWriter>,
    negative: Vec<FloatWriter>,
}

/// A number of a row, written by the change of its change.
#[derive(Debug, Clone, Copy, Default)]
struct IntegerRow {
    value: i64,
    delta: i64,
}

impl HistogramEncoder {
    /// Starts an empty chunk.
    ///
    /// # Errors
    /// Another encoding than [`Encoding::Histogram`] and [`Encoding::FloatHistogram`].
    pub fn new(encoding: Encoding, header: ResetHeader) -> Result<Self, AppendHistogramError> {
        let is_float = match encoding {
            Encoding::Histogram => false,
            Encoding::FloatHistogram => true,
            other => return Err(AppendHistogramError::Encoding(other)),
        };
        Ok(Self {
            writer: BitWriter::after_header(vec![0, 0, header.byte()]),
            count: 0,
            is_float,
            is_stale: false,
            layout: Layout::default(),
            timestamp: 0,
            timestamp_delta: 0,
            sum: FloatWriter::default(),
            integers: Integers::default(),
            floats: Floats::default(),
        })
    }

    /// Adds a histogram; of a stale marker, nothing but its timestamp and that it is one.
    ///
    /// # Errors
    /// It does not fit into this chunk or into any; nothing was added.
    pub fn append(&mut self, histogram: &Histogram) -> Result<(), AppendHistogramError> {
        let count = self.count.checked_add(1).ok_or(AppendHistogramError::Full)?;
        let is_stale = histogram.is_stale();
        self.check(histogram, is_stale)?;
        if self.count == 0 {
            self.write_first(histogram, is_stale);
        } else {
            self.write_next(histogram, is_stale);
        }
        self.timestamp = histogram.timestamp_ms;
        self.is_stale = is_stale;
        self.count = count;
        Ok(())
    }

    /// Returns the number of histograms.
    pub fn sample_count(&self) -> usize {
        self.count.into()
    }

    /// Returns the length of the chunk so far, in bytes.
    pub fn byte_count(&self) -> usize {
        self.writer.len()
    }

    /// Returns the chunk.
    pub fn finish(mut self) -> Vec<u8> {
        self.writer.set_u16(0, self.count);
        self.writer.into_bytes()
    }

    fn check(&self, histogram: &Histogram, is_stale: bool) -> Result<(), AppendHistogramError> {
        if self.is_float != matches!(histogram.counts, BucketCounts::Float(_)) {
            return Err(AppendHistogramError::OtherCounts);
        }
        if is_stale {
            return Ok(());
        }
        if !Histogram::is_known_schema(histogram.schema.into()) {
            return Err(AppendHistogramError::UnknownSchema(histogram.schema));
        }
        match &histogram.counts {
            BucketCounts::Integer(buckets) => check_counts(histogram, buckets)?,
            BucketCounts::Float(buckets) => check_counts(histogram, buckets)?,
        }
        if self.count > 0 && (self.is_stale || !self.has_layout_of(histogram)) {
            return Err(AppendHistogramError::OtherLayout);
        }
        Ok(())
    }

    fn has_layout_of(&self, histogram: &Histogram) -> bool {
        let layout = &self.layout;
        let bounds = |bounds: &[f64]| bounds.iter().map(|bound| bound.to_bits()).collect::<Vec<_>>();
        layout.schema == histogram.schema
            && layout.zero_threshold.to_bits() == histogram.zero_threshold.to_bits()
            && layout.positive_spans == histogram.positive_spans
            && layout.negative_spans == histogram.negative_spans
            && (layout.schema != Histogram::CUSTOM_BUCKETS
                || bounds(&layout.custom_values) == bounds(&histogram.custom_values))
    }

    fn write_first(&mut self, histogram: &Histogram, is_stale: bool) {
        if !is_stale {
            self.layout = Layout {
                schema: histogram.schema,
                zero_threshold: histogram.zero_threshold,
                positive_spans: histogram.positive_spans.clone(),
                negative_spans: histogram.negative_spans.clone(),
                custom_values: histogram.custom_values.clone(),
            };
        }
        let writer = &mut self.writer;
        self.layout.write(writer);
        varbit::write_int(writer, histogram.timestamp_ms);
        let sum = histogram.sum.to_bits();
        self.sum = FloatWriter::starting_with(sum);
        if self.is_float {
            let empty = Buckets::default();
            let buckets = float_counts(histogram, is_stale).unwrap_or(&empty);
            let mut start = |count: &f64| {
                writer.write(count.to_bits(), 64);
                FloatWriter::starting_with(count.to_bits())
            };
            let (count, zero) = (start(&buckets.count), start(&buckets.zero_count));
            start(&histogram.sum);
            let positive = buckets.positive.iter().map(&mut start).collect();
            let negative = buckets.negative.iter().map(&mut start).collect();
            self.floats = Floats { count, zero, positive, negative };
            return;
        }
        let empty = Buckets::default();
        let buckets = integer_counts(histogram, is_stale).unwrap_or(&empty);
        varbit::write_uint(writer, buckets.count);
        varbit::write_uint(writer, buckets.zero_count);
        writer.write(sum, 64);
        let mut start = |difference: i64| {
            varbit::write_int(writer, difference);
            IntegerRow { value: difference, delta: 0 }
        };
        let positive = differences(&buckets.positive).map(&mut start).collect();
        let negative = differences(&buckets.negative).map(&mut start).collect();
        let whole = |count: u64| IntegerRow { value: count as i64, delta: 0 };
        self.integers =
            Integers { count: whole(buckets.count), zero: whole(buckets.zero_count), positive, negative };
    }

    fn write_next(&mut self, histogram: &Histogram, is_stale: bool) {
        let writer = &mut self.writer;
        let delta = histogram.timestamp_ms.wrapping_sub(self.timestamp);
        varbit::write_int(writer, delta.wrapping_sub(self.timestamp_delta));
        self.timestamp_delta = delta;
        if self.is_float {
            let empty = Buckets::default();
            let buckets = float_counts(histogram, is_stale).unwrap_or(&empty);
            self.floats.count.write(buckets.count.to_bits(), writer);
            self.floats.zero.write(buckets.zero_count.to_bits(), writer);
            self.sum.write(histogram.sum.to_bits(), writer);
            let counts = buckets.positive.iter().chain(&buckets.negative);
            for (row, count) in self.floats.positive.iter_mut().chain(&mut self.floats.negative).zip(counts) {
                row.write(count.to_bits(), writer);
            }
            return;
        }
        let Some(buckets) = integer_counts(histogram, is_stale) else {
            // Prometheus writes no counts of a stale marker, and nobody reads them.
            varbit::write_int(writer, 0);
            varbit::write_int(writer, 0);
            self.sum.write(histogram.sum.to_bits(), writer);
            return;
        };
        self.integers.count.write(buckets.count as i64, writer);
        self.integers.zero.write(buckets.zero_count as i64, writer);
        self.sum.write(histogram.sum.to_bits(), writer);
        let counts = differences(&buckets.positive).chain(differences(&buckets.negative));
        for (row, count) in self.integers.positive.iter_mut().chain(&mut self.integers.negative).zip(counts) {
            row.write(count, writer);
        }
    }
}

impl IntegerRow {
    fn write(&mut self, value: i64, writer: &mut BitWriter) {
        let delta = value.wrapping_sub(self.value);
        varbit::write_int(writer, delta.wrapping_sub(self.delta));
        *self = Self { value, delta };
    }
}

fn check_counts<Count>(histogram: &Histogram, buckets: &Buckets<Count>) -> Result<(), AppendHistogramError> {
    for (spans, counts) in
        [(&histogram.positive_spans, &buckets.positive), (&histogram.negative_spans, &buckets.negative)]
    {
        let (buckets, counts) = (bucket_count(spans), counts.len());
        if buckets != counts {
            return Err(AppendHistogramError::CountMismatch { buckets, counts });
        }
    }
    Ok(())
}

/// The counts; none of a stale marker.
fn integer_counts(histogram: &Histogram, is_stale: bool) -> Option<&Buckets<u64>> {
    match &histogram.counts {
        BucketCounts::Integer(buckets) if !is_stale => Some(buckets),
        _ => None,
    }
}

/// The counts; none of a stale marker.
fn float_counts(histogram: &Histogram, is_stale: bool) -> Option<&Buckets<f64>> {
    match &histogram.counts {
        BucketCounts::Float(buckets) if !is_stale => Some(buckets),
        _ => None,
    }
}

/// Each count as the difference to the one before it.
fn differences(counts: &[u64]) -> impl Iterator<Item = i64> + '_ {
    let before = std::iter::once(&0).chain(counts);
    counts.iter().zip(before).map(|(count, before)| count.wrapping_sub(*before) as i64)
}
