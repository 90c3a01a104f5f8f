//! Both versions of remote write on their way through, exact to the byte, and what becomes of one where a destination wants
//! the other.

use std::path::Path;

use prom_remote::{
    Compressor, LabelSplicer, Limits, MetricType, STALE_MARKER_BITS, Sample, SampleV2, SeriesV2,
    WriteRequestBuilder, WriteRequestV2Builder, WriteRequestV2View, WriteRequestView,
};
use sample_journal::{DiskStorage, Journal, JournalConfig, JournalHooks, JournalId};
use sha2::{Digest, Sha256};

use crate::support::{Answer, Destination, Series, TestMerger, eventually, label};

const T: i64 = 1_700_000_000_000;
const BITS: [u64; 5] = [STALE_MARKER_BITS, 0x7ff8_0000_0000_0001, 0xfff0_dead_beef_0001, 1 << 63, 0];

/// Journals 2.0 requests of source `a`, as ingest does, while no merger runs.
fn journal_v2(data: &Path, messages: &[Vec<u8>]) {
    let folder = data.join("journal/a");
    std::fs::create_dir_all(&folder).unwrap();
    let digest = Sha256::digest("prom-merger/journal/a");
    let id: [u8; 16] = digest[..16].try_into().unwrap();
    let storage = DiskStorage::open(&folder).unwrap();
    let config = JournalConfig::new(JournalId(id));
    let (journal, _) = Journal::open(storage, config, JournalHooks::default()).unwrap();
    for message in messages {
        let mut body = Vec::new();
        Compressor::new().compress(message, &mut body).unwrap();
        journal.append_blocking(&[&[2], &body]).unwrap();
    }
    journal.close().unwrap();
}

/// A series of 2.0 with everything that has a place in it.
fn full_series<'a>(name: &'a str, histogram: &'a [u8]) -> SeriesV2<'a> {
    let started = |(index, value_bits)| SampleV2 {
        sample: Sample { timestamp_ms: T + index, value_bits },
        start_timestamp_ms: T - 1000,
    };
    SeriesV2 {
        labels: vec![(b"__name__", name.as_bytes()), (b"job", b"x"), (b"zone", b"z")],
        samples: (0..).zip(BITS).map(started).collect(),
        histograms: vec![histogram],
        exemplars: vec![(vec![(b"trace_id", b"abc")], Sample::new(T, 0.5))],
        metadata: Some((MetricType::Counter, b"Help.", b"seconds")),
    }
}

/// An integer histogram with a schema, and a field that nobody knows.
fn histogram(schema: i32, time: i64) -> Vec<u8> {
    let mut bytes = vec![0x08, 7, 0x21];
    bytes.extend_from_slice(&12.5_f64.to_bits().to_le_bytes()[..]);
    // Fields: count 7, sum (4 is schema, 3 sum), schema, timestamp.
    bytes[2] = 0x19;
    bytes.push(0x20);
    let zigzag = ((schema << 1) ^ (schema >> 31)) as u32;
    put_varint(&mut bytes, u64::from(zigzag));
    bytes.push(0x78);
    put_varint(&mut bytes, time as u64);
    bytes.extend_from_slice(&[0xfa, 0x01, 2, 9, 9]);
    bytes
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Adds unknown fields to the first series, which is shorter than 16 KiB, and to the request.
fn with_unknown_fields(message: &[u8], series: std::ops::Range<usize>, body: &[u8]) -> Vec<u8> {
    let mut changed = message[..=series.start].to_vec();
    put_varint(&mut changed, body.len() as u64 + 5);
    changed.extend_from_slice(body);
    changed.extend_from_slice(&[0x92, 0x03, 2, 1, 2]);
    changed.extend_from_slice(&message[series.end..]);
    changed.extend_from_slice(&[0x9a, 0x03, 3, 1, 2, 3]);
    changed
}

async fn drained(merger: &TestMerger) {
    eventually("the lane is done", || async {
        merger.metric("prom_merger_journal_pending_records{source=\"a\"}").await == 0.0
    })
    .await;
}

async fn not_taken(merger: &TestMerger, kind: &str) -> f64 {
    merger.metric(&format!("prom_merger_not_taken_total{{source=\"a\",kind=\"{kind}\"}}")).await
}

#[tokio::test]
async fn a_1_0_request_arrives_as_it_was_sent_but_for_the_label() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    let mut builder = WriteRequestBuilder::new();
    let samples = (0..).zip(BITS).map(|(index, value_bits)| Sample { timestamp_ms: T + index, value_bits });
    builder.series([("__name__", "up"), ("job", "x"), ("zone", "z")], samples);
    builder.series([("__name__", "other")], [Sample::new(T, 1.0)]);
    builder.metadata(MetricType::Gauge, "up", "Help.", "");
    let message = builder.finish();
    let series = WriteRequestView::new(&message).series().next().unwrap().unwrap();
    let sent = with_unknown_fields(&message, series.byte_range(), series.message_bytes());

    let mut body = Vec::new();
    Compressor::new().compress(&sent, &mut body).unwrap();
    merger.send("a", body).await.unwrap();
    drained(&merger).await;
    let [(false, received)] = &destination.messages()[..] else { panic!("one request of 1.0") };
    let mut stripped = Vec::new();
    let splicer = LabelSplicer::new("source", "a").unwrap();
    assert_eq!(splicer.strip(received, &Limits::default(), &mut stripped).unwrap(), 2);
    assert_eq!(stripped, sent);
    merger.shutdown().await;
}

