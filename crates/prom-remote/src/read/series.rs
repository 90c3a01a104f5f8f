//! The content of a series: decoded, clipped, merged.

use std::fmt;

use prom_chunks::{
    ChunkError, Encoding, Histogram, HistogramDecoder, StartedSample, Xor2Samples, XorSamples,
};
use thiserror::Error;

use super::{Chunk, Label};
use crate::{Limits, TimeRange};

/// A series of a streamed answer, its parts put together, undecoded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamedSeries {
    /// The number of the query that it answers, from 0.
    pub query: usize,
    /// The labels as the server sent them: sorted, if it keeps to the protocol.
    pub labels: Vec<Label>,
    /// The chunks as the server sent them. They may overlap, and hold samples outside of the range asked for.
    pub chunks: Vec<Chunk>,
}

/// What a series holds in a range of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeriesContent {
    /// The samples, each timestamp once, rising.
    pub samples: Vec<StartedSample>,
    /// The histograms, each timestamp once, rising.
    pub histograms: Vec<Histogram>,
    /// How many samples and histograms were left out because an earlier chunk has another one with the same
    /// timestamp. Repetitions of the same one are left out too, but not counted.
    pub conflicts: usize,
}

/// One series cannot be decoded; the others of the answer can.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("series {}: {kind} in chunk {chunk}", SelectorOf(&self.labels))]
#[non_exhaustive]
pub struct SeriesDecodeError {
    /// The labels of the series.
    pub labels: Vec<Label>,
    /// The chunk, counted from 0 in the order of the stream.
    pub chunk: usize,
    /// What is wrong.
    #[source]
    pub kind: SeriesDecodeErrorKind,
}

/// What is wrong with a series.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SeriesDecodeErrorKind {
    /// A chunk of an encoding that this crate does not know.
    #[error("unknown encoding {0}")]
    UnknownEncoding(i32),
    /// A chunk that is broken.
    #[error("broken chunk")]
    Chunk(#[from] ChunkError),
    /// More samples and histograms than [`Limits::max_samples`], or histograms with more than
    /// [`Limits::max_samples`] buckets altogether: ask for a shorter range.
    #[error("more samples or buckets than the limit of {limit}")]
    TooManySamples {
        /// The limit.
        limit: usize,
    },
}

impl StreamedSeries {
    /// Returns the value of the first label of this name; `None` also for an empty one.
    pub fn label(&self, name: &[u8]) -> Option<&[u8]> {
        let label = self.labels.iter().find(|label| label.name == name)?;
        Some(&label.value[..]).filter(|value| !value.is_empty())
    }

    /// Decodes all chunks and keeps what is in the range, each timestamp once.
    ///
    /// Of two samples with the same timestamp the one of the earlier chunk stays, by the order of the stream.
    /// Floats and histograms are kept apart: both may have the same timestamp.
    ///
    /// # Errors
    /// An unknown encoding, a broken chunk, or more samples in the range than the limits allow.
    pub fn decode(&self, range: TimeRange, limits: &Limits) -> Result<SeriesContent, SeriesDecodeError> {
        let mut gathered = Gathered { range, limits, weight: 0, content: SeriesContent::default() };
        for (chunk, encoded) in self.chunks.iter().enumerate() {
            gathered.add(encoded).map_err(|kind| SeriesDecodeError {
                labels: self.labels.clone(),
                chunk,
                kind,
            })?;
        }
        Ok(gathered.merged())
    }
}

struct Gathered<'a> {
    range: TimeRange,
    limits: &'a Limits,
    /// Samples, histograms and buckets so far.
    weight: usize,
    content: SeriesContent,
}

