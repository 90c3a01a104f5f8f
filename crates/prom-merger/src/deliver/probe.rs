//! A write that no destination has a reason to refuse, which tells a fault of the destination from one of the data.

use std::sync::atomic::{AtomicI64, Ordering};

use prom_remote::{Sample, WriteRequestBuilder};
use prom_remote_http::{WriteClient, WriteError};

use super::{Verdict, judge};
use crate::source::{SourceState, Workspace};

/// Writes `prom_merger_probe` with the source's label: one sample with the value 1 and the present time.
#[derive(Debug, Default)]
pub(super) struct Probe {
    /// No two probes of a source have the same time.
    latest_ms: AtomicI64,
}

#[derive(Debug)]
pub(super) enum ProbeOutcome {
    /// The destination takes data, or refused the probe for its time alone.
    Taken,
    /// Refused in the receiver's words: the fault is not the data's.
    Refused(String),
    /// No judgement: try again later.
    Unknown(WriteError),
}

impl Probe {
    pub(super) async fn send(&self, client: &WriteClient, source: &SourceState) -> ProbeOutcome {
        let now = source.now_ms();
        let previous = self.latest_ms.fetch_max(now, Ordering::Relaxed);
        let timestamp_ms =
            if previous < now { now } else { self.latest_ms.fetch_add(1, Ordering::Relaxed) + 1 };
        let mut builder = WriteRequestBuilder::new();
        builder.series([("__name__", PROBE_NAME)], [Sample::new(timestamp_ms, 1.0)]);
        let body = match source.outgoing_body(&builder.finish(), &mut Workspace::default()) {
            Ok(body) => body,
            Err(message) => return ProbeOutcome::Refused(message),
        };
        source.metrics.probes.add(1);
        let Err(error) = client.send_v1(body).await else { return ProbeOutcome::Taken };
        match judge(&error) {
            Verdict::Refused(refusal) if is_about_time(&refusal.message) => ProbeOutcome::Taken,
            Verdict::Refused(refusal) => {
                source.metrics.refused_probes.add(1);
                ProbeOutcome::Refused(refusal.message)
            }
            Verdict::Again { .. } => ProbeOutcome::Unknown(error),
        }
    }
}

/// A clock that was set back makes a probe too old; whoever says so has read and judged it.
fn is_about_time(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    ABOUT_TIME.iter().any(|known| words.contains(known))
}

const PROBE_NAME: &str = "prom_merger_probe";
/// Of Prometheus, Mimir and Thanos.
const ABOUT_TIME: [&str; 7] = [
    "out of order",
    "out-of-order",
    "out of bounds",
    "out-of-bounds",
    "duplicate sample",
    "new-value-for-timestamp",
    "too old",
];
