//! A request's way from its head to a well-formed message.

use std::time::Duration;

use axum::{
    extract::Request,
    http::{
        HeaderMap, Method, StatusCode,
        header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use prom_remote::{CompressionError, DecodeError, decompress, validate, validate_v2};
use thiserror::Error;

use super::{
    answer::line,
    body::{BodyError, header_text, read_body},
    write::{WriteBody, WriteServerConfig, WriteVersion},
};

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
    /// Another message than those of remote write that are accepted: 415, so that a sender of 2.0 falls back and loses
    /// nothing.
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
    /// A body over [`Limits::max_compressed_bytes`](prom_remote::Limits): 413.
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
    /// Not a snappy block, or over [`Limits::max_decoded_bytes`](prom_remote::Limits): 400.
    #[error("body cannot be decompressed: {0}")]
    Compression(CompressionError),
    /// Not the message that the content type names, or over a limit of its content: 400.
    #[error("body is not a {}: {error}", version.message())]
    Malformed {
        /// The version that the content type names.
        version: WriteVersion,
        /// What is wrong.
        error: DecodeError,
    },
}

impl WriteRejection {
    /// Returns the HTTP status that the sender gets.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType { .. } | Self::ContentEncoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::BrokenBody { .. } | Self::Compression(_) | Self::Malformed { .. } => {
                StatusCode::BAD_REQUEST
            }
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

impl From<BodyError> for WriteRejection {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit } => Self::TooLarge { limit },
            BodyError::Slow { timeout } => Self::SlowBody { timeout },
            BodyError::Broken { reason } => Self::BrokenBody { reason },
        }
    }
}

/// Checks and reads one remote-write request, in this order: method, content type, content encoding, size of the body,
/// snappy header, message.
///
/// The content type is read leniently (case, spaces, quotes, other parameters); a missing one means 1.0 and a missing
/// encoding means snappy, as in Prometheus. The version header is not looked at, as in Prometheus.
///
/// # Errors
/// See [`WriteRejection`].
pub async fn read_write_body(
    request: Request,
    config: &WriteServerConfig,
) -> Result<WriteBody, WriteRejection> {
    let (parts, body) = request.into_parts();
    let version = check_head(&parts, config)?;
    read_body_of(version, &parts.headers, body, config).await
}

/// Checks what can be checked before the body: returns the version that sender and receiver agree on.
pub(super) fn check_head(parts: &Parts, config: &WriteServerConfig) -> Result<WriteVersion, WriteRejection> {
    if parts.method != Method::POST {
        return Err(WriteRejection::Method { method: parts.method.clone() });
    }
    let version = version(&parts.headers, config)?;
    check_content_encoding(&parts.headers)?;
    Ok(version)
}

pub(super) async fn read_body_of(
    version: WriteVersion,
    headers: &HeaderMap,
    body: axum::body::Body,
    config: &WriteServerConfig,
) -> Result<WriteBody, WriteRejection> {
    let limits = &config.limits;
    let compressed = read_body(body, headers, limits.max_compressed_bytes, config.body_timeout).await?;
    let mut decoded = Vec::new();
    decompress(&compressed, limits, &mut decoded).map_err(WriteRejection::Compression)?;
    let report = match version {
        WriteVersion::V1 => validate(&decoded, limits),
        WriteVersion::V2 => validate_v2(&decoded, limits),
    };
    let report = report.map_err(|error| WriteRejection::Malformed { version, error })?;
    Ok(WriteBody { version, compressed, decoded: decoded.into(), summary: report.summary, report })
}

fn version(headers: &HeaderMap, config: &WriteServerConfig) -> Result<WriteVersion, WriteRejection> {
    let Some(content_type) = header_text(headers, &CONTENT_TYPE) else { return Ok(WriteVersion::V1) };
    let mut parts = content_type.split(';').map(str::trim);
    let is_protobuf = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/x-protobuf"));
    let mut messages = parts.filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("proto").then(|| value.trim().trim_matches('"'))
    });
    let version = match (messages.next(), messages.next()) {
        (None, _) => Some(WriteVersion::V1),
        (Some(message), None) => WriteVersion::of(message),
        // A sender that names two messages has none in mind.
        (Some(_), Some(_)) => None,
    };
    let accepted = |version: &WriteVersion| is_protobuf && (*version == WriteVersion::V1 || config.accept_v2);
    version.filter(accepted).ok_or(WriteRejection::ContentType { content_type })
}

fn check_content_encoding(headers: &HeaderMap) -> Result<(), WriteRejection> {
    match header_text(headers, &CONTENT_ENCODING) {
        Some(content_encoding) if !content_encoding.eq_ignore_ascii_case("snappy") => {
            Err(WriteRejection::ContentEncoding { content_encoding })
        }
        _ => Ok(()),
    }
}
