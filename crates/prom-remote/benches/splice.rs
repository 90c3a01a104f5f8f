//! The way of a request through a forwarder, next to what snappy alone costs in the same run.
//!
//! The payload is kafka-like: 2,000 series of one sample and 11 labels.

#![expect(clippy::print_stdout, reason = "a bench talks to whoever runs it")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prom_remote::{
    Compressor, LabelSplicer, Limits, Sample, WriteRequestBuilder, WriteRequestView, decompress, validate,
};

const SERIES: u64 = 2_000;

fn kafka_like_request() -> Vec<u8> {
    let mut builder = WriteRequestBuilder::new();
    for index in 0..SERIES {
        let (topic, partition) = (index / 50, index % 50);
        let labels = [
            (
                "__name__",
                format!(
                    "kafka_log_log_{}",
                    ["logendoffset", "logstartoffset", "size", "numlogsegments"][index as usize % 4]
                ),
            ),
            ("cluster", "performance-testbed".to_owned()),
            ("env", "experiment".to_owned()),
            ("instance", "kafka-broker-1.testbed.internal:7071".to_owned()),
            ("job", "kafka-jmx-exporter".to_owned()),
            ("partition", partition.to_string()),
            ("rack", "rack-a".to_owned()),
            ("replica_set", "kafka-brokers-default".to_owned()),
            ("role", "broker".to_owned()),
            ("topic", format!("experiment-payload-topic-{topic:04}")),
            ("zone", "host-machine-zone-1".to_owned()),
        ];
        let value = (index * 7_919) as f64 * 1.25;
        builder.series(labels, [Sample::new(1_700_000_000_000, value)]);
    }
    builder.finish()
}

fn benches(criterion: &mut Criterion) {
    let limits = Limits::default();
    let request = kafka_like_request();
    let mut compressor = Compressor::new();
    let mut block = Vec::new();
    compressor.compress(&request, &mut block).expect("a small request");
    let splicer = LabelSplicer::new("source", "kafka").expect("a plain label");
    println!("payload: {} bytes, {} compressed", request.len(), block.len());

    let mut group = criterion.benchmark_group("kafka-like-2000");
    group.throughput(Throughput::Elements(SERIES));
    let (mut decoded, mut spliced, mut recompressed) = (Vec::new(), Vec::new(), Vec::new());
    group.bench_function("snappy-limit", |bencher| {
        bencher.iter(|| {
            decompress(black_box(&block), &limits, &mut decoded).expect("our own block");
            compressor.compress(&decoded, &mut recompressed).expect("a small request");
        });
    });
    group.bench_function("splice", |bencher| {
        bencher.iter(|| splicer.splice(black_box(&request), &limits, &mut spliced).expect("well formed"));
    });
    group.bench_function("summary", |bencher| {
        bencher.iter(|| WriteRequestView::new(black_box(&request)).summary(&limits).expect("well formed"));
    });
    group.bench_function("validate", |bencher| {
        bencher.iter(|| validate(black_box(&request), &limits).expect("well formed"));
    });
    group.bench_function("decompress-splice-compress", |bencher| {
        bencher.iter(|| {
            decompress(black_box(&block), &limits, &mut decoded).expect("our own block");
            splicer.splice(&decoded, &limits, &mut spliced).expect("well formed");
            compressor.compress(&spliced, &mut recompressed).expect("a small request");
        });
    });
    group.finish();

    let limit = best(|| {
        decompress(&block, &limits, &mut decoded).expect("our own block");
        compressor.compress(&decoded, &mut recompressed).expect("a small request");
    });
    let path = best(|| {
        decompress(&block, &limits, &mut decoded).expect("our own block");
        splicer.splice(&decoded, &limits, &mut spliced).expect("well formed");
        compressor.compress(&spliced, &mut recompressed).expect("a small request");
    });
    let ratio = path.as_secs_f64() / limit.as_secs_f64();
    println!("snappy limit {limit:?}, whole path {path:?}, ratio {ratio:.2} (aim: at most 2.0)");
}

/// The shortest of many runs: what the work costs when nothing else runs.
fn best(mut work: impl FnMut()) -> Duration {
    let end = Instant::now() + Duration::from_millis(700);
    let mut best = Duration::MAX;
    while Instant::now() < end {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed());
    }
    best
}

criterion_group!(splice, benches);
criterion_main!(splice);