#[tokio::test]
async fn a_2_0_request_arrives_as_it_was_sent_but_for_the_label() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    destination.take_v2();
    let (limits, histogram) = (Limits::default(), histogram(-53, T));
    let mut builder = WriteRequestV2Builder::new();
    builder.full_series(&full_series("up", &histogram));
    builder.series([("__name__", "other")], [Sample::new(T, 1.0)]);
    let message = builder.finish();
    let view = WriteRequestV2View::new(&message, &limits).unwrap();
    let series = view.series().next().unwrap().unwrap();
    let sent = with_unknown_fields(&message, series.byte_range(), series.message_bytes());

    // The second has unknown fields too, and stays alone for that.
    journal_v2(data.path(), &[sent.clone(), sent.clone()]);
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    drained(&merger).await;
    let messages = destination.messages();
    assert_eq!(messages.len(), 2);
    for (is_v2, received) in messages {
        assert!(is_v2);
        let mut stripped = Vec::new();
        let splicer = LabelSplicer::new("source", "a").unwrap();
        assert_eq!(splicer.strip_v2(&received, &limits, &mut stripped).unwrap(), 2);
        assert_eq!(stripped, sent);
    }
    for kind in ["samples", "histograms", "exemplars", "start_timestamps", "metadata"] {
        assert_eq!(not_taken(&merger, kind).await, 0.0, "{kind}");
    }
    merger.shutdown().await;
}

#[tokio::test]
async fn what_came_as_2_0_goes_out_as_1_0_where_2_0_is_not_taken_and_losses_are_counted() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let (custom, exponential) = (histogram(-53, T), histogram(3, T));
    let mut builder = WriteRequestV2Builder::new();
    builder.full_series(&full_series("up", &exponential));
    builder.full_series(&full_series("custom", &custom));
    journal_v2(data.path(), &[builder.finish()]);
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    drained(&merger).await;
    let [(false, received)] = &destination.messages()[..] else { panic!("one request of 1.0") };
    let summary = WriteRequestView::new(received).summary(&Limits::default()).unwrap();
    assert_eq!((summary.series, summary.samples, summary.histograms, summary.exemplars), (2, 10, 1, 2));
    assert_eq!(summary.metadata, 2);
    let values = |series: &Series| series.1.iter().map(|(_, bits)| *bits).collect::<Vec<_>>();
    assert_eq!(destination.series().iter().map(values).collect::<Vec<_>>(), [BITS, BITS]);
    assert!(destination.series().iter().all(|series| label(series, "source") == "a"));
    assert_eq!(not_taken(&merger, "custom_bucket_histograms").await, 1.0);
    assert_eq!(not_taken(&merger, "start_timestamps").await, 10.0);
    assert_eq!(merger.metric("prom_merger_dead_letter_records{source=\"a\"}").await, 0.0);
    merger.shutdown().await;
}

#[tokio::test]
async fn what_came_as_1_0_goes_out_as_2_0_where_that_alone_is_taken_or_wanted() {
    for (keys, is_only_v2) in [("protocol: 2.0", false), ("protocol: auto", true)] {
        let data = tempfile::tempdir().unwrap();
        let destination = Destination::start(|_, _| Answer::Take).await;
        destination.take_v2();
        if is_only_v2 {
            destination.take_v2_alone();
        }
        let merger = TestMerger::start_with_destination(data.path(), &destination.url, keys).await;
        for index in 0..3 {
            let mut builder = WriteRequestBuilder::new();
            builder.series([("__name__", "up")], [Sample { timestamp_ms: T + index, value_bits: BITS[1] }]);
            merger.send("a", builder.finish_compressed().unwrap()).await.unwrap();
        }
        drained(&merger).await;
        assert!(destination.messages().iter().all(|(is_v2, _)| *is_v2), "{keys}");
        let samples: Vec<_> = destination.series().into_iter().flat_map(|series| series.1).collect();
        assert_eq!(samples, [(T, BITS[1]), (T + 1, BITS[1]), (T + 2, BITS[1])], "{keys}");
        merger.shutdown().await;
    }
}

