//! What a destination refuses, and what it takes all the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use prom_remote::{MetricType, Sample, WriteRequestBuilder};
use prom_remote_http::WriteError;
use serde_json::Value;

use crate::support::{Answer, Destination, Series, TestMerger, eventually, is_probe, label, one};

const T: i64 = 1_700_000_000_000;
const GOOD: f64 = 1.0;
const BAD: f64 = 666.0;

/// Series with the values of their samples, one second apart.
fn request(series: &[(&str, &[f64])]) -> Vec<u8> {
    let mut builder = WriteRequestBuilder::new();
    for (name, values) in series {
        let samples = (0..).zip(*values).map(|(index, value)| Sample::new(T + index * 1000, *value));
        builder.series([("__name__", *name)], samples);
    }
    builder.metadata(MetricType::Gauge, "good", "Good.", "");
    builder.finish_compressed().unwrap()
}

fn is_bad(request: &[Series]) -> bool {
    request.iter().flat_map(|series| &series.1).any(|(_, bits)| *bits == BAD.to_bits())
}

/// Names and times of the samples taken, without repetitions.
fn points(destination: &Destination) -> Vec<(String, i64)> {
    let mut points: Vec<_> = destination
        .series()
        .iter()
        .flat_map(|series| {
            series.1.iter().map(|(time, _)| (label(series, "__name__").to_owned(), (time - T) / 1000))
        })
        .collect();
    points.sort();
    points.dedup();
    points
}

async fn letters(merger: &TestMerger) -> Vec<Value> {
    let (status, text) = merger.get("/api/v1/dead-letters/a").await;
    assert_eq!(status, 200);
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["letter"].clone()).collect()
}

async fn delivered(merger: &TestMerger) {
    eventually("the lane is done", || async {
        merger.metric("prom_merger_journal_pending_records{source=\"a\"}").await == 0.0
    })
    .await;
}

const MIXED: &[(&str, &[f64])] = &[
    ("first", &[GOOD, BAD, GOOD, GOOD]),
    ("second", &[GOOD, GOOD]),
    ("third", &[BAD]),
    ("fourth", &[GOOD, GOOD, GOOD]),
];

fn good_points() -> Vec<(String, i64)> {
    let of =
        |name: &str, times: &[i64]| times.iter().map(|time| (name.to_owned(), *time)).collect::<Vec<_>>();
    let mut points = [of("first", &[0, 2, 3]), of("second", &[0, 1]), of("fourth", &[0, 1, 2])].concat();
    points.sort();
    points
}

async fn check_only_culprits_are_set_aside(status: u16) {
    let data = tempfile::tempdir().unwrap();
    let destination =
        Destination::start(
            move |request, _| {
                if is_bad(request) { Answer::Refuse(status, "the beast") } else { Answer::Take }
            },
        )
        .await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    merger.send("a", request(MIXED)).await.unwrap();
    delivered(&merger).await;
    assert_eq!(points(&destination), good_points(), "{status}");
    let letters = letters(&merger).await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["reason"], "the beast");
    assert_eq!(letters[0]["status"], status);
    assert_eq!((&letters[0]["series"], &letters[0]["samples"]), (&2.into(), &2.into()));
    let attempts = merger.metric("prom_merger_isolation_attempts_total{source=\"a\"}").await;
    assert!((1.0..=20.0).contains(&attempts), "{attempts} attempts");
    assert_eq!(merger.metric("prom_merger_delivered_samples_total{source=\"a\"}").await, 8.0);
    assert_eq!(merger.metric("prom_merger_destination_misconfigured{source=\"a\"}").await, 0.0);
    merger.shutdown().await;
}

#[tokio::test]
async fn only_the_culprits_of_a_refused_request_are_set_aside() {
    for status in [400, 409, 422, 413, 500] {
        check_only_culprits_are_set_aside(status).await;
    }
}

#[tokio::test]
async fn a_part_of_a_series_keeps_its_order() {
    let data = tempfile::tempdir().unwrap();
    let rule = |request: &[Series], _| if is_bad(request) { Answer::Refuse(400, "no") } else { Answer::Take };
    let destination = Destination::start(rule).await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    merger.send("a", request(&[("s", &[GOOD, GOOD, GOOD, BAD, GOOD, GOOD, GOOD])])).await.unwrap();
    delivered(&merger).await;
    let requests = destination.requests();
    let times: Vec<i64> =
        requests.iter().flatten().flat_map(|s| &s.1).map(|(time, _)| (time - T) / 1000).collect();
    assert_eq!(times, [0, 1, 2, 4, 5, 6]);
    merger.shutdown().await;
}

