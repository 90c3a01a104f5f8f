//! Both sides of remote read: what a source gives is what the client gets, in either form.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::header::CONTENT_TYPE, routing::post};
use prom_remote::{
    Label, LabelMatchers, Matcher, Query, ReadRequest, ResponseType, Sample, StreamWriter, TimeRange,
    chunk_samples, decode_samples, prom_chunks::Histogram,
};
use prom_remote_http::{
    ClientConfig, ReadClient, ReadError, ReadFailure, ReadServer, ReadServerConfig, ReadSource, SeriesAnswer,
    SeriesSink,
};
use reqwest::{Client, StatusCode};

use crate::support::{compress, serve};

fn labels(name: &str, job: &str) -> Vec<Label> {
    let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
    vec![label("__name__", name), label("job", job)]
}

/// Series of one sample a second.
struct Memory {
    series: Vec<(Vec<Label>, Vec<Sample>, Vec<Histogram>)>,
    /// How many series were taken off it.
    taken: AtomicUsize,
    failure: Option<ReadFailure>,
}

impl Memory {
    fn new(series: Vec<(Vec<Label>, Vec<Sample>)>) -> Self {
        let series = series.into_iter().map(|(labels, samples)| (labels, samples, vec![])).collect();
        Self { series, taken: AtomicUsize::new(0), failure: None }
    }
}

impl ReadSource for Memory {
    async fn read(&self, query: &Query, sink: &mut SeriesSink) -> Result<(), ReadFailure> {
        let matchers = LabelMatchers::new(&query.matchers)
            .map_err(|error| ReadFailure::Invalid { message: error.to_string() })?;
        for (labels, samples, histograms) in &self.series {
            if !matchers.matches(labels.iter().map(|label| (&label.name, &label.value))) {
                continue;
            }
            let is_inside = |sample: &&Sample| query.range.contains(sample.timestamp_ms);
            let inside: Vec<_> = samples.iter().filter(is_inside).copied().collect();
            sink.series(labels, &inside, histograms).await?;
            self.taken.fetch_add(1, Ordering::SeqCst);
        }
        self.failure.clone().map_or(Ok(()), Err)
    }
}

fn query(matchers: Vec<Matcher>, end_ms: i64) -> Query {
    Query { range: TimeRange::new(0, end_ms).unwrap(), matchers }
}

fn seconds(count: i64) -> Vec<Sample> {
    (0..count).map(|second| Sample::new(second * 1_000, second as f64 / 3.0)).collect()
}

async fn address_of(memory: Memory, config: ReadServerConfig) -> (String, Arc<Memory>) {
    let memory = Arc::new(memory);
    let address = serve(ReadServer::new(Arc::clone(&memory), config).router("/api/v1/read")).await;
    (format!("http://{address}/api/v1/read"), memory)
}

fn client(url: &str) -> ReadClient {
    ReadClient::new(ClientConfig::new(url).unwrap()).unwrap()
}

async fn all(client: &ReadClient, queries: &[Query]) -> Result<Vec<SeriesAnswer>, ReadError> {
    let mut stream = client.read(queries).await?;
    let mut series = Vec::new();
    while let Some(next) = stream.next().await? {
        series.push(next);
    }
    assert_eq!(stream.next().await, Ok(None), "an end stays an end");
    Ok(series)
}

fn samples_of(answer: &SeriesAnswer) -> Vec<Sample> {
    answer.content.as_ref().unwrap().samples.iter().map(|sample| sample.sample).collect()
}

