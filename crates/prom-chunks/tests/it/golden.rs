//! Chunks that Prometheus' own code wrote, against what its own code read from them (`tests/data/README.md`).

use prom_chunks::{
    BucketCounts, Buckets, Encoding, Histogram, HistogramDecoder, HistogramEncoder, ResetHint, Sample, Span,
    StartedSample, Xor2Samples, XorEncoder, XorSamples,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Record {
    name: String,
    encoding: i32,
    chunk: String,
    #[serde(default)]
    samples: Vec<(i64, u64, i64)>,
    #[serde(default)]
    histograms: Vec<HistogramRecord>,
}

#[derive(Deserialize)]
struct HistogramRecord {
    t: i64,
    st: i64,
    hint: i32,
    schema: i32,
    zero_threshold_bits: u64,
    sum_bits: u64,
    count: u64,
    zero_count: u64,
    positive: Vec<u64>,
    negative: Vec<u64>,
    positive_spans: Vec<(i32, u32)>,
    negative_spans: Vec<(i32, u32)>,
    custom_value_bits: Vec<u64>,
}

impl Record {
    fn chunk(&self) -> Vec<u8> {
        let digit = |index: usize| u8::from_str_radix(&self.chunk[index..index + 2], 16).unwrap();
        (0..self.chunk.len()).step_by(2).map(digit).collect()
    }

    fn encoding(&self) -> Encoding {
        Encoding::from_number(self.encoding).unwrap()
    }

    fn samples(&self) -> Vec<StartedSample> {
        let sample = |&(timestamp_ms, value_bits, start_timestamp_ms): &(i64, u64, i64)| StartedSample {
            sample: Sample { timestamp_ms, value_bits },
            start_timestamp_ms,
        };
        self.samples.iter().map(sample).collect()
    }
}

impl HistogramRecord {
    fn histogram(&self, is_float: bool) -> Histogram {
        let spans = |spans: &[(i32, u32)]| {
            spans.iter().map(|&(offset, length)| Span { offset, length }).collect::<Vec<_>>()
        };
        let float = |bits: &[u64]| bits.iter().copied().map(f64::from_bits).collect();
        let counts = if is_float {
            BucketCounts::Float(Buckets {
                count: f64::from_bits(self.count),
                zero_count: f64::from_bits(self.zero_count),
                positive: float(&self.positive),
                negative: float(&self.negative),
            })
        } else {
            BucketCounts::Integer(Buckets {
                count: self.count,
                zero_count: self.zero_count,
                positive: self.positive.clone(),
                negative: self.negative.clone(),
            })
        };
        let mut histogram = Histogram::integer();
        histogram.timestamp_ms = self.t;
        histogram.start_timestamp_ms = self.st;
        histogram.reset_hint = ResetHint::from_number(self.hint);
        histogram.schema = self.schema;
        histogram.zero_threshold = f64::from_bits(self.zero_threshold_bits);
        histogram.sum = f64::from_bits(self.sum_bits);
        histogram.positive_spans = spans(&self.positive_spans);
        histogram.negative_spans = spans(&self.negative_spans);
        histogram.custom_values = float(&self.custom_value_bits);
        histogram.counts = counts;
        histogram
    }
}

fn records(file: &str) -> Vec<Record> {
    let path = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn decode_samples(encoding: Encoding, chunk: &[u8]) -> Vec<StartedSample> {
    match encoding {
        Encoding::Xor => {
            XorSamples::new(chunk).unwrap().map(|sample| StartedSample::from(sample.unwrap())).collect()
        }
        Encoding::Xor2 => Xor2Samples::new(chunk).unwrap().map(Result::unwrap).collect(),
        other => panic!("{other:?}"),
    }
}

fn decode_histograms(encoding: Encoding, chunk: &[u8]) -> Vec<Histogram> {
    let mut decoder = HistogramDecoder::new(encoding, chunk).unwrap();
    let mut histograms = Vec::new();
    while let Some(histogram) = decoder.next_histogram().unwrap() {
        histograms.push(histogram.clone());
    }
    histograms
}

#[test]
fn samples_are_what_prometheus_reads() {
    let records = records("floats.jsonl");
    assert!(records.len() > 50);
    for record in records {
        let samples = decode_samples(record.encoding(), &record.chunk());
        assert_eq!(samples, record.samples(), "{}", record.name);
    }
}

#[test]
fn xor_chunks_are_what_prometheus_writes() {
    let records = records("floats.jsonl");
    let xor: Vec<_> = records.iter().filter(|record| record.encoding() == Encoding::Xor).collect();
    assert!(xor.len() > 10);
    for record in xor {
        let mut encoder = XorEncoder::new();
        for sample in record.samples() {
            encoder.append(sample.sample).unwrap();
        }
        assert_eq!(encoder.finish(), record.chunk(), "{}", record.name);
    }
}

#[test]
fn histograms_are_what_prometheus_reads() {
    let records = records("histograms.jsonl");
    assert!(records.len() > 100);
    for record in records {
        let is_float = matches!(record.encoding(), Encoding::FloatHistogram | Encoding::FloatHistogramSt);
        let expected: Vec<_> = record.histograms.iter().map(|h| h.histogram(is_float)).collect();
        let mut histograms = decode_histograms(record.encoding(), &record.chunk());
        // Prometheus does so while it reads.
        histograms.iter_mut().for_each(|histogram| histogram.reduce_resolution(8));
        for (index, (histogram, expected)) in histograms.iter().zip(&expected).enumerate() {
            assert_eq!(histogram, expected, "{} histogram {index}", record.name);
        }
        assert_eq!(histograms.len(), expected.len(), "{}", record.name);
    }
}

#[test]
fn chunks_of_histograms_are_what_prometheus_writes() {
    let mut written = 0;
    for record in records("histograms.jsonl") {
        let (encoding, chunk) = (record.encoding(), record.chunk());
        if !matches!(encoding, Encoding::Histogram | Encoding::FloatHistogram) {
            continue;
        }
        let header = HistogramDecoder::new(encoding, &chunk).unwrap().reset_header();
        let mut encoder = HistogramEncoder::new(encoding, header).unwrap();
        for histogram in decode_histograms(encoding, &chunk) {
            encoder.append(&histogram).unwrap();
        }
        assert_eq!(encoder.finish(), chunk, "{}", record.name);
        written += 1;
    }
    assert!(written > 50);
}
