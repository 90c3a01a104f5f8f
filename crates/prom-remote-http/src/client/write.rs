//! Sends remote-write requests.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use thiserror::Error;

use super::{
    ClientConfig, ClientConfigError, Sender, describe, quote_body,
    retry::{Class, retry_after},
};
use crate::protocol::{PROTOBUF, PROTOBUF_V2, VICTORIA_METRICS_VERSION, WRITE_VERSION, WrittenCounts};

/// Sends remote-write requests to one address; follows no redirect, uses no proxy, never retries.
///
/// Cheap to clone; connections are shared and kept.
#[derive(Debug, Clone)]
pub struct WriteClient {
    sender: Sender,
}

/// How a request goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteForm {
    /// Remote write 2.0: a snappy block of an `io.prometheus.write.v2.Request`.
    V2,
    /// Remote write 1.0: a snappy block of a `prometheus.WriteRequest`.
    V1,
    /// VictoriaMetrics' own form of 1.0: the same message, compressed with zstd. Half the bytes.
    V1Zstd,
}

impl WriteForm {
    fn content_type(self) -> &'static str {
        match self {
            Self::V2 => PROTOBUF_V2,
            Self::V1 | Self::V1Zstd => PROTOBUF,
        }
    }

    fn content_encoding(self) -> &'static str {
        match self {
            Self::V2 | Self::V1 => "snappy",
            Self::V1Zstd => "zstd",
        }
    }

    fn version(self) -> (&'static str, &'static str) {
        match self {
            Self::V2 => (WRITE_VERSION, "2.0.0"),
            Self::V1 => (WRITE_VERSION, "0.1.0"),
            Self::V1Zstd => (VICTORIA_METRICS_VERSION, "1"),
        }
    }
}

/// One request to send.
#[derive(Debug, Clone)]
pub struct WriteRequest {
    /// How it is encoded.
    pub form: WriteForm,
    /// The compressed message.
    pub body: Bytes,
    /// How often the same request was sent before; other than 0 it goes along as `Retry-Attempt`, by which Mimir
    /// spreads its `Retry-After`.
    pub attempt: u32,
}

impl WriteRequest {
    /// Makes a request that is sent for the first time.
    pub fn new(form: WriteForm, body: Bytes) -> Self {
        Self { form, body, attempt: 0 }
    }
}

/// The receiver has the whole request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The HTTP status, from 200 to 299.
    pub status: u16,
    /// What the receiver says it has written. `None` if it does not say: a receiver of 1.0 does not, and one that
    /// answers so to 2.0 has thrown the request away (see [`WriteNegotiator`](crate::WriteNegotiator)).
    pub counts: Option<WrittenCounts>,
}

/// The receiver does not have the whole request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// It may go better later: the network, a timeout, 5xx or 429.
    #[error("remote write failed for now{}: {message}", with_status(*status))]
    Retryable {
        /// How long the receiver wants us to wait, if it says.
        after: Option<Duration>,
        /// The HTTP status; `None` if there was no answer.
        status: Option<u16>,
        /// The beginning of the answer (at most 4 KiB), or what the network said.
        message: String,
    },
    /// The same request can never succeed: any other status, also a redirect.
    #[error("remote write rejected with status {status}: {message}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer, at most 4 KiB.
        message: String,
    },
    /// The receiver understood 2.0 and refused a part, perhaps all; what it kept it will not need again, and the rest
    /// can never succeed.
    #[error(
        "remote write rejected in part with status {status} ({} samples, {} histograms, {} exemplars written): {message}",
        written.samples, written.histograms, written.exemplars
    )]
    Partial {
        /// The HTTP status, from 400 to 499.
        status: u16,
        /// What was written.
        written: WrittenCounts,
        /// The beginning of the answer, at most 4 KiB.
        message: String,
    },
}

impl WriteError {
    /// Returns the HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Retryable { status, .. } => *status,
            Self::Rejected { status, .. } | Self::Partial { status, .. } => Some(*status),
        }
    }

    /// Tells whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Retryable { .. })
    }
}

fn with_status(status: Option<u16>) -> String {
    status.map(|status| format!(" with status {status}")).unwrap_or_default()
}

impl WriteClient {
    /// Makes a client with connections of its own.
    ///
    /// # Errors
    /// A reserved header, or a configuration that the HTTP library refuses.
    pub fn new(config: ClientConfig) -> Result<Self, ClientConfigError> {
        Ok(Self { sender: Sender::new(config)? })
    }

    /// Sends a remote-write 1.0 request: a snappy block of a `WriteRequest`.
    ///
    /// # Errors
    /// [`WriteError::Retryable`] when it may go better later, [`WriteError::Rejected`] when it cannot.
    pub async fn send_v1(&self, compressed: Bytes) -> Result<Written, WriteError> {
        self.send(WriteRequest::new(WriteForm::V1, compressed)).await
    }

    /// Sends a request as it is, in its form.
    ///
    /// # Errors
    /// See [`WriteError`]; [`WriteError::Partial`] only for 2.0.
    pub async fn send(&self, request: WriteRequest) -> Result<Written, WriteError> {
        let WriteRequest { form, body, attempt } = request;
        let attempt = (attempt > 0).then(|| ("retry-attempt", attempt.to_string()));
        let (version_name, version) = form.version();
        let mut headers = vec![
            ("content-encoding", form.content_encoding().to_owned()),
            ("content-type", form.content_type().to_owned()),
            (version_name, version.to_owned()),
        ];
        headers.extend(attempt);
        let no_answer = |error| WriteError::Retryable { after: None, status: None, message: describe(error) };
        let response = self.sender.post(body, &headers).await.map_err(no_answer)?;
        outcome(form, response).await
    }
}

async fn outcome(form: WriteForm, response: Response) -> Result<Written, WriteError> {
    let (status, after) = (response.status(), retry_after(response.headers()));
    // Prometheus 3.8.0 sends the headers to senders of 1.0 too, where they mean nothing.
    let counts = WrittenCounts::of(response.headers()).filter(|_| form == WriteForm::V2);
    // The specification reserves the body of a success; reading its beginning lets the connection be used again.
    let message = quote_body(response).await;
    let class = Class::of(status);
    let status = status.as_u16();
    match (class, counts) {
        (Class::Success, counts) => Ok(Written { status, counts }),
        (Class::Retryable, _) => Err(WriteError::Retryable { after, status: Some(status), message }),
        (Class::Rejected, Some(written)) if (400..500).contains(&status) => {
            Err(WriteError::Partial { status, written, message })
        }
        (Class::Rejected, _) => Err(WriteError::Rejected { status, message }),
    }
}
