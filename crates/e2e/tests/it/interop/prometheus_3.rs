//! Prometheus 3.16.

use std::{collections::BTreeSet, time::Duration};

use e2e::{
    eventually,
    go_programs::PROMETHEUS_3,
    http::{Page, block_on},
    peer::{Received, Receiver, batch, client, negotiator, read_samples, read_streamed, request},
    prometheus::Prometheus,
    series::{HistogramBits, Series, SeriesSet},
};
use prom_remote::{TimeRange, prom_chunks::Histogram};
use prom_remote_http::{WriteForm, WrittenCounts};
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

/// Its own metrics have native histograms, exemplars, metadata and start timestamps.
#[test]
fn sends_our_server_2_0_with_what_it_scrapes() {
    let receiver = Receiver::start();
    let config = format!("{SCRAPES}{}", remote_write(&receiver));
    let features = "--enable-feature=st-storage,metadata-wal-records,exemplar-storage";
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
    let stored = read_streamed(&prometheus.url(), ".+", range).series.without_negative_zeros();
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