#[tokio::test]
async fn one_sample_of_thirty_thousand_is_found() {
    let data = tempfile::tempdir().unwrap();
    let rule = |request: &[Series], _| if is_bad(request) { Answer::Refuse(400, "no") } else { Answer::Take };
    let destination = Destination::start(rule).await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    let mut values = vec![GOOD; 10_000];
    let good = values.clone();
    values[7_777] = BAD;
    merger.send("a", request(&[("x", &good), ("y", &values), ("z", &good)])).await.unwrap();
    delivered(&merger).await;
    assert_eq!(points(&destination).len(), 29_999);
    let letters = letters(&merger).await;
    assert_eq!((letters.len(), &letters[0]["samples"]), (1, &1.into()));
    let attempts = merger.metric("prom_merger_isolation_attempts_total{source=\"a\"}").await;
    assert!(attempts < 40.0, "{attempts} attempts");
    merger.shutdown().await;
}

#[tokio::test]
async fn a_request_that_is_too_large_arrives_in_parts() {
    let data = tempfile::tempdir().unwrap();
    let rule =
        |request: &[Series], _| if request.len() > 2 { Answer::Refuse(413, "large") } else { Answer::Take };
    let destination = Destination::start(rule).await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    let series: Vec<String> = (0..9).map(|index| format!("s{index}")).collect();
    let series: Vec<(&str, &[f64])> = series.iter().map(|name| (name.as_str(), &[GOOD][..])).collect();
    merger.send("a", request(&series)).await.unwrap();
    delivered(&merger).await;
    assert_eq!(points(&destination).len(), 9);
    assert!(letters(&merger).await.is_empty());
    merger.shutdown().await;
}

async fn check_a_destination_that_refuses_all_costs_nothing(status: u16) {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(move |_, _| Answer::Refuse(status, "unknown tenant")).await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    merger.send("a", request(MIXED)).await.unwrap();
    eventually("the destination is asked again and again", || async {
        merger.metric("prom_merger_probe_writes_total{source=\"a\"}").await >= 5.0
    })
    .await;
    if status < 500 {
        assert_eq!(merger.metric("prom_merger_destination_misconfigured{source=\"a\"}").await, 1.0);
    }
    assert!(letters(&merger).await.is_empty());
    assert_eq!(merger.metric("prom_merger_journal_pending_records{source=\"a\"}").await, 1.0);

    destination.rule(|_, _| Answer::Take);
    delivered(&merger).await;
    assert_eq!(points(&destination).len(), 10);
    assert!(letters(&merger).await.is_empty());
    assert_eq!(merger.metric("prom_merger_destination_misconfigured{source=\"a\"}").await, 0.0);
    merger.shutdown().await;
}

#[tokio::test]
async fn a_destination_that_refuses_all_costs_nothing() {
    for status in [400, 409, 422, 402, 500] {
        check_a_destination_that_refuses_all_costs_nothing(status).await;
    }
}

/// What was refused before the destination took a probe is no culprit yet.
#[tokio::test]
async fn a_destination_that_is_mended_after_one_refusal_gets_what_it_refused() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, attempt| match attempt {
        0 => Answer::Refuse(400, "no such tenant"),
        _ => Answer::Take,
    })
    .await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    merger.send("a", one("only")).await.unwrap();
    eventually("it arrives", || async { destination.names().contains(&"only".to_owned()) }).await;
    assert_eq!(merger.metric("prom_merger_dead_letter_records{source=\"a\"}").await, 0.0);
    merger.shutdown().await;
}

#[tokio::test]
async fn a_destination_that_turns_bad_while_culprits_are_searched_costs_nothing() {
    let data = tempfile::tempdir().unwrap();
    let is_repaired = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_repaired);
    let destination = Destination::start(move |request, attempts| match seen.load(Ordering::Relaxed) {
        // The first of the parts is taken, then nothing more.
        false if attempts >= 2 => Answer::Refuse(400, "unknown tenant"),
        _ if is_bad(request) => Answer::Refuse(400, "the beast"),
        _ => Answer::Take,
    })
    .await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    merger.send("a", request(MIXED)).await.unwrap();
    eventually("a probe is refused", || async {
        merger.metric("prom_merger_probe_refusals_total{source=\"a\"}").await >= 2.0
    })
    .await;
    is_repaired.store(true, Ordering::Relaxed);
    delivered(&merger).await;
    assert_eq!(points(&destination), good_points());
    let reasons: Vec<_> = letters(&merger).await.iter().map(|letter| letter["reason"].clone()).collect();
    assert_eq!(reasons, ["the beast"]);
    merger.shutdown().await;
}

