//! The merger in this process, over loopback.

mod backfill;
mod coalescing;
mod commands;
mod configuration;
mod dead_letters;
mod fan_out;
mod health;
mod hostile;
mod ingest_rules;
mod ingest_v2;
mod journal_commands;
mod operation;
mod poison;
mod protocols;
mod relabelling;
mod replicas;
mod security;
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use prom_merger::Config;
use prom_remote::{MetricType, STALE_MARKER_BITS, Sample, WriteRequestBuilder};
use prom_remote_http::WriteError;
use support::{Answer, Destination, TestMerger, eventually, label, one};

const T: i64 = 1_700_000_000_000;

fn taken(destination: &Destination, count: usize) -> impl Future<Output = ()> + '_ {
    eventually("all series arrive", move || async move { destination.series().len() >= count })
}

#[tokio::test]
async fn every_series_gets_its_source_label_and_keeps_its_bits() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;

    let mut builder = WriteRequestBuilder::new();
    let bits = [STALE_MARKER_BITS, 0x7ff8_0000_0000_0001, (-0.0_f64).to_bits(), f64::INFINITY.to_bits()];
    let samples = (0..).zip(bits).map(|(index, value_bits)| Sample { timestamp_ms: T + index, value_bits });
    builder.series([("__name__", "up"), ("job", "x"), ("zone", "z")], samples);
    builder.series([("__name__", "taken"), ("source", "mine")], [Sample::new(T, 2.0)]);
    merger.send("b", builder.finish_compressed().unwrap()).await.unwrap();

    taken(&destination, 2).await;
    let owned = |labels: &[(&str, &str)]| -> Vec<(String, String)> {
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let expected = [
        (
            owned(&[("__name__", "up"), ("job", "x"), ("source", "bee"), ("zone", "z")]),
            (0..).zip(bits).map(|(index, bits)| (T + index, bits)).collect(),
        ),
        (
            owned(&[("__name__", "taken"), ("exported_source", "mine"), ("source", "bee")]),
            vec![(T, 2.0_f64.to_bits())],
        ),
    ];
    assert_eq!(destination.series(), expected);
    merger.shutdown().await;
}

#[tokio::test]
async fn acknowledges_only_after_a_commit() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start_down().await;
    // The commit waits for company that never comes.
    let merger = TestMerger::start(data.path(), &destination.url, "journal: {commit_window: 300ms}").await;
    let before = std::time::Instant::now();
    merger.send("a", one("up")).await.unwrap();
    assert!(before.elapsed().as_millis() >= 300, "answered before the commit");
    assert_eq!(merger.metric("prom_merger_journal_commits_total{source=\"a\"}").await, 1.0);
    assert_eq!(merger.metric("prom_merger_acknowledged_samples_total{source=\"a\"}").await, 1.0);
    merger.kill();
}

#[tokio::test]
async fn what_was_acknowledged_while_the_destination_was_down_arrives_also_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let mut destination = Destination::start_down().await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    for index in 0..20 {
        merger.send("a", one(&format!("before_{index}"))).await.unwrap();
    }
    assert_eq!(merger.metric("prom_merger_journal_pending_records{source=\"a\"}").await, 20.0);
    merger.kill();

    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    assert_eq!(merger.metric("prom_merger_journal_pending_records{source=\"a\"}").await, 20.0);
    merger.send("a", one("after")).await.unwrap();
    destination.up().await;
    taken(&destination, 21).await;
    let names: Vec<_> = (0..20).map(|index| format!("before_{index}")).chain(["after".to_owned()]).collect();
    assert_eq!(destination.names(), names, "in order");
    merger.shutdown().await;

    // The cursor was stored: nothing comes again.
    let attempts = destination.attempts();
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    merger.send("a", one("last")).await.unwrap();
    taken(&destination, 22).await;
    assert_eq!(destination.attempts(), attempts + 1);
    merger.shutdown().await;
}

#[tokio::test]
async fn an_idle_lane_stores_its_cursor() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    merger.send("a", one("up")).await.unwrap();
    taken(&destination, 1).await;
    let is_stored = || async { data.path().join("journal/a/cursor-tsdb.1").exists() };
    eventually("the second cursor file is there", is_stored).await;
    merger.kill();
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    assert_eq!(merger.metric("prom_merger_journal_pending_records{source=\"a\"}").await, 0.0);
    merger.shutdown().await;
}

