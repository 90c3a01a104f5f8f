//! Bounds on what a source sends.

use prom_remote::Limits;
use yaml_source::{ValueReader, value};

use super::to_usize;

/// Bounds on the requests of a sender: for all sources, or for one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IngestLimits {
    /// The largest compressed body in bytes; default 32 MiB.
    pub body: u64,
    /// The largest decoded message in bytes; default 32 MiB.
    pub decoded: u64,
    /// The most series in a request; default 100,000.
    pub series: usize,
    /// The most labels of a series; default 256. A series with more is refused, not the request.
    pub labels: usize,
    /// The longest name or value of a label in bytes; default 64 KiB. A series with a longer one is refused.
    pub label_bytes: u64,
    /// The most requests of one source at a time; with `body` and `decoded` it bounds the memory. Default 64.
    pub in_flight: usize,
    /// The most samples and native histograms a second over time; a request too many is answered 503, for the sender to
    /// come again. No limit if 0, the default.
    pub samples_per_second: u64,
    /// How many of them may come at once after a rest. Default ten times `samples_per_second`.
    pub burst_samples: u64,
    /// The most series of one source seen within the last 10 to 20 minutes. A new one over the limit becomes a dead letter;
    /// those that are known go on. No limit if 0, the default.
    pub active_series: usize,
}

impl Default for IngestLimits {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            body: limits.max_compressed_bytes as u64,
            decoded: limits.max_decoded_bytes as u64,
            series: limits.max_series,
            labels: limits.max_labels_per_series,
            label_bytes: limits.max_label_bytes as u64,
            in_flight: 64,
            samples_per_second: 0,
            burst_samples: 0,
            active_series: 0,
        }
    }
}

impl IngestLimits {
    pub(crate) fn remote(&self) -> Limits {
        let mut limits = Limits::default();
        limits.max_compressed_bytes = to_usize(self.body);
        limits.max_decoded_bytes = to_usize(self.decoded);
        limits.max_series = self.series;
        limits.max_labels_per_series = self.labels;
        limits.max_label_bytes = to_usize(self.label_bytes);
        limits
    }
}

/// Reads limits; those not written are the `defaults`.
pub(super) fn read_limits(value: ValueReader<'_>, defaults: &IngestLimits) -> Option<IngestLimits> {
    let mut reader = value.mapping()?;
    let body = reader.or("body", value::byte_size, defaults.body);
    let decoded = reader.or("decoded", value::byte_size, defaults.decoded);
    let series = reader.or("series", value::integer_in(1..=10_000_000), defaults.series);
    let labels = reader.or("labels", value::integer_in(1..=10_000), defaults.labels);
    let label_bytes = reader.or("label_bytes", value::byte_size, defaults.label_bytes);
    let in_flight = reader.or("in_flight", value::integer_in(1..=10_000), defaults.in_flight);
    let has_rate = reader.has("samples_per_second");
    let samples_per_second =
        reader.or("samples_per_second", value::integer_in(0..=MAX_RATE), defaults.samples_per_second);
    let default_burst = if has_rate { samples_per_second.saturating_mul(10) } else { defaults.burst_samples };
    let has_burst = reader.has("burst_samples");
    let burst_samples = reader.or("burst_samples", value::integer_in(1..=MAX_RATE), default_burst);
    if has_burst && samples_per_second == 0 {
        reader.error_at("burst_samples", "needs `samples_per_second`");
    }
    let active_series =
        reader.or("active_series", value::integer_in(0..=100_000_000), defaults.active_series);
    reader.finish();
    Some(IngestLimits {
        body,
        decoded,
        series,
        labels,
        label_bytes,
        in_flight,
        samples_per_second,
        burst_samples,
        active_series,
    })
}

const MAX_RATE: u64 = 1_000_000_000_000;
