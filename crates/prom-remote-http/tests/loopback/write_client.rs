//! The write client against servers that answer in every way.

use std::{future::pending, time::Duration};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::any,
};
use prom_remote_http::{Authorization, ClientConfig, ClientConfigError, Secret, WriteClient, WriteError};

use crate::support::{compress, serve, small_request};

async fn send_to(router: Router) -> Result<u16, WriteError> {
    let address = serve(router).await;
    let mut config = ClientConfig::new(&format!("http://{address}/write")).unwrap();
    config.timeout = Duration::from_millis(500);
    let client = WriteClient::new(config).unwrap();
    client.send_v1(compress(&small_request()).into()).await.map(|written| written.status)
}

/// A server with one answer.
async fn send<Answer>(answer: Answer) -> Result<u16, WriteError>
where
    Answer: IntoResponse + Clone + Send + Sync + 'static,
{
    send_to(Router::new().fallback(any(move || async move { answer }))).await
}

#[tokio::test]
async fn success_is_any_2xx() {
    assert_eq!(send(StatusCode::NO_CONTENT).await, Ok(204));
    assert_eq!(send((StatusCode::OK, "a body to be ignored")).await, Ok(200));
    assert_eq!(send((StatusCode::ACCEPTED, vec![b'x'; 1 << 20])).await, Ok(202));
}

#[tokio::test]
async fn client_errors_are_final_and_quoted() {
    let error = send((StatusCode::BAD_REQUEST, "out of order sample\n")).await.unwrap_err();
    assert_eq!(error, WriteErrorLike::rejected(400, "out of order sample"));
    assert_eq!(error.to_string(), "remote write rejected with status 400: out of order sample");
    assert!(!error.is_retryable());
    for status in [401, 404, 408, 409, 413, 415] {
        assert_eq!(send(StatusCode::from_u16(status).unwrap()).await.unwrap_err().status(), Some(status));
    }
}

#[tokio::test]
async fn overload_is_retried_after_the_time_told() {
    let answer = (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "7")], "busy");
    assert_eq!(send(answer).await, Err(WriteErrorLike::retryable(503, Some(7), "busy")));
    let dated = [("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")];
    assert_eq!(
        send((StatusCode::TOO_MANY_REQUESTS, dated)).await,
        Err(WriteErrorLike::retryable(429, Some(10), ""))
    );
    assert_eq!(send(StatusCode::INTERNAL_SERVER_ERROR).await, Err(WriteErrorLike::retryable(500, None, "")));
}

#[tokio::test]
async fn a_long_answer_is_cut() {
    let error = send((StatusCode::BAD_REQUEST, vec![b'x'; 10 << 20])).await.unwrap_err();
    let WriteError::Rejected { message, .. } = error else { panic!("{error}") };
    assert_eq!(message.len(), 4 << 10);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let router = Router::new()
        .route("/write", any(|| async { (StatusCode::PERMANENT_REDIRECT, [("location", "/other")]) }))
        .route("/other", any(|| async { StatusCode::NO_CONTENT }));
    assert_eq!(send_to(router).await.unwrap_err().status(), Some(308));
}

#[tokio::test]
async fn a_server_that_hangs_is_retried() {
    let error = send_to(Router::new().fallback(any(pending::<Response>))).await.unwrap_err();
    assert!(error.is_retryable() && error.status().is_none(), "{error:?}");
}

#[tokio::test]
async fn a_closed_port_is_retried_and_the_address_not_shown() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let config = ClientConfig::new(&format!("http://{address}/write?token=hush")).unwrap();
    let error = WriteClient::new(config).unwrap().send_v1(vec![0].into()).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(!error.to_string().contains("hush"), "{error}");
}

#[tokio::test]
async fn headers_are_exact() {
    let echo = |headers: HeaderMap, uri: Uri, body: Bytes| async move {
        let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let sent = [
            "content-encoding",
            "content-type",
            "x-prometheus-remote-write-version",
            "user-agent",
            "authorization",
            "x-scope-orgid",
        ]
        .map(value);
        (StatusCode::BAD_REQUEST, format!("{sent:?} {uri} {}", body.len()))
    };
    let address = serve(Router::new().fallback(any(echo))).await;
    let mut config = ClientConfig::new(&format!("http://{address}/api/v1/write?a=b")).unwrap();
    config.headers.insert("x-scope-orgid", "tenant".parse().unwrap());
    config.authorization = Authorization::Bearer(Secret::new("token"));
    config.user_agent = "merger/1".to_owned();
    let error = WriteClient::new(config).unwrap().send_v1(vec![1, 2, 3].into()).await.unwrap_err();
    let expected = concat!(
        r#"[Some("snappy"), Some("application/x-protobuf"), Some("0.1.0"), Some("merger/1"), "#,
        r#"Some("Bearer token"), Some("tenant")] /api/v1/write?a=b 3"#
    );
    assert_eq!(error, WriteErrorLike::rejected(400, expected));
}

#[test]
fn reserved_headers_cannot_be_overridden() {
    for name in
        ["content-type", "content-encoding", "user-agent", "x-prometheus-remote-write-version", "host"]
    {
        let mut config = ClientConfig::new("http://127.0.0.1/write").unwrap();
        config.headers.insert(name, "x".parse().unwrap());
        let error = WriteClient::new(config).unwrap_err();
        assert!(matches!(error, ClientConfigError::ReservedHeader { .. }), "{name}: {error}");
    }
    assert!(matches!(ClientConfig::new("ftp://x/"), Err(ClientConfigError::InvalidUrl { .. })));
    assert!(matches!(ClientConfig::new("/write"), Err(ClientConfigError::InvalidUrl { .. })));
}

/// Builds the errors to compare with.
struct WriteErrorLike;

impl WriteErrorLike {
    fn rejected(status: u16, message: &str) -> WriteError {
        WriteError::Rejected { status, message: message.to_owned() }
    }

    fn retryable(status: u16, after_seconds: Option<u64>, message: &str) -> WriteError {
        let after = after_seconds.map(Duration::from_secs);
        WriteError::Retryable { after, status: Some(status), message: message.to_owned() }
    }
}