#[tokio::test]
async fn a_refused_request_becomes_a_dead_letter_with_the_receivers_words() {
    let data = tempfile::tempdir().unwrap();
    // Requests that wait go out together.
    let destination = Destination::start(|request, _| {
        let is_bad = request.iter().any(|series| label(series, "__name__") == "bad");
        if is_bad { Answer::Refuse(400, "out of bounds, it says") } else { Answer::Take }
    })
    .await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    for name in ["first", "bad", "last"] {
        merger.send("a", one(name)).await.unwrap();
    }
    taken(&destination, 2).await;
    assert_eq!(destination.names(), ["first", "last"]);
    let is_set_aside = || async { !merger.get("/api/v1/dead-letters/a").await.1.is_empty() };
    eventually("it is set aside", is_set_aside).await;
    let (status, letters) = merger.get("/api/v1/dead-letters/a").await;
    assert_eq!(status, 200);
    let letter: serde_json::Value = serde_json::from_str(letters.trim()).unwrap();
    assert_eq!(letter["letter"]["reason"], "out of bounds, it says");
    assert_eq!(letter["letter"]["status"], 400);
    assert_eq!(letter["letter"]["stage"], "delivery");
    assert_eq!(letter["letter"]["series"], 1);
    let counted = merger.metric("prom_merger_dead_letters_total{source=\"a\",stage=\"delivery\"}").await;
    assert_eq!(counted, 1.0);
    let failures =
        merger.metric("prom_merger_delivery_failures_total{source=\"a\",class=\"rejected\"}").await;
    assert!(failures >= 1.0, "{failures}");
    merger.shutdown().await;
}

async fn check_is_retried(answers: &'static [Answer], class: &str) {
    let data = tempfile::tempdir().unwrap();
    let answer = |_: &[_], index: usize| answers.get(index).copied().unwrap_or(Answer::Take);
    let destination = Destination::start(answer).await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    merger.send("a", one("up")).await.unwrap();
    taken(&destination, 1).await;
    assert_eq!(destination.attempts(), answers.len() + 1);
    let failures = format!("prom_merger_delivery_failures_total{{source=\"a\",class=\"{class}\"}}");
    assert_eq!(merger.metric(&failures).await, answers.len() as f64);
    assert_eq!(merger.metric("prom_merger_dead_letter_records{source=\"a\"}").await, 0.0);
    merger.shutdown().await;
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    check_is_retried(&[Answer::RetryAfter(503), Answer::Refuse(500, "oh")], "server").await;
    check_is_retried(&[Answer::RetryAfter(429)], "throttled").await;
}

#[tokio::test]
async fn a_misconfigured_destination_costs_no_data() {
    let answers =
        &[Answer::Refuse(404, "not here"), Answer::Refuse(401, "who?"), Answer::Refuse(415, "what?")];
    check_is_retried(answers, "destination").await;
}

#[tokio::test]
async fn a_hanging_source_does_not_delay_another() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|request, _| match label(&request[0], "source") {
        "a" => Answer::Hang,
        _ => Answer::Take,
    })
    .await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    merger.send("a", one("stuck")).await.unwrap();
    eventually("the stuck request is under way", || async { destination.attempts() == 1 }).await;
    for index in 0..10 {
        merger.send("b", one(&format!("free_{index}"))).await.unwrap();
    }
    taken(&destination, 10).await;
    let pending = merger.metric("prom_merger_journal_pending_records{source=\"a\"}").await;
    let oldest = merger.metric("prom_merger_oldest_undelivered_timestamp_seconds{source=\"a\"}").await;
    assert_eq!((pending, oldest), (1.0, T as f64 / 1000.0));
    // The lane gives up the hanging request and the shutdown is clean.
    merger.shutdown().await;

    destination.rule(|_, _| Answer::Take);
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    taken(&destination, 11).await;
    merger.shutdown().await;
}

