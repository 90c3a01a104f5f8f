//! Several requests as one, and one as several.

mod coalesce;
mod keep_samples;
mod split;
#[cfg(test)]
mod tests;

pub use coalesce::{CoalesceError, CoalesceReport, concatenate, merge_v2};
pub use keep_samples::{OtherContent, Point, keep_samples, keep_samples_v2};
pub use split::{SplitReport, SplitSize, split, split_v2};
