//! Prometheus 3.16.

use std::{collections::BTreeSet, time::Duration};

use e2e::{
    eventually,
    go_programs::PROMETHEUS_3,
    http::{Page, block_on},
    peer::{
        Received, Receiver, batch, capture_stream, client, negotiator, read_samples, read_streamed, request,
    },
    prometheus::Prometheus,
    series::{HistogramBits, Series, SeriesSet, text},
};
use prom_remote::{Sample, SampleV2, SeriesV2, TimeRange, WriteRequestV2Builder, prom_chunks::Histogram};
use prom_remote_http::{WriteForm, WriteRequest, WrittenCounts};
use tempfile::TempDir;

use super::{data, now_ms};

#[test]
fn takes_2_0_and_answers_it_by_both_forms_of_remote_read() {
    let prometheus = started("", &[]);
    let base = now_ms();
    let series = all_but_started(base);
    write(&prometheus, &series);

    let expected: SeriesSet = series.into_iter().collect();
    let streamed = read_streamed(&prometheus.url(), data::NAMES, data::range(base));
    assert_eq!(streamed.series.is_same(&expected), Ok(()));
    assert_eq!(streamed.encodings, BTreeSet::from([1, 2, 3]));
    let sampled = read_samples(&prometheus.url(), data::NAMES, data::range(base));
    assert_eq!(sampled.series.is_same(&expected.without_negative_zeros()), Ok(()));
}

/// Stable since 3.13, and sent to whoever asks for a stream.
#[test]
fn answers_xor2_where_it_stores_that() {
    let prometheus = started("storage: {tsdb: {chunk_encoding: {floats: xor2}}}\n", &[]);
    let base = now_ms();
    let series = all_but_started(base);
    write(&prometheus, &series);
    let streamed = read_streamed(&prometheus.url(), data::NAMES, data::range(base));
    assert_eq!(streamed.series.is_same(&series.into_iter().collect()), Ok(()));
    assert_eq!(streamed.encodings, BTreeSet::from([2, 3, 4]));
}

#[test]
fn takes_1_0_too() {
    let prometheus = started("", &[]);
    let base = now_ms();
    let series = [data::floats(base), data::histograms(base)].concat();
    let client = client(&write_url(&prometheus));
    for part in data::requests(&series) {
        let written = block_on(client.send(request(WriteForm::V1, &part))).expect("Prometheus takes it");
        assert_eq!(written.counts, None);
    }
    let streamed = read_streamed(&prometheus.url(), data::NAMES, data::range(base));
    assert_eq!(streamed.series.is_same(&series.into_iter().collect()), Ok(()));
}

/// Samples are stored by XOR2 then, histograms by their encodings with start timestamps.
#[test]
fn keeps_when_counting_started_where_it_is_told_to() {
    let prometheus = started("", &["--enable-feature=st-storage"]);
    let base = now_ms();
    let series = [all_but_started(base), data::started_floats(base)].concat();
    write(&prometheus, &series);

    let expected: SeriesSet = series.into_iter().collect();
    let streamed = read_streamed(&prometheus.url(), data::NAMES, data::range(base));
    assert_eq!(streamed.series.is_same(&expected), Ok(()));
    assert_eq!(streamed.encodings, BTreeSet::from([4, 5, 6]));
    let sampled = read_samples(&prometheus.url(), data::NAMES, data::range(base));
    assert_eq!(sampled.series.is_same(&expected.without_starts().without_negative_zeros()), Ok(()));
}

#[test]
fn sends_our_server_2_0_with_what_was_written() {
    let receiver = Receiver::start();
    let prometheus = started(&remote_write(&receiver), &["--enable-feature=st-storage"]);
    // What is older than its start is not sent.
    let base = now_ms() + 1_000;
    let series = [all_but_started(base), data::started_floats(base)].concat();
    write(&prometheus, &series);

    let expected = series.into_iter().collect::<SeriesSet>().without_negative_zeros();
    let received = eventually(Duration::from_secs(60), "everything is sent", || {
        let received = receiver.received();
        expected.is_within(&received.series).map(|()| received)
    });
    assert_eq!(received.series.is_same(&expected), Ok(()));
    is_content(&received, &prometheus);
}

#[test]
fn sends_again_what_our_server_refuses_for_now() {
    let receiver = Receiver::start();
    receiver.refuse(3);
    let prometheus = started(&remote_write(&receiver), &[]);
    let base = now_ms() + 1_000;
    let series = all_but_started(base);
    write(&prometheus, &series);

    let expected = series.into_iter().collect::<SeriesSet>().without_negative_zeros();
    eventually(Duration::from_secs(60), "everything is sent", || {
        expected.is_within(&receiver.received().series)
    });
    assert_eq!(receiver.refusals_left(), 0);
}

