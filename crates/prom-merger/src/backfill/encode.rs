//! Makes requests of what was read.

use prom_remote::{
    Label, SampleV2, SeriesContent, SeriesV2, WriteRequestBuilder, WriteRequestV2Builder, encode_histogram,
    prom_chunks::{Histogram, StartedSample},
};

use crate::source::{FORMAT_V1, FORMAT_V2};

/// Collects series until there is enough for a request. What 1.0 cannot say goes as 2.0, all else as 1.0.
#[derive(Debug, Default)]
pub(super) struct Requests {
    v1: WriteRequestBuilder,
    v2: WriteRequestV2Builder,
    v1_samples: usize,
    v2_samples: usize,
}

/// A decoded message and the first byte of its record.
pub(super) type Request = (u8, Vec<u8>);

impl Requests {
    /// Adds a series, in pieces if it is long; returns the requests that are full.
    pub(super) fn add(&mut self, labels: &[Label], content: &SeriesContent) -> Vec<Request> {
        let mut full = Vec::new();
        let samples = content.samples.chunks(MAX_SAMPLES).map(Piece::Samples);
        let histograms = content.histograms.chunks(MAX_HISTOGRAMS).map(Piece::Histograms);
        for piece in samples.chain(histograms) {
            self.add_piece(labels, piece);
            full.extend(self.full());
        }
        full
    }

    fn add_piece(&mut self, labels: &[Label], piece: Piece<'_>) {
        let pairs = || labels.iter().map(|label| (&label.name[..], &label.value[..]));
        let histograms: Vec<_> = match piece {
            Piece::Samples(_) => Vec::new(),
            Piece::Histograms(histograms) => histograms
                .iter()
                .map(|histogram| {
                    let mut message = Vec::new();
                    encode_histogram(histogram, &mut message);
                    message
                })
                .collect(),
        };
        let samples = match piece {
            Piece::Samples(samples) => samples,
            Piece::Histograms(_) => &[],
        };
        let count = samples.len() + histograms.len();
        if piece.needs_v2() {
            let samples = samples.iter().map(|sample| SampleV2 {
                sample: sample.sample,
                start_timestamp_ms: sample.start_timestamp_ms,
            });
            self.v2.full_series(&SeriesV2 {
                labels: pairs().collect(),
                samples: samples.collect(),
                histograms: histograms.iter().map(Vec::as_slice).collect(),
                ..SeriesV2::default()
            });
            self.v2_samples += count;
        } else {
            let samples = samples.iter().map(|sample| sample.sample);
            self.v1.series_with_histograms(pairs(), samples, &histograms);
            self.v1_samples += count;
        }
    }

    fn full(&mut self) -> Vec<Request> {
        let mut full = Vec::new();
        if self.v1_samples >= MAX_SAMPLES || self.v1.byte_length() >= MAX_BYTES {
            self.v1_samples = 0;
            full.push((FORMAT_V1, self.v1.finish()));
        }
        if self.v2_samples >= MAX_SAMPLES || self.v2.byte_length() >= MAX_BYTES {
            self.v2_samples = 0;
            full.push((FORMAT_V2, self.v2.finish()));
        }
        full
    }

    /// Returns what is left.
    pub(super) fn finish(&mut self) -> Vec<Request> {
        let mut rest = Vec::new();
        if std::mem::take(&mut self.v1_samples) > 0 {
            rest.push((FORMAT_V1, self.v1.finish()));
        }
        if std::mem::take(&mut self.v2_samples) > 0 {
            rest.push((FORMAT_V2, self.v2.finish()));
        }
        rest
    }
}

#[derive(Debug, Clone, Copy)]
enum Piece<'a> {
    Samples(&'a [StartedSample]),
    Histograms(&'a [Histogram]),
}

impl Piece<'_> {
    /// 1.0 has no start timestamps, and its receivers no buckets with bounds of their own.
    fn needs_v2(self) -> bool {
        match self {
            Self::Samples(samples) => samples.iter().any(|sample| sample.start_timestamp_ms != 0),
            Self::Histograms(histograms) => histograms.iter().any(|histogram| {
                histogram.start_timestamp_ms != 0 || histogram.schema == Histogram::CUSTOM_BUCKETS
            }),
        }
    }
}

const MAX_SAMPLES: usize = 5_000;
/// A histogram is as long as many samples.
const MAX_HISTOGRAMS: usize = 100;
const MAX_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use prom_remote::{Limits, STALE_MARKER_BITS, Sample, WriteRequestV2View, WriteRequestView};

    use super::*;

    fn content(samples: impl IntoIterator<Item = (i64, u64, i64)>) -> SeriesContent {
        let mut content = SeriesContent::default();
        content.samples.extend(samples.into_iter().map(|(timestamp_ms, value_bits, start_timestamp_ms)| {
            StartedSample { sample: Sample { timestamp_ms, value_bits }, start_timestamp_ms }
        }));
        content
    }

    #[test]
    fn every_bit_is_kept_and_long_series_are_cut() {
        let name = Label { name: b"__name__".to_vec(), value: b"up".to_vec() };
        let bits = |time: i64| match time % 3 {
            0 => STALE_MARKER_BITS,
            1 => (-0.0_f64).to_bits(),
            _ => 0x7ff8_0000_dead_beef,
        };
        let all = content((0..12_000).map(|time| (time, bits(time), 0)));
        let started = content((0..10).map(|time| (time, bits(time), 5)));
        let mut requests = Requests::default();
        let mut made = requests.add(std::slice::from_ref(&name), &all);
        made.extend(requests.add(&[name], &started));
        made.extend(requests.finish());
        assert_eq!(made.iter().map(|(format, _)| *format).collect::<Vec<_>>(), [1, 1, 1, 2]);
        let read = made.iter().filter(|(format, _)| *format == 1).flat_map(|(_, message)| {
            let series: Vec<_> = WriteRequestView::new(message).series().map(Result::unwrap).collect();
            series.into_iter().flat_map(|series| series.samples().collect::<Vec<_>>()).collect::<Vec<_>>()
        });
        assert_eq!(read.collect::<Vec<_>>(), all.samples.iter().map(|s| s.sample).collect::<Vec<_>>());
        let view = WriteRequestV2View::new(&made[3].1, &Limits::default()).unwrap();
        let samples: Vec<_> = view.series().next().unwrap().unwrap().samples().collect();
        assert!(samples.iter().all(|sample| sample.start_timestamp_ms == 5));
        assert_eq!(samples.len(), 10);
        assert!(requests.finish().is_empty());
    }
}
