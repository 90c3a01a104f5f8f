//! What the specifications of remote write demand of a receiver, over a sink that judges and keeps the valid part.
//!
//! Each case is a request as a sender may send it, and the whole answer: status, and for 2.0 the counts.

use std::sync::{Arc, Mutex};

use prom_remote::{Limits, Sample, WriteRequestV2View, WriteRequestView};
use prom_remote_http::{WriteBody, WriteOutcome, WriteServer, WriteServerConfig, WriteSink, WriteVersion};
use reqwest::{Client, header::HeaderMap};

use crate::{
    support::{compress, serve},
    wire::{bytes, double, packed, varint},
};

const V1: &str = "application/x-protobuf";
const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
const NOW: u64 = 1_700_000_000_000;

/// Keeps the valid part of what it is given.
#[derive(Default)]
struct Store {
    kept: Mutex<Vec<(WriteVersion, Vec<u8>)>>,
}

impl WriteSink for Store {
    async fn write(&self, _source: &str, body: WriteBody) -> WriteOutcome {
        let judged = body.judge(&Limits::default()).unwrap();
        self.kept.lock().unwrap().push((body.version, judged.valid.to_vec()));
        judged.outcome()
    }
}

impl Store {
    /// The samples of everything kept, with the metric names.
    fn samples(&self) -> Vec<(String, Sample)> {
        let limits = Limits::default();
        let mut samples = Vec::new();
        let mut add = |name: Option<&[u8]>, sample| {
            samples.push((String::from_utf8_lossy(name.unwrap_or_default()).into_owned(), sample));
        };
        for (version, message) in &*self.kept.lock().unwrap() {
            match version {
                WriteVersion::V1 => {
                    for series in WriteRequestView::new(message).series().map(Result::unwrap) {
                        series.samples().for_each(|sample| add(series.label(b"__name__"), sample));
                    }
                }
                WriteVersion::V2 => {
                    let request = WriteRequestV2View::new(message, &limits).unwrap();
                    for series in request.series().map(Result::unwrap) {
                        let name = series.label(b"__name__", request.symbols());
                        series.samples().for_each(|sample| add(name, sample.sample));
                    }
                }
            }
        }
        samples
    }
}

struct Answer {
    status: u16,
    counts: Option<[u64; 3]>,
    text: String,
}

async fn post(content_type: &str, encoding: &str, body: Vec<u8>) -> (Answer, Arc<Store>) {
    let store = Arc::new(Store::default());
    let mut config = WriteServerConfig::default();
    config.accept_v2 = true;
    let address = serve(WriteServer::new(Arc::clone(&store), config).router("/write")).await;
    let request = Client::builder().no_proxy().build().unwrap().post(format!("http://{address}/write"));
    let request = request.header("content-type", content_type).header("content-encoding", encoding);
    let response = request.body(body).send().await.unwrap();
    let (status, counts) = (response.status().as_u16(), counts(response.headers()));
    (Answer { status, counts, text: response.text().await.unwrap() }, store)
}

/// All three headers or none.
fn counts(headers: &HeaderMap) -> Option<[u64; 3]> {
    let found = ["samples", "histograms", "exemplars"].map(|kind| {
        let value = headers.get(format!("x-prometheus-remote-write-{kind}-written"))?;
        Some(value.to_str().unwrap().parse::<u64>().unwrap())
    });
    match found {
        [Some(samples), Some(histograms), Some(exemplars)] => Some([samples, histograms, exemplars]),
        [None, None, None] => None,
        _ => panic!("some headers are missing: {found:?}"),
    }
}

async fn check(what: &str, content_type: &str, message: Vec<u8>, status: u16, counts: Option<[u64; 3]>) {
    let (answer, _) = post(content_type, "snappy", compress(&message)).await;
    assert_eq!((answer.status, answer.counts), (status, counts), "{what}: {}", answer.text);
    assert_eq!(answer.text.is_empty(), status == 204, "{what}: {}", answer.text);
}

fn label(name: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    bytes(1, [bytes(1, name), bytes(2, value)].concat())
}

fn sample(value: f64, timestamp: u64) -> Vec<u8> {
    [double(1, value.to_bits()), varint(2, timestamp)].concat()
}

fn series_v1(fields: &[Vec<u8>]) -> Vec<u8> {
    bytes(1, fields.concat())
}

fn good_v1() -> Vec<u8> {
    series_v1(&[label("__name__", "good"), bytes(2, sample(1.0, NOW))])
}

