//! The examples of `docs/formats` say what they say.

use prom_remote::{
    Limits, ReadStream, Sample, StartedSample, TimeRange,
    prom_chunks::{
        BucketCounts, Buckets, Encoding, Histogram, HistogramDecoder, ResetHint, Span, Xor2Samples,
        XorSamples,
    },
};

/// The bytes of the block `hex` of a page: what stands in two digits at the beginning of each line.
fn example(page: &str) -> Vec<u8> {
    let path = format!("{}/../../docs/formats/{page}.md", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let block = text.split("```hex\n").nth(1).unwrap().split("```").next().unwrap();
    let byte = |word: &str| u8::from_str_radix(word, 16).ok().filter(|_| word.len() == 2);
    block.lines().flat_map(|line| line.split_whitespace().map_while(byte)).collect()
}

fn xor_samples() -> Vec<Sample> {
    vec![Sample::new(1_000, 1.0), Sample::new(2_000, 1.0), Sample::new(3_000, 2.0), Sample::stale(4_001)]
}

#[test]
fn xor() {
    let chunk = example("xor");
    let samples: Vec<_> = XorSamples::new(&chunk).unwrap().map(Result::unwrap).collect();
    assert_eq!(samples, xor_samples());
}

#[test]
fn xor2() {
    let chunk = example("xor2");
    let samples: Vec<_> = Xor2Samples::new(&chunk).unwrap().map(Result::unwrap).collect();
    let started = |sample, start_timestamp_ms| StartedSample { sample, start_timestamp_ms };
    let expected = [
        started(Sample::new(1_000, 1.0), 500),
        started(Sample::new(2_000, 1.0), 500),
        started(Sample::new(3_000, 2.0), 500),
        started(Sample::stale(4_000), 500),
        started(Sample::new(5_001, 3.0), 4_000),
    ];
    assert_eq!(samples, expected);
}

#[test]
fn histogram() {
    let chunk = example("histogram");
    let mut decoder = HistogramDecoder::new(Encoding::Histogram, &chunk).unwrap();
    let counts = |count, positive: [u64; 2]| {
        BucketCounts::Integer(Buckets { count, zero_count: 1, positive: positive.to_vec(), negative: vec![] })
    };
    let first = Histogram {
        timestamp_ms: 1_000,
        zero_threshold: 1.0,
        sum: 5.5,
        positive_spans: vec![Span { offset: 1, length: 2 }],
        counts: counts(4, [2, 1]),
        ..Histogram::integer()
    };
    assert_eq!(decoder.next_histogram(), Ok(Some(&first)));
    let second = Histogram {
        timestamp_ms: 2_000,
        sum: 9.0,
        counts: counts(6, [3, 2]),
        reset_hint: ResetHint::NotReset,
        ..first
    };
    assert_eq!(decoder.next_histogram(), Ok(Some(&second)));
    assert_eq!(decoder.next_histogram(), Ok(None));
}

#[test]
fn frame() {
    let mut stream = ReadStream::new(1, &Limits::default());
    stream.push(&example("frame"));
    assert_eq!(stream.next_series(), Ok(None));
    let series = stream.finish().unwrap().unwrap();
    assert_eq!(series.label(b"__name__"), Some(&b"up"[..]));
    assert_eq!((series.chunks[0].min_time_ms, series.chunks[0].max_time_ms), (1_000, 4_001));
    let content = series.decode(TimeRange::new(0, 10_000).unwrap(), &Limits::default()).unwrap();
    let samples: Vec<_> = content.samples.iter().map(|started| started.sample).collect();
    assert_eq!(samples, xor_samples());
}