#[tokio::test]
async fn the_search_for_culprits_has_a_bound() {
    let data = tempfile::tempdir().unwrap();
    let refusals = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refusals);
    let destination = Destination::start(move |request, _| {
        if is_probe(request) {
            return Answer::Take;
        }
        counted.fetch_add(1, Ordering::Relaxed);
        Answer::Refuse(400, "none of these")
    })
    .await;
    let merger = TestMerger::start_with_destination(data.path(), &destination.url, "split_attempts: 8").await;
    merger.send("a", request(&[("s", &[GOOD; 1000])])).await.unwrap();
    delivered(&merger).await;
    let refusals = refusals.load(Ordering::Relaxed);
    assert!((8..=20).contains(&refusals), "{refusals} refusals");
    assert!(merger.metric("prom_merger_isolation_unfinished_total{source=\"a\"}").await > 0.0);
    let letters = letters(&merger).await;
    let samples: u64 = letters.iter().map(|letter| letter["samples"].as_u64().unwrap()).sum();
    assert_eq!(samples, 1000, "nothing is lost");
    merger.shutdown().await;
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
}

#[tokio::test]
async fn samples_too_far_ahead_are_set_aside_at_once() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let sources = "[{name: a}, {name: b, future_limit: 0s}, {name: c, future_limit: 2h}]";
    let merger = TestMerger::start_with(data.path(), sources, &destination.url, "").await;
    let now = now_ms();
    let body = || {
        let mut builder = WriteRequestBuilder::new();
        let samples = [now - 1000, now + 300_000, now + 3_600_000].map(|time| Sample::new(time, 1.0));
        builder.series([("__name__", "clock")], samples);
        builder.finish_compressed().unwrap()
    };
    let error = merger.send("a", body()).await.unwrap_err();
    let WriteError::Rejected { status: 400, message } = error else { panic!("{error}") };
    assert!(
        message.starts_with("1 samples refused and set aside, the others are stored: more than 600 s ahead"),
        "{message}"
    );
    merger.send("b", body()).await.unwrap();
    merger.send("c", body()).await.unwrap();
    eventually("all arrives", || async { destination.series().len() == 3 }).await;
    let count = |source: &str| {
        let series = destination.series();
        series.iter().find(|series| label(series, "source") == source).map(|series| series.1.len())
    };
    assert_eq!([count("a"), count("b"), count("c")], [Some(2), Some(3), Some(3)]);
    let letters = letters(&merger).await;
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0]["stage"], &letters[0]["samples"]), (&"ingest".into(), &1.into()));
    assert_eq!(merger.metric("prom_merger_future_samples_total{source=\"a\"}").await, 1.0);
    assert_eq!(merger.metric("prom_merger_acknowledged_samples_total{source=\"a\"}").await, 2.0);
    merger.shutdown().await;
}

#[tokio::test]
async fn a_request_that_runs_backwards_is_sent_in_the_order_of_time() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    let mut builder = WriteRequestBuilder::new();
    builder.series([("__name__", "s")], [5, 1, 2].map(|time| Sample::new(T + time, 1.0)));
    builder.series([("__name__", "other")], [Sample::new(T, 1.0)]);
    merger.send("a", builder.finish_compressed().unwrap()).await.unwrap();
    delivered(&merger).await;
    let show = |series: &Series| {
        (label(series, "__name__").to_owned(), series.1.iter().map(|(time, _)| time - T).collect::<Vec<_>>())
    };
    let requests: Vec<Vec<_>> =
        destination.requests().iter().map(|request| request.iter().map(show).collect()).collect();
    let expected =
        [vec![("s".to_owned(), vec![1, 2]), ("other".to_owned(), vec![0])], vec![("s".to_owned(), vec![5])]];
    assert_eq!(requests, expected);
    assert_eq!(merger.metric("prom_merger_backward_requests_total{source=\"a\"}").await, 1.0);
    merger.shutdown().await;
}
