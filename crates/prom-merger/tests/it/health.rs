//! A destination that was away is noticed as soon as it is back.

use std::time::{Duration, Instant};

use crate::support::{Answer, Destination, TestMerger, eventually, one};

/// Waits that would take minutes, were it not for the question whether the destination is back.
const LONG_WAITS: &str = "retry: {minimum: 10m, maximum: 10m, health_interval: 20ms}";

async fn start(data: &std::path::Path, destination: &Destination) -> TestMerger {
    let more = format!("destination: {{url: '{}'}}\n{LONG_WAITS}", destination.url);
    TestMerger::start_bare(data, "[{name: a}]", &more).await
}

async fn failed(merger: &TestMerger, class: &str) {
    let failures = format!("prom_merger_delivery_failures_total{{source=\"a\",class=\"{class}\"}}");
    eventually("an attempt fails", || async { merger.metric(&failures).await == 1.0 }).await;
}

#[tokio::test]
async fn what_waits_for_an_unreachable_destination_goes_out_once_it_is_back() {
    let data = tempfile::tempdir().unwrap();
    let mut destination = Destination::start_down().await;
    let merger = start(data.path(), &destination).await;
    merger.send("a", one("up")).await.unwrap();
    failed(&merger, "network").await;
    let probes = "prom_merger_health_probes_total{source=\"a\"}";
    eventually("it is asked whether it is back", || async { merger.metric(probes).await >= 3.0 }).await;
    assert_eq!(merger.metric("prom_merger_destination_down{source=\"a\"}").await, 1.0);
    destination.up().await;
    eventually("the request arrives", || async { destination.names() == ["up"] }).await;
    assert_eq!(merger.metric("prom_merger_destination_down{source=\"a\"}").await, 0.0);
    merger.shutdown().await;
}

#[tokio::test]
async fn a_wait_that_was_asked_for_is_kept_while_the_destination_is_there() {
    let data = tempfile::tempdir().unwrap();
    let mut destination = Destination::start(|_, _| Answer::RetryAfterSeconds(503, "20")).await;
    let more = format!(
        "destination: {{url: '{}'}}\nretry: {{minimum: 1ms, maximum: 2ms, health_interval: 20ms}}",
        destination.url
    );
    let merger = TestMerger::start_bare(data.path(), "[{name: a}]", &more).await;
    let start = Instant::now();
    merger.send("a", one("up")).await.unwrap();
    failed(&merger, "server").await;
    destination.rule(|_, _| Answer::Take);
    let probes = "prom_merger_health_probes_total{source=\"a\"}";
    eventually("it is asked how it is", || async { merger.metric(probes).await >= 10.0 }).await;
    assert!(start.elapsed() > Duration::from_secs(20) || destination.attempts() == 1);
    // Once it was away, what it asked for before counts no more.
    destination.down().await;
    let before = merger.metric(probes).await;
    eventually("it is asked in vain", || async { merger.metric(probes).await >= before + 3.0 }).await;
    destination.up().await;
    eventually("the request arrives", || async { destination.names() == ["up"] }).await;
    merger.shutdown().await;
}
