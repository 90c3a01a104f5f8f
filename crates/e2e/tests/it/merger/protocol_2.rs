//! Remote write 2.0 from a real sender through the merger to real receivers.

use std::time::Duration;

use e2e::{
    eventually,
    go_programs::PROMETHEUS_3,
    http::block_on,
    peer::{Receiver, capture_stream, client},
    prometheus::Prometheus,
    series::HistogramBits,
};
use prom_remote::{Sample, SampleV2, SeriesV2, TimeRange, WriteRequestV2Builder, prom_chunks::Histogram};
use prom_remote_http::{WriteForm, WriteRequest};

use super::program::{Merger, now_ms};

const FEATURES: &str = "--enable-feature=st-storage,metadata-wal-records,exemplar-storage";

#[test]
fn prometheus_3_to_prometheus_3_with_histograms_exemplars_metadata_and_start_timestamps() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let receiver = Receiver::start();
    let mut database = Prometheus::configured(
        &folder.path().join("database"),
        PROMETHEUS_3.path(),
        "storage: {tsdb: {out_of_order_time_window: 1h}}\n",
        &[FEATURES],
    );
    database.start();
    let destinations = format!(
        "destinations:\n  - {{name: recording, url: '{}'}}\n  - {{name: tsdb, url: '{}/api/v1/write'}}",
        receiver.url(),
        database.url()
    );
    let mut merger = Merger::before(folder.path(), &destinations);
    merger.start();
    let config = SENDER.replace("MERGER", &merger.write_url("kafka"));
    let mut sender =
        Prometheus::configured(&folder.path().join("sender"), PROMETHEUS_3.path(), &config, &[FEATURES]);
    sender.start();
    // What is older than its start it does not send.
    let begin_ms = now_ms() + 3_000;
    write_exemplar(&sender, begin_ms);

    let is_custom = |histogram: &HistogramBits| {
        matches!(histogram, HistogramBits::Value { kind: (Histogram::CUSTOM_BUCKETS, _), .. })
    };
    let received = eventually(Duration::from_secs(60), "one series of each kind arrives", || {
        let received = receiver.received();
        let histograms = || received.series.iter().flat_map(|(_, content)| content.histograms.values());
        let found = [
            ("samples", received.series.counts().0 > 1_000),
            ("custom buckets", histograms().any(is_custom)),
            ("exponential buckets", histograms().any(|histogram| !is_custom(histogram))),
            ("start timestamps", received.started > 100),
            ("metadata", received.metadata.contains_key("prometheus_build_info")),
            ("exemplars", !received.exemplars.is_empty()),
        ];
        let missing: Vec<_> = found.iter().filter(|(_, found)| !found).map(|(name, _)| *name).collect();
        if missing.is_empty() { Ok(received) } else { Err(format!("missing: {missing:?}")) }
    });
    assert_eq!(received.faults, Vec::<String>::new());
    assert_eq!(received.requests[0], 0, "all of it as 2.0");
    assert!(received.series.iter().all(|(labels, _)| labels["source"] == "kafka"));

    // What the sender has of a while is what the database has, starts of counting included.
    let range = TimeRange::new(begin_ms, begin_ms + 5_000).expect("it is not empty");
    let of = |url: &str, name: &str| capture_stream(url, name, range).series.without_negative_zeros();
    let name = "prometheus_.+|go_.+|e2e_.+";
    eventually(Duration::from_secs(60), "the database has the same", || {
        if now_ms() < begin_ms + 5_000 {
            return Err("not all is written yet".to_owned());
        }
        let sent = of(&sender.url(), name);
        if sent.counts().0 < 1_000 {
            return Err(format!("{:?}", sent.counts()));
        }
        of(&database.url(), name).without_label("source").is_same(&sent)
    });
    for kind in ["samples", "histograms"] {
        let lost = merger.metric_of("not_taken_total", "kafka", &format!("kind=\"{kind}\""));
        assert_eq!(lost, Ok(0.0), "{kind}");
    }
    merger.kill();
    assert_eq!(merger.dead_letters(), "");
}

fn write_exemplar(sender: &Prometheus, time: i64) {
    let mut builder = WriteRequestV2Builder::new();
    builder.full_series(&SeriesV2 {
        labels: vec![(b"__name__", b"e2e_total")],
        samples: vec![SampleV2 { sample: Sample::new(time, 7.0), start_timestamp_ms: 0 }],
        exemplars: vec![(vec![(b"trace_id", b"c0ffee")], Sample::new(time - 5, 0.25))],
        ..SeriesV2::default()
    });
    let request = WriteRequest::new(WriteForm::V2, builder.finish_compressed().expect("it is short").into());
    let client = client(&format!("{}/api/v1/write", sender.url()));
    block_on(client.send(request)).expect("Prometheus takes it");
}

const SENDER: &str = "\
global: {scrape_interval: 1s, scrape_protocols: [PrometheusProto]}
scrape_configs:
- {job_name: native, scrape_native_histograms: true, static_configs: [{targets: [SELF]}]}
- {job_name: custom, convert_classic_histograms_to_nhcb: true, static_configs: [{targets: [SELF]}]}
remote_write:
- {url: MERGER, protobuf_message: io.prometheus.write.v2.Request, send_exemplars: true,
   send_native_histograms: true, queue_config: {batch_send_deadline: 100ms}}
";