/// A 2.0 request; of the symbols, 0 is the empty one.
fn request_v2(symbols: &[&[u8]], series: &[Vec<u8>]) -> Vec<u8> {
    let symbols = std::iter::once(&b""[..]).chain(symbols.iter().copied());
    let symbols: Vec<_> = symbols.map(|symbol| bytes(4, symbol)).collect();
    [symbols.concat(), series.iter().map(|series| bytes(5, series)).collect::<Vec<_>>().concat()].concat()
}

const SYMBOLS: &[&[u8]] = &[b"__name__", b"good", b"a", b"b", b"\xff"];

fn series_v2(refs: &[u64], fields: &[Vec<u8>]) -> Vec<u8> {
    [packed(1, refs), fields.concat()].concat()
}

/// Three observations in two buckets and the zero bucket, unless `count` says otherwise.
fn histogram(count: u64) -> Vec<u8> {
    let span = [varint(1, 0), varint(2, 2)].concat();
    [
        varint(1, count),
        double(3, 4.5_f64.to_bits()),
        varint(6, 1),
        bytes(11, span),
        packed(12, &[2, 0]),
        varint(15, NOW),
    ]
    .concat()
}

fn exemplar_v2(refs: &[u64]) -> Vec<u8> {
    [packed(1, refs), double(2, 1.0_f64.to_bits()), varint(3, NOW)].concat()
}

#[tokio::test]
async fn requests_of_2_0_are_answered_with_exact_counts() {
    let good = || series_v2(&[1, 2], &[bytes(2, sample(1.0, NOW))]);
    let check = async |what: &str, series: Vec<Vec<u8>>, status, counts| {
        check(what, V2, request_v2(SYMBOLS, &series), status, Some(counts)).await;
    };
    let one = |series| vec![series];
    check("nothing", vec![], 204, [0, 0, 0]).await;
    check("a sample", one(good()), 204, [1, 0, 0]).await;
    let two = series_v2(&[1, 2], &[bytes(2, sample(1.0, NOW)), bytes(2, sample(1.0, NOW + 1))]);
    check("two samples", one(two), 204, [2, 0, 0]).await;
    check("a histogram", one(series_v2(&[1, 2], &[bytes(3, histogram(3))])), 204, [0, 1, 0]).await;
    check("a count that does not add up", one(series_v2(&[1, 2], &[bytes(3, histogram(99))])), 400, [0; 3])
        .await;
    let with_exemplar = series_v2(&[1, 2], &[bytes(2, sample(1.0, NOW)), bytes(4, exemplar_v2(&[3, 4]))]);
    check("a sample with an exemplar", one(with_exemplar), 204, [1, 0, 1]).await;
    check("exemplars only", one(series_v2(&[1, 2], &[bytes(4, exemplar_v2(&[]))])), 204, [0, 0, 1]).await;
    check(
        "an exemplar of odd references",
        one(series_v2(&[1, 2], &[bytes(4, exemplar_v2(&[3]))])),
        400,
        [0; 3],
    )
    .await;
    check("no samples", one(series_v2(&[1, 2], &[])), 400, [0; 3]).await;
    let started = [sample(1.0, NOW), varint(3, NOW - 1_000)].concat();
    check("a start timestamp", one(series_v2(&[1, 2], &[bytes(2, started)])), 204, [1, 0, 0]).await;
    let old = series_v2(&[1, 2], &[bytes(2, sample(1.0, NOW)), varint(6, NOW)]);
    check("the created timestamp of earlier drafts", one(old), 204, [1, 0, 0]).await;

    let labelled = |refs: &[u64]| vec![series_v2(refs, &[bytes(2, sample(1.0, NOW))])];
    check("unsorted labels", labelled(&[3, 4, 1, 2]), 204, [1, 0, 0]).await;
    check("an empty value", labelled(&[1, 2, 3, 0]), 204, [1, 0, 0]).await;
    check("no labels", labelled(&[]), 400, [0; 3]).await;
    check("no metric name", labelled(&[3, 4]), 400, [0; 3]).await;
    check("an empty label name", labelled(&[0, 4, 1, 2]), 400, [0; 3]).await;
    check("a repeated name", labelled(&[1, 2, 3, 4, 3, 4]), 400, [0; 3]).await;
    check("odd references", labelled(&[1, 2, 3]), 400, [0; 3]).await;
    check("a reference out of range", labelled(&[1, 9]), 400, [0; 3]).await;
    check("a value that is not UTF-8", labelled(&[1, 2, 3, 5]), 400, [0; 3]).await;
    let unpacked = [varint(1, 1), varint(1, 2), bytes(2, sample(1.0, NOW))].concat();
    check("unpacked references", one(unpacked), 204, [1, 0, 0]).await;

    let described = |unit| {
        let metadata = [varint(1, 1), varint(3, 3), varint(4, unit)].concat();
        vec![series_v2(&[1, 2], &[bytes(2, sample(1.0, NOW)), bytes(5, metadata)])]
    };
    check("metadata", described(4), 204, [1, 0, 0]).await;
    check("metadata out of range", described(9), 400, [0; 3]).await;

    let bad = || series_v2(&[3, 4], &[bytes(2, sample(1.0, NOW))]);
    check("a good and a bad series", vec![good(), bad(), good()], 400, [2, 0, 0]).await;
}

