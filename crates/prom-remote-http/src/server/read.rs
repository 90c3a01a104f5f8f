//! A remote-read server: hands queries to a source and answers in the form that the client asks for.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::Request,
    http::{
        Method, StatusCode,
        header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use prom_remote::{Compressor, Limits, Query, ReadRequest, ResponseType, decompress};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    answer::{line, unavailable},
    body::{BodyError, read_body},
    series_sink::SeriesSink,
};
use crate::protocol::{PROTOBUF, STREAMED_RESPONSE};

/// What answers queries; the user of this crate implements it.
pub trait ReadSource: Send + Sync + 'static {
    /// Gives all series that match the query, sorted by labels, to the sink.
    ///
    /// [`LabelMatchers`](prom_remote::LabelMatchers) tells whether a series matches. Dropped without being finished
    /// when the client goes away.
    fn read(
        &self,
        query: &Query,
        series: &mut SeriesSink,
    ) -> impl Future<Output = Result<(), ReadFailure>> + Send;
}

/// Why a query is not answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadFailure {
    /// It can never be answered: 400.
    #[error("{message}")]
    Invalid {
        /// What is wrong with it.
        message: String,
    },
    /// It cannot be answered now: 503 with `Retry-After`.
    #[error("{message}")]
    Unavailable {
        /// When to come back; told in whole seconds, rounded up.
        retry_after: Duration,
        /// Why.
        message: String,
    },
    /// It failed in a way that nobody foresaw: 500.
    #[error("{message}")]
    Failed {
        /// What happened.
        message: String,
    },
}

impl IntoResponse for ReadFailure {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid { message } => (StatusCode::BAD_REQUEST, line(message)).into_response(),
            Self::Unavailable { retry_after, message } => unavailable(retry_after, message),
            Self::Failed { message } => (StatusCode::INTERNAL_SERVER_ERROR, line(message)).into_response(),
        }
    }
}

/// How a [`ReadServer`] answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadServerConfig {
    /// Bounds on each question. Its bytes are bounded by the limits of compressed and decoded bytes.
    pub limits: Limits,
    /// The most samples of an answer of type SAMPLES; one more is answered 400, as in Prometheus. Default 5,000,000.
    pub max_samples: usize,
    /// The longest time for the whole question to arrive. Default 30 s.
    pub body_timeout: Duration,
    /// The most questions answered at a time. One more is answered 503. Default 10, as in Prometheus, which queues.
    pub max_in_flight: usize,
    /// What `Retry-After` says when the server itself is the bottleneck. Default 1 s.
    pub retry_after: Duration,
}

impl Default for ReadServerConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            max_samples: 5_000_000,
            body_timeout: Duration::from_secs(30),
            max_in_flight: 10,
            retry_after: Duration::from_secs(1),
        }
    }
}

/// Answers remote reads out of a [`ReadSource`], as samples or as streamed chunks.
#[derive(Debug)]
pub struct ReadServer<Source> {
    source: Arc<Source>,
    config: Arc<ReadServerConfig>,
    in_flight: Arc<Semaphore>,
}

impl<Source> Clone for ReadServer<Source> {
    fn clone(&self) -> Self {
        let Self { source, config, in_flight } = self;
        Self { source: Arc::clone(source), config: Arc::clone(config), in_flight: Arc::clone(in_flight) }
    }
}

impl<Source: ReadSource> ReadServer<Source> {
    /// Makes a server in front of a source.
    pub fn new(source: Arc<Source>, config: ReadServerConfig) -> Self {
        let in_flight = Arc::new(Semaphore::new(config.max_in_flight.min(Semaphore::MAX_PERMITS)));
        Self { source, config: Arc::new(config), in_flight }
    }

    /// Returns a router with this one path, for instance `/api/v1/read`.
    ///
    /// # Panics
    /// A path that axum does not take (it must begin with `/`); it is the program's, never a peer's.
    pub fn router(&self, path: &str) -> Router {
        let server = self.clone();
        let handler = move |request: Request| {
            let server = server.clone();
            async move { server.handle(request).await }
        };
        Router::new().route(path, any(handler))
    }

