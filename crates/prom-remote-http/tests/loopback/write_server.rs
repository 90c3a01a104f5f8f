//! The write server against good, bad, large and slow senders.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use prom_remote_http::{
    ClientConfig, WriteBody, WriteClient, WriteError, WriteOutcome, WriteServer, WriteServerConfig, WriteSink,
};
use reqwest::{Client, Method, header::HeaderMap};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::support::{Recorder, compress, serve, small_request};

const PATH: &str = "/{source}/api/v1/write";

async fn recording_server(outcome: WriteOutcome, config: WriteServerConfig) -> (SocketAddr, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::answering(outcome));
    let server = WriteServer::new(Arc::clone(&recorder), config);
    (serve(server.router(PATH)).await, recorder)
}

struct Answer {
    status: u16,
    text: String,
    headers: HeaderMap,
}

async fn request(address: SocketAddr, method: Method, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let client = Client::builder().no_proxy().build().unwrap();
    let request = client.request(method, format!("http://{address}/kafka/api/v1/write")).body(body);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

#[tokio::test]
async fn a_good_request_reaches_the_sink_as_it_was_sent() {
    let (address, recorder) = recording_server(WriteOutcome::Stored, WriteServerConfig::default()).await;
    let config = ClientConfig::new(&format!("http://{address}/kafka%20one/api/v1/write")).unwrap();
    let written = WriteClient::new(config).unwrap().send_v1(compress(&small_request()).into()).await.unwrap();
    assert_eq!(written.status, 204);
    let received = recorder.received.lock().unwrap();
    let [(source, body)] = &received[..] else { panic!("one request") };
    assert_eq!(source, "kafka one");
    assert_eq!(body.compressed, compress(&small_request()));
    assert_eq!(body.decoded, small_request());
    assert_eq!((body.summary.series, body.summary.samples), (1, 1));
}

#[tokio::test]
async fn header_matrix() {
    let (address, recorder) = recording_server(WriteOutcome::Stored, WriteServerConfig::default()).await;
    let mut stored = 0;
    let cases = [
        (Some("application/x-protobuf"), Some("snappy"), 204),
        (None, None, 204),
        (Some("application/x-protobuf"), None, 204),
        (Some("application/x-protobuf"), Some("Snappy"), 204),
        (Some("application/x-protobuf;proto=prometheus.WriteRequest"), Some("snappy"), 204),
        (
            Some("Application/X-Protobuf; charset=utf-8 ; Proto = \"prometheus.WriteRequest\""),
            Some("snappy"),
            204,
        ),
        (Some("application/x-protobuf;proto=io.prometheus.write.v2.Request"), Some("snappy"), 415),
        (Some("application/x-protobuf; proto=io.prometheus.write.v2.Request"), Some("snappy"), 415),
        (Some("application/x-protobuf;proto=\"io.prometheus.write.v2.Request\""), Some("snappy"), 415),
        (Some("application/json"), Some("snappy"), 415),
        (Some("text/plain"), Some("snappy"), 415),
        (Some("application/x-protobuf"), Some("gzip"), 415),
        (Some("application/x-protobuf"), Some("identity"), 415),
        (Some("application/x-protobuf"), Some("zstd"), 415),
        (Some("application/x-protobuf"), Some("snappy, gzip"), 415),
    ];
    for (content_type, content_encoding, expected) in cases {
        let headers = [("content-type", content_type), ("content-encoding", content_encoding)];
        let headers: Vec<_> = headers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let answer = request(address, Method::POST, &headers, compress(&small_request())).await;
        assert_eq!(answer.status, expected, "{content_type:?} {content_encoding:?}: {}", answer.text);
        assert_eq!(answer.text.is_empty(), expected == 204);
        assert!(
            !answer.headers.keys().any(|name| name.as_str().ends_with("-written")),
            "1.0 has no such headers"
        );
        stored += usize::from(expected == 204);
    }
    assert_eq!(recorder.received.lock().unwrap().len(), stored);
}

#[tokio::test]
async fn checks_come_in_order() {
    let (address, _) = recording_server(WriteOutcome::Stored, WriteServerConfig::default()).await;
    let wrong = [("content-type", "text/plain"), ("content-encoding", "gzip")];
    let get = request(address, Method::GET, &wrong, vec![]).await;
    assert_eq!((get.status, get.headers["allow"].to_str().unwrap()), (405, "POST"));
    let wrong_type = request(address, Method::POST, &wrong, vec![]).await;
    assert!(wrong_type.status == 415 && wrong_type.text.contains("content type"), "{}", wrong_type.text);
    let wrong_encoding = request(address, Method::POST, &wrong[1..], vec![]).await;
    assert!(wrong_encoding.status == 415 && wrong_encoding.text.contains("content encoding"));
}

#[tokio::test]
async fn bodies_that_are_no_requests() {
    let (address, recorder) = recording_server(WriteOutcome::Stored, WriteServerConfig::default()).await;
    for (body, words) in [
        (vec![], "not a snappy block: empty"),
        (small_request(), "cannot be decompressed"),
        (vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0], "over the limit of 33554432"),
        (vec![0x80, 0x80, 0x80, 0x08, 0], "cannot hold"),
        (compress(&[0x0a, 9]), "message ends inside a field at byte 2"),
        (compress(b"hello"), "not a prometheus.WriteRequest"),
    ] {
        let answer = request(address, Method::POST, &[], body).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text.contains(words), "{words:?} is not in {:?}", answer.text);
    }
    assert!(recorder.received.lock().unwrap().is_empty());
    // An empty message is a request of nothing.
    assert_eq!(request(address, Method::POST, &[], compress(&[])).await.status, 204);
}

