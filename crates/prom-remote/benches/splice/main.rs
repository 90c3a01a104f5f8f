//! The way of a request through a forwarder, next to what snappy alone costs in the same run.

#![expect(clippy::print_stdout, reason = "a bench talks to whoever runs it")]

mod payload;
mod prost_route;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use payload::Payload;
use prom_remote::{Compressor, LabelSplicer, Limits, decompress, validate, validate_v2};

#[derive(Clone, Copy)]
enum Version {
    V1,
    V2,
}

/// One payload in the form in which it comes.
struct Case {
    name: String,
    version: Version,
    request: Vec<u8>,
    block: Vec<u8>,
}

impl Case {
    fn new(name: &str, version: Version, request: Vec<u8>) -> Self {
        let mut block = Vec::new();
        Compressor::new().compress(&request, &mut block).expect("a small request");
        let version_name = match version {
            Version::V1 => "1.0",
            Version::V2 => "2.0",
        };
        Self { name: format!("{name}-{version_name}"), version, request, block }
    }
}

fn cases() -> Vec<Case> {
    let payloads = [
        ("kafka-like", payload::kafka_like()),
        ("node-like", payload::node_like()),
        ("kubernetes-like", payload::kubernetes_like()),
    ];
    let both = |(name, payload): (&str, Payload)| {
        [Case::new(name, Version::V1, payload.v1), Case::new(name, Version::V2, payload.v2)]
    };
    payloads.into_iter().flat_map(both).collect()
}

/// The least that any forwarder pays: the crate `snap` into buffers that are there.
struct SnappyLimit {
    encoder: snap::raw::Encoder,
    decoded: Vec<u8>,
    compressed: Vec<u8>,
}

impl SnappyLimit {
    fn new(request: &[u8]) -> Self {
        Self {
            encoder: snap::raw::Encoder::new(),
            decoded: vec![0; request.len()],
            compressed: vec![0; snap::raw::max_compress_len(request.len())],
        }
    }

    /// Returns the length of the compressed request.
    fn run(&mut self, block: &[u8]) -> usize {
        let length = snap::raw::Decoder::new().decompress(block, &mut self.decoded).expect("our own block");
        self.encoder.compress(&self.decoded[..length], &mut self.compressed).expect("a small request")
    }
}

/// The whole way: decompress, validate, splice, compress.
struct Forwarder {
    splicer: LabelSplicer,
    limits: Limits,
    compressor: Compressor,
    decoded: Vec<u8>,
    spliced: Vec<u8>,
    compressed: Vec<u8>,
}

impl Forwarder {
    fn new() -> Self {
        Self {
            splicer: LabelSplicer::new("source", "kafka").expect("a plain label"),
            limits: Limits::default(),
            compressor: Compressor::new(),
            decoded: Vec::new(),
            spliced: Vec::new(),
            compressed: Vec::new(),
        }
    }

    /// Returns the length of the compressed request.
    fn run(&mut self, version: Version, block: &[u8]) -> usize {
        self.decompress(block);
        self.splice(version);
        self.compress()
    }

    fn decompress(&mut self, block: &[u8]) -> usize {
        decompress(block, &self.limits, &mut self.decoded).expect("our own block");
        self.decoded.len()
    }

    fn splice(&mut self, version: Version) -> usize {
        let (splicer, decoded, limits) = (&self.splicer, &self.decoded, &self.limits);
        let (validation, _) = match version {
            Version::V1 => splicer.splice_valid(decoded, limits, &mut self.spliced),
            Version::V2 => splicer.splice_valid_v2(decoded, limits, &mut self.spliced),
        }
        .expect("well formed");
        assert!(validation.verdicts.is_empty());
        self.spliced.len()
    }

    fn compress(&mut self) -> usize {
        self.compressor.compress(&self.spliced, &mut self.compressed).expect("a small request");
        self.compressed.len()
    }
}

