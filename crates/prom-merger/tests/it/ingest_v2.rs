//! Remote write 2.0 on its way into the journal.

use prom_merger::{Config, dead_letters::StoredDeadLetters};
use prom_remote::{
    Limits, MetricType, Sample, SampleV2, SeriesV2, WriteRequestV2Builder, WriteRequestV2View, decompress,
};
use prom_remote_http::WriteVersion;

use crate::support::{Destination, TestMerger, one, records};

const T: i64 = 1_700_000_000_000;

fn sample(timestamp_ms: i64, value: f64) -> SampleV2 {
    SampleV2 { sample: Sample::new(timestamp_ms, value), start_timestamp_ms: T - 1_000 }
}

/// One series with all that a series can have, and then an unknown field of the request.
fn rich_request() -> Vec<u8> {
    let mut builder = WriteRequestV2Builder::new();
    builder.full_series(&SeriesV2 {
        labels: vec![(b"__name__", b"requests_total"), (b"job", b"x")],
        samples: vec![sample(T, 1.0), sample(T + 1, f64::from_bits(0x7ff8_0000_0000_0001))],
        histograms: Vec::new(),
        exemplars: vec![(vec![(b"trace_id", b"abc")], Sample::new(T, 1.0))],
        metadata: Some((MetricType::Counter, b"Requests.", b"")),
    });
    let mut message = builder.finish();
    // Field 100, length-delimited.
    message.extend_from_slice(&[0xa2, 0x06, 3, b'n', b'e', b'w']);
    compressed(&message)
}

fn compressed(message: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    prom_remote::Compressor::new().compress(message, &mut body).unwrap();
    body
}

/// Names and times of the series of a snappy block of a 2.0 request.
fn read(body: &[u8]) -> Vec<(String, Vec<i64>)> {
    let mut message = Vec::new();
    decompress(body, &Limits::default(), &mut message).unwrap();
    let view = WriteRequestV2View::new(&message, &Limits::default()).unwrap();
    let read = |series: Result<prom_remote::SeriesV2View<'_>, _>| {
        let series = series.unwrap();
        let name = series.label(b"__name__", view.symbols()).unwrap_or_default();
        let times = series.samples().map(|sample| sample.sample.timestamp_ms).collect();
        (String::from_utf8(name.to_vec()).unwrap(), times)
    };
    view.series().map(read).collect()
}

fn letters(data: &tempfile::TempDir) -> Vec<(WriteVersion, String, Vec<u8>)> {
    let text =
        format!("data: {}\nsources: [{{name: a}}]\ndestination: {{url: http://x/}}\n", data.path().display());
    let config = Config::parse("m", text).unwrap();
    let stored = StoredDeadLetters::open(&config, &config.sources[0]).unwrap().unwrap();
    let read = |letter: prom_merger::dead_letters::DeadLetter| {
        let (letter, body) = stored.letter(letter.position).unwrap().unwrap();
        let header = letter.header.unwrap();
        (header.version().unwrap(), header.reason, body)
    };
    stored.list().unwrap().into_iter().filter(is_of_ingest).map(read).collect()
}

fn is_of_ingest(letter: &prom_merger::dead_letters::DeadLetter) -> bool {
    letter.header.as_ref().unwrap().stage == prom_merger::dead_letters::Stage::Ingest
}

#[tokio::test]
async fn a_2_0_request_is_journalled_byte_for_byte_beside_those_of_1_0() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start_down().await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    let (v2, v1) = (rich_request(), one("up"));
    assert_eq!(merger.post_v2("a", v2.clone()).await, (204, [2, 0, 1], String::new()));
    merger.send("a", v1.clone()).await.unwrap();
    // Symbols alone are no content.
    let empty = WriteRequestV2Builder::new().finish_compressed().unwrap();
    assert_eq!(merger.post_v2("a", empty).await, (204, [0, 0, 0], String::new()));
    assert_eq!(merger.metric("prom_merger_acknowledged_samples_total{source=\"a\"}").await, 3.0);
    merger.shutdown().await;
    assert_eq!(records(data.path(), "journal", "a"), [[&[2], &v2[..]].concat(), [&[1], &v1[..]].concat()]);
}

