//! A remote-write 1.0 receiver: checks, bounded reading, answers.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{RawPathParams, Request},
    http::{
        HeaderMap, HeaderName, Method, StatusCode,
        header::{ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::{Bytes, BytesMut};
use prom_remote::{CompressionError, DecodeError, Limits, Summary, WriteRequestView, decompress};
use thiserror::Error;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

/// What takes the requests in; the user of this crate implements it.
pub trait WriteSink: Send + Sync + 'static {
    /// Takes in one request and says what became of it. `source` is the path parameter of this name, percent-decoded,
    /// or empty if the path has none.
    ///
    /// Dropped without being finished when the sender goes away.
    fn write(&self, source: &str, body: WriteBody) -> impl Future<Output = WriteOutcome> + Send;
}

/// A received request, well formed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WriteBody {
    /// The body as received: a snappy block.
    pub compressed: Bytes,
    /// The `WriteRequest` message that was in it.
    pub decoded: Bytes,
    /// What is in the message, counted; the message is well formed and within the limits.
    pub summary: Summary,
}

/// What became of a request, and so what its sender is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteOutcome {
    /// All of it is stored: 204. The sender forgets it.
    Stored,
    /// Some or all of it is invalid and will never be stored: 400. The sender logs the message and forgets it.
    Invalid {
        /// How many, and why.
        message: String,
    },
    /// There is no such source: 404.
    UnknownSource {
        /// What is known instead.
        message: String,
    },
    /// It cannot be taken in now: 503 with `Retry-After`. Never 429, which makes Prometheus drop the data by
    /// default.
    Unavailable {
        /// When to come back; told in whole seconds, rounded up.
        retry_after: Duration,
        /// Why.
        message: String,
    },
    /// It failed in a way that nobody foresaw: 500. The sender tries again.
    Failed {
        /// What happened.
        message: String,
    },
}

impl IntoResponse for WriteOutcome {
    fn into_response(self) -> Response {
        match self {
            Self::Stored => StatusCode::NO_CONTENT.into_response(),
            Self::Invalid { message } => (StatusCode::BAD_REQUEST, line(message)).into_response(),
            Self::UnknownSource { message } => (StatusCode::NOT_FOUND, line(message)).into_response(),
            Self::Unavailable { retry_after, message } => unavailable(retry_after, message),
            Self::Failed { message } => (StatusCode::INTERNAL_SERVER_ERROR, line(message)).into_response(),
        }
    }
}

/// How a [`WriteServer`] receives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteServerConfig {
    /// Bounds on each request.
    pub limits: Limits,
    /// The longest time for the whole body to arrive. Default 30 s.
    pub body_timeout: Duration,
    /// The most requests worked on at a time; with the limits it bounds the memory. One more is answered 503.
    /// Default 64.
    pub max_in_flight: usize,
    /// What `Retry-After` says when the server itself is the bottleneck. Default 1 s.
    pub retry_after: Duration,
}

impl Default for WriteServerConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            body_timeout: Duration::from_secs(30),
            max_in_flight: 64,
            retry_after: Duration::from_secs(1),
        }
    }
}

/// Receives remote-write 1.0 requests for a [`WriteSink`].
///
/// Each server counts its own requests in flight: with one server for each source, a slow sender of one source
/// cannot hold up another.
#[derive(Debug)]
pub struct WriteServer<Sink> {
    shared: Arc<Shared<Sink>>,
}

#[derive(Debug)]
struct Shared<Sink> {
    sink: Arc<Sink>,
    config: WriteServerConfig,
    in_flight: Semaphore,
}

impl<Sink> Clone for WriteServer<Sink> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<Sink: WriteSink> WriteServer<Sink> {
    /// Makes a server in front of a sink.
    pub fn new(sink: Arc<Sink>, config: WriteServerConfig) -> Self {
        let in_flight = Semaphore::new(config.max_in_flight.min(Semaphore::MAX_PERMITS));
        Self { shared: Arc::new(Shared { sink, config, in_flight }) }
    }

