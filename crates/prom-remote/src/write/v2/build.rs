//! Builds a 2.0 request from plain values.

use std::collections::HashMap;

use super::{EXEMPLARS, HISTOGRAMS, LABEL_REFS, METADATA, SAMPLES, SERIES, SYMBOLS, SampleV2};
use crate::{
    CompressionError, Compressor, MetricType, Sample,
    wire::{put_bytes, put_varint},
};

/// Builds a `Request` of remote write 2.0 from plain values: for senders, tests and load tools.
///
/// Symbols are de-duplicated, and the first is the empty one. Labels are sorted; otherwise what is given is what is
/// sent. Sample values are written as bits: unlike most protobuf encoders it keeps a `-0.0`.
///
/// ```
/// use prom_remote::{Limits, Sample, WriteRequestV2Builder, WriteRequestV2View};
///
/// let mut builder = WriteRequestV2Builder::new();
/// builder.series([("job", "kafka"), ("__name__", "up")], [Sample::new(1_000, 1.0)]);
/// let request = builder.finish();
/// let view = WriteRequestV2View::new(&request, &Limits::default())?;
/// let series = view.series().next().unwrap()?;
/// assert_eq!(series.label(b"job", view.symbols()), Some(&b"kafka"[..]));
/// # Ok::<(), prom_remote::DecodeError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct WriteRequestV2Builder {
    symbols: Interner,
    series: Vec<u8>,
    body: Vec<u8>,
    message: Vec<u8>,
}

/// Names and values of labels.
pub type LabelPairs<'a> = Vec<(&'a [u8], &'a [u8])>;

/// A series of a 2.0 request to be built, with everything that it can have.
#[derive(Debug, Clone, Default)]
pub struct SeriesV2<'a> {
    /// Labels in any order.
    pub labels: LabelPairs<'a>,
    /// Samples in the order of time.
    pub samples: Vec<SampleV2>,
    /// Native histograms, each as the bytes of a `Histogram` message.
    pub histograms: Vec<&'a [u8]>,
    /// Exemplars: labels and sample.
    pub exemplars: Vec<(LabelPairs<'a>, Sample)>,
    /// What the metric is: type, help, unit.
    pub metadata: Option<(MetricType, &'a [u8], &'a [u8])>,
}

impl WriteRequestV2Builder {
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
        let labels: Vec<_> = labels.into_iter().collect();
        let labels = labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        let samples = samples.into_iter().map(|sample| SampleV2 { sample, start_timestamp_ms: 0 }).collect();
        self.full_series(&SeriesV2 { labels, samples, ..SeriesV2::default() })
    }

    /// Adds a series with everything that it can have.
    pub fn full_series(&mut self, series: &SeriesV2<'_>) -> &mut Self {
        let mut labels = series.labels.clone();
        labels.sort_by_key(|&(name, _)| name);
        self.body.clear();
        put_refs(&mut self.body, &mut self.symbols, labels);
        for sample in &series.samples {
            self.message.clear();
            put_sample(&mut self.message, *sample);
            put_bytes(&mut self.body, SAMPLES as u8, &self.message);
        }
        for histogram in &series.histograms {
            put_bytes(&mut self.body, HISTOGRAMS as u8, histogram);
        }
        for (labels, sample) in &series.exemplars {
            self.message.clear();
            put_exemplar(&mut self.message, &mut self.symbols, labels.iter().copied(), *sample);
            put_bytes(&mut self.body, EXEMPLARS as u8, &self.message);
        }
        if let Some((metric_type, help, unit)) = series.metadata {
            put_metadata(&mut self.body, &mut self.symbols, metric_type as i32, help, unit);
        }
        put_bytes(&mut self.series, SERIES as u8, &self.body);
        self
    }

    /// Returns the length of the request so far, in bytes.
    pub fn byte_length(&self) -> usize {
        self.symbols.encoded.len() + self.series.len()
    }

    /// Returns the bytes of the request and starts a new one.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut request = std::mem::take(&mut self.symbols).encoded;
        request.append(&mut self.series);
        request
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

/// Gives numbers to symbols; the empty one is 0.
#[derive(Debug, Clone)]
pub(in crate::write) struct Interner {
    numbers: HashMap<Vec<u8>, u32>,
    /// The symbols as fields of the request.
    pub(in crate::write) encoded: Vec<u8>,
}

impl Default for Interner {
    fn default() -> Self {
        let mut interner = Self { numbers: HashMap::new(), encoded: Vec::new() };
        interner.number(b"");
        interner
    }
}

impl Interner {
    pub(in crate::write) fn number(&mut self, symbol: &[u8]) -> u32 {
        if let Some(&number) = self.numbers.get(symbol) {
            return number;
        }
        let number = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        self.numbers.insert(symbol.to_vec(), number);
        put_bytes(&mut self.encoded, SYMBOLS as u8, symbol);
        number
    }

    pub(in crate::write) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Forgets the symbols from this number on, which began at this place of the encoded ones.
    pub(in crate::write) fn truncate(&mut self, count: usize, encoded: usize) {
        self.numbers.retain(|_, number| (*number as usize) < count);
        self.encoded.truncate(encoded);
    }
}

/// Writes the packed references of labels; nothing for none.
pub(in crate::write) fn put_refs<'l>(
    output: &mut Vec<u8>,
    symbols: &mut Interner,
    labels: impl IntoIterator<Item = (&'l [u8], &'l [u8])>,
) {
    let mut refs = Vec::new();
    for (name, value) in labels {
        put_varint(&mut refs, u64::from(symbols.number(name)));
        put_varint(&mut refs, u64::from(symbols.number(value)));
    }
    if !refs.is_empty() {
        put_bytes(output, LABEL_REFS as u8, &refs);
    }
}

/// Writes the content of an `Exemplar`.
pub(in crate::write) fn put_exemplar<'l>(
    output: &mut Vec<u8>,
    symbols: &mut Interner,
    labels: impl IntoIterator<Item = (&'l [u8], &'l [u8])>,
    sample: Sample,
) {
    put_refs(output, symbols, labels);
    put_value_and_time(output, [2, 3], sample);
}

/// Writes the content of a `Sample`.
fn put_sample(output: &mut Vec<u8>, sample: SampleV2) {
    put_value_and_time(output, [1, 2], sample.sample);
    if sample.start_timestamp_ms != 0 {
        output.push(3 << 3);
        put_varint(output, sample.start_timestamp_ms as u64);
    }
}

pub(in crate::write) fn put_value_and_time(output: &mut Vec<u8>, fields: [u8; 2], sample: Sample) {
    let [value, time] = fields;
    if sample.value_bits != 0 {
        output.push(value << 3 | 1);
        output.extend_from_slice(&sample.value_bits.to_le_bytes());
    }
    if sample.timestamp_ms != 0 {
        output.push(time << 3);
        put_varint(output, sample.timestamp_ms as u64);
    }
}

/// Writes the metadata field of a series.
pub(in crate::write) fn put_metadata(
    output: &mut Vec<u8>,
    symbols: &mut Interner,
    metric_type: i32,
    help: &[u8],
    unit: &[u8],
) {
    let mut message = Vec::new();
    for (field, number) in [
        (1, metric_type as i64 as u64),
        (3, u64::from(symbols.number(help))),
        (4, u64::from(symbols.number(unit))),
    ] {
        if number != 0 {
            message.push(field << 3);
            put_varint(&mut message, number);
        }
    }
    put_bytes(output, METADATA as u8, &message);
}
