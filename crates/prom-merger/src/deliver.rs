//! Sends journalled requests on: one lane for each source and destination, each with its own reader and cursor, so that a
//! destination that is dead or refuses holds up no other.
//!
//! What may pass (the network, 5xx, 429) is tried again for ever, with growing, jittered waits. What means that the destination
//! is not the one the configuration meant (401, 403, 404, 405, 407, 415, a redirect) is tried again too: it is no fault of the
//! data. Any other refusal is put to the proof by a harmless probe write: where that is refused too, the lane waits; where
//! it is taken, the request is cut until only the culprits are left, which become dead letters with the receiver's words.

mod backoff;
mod bare;
mod bench;
mod count;
mod delivery;
mod destination;
mod gather;
mod health;
mod isolate;
mod lane;
mod lanes;
mod message;
mod order;
mod outgoing;
mod pipeline;
mod probe;
mod read_back;

use std::{error::Error, time::Duration};

use prom_remote_http::WriteError;

use crate::metrics::FailureClass;

pub use destination::DestinationError;
pub(crate) use {backoff::Backoff, destination::Destination, lane::Lane, lanes::Lanes, message::summary};

/// What a failed attempt means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The same request again, later.
    ///
    /// `failure` is what to call it if the server always fails at this request alone.
    Again { class: FailureClass, after: Option<Duration>, failure: Option<Refusal> },
    /// Never again in this form.
    Refused(Refusal),
}

/// A refusal in the receiver's words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
}

pub(crate) fn judge(error: &WriteError) -> Verdict {
    let again = |class, after| Verdict::Again { class, after, failure: None };
    match error {
        WriteError::Retryable { after, status: None, .. } => again(FailureClass::Network, *after),
        WriteError::Retryable { after, status: Some(429), .. } => again(FailureClass::Throttled, *after),
        // These three are about the server by definition, whatever the data.
        WriteError::Retryable { after, status: Some(502..=504), .. } => again(FailureClass::Server, *after),
        WriteError::Retryable { after, status: Some(status @ 500..), message } => Verdict::Again {
            class: FailureClass::Server,
            after: *after,
            failure: Some(Refusal { status: *status, message: message.clone() }),
        },
        WriteError::Retryable { after, .. } => again(FailureClass::Server, *after),
        WriteError::Rejected { status: 408 | 425, .. } => again(FailureClass::Server, None),
        WriteError::Rejected { status: ..=399 | 401 | 403 | 404 | 405 | 407 | 415, .. } => {
            again(FailureClass::Destination, None)
        }
        WriteError::Rejected { status, message } | WriteError::Partial { status, message, .. } => {
            Verdict::Refused(Refusal { status: *status, message: message.clone() })
        }
        // A kind that is not known yet loses nothing by waiting.
        _ => again(FailureClass::Server, None),
    }
}

/// What an error says with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A request under way may end this long after the lane is told to stop; it would be sent again otherwise.
const SEND_GRACE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, expected: Option<FailureClass>) {
        let verdict = judge(&WriteError::Rejected { status, message: "no".to_owned() });
        let class = match verdict {
            Verdict::Again { class, .. } => Some(class),
            Verdict::Refused(_) => None,
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