#[tokio::test]
async fn symbols_may_stand_anywhere() {
    let series = bytes(5, series_v2(&[1, 2], &[bytes(2, sample(1.0, NOW))]));
    let symbols = [bytes(4, ""), bytes(4, "__name__"), bytes(4, "good")].concat();
    check("symbols after series", V2, [series, symbols].concat(), 204, Some([1, 0, 0])).await;
}

#[tokio::test]
async fn requests_of_1_0_are_answered_without_counts() {
    let check = async |what: &str, message, status| check(what, V1, message, status, None).await;
    let sampled = |labels: Vec<Vec<u8>>| series_v1(&[labels.concat(), bytes(2, sample(1.0, NOW))]);
    check("nothing", vec![], 204).await;
    check("a sample", good_v1(), 204).await;
    let metadata = bytes(3, [varint(1, 1), bytes(2, "good"), bytes(4, "Help.")].concat());
    check("metadata only", metadata, 204).await;
    check("a series without samples", series_v1(&[label("__name__", "good")]), 204).await;
    let exemplar = [label("trace_id", "1"), double(2, 0), varint(3, NOW)].concat();
    check("exemplars only", series_v1(&[label("__name__", "good"), bytes(3, exemplar)]), 204).await;
    check("a histogram", series_v1(&[label("__name__", "good"), bytes(4, histogram(3))]), 204).await;
    check("a count that does not add up", series_v1(&[label("__name__", "g"), bytes(4, histogram(99))]), 400)
        .await;
    check("unsorted labels", sampled(vec![label("z", "1"), label("__name__", "good")]), 204).await;
    check("an empty value", sampled(vec![label("__name__", "good"), label("a", "")]), 204).await;
    check("dotted names", sampled(vec![label("__name__", "a.b"), label("é", "1")]), 204).await;
    check("no labels", sampled(vec![]), 400).await;
    check("no metric name", sampled(vec![label("a", "1")]), 400).await;
    check("a repeated name", sampled(vec![label("__name__", "good"), label("a", "1"), label("a", "2")]), 400)
        .await;
    check("a value that is not UTF-8", sampled(vec![label("__name__", "good"), label("a", [0xff])]), 400)
        .await;
    check("a field that nobody knows", [good_v1(), varint(15, 1)].concat(), 204).await;
    let bad = sampled(vec![label("a", "1")]);
    check("a good and a bad series", [good_v1(), bad].concat(), 400).await;
}

#[tokio::test]
async fn the_valid_part_is_kept_and_the_answer_says_what_is_not() {
    let bad = series_v1(&[label("a", "1"), bytes(2, sample(2.0, NOW))]);
    let (answer, store) = post(V1, "snappy", compress(&[bad, good_v1()].concat())).await;
    assert_eq!(answer.text, "1 of 2 series refused: series 0: no metric name\n");
    assert_eq!(store.samples(), [("good".to_owned(), Sample::new(NOW as i64, 1.0))]);
    let series = |refs: &[u64], value| series_v2(refs, &[bytes(2, sample(value, NOW))]);
    let message = request_v2(SYMBOLS, &[series(&[1, 2], 1.0), series(&[3, 4], 2.0), series(&[1, 4], 3.0)]);
    let (answer, store) = post(V2, "snappy", compress(&message)).await;
    assert_eq!(answer.text, "1 of 3 series refused: series 1: no metric name\n");
    let kept =
        [("good", 1.0), ("b", 3.0)].map(|(name, value)| (name.to_owned(), Sample::new(NOW as i64, value)));
    assert_eq!(store.samples(), kept);
}

#[tokio::test]
async fn special_values_keep_their_bits() {
    let values = [
        0x7ff0_0000_0000_0002, // stale
        0x7ff8_0000_0000_0001, // NaN
        0x7ff8_dead_beef_0001, // NaN with a payload
        0x7ff0_0000_0000_0000, // +Inf
        0xfff0_0000_0000_0000, // -Inf
        0x8000_0000_0000_0000, // -0
        0x0000_0000_0000_0001, // the smallest
        0x7fef_ffff_ffff_ffff, // the largest
    ];
    let fields = |number| -> Vec<Vec<u8>> {
        let samples = values.iter().zip(NOW..);
        samples.map(|(&bits, time)| bytes(number, [double(1, bits), varint(2, time)].concat())).collect()
    };
    let expected: Vec<_> = values.to_vec();
    let v1 = series_v1(&[label("__name__", "good"), fields(2).concat()]);
    let v2 = request_v2(SYMBOLS, &[series_v2(&[1, 2], &fields(2))]);
    for (content_type, message) in [(V1, v1), (V2, v2)] {
        let (answer, store) = post(content_type, "snappy", compress(&message)).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        let bits: Vec<_> = store.samples().iter().map(|(_, sample)| sample.value_bits).collect();
        assert_eq!(bits, expected);
    }
}