impl Gathered<'_> {
    fn add(&mut self, chunk: &Chunk) -> Result<(), SeriesDecodeErrorKind> {
        match Encoding::from_number(chunk.encoding) {
            Some(Encoding::Xor) => {
                for sample in XorSamples::new(&chunk.data)? {
                    self.add_sample(sample?.into())?;
                }
            }
            Some(Encoding::Xor2) => {
                for sample in Xor2Samples::new(&chunk.data)? {
                    self.add_sample(sample?)?;
                }
            }
            Some(encoding) if encoding.holds_histograms() => self.add_histograms(encoding, &chunk.data)?,
            _ => return Err(SeriesDecodeErrorKind::UnknownEncoding(chunk.encoding)),
        }
        Ok(())
    }

    fn add_sample(&mut self, sample: StartedSample) -> Result<(), SeriesDecodeErrorKind> {
        if self.range.contains(sample.sample.timestamp_ms) {
            self.weigh(1)?;
            self.content.samples.push(sample);
        }
        Ok(())
    }

    fn add_histograms(&mut self, encoding: Encoding, data: &[u8]) -> Result<(), SeriesDecodeErrorKind> {
        let mut decoder = HistogramDecoder::with_max_buckets(encoding, data, self.limits.max_buckets)?;
        while let Some(histogram) = decoder.next_histogram()? {
            if self.range.contains(histogram.timestamp_ms) {
                self.weigh(1 + histogram.bucket_count())?;
                self.content.histograms.push(histogram.clone());
            }
        }
        Ok(())
    }

    fn weigh(&mut self, more: usize) -> Result<(), SeriesDecodeErrorKind> {
        let limit = self.limits.max_samples;
        self.weight = self.weight.saturating_add(more);
        if self.weight > limit {
            return Err(SeriesDecodeErrorKind::TooManySamples { limit });
        }
        Ok(())
    }

    fn merged(mut self) -> SeriesContent {
        let conflicts = merge(&mut self.content.samples, |sample| sample.sample.timestamp_ms)
            + merge(&mut self.content.histograms, |histogram| histogram.timestamp_ms);
        self.content.conflicts = conflicts;
        self.content
    }
}

/// Sorts by timestamp and leaves each only once, the first as they were gathered; returns how many of those left out
/// were different.
fn merge<T: PartialEq>(values: &mut Vec<T>, timestamp: impl Fn(&T) -> i64) -> usize {
    let is_rising = values.windows(2).all(|pair| timestamp(&pair[0]) < timestamp(&pair[1]));
    if is_rising {
        return 0;
    }
    values.sort_by_key(&timestamp);
    let mut conflicts = 0;
    values.dedup_by(|later, earlier| {
        let is_same_time = timestamp(later) == timestamp(earlier);
        if is_same_time && later != earlier {
            conflicts += 1;
        }
        is_same_time
    });
    conflicts
}

/// Labels as a selector, for messages.
pub(super) struct SelectorOf<'a>(pub(super) &'a [Label]);

