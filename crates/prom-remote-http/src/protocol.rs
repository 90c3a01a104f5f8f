//! The names and values of headers that both sides share.

use axum::http::HeaderMap;
use prom_remote::Summary;

/// `Content-Type` of remote write 1.0 and of everything in remote read but streamed answers.
pub(crate) const PROTOBUF: &str = "application/x-protobuf";
/// `Content-Type` of remote write 2.0, without a space: Prometheus before 3.14 takes one with a space for 1.0.
pub(crate) const PROTOBUF_V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// The media type of streamed answers to remote read.
pub(crate) const STREAMED_PROTOBUF: &str = "application/x-streamed-protobuf";
/// Their whole `Content-Type`: Prometheus' client compares exactly this spacing.
pub(crate) const STREAMED_RESPONSE: &str =
    "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

pub(crate) const WRITE_VERSION: &str = "x-prometheus-remote-write-version";
pub(crate) const READ_VERSION: &str = "x-prometheus-remote-read-version";
/// What VictoriaMetrics' own senders call their form of 1.0.
pub(crate) const VICTORIA_METRICS_VERSION: &str = "x-victoriametrics-remote-write-version";

const SAMPLES_WRITTEN: &str = "x-prometheus-remote-write-samples-written";
const HISTOGRAMS_WRITTEN: &str = "x-prometheus-remote-write-histograms-written";
const EXEMPLARS_WRITTEN: &str = "x-prometheus-remote-write-exemplars-written";

/// What a remote-write 2.0 receiver says it has written (`X-Prometheus-Remote-Write-…-Written`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WrittenCounts {
    /// Samples, stale markers included.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

impl WrittenCounts {
    /// Reads the headers of an answer; a missing or unreadable one counts as 0. `None` if there is none of the three:
    /// the receiver has not understood 2.0.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let is_there = [SAMPLES_WRITTEN, HISTOGRAMS_WRITTEN, EXEMPLARS_WRITTEN]
            .iter()
            .any(|name| headers.contains_key(*name));
        let count =
            |name| headers.get(name).and_then(|value| value.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
        is_there.then(|| Self {
            samples: count(SAMPLES_WRITTEN),
            histograms: count(HISTOGRAMS_WRITTEN),
            exemplars: count(EXEMPLARS_WRITTEN),
        })
    }

    /// The three headers, each always there.
    pub(crate) fn headers(self) -> [(&'static str, u64); 3] {
        [
            (SAMPLES_WRITTEN, self.samples),
            (HISTOGRAMS_WRITTEN, self.histograms),
            (EXEMPLARS_WRITTEN, self.exemplars),
        ]
    }

    /// Everything in a request.
    pub fn of_summary(summary: &Summary) -> Self {
        Self {
            samples: summary.samples as u64,
            histograms: summary.histograms as u64,
            exemplars: summary.exemplars as u64,
        }
    }

    /// Tells whether nothing was written.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_header_is_enough_for_2_0() {
        let mut headers = HeaderMap::new();
        assert_eq!(WrittenCounts::of(&headers), None);
        headers.insert(HISTOGRAMS_WRITTEN, "7".parse().unwrap());
        assert_eq!(
            WrittenCounts::of(&headers),
            Some(WrittenCounts { histograms: 7, ..WrittenCounts::default() })
        );
        headers.insert(SAMPLES_WRITTEN, "many".parse().unwrap());
        assert_eq!(
            WrittenCounts::of(&headers),
            Some(WrittenCounts { histograms: 7, ..WrittenCounts::default() })
        );
    }
}
