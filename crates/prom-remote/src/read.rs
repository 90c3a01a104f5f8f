//! Remote read: ask, and read the answer of type SAMPLES.

mod request;
mod response;

pub use request::{Matcher, MatcherKind, Query, ReadRequest, ResponseType};
pub use response::{
    Label, ReadDecodeError, ReadHistogram, ReadResponseSeries, ReadResponseView, ReadSeries, decode_samples,
};
