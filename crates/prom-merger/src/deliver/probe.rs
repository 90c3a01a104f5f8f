//! A write that no destination has a reason to refuse, which tells a fault of the destination from one of the data.

use std::sync::atomic::{AtomicI64, Ordering};

use prom_remote::{Compressor, Sample, WriteRequestBuilder};
use prom_remote_http::WriteError;

use super::{
    Verdict,
    destination::{Destination, SendError},
    judge,
    message::Version,
    outgoing::Outgoing,
};
use crate::{metrics::LaneMetrics, source::SourceState};

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
    pub(super) async fn send(
        &self,
        destination: &Destination,
        source: &SourceState,
        metrics: &LaneMetrics,
    ) -> ProbeOutcome {
        let now = source.now_ms();
        let previous = self.latest_ms.fetch_max(now, Ordering::Relaxed);
        let timestamp_ms =
            if previous < now { now } else { self.latest_ms.fetch_add(1, Ordering::Relaxed) + 1 };
        let request = match request(destination, source, timestamp_ms) {
            Ok(request) => request,
            Err(message) => return ProbeOutcome::Refused(message),
        };
        metrics.probes.add(1);
        let error = match destination.send(&request, 0).await {
            Ok(_) => return ProbeOutcome::Taken,
            Err(SendError::Write(error)) => error,
            Err(SendError::Encode(error)) => return ProbeOutcome::Refused(error.to_string()),
        };
        match judge(&error) {
            Verdict::Refused(refusal) if is_about_time(&refusal.message) => ProbeOutcome::Taken,
            Verdict::Refused(refusal) => {
                metrics.refused_probes.add(1);
                ProbeOutcome::Refused(refusal.message)
            }
            Verdict::Again { .. } => ProbeOutcome::Unknown(error),
        }
    }
}

fn request(destination: &Destination, source: &SourceState, timestamp_ms: i64) -> Result<Outgoing, String> {
    let mut builder = WriteRequestBuilder::new();
    builder.series([("__name__", PROBE_NAME)], [Sample::new(timestamp_ms, 1.0)]);
    let mut message = Vec::new();
    source
        .splicer
        .splice(&builder.finish(), &source.limits, &mut message)
        .map_err(|error| error.to_string())?;
    let summary = Version::V1.summary(&message, &source.limits).map_err(|error| error.to_string())?;
    let form = destination.form_for(Version::V1);
    Outgoing::new(Version::V1, &message, form, summary, &source.limits, &mut Compressor::new())
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