    /// Returns a router with this one path, for instance `/{source}/api/v1/write`.
    ///
    /// # Panics
    /// A path that axum does not take (it must begin with `/`); it is the program's, never a peer's.
    pub fn router(&self, path: &str) -> Router {
        let server = self.clone();
        let handler = move |parameters: RawPathParams, request: Request| {
            let server = server.clone();
            async move {
                let source =
                    parameters.iter().find(|(name, _)| *name == "source").map_or("", |(_, value)| value);
                server.handle(source, request).await
            }
        };
        Router::new().route(path, any(handler))
    }

    /// Receives one request: checks it, hands it to the sink, answers.
    pub async fn handle(&self, source: &str, request: Request) -> Response {
        let Shared { sink, config, in_flight } = &*self.shared;
        let Ok(_permit) = in_flight.try_acquire() else {
            return unavailable(config.retry_after, "too many requests in flight".to_owned());
        };
        match read_write_body(request, config).await {
            Ok(body) => sink.write(source, body).await.into_response(),
            Err(WriteRejection::SlowBody { timeout }) => {
                unavailable(config.retry_after, WriteRejection::SlowBody { timeout }.to_string())
            }
            Err(rejection) => rejection.into_response(),
        }
    }
}

/// Why a request was refused before any sink saw it. As a response: the status named here, and the message as text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteRejection {
    /// Not a POST: 405.
    #[error("remote write is POST, not {method}")]
    Method {
        /// The method.
        method: Method,
    },
    /// Another message than remote write 1.0: 415, so that a sender of 2.0 falls back and loses nothing.
    #[error(
        "content type {content_type:?} is not supported: send application/x-protobuf (prometheus.WriteRequest)"
    )]
    ContentType {
        /// The type found.
        content_type: String,
    },
    /// Another compression than snappy: 415.
    #[error("content encoding {content_encoding:?} is not supported: send snappy")]
    ContentEncoding {
        /// The encoding found.
        content_encoding: String,
    },
    /// A body over [`Limits::max_compressed_bytes`]: 413.
    #[error("body is over the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body did not arrive in time: 503, as a 4xx would make the sender drop it.
    #[error("body did not arrive within {timeout:?}")]
    SlowBody {
        /// The time it had.
        timeout: Duration,
    },
    /// The body broke off: 400, which the sender will hardly see.
    #[error("body broke off: {reason}")]
    BrokenBody {
        /// What the connection said.
        reason: String,
    },
    /// Not a snappy block, or over [`Limits::max_decoded_bytes`]: 400.
    #[error("body cannot be decompressed: {0}")]
    Compression(CompressionError),
    /// Not a `WriteRequest`, or over a limit of its content: 400.
    #[error("body is not a prometheus.WriteRequest: {0}")]
    Malformed(DecodeError),
}

impl WriteRejection {
    /// Returns the HTTP status that the sender gets.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType { .. } | Self::ContentEncoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::BrokenBody { .. } | Self::Compression(_) | Self::Malformed(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl IntoResponse for WriteRejection {
    fn into_response(self) -> Response {
        let text = line(self.to_string());
        match self {
            Self::Method { .. } => (self.status(), [(ALLOW, "POST")], text).into_response(),
            _ => (self.status(), text).into_response(),
        }
    }
}