impl fmt::Display for SelectorOf<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("{")?;
        for (index, label) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let (name, value) = (String::from_utf8_lossy(&label.name), String::from_utf8_lossy(&label.value));
            write!(formatter, "{comma}{name}={value:?}")?;
        }
        formatter.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use prom_chunks::Sample;
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::read::{chunk_histograms, chunk_samples};

    fn series(chunks: Vec<Chunk>) -> StreamedSeries {
        let label = Label { name: b"__name__".to_vec(), value: b"up".to_vec() };
        StreamedSeries { query: 0, labels: vec![label], chunks }
    }

    fn started(samples: &[Sample]) -> Vec<StartedSample> {
        samples.iter().copied().map(StartedSample::from).collect()
    }

    proptest! {
        /// Against a map from timestamps, filled in the order of the chunks.
        #[test]
        fn overlapping_chunks_give_each_timestamp_once(
            chunks in vec(vec((0..200_i64, 0..3_u64), 1..40), 0..5),
            (start, length) in (0..200_i64, 1..100_i64),
        ) {
            let range = TimeRange::new(start, start + length).unwrap();
            let mut expected = std::collections::BTreeMap::new();
            let mut conflicts = 0;
            let mut encoded = Vec::new();
            for mut pairs in chunks {
                pairs.sort();
                let samples: Vec<_> = pairs
                    .into_iter()
                    .map(|(timestamp_ms, value_bits)| Sample { timestamp_ms, value_bits })
                    .collect();
                for sample in samples.iter().filter(|sample| range.contains(sample.timestamp_ms)) {
                    let first = *expected.entry(sample.timestamp_ms).or_insert(*sample);
                    conflicts += usize::from(first != *sample);
                }
                encoded.extend(chunk_samples(&samples));
            }
            let content = series(encoded).decode(range, &Limits::default()).unwrap();
            let expected: Vec<_> = expected.into_values().collect();
            prop_assert_eq!(content.samples, started(&expected));
            prop_assert_eq!(content.conflicts, conflicts);
        }

        #[test]
        fn histograms_come_through_chunks(histograms in vec(crate::histogram::tests::histogram(), 0..10)) {
            let mut histograms = histograms;
            for (index, histogram) in histograms.iter_mut().enumerate() {
                histogram.timestamp_ms = index as i64;
                histogram.schema = histogram.schema.rem_euclid(8);
                histogram.custom_values.clear();
                let counts = match &histogram.counts {
                    prom_chunks::BucketCounts::Integer(buckets) => (buckets.positive.len(), buckets.negative.len()),
                    prom_chunks::BucketCounts::Float(buckets) => (buckets.positive.len(), buckets.negative.len()),
                };
                let span = |length| vec![prom_chunks::Span { offset: 3, length: length as u32 }];
                (histogram.positive_spans, histogram.negative_spans) = (span(counts.0), span(counts.1));
            }
            let chunks = chunk_histograms(&histograms).unwrap();
            let range = TimeRange::new(0, 100).unwrap();
            let content = series(chunks).decode(range, &Limits::default()).unwrap();
            prop_assert_eq!(content.histograms.len(), histograms.len());
            for (decoded, mut expected) in content.histograms.into_iter().zip(histograms) {
                // The first of a chunk is of unknown reset.
                if decoded.reset_hint == prom_chunks::ResetHint::Unknown {
                    expected.reset_hint = decoded.reset_hint;
                }
                prop_assert_eq!(decoded, expected);
            }
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_told_with_its_series() {
        let chunk = |encoding| Chunk { min_time_ms: 0, max_time_ms: 0, encoding, data: vec![0] };
        let range = TimeRange::new(0, 10).unwrap();
        let error = series(vec![chunk(7)]).decode(range, &Limits::default()).unwrap_err();
        assert_eq!(error.kind, SeriesDecodeErrorKind::UnknownEncoding(7));
        assert_eq!(error.to_string(), r#"series {__name__="up"}: unknown encoding 7 in chunk 0"#);
        for encoding in 1..=6 {
            let mut chunks = chunk_samples(&[Sample::new(1, 1.0)]);
            chunks.push(chunk(encoding));
            let error = series(chunks).decode(range, &Limits::default()).unwrap_err();
            assert_eq!(error.chunk, 1);
            assert!(matches!(error.kind, SeriesDecodeErrorKind::Chunk(_)));
        }
    }

    #[test]
    fn samples_are_bounded_at_and_over() {
        let samples: Vec<_> = (0..300).map(|time| Sample::new(time, 0.0)).collect();
        let series = series(chunk_samples(&samples));
        assert_eq!(series.chunks.len(), 3);
        let range = TimeRange::new(100, 200).unwrap();
        let at = Limits { max_samples: 100, ..Limits::default() };
        assert_eq!(series.decode(range, &at).unwrap().samples, started(&samples[100..200]));
        let error = series.decode(range, &Limits { max_samples: 99, ..at }).unwrap_err();
        assert_eq!(error.kind, SeriesDecodeErrorKind::TooManySamples { limit: 99 });
    }
}
