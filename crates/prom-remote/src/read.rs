//! Remote read: ask and answer, in both forms of answer.

mod chunks;
mod frame;
mod matching;
mod request;
mod respond;
mod response;
mod series;
mod stream;

pub use chunks::{Chunk, chunk_histograms, chunk_samples};
pub use frame::{FrameError, FrameErrorKind, FrameReader, write_frame};
pub use matching::{InvalidMatcher, LabelMatchers};
pub use request::{Matcher, MatcherKind, Query, ReadRequest, ReadRequestError, ResponseType};
pub use respond::{ReadResponseBuilder, StreamWriter};
pub use response::{
    Label, ReadDecodeError, ReadHistogram, ReadResponseSeries, ReadResponseView, ReadSeries, decode_samples,
};
pub use series::{SeriesContent, SeriesDecodeError, SeriesDecodeErrorKind, StreamedSeries};
pub use stream::{ReadStream, ReadStreamError};
