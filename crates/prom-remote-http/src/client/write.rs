//! Sends remote-write requests.

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::{
    ClientConfig, ClientConfigError, Sender, describe, quote_body,
    retry::{Class, retry_after},
};

/// Sends remote-write requests to one address; follows no redirect, uses no proxy, never retries.
///
/// Cheap to clone; connections are shared and kept.
#[derive(Debug, Clone)]
pub struct WriteClient {
    sender: Sender,
}

/// The receiver has the whole request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The HTTP status, from 200 to 299.
    pub status: u16,
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
}

impl WriteError {
    /// Returns the HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Retryable { status, .. } => *status,
            Self::Rejected { status, .. } => Some(*status),
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
        let headers = [("x-prometheus-remote-write-version", "0.1.0")];
        let no_answer = |error| WriteError::Retryable { after: None, status: None, message: describe(error) };
        let response = self.sender.post(compressed, &headers).await.map_err(no_answer)?;
        let status = response.status();
        let after = retry_after(response.headers());
        // The specification reserves the body of a success; reading its beginning lets the connection be used again.
        let message = quote_body(response).await;
        match Class::of(status) {
            Class::Success => Ok(Written { status: status.as_u16() }),
            Class::Retryable => Err(WriteError::Retryable { after, status: Some(status.as_u16()), message }),
            Class::Rejected => Err(WriteError::Rejected { status: status.as_u16(), message }),
        }
    }
}
