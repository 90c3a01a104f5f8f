//! How a latency distribution is shown; the families of each part stand with that part.

use std::fmt::Display;

use crate::{
    exposition::{Exposition, Kind},
    record::{LatencyRecord, QUANTILES},
};

/// The names and the meaning of one shown latency.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LatencyFamilies {
    pub(crate) histogram: &'static str,
    pub(crate) quantile: &'static str,
    pub(crate) maximum: &'static str,
    pub(crate) clamped: &'static str,
    pub(crate) meaning: &'static str,
}

impl LatencyFamilies {
    /// Writes the histogram with fixed buckets, the HDR quantiles since start (none while nothing is recorded) and the maximum.
    pub(crate) fn write(&self, page: &mut Exposition, record: &LatencyRecord) {
        let mut histogram = page.family(self.histogram, Kind::Histogram, self.meaning);
        for (bound, count) in record.cumulative_buckets() {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            histogram.suffixed("_bucket", &[("le", &bound)], count);
        }
        histogram.suffixed("_sum", &[], record.sum_seconds()).suffixed("_count", &[], record.count());

        let help = format!("{} HDR quantile since start, 3 digits, 1 us to 10 min.", self.meaning);
        let mut quantiles = page.family(self.quantile, Kind::Gauge, &help);
        for (label, quantile) in QUANTILES {
            if let Some(seconds) = record.quantile_seconds(quantile) {
                quantiles.sample(&[("quantile", &label)], seconds);
            }
        }

        let help = format!("{} Highest since start, exact.", self.meaning);
        page.single(self.maximum, Kind::Gauge, &help, record.maximum().as_secs_f64());

        let help =
            format!("{} Recorded at the edge of the HDR range; low includes negative ones.", self.meaning);
        let clamped = record.clamped();
        page.family(self.clamped, Kind::Counter, &help)
            .sample(&[("edge", &"low")], clamped.low)
            .sample(&[("edge", &"high")], clamped.high);
    }
}

/// Writes one family with one sample per partition.
pub(crate) fn per_partition<T, V: Display>(
    page: &mut Exposition,
    name: &'static str,
    kind: Kind,
    help: &str,
    partitions: impl IntoIterator<Item = (i32, T)>,
    value: impl Fn(T) -> Option<V>,
) {
    let mut family = page.family(name, kind, help);
    for (partition, item) in partitions {
        if let Some(value) = value(item) {
            family.sample(&[("partition", &partition)], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAMILIES: LatencyFamilies = LatencyFamilies {
        histogram: "x_seconds",
        quantile: "x_quantile_seconds",
        maximum: "x_max_seconds",
        clamped: "x_clamped_total",
        meaning: "Time.",
    };

    #[test]
    fn shows_buckets_and_quantiles() {
        let mut record = LatencyRecord::default();
        record.record_between(0, 10_000_000_000);
        record.record_between(0, 10_000_000_001);
        let mut page = Exposition::default();
        FAMILIES.write(&mut page, &record);
        let text = page.finish();
        for line in [
            "x_seconds_bucket{le=\"5\"} 0",
            "x_seconds_bucket{le=\"10\"} 1",
            "x_seconds_bucket{le=\"15\"} 2",
            "x_seconds_bucket{le=\"+Inf\"} 2",
            "x_seconds_sum 20.000000001",
            "x_seconds_count 2",
            "x_max_seconds 10.000000001",
            "x_clamped_total{edge=\"low\"} 0",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("x_quantile_seconds{quantile=\"0.9999\"} 10.00"), "{text}");
    }

    #[test]
    fn shows_no_quantile_of_nothing() {
        let mut page = Exposition::default();
        FAMILIES.write(&mut page, &LatencyRecord::default());
        assert!(!page.finish().contains("x_quantile_seconds{"));
    }
}
