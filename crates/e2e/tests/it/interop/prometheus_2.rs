//! Debian's Prometheus 2.42.

use std::{collections::BTreeSet, time::Duration};

use e2e::{
    eventually,
    http::{Page, block_on},
    peer::{Receiver, batch, capture_stream, client, negotiator, read_samples, read_streamed, request},
    prometheus::{Prometheus, program},
    series::SeriesSet,
};
use prom_remote::TimeRange;
use prom_remote_http::WriteForm;
use tempfile::TempDir;

use super::{data, now_ms};

#[test]
fn takes_what_our_client_writes_and_answers_it_by_both_forms_of_remote_read() {
    let folder = TempDir::new().expect("a folder can be made");
    let prometheus = started(&folder, "");
    let base = now_ms();
    let series = [data::floats(base), data::histograms(base)].concat();
    let expected: SeriesSet = series.iter().cloned().collect();

    // It takes 2.0 for an empty request of 1.0; nothing is lost by trying.
    let negotiator =
        negotiator(&format!("{}/api/v1/write", prometheus.url()), &[WriteForm::V2, WriteForm::V1]);
    for part in data::requests(&series) {
        let sent = block_on(negotiator.send(&batch(&part), 0)).expect("Prometheus takes it");
        assert_eq!((sent.form, negotiator.form()), (WriteForm::V1, WriteForm::V1));
    }

    let streamed = read_streamed(&prometheus.url(), data::NAMES, data::range(base));
    assert_eq!(streamed.series.is_same(&expected), Ok(()));
    assert_eq!(streamed.encodings, BTreeSet::from([1, 2, 3]));
    let sampled = read_samples(&prometheus.url(), data::NAMES, data::range(base));
    // Prometheus before 2.44 leaves histograms out of this form.
    assert_eq!(sampled.series.is_same(&expected.without_negative_zeros().without_histograms()), Ok(()));
}

#[test]
fn sends_our_server_what_it_holds() {
    let folder = TempDir::new().expect("a folder can be made");
    let receiver = Receiver::start();
    // It sends these again, at once, whatever it is told about time.
    receiver.refuse(3);
    let config = format!(
        "scrape_configs: [{{job_name: itself, scrape_interval: 1s, static_configs: [{{targets: [SELF]}}]}}]\n\
         remote_write: [{{url: '{}', send_native_histograms: true, \
           queue_config: {{batch_send_deadline: 100ms}}, metadata_config: {{send_interval: 1s}}}}]\n",
        receiver.url()
    );
    let prometheus = started(&folder, &config);
    // What is older than its start is not sent.
    let base = now_ms() + 1_000;
    let series = [data::floats(base), data::histograms(base)].concat();
    let expected = series.iter().cloned().collect::<SeriesSet>().without_negative_zeros();
    let client = client(&format!("{}/api/v1/write", prometheus.url()));
    for part in data::requests(&series) {
        block_on(client.send(request(WriteForm::V1, &part))).expect("Prometheus takes it");
    }

    let received = eventually(Duration::from_secs(60), "everything is sent", || {
        let received = receiver.received();
        expected.is_within(&received.series)?;
        let has_metadata = received.metadata.contains_key("prometheus_build_info");
        has_metadata.then_some(received).ok_or_else(|| "no metadata".to_owned())
    });
    let ours = received.series.filtered(|labels, _| labels["__name__"].starts_with("interop_"));
    assert_eq!(ours.is_same(&expected), Ok(()));
    let range = TimeRange::new(base - 60_000, base + 600_000).expect("it is not empty");
    let stored = capture_stream(&prometheus.url(), ".+", range).series.without_negative_zeros();
    assert_eq!(received.series.is_within(&stored), Ok(()), "what it scrapes is sent as it is stored");
    assert_eq!(received.faults, Vec::<String>::new());
    assert_eq!(received.requests[1], 0);
    let page = Page::fetch(&format!("{}/metrics", prometheus.url())).expect("it has metrics");
    for failed in ["samples_failed_total", "histograms_failed_total", "metadata_failed_total"] {
        assert_eq!(page.sum(&format!("prometheus_remote_storage_{failed}")), 0.0, "{failed}");
    }
    assert_eq!(receiver.refusals_left(), 0);
}

fn started(folder: &TempDir, config: &str) -> Prometheus {
    let arguments = ["--enable-feature=native-histograms"];
    let mut prometheus = Prometheus::configured(folder.path(), program(), config, &arguments);
    prometheus.start();
    prometheus
}
