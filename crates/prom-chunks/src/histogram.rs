//! Native histograms, and the chunks that hold them.

mod decode;
mod encode;
mod layout;
mod resolution;
mod value;

pub use decode::{DEFAULT_MAX_BUCKETS, HistogramDecoder};
pub use encode::{AppendHistogramError, HistogramEncoder};
pub use layout::ResetHeader;
pub use value::{BucketCounts, Buckets, Histogram, ResetHint, Span};