#[tokio::test]
async fn what_the_source_gives_is_what_the_client_gets() {
    let special = vec![
        Sample::stale(1),
        Sample::new(2, -0.0),
        Sample { timestamp_ms: 3, value_bits: 0x7ff8_dead_beef_0001 },
    ];
    let memory = Memory::new(vec![
        (labels("lag", "a"), special.clone()),
        (labels("up", "a"), seconds(1_000)),
        (labels("up", "b"), seconds(10)),
    ]);
    let (url, _) = address_of(memory, ReadServerConfig::default()).await;
    let queries = [
        query(vec![Matcher::equal("__name__", "up")], 500_000),
        query(vec![Matcher::regex("job", "a|c")], 10_000),
    ];
    let client = client(&url);
    let answers = all(&client, &queries).await.unwrap();
    let found: Vec<_> =
        answers.iter().map(|answer| (answer.query, answer.labels.clone(), samples_of(answer))).collect();
    let expected = [
        (0, labels("up", "a"), seconds(500)),
        (0, labels("up", "b"), seconds(10)),
        (1, labels("lag", "a"), special),
        (1, labels("up", "a"), seconds(10)),
    ];
    assert_eq!(found, expected);
    // The other form holds the same.
    let results = client.read_samples(&queries).await.unwrap();
    let found: Vec<_> = results
        .into_iter()
        .enumerate()
        .flat_map(|(query, series)| {
            series.into_iter().map(move |series| (query, series.labels, series.samples))
        })
        .collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn an_empty_answer_is_whole() {
    let (url, _) = address_of(Memory::new(vec![]), ReadServerConfig::default()).await;
    assert_eq!(all(&client(&url), &[query(vec![Matcher::equal("a", "b")], 1)]).await, Ok(vec![]));
}

#[tokio::test]
async fn a_slow_reader_holds_the_source_back() {
    let series: Vec<_> = (0..2_000)
        .map(|number| {
            let noise = seconds(1_000).into_iter().map(|sample| Sample {
                value_bits: sample.value_bits.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number),
                ..sample
            });
            (labels(&format!("series_{number:04}"), "a"), noise.collect())
        })
        .collect();
    let (url, memory) = address_of(Memory::new(series), ReadServerConfig::default()).await;
    let mut stream = client(&url).read(&[query(vec![Matcher::equal("job", "a")], 1_000_000)]).await.unwrap();
    assert_eq!(stream.response_type(), ResponseType::StreamedXorChunks);
    assert!(stream.next().await.unwrap().is_some());
    // Until the source stands still: what fits into the buffers of the connection is under way.
    let mut before = usize::MAX;
    while before != memory.taken.load(Ordering::SeqCst) {
        before = memory.taken.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(before < 1_990, "{before} series were taken for one that was read");
    let mut count = 1;
    while stream.next().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 2_000);
}

#[tokio::test]
async fn failures_before_the_first_series_have_a_status() {
    let ask = async |failure: Option<ReadFailure>, matcher| {
        let mut memory = Memory::new(vec![]);
        memory.failure = failure;
        let (url, _) = address_of(memory, ReadServerConfig::default()).await;
        all(&client(&url), &[query(vec![matcher], 1)]).await.unwrap_err()
    };
    let any = || Matcher::equal("a", "b");
    let bad_regex = ask(None, Matcher::regex("a", "(")).await;
    assert!(matches!(bad_regex, ReadError::Rejected { status: 400, .. }), "{bad_regex:?}");
    let busy = ReadFailure::Unavailable { retry_after: Duration::from_secs(2), message: "busy".into() };
    let busy = ask(Some(busy), any()).await;
    assert!(matches!(&busy, ReadError::Retryable { status: Some(503), after: Some(_), .. }), "{busy:?}");
    let failed = ask(Some(ReadFailure::Failed { message: "disk".into() }), any()).await;
    assert!(matches!(&failed, ReadError::Retryable { status: Some(500), message, .. } if message == "disk"));
}

#[tokio::test]
async fn a_failure_half_way_is_no_end() {
    let mut memory = Memory::new(vec![(labels("up", "a"), seconds(10)), (labels("up", "b"), seconds(10))]);
    memory.failure = Some(ReadFailure::Failed { message: "disk".into() });
    let (url, _) = address_of(memory, ReadServerConfig::default()).await;
    let error =
        all(&client(&url), &[query(vec![Matcher::equal("__name__", "up")], 10_000)]).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
}

/// An answer out of a fixed body.
async fn canned(content_type: &'static str, body: Vec<u8>) -> Result<Vec<SeriesAnswer>, ReadError> {
    let answer = move || async move { ([(CONTENT_TYPE, content_type)], body) };
    let address = serve(Router::new().route("/read", post(answer))).await;
    all(&client(&format!("http://{address}/read")), &[query(vec![Matcher::equal("a", "b")], 20_000)]).await
}

const STREAMED: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

fn streamed(count: i64) -> Vec<u8> {
    let mut body = Vec::new();
    StreamWriter::default().series(0, &labels("up", "a"), chunk_samples(&seconds(count)), &mut body);
    body
}

#[tokio::test]
async fn samples_beyond_the_range_are_clipped_in_both_forms() {
    let answers = canned(STREAMED, streamed(500)).await.unwrap();
    assert_eq!(samples_of(&answers[0]), seconds(20));
    let mut builder = prom_remote::ReadResponseBuilder::new();
    let pairs = labels("up", "a");
    builder.series(pairs.iter().map(|label| (&label.name, &label.value)), seconds(500), &[]).end_result();
    let answers = canned("application/x-protobuf", compress(&builder.finish())).await.unwrap();
    assert_eq!(samples_of(&answers[0]), seconds(20));
    assert_eq!(answers[0].label(b"job"), Some(&b"a"[..]));
}

