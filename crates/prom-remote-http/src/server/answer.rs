//! Answers in plain text.

use std::time::Duration;

use axum::{
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};

/// 503 with `Retry-After`, told in whole seconds, rounded up.
pub(super) fn unavailable(retry_after: Duration, message: String) -> Response {
    let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, seconds.to_string())], line(message)).into_response()
}

pub(super) fn line(message: String) -> String {
    message + "\n"
}