#[tokio::test]
async fn of_a_partly_invalid_request_the_valid_part_is_delivered_and_the_rest_kept() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    let mut builder = WriteRequestBuilder::new();
    builder.series([("__name__", "good")], [Sample::stale(T)]);
    builder.series([("job", "nameless")], [Sample::new(T, 1.0), Sample::new(T + 1, 1.0)]);
    builder.series([("__name__", "twice"), ("x", "1"), ("x", "2")], [Sample::new(T, 1.0)]);
    let refused = merger.send("a", builder.finish_compressed().unwrap()).await.unwrap_err();
    let WriteError::Rejected { status, message } = refused else { panic!("{refused}") };
    assert_eq!(status, 400);
    let expected = "2 of 3 series refused and set aside, the others are stored: \
                    series 1: no metric name; series 2: label 2 repeats a name";
    assert_eq!(message, expected);

    taken(&destination, 1).await;
    assert_eq!(destination.series()[0].1, [(T, STALE_MARKER_BITS)]);
    assert_eq!(destination.names(), ["good"]);
    let (_, letters) = merger.get("/api/v1/dead-letters/a").await;
    let letter: serde_json::Value = serde_json::from_str(letters.trim()).unwrap();
    assert_eq!(letter["letter"]["stage"], "ingest");
    assert_eq!(
        (letter["letter"]["series"].as_u64(), letter["letter"]["samples"].as_u64()),
        (Some(2), Some(3))
    );
    assert_eq!(merger.metric("prom_merger_rejected_series_total{source=\"a\"}").await, 2.0);
    assert_eq!(merger.metric("prom_merger_acknowledged_samples_total{source=\"a\"}").await, 1.0);

    let mut builder = WriteRequestBuilder::new();
    builder.series([("job", "nameless")], [Sample::new(T, 1.0)]);
    merger.send("a", builder.finish_compressed().unwrap()).await.unwrap_err();
    assert_eq!(merger.metric("prom_merger_journal_commits_total{source=\"a\"}").await, 1.0, "nothing valid");
    merger.shutdown().await;
}

#[tokio::test]
async fn metadata_and_empty_requests_are_taken() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    let mut builder = WriteRequestBuilder::new();
    builder.metadata(MetricType::Counter, "up", "help", "");
    merger.send("a", builder.finish_compressed().unwrap()).await.unwrap();
    merger.send("a", WriteRequestBuilder::new().finish_compressed().unwrap()).await.unwrap();
    eventually("the metadata is sent, nothing else", || async { destination.attempts() == 1 }).await;
    assert_eq!(merger.metric("prom_merger_acknowledged_requests_total{source=\"a\"}").await, 2.0);
    merger.shutdown().await;
}

#[tokio::test]
async fn a_full_journal_tells_senders_to_wait_and_takes_requests_again_later() {
    let data = tempfile::tempdir().unwrap();
    let mut destination = Destination::start_down().await;
    let more = "limits: {body: 1KiB, decoded: 64KiB}\n\
                journal: {segment_bytes: 200KiB, max_bytes: 400KiB, max_pending_bytes: 200KiB}";
    let merger = TestMerger::start(data.path(), &destination.url, more).await;
    // Does not compress: about 900 bytes in every request.
    let request = |seed: usize| {
        let mut builder = WriteRequestBuilder::new();
        let noise =
            (0..60).map(|index| Sample::new(T + index, ((seed + 7) as f64 * (index + 3) as f64).sin()));
        builder.series([("__name__", format!("metric_{seed}"))], noise);
        builder.finish_compressed().unwrap()
    };
    let stored = AtomicUsize::new(0);
    let refusal = loop {
        let seed = stored.load(Ordering::Relaxed);
        match merger.send("a", request(seed)).await {
            Ok(()) => stored.fetch_add(1, Ordering::Relaxed),
            Err(error) => break error,
        };
        assert!(seed < 2000, "the journal never fills");
    };
    let WriteError::Retryable { after: Some(_), status: Some(503), message } = refusal else {
        panic!("{refusal}")
    };
    assert_eq!(message, "journal: the journal's disk budget is used up, or the disk is full");
    merger.send("b", one("other")).await.unwrap();

    destination.up().await;
    let count = stored.load(Ordering::Relaxed);
    taken(&destination, count + 1).await;
    let sent = || async { merger.send("a", request(count)).await.is_ok() };
    eventually("there is room again", sent).await;
    taken(&destination, count + 2).await;
    merger.shutdown().await;
}

#[tokio::test]
async fn limits_refuse_requests_and_series() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let more = "limits: {body: 512, decoded: 2KiB, series: 3, labels: 2}";
    let merger = TestMerger::start(data.path(), &destination.url, more).await;
    let status = async |body: Vec<u8>| merger.send("a", body).await.err().and_then(|error| error.status());
    assert_eq!(status(vec![0; 600]).await, Some(413));
    let mut builder = WriteRequestBuilder::new();
    builder.series([("__name__", "x".repeat(4000))], [Sample::new(T, 1.0)]);
    assert_eq!(status(builder.finish_compressed().unwrap()).await, Some(400));
    for _ in 0..4 {
        builder.series([("__name__", "up")], [Sample::new(T, 1.0)]);
    }
    assert_eq!(status(builder.finish_compressed().unwrap()).await, Some(400));
    builder.series([("__name__", "up"), ("a", "1"), ("b", "2")], [Sample::new(T, 1.0)]);
    builder.series([("__name__", "good")], [Sample::new(T, 1.0)]);
    assert_eq!(status(builder.finish_compressed().unwrap()).await, Some(400));
    taken(&destination, 1).await;
    assert_eq!(destination.names(), ["good"]);
    assert_eq!(merger.metric("prom_merger_ingest_responses_total{source=\"a\",code=\"413\"}").await, 1.0);
    merger.shutdown().await;
}

