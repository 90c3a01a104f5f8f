//! Prometheus remote write and remote read on bytes.
//!
//! Everything here is a function from bytes to bytes or to values: no sockets, no clock, no environment, no
//! files. The HTTP side is the crate `prom-remote-http`.
//!
//! What is kept: sample values, histograms, exemplars and unknown fields are never decoded and encoded again.
//! [`LabelSplicer`] adds a label to every series of a request inside the wire bytes; [`keep_series`] removes
//! series from it; everything else in the request stays the same byte for byte, NaN payloads and `-0.0` included.
//!
//! Remote read goes both ways: [`ReadRequest`] asks, [`ReadStream`] takes a streamed answer in pieces of any size and
//! [`decode_samples`] one of type SAMPLES; a server compiles [`LabelMatchers`] and answers with [`StreamWriter`] or
//! [`ReadResponseBuilder`]. Chunks and the value of a native histogram are those of [`prom_chunks`].
//!
//! What is refused: no input panics, and every [limit](Limits) is checked before memory is taken.
//!
//! Specifications: remote write 1.0 (`docs/specs/prw/remote_write_spec.md` of prometheus/docs) and the remote
//! read API of Prometheus, which has no formal specification. The messages are in `proto/`.
//!
//! ```
//! use prom_remote::{LabelSplicer, Limits, Sample, WriteRequestBuilder, WriteRequestView};
//!
//! let limits = Limits::default();
//! let mut builder = WriteRequestBuilder::new();
//! builder.series([("__name__", "up"), ("job", "kafka")], [Sample::new(1_700_000_000_000, 1.0)]);
//! let request = builder.finish();
//!
//! let splicer = LabelSplicer::new("source", "testbed")?;
//! let mut spliced = Vec::new();
//! splicer.splice(&request, &limits, &mut spliced)?;
//!
//! for series in WriteRequestView::new(&spliced).series() {
//!     let series = series?;
//!     assert_eq!(series.label(b"source"), Some(&b"testbed"[..]));
//!     assert_eq!(series.sample_count(), 1);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod compression;
mod fingerprint;
#[doc(hidden)]
pub mod fuzzing;
mod histogram;
mod limits;
mod proto;
mod re2;
mod read;
mod relabel;
mod sample;
mod wire;
mod write;

pub use prom_chunks;

pub use compression::{CompressionError, Compressor, decompress};
pub use fingerprint::{Difference, SeriesFingerprint, SeriesSetFingerprint, WindowFingerprints};
pub use histogram::{HistogramDecodeError, decode_histogram, encode_histogram};
pub use limits::Limits;
pub use re2::PatternError;
pub use read::{
    Chunk, FrameError, FrameErrorKind, FrameReader, InvalidMatcher, Label, LabelMatchers, Matcher,
    MatcherKind, Query, ReadDecodeError, ReadHistogram, ReadRequest, ReadRequestError, ReadResponseBuilder,
    ReadResponseSeries, ReadResponseView, ReadSeries, ReadStream, ReadStreamError, ResponseType,
    SeriesContent, SeriesDecodeError, SeriesDecodeErrorKind, StreamWriter, StreamedSeries, chunk_histograms,
    chunk_samples, decode_samples, write_frame,
};
pub use relabel::{
    LabelNames, RelabelAction, RelabelError, RelabelMemory, RelabelReport, RelabelRequestError, RelabelRule,
    RelabelRuleError, RelabelRuleErrorKind, Relabeled, RelabeledLabels, Relabeler, UnknownRelabelAction,
};
pub use sample::{InvalidTimeRange, STALE_MARKER_BITS, Sample, StartedSample, TimeRange, TimestampBounds};
pub use wire::{DecodeError, DecodeErrorKind};
pub use write::{
    CoalesceError, CoalesceReport, ConversionReport, ConvertedV1, Entries, EntriesV2, Entry, EntryV2,
    ExemplarV2View, Fault, HistogramFault, HistogramView, InvalidLabel, KeepReport, LabelEdit, LabelPairs,
    LabelRef, LabelSplicer, LabelView, Labels, Loss, LossKind, MetadataV2View, MetadataView, MetricType,
    OtherContent, Point, RequestFault, SampleV2, SeriesTimes, SeriesV2, SeriesV2View, SeriesVerdict,
    SeriesView, Severity, SpliceReport, SplitReport, SplitSize, Summary, SymbolTable, UnknownFieldView,
    ValidationReport, WriteRequestBuilder, WriteRequestV2Builder, WriteRequestV2View, WriteRequestView,
    concatenate, convert_to_v1, convert_to_v2, keep_samples, keep_samples_v2, keep_series, keep_series_v2,
    merge_v2, split, split_v2, validate, validate_v2,
};
