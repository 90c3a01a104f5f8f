//! Bodies, read within bounds of size and time.

use std::{future::poll_fn, pin::Pin, time::Duration};

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, HeaderName, header::CONTENT_LENGTH},
};
use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BodyError {
    TooLarge { limit: usize },
    Slow { timeout: Duration },
    Broken { reason: String },
}

/// Reads a whole body of at most `limit` bytes that arrives within `timeout`.
pub(super) async fn read_body(
    body: Body,
    headers: &HeaderMap,
    limit: usize,
    timeout: Duration,
) -> Result<Bytes, BodyError> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let mut reader = BodyReader { body, deadline: Instant::now() + timeout, timeout };
    if declared.is_some_and(|length| length > limit as u64) {
        reader.discard(limit).await;
        return Err(BodyError::TooLarge { limit });
    }
    let mut received = BytesMut::new();
    while let Some(data) = reader.next().await? {
        if data.len() > limit - received.len() {
            drop(received);
            reader.discard(limit).await;
            return Err(BodyError::TooLarge { limit });
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

/// All values of a header as one text, as several lines mean a list; `None` for an empty one.
pub(super) fn header_text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<_> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    Some(values.join(", ").trim().to_owned()).filter(|text| !text.is_empty())
}

struct BodyReader {
    body: Body,
    deadline: Instant,
    timeout: Duration,
}

impl BodyReader {
    /// The next piece of the body, or `None` at its end.
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            let frame = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context));
            let frame = timeout_at(self.deadline, frame).await;
            match frame.map_err(|_| BodyError::Slow { timeout: self.timeout })? {
                None => return Ok(None),
                Some(Err(error)) => return Err(BodyError::Broken { reason: error.to_string() }),
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
