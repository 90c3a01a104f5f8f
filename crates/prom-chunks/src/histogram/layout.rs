//! What all histograms of a chunk share: schema, zero threshold, places of the buckets.

use super::{Histogram, ResetHint, Span};
use crate::{
    ChunkErrorKind,
    bits::{BitReader, BitWriter},
    varbit,
};

/// What the header of a chunk of histograms says about its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ResetHeader {
    /// Nothing is known about a counter reset before the chunk.
    #[default]
    Unknown,
    /// The chunk began because of a counter reset.
    Reset,
    /// There was no counter reset before the chunk.
    NotReset,
    /// The histograms are gauges.
    Gauge,
}

impl ResetHeader {
    /// Takes the two highest bits of a byte.
    pub(crate) fn from_byte(byte: u8) -> Self {
        match byte >> 6 {
            0b00 => Self::Unknown,
            0b01 => Self::NotReset,
            0b10 => Self::Reset,
            _ => Self::Gauge,
        }
    }

    pub(crate) fn byte(self) -> u8 {
        let bits = match self {
            Self::Unknown => 0b00,
            Self::NotReset => 0b01,
            Self::Reset => 0b10,
            Self::Gauge => 0b11,
        };
        bits << 6
    }

    /// What is known about histogram `index` of the chunk. Of the first nothing, also where the header says
    /// something: the chunk before it may be another one than when the header was written.
    pub(crate) fn hint(self, index: u32) -> ResetHint {
        match self {
            Self::Gauge => ResetHint::Gauge,
            _ if index > 0 => ResetHint::NotReset,
            _ => ResetHint::Unknown,
        }
    }
}

/// The layout of a chunk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    pub(crate) schema: i32,
    pub(crate) zero_threshold: f64,
    pub(crate) positive_spans: Vec<Span>,
    pub(crate) negative_spans: Vec<Span>,
    pub(crate) custom_values: Vec<f64>,
}

impl Layout {
    /// Reads a layout whose buckets, spans and bounds are at most `limit` each, and no more than the bits that are
    /// left can hold.
    pub(crate) fn read(reader: &mut BitReader<'_>, limit: usize) -> Result<Self, ChunkErrorKind> {
        let zero_threshold = read_zero_threshold(reader)?;
        let schema = varbit::read_int(reader)?;
        if !Histogram::is_known_schema(schema) {
            return Err(ChunkErrorKind::UnknownSchema(schema));
        }
        let schema = schema as i32;
        let positive_spans = read_spans(reader, limit)?;
        let negative_spans = read_spans(reader, limit)?;
        let custom_values = match schema {
            Histogram::CUSTOM_BUCKETS => read_custom_values(reader, limit)?,
            _ => Vec::new(),
        };
        Ok(Self { schema, zero_threshold, positive_spans, negative_spans, custom_values })
    }

    pub(crate) fn write(&self, writer: &mut BitWriter) {
        write_zero_threshold(writer, self.zero_threshold);
        varbit::write_int(writer, self.schema.into());
        for spans in [&self.positive_spans, &self.negative_spans] {
            varbit::write_uint(writer, spans.len() as u64);
            for span in spans {
                varbit::write_uint(writer, span.length.into());
                varbit::write_int(writer, span.offset.into());
            }
        }
        if self.schema == Histogram::CUSTOM_BUCKETS {
            varbit::write_uint(writer, self.custom_values.len() as u64);
            for bound in &self.custom_values {
                write_custom_value(writer, *bound);
            }
        }
    }

    pub(crate) fn positive_count(&self) -> usize {
        bucket_count(&self.positive_spans)
    }

    pub(crate) fn negative_count(&self) -> usize {
        bucket_count(&self.negative_spans)
    }
}

/// How many buckets the spans have; at most the highest number, however long they say they are.
pub(crate) fn bucket_count(spans: &[Span]) -> usize {
    spans.iter().fold(0, |count: usize, span| count.saturating_add(span.length as usize))
}

fn read_spans(reader: &mut BitReader<'_>, limit: usize) -> Result<Vec<Span>, ChunkErrorKind> {
    let count = read_length(reader, limit, MIN_SPAN_BITS)?;
    let mut spans = Vec::with_capacity(count);
    for _ in 0..count {
        let length = u32::try_from(varbit::read_uint(reader)?).map_err(|_| ChunkErrorKind::InvalidSpan)?;
        let offset = i32::try_from(varbit::read_int(reader)?).map_err(|_| ChunkErrorKind::InvalidSpan)?;
        spans.push(Span { offset, length });
    }
    if bucket_count(&spans) > limit.min(reader.remaining()) {
        return Err(ChunkErrorKind::TooManyBuckets { limit: limit.min(reader.remaining()) });
    }
    Ok(spans)
}

