//! Bounds on what a peer may send.

/// Bounds on what a peer may send; each is checked before memory for it is taken.
///
/// The defaults fit every known sender: Prometheus sends 2,000 samples in a request and itself refuses more than
/// 32 MiB of decoded bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest snappy block accepted, in bytes. Default 32 MiB.
    pub max_compressed_bytes: usize,
    /// The largest message after decompression, in bytes. Default 32 MiB.
    pub max_decoded_bytes: usize,
    /// The most series in one message. Default 100,000.
    pub max_series: usize,
    /// The most samples and histograms in one message. Default 5,000,000.
    pub max_samples: usize,
    /// The most labels of one series. Default 256.
    pub max_labels_per_series: usize,
    /// The most symbols of one remote-write 2.0 message. Default 262,144.
    pub max_symbols: usize,
    /// The longest label name or label value, in bytes. Default 64 KiB.
    pub max_label_bytes: usize,
    /// The most queries of one remote-read request. Default 1,000.
    pub max_queries: usize,
    /// The most matchers of one query. Default 1,000.
    pub max_matchers_per_query: usize,
    /// The largest frame of a streamed remote-read answer, in bytes. Default 50 MB, as Prometheus has it.
    pub max_frame_bytes: usize,
    /// The most bytes of chunks of one series in a streamed remote-read answer. Default 64 MiB.
    pub max_series_bytes: usize,
    /// The most buckets, spans or bounds of a native histogram, on either side. Default 65,536.
    pub max_buckets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_compressed_bytes: 32 << 20,
            max_decoded_bytes: 32 << 20,
            max_series: 100_000,
            max_samples: 5_000_000,
            max_labels_per_series: 256,
            max_symbols: 256 << 10,
            max_label_bytes: 64 << 10,
            max_queries: 1_000,
            max_matchers_per_query: 1_000,
            max_frame_bytes: 50_000_000,
            max_series_bytes: 64 << 20,
            max_buckets: prom_chunks::DEFAULT_MAX_BUCKETS,
        }
    }
}
