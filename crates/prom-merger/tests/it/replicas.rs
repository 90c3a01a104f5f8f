//! Replicas of a source, told apart by path or by label.

use std::time::Duration;

use prom_merger::Config;
use prom_remote::{STALE_MARKER_BITS, Sample, WriteRequestBuilder};
use tokio::time::sleep;

use crate::support::{Answer, Destination, TestMerger, eventually};

const T: i64 = 1_700_000_000_000;

fn request(replica: Option<&str>, samples: &[(i64, f64)]) -> Vec<u8> {
    let labels = [("__name__", "up"), ("job", "x")].into_iter().chain(replica.map(|name| ("replica", name)));
    let samples = samples.iter().map(|(time, value)| Sample::new(T + time, *value));
    WriteRequestBuilder::new().series(labels, samples).finish_compressed().unwrap()
}

/// All samples of the one series that arrived, as times and values.
fn arrived(destination: &Destination) -> Vec<(i64, f64)> {
    let mut samples = Vec::new();
    for (labels, of_series) in destination.series() {
        let labels: Vec<_> = labels.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        assert_eq!(labels, [("__name__", "up"), ("job", "x"), ("source", "a")]);
        samples.extend(of_series.iter().map(|(time, bits)| (time - T, f64::from_bits(*bits))));
    }
    samples
}

async fn until(destination: &Destination, expected: &[(i64, f64)]) {
    eventually("the samples arrive", || async { arrived(destination).len() >= expected.len() }).await;
    assert_eq!(arrived(destination), expected);
}

/// What two replicas send, in turns; `send` tells which one by path or by label.
async fn check(by_path: bool) {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let keys = if by_path { "path: true" } else { "label: replica" };
    let sources = format!("[{{name: a, replicas: {{{keys}, freshness: 500ms}}}}]");
    let merger = TestMerger::start_with(data.path(), &sources, &destination.url, "").await;
    let send = async |replica: &str, samples: &[(i64, f64)]| {
        let path = if by_path { format!("a/{replica}") } else { "a".to_owned() };
        let body = request((!by_path).then_some(replica), samples);
        merger.send(&path, body).await.unwrap();
    };
    send("one", &[(0, 1.0)]).await;
    send("two", &[(400, 2.0)]).await;
    send("one", &[(1_000, 1.0)]).await;
    send("two", &[(1_400, 2.0)]).await;
    // The other one loses the target for a moment.
    send("two", &[(1_500, f64::from_bits(STALE_MARKER_BITS))]).await;
    send("two", &[(2_400, 2.0)]).await;
    send("one", &[(2_000, 1.0), (3_000, 1.0)]).await;
    send("two", &[(3_400, 2.0)]).await;
    let until_then = [(0, 1.0), (1_000, 1.0), (2_000, 1.0), (3_000, 1.0)];
    until(&destination, &until_then).await;
    sleep(Duration::from_millis(700)).await;
    // The first one is silent for too long: the second goes on behind what was delivered.
    send("two", &[(4_400, 2.0)]).await;
    send("one", &[(4_000, 1.0), (5_000, 1.0)]).await;
    let all = [&until_then[..], &[(3_400, 2.0), (4_400, 2.0)]].concat();
    until(&destination, &all).await;
    let metric = async |name: &str| merger.metric(&format!("prom_merger_{name}{{source=\"a\"}}")).await;
    assert_eq!(metric("replica_failovers_total").await, 1.0);
    assert_eq!(metric("replica_takeover_samples_total").await, 1.0);
    assert_eq!(metric("replica_spare_samples_total").await, 7.0);
    let gauge = async |name: &str, replica: &str| {
        let (_, page) = merger.get("/metrics").await;
        let line = format!("prom_merger_{name}{{source=\"a\",replica=\"{replica}\"}} ");
        page.lines().find_map(|found| found.strip_prefix(&line)?.parse::<f64>().ok())
    };
    eventually("the gauges say so", || async {
        gauge("replica_elected", "two").await == Some(1.0)
            && gauge("replica_elected", "one").await == Some(0.0)
    })
    .await;
    assert_eq!(gauge("replica_held_samples", "two").await, Some(5.0));
    merger.shutdown().await;

    // After a restart all goes on from there: what is sent again is known.
    let merger = TestMerger::start_with(data.path(), &sources, &destination.url, "").await;
    let path = if by_path { "a/two" } else { "a" };
    let body = request((!by_path).then_some("two"), &[(4_400, 2.0), (5_400, 2.0)]);
    merger.send(path, body).await.unwrap();
    until(&destination, &[&all[..], &[(5_400, 2.0)]].concat()).await;
    merger.shutdown().await;
}

#[tokio::test]
async fn replicas_with_paths_of_their_own_become_one_series() {
    check(true).await;
}

#[tokio::test]
async fn replicas_with_a_label_become_one_series_without_it() {
    check(false).await;
}

#[tokio::test]
async fn a_replica_that_is_not_configured_waits_and_a_wrong_path_is_told() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let sources = "[{name: a, replicas: {path: true, names: [one]}}, {name: b}]";
    let merger = TestMerger::start_with(data.path(), sources, &destination.url, "").await;
    let post = async |path: &str| merger.post(path, None, request(None, &[(0, 1.0)])).await;
    assert_eq!(post("/api/v1/write/a/one").await, 204);
    assert_eq!(post("/api/v1/write/a/two").await, 503);
    assert_eq!(post("/api/v1/write/a").await, 404);
    assert_eq!(post("/api/v1/write/b/one").await, 404);
    merger.shutdown().await;
}

#[test]
fn the_keys_of_replicas_are_checked() {
    let parse = |keys: &str| {
        let text = format!(
            "data: d\nsources: [{{name: a, replicas: {keys}}}]\ndestination: {{url: 'http://x/api/v1/write'}}\n"
        );
        Config::parse("merger.yaml", text).map(|config| config.sources[0].replicas.clone().unwrap())
    };
    let replicas = parse("{label: prometheus_replica}").unwrap();
    assert_eq!(replicas.label.as_deref(), Some("prometheus_replica"));
    assert_eq!((replicas.maximum, replicas.path, replicas.active_series), (4, false, 1_000_000));
    assert_eq!((replicas.freshness.as_secs(), replicas.spare_retention.as_secs()), (30, 7_200));
    for (keys, words) in [
        ("{freshness: 5s}", "replicas need `label` or `path: true`"),
        ("{path: true, names: [a, b], maximum: 1}", "less than there are `names`"),
        ("{path: true, freshness: 0s}", "longer than zero"),
        ("{label: ''}", "expected a label name"),
    ] {
        let faults = parse(keys).unwrap_err().to_string();
        assert!(faults.contains(words), "{faults}");
    }
}
