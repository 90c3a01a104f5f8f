//! What the specifications of remote write demand of a sender: what stands on the wire, and what it does with answers.
//!
//! The fallback from 2.0 to 1.0 is in `negotiation`, single answers in `write_client`.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    routing::any,
};
use prom_remote::{
    Limits, Sample, WriteRequestBuilder, WriteRequestV2Builder, WriteRequestV2View, WriteRequestView,
    decompress, validate, validate_v2,
};
use prom_remote_http::{
    Authorization, Backoff, ClientConfig, MessageBatch, NegotiationConfig, Secret, WriteClient, WriteError,
    WriteForm, WriteNegotiator, WriteRequest,
};
use tokio::sync::mpsc;

use crate::support::serve;

const LABELS: [&[(&str, &str)]; 2] = [
    &[("zone", "a"), ("__name__", "up"), ("job", "kafka")],
    &[("job", "kafka"), ("__name__", "lag"), ("empty", "x")],
];

fn batch() -> MessageBatch {
    let (mut v1, mut v2) = (WriteRequestBuilder::new(), WriteRequestV2Builder::new());
    for labels in LABELS {
        v1.series(labels.iter().copied(), [Sample::new(1_000, 1.0), Sample::stale(2_000)]);
        v2.series(labels.iter().copied(), [Sample::new(1_000, 1.0), Sample::stale(2_000)]);
    }
    MessageBatch::both(v1.finish(), v2.finish())
}

/// Sends the batch in one form to a receiver that only looks, and returns what was on the wire.
async fn on_the_wire(form: WriteForm, attempt: u32) -> (HeaderMap, Vec<u8>) {
    let (noted, mut wire) = mpsc::channel(1);
    let handler = move |headers: HeaderMap, body: Bytes| async move {
        noted.send((headers, body)).await.unwrap();
        (StatusCode::NO_CONTENT, [("x-prometheus-remote-write-samples-written", "4")])
    };
    let address = serve(Router::new().fallback(any(handler))).await;
    let mut config = ClientConfig::new(&format!("http://{address}/write")).unwrap();
    config.authorization = Authorization::Basic { user: "u".to_owned(), password: Secret::new("p") };
    let mut negotiation = NegotiationConfig::default();
    negotiation.forms = vec![form];
    let negotiator = WriteNegotiator::new(WriteClient::new(config).unwrap(), negotiation);
    let _ = negotiator.send(&batch(), attempt).await.unwrap();
    let (headers, body) = wire.recv().await.unwrap();
    (headers, body.to_vec())
}

#[tokio::test]
async fn headers_are_those_of_the_version() {
    for (form, expected) in [
        (WriteForm::V1, ["snappy", "application/x-protobuf", "0.1.0"]),
        (WriteForm::V2, ["snappy", "application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"]),
    ] {
        let (headers, _) = on_the_wire(form, 0).await;
        let names = ["content-encoding", "content-type", "x-prometheus-remote-write-version"];
        assert_eq!(names.map(|name| headers[name].to_str().unwrap()), expected);
        assert!(headers["user-agent"].to_str().unwrap().starts_with("prom-remote-http/"));
        assert_eq!(headers["authorization"], "Basic dTpw");
        assert!(names.iter().all(|name| headers.get_all(*name).iter().count() == 1));
        assert!(!headers.contains_key("retry-attempt"));
    }
    assert_eq!(on_the_wire(WriteForm::V2, 3).await.0["retry-attempt"], "3");
}

#[tokio::test]
async fn the_message_of_1_0_is_sorted_and_whole() {
    let limits = Limits::default();
    let (_, body) = on_the_wire(WriteForm::V1, 0).await;
    let mut message = Vec::new();
    decompress(&body, &limits, &mut message).unwrap();
    assert_eq!(validate(&message, &limits).unwrap().verdicts, []);
    for series in WriteRequestView::new(&message).series().map(Result::unwrap) {
        assert!(series.labels().is_sorted_by(|a, b| a.name < b.name));
        assert!(series.samples().last().unwrap().is_stale());
    }
}

#[tokio::test]
async fn symbols_of_2_0_are_unique_and_begin_with_the_empty_one() {
    let limits = Limits::default();
    let (_, body) = on_the_wire(WriteForm::V2, 0).await;
    let mut message = Vec::new();
    decompress(&body, &limits, &mut message).unwrap();
    assert_eq!(validate_v2(&message, &limits).unwrap().verdicts, []);
    let request = WriteRequestV2View::new(&message, &limits).unwrap();
    let symbols: Vec<_> = request
        .entries()
        .filter_map(|entry| match entry.unwrap() {
            prom_remote::EntryV2::Symbol(symbol) => Some(symbol.to_vec()),
            _ => None,
        })
        .collect();
    assert_eq!(symbols[0], b"");
    assert_eq!(symbols.iter().collect::<BTreeSet<_>>().len(), symbols.len());
    for series in request.series().map(Result::unwrap) {
        let names: Vec<_> = series.labels(request.symbols()).map(|label| label.name.to_vec()).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }
}

/// The matrix of both specifications: what is sent again and what never.
#[tokio::test]
async fn statuses_say_whether_to_send_again() {
    let status = Arc::new(AtomicU16::new(0));
    let told = Arc::clone(&status);
    let answer = move || async move { StatusCode::from_u16(told.load(Ordering::SeqCst)).unwrap() };
    let address = serve(Router::new().fallback(any(answer))).await;
    let client = WriteClient::new(ClientConfig::new(&format!("http://{address}/")).unwrap()).unwrap();
    for form in [WriteForm::V1, WriteForm::V2] {
        for number in 200..=599 {
            status.store(number, Ordering::SeqCst);
            let result = client.send(WriteRequest::new(form, Bytes::new())).await;
            match number {
                200..=299 => assert_eq!(result.unwrap().status, number),
                429 | 500..=599 => assert!(result.unwrap_err().is_retryable(), "{number}"),
                _ => assert!(matches!(result, Err(WriteError::Rejected { .. })), "{number}: {result:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_request_is_sent_again_with_growing_waits_until_it_is_taken() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let answer = move |headers: HeaderMap| async move {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        let attempt = headers.get("retry-attempt").map_or("0", |value| value.to_str().unwrap());
        assert_eq!(attempt, number.to_string());
        if number < 3 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT }
    };
    let address = serve(Router::new().fallback(any(answer))).await;
    let client = WriteClient::new(ClientConfig::new(&format!("http://{address}/")).unwrap()).unwrap();
    let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(3));
    let mut waits = Vec::new();
    let written = loop {
        let mut request = WriteRequest::new(WriteForm::V1, Bytes::new());
        request.attempt = backoff.attempt();
        match client.send(request).await {
            Ok(written) => break written,
            Err(WriteError::Retryable { after, .. }) => {
                let wait = backoff.next(after);
                waits.push(wait.as_millis());
                tokio::time::sleep(wait).await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!((written.status, waits), (204, vec![1, 2, 3]));
}