#[tokio::test]
async fn the_body_limit_holds_at_and_over() {
    let block = compress(&small_request());
    let mut config = WriteServerConfig::default();
    config.limits.max_compressed_bytes = block.len();
    let (address, _) = recording_server(WriteOutcome::Stored, config).await;
    assert_eq!(request(address, Method::POST, &[], block.clone()).await.status, 204);
    let over = [&block[..], &[0]].concat();
    let answer = request(address, Method::POST, &[], over.clone()).await;
    assert_eq!(
        (answer.status, answer.text),
        (413, format!("body is over the limit of {} bytes\n", block.len()))
    );
    // The same without a declared length.
    let chunked = format!(
        "POST /k/api/v1/write HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n",
        over.len()
    );
    let answer = raw_exchange(address, &[chunked.as_bytes(), &over, b"\r\n0\r\n\r\n"].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_large_body_is_answered_and_not_read_for_ever() {
    let mut config = WriteServerConfig::default();
    config.limits.max_compressed_bytes = 1 << 20;
    let (address, _) = recording_server(WriteOutcome::Stored, config).await;
    // Over the limit, within what is read and forgotten: the sender learns why.
    assert_eq!(request(address, Method::POST, &[], vec![0; 3 << 19]).await.status, 413);
    // Far over it: the answer comes although the body never does.
    let head = b"POST /k/api/v1/write HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head).await.unwrap();
    stream.write_all(&vec![0; (1 << 20) + 70_000]).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_slow_body_is_cut_off_and_may_come_again() {
    let mut config = WriteServerConfig::default();
    config.body_timeout = Duration::from_millis(100);
    let (address, recorder) = recording_server(WriteOutcome::Stored, config).await;
    let answer =
        raw_exchange(address, b"POST /k/api/v1/write HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx")
            .await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n") && answer.contains("within 100ms"), "{answer}");
    assert!(recorder.received.lock().unwrap().is_empty());
}

/// Sends bytes and reads all that comes back until the server closes or falls silent.
async fn raw_exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(2), stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn outcomes_are_told_to_the_sender() {
    let tell = async |outcome| {
        let (address, _) = recording_server(outcome, WriteServerConfig::default()).await;
        let config = ClientConfig::new(&format!("http://{address}/k/api/v1/write")).unwrap();
        WriteClient::new(config).unwrap().send_v1(compress(&small_request()).into()).await
    };
    let message = "1 of 3 series has no metric name".to_owned();
    assert_eq!(
        tell(WriteOutcome::Invalid { message: message.clone() }).await,
        Err(WriteError::Rejected { status: 400, message })
    );
    let overload =
        WriteOutcome::Unavailable { retry_after: Duration::from_millis(1_500), message: "full".to_owned() };
    assert_eq!(
        tell(overload).await,
        Err(WriteError::Retryable {
            status: Some(503),
            after: Some(Duration::from_secs(2)),
            message: "full".to_owned()
        })
    );
    let unknown = tell(WriteOutcome::UnknownSource { message: "no source k".to_owned() }).await;
    assert_eq!(unknown.unwrap_err().status(), Some(404));
    let failed = tell(WriteOutcome::Failed { message: "disk".to_owned() }).await;
    assert!(failed.unwrap_err().is_retryable());
}

/// Holds each request until told.
struct Gate {
    entered: Notify,
    open: Notify,
}

impl WriteSink for Gate {
    async fn write(&self, _source: &str, _body: WriteBody) -> WriteOutcome {
        self.entered.notify_one();
        self.open.notified().await;
        WriteOutcome::Stored
    }
}

#[tokio::test]
async fn one_request_too_many_is_told_to_come_again() {
    let gate = Arc::new(Gate { entered: Notify::new(), open: Notify::new() });
    let mut config = WriteServerConfig::default();
    config.max_in_flight = 1;
    let address = serve(WriteServer::new(Arc::clone(&gate), config).router(PATH)).await;
    let first =
        tokio::spawn(async move { request(address, Method::POST, &[], compress(&small_request())).await });
    gate.entered.notified().await;
    let second = request(address, Method::POST, &[], compress(&small_request())).await;
    assert_eq!((second.status, &second.headers["retry-after"]), (503, &"1".parse().unwrap()));
    gate.open.notify_one();
    assert_eq!(first.await.unwrap().status, 204);
    gate.open.notify_one();
    assert_eq!(request(address, Method::POST, &[], compress(&small_request())).await.status, 204);
}