    /// Answers one question. A failure before the first series has a status of its own; one after it breaks the
    /// connection off, so that the client does not take a part for the whole.
    pub async fn handle(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        if parts.method != Method::POST {
            let text = line(format!("remote read is POST, not {}", parts.method));
            return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "POST")], text).into_response();
        }
        let Ok(permit) = Arc::clone(&self.in_flight).try_acquire_owned() else {
            return unavailable(self.config.retry_after, "too many questions in flight".to_owned());
        };
        let Self { config, .. } = self;
        let limit = config.limits.max_compressed_bytes;
        let question = match read_body(body, &parts.headers, limit, config.body_timeout).await {
            Ok(question) => question,
            Err(error) => return self.refuse_body(error),
        };
        match self.decode(&question) {
            Ok((request, ResponseType::StreamedXorChunks)) => self.stream(request, permit).await,
            Ok((request, _)) => self.samples(request).await,
            Err(message) => (StatusCode::BAD_REQUEST, line(message)).into_response(),
        }
    }

    fn decode(&self, question: &[u8]) -> Result<(ReadRequest, ResponseType), String> {
        let mut decoded = Vec::new();
        decompress(question, &self.config.limits, &mut decoded)
            .map_err(|error| format!("question cannot be decompressed: {error}"))?;
        let request =
            ReadRequest::decode(&decoded, &self.config.limits).map_err(|error| error.to_string())?;
        let supported = [ResponseType::StreamedXorChunks, ResponseType::Samples];
        let chosen = request.choose(&supported);
        let chosen =
            chosen.ok_or_else(|| format!("none of the forms {:?} is supported", request.accepted))?;
        Ok((request, chosen))
    }

    fn refuse_body(&self, error: BodyError) -> Response {
        match error {
            BodyError::TooLarge { limit } => {
                let text = line(format!("question is over the limit of {limit} bytes"));
                (StatusCode::PAYLOAD_TOO_LARGE, text).into_response()
            }
            BodyError::Slow { timeout } => {
                unavailable(self.config.retry_after, format!("question did not arrive within {timeout:?}"))
            }
            BodyError::Broken { reason } => {
                (StatusCode::BAD_REQUEST, line(format!("question broke off: {reason}"))).into_response()
            }
        }
    }

    async fn samples(&self, request: ReadRequest) -> Response {
        let mut sink = SeriesSink::samples(self.config.max_samples);
        for query in &request.queries {
            if let Err(failure) = self.source.read(query, &mut sink).await {
                return failure.into_response();
            }
            sink.end_query();
        }
        let mut block = Vec::new();
        match Compressor::new().compress(&sink.finish(), &mut block) {
            Ok(()) => ([(CONTENT_TYPE, PROTOBUF), (CONTENT_ENCODING, "snappy")], block).into_response(),
            Err(error) => ReadFailure::Failed { message: error.to_string() }.into_response(),
        }
    }

    async fn stream(&self, request: ReadRequest, permit: OwnedSemaphorePermit) -> Response {
        let source = Arc::clone(&self.source);
        // One: each series waits until the one before it is taken.
        let (frames, received) = mpsc::channel(1);
        let answer = async move {
            let mut sink = SeriesSink::streamed(frames);
            for query in &request.queries {
                source.read(query, &mut sink).await?;
                sink.end_query();
            }
            Ok(())
        };
        let mut answer = Answer { work: Some(Box::pin(answer)), received, first: None, _permit: permit };
        // The first frames decide about the status.
        match std::future::poll_fn(|context| answer.poll_frames(context)).await {
            Some(Err(failure)) => failure.into_response(),
            Some(Ok(frames)) => {
                answer.first = Some(frames);
                ([(CONTENT_TYPE, STREAMED_RESPONSE)], Body::new(answer)).into_response()
            }
            None => ([(CONTENT_TYPE, STREAMED_RESPONSE)], Body::empty()).into_response(),
        }
    }
}

type Work = Pin<Box<dyn Future<Output = Result<(), ReadFailure>> + Send>>;

/// A streamed answer: the source's work and what has come of it. The connection owns it and drives it.
struct Answer {
    /// `None` when it is done.
    work: Option<Work>,
    received: mpsc::Receiver<Bytes>,
    first: Option<Bytes>,
    _permit: OwnedSemaphorePermit,
}

impl Answer {
    fn poll_frames(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, ReadFailure>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if let Some(work) = &mut self.work
            && let Poll::Ready(result) = work.as_mut().poll(context)
        {
            self.work = None;
            if let Err(failure) = result {
                return Poll::Ready(Some(Err(failure)));
            }
        }
        // Without work the sender is gone, and the channel ends after what is left in it.
        self.received.poll_recv(context).map(|frames| frames.map(Ok))
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = ReadFailure;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, ReadFailure>>> {
        self.get_mut()
            .poll_frames(context)
            .map(|frames| frames.map(|frames| frames.map(http_body::Frame::data)))
    }
}
