//! Sends journalled requests on: one lane per source, each with its own reader, cursor and connections.
//!
//! What may pass (the network, 5xx, 429) is tried again for ever, with growing, jittered waits. What means that the destination
//! is not the one the configuration meant (401, 403, 404, 405, 407, 415, a redirect) is tried again too: it is no fault of the
//! data. Any other refusal makes the whole request a dead letter with the receiver's words, and the lane goes on.

mod backoff;
mod lane;

use std::time::Duration;

use prom_remote_http::WriteError;

use crate::metrics::FailureClass;

pub(crate) use lane::Lane;

/// What a failed attempt means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The same request again, later.
    Again { class: FailureClass, after: Option<Duration> },
    /// Never again.
    Reject { status: u16, message: String },
}

pub(crate) fn judge(error: &WriteError) -> Verdict {
    let again = |class, after| Verdict::Again { class, after };
    match error {
        WriteError::Retryable { after, status: None, .. } => again(FailureClass::Network, *after),
        WriteError::Retryable { after, status: Some(429), .. } => again(FailureClass::Throttled, *after),
        WriteError::Retryable { after, .. } => again(FailureClass::Server, *after),
        WriteError::Rejected { status: 408 | 425, .. } => again(FailureClass::Server, None),
        WriteError::Rejected { status: ..=399 | 401 | 403 | 404 | 405 | 407 | 415, .. } => {
            again(FailureClass::Destination, None)
        }
        WriteError::Rejected { status, message } | WriteError::Partial { status, message, .. } => {
            Verdict::Reject { status: *status, message: message.clone() }
        }
        // A kind that is not known yet loses nothing by waiting.
        _ => again(FailureClass::Server, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, expected: Option<FailureClass>) {
        let verdict = judge(&WriteError::Rejected { status, message: "no".to_owned() });
        let class = match verdict {
            Verdict::Again { class, .. } => Some(class),
            Verdict::Reject { .. } => None,
        };
        assert_eq!(class, expected, "{status}");
    }

    #[test]
    fn only_refusals_of_the_data_are_final() {
        for status in [400, 409, 413, 422] {
            check(status, None);
        }
        for status in [301, 401, 403, 404, 405, 407, 415] {
            check(status, Some(FailureClass::Destination));
        }
        check(408, Some(FailureClass::Server));
    }
}
