//! What the rules of a source let in.

use prom_remote::{Sample, WriteRequestBuilder, WriteRequestV2Builder};
use prom_remote_http::WriteError;

use crate::support::{Answer, Destination, TestMerger, eventually, label, one};

const T: i64 = 1_700_000_000_000;

async fn merger(data: &tempfile::TempDir, destination: &Destination, keys: &str) -> TestMerger {
    let sources = format!("[{{name: a, {keys}}}, {{name: b}}]");
    TestMerger::start_with(data.path(), &sources, &destination.url, "").await
}

#[tokio::test]
async fn a_source_over_its_rate_is_told_to_wait_and_the_others_are_not() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let keys = "limits: {samples_per_second: 1, burst_samples: 2}";
    let merger = merger(&data, &destination, keys).await;
    let request = |name: &str| {
        let mut builder = WriteRequestBuilder::new();
        builder.series([("__name__", name)], (0..100).map(|index| Sample::new(T + index, 1.0)));
        builder.finish_compressed().unwrap()
    };
    // More than the burst, and admitted: it could never be otherwise.
    merger.send("a", request("first")).await.unwrap();
    let refused = merger.send("a", request("second")).await.unwrap_err();
    let WriteError::Retryable { after: Some(after), status: Some(503), message } = refused else {
        panic!("{refused}")
    };
    assert!(after.as_secs() > 30, "{after:?}");
    assert_eq!(message, "source sends more than 1 samples a second");
    merger.send("b", request("other")).await.unwrap();
    assert_eq!(merger.metric("prom_merger_throttled_requests_total{source=\"a\"}").await, 1.0);
    merger.shutdown().await;
}

#[tokio::test]
async fn a_new_series_over_the_limit_of_active_ones_is_set_aside_and_known_ones_go_on() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let merger = merger(&data, &destination, "limits: {active_series: 2}").await;
    merger.send("a", one("one")).await.unwrap();
    let mut builder = WriteRequestBuilder::new();
    for name in ["one", "two", "three"] {
        builder.series([("__name__", name)], [Sample::new(T + 1, 1.0)]);
    }
    let refused = merger.send("a", builder.finish_compressed().unwrap()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "remote write rejected with status 400: 1 of 3 series refused and set aside, the others are stored: \
         series 2: new, over the limit of 2 active series"
    );
    // The same series are the same in 2.0.
    let mut builder = WriteRequestV2Builder::new();
    for name in ["one", "two", "three"] {
        builder.series([("__name__", name)], [Sample::new(T + 2, 1.0)]);
    }
    let (status, written, _) = merger.post_v2("a", builder.finish_compressed().unwrap()).await;
    assert_eq!((status, written), (400, [2, 0, 0]));
    assert_eq!(merger.metric("prom_merger_active_series{source=\"a\"}").await, 2.0);
    merger.send("b", one("three")).await.unwrap();
    merger.shutdown().await;
}

#[tokio::test]
async fn a_label_of_the_merger_in_the_data_is_kept_replaced_or_refused() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let sources = "[{name: a}, {name: b, on_conflict: replace}, {name: c, on_conflict: refuse}]";
    let merger = TestMerger::start_with(data.path(), sources, &destination.url, "").await;
    let request = |name: &str| {
        let mut builder = WriteRequestBuilder::new();
        builder.series([("__name__", name), ("source", "mine")], [Sample::new(T, 1.0)]);
        // An empty label is an absent one.
        builder.series([("__name__", &*format!("{name}_too")), ("source", "")], [Sample::new(T, 1.0)]);
        builder.finish_compressed().unwrap()
    };
    merger.send("a", request("from_a")).await.unwrap();
    merger.send("b", request("from_b")).await.unwrap();
    let refused = merger.send("c", request("from_c")).await.unwrap_err().to_string();
    assert!(refused.ends_with("series 0: has the label source already"), "{refused}");
    eventually("five series", || async { destination.series().len() == 5 }).await;
    let series = destination.series();
    let labels = |name: &str| {
        let found = series.iter().find(|series| label(series, "__name__") == name).unwrap();
        (label(found, "source").to_owned(), label(found, "exported_source").to_owned())
    };
    let pair = |source: &str, exported: &str| (source.to_owned(), exported.to_owned());
    assert_eq!(labels("from_a"), pair("a", "mine"));
    assert_eq!(labels("from_b"), pair("b", ""));
    assert_eq!(labels("from_c_too"), pair("c", ""));
    assert_eq!(merger.metric("prom_merger_dead_letter_records{source=\"c\"}").await, 1.0);
    merger.shutdown().await;
}

#[tokio::test]
async fn a_source_may_have_limits_of_its_own() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let merger = merger(&data, &destination, "limits: {body: 64, label_bytes: 8}").await;
    let status =
        async |source: &str, body| merger.send(source, body).await.err().and_then(|error| error.status());
    assert_eq!(status("a", vec![0; 65]).await, Some(413));
    assert_eq!(status("a", one("longer_than_eight_bytes")).await, Some(400));
    assert_eq!(status("a", one("of_eight")).await, None);
    assert_eq!(status("b", one("longer_than_eight_bytes")).await, None);
    merger.shutdown().await;
}
