//! A remote-write receiver: hands requests to a sink and tells the sender what became of them.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{RawPathParams, Request},
    http::{HeaderValue, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use prom_remote::{Limits, Summary, ValidationReport};
use tokio::sync::Semaphore;

use super::{
    answer::{line, unavailable},
    receive::{WriteRejection, check_head, read_body_of},
};
use crate::protocol::WrittenCounts;

/// What takes the requests in; the user of this crate implements it.
pub trait WriteSink: Send + Sync + 'static {
    /// Takes in one request and says what became of it. `source` is the path parameter of this name, percent-decoded,
    /// or empty if the path has none.
    ///
    /// Dropped without being finished when the sender goes away.
    fn write(&self, source: &str, body: WriteBody) -> impl Future<Output = WriteOutcome> + Send;
}

/// A version of remote write, which the content type tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteVersion {
    /// Remote write 1.0, `prometheus.WriteRequest`.
    V1,
    /// Remote write 2.0, `io.prometheus.write.v2.Request`.
    V2,
}

impl WriteVersion {
    /// Returns the name of the version's message.
    pub fn message(self) -> &'static str {
        match self {
            Self::V1 => "prometheus.WriteRequest",
            Self::V2 => "io.prometheus.write.v2.Request",
        }
    }

    pub(super) fn of(message: &str) -> Option<Self> {
        [Self::V1, Self::V2].into_iter().find(|version| version.message() == message)
    }
}

/// A received request, well formed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WriteBody {
    /// Which message it is; 2.0 only if [`WriteServerConfig::accept_v2`] is set.
    pub version: WriteVersion,
    /// The body as received: a snappy block.
    pub compressed: Bytes,
    /// The message that was in it.
    pub decoded: Bytes,
    /// What is in the message, counted; the message is well formed and within the limits.
    pub summary: Summary,
    /// The verdict on each of its series under the limits of the server.
    pub report: ValidationReport,
}

/// What became of a request, and so what its sender is told. A sender of 2.0 is always told how much was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteOutcome {
    /// All of it is stored: 204. The sender forgets it.
    Stored,
    /// Some or all of it is invalid and will never be stored: 400. The sender logs the message and forgets it.
    /// A sender of 2.0 is told that nothing was written.
    Invalid {
        /// How many, and why.
        message: String,
    },
    /// A part is stored, the rest is invalid and will never be: 400. The sender logs the message and forgets all.
    Partial {
        /// What is stored, exactly.
        written: WrittenCounts,
        /// How many are not, and why.
        message: String,
    },
    /// This version or compression cannot be taken: 415, after which a sender of 2.0 falls back.
    Unsupported {
        /// What can.
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

impl WriteOutcome {
    fn written(&self, summary: &Summary) -> WrittenCounts {
        match self {
            Self::Stored => WrittenCounts::of_summary(summary),
            Self::Partial { written, .. } => *written,
            _ => WrittenCounts::default(),
        }
    }
}

impl IntoResponse for WriteOutcome {
    fn into_response(self) -> Response {
        match self {
            Self::Stored => StatusCode::NO_CONTENT.into_response(),
            Self::Invalid { message } | Self::Partial { message, .. } => {
                (StatusCode::BAD_REQUEST, line(message)).into_response()
            }
            Self::Unsupported { message } => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, line(message)).into_response()
            }
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
    /// Whether the sink takes remote write 2.0 too; otherwise it is answered 415 and the sender falls back. Default no.
    pub accept_v2: bool,
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
            accept_v2: false,
            body_timeout: Duration::from_secs(30),
            max_in_flight: 64,
            retry_after: Duration::from_secs(1),
        }
    }
}

/// Receives remote-write requests for a [`WriteSink`].
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
        let (parts, body) = request.into_parts();
        let version = match check_head(&parts, &self.shared.config) {
            Ok(version) => version,
            Err(rejection) => return rejection.into_response(),
        };
        let (mut response, written) = self.receive(version, source, &parts.headers, body).await;
        // From here on both sides speak the same version: a sender of 2.0 is told counts whatever happens, one of 1.0
        // never (it would take them for a partial write).
        let is_agreed =
            version == WriteVersion::V2 && response.status() != StatusCode::UNSUPPORTED_MEDIA_TYPE;
        if is_agreed {
            for (name, count) in written.headers() {
                response.headers_mut().insert(name, HeaderValue::from(count));
            }
        }
        response
    }

    async fn receive(
        &self,
        version: WriteVersion,
        source: &str,
        headers: &axum::http::HeaderMap,
        body: axum::body::Body,
    ) -> (Response, WrittenCounts) {
        let Shared { sink, config, in_flight } = &*self.shared;
        let nothing = WrittenCounts::default();
        let Ok(_permit) = in_flight.try_acquire() else {
            return (unavailable(config.retry_after, "too many requests in flight".to_owned()), nothing);
        };
        match read_body_of(version, headers, body, config).await {
            Ok(body) => {
                let summary = body.summary;
                let outcome = sink.write(source, body).await;
                let written = outcome.written(&summary);
                (outcome.into_response(), written)
            }
            Err(rejection @ WriteRejection::SlowBody { .. }) => {
                (unavailable(config.retry_after, rejection.to_string()), nothing)
            }
            Err(rejection) => (rejection.into_response(), nothing),
        }
    }
}