#[tokio::test]
async fn requests_of_2_0_that_wait_go_out_together() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    destination.take_v2();
    let request = |name: &str, times: &[i64]| {
        let mut builder = WriteRequestV2Builder::new();
        builder.series([("__name__", name)], times.iter().map(|time| Sample::new(T + time, 1.0)));
        builder.finish()
    };
    // The third runs backwards against the second: then each goes out as it came.
    let together = [request("a", &[1]), request("b", &[1]), request("a", &[2])];
    journal_v2(data.path(), &together);
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    drained(&merger).await;
    assert_eq!(destination.messages().len(), 1);
    assert_eq!(destination.names(), ["a", "b", "a"]);
    merger.shutdown().await;

    journal_v2(data.path(), &[request("c", &[5]), request("c", &[4]), request("d", &[6, 5])]);
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    drained(&merger).await;
    let times = |request: &Vec<Series>| -> Vec<i64> {
        request.iter().flat_map(|series| &series.1).map(|(time, _)| time - T).collect()
    };
    let found: Vec<_> = destination.requests()[1..].iter().map(times).collect();
    assert_eq!(found, [[5], [4], [5], [6]]);
    merger.shutdown().await;
}

#[tokio::test]
async fn only_the_culprits_of_a_refused_request_of_2_0_are_set_aside() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|request, _| {
        let is_bad = |series: &Series| series.1.iter().any(|(_, bits)| *bits == 666.0_f64.to_bits());
        if request.iter().any(is_bad) { Answer::Refuse(400, "the beast") } else { Answer::Take }
    })
    .await;
    destination.take_v2();
    let mut builder = WriteRequestV2Builder::new();
    for name in 0..50 {
        let value = |time| if name == 31 && time == 2 { 666.0 } else { 1.0 };
        let samples = (0..4).map(|time| Sample::new(T + time, value(time)));
        builder.series([("__name__", format!("s{name}"))], samples);
    }
    journal_v2(data.path(), &[builder.finish()]);
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    drained(&merger).await;
    assert!(destination.messages().iter().all(|(is_v2, _)| *is_v2));
    let samples: usize = destination.series().iter().map(|series| series.1.len()).sum();
    assert_eq!(samples, 199);
    let (_, letters) = merger.get("/api/v1/dead-letters/a").await;
    let letter: serde_json::Value = serde_json::from_str(letters.trim()).unwrap();
    let letter = &letter["letter"];
    assert_eq!((&letter["reason"], &letter["format"]), (&"the beast".into(), &2.into()));
    assert_eq!((&letter["series"], &letter["samples"]), (&1.into(), &1.into()));
    merger.shutdown().await;
}

/// As Prometheus 3.16 does.
const BARE: &str = "TimeSeries must contain at least one sample or histogram";

#[tokio::test]
async fn exemplars_without_a_sample_go_out_by_1_0_where_2_0_takes_them_not() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|request, _| {
        let is_bare = request.iter().any(|series| series.1.is_empty());
        if is_bare { Answer::Refuse(400, BARE) } else { Answer::Take }
    })
    .await;
    destination.take_v2();
    destination.judge_v2_alone();
    let request = |time: i64| {
        let mut builder = WriteRequestV2Builder::new();
        builder.series([("__name__", "up")], [Sample::new(T + time, 1.0)]);
        builder.full_series(&SeriesV2 {
            labels: vec![(b"__name__", b"bare")],
            exemplars: vec![(vec![(b"trace_id", b"abc")], Sample::new(T + time, 0.5))],
            ..SeriesV2::default()
        });
        builder.finish()
    };
    for round in 0..2 {
        journal_v2(data.path(), &[request(2 * round), request(2 * round + 1)]);
        let merger = TestMerger::start(data.path(), &destination.url, "").await;
        drained(&merger).await;
        assert_eq!(merger.metric("prom_merger_dead_letter_records{source=\"a\"}").await, 0.0);
        assert_eq!(merger.metric("prom_merger_isolated_requests_total{source=\"a\"}").await, 1.0);
        merger.shutdown().await;
    }
    let exemplars = |(is_v2, message): &(bool, Vec<u8>)| match is_v2 {
        true => 0,
        false => WriteRequestView::new(message).summary(&Limits::default()).unwrap().exemplars,
    };
    assert_eq!(destination.messages().iter().map(exemplars).sum::<usize>(), 4);
    assert_eq!(destination.names(), ["up", "bare", "up", "up", "up"]);
}
