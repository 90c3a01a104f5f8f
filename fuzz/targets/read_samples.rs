//! An answer of type SAMPLES, with its histograms.

use prom_remote::{Limits, decode_histogram, decode_samples, encode_histogram};

pub(crate) fn run(data: &[u8]) {
    let mut limits = Limits::default();
    limits.max_series = 1_000;
    limits.max_samples = 10_000;
    limits.max_buckets = 1_000;
    let query_count = data.first().map_or(0, |byte| usize::from(*byte & 3));
    let Ok(results) = decode_samples(data.get(1..).unwrap_or_default(), query_count, &limits) else { return };
    assert_eq!(results.len(), query_count);
    for histogram in results.iter().flatten().flat_map(|series| &series.histograms) {
        let Ok(decoded) = histogram.decode(&limits) else { continue };
        let mut message = Vec::new();
        encode_histogram(&decoded, &mut message);
        assert_eq!(decode_histogram(&message, &limits), Ok(decoded));
    }
}