#[tokio::test]
async fn of_a_2_0_request_the_valid_series_are_journalled_and_the_counts_say_so() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start_down().await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    let mut builder = WriteRequestV2Builder::new();
    builder.series([("__name__", "good")], [Sample::new(T, 1.0), Sample::new(T + 1, 1.0)]);
    builder.series([("job", "nameless")], [Sample::new(T, 1.0)]);
    builder.series([("__name__", "good_too")], [Sample::new(T, 1.0)]);
    let (status, written, text) = merger.post_v2("a", builder.finish_compressed().unwrap()).await;
    assert_eq!((status, written), (400, [3, 0, 0]));
    let expected = "1 of 3 series refused and set aside, the others are stored: series 1: no metric name\n";
    assert_eq!(text, expected);

    // The same of a request of which nothing is left.
    builder.series([("job", "nameless")], [Sample::new(T, 1.0)]);
    let (status, written, _) = merger.post_v2("a", builder.finish_compressed().unwrap()).await;
    assert_eq!((status, written), (400, [0, 0, 0]));
    merger.shutdown().await;

    let records = records(data.path(), "journal", "a");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0][0], 2);
    assert_eq!(
        read(&records[0][1..]),
        [("good".to_owned(), vec![T, T + 1]), ("good_too".to_owned(), vec![T])]
    );
    let letters = letters(&data);
    let reason = "series 1: no metric name";
    assert_eq!((letters[0].0, letters[0].1.as_str()), (WriteVersion::V2, reason));
    assert_eq!(read(&letters[0].2), [(String::new(), vec![T])]);
}

#[tokio::test]
async fn samples_of_a_2_0_request_beyond_the_future_limit_are_set_aside() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start_down().await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    let future = T + 10_i64.pow(12);
    let mut builder = WriteRequestV2Builder::new();
    builder.series([("__name__", "one")], [Sample::new(T, 1.0), Sample::new(future, 1.0)]);
    builder.series([("__name__", "two")], [Sample::new(T, 2.0)]);
    let (status, written, text) = merger.post_v2("a", builder.finish_compressed().unwrap()).await;
    assert_eq!((status, written), (400, [2, 0, 0]));
    assert!(
        text.starts_with("1 samples refused and set aside, the others are stored: more than 600 s ahead")
    );
    assert_eq!(merger.metric("prom_merger_future_samples_total{source=\"a\"}").await, 1.0);
    merger.shutdown().await;
    let records = records(data.path(), "journal", "a");
    assert_eq!(read(&records[0][1..]), [("one".to_owned(), vec![T]), ("two".to_owned(), vec![T])]);
    assert_eq!(read(&letters(&data)[0].2), [("one".to_owned(), vec![future])]);
}

#[tokio::test]
async fn dead_letters_of_2_0_are_replayed_as_2_0() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start_down().await;
    let sources = "[{name: a, limits: {labels: 1}}]";
    let merger = TestMerger::start_with(data.path(), sources, &destination.url, "").await;
    let mut builder = WriteRequestV2Builder::new();
    builder.series([("__name__", "up"), ("job", "x")], [Sample::new(T, 1.0)]);
    let (status, ..) = merger.post_v2("a", builder.finish_compressed().unwrap()).await;
    assert_eq!(status, 400);
    merger.shutdown().await;

    let text =
        format!("data: {}\nsources: [{{name: a}}]\ndestination: {{url: http://x/}}\n", data.path().display());
    let config = Config::parse("m", text).unwrap();
    let stored = StoredDeadLetters::open(&config, &config.sources[0]).unwrap().unwrap();
    let replayed = stored.replay_through(u64::MAX).unwrap();
    assert_eq!((replayed.letters, replayed.samples, replayed.kept), (1, 1, 0));
    let records = records(data.path(), "journal", "a");
    assert_eq!((records.len(), records[0][0]), (1, 2));
    assert_eq!(read(&records[0][1..]), [("up".to_owned(), vec![T])]);
}
