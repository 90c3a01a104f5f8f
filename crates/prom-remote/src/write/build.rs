//! Builds a request from plain values.

use crate::{
    CompressionError, Compressor, Sample,
    wire::{put_bytes, put_bytes_unless_empty, put_varint},
};

/// Builds a `WriteRequest` from plain values: for senders, tests and load tools.
///
/// Labels are sorted; otherwise what is given is what is sent, so that a test can also build what a receiver must
/// refuse. Sample values are written as bits: unlike most protobuf encoders it keeps a `-0.0`.
///
/// ```
/// use prom_remote::{Limits, Sample, WriteRequestBuilder, WriteRequestView};
///
/// let mut builder = WriteRequestBuilder::new();
/// builder
///     .series([("job", "kafka"), ("__name__", "up")], [Sample::new(1_000, 1.0), Sample::stale(2_000)])
///     .series([("__name__", "lag")], [Sample::new(1_000, -0.0)]);
/// let summary = WriteRequestView::new(&builder.finish()).summary(&Limits::default())?;
/// assert_eq!((summary.series, summary.samples), (2, 3));
/// # Ok::<(), prom_remote::DecodeError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct WriteRequestBuilder {
    request: Vec<u8>,
    series: Vec<u8>,
    message: Vec<u8>,
}

impl WriteRequestBuilder {
    /// Starts an empty request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a series: labels in any order, samples in the order of time (which is not checked).
    pub fn series<Name, Value>(
        &mut self,
        labels: impl IntoIterator<Item = (Name, Value)>,
        samples: impl IntoIterator<Item = Sample>,
    ) -> &mut Self
    where
        Name: AsRef<[u8]>,
        Value: AsRef<[u8]>,
    {
        self.series_with_histograms(labels, samples, std::iter::empty::<&[u8]>())
    }

    /// Adds a series that also has native histograms, each given as the bytes of a `Histogram` message
    /// (for instance [`HistogramView::message_bytes`](crate::HistogramView)).
    pub fn series_with_histograms<Name, Value, Histogram>(
        &mut self,
        labels: impl IntoIterator<Item = (Name, Value)>,
        samples: impl IntoIterator<Item = Sample>,
        histograms: impl IntoIterator<Item = Histogram>,
    ) -> &mut Self
    where
        Name: AsRef<[u8]>,
        Value: AsRef<[u8]>,
        Histogram: AsRef<[u8]>,
    {
        let mut labels: Vec<_> = labels.into_iter().collect();
        labels.sort_by(|(a, _), (b, _)| a.as_ref().cmp(b.as_ref()));
        self.series.clear();
        for (name, value) in &labels {
            self.message.clear();
            put_bytes_unless_empty(&mut self.message, 1, name.as_ref());
            put_bytes_unless_empty(&mut self.message, 2, value.as_ref());
            put_bytes(&mut self.series, 1, &self.message);
        }
        for sample in samples {
            self.message.clear();
            put_sample(&mut self.message, sample);
            put_bytes(&mut self.series, 2, &self.message);
        }
        for histogram in histograms {
            put_bytes(&mut self.series, 4, histogram.as_ref());
        }
        put_bytes(&mut self.request, 1, &self.series);
        self
    }

    /// Adds what a metric is. Real senders send metadata in requests without series.
    pub fn metadata(&mut self, metric_type: MetricType, family: &str, help: &str, unit: &str) -> &mut Self {
        self.message.clear();
        if metric_type != MetricType::Unknown {
            self.message.extend_from_slice(&[0x08, metric_type as u8]);
        }
        put_bytes_unless_empty(&mut self.message, 2, family.as_bytes());
        put_bytes_unless_empty(&mut self.message, 4, help.as_bytes());
        put_bytes_unless_empty(&mut self.message, 5, unit.as_bytes());
        put_bytes(&mut self.request, 3, &self.message);
        self
    }

    /// Returns the length of the request so far, in bytes.
    pub fn byte_length(&self) -> usize {
        self.request.len()
    }

    /// Returns the bytes of the request and starts a new one.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.request)
    }

    /// Returns the request as a snappy block, the body that is sent, and starts a new one.
    ///
    /// # Errors
    /// A request of 4 GiB or more.
    pub fn finish_compressed(&mut self) -> Result<Vec<u8>, CompressionError> {
        let mut block = Vec::new();
        Compressor::new().compress(&self.finish(), &mut block)?;
        Ok(block)
    }
}

/// What kind of metric a family is (`MetricMetadata.MetricType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names of the protocol")]
pub enum MetricType {
    Unknown = 0,
    Counter = 1,
    Gauge = 2,
    Histogram = 3,
    GaugeHistogram = 4,
    Summary = 5,
    Info = 6,
    StateSet = 7,
}

fn put_sample(output: &mut Vec<u8>, sample: Sample) {
    if sample.value_bits != 0 {
        output.push(1 << 3 | 1);
        output.extend_from_slice(&sample.value_bits.to_le_bytes());
    }
    if sample.timestamp_ms != 0 {
        output.push(2 << 3);
        put_varint(output, sample.timestamp_ms as u64);
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::proto::prometheus::{WriteRequest, metric_metadata};

    #[test]
    fn prost_reads_what_is_built() {
        let mut builder = WriteRequestBuilder::new();
        builder
            .series([("job", "kafka"), ("__name__", "up")], [Sample::stale(-1), Sample::new(0, -0.0)])
            .metadata(MetricType::StateSet, "up", "help", "s");
        let request = WriteRequest::decode(&builder.finish()[..]).unwrap();
        let series = &request.timeseries[0];
        assert_eq!(series.labels[0].name, b"__name__");
        assert_eq!(series.labels[1].value, b"kafka");
        let samples: Vec<_> = series.samples.iter().map(|s| (s.timestamp, s.value.to_bits())).collect();
        assert_eq!(samples, [(-1, crate::STALE_MARKER_BITS), (0, (-0.0_f64).to_bits())]);
        assert_eq!(request.metadata[0].r#type(), metric_metadata::MetricType::Stateset);
        assert_eq!(request.metadata[0].unit, b"s");
        assert_eq!(builder.byte_length(), 0);
    }
}