fn benches(criterion: &mut Criterion) {
    for case in cases() {
        steps(criterion, &case);
    }
    if std::env::args().any(|argument| argument == "--profile-time") {
        return;
    }
    println!("\n{:<24} {:>9} {:>9} {:>7} {:>9} {:>7}", "payload", "limit", "path", "ratio", "prost", "ratio");
    for case in cases() {
        ratios(&case);
    }
}

fn steps(criterion: &mut Criterion, case: &Case) {
    let mut group = criterion.benchmark_group(case.name.as_str());
    group.throughput(Throughput::Elements(payload::SERIES as u64));
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_secs(1));
    let limits = Limits::default();
    let splicer = LabelSplicer::new("source", "kafka").expect("a plain label");
    let (mut limit, mut forwarder) = (SnappyLimit::new(&case.request), Forwarder::new());
    let mut output = Vec::new();
    group.bench_function("snappy-limit", |bencher| bencher.iter(|| limit.run(black_box(&case.block))));
    group.bench_function("splice", |bencher| {
        bencher.iter(|| match case.version {
            Version::V1 => splicer.splice(black_box(&case.request), &limits, &mut output),
            Version::V2 => splicer.splice_v2(black_box(&case.request), &limits, &mut output),
        });
    });
    group.bench_function("splice-valid", |bencher| {
        bencher.iter(|| match case.version {
            Version::V1 => splicer.splice_valid(black_box(&case.request), &limits, &mut output),
            Version::V2 => splicer.splice_valid_v2(black_box(&case.request), &limits, &mut output),
        });
    });
    group.bench_function("validate", |bencher| {
        bencher.iter(|| match case.version {
            Version::V1 => validate(black_box(&case.request), &limits),
            Version::V2 => validate_v2(black_box(&case.request), &limits),
        });
    });
    group.bench_function("whole-path", |bencher| {
        bencher.iter(|| forwarder.run(case.version, black_box(&case.block)));
    });
    group.finish();
}

/// Runs limit, path and prost in turn, so that what else the machine does meets all of them alike.
fn ratios(case: &Case) {
    let (mut limit, mut forwarder) = (SnappyLimit::new(&case.request), Forwarder::new());
    let mut prost = prost_route::Route::new();
    let mut best = [Duration::MAX; 6];
    let mut lengths = [0; 6];
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        for _ in 0..8 {
            (lengths[0], best[0]) = timed(best[0], || limit.run(&case.block));
            (lengths[1], best[1]) = timed(best[1], || forwarder.run(case.version, &case.block));
            (lengths[3], best[3]) = timed(best[3], || forwarder.decompress(&case.block));
            (lengths[4], best[4]) = timed(best[4], || forwarder.splice(case.version));
            (lengths[5], best[5]) = timed(best[5], || forwarder.compress());
        }
        (lengths[2], best[2]) = timed(best[2], || prost.run(case.version, &case.block));
    }
    let micros = best.map(|best| best.as_secs_f64() * 1e6);
    println!(
        "{:<24} {:>6.0} us {:>6.0} us {:>7.2} {:>6.0} us {:>7.2}   {} bytes, {} compressed, {} of the path ({:+.1} %)",
        case.name,
        micros[0],
        micros[1],
        micros[1] / micros[0],
        micros[2],
        micros[2] / micros[0],
        case.request.len(),
        lengths[0],
        lengths[1],
        (lengths[1] as f64 / lengths[0] as f64 - 1.0) * 100.0,
    );
    println!(
        "{:<24} decompress {:.0} us, validate and splice {:.0} us, compress {:.0} us",
        "  of the path", micros[3], micros[4], micros[5],
    );
}

fn timed(best: Duration, work: impl FnOnce() -> usize) -> (usize, Duration) {
    let start = Instant::now();
    let length = work();
    (length, best.min(start.elapsed()))
}

criterion_group!(splice, benches);
criterion_main!(splice);