#[tokio::test]
async fn content_types_of_2_0_are_read_leniently() {
    let message = request_v2(SYMBOLS, &[series_v2(&[1, 2], &[bytes(2, sample(1.0, NOW))])]);
    let v2 = Some([1, 0, 0]);
    for (content_type, status, counts) in [
        (V2, 204, v2),
        ("application/x-protobuf; proto=io.prometheus.write.v2.Request", 204, v2),
        ("Application/X-Protobuf;charset=utf-8; PROTO=\"io.prometheus.write.v2.Request\"", 204, v2),
        // Another version's type: the message is one of nothing.
        (V1, 204, None),
        ("application/x-protobuf;proto=prometheus.WriteRequest", 204, None),
        ("application/x-protobuf;proto=io.prometheus.write.v3.Request", 415, None),
        (
            "application/x-protobuf;proto=prometheus.WriteRequest;proto=io.prometheus.write.v2.Request",
            415,
            None,
        ),
        ("application/json;proto=io.prometheus.write.v2.Request", 415, None),
    ] {
        let (answer, store) = post(content_type, "snappy", compress(&message)).await;
        assert_eq!((answer.status, answer.counts), (status, counts), "{content_type}: {}", answer.text);
        assert_eq!(store.samples().len(), usize::from(counts.is_some()), "{content_type}");
    }
    let (answer, store) = post(V2, "snappy", compress(&good_v1())).await;
    assert_eq!((answer.status, answer.counts), (204, Some([0; 3])), "{}", answer.text);
    assert_eq!(store.samples(), []);
}

#[tokio::test]
async fn other_encodings_are_415_without_counts() {
    let body = compress(&request_v2(SYMBOLS, &[]));
    for encoding in ["gzip", "zstd", "identity", "snappy, gzip"] {
        let (answer, _) = post(V2, encoding, body.clone()).await;
        assert_eq!((answer.status, answer.counts), (415, None), "{encoding}: {}", answer.text);
    }
}

#[tokio::test]
async fn bodies_that_are_no_requests_are_400_and_nothing_is_written() {
    let framed = b"\xff\x06\x00\x00sNaPpY\x00\x05\x00\x00abcde".to_vec();
    let bomb = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let truncated = compress(&good_v1())[..10].to_vec();
    let bodies = [
        ("no body", vec![]),
        ("no snappy", b"hello hello".to_vec()),
        ("framed snappy", framed),
        ("4 GiB declared", bomb),
        ("cut off", truncated),
        ("no message", compress(b"hello hello hello")),
        ("a field cut off", compress(&[0x2a, 9, 1])),
        ("groups", compress(&[0x2b, 0x2b, 0x2b])),
    ];
    for (what, body) in bodies {
        let (answer, _) = post(V2, "snappy", body.clone()).await;
        assert_eq!((answer.status, answer.counts), (400, Some([0; 3])), "{what}: {}", answer.text);
        let (answer, _) = post(V1, "snappy", body).await;
        // What is wrong in a 2.0 field is unknown to 1.0, but still has to be protobuf.
        assert_eq!((answer.status, answer.counts), (400, None), "{what}: {}", answer.text);
    }
}

/// Never has room.
struct Full;

impl WriteSink for Full {
    async fn write(&self, _source: &str, _body: WriteBody) -> WriteOutcome {
        WriteOutcome::Unavailable {
            retry_after: std::time::Duration::from_secs(3),
            message: "full".to_owned(),
        }
    }
}

#[tokio::test]
async fn overload_is_503_and_2_0_learns_that_nothing_is_written() {
    let mut config = WriteServerConfig::default();
    config.accept_v2 = true;
    let address = serve(WriteServer::new(Arc::new(Full), config).router("/write")).await;
    for (content_type, expected) in [(V2, Some([0; 3])), (V1, None)] {
        let request = Client::builder().no_proxy().build().unwrap().post(format!("http://{address}/write"));
        let response = request.header("content-type", content_type).body(compress(&[])).send().await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "3");
        assert_eq!(counts(response.headers()), expected);
    }
}
