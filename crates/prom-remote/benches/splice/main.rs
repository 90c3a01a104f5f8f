//! The way of a request through a forwarder, next to what snappy alone costs in the same run.

#![expect(clippy::print_stdout, reason = "a bench talks to whoever runs it")]

mod payload;
mod prost_route;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use payload::{Payload, Version};
use prom_remote::{Compressor, LabelSplicer, Limits, decompress, validate, validate_v2};

/// The least that any forwarder pays: the crate `snap` into buffers that are there.
struct SnappyLimit {
    encoder: snap::raw::Encoder,
    decoded: Vec<u8>,
    compressed: Vec<u8>,
}

impl SnappyLimit {
    fn new(payload: &Payload) -> Self {
        let longest = payload.bodies.iter().map(|body| body.request.len()).max().unwrap_or_default();
        Self {
            encoder: snap::raw::Encoder::new(),
            decoded: vec![0; longest],
            compressed: vec![0; snap::raw::max_compress_len(longest)],
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
        let decoded = std::mem::take(&mut self.decoded);
        self.splice_of(version, &decoded);
        self.decoded = decoded;
        self.compressor.compress(&self.spliced, &mut self.compressed).expect("a small request");
        self.compressed.len()
    }

    fn decompress(&mut self, block: &[u8]) -> usize {
        decompress(block, &self.limits, &mut self.decoded).expect("our own block");
        self.decoded.len()
    }

    fn splice_of(&mut self, version: Version, request: &[u8]) {
        let (validation, _) = match version {
            Version::V1 => self.splicer.splice_valid(request, &self.limits, &mut self.spliced),
            Version::V2 => self.splicer.splice_valid_v2(request, &self.limits, &mut self.spliced),
        }
        .expect("well formed");
        assert!(validation.verdicts.is_empty());
    }
}

fn benches(criterion: &mut Criterion) {
    let payloads: Vec<_> = Payload::all().collect();
    for payload in &payloads {
        steps(criterion, payload);
    }
    if std::env::args().any(|argument| argument == "--profile-time") {
        return;
    }
    println!(
        "\n{:<16} {:>6} {:>9} {:>9} {:>6} {:>9} {:>6}",
        "payload", "labels", "limit", "path", "ratio", "prost", "ratio"
    );
    for payload in &payloads {
        ratios(payload);
    }
}

fn steps(criterion: &mut Criterion, payload: &Payload) {
    let mut group = criterion.benchmark_group(payload.name());
    group.throughput(Throughput::Elements(payload.samples() as u64));
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_secs(1));
    let (limits, version) = (Limits::default(), payload.version);
    let splicer = LabelSplicer::new("source", "kafka").expect("a plain label");
    let (mut limit, mut forwarder) = (SnappyLimit::new(payload), Forwarder::new());
    let mut output = Vec::new();
    let requests = || payload.bodies.iter().map(|body| black_box(&body.request[..]));
    let blocks = || payload.bodies.iter().map(|body| black_box(&body.block[..]));
    group.bench_function("snappy-limit", |bencher| {
        bencher.iter(|| blocks().map(|block| limit.run(block)).sum::<usize>());
    });
    group.bench_function("splice", |bencher| {
        bencher.iter(|| {
            requests().for_each(|request| {
                let report = match version {
                    Version::V1 => splicer.splice(request, &limits, &mut output),
                    Version::V2 => splicer.splice_v2(request, &limits, &mut output),
                };
                black_box(report).expect("well formed");
            });
        });
    });
    group.bench_function("splice-valid", |bencher| {
        bencher.iter(|| requests().for_each(|request| forwarder.splice_of(version, request)));
    });
    group.bench_function("validate", |bencher| {
        bencher.iter(|| {
            requests().for_each(|request| {
                let report = match version {
                    Version::V1 => validate(request, &limits),
                    Version::V2 => validate_v2(request, &limits),
                };
                black_box(report).expect("well formed");
            });
        });
    });
    group.bench_function("whole-path", |bencher| {
        bencher.iter(|| blocks().map(|block| forwarder.run(version, block)).sum::<usize>());
    });
    group.finish();
}

/// Runs limit, path and prost in turn, so that what else the machine does meets all of them alike.
fn ratios(payload: &Payload) {
    let (mut limit, mut forwarder) = (SnappyLimit::new(payload), Forwarder::new());
    let mut prost = prost_route::Route::new();
    let mut best = [Duration::MAX; 6];
    let mut lengths = [0; 6];
    let version = payload.version;
    let blocks = || payload.bodies.iter().map(|body| black_box(&body.block[..]));
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        for _ in 0..8 {
            (lengths[0], best[0]) = timed(best[0], || blocks().map(|block| limit.run(block)).sum());
            (lengths[1], best[1]) =
                timed(best[1], || blocks().map(|block| forwarder.run(version, block)).sum());
        }
        (lengths[2], best[2]) = timed(best[2], || blocks().map(|block| prost.run(version, block)).sum());
        (lengths[3], best[3]) = timed(best[3], || blocks().map(|block| forwarder.decompress(block)).sum());
        (lengths[4], best[4]) = timed(best[4], || {
            payload.bodies.iter().for_each(|body| forwarder.splice_of(version, black_box(&body.request)));
            0
        });
    }
    // A request, in the mean.
    let micros = best.map(|best| best.as_secs_f64() * 1e6 / payload.bodies.len() as f64);
    let bytes: usize = payload.bodies.iter().map(|body| body.request.len()).sum();
    println!(
        "{:<16} {:>6.1} {:>6.0} us {:>6.0} us {:>6.2} {:>6.0} us {:>6.2}   {} bytes, {} compressed, {} of the path ({:+.1} %)",
        payload.name(),
        payload.mean_labels(),
        micros[0],
        micros[1],
        micros[1] / micros[0],
        micros[2],
        micros[2] / micros[0],
        bytes / payload.bodies.len(),
        lengths[0] / payload.bodies.len(),
        lengths[1] / payload.bodies.len(),
        (lengths[1] as f64 / lengths[0] as f64 - 1.0) * 100.0,
    );
    println!(
        "{:<16} decompress {:.0} us, validate and splice {:.0} us",
        "  of the path", micros[3], micros[4]
    );
}

fn timed(best: Duration, work: impl FnOnce() -> usize) -> (usize, Duration) {
    let start = Instant::now();
    let length = work();
    (length, best.min(start.elapsed()))
}

criterion_group!(splice, benches);
criterion_main!(splice);