#[test]
fn passes_exemplars_on() {
    let receiver = Receiver::start();
    let prometheus = started(&remote_write(&receiver), &["--enable-feature=exemplar-storage"]);
    let labels = [("__name__", "interop_total"), ("job", "interop")];
    let own = [("trace_id", "c0ffee"), ("span", "\u{fc}")];
    let time = now_ms() + 1_000;
    let exemplar = Sample::new(time - 5, 0.25);
    let bytes = |pairs: &[(&'static str, &'static str)]| -> Vec<(&[u8], &[u8])> {
        pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
    };
    let mut builder = WriteRequestV2Builder::new();
    builder.full_series(&SeriesV2 {
        labels: bytes(&labels),
        samples: vec![SampleV2 { sample: Sample::new(time, 7.0), start_timestamp_ms: 0 }],
        exemplars: vec![(bytes(&own), exemplar)],
        ..SeriesV2::default()
    });
    let request = WriteRequest::new(WriteForm::V2, builder.finish_compressed().expect("it is short").into());
    let written = block_on(client(&write_url(&prometheus)).send(request)).expect("Prometheus takes it");
    assert_eq!(written.counts, Some(WrittenCounts { samples: 1, histograms: 0, exemplars: 1 }));

    let expected = (text(bytes(&labels).into_iter()), text(bytes(&own).into_iter()), exemplar);
    let received = eventually(Duration::from_secs(60), "the exemplar is sent", || {
        let received = receiver.received();
        if received.exemplars.is_empty() { Err("none".to_owned()) } else { Ok(received) }
    });
    assert_eq!(received.exemplars, [expected]);
    assert_eq!(received.faults, Vec::<String>::new());
}

/// Its own metrics have native histograms, metadata and start timestamps.
#[test]
fn sends_our_server_2_0_with_what_it_scrapes() {
    let receiver = Receiver::start();
    let config = format!("{SCRAPES}{}", remote_write(&receiver));
    let features = "--enable-feature=st-storage,metadata-wal-records";
    let prometheus = started(&config, &[features]);
    let start = now_ms();

    let is_custom = |histogram: &HistogramBits| {
        matches!(histogram, HistogramBits::Value { kind: (Histogram::CUSTOM_BUCKETS, _), .. })
    };
    let received = eventually(Duration::from_secs(60), "one series of each kind is sent", || {
        let received = receiver.received();
        let histograms = || received.series.iter().flat_map(|(_, content)| content.histograms.values());
        let found = [
            ("samples", received.series.counts().0 > 1_000),
            ("custom buckets", histograms().any(is_custom)),
            ("exponential buckets", histograms().any(|histogram| !is_custom(histogram))),
            ("start timestamps", received.started > 100),
            ("metadata", received.metadata.contains_key("prometheus_build_info")),
        ];
        let missing: Vec<_> = found.iter().filter(|(_, found)| !found).map(|(name, _)| *name).collect();
        if missing.is_empty() { Ok(received) } else { Err(format!("missing: {missing:?}")) }
    });
    is_content(&received, &prometheus);
    assert_eq!(received.metadata["prometheus_build_info"].0, 2, "a gauge");
    assert!(received.metadata["prometheus_build_info"].1.contains("labeled by version"));

    let range = TimeRange::new(start - 60_000, now_ms() + 60_000).expect("it is not empty");
    let stored = capture_stream(&prometheus.url(), ".+", range).series.without_negative_zeros();
    assert_eq!(received.series.is_within(&stored), Ok(()), "what was sent is what is stored");
}

fn all_but_started(base: i64) -> Vec<Series> {
    [data::floats(base), data::histograms(base), data::custom_histograms(base)].concat()
}

/// Writes by 2.0 and checks what Prometheus says it has written.
fn write(prometheus: &Prometheus, series: &[Series]) {
    let negotiator = negotiator(&write_url(prometheus), &[WriteForm::V2, WriteForm::V1]);
    for part in data::requests(series) {
        let sent = block_on(negotiator.send(&batch(&part), 0)).expect("Prometheus takes it");
        let samples = part.iter().map(|series| series.samples.len() as u64).sum();
        let histograms = part.iter().map(|series| series.histograms.len() as u64).sum();
        let counts = WrittenCounts { samples, histograms, exemplars: 0 };
        assert_eq!((sent.form, sent.written.counts), (WriteForm::V2, Some(counts)));
    }
}

/// The sender finds no fault with our server, nor the other way round.
#[track_caller]
fn is_content(received: &Received, prometheus: &Prometheus) {
    assert_eq!(received.faults, Vec::<String>::new());
    assert_eq!(received.requests[0], 0);
    let page = Page::fetch(&format!("{}/metrics", prometheus.url())).expect("it has metrics");
    assert!(page.sum("prometheus_remote_storage_samples_total") > 0.0);
    // Written headers that say less than was sent count as failures.
    for failed in ["samples_failed_total", "histograms_failed_total", "samples_retried_total"] {
        assert_eq!(page.sum(&format!("prometheus_remote_storage_{failed}")), 0.0, "{failed}");
    }
}

struct Started {
    prometheus: Prometheus,
    _folder: TempDir,
}

impl std::ops::Deref for Started {
    type Target = Prometheus;

    fn deref(&self) -> &Prometheus {
        &self.prometheus
    }
}

fn started(config: &str, arguments: &[&str]) -> Started {
    let folder = TempDir::new().expect("a folder can be made");
    let mut prometheus = Prometheus::configured(folder.path(), PROMETHEUS_3.path(), config, arguments);
    prometheus.start();
    Started { prometheus, _folder: folder }
}

fn write_url(prometheus: &Prometheus) -> String {
    format!("{}/api/v1/write", prometheus.url())
}

fn remote_write(receiver: &Receiver) -> String {
    format!(
        "remote_write: [{{url: '{}', protobuf_message: io.prometheus.write.v2.Request, send_exemplars: true, \
         send_native_histograms: true, queue_config: {{batch_send_deadline: 100ms}}}}]\n",
        receiver.url()
    )
}

const SCRAPES: &str = "\
global: {scrape_interval: 1s, scrape_protocols: [PrometheusProto]}
scrape_configs:
- {job_name: native, scrape_native_histograms: true, static_configs: [{targets: [SELF]}]}
- {job_name: custom, convert_classic_histograms_to_nhcb: true, static_configs: [{targets: [SELF]}]}
";
