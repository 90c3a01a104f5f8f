//! The read client against small servers.

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::post,
};
use prom_remote::{
    CompressionError, Limits, Matcher, Query, ReadDecodeError, Sample, TimeRange, WriteRequestBuilder,
};
use prom_remote_http::{ClientConfig, ReadClient, ReadError};

use crate::support::{compress, serve};

const PROTOBUF: &str = "application/x-protobuf";

fn query() -> Query {
    Query { range: TimeRange::new(1_000, 2_000).unwrap(), matchers: vec![Matcher::equal("__name__", "up")] }
}

/// A `ReadResponse` of one result, which has its series where a `WriteRequest` has them.
fn response(samples: &[Sample]) -> Vec<u8> {
    let mut builder = WriteRequestBuilder::new();
    builder.series([("__name__", "up")], samples.iter().copied());
    let result = builder.finish();
    assert!(result.len() < 128);
    [&[0x0a, result.len() as u8], &result[..]].concat()
}

async fn client(answer: impl IntoResponse + Clone + Send + Sync + 'static, limits: Limits) -> ReadClient {
    let address = serve(Router::new().route("/read", post(move || async move { answer }))).await;
    let mut config = ClientConfig::new(&format!("http://{address}/read")).unwrap();
    config.limits = limits;
    ReadClient::new(config).unwrap()
}

#[tokio::test]
async fn reads_samples_with_their_bits() {
    let samples = [Sample::new(1_000, -0.0), Sample::stale(1_500)];
    let client = client(([(CONTENT_TYPE, PROTOBUF)], compress(&response(&samples))), Limits::default()).await;
    let results = client.read_samples(&[query()]).await.unwrap();
    assert_eq!(results.len(), 1);
    assert_eq!(results[0][0].samples, samples);
    assert_eq!(results[0][0].label(b"__name__"), Some(&b"up"[..]));
    let two = client.read_samples(&[query(), query()]).await;
    assert_eq!(two, Err(ReadError::Decode(ReadDecodeError::ResultCount { expected: 2, actual: 1 })));
}

#[tokio::test]
async fn bodies_are_bounded_at_and_over() {
    let block = compress(&response(&[Sample::new(1_000, 1.0)]));
    let read = async |limits| {
        client(([(CONTENT_TYPE, PROTOBUF)], block.clone()), limits).await.read_samples(&[query()]).await
    };
    let mut limits = Limits::default();
    limits.max_compressed_bytes = block.len();
    assert!(read(limits).await.is_ok());
    limits.max_compressed_bytes = block.len() - 1;
    assert_eq!(read(limits).await, Err(ReadError::TooLarge { limit: block.len() - 1 }));
    let mut limits = Limits::default();
    limits.max_decoded_bytes = 3;
    assert!(matches!(
        read(limits).await,
        Err(ReadError::Compression(CompressionError::DecodedTooLarge { limit: 3, .. }))
    ));
}

#[tokio::test]
async fn other_answers_are_errors() {
    let ask = async |answer: (StatusCode, [(&'static str, &'static str); 1], Vec<u8>)| {
        client(answer, Limits::default()).await.read_samples(&[query()]).await.unwrap_err()
    };
    let html = ask((StatusCode::OK, [("content-type", "text/html")], b"<html>".to_vec())).await;
    assert_eq!(html, ReadError::ContentType { content_type: "text/html".to_owned() });
    let streamed = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    let streamed = ask((StatusCode::OK, [("content-type", streamed)], vec![])).await;
    assert!(matches!(streamed, ReadError::ContentType { .. }));
    let garbage = ask((StatusCode::OK, [("content-type", PROTOBUF)], b"no snappy here".to_vec())).await;
    assert!(matches!(garbage, ReadError::Compression(_)));
    let malformed = ask((StatusCode::OK, [("content-type", PROTOBUF)], compress(&[0x0a, 9]))).await;
    assert!(matches!(malformed, ReadError::Decode(ReadDecodeError::Malformed(_))));
    let limit = ask((StatusCode::BAD_REQUEST, [("x", "y")], b"exceeded sample limit (5)\n".to_vec())).await;
    assert_eq!(limit, ReadError::Rejected { status: 400, message: "exceeded sample limit (5)".to_owned() });
    let busy = ask((StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "3")], b"busy".to_vec())).await;
    assert!(busy.is_retryable(), "{busy}");
    assert_eq!(busy.to_string(), "remote read failed for now with status 503: busy");
}