#[tokio::test]
async fn broken_streams_are_errors() {
    let whole = streamed(10);
    let cut = canned(STREAMED, whole[..whole.len() - 1].to_vec()).await.unwrap_err();
    assert!(matches!(cut, ReadError::Stream(_)), "{cut:?}");
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(matches!(canned(STREAMED, flipped).await, Err(ReadError::Stream(_))));
    let aborted = [&whole[..], b"internal error: disk\n"].concat();
    let aborted = canned(STREAMED, aborted).await.unwrap_err();
    let chain = std::error::Error::source(&aborted).and_then(|cause| cause.source()).unwrap().to_string();
    assert!(chain.contains("internal error: disk"), "{chain}");
    assert!(matches!(canned("text/html", whole).await, Err(ReadError::ContentType { .. })));
}

/// Asks without the client, so that anything can be asked.
async fn ask(url: &str, accepted: Vec<ResponseType>) -> (StatusCode, String, Vec<u8>) {
    let request =
        ReadRequest { queries: vec![query(vec![Matcher::equal("__name__", "up")], 10_000)], accepted };
    let request =
        Client::builder().no_proxy().build().unwrap().post(url).body(request.encode_compressed().unwrap());
    let response = request.send().await.unwrap();
    let content_type = response.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned());
    (response.status(), content_type.unwrap_or_default(), response.bytes().await.unwrap().to_vec())
}

#[tokio::test]
async fn the_first_form_that_both_know_is_taken() {
    let memory = || Memory::new(vec![(labels("up", "a"), seconds(10))]);
    let (url, _) = address_of(memory(), ReadServerConfig::default()).await;
    let (samples, streamed) = (ResponseType::Samples, ResponseType::StreamedXorChunks);
    for (accepted, expected) in [
        (vec![], "application/x-protobuf"),
        (vec![samples, streamed], "application/x-protobuf"),
        (vec![streamed, samples], STREAMED),
        (vec![ResponseType::Other(5), streamed], STREAMED),
    ] {
        let (status, content_type, _) = ask(&url, accepted.clone()).await;
        assert_eq!((status, &*content_type), (StatusCode::OK, expected), "{accepted:?}");
    }
    assert_eq!(ask(&url, vec![ResponseType::Other(5)]).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_sample_limit_holds_at_and_over_for_samples_only() {
    for (limit, expected) in [(10, StatusCode::OK), (9, StatusCode::BAD_REQUEST)] {
        let mut config = ReadServerConfig::default();
        config.max_samples = limit;
        let (url, _) = address_of(Memory::new(vec![(labels("up", "a"), seconds(10))]), config).await;
        let (status, _, body) = ask(&url, vec![]).await;
        assert_eq!(status, expected);
        if status == StatusCode::OK {
            let mut decoded = Vec::new();
            prom_remote::decompress(&body, &prom_remote::Limits::default(), &mut decoded).unwrap();
            let results = decode_samples(&decoded, 1, &prom_remote::Limits::default()).unwrap();
            assert_eq!(results[0][0].samples, seconds(10));
        } else {
            assert_eq!(String::from_utf8_lossy(&body), "exceeded sample limit (9)\n");
        }
        assert_eq!(ask(&url, vec![ResponseType::StreamedXorChunks]).await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn questions_that_are_none() {
    let (url, _) = address_of(Memory::new(vec![]), ReadServerConfig::default()).await;
    let client = Client::builder().no_proxy().build().unwrap();
    let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    assert_eq!(status(client.get(&url)).await, 405);
    assert_eq!(status(client.post(&url).body("hello")).await, 400);
    assert_eq!(status(client.post(&url).body(compress(&[0x0a, 9]))).await, 400);
    let mut config = ReadServerConfig::default();
    config.limits.max_compressed_bytes = 10;
    config.max_in_flight = 0;
    let (url, _) = address_of(Memory::new(vec![]), config.clone()).await;
    assert_eq!(status(client.post(&url).body(compress(&[]))).await, 503);
    config.max_in_flight = 1;
    let (url, _) = address_of(Memory::new(vec![]), config).await;
    assert_eq!(status(client.post(&url).body(vec![0; 11])).await, 413);
    // The permit comes back with the end of each answer.
    for _ in 0..3 {
        assert_eq!(status(client.post(&url).body(compress(&[]))).await, 200);
    }
}
