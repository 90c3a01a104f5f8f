//! Conversion between the two versions of remote write.
//!
//! Values, histograms and exemplars keep their bits. What the other version cannot express is left out and reported.

#[cfg(test)]
mod tests;
mod to_v1;
mod to_v2;

use thiserror::Error;

pub use to_v1::{ConvertedV1, convert_to_v1};
pub use to_v2::convert_to_v2;

/// What a conversion wrote and what it had to leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConversionReport {
    /// Series of the result.
    pub series: usize,
    /// Samples of the result.
    pub samples: usize,
    /// Native histograms of the result.
    pub histograms: usize,
    /// Exemplars of the result.
    pub exemplars: usize,
    /// What is not in the result, each kind once.
    pub losses: Vec<Loss>,
}

/// One kind of content that the other version cannot express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Loss {
    /// What was left out.
    pub kind: LossKind,
    /// How many times.
    pub count: usize,
    /// The first series that lost it; `None` if it did not stand in a series.
    pub first_series: Option<usize>,
}

/// What a conversion leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum LossKind {
    /// Native histograms with custom buckets, which 1.0 must not carry: the histogram is not in the result.
    #[error("histograms with custom buckets")]
    CustomBuckets,
    /// Start timestamps, which 1.0 does not know: the sample or histogram is in the result without it.
    #[error("start timestamps")]
    StartTimestamps,
    /// Metadata of a metric family of which the request has no series, which 2.0 has no place for.
    #[error("metadata without a series")]
    MetadataWithoutSeries,
    /// Metadata that differs from what an earlier series says of the same family.
    #[error("contradicting metadata")]
    ContradictingMetadata,
    /// Fields that this crate does not know, in the request, a series or its metadata. Those inside of samples and
    /// histograms are kept.
    #[error("unknown fields")]
    UnknownFields,
}

impl ConversionReport {
    fn lose(&mut self, kind: LossKind, count: usize, series: Option<usize>) {
        if count == 0 {
            return;
        }
        match self.losses.iter_mut().find(|loss| loss.kind == kind) {
            Some(loss) => loss.count += count,
            None => self.losses.push(Loss { kind, count, first_series: series }),
        }
    }

    /// Returns how many times this kind of content was left out.
    pub fn lost(&self, kind: LossKind) -> usize {
        self.losses.iter().find(|loss| loss.kind == kind).map_or(0, |loss| loss.count)
    }
}
