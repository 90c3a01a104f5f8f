//! What no real source can be made to do: an encoding that nobody knows, and answers that are too large.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use prom_merger::{
    Config,
    backfill::{BackfillError, BackfillPlan, BackfillProgress, Counts, backfill},
    machine::Machine,
};
use prom_remote::{
    Chunk, Compressor, Label, Limits, ReadRequest, ReadResponseBuilder, ResponseType, Sample, StreamWriter,
    TimeRange, decompress,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::{Answer, Destination};

const T: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;
const INTERVAL_MS: i64 = 15_000;

/// One series with a sample every 15 s. It answers nothing longer than a quarter of an hour, its chunks are of encoding 99, and
/// its first `failures` answers are 503.
async fn start_source(failures: usize) -> String {
    let failures = Arc::new(AtomicUsize::new(failures));
    let answer = move |body: Bytes| {
        let failures = Arc::clone(&failures);
        async move {
            if failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            }
            answer(&body)
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v1/read", listener.local_addr().unwrap());
    let router = Router::new().route("/api/v1/read", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

fn answer(body: &[u8]) -> Response {
    let mut question = Vec::new();
    decompress(body, &Limits::default(), &mut question).unwrap();
    let question = ReadRequest::decode(&question, &Limits::default()).unwrap();
    let range = question.queries[0].range;
    if range.end_ms() - range.start_ms() > HOUR_MS / 4 {
        return (StatusCode::BAD_REQUEST, "exceeded sample limit").into_response();
    }
    let times = (T..T + HOUR_MS).step_by(INTERVAL_MS as usize).filter(|time| range.contains(*time));
    if question.accepted.first() == Some(&ResponseType::StreamedXorChunks) {
        let mut stream = Vec::new();
        let label = Label { name: b"__name__".to_vec(), value: b"up".to_vec() };
        let (min_time_ms, max_time_ms) = (range.start_ms(), range.end_ms() - 1);
        let chunk = Chunk { min_time_ms, max_time_ms, encoding: 99, data: vec![1, 2, 3] };
        StreamWriter::default().series(0, &[label], [chunk], &mut stream);
        let streamed = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
        return ([(CONTENT_TYPE, streamed)], stream).into_response();
    }
    let mut builder = ReadResponseBuilder::new();
    builder.series([("__name__", "up")], times.map(|time| Sample::new(time, time as f64)), &[]);
    let mut body = Vec::new();
    Compressor::new().compress(&builder.end_result().finish(), &mut body).unwrap();
    ([(CONTENT_TYPE, "application/x-protobuf")], body).into_response()
}

async fn run(
    data: &Path,
    destination: &str,
    url: &str,
    stop: CancellationToken,
    progress: impl FnMut(&BackfillProgress),
) -> Result<Counts, BackfillError> {
    let text = format!(
        "data: {}\nsources: [{{name: a, value: bee}}]\ndestination: {{url: '{destination}'}}\n",
        data.display()
    );
    let config = Config::parse("merger.yaml", text).unwrap();
    let mut plan = BackfillPlan::new("a", url, TimeRange::new(T, T + HOUR_MS).unwrap());
    plan.window = Duration::from_secs(3_600);
    backfill(Machine::real(&config), config, plan, stop, progress).await
}

fn times(destination: &Destination) -> Vec<i64> {
    let mut times = Vec::new();
    for (labels, samples) in destination.series() {
        assert_eq!(labels[1], ("source".to_owned(), "bee".to_owned()));
        times.extend(samples.iter().map(|(time, bits)| {
            assert_eq!(f64::from_bits(*bits), *time as f64);
            *time
        }));
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_cannot_stream_or_answer_all_at_once_is_read_in_halves_and_samples() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let url = start_source(2).await;
    let mut seen = Vec::new();
    let counts = run(data.path(), &destination.url, &url, CancellationToken::new(), |progress| {
        seen.push((progress.read_until_ms - T) / 60_000);
    })
    .await
    .unwrap();
    assert_eq!((counts.samples, counts.windows, counts.histograms), (240, 4, 0));
    assert_eq!(times(&destination), (T..T + HOUR_MS).step_by(INTERVAL_MS as usize).collect::<Vec<_>>());
    seen.dedup();
    assert_eq!(seen, [0, 15, 30, 45, 60]);

    // What is done is done.
    let attempts = destination.attempts();
    let again = run(data.path(), &destination.url, &url, CancellationToken::new(), |_| ()).await.unwrap();
    assert_eq!((again, destination.attempts()), (counts, attempts));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_that_is_stopped_goes_on_with_the_next_window() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let url = start_source(0).await;
    let stop = CancellationToken::new();
    let stopped = run(data.path(), &destination.url, &url, stop.clone(), |progress| {
        if progress.read_until_ms >= T + HOUR_MS / 2 {
            stop.cancel();
        }
    });
    assert!(matches!(stopped.await, Err(BackfillError::Stopped)));
    let mut first = None;
    let counts = run(data.path(), &destination.url, &url, CancellationToken::new(), |progress| {
        first.get_or_insert(progress.read_until_ms);
    })
    .await
    .unwrap();
    assert!(first >= Some(T + HOUR_MS / 2), "{first:?}");
    assert_eq!(counts.samples, 240);
    let mut found = times(&destination);
    found.dedup();
    assert_eq!(found, (T..T + HOUR_MS).step_by(INTERVAL_MS as usize).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_not_configured_is_told() {
    let data = tempfile::tempdir().unwrap();
    let text = format!(
        "data: {}\nsources: [{{name: a}}, {{name: b}}]\ndestination: {{url: 'http://127.0.0.1:1/api/v1/write'}}\n",
        data.path().display()
    );
    let config = Config::parse("merger.yaml", text).unwrap();
    let plan = BackfillPlan::new("c", "http://127.0.0.1:1/api/v1/read", TimeRange::new(0, 1).unwrap());
    let error = backfill(Machine::real(&config), config, plan, CancellationToken::new(), |_| ()).await;
    assert_eq!(error.unwrap_err().to_string(), "there is no source c; known: a, b");
}