fn read_custom_values(reader: &mut BitReader<'_>, limit: usize) -> Result<Vec<f64>, ChunkErrorKind> {
    let count = read_length(reader, limit, MIN_BOUND_BITS)?;
    let mut bounds = Vec::with_capacity(count);
    for _ in 0..count {
        let bound = match varbit::read_uint(reader)? {
            0 => f64::from_bits(reader.read(64)?),
            thousandths => (thousandths - 1) as f64 / 1000.0,
        };
        bounds.push(bound);
    }
    Ok(bounds)
}

/// Reads how many things of at least `min_bits` follow.
fn read_length(reader: &mut BitReader<'_>, limit: usize, min_bits: usize) -> Result<usize, ChunkErrorKind> {
    let declared = varbit::read_uint(reader)?;
    let limit = limit.min(reader.remaining() / min_bits);
    match usize::try_from(declared) {
        Ok(count) if count <= limit => Ok(count),
        _ => Err(ChunkErrorKind::TooManyBuckets { limit }),
    }
}

fn read_zero_threshold(reader: &mut BitReader<'_>) -> Result<f64, ChunkErrorKind> {
    Ok(match reader.read(8)? {
        0 => 0.0,
        255 => f64::from_bits(reader.read(64)?),
        // 2^(power - 244), which is never subnormal.
        power => f64::from_bits((power + 1023 - 244) << 52),
    })
}

fn write_zero_threshold(writer: &mut BitWriter, threshold: f64) {
    let bits = threshold.to_bits();
    let power = (bits >> 52).wrapping_sub(1023 - 244);
    if bits == 0 {
        writer.write(0, 8);
    } else if bits << 12 == 0 && (1..=254).contains(&power) {
        writer.write(power, 8);
    } else {
        writer.write(255, 8);
        writer.write(bits, 64);
    }
}

fn write_custom_value(writer: &mut BitWriter, bound: f64) {
    let thousandths = (bound * 1000.0).round();
    // More would take eight bytes either way. A -0.0 is no 0 when bits are kept.
    let is_short = (0.0..=MAX_THOUSANDTHS).contains(&(bound * 1000.0))
        && (thousandths as u64 as f64 / 1000.0).to_bits() == bound.to_bits();
    if is_short {
        varbit::write_uint(writer, thousandths as u64 + 1);
    } else {
        writer.write(0, 1);
        writer.write(bound.to_bits(), 64);
    }
}

/// One less than what 25 bits hold, as 0 has another meaning.
const MAX_THOUSANDTHS: f64 = 33_554_430.0;
/// A zero length and a zero offset.
const MIN_SPAN_BITS: usize = 2;
/// The shortest number that is not 0.
const MIN_BOUND_BITS: usize = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_threshold(threshold: f64, bits: usize) {
        let mut writer = BitWriter::after_header(vec![]);
        write_zero_threshold(&mut writer, threshold);
        let bytes = writer.into_bytes();
        assert_eq!(bytes.len() * 8, bits, "{threshold}");
        let read = read_zero_threshold(&mut BitReader::new(&bytes, 0)).unwrap();
        assert_eq!(read.to_bits(), threshold.to_bits());
    }

    #[test]
    fn powers_of_two_are_short_thresholds() {
        check_threshold(0.0, 8);
        check_threshold(-0.0, 72);
        check_threshold(0.001, 72);
        check_threshold(1.0, 8);
        check_threshold(-1.0, 72);
        check_threshold(2_f64.powi(-128), 8);
        check_threshold(2_f64.powi(-243), 8);
        check_threshold(2_f64.powi(-244), 72);
        check_threshold(1024.0, 8);
        check_threshold(2048.0, 72);
        check_threshold(f64::from_bits(0x7ff8_0000_0000_0abc), 72);
    }

    proptest! {
        #[test]
        fn bounds_keep_their_bits(bound in prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-10..40_000_000_i64).prop_map(|thousandths| thousandths as f64 / 1000.0),
            Just(-0.0),
        ]) {
            let mut writer = BitWriter::after_header(vec![]);
            varbit::write_uint(&mut writer, 1);
            write_custom_value(&mut writer, bound);
            let bytes = writer.into_bytes();
            let read = read_custom_values(&mut BitReader::new(&bytes, 0), 1).unwrap();
            prop_assert_eq!(read[0].to_bits(), bound.to_bits());
        }
    }

    #[test]
    fn as_many_spans_as_allowed_and_no_more() {
        let layout = Layout {
            positive_spans: vec![Span { offset: -3, length: 2 }, Span { offset: 1, length: 1 }],
            ..Layout::default()
        };
        let mut writer = BitWriter::after_header(vec![]);
        layout.write(&mut writer);
        writer.write(0, 32);
        let bytes = writer.into_bytes();
        let read = Layout::read(&mut BitReader::new(&bytes, 0), 3).unwrap();
        assert_eq!(read.positive_spans, layout.positive_spans);
        let over = Layout::read(&mut BitReader::new(&bytes, 0), 2).unwrap_err();
        assert_eq!(over, ChunkErrorKind::TooManyBuckets { limit: 2 });
    }
}