#[tokio::test]
async fn the_web_says_what_is_there() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    assert_eq!(merger.get("/-/healthy").await, (200, "healthy\n".to_owned()));
    assert_eq!(merger.get("/-/ready").await, (200, "ready\n".to_owned()));
    assert_eq!(
        merger.metric(concat!("prom_merger_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")).await,
        1.0
    );
    let unknown = merger.send("c", one("up")).await.unwrap_err();
    assert_eq!(unknown.to_string(), "remote write rejected with status 404: no source \"c\"; known: a, b");
    merger.shutdown().await;
}

#[tokio::test]
async fn a_source_with_a_token_takes_only_what_carries_it() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let token = data.path().join("a.token");
    std::fs::write(&token, "secret-of-a\n").unwrap();
    let sources = format!("[{{name: a, token_file: '{}'}}, {{name: b}}]", token.display());
    let merger = TestMerger::start_with(data.path(), &sources, &destination.url, "").await;
    for (token, expected) in [(None, 401), (Some("secret-of-b"), 403), (Some("secret-of-a"), 204)] {
        assert_eq!(merger.post("/api/v1/write/a", token, one("guarded")).await, expected, "{token:?}");
    }
    assert_eq!(merger.post("/api/v1/write/b", None, one("open")).await, 204);
    taken(&destination, 2).await;
    assert_eq!(merger.metric("prom_merger_ingest_responses_total{source=\"a\",code=\"403\"}").await, 1.0);
    merger.shutdown().await;
}

#[track_caller]
fn check_faults(text: &str, expected: &[&str]) {
    let faults = Config::parse("merger.yaml", text).unwrap_err();
    let headlines: Vec<_> = faults.into_sorted().iter().map(|fault| fault.headline()).collect();
    assert_eq!(headlines, expected);
}

#[test]
fn all_faults_of_a_configuration_are_told_with_their_places() {
    let text = "\
listen: nowhere
label: __x
sources:
  - name: Kafka
  - {name: a, value: one}
  - {name: b, value: one}
  - {name: a}
destination: {url: 'ftp://x', timeout: 0s}
journal: {segment_bytes: 1MiB}
retry: {minimum: 2s, maximum: 1s}
extra: 1
";
    let at = "merger.yaml:";
    let expected = [
        "1:1: error: the key `data` is missing",
        "1:9: error: listen: expected an address and a port, found `nowhere`: invalid socket address syntax",
        "2:8: error: label: expected a label name, found `__x`: label name \"__x\" is not [a-zA-Z_][a-zA-Z0-9_]* or begins with __",
        "4:11: error: sources[0].name: expected a source name, found `Kafka`: it becomes a path segment and a folder: 1 to 64 of a-z, 0-9 and -",
        "6:5: error: the label value `one` stands twice: nobody could tell the sources apart",
        "7:5: error: the source name `a` stands twice",
        "8:20: error: destination.url: expected a remote-write address, found `ftp://x`: \"ftp://x\" is not an http or https address",
        "8:40: error: destination.timeout: the duration must be longer than zero",
        "9:1: error: journal: limits.body (33554432) and limits.decoded (33554432) allow records of 39212405 bytes: segment_bytes is 1048576, and must be at least 39212517",
        "10:22: error: retry: maximum: less than `minimum`",
        "11:1: error: unknown key `extra`",
    ];
    let expected: Vec<_> = expected.iter().map(|line| format!("{at}{line}")).collect();
    check_faults(text, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    check_faults("", &["merger.yaml:1:1: error: the configuration is empty"]);
}

#[test]
fn a_short_configuration_has_the_documented_defaults() {
    let text = "data: d\nsources: [{name: kafka}]\ndestination: {url: 'http://tsdb:9090/api/v1/write'}\n";
    let config = Config::parse("merger.yaml", text).unwrap();
    assert_eq!(config.web.listen.to_string(), "127.0.0.1:9099");
    assert_eq!((config.label.as_str(), config.sources[0].value.as_str()), ("source", "kafka"));
    assert_eq!(config.journal.segment_bytes, 64 << 20);
    assert_eq!(config.retry.maximum.as_secs(), 5);
}
