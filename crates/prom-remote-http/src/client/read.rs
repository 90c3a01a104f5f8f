//! Asks by remote read.

use std::time::Duration;

use prom_remote::{
    CompressionError, Query, ReadDecodeError, ReadRequest, ReadSeries, ReadStreamError, TimeRange,
    decode_samples, decompress,
};
use reqwest::{
    Response,
    header::{CONTENT_TYPE, HeaderMap},
};
use thiserror::Error;

use super::{
    ClientConfig, ClientConfigError, Sender, describe, quote_body,
    retry::{Class, retry_after},
    stream::SeriesStream,
};
use crate::protocol::{PROTOBUF, READ_VERSION, STREAMED_PROTOBUF};

/// Asks one server by remote read; follows no redirect, uses no proxy, never retries.
///
/// Cheap to clone; connections are shared and kept.
#[derive(Debug, Clone)]
pub struct ReadClient {
    sender: Sender,
}

/// A question was not answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It may go better later: the network, a timeout, 5xx or 429. Prometheus also answers 500 to a bad regular
    /// expression.
    #[error("remote read failed for now{}: {message}", status.map(|status| format!(" with status {status}")).unwrap_or_default())]
    Retryable {
        /// How long the server wants us to wait, if it says.
        after: Option<Duration>,
        /// The HTTP status; `None` if there was no whole answer.
        status: Option<u16>,
        /// The beginning of the answer (at most 4 KiB), or what the network said.
        message: String,
    },
    /// The same question can never be answered: any other status, also a redirect. Prometheus answers 400 when
    /// its limit of samples is exceeded: ask for less.
    #[error("remote read rejected with status {status}: {message}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer, at most 4 KiB.
        message: String,
    },
    /// The answer is of a type that was not asked for; perhaps the address is not one for remote read.
    #[error("remote read answered with content type {content_type:?}")]
    ContentType {
        /// The type found; empty if there is none.
        content_type: String,
    },
    /// The answer is larger than [`Limits::max_compressed_bytes`](prom_remote::Limits): ask for less, or allow more.
    #[error("remote-read answer is over the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The question or the answer is no usable snappy block.
    #[error("remote-read answer cannot be decompressed")]
    Compression(#[from] CompressionError),
    /// The streamed answer is broken, or the server gave up half-way; a shorter range may go better.
    #[error("streamed remote-read answer cannot be read")]
    Stream(#[source] ReadStreamError),
    /// The answer is no usable message.
    #[error("remote-read answer cannot be decoded")]
    Decode(#[from] ReadDecodeError),
}

impl ReadError {
    /// Tells whether the same question may be answered later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Retryable { .. })
    }
}

impl ReadClient {
    /// Makes a client with connections of its own.
    ///
    /// # Errors
    /// A reserved header, or a configuration that the HTTP library refuses.
    pub fn new(config: ClientConfig) -> Result<Self, ClientConfigError> {
        Ok(Self { sender: Sender::new(config)? })
    }

    /// Asks for samples; returns the series of each query, in the order of the queries.
    ///
    /// The server may add samples outside of the range or series twice only if it breaks the protocol; nothing is
    /// removed here. The whole answer is held in memory, within the limits of the configuration.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read_samples(&self, queries: &[Query]) -> Result<Vec<Vec<ReadSeries>>, ReadError> {
        let message = self.read_samples_message(queries).await?;
        Ok(decode_samples(&message, queries.len(), &self.sender.config.limits)?)
    }

    /// Asks for samples and returns the decompressed `ReadResponse` message, to be walked with
    /// [`ReadResponseView`](prom_remote::ReadResponseView) without another copy.
    ///
    /// # Errors
    /// See [`ReadError`]; the message is not yet decoded.
    pub async fn read_samples_message(&self, queries: &[Query]) -> Result<Vec<u8>, ReadError> {
        let response = self.ask(&ReadRequest::samples(queries.to_vec())).await?;
        match AnswerKind::of(response.headers())? {
            AnswerKind::Samples => self.message(response).await,
            AnswerKind::Streamed { content_type } => Err(ReadError::ContentType { content_type }),
        }
    }

    /// Asks for streamed chunks, and takes samples from a server that has nothing else; returns the series as they
    /// arrive, each clipped to the range of its query.
    ///
    /// Streamed, one frame and one series are held in memory; samples are held all, within the limits of the
    /// configuration. The timeout of the configuration is for the whole answer: set it for the longest.
    ///
    /// # Errors
    /// See [`ReadError`]: what is wrong before the first series.
    pub async fn read(&self, queries: &[Query]) -> Result<SeriesStream, ReadError> {
        let limits = self.sender.config.limits;
        let ranges: Vec<TimeRange> = queries.iter().map(|query| query.range).collect();
        let response = self.ask(&ReadRequest::streamed(queries.to_vec())).await?;
        match AnswerKind::of(response.headers())? {
            AnswerKind::Streamed { .. } => Ok(SeriesStream::streamed(response, ranges, limits)),
            AnswerKind::Samples => {
                let message = self.message(response).await?;
                let results = decode_samples(&message, queries.len(), &limits)?;
                Ok(SeriesStream::samples(results, ranges, limits))
            }
        }
    }

    /// Sends the question; returns the answer if it is a success.
    async fn ask(&self, request: &ReadRequest) -> Result<Response, ReadError> {
        let question = request.encode_compressed()?;
        let headers = [
            ("content-encoding", "snappy"),
            ("content-type", PROTOBUF),
            (READ_VERSION, "0.1.0"),
            ("accept-encoding", "snappy"),
        ]
        .map(|(name, value)| (name, value.to_owned()));
        let response = self.sender.post(question.into(), &headers).await.map_err(no_answer)?;
        let status = response.status();
        let after = retry_after(response.headers());
        match Class::of(status) {
            Class::Success => Ok(response),
            Class::Retryable => {
                let message = quote_body(response).await;
                Err(ReadError::Retryable { after, status: Some(status.as_u16()), message })
            }
            Class::Rejected => {
                Err(ReadError::Rejected { status: status.as_u16(), message: quote_body(response).await })
            }
        }
    }

    async fn message(&self, response: Response) -> Result<Vec<u8>, ReadError> {
        let body = self.read_body(response).await?;
        let mut message = Vec::new();
        decompress(&body, &self.sender.config.limits, &mut message)?;
        Ok(message)
    }

    async fn read_body(&self, mut response: Response) -> Result<Vec<u8>, ReadError> {
        let limit = self.sender.config.limits.max_compressed_bytes;
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(ReadError::TooLarge { limit });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
            if chunk.len() > limit - body.len() {
                return Err(ReadError::TooLarge { limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

pub(super) fn no_answer(error: reqwest::Error) -> ReadError {
    ReadError::Retryable { after: None, status: None, message: describe(error) }
}

enum AnswerKind {
    Samples,
    Streamed { content_type: String },
}

impl AnswerKind {
    fn of(headers: &HeaderMap) -> Result<Self, ReadError> {
        let content_type =
            headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let content_type = content_type.unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case(PROTOBUF) {
            Ok(Self::Samples)
        } else if media_type.eq_ignore_ascii_case(STREAMED_PROTOBUF) {
            Ok(Self::Streamed { content_type })
        } else {
            Err(ReadError::ContentType { content_type })
        }
    }
}
