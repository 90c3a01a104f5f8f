//! XOR chunks: timestamps by the change of their distance, values by their difference.

mod decode;
mod encode;

pub use decode::XorSamples;
pub(crate) use decode::{check_count, error_at, start};
pub use encode::{ChunkFull, XorEncoder};
