//! The example `dump`, on captured streams and on bodies of each other kind.

use prom_remote::{
    Compressor, ReadResponseBuilder, Sample, WriteRequestBuilder,
    prom_chunks::{BucketCounts, Buckets, Histogram, ResetHint, STALE_MARKER_BITS, Span},
};
use prost::Message;
use serde_json::{Value, json};

#[path = "../examples/dump.rs"]
#[allow(unreachable_pub, reason = "is a program of its own")]
mod dump;

use dump::Kind;

#[allow(unreachable_pub, dead_code, clippy::all, reason = "generated")]
mod write_v2 {
    include!("../src/generated/io.prometheus.write.v2.rs");
}

fn dumped(kind: Kind, body: &[u8]) -> Vec<Value> {
    let mut output = Vec::new();
    dump::dump(kind, body, &mut output).unwrap();
    String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn data(file: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/read/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn truth(file: &str) -> Value {
    serde_json::from_slice(&data(file)).unwrap()
}

fn compressed(message: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    Compressor::new().compress(message, &mut block).unwrap();
    block
}

#[test]
fn a_stream_of_floats() {
    let truth = truth("prom242_xor.json");
    let series = dumped(Kind::ReadStream, &data("prom242_stream_xor.bin"));
    assert_eq!(series.len(), 1);
    assert_eq!(series[0]["labels"], truth["labels"]);
    let samples: Vec<_> = series[0]["samples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sample| json!([sample["t"], sample["bits"]]))
        .collect();
    assert_eq!(json!(samples), truth["samples"]);
    assert_eq!(series[0]["histograms"], json!([]));
}

#[test]
fn a_stream_of_histograms() {
    let truth = truth("prom242_hist.json");
    let series = dumped(Kind::ReadStream, &data("prom242_stream_hist.bin"));
    assert_eq!(series.len(), 1);
    let histograms = series[0]["histograms"].as_array().unwrap();
    let expected = truth["samples"].as_array().unwrap();
    assert_eq!(histograms.len(), expected.len());
    for (histogram, expected) in histograms.iter().zip(expected) {
        assert_eq!(histogram["t"], expected["t"]);
        if expected["stale"] == true {
            assert_eq!(histogram["sum_bits"], STALE_MARKER_BITS.to_string());
            continue;
        }
        assert_eq!(histogram["schema"], truth["schema"]);
        assert_eq!(histogram["zero_threshold"], truth["zero_threshold"]);
        assert_eq!(histogram["positive_spans"], truth["pos_spans"]);
        assert_eq!(histogram["negative_spans"], truth["neg_spans"]);
        for (ours, theirs) in [
            ("count", "count"),
            ("zero_count", "zero"),
            ("sum", "sum"),
            ("positive_buckets", "pos"),
            ("negative_buckets", "neg"),
        ] {
            assert_eq!(histogram[ours], expected[theirs], "{ours}");
        }
    }
}

#[test]
fn a_stream_with_start_timestamps() {
    let truth = truth("prom313_xor2.json");
    let series = dumped(Kind::ReadStream, &data("prom313_stream_xor2.bin"));
    assert_eq!(series.len(), 40);
    for series in series {
        let label = |name: &str| {
            let labels = series["labels"].as_array().unwrap();
            labels.iter().find(|label| label[0] == name).unwrap()[1].clone()
        };
        let expected = truth.as_array().unwrap().iter();
        let expected = expected.clone().find(|e| e["s"] == label("s") && e["run"] == label("run")).unwrap();
        let samples: Vec<_> = series["samples"]
            .as_array()
            .unwrap()
            .iter()
            .map(|sample| {
                let start = sample.get("st").unwrap_or(&json!(0)).to_string();
                json!([start, sample["t"].to_string(), sample["bits"]])
            })
            .collect();
        assert_eq!(json!(samples), expected["x"]);
    }
}

fn histogram() -> Histogram {
    Histogram {
        timestamp_ms: 5,
        reset_hint: ResetHint::Gauge,
        schema: -53,
        sum: f64::INFINITY,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        custom_values: vec![0.5],
        counts: BucketCounts::Integer(Buckets { count: 3, positive: vec![1, 2], ..Buckets::default() }),
        ..Histogram::integer()
    }
}

fn expected() -> Value {
    json!({
        "labels": [["__name__", "up"]],
        "samples": [{ "t": 1, "bits": STALE_MARKER_BITS.to_string() }],
        "histograms": [{
            "t": 5,
            "schema": -53,
            "zero_threshold": 0.0,
            "zero_count": 0,
            "count": 3,
            "sum": "+Inf",
            "positive_spans": [[0, 2]],
            "positive_buckets": [1, 2],
            "negative_spans": [],
            "negative_buckets": [],
            "custom_values": [0.5],
            "reset_hint": 3,
            "sum_bits": f64::INFINITY.to_bits().to_string(),
        }],
    })
}

fn histogram_message() -> Vec<u8> {
    let mut message = Vec::new();
    prom_remote::encode_histogram(&histogram(), &mut message);
    message
}

#[test]
fn a_request_of_1_0_compressed_or_not() {
    let mut builder = WriteRequestBuilder::new();
    builder.series_with_histograms([("__name__", "up")], [Sample::stale(1)], [histogram_message()]);
    let message = builder.finish();
    assert_eq!(dumped(Kind::Write1, &message), [expected()]);
    assert_eq!(dumped(Kind::Write1, &compressed(&message)), [expected()]);
}

#[test]
fn an_answer_of_samples() {
    let mut builder = ReadResponseBuilder::new();
    builder.series([("__name__", "up")], [Sample::stale(1)], &[histogram()]).end_result();
    assert_eq!(dumped(Kind::ReadSamples, &compressed(&builder.finish())), [expected()]);
}

#[test]
fn a_request_of_2_0() {
    let histogram = write_v2::Histogram {
        start_timestamp: 4,
        ..write_v2::Histogram::decode(&histogram_message()[..]).unwrap()
    };
    let sample =
        write_v2::Sample { value: f64::from_bits(STALE_MARKER_BITS), timestamp: 1, start_timestamp: -7 };
    let series = write_v2::TimeSeries {
        labels_refs: vec![1, 2],
        samples: vec![sample],
        histograms: vec![histogram],
        ..Default::default()
    };
    let request = write_v2::Request {
        symbols: vec![Vec::new(), b"__name__".to_vec(), b"up".to_vec()],
        timeseries: vec![series],
    };
    let mut expected = expected();
    expected["samples"][0]["st"] = json!(-7);
    expected["histograms"][0]["st"] = json!(4);
    assert_eq!(dumped(Kind::Write2, &compressed(&request.encode_to_vec())), [expected]);
}

#[test]
fn a_label_without_its_symbol_is_refused() {
    for refs in [&[1, 2, 1][..], &[1, 3]] {
        let series = write_v2::TimeSeries { labels_refs: refs.to_vec(), ..Default::default() };
        let symbols = vec![Vec::new(), b"__name__".to_vec(), b"up".to_vec()];
        let request = write_v2::Request { symbols, timeseries: vec![series] };
        let error = dump::dump(Kind::Write2, &request.encode_to_vec(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "the labels of series 0 are not pairs of symbols that exist");
    }
}

#[test]
fn what_is_no_body_is_refused() {
    for kind in [Kind::Write1, Kind::Write2, Kind::ReadSamples, Kind::ReadStream] {
        assert!(dump::dump(kind, b"\x0a\xffnonsense", &mut Vec::new()).is_err(), "{kind:?}");
    }
}