/// Checks and reads one remote-write 1.0 request, in this order: method, content type, content encoding, size of the
/// body, snappy header, message.
///
/// The content type is read leniently (case, spaces, quotes, other parameters); a missing one means 1.0 and a missing
/// encoding means snappy, as in Prometheus.
///
/// # Errors
/// See [`WriteRejection`].
pub async fn read_write_body(
    request: Request,
    config: &WriteServerConfig,
) -> Result<WriteBody, WriteRejection> {
    let (parts, body) = request.into_parts();
    if parts.method != Method::POST {
        return Err(WriteRejection::Method { method: parts.method });
    }
    check_content_type(&parts.headers)?;
    check_content_encoding(&parts.headers)?;
    let compressed = read_body(body, &parts.headers, config).await?;
    let mut decoded = Vec::new();
    decompress(&compressed, &config.limits, &mut decoded).map_err(WriteRejection::Compression)?;
    let summary =
        WriteRequestView::new(&decoded).summary(&config.limits).map_err(WriteRejection::Malformed)?;
    Ok(WriteBody { compressed, decoded: decoded.into(), summary })
}

fn check_content_type(headers: &HeaderMap) -> Result<(), WriteRejection> {
    let Some(content_type) = header_text(headers, &CONTENT_TYPE) else { return Ok(()) };
    let mut parts = content_type.split(';').map(str::trim);
    let is_protobuf = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/x-protobuf"));
    let is_version_1 = parts.filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
        let is_proto = name.trim().eq_ignore_ascii_case("proto");
        !is_proto || value.trim().trim_matches('"') == "prometheus.WriteRequest"
    });
    if is_protobuf && is_version_1 { Ok(()) } else { Err(WriteRejection::ContentType { content_type }) }
}

fn check_content_encoding(headers: &HeaderMap) -> Result<(), WriteRejection> {
    match header_text(headers, &CONTENT_ENCODING) {
        Some(content_encoding) if !content_encoding.eq_ignore_ascii_case("snappy") => {
            Err(WriteRejection::ContentEncoding { content_encoding })
        }
        _ => Ok(()),
    }
}

/// All values of a header as one text, as several lines mean a list; `None` for an empty one.
fn header_text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<_> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    Some(values.join(", ").trim().to_owned()).filter(|text| !text.is_empty())
}

async fn read_body(
    body: Body,
    headers: &HeaderMap,
    config: &WriteServerConfig,
) -> Result<Bytes, WriteRejection> {
    let limit = config.limits.max_compressed_bytes;
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let mut reader =
        BodyReader { body, deadline: Instant::now() + config.body_timeout, timeout: config.body_timeout };
    if declared.is_some_and(|length| length > limit as u64) {
        reader.discard(limit).await;
        return Err(WriteRejection::TooLarge { limit });
    }
    let mut received = BytesMut::new();
    while let Some(data) = reader.next().await? {
        if data.len() > limit - received.len() {
            drop(received);
            reader.discard(limit).await;
            return Err(WriteRejection::TooLarge { limit });
        }
        if received.is_empty() {
            // Grown by what has arrived, never by what is declared.
            received = BytesMut::from(data);
        } else {
            received.extend_from_slice(&data);
        }
    }
    Ok(received.freeze())
}

struct BodyReader {
    body: Body,
    deadline: Instant,
    timeout: Duration,
}

impl BodyReader {
    /// The next piece of the body, or `None` at its end.
    async fn next(&mut self) -> Result<Option<Bytes>, WriteRejection> {
        loop {
            let frame = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context));
            let frame = timeout_at(self.deadline, frame).await;
            match frame.map_err(|_| WriteRejection::SlowBody { timeout: self.timeout })? {
                None => return Ok(None),
                Some(Err(error)) => return Err(WriteRejection::BrokenBody { reason: error.to_string() }),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    // Trailers say nothing to us.
                    Err(_) => continue,
                },
            }
        }
    }

    /// Reads on for a while and forgets it: many clients read no answer before they have sent their body.
    async fn discard(&mut self, budget: usize) {
        let mut discarded = 0_usize;
        while let Ok(Some(data)) = self.next().await {
            discarded = discarded.saturating_add(data.len());
            if discarded > budget {
                break;
            }
        }
    }
}

fn unavailable(retry_after: Duration, message: String) -> Response {
    let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, seconds.to_string())], line(message)).into_response()
}

fn line(message: String) -> String {
    message + "\n"
}
