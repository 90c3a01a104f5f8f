//! Decoding of chunks: captured counters and gauges (`tests/data/README.md`), and histograms that Prometheus wrote.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prom_chunks::{Encoding, HistogramDecoder, Sample, Xor2Samples, XorEncoder, XorSamples};

#[path = "../tests/it/captured.rs"]
#[expect(dead_code, reason = "its tests are not run here")]
mod captured;

fn benches(criterion: &mut Criterion) {
    for (name, file) in [("counters", "captured_counters.bin"), ("gauges", "captured_gauges.bin")] {
        let chunks: Vec<Vec<u8>> = captured::chunks(file).into_iter().map(|(_, chunk)| chunk).collect();
        xor(criterion, name, &chunks);
    }
    xor2(criterion);
    histograms(criterion);
}

fn xor(criterion: &mut Criterion, name: &str, chunks: &[Vec<u8>]) {
    let samples: Vec<Vec<Sample>> =
        chunks.iter().map(|chunk| XorSamples::new(chunk).unwrap().map(Result::unwrap).collect()).collect();
    let mut group = criterion.benchmark_group(format!("xor/{name}"));
    group.throughput(Throughput::Elements(samples.iter().map(|samples| samples.len() as u64).sum()));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let mut digest = 0_u64;
            for chunk in black_box(chunks) {
                XorSamples::new(chunk).unwrap().for_each(|sample| {
                    let sample = sample.unwrap();
                    digest = digest.wrapping_add(sample.value_bits ^ sample.timestamp_ms as u64);
                });
            }
            digest
        });
    });
    group.bench_function("decode-loop", |bencher| {
        bencher.iter(|| {
            let mut digest = 0_u64;
            for chunk in black_box(chunks) {
                for sample in XorSamples::new(chunk).unwrap() {
                    let sample = sample.unwrap();
                    digest = digest.wrapping_add(sample.value_bits ^ sample.timestamp_ms as u64);
                }
            }
            digest
        });
    });
    let mut output = Vec::new();
    group.bench_function("decode-to-vec", |bencher| {
        bencher.iter(|| {
            for chunk in black_box(chunks) {
                output.clear();
                XorSamples::new(chunk).unwrap().for_each(|sample| output.push(sample.unwrap()));
            }
        });
    });
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            for samples in black_box(&samples) {
                let mut encoder = XorEncoder::new();
                samples.iter().for_each(|sample| encoder.append(*sample).unwrap());
                black_box(encoder.finish());
            }
        });
    });
    group.finish();
}

fn xor2(criterion: &mut Criterion) {
    let chunks =
        golden("floats.jsonl", &["xor2/st-delta-near-counter", "xor2/gauge-walk", "xor2/counter-reset"]);
    let count = |chunk: &Vec<u8>| Xor2Samples::new(chunk).unwrap().remaining() as u64;
    let mut group = criterion.benchmark_group("xor2");
    group.throughput(Throughput::Elements(chunks.iter().map(count).sum()));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let mut digest = 0_u64;
            for chunk in black_box(&chunks) {
                for started in Xor2Samples::new(chunk).unwrap() {
                    let started = started.unwrap();
                    digest =
                        digest.wrapping_add(started.sample.value_bits ^ started.start_timestamp_ms as u64);
                }
            }
            digest
        });
    });
    group.finish();
}

fn histograms(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("histogram");
    for (name, encoding, record) in [
        ("integer", Encoding::Histogram, "histogram/new-buckets/0"),
        ("float", Encoding::FloatHistogram, "floathistogram/new-buckets/0"),
    ] {
        let chunks = golden("histograms.jsonl", &[record]);
        let chunk = &chunks[0];
        group.throughput(Throughput::Elements(
            HistogramDecoder::new(encoding, chunk).unwrap().remaining() as u64
        ));
        group.bench_function(format!("decode-{name}"), |bencher| {
            bencher.iter(|| {
                let mut decoder = HistogramDecoder::new(encoding, black_box(chunk)).unwrap();
                while let Some(histogram) = decoder.next_histogram().unwrap() {
                    black_box(histogram);
                }
            });
        });
    }
    group.finish();
}

/// Chunks of `tests/data` by name.
fn golden(file: &str, names: &[&str]) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut chunks = Vec::new();
    for line in text.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        if names.contains(&record["name"].as_str().unwrap()) {
            let hex = record["chunk"].as_str().unwrap();
            let digit = |index: usize| u8::from_str_radix(&hex[index..index + 2], 16).unwrap();
            chunks.push((0..hex.len()).step_by(2).map(digit).collect());
        }
    }
    assert_eq!(chunks.len(), names.len());
    chunks
}

criterion_group!(decode, benches);
criterion_main!(decode);
