//! Remote write 2.0: labels by reference into one table of symbols.

mod append;
mod build;
mod intern;
mod judge;
mod keep;
mod scan;
mod series;
mod splice;
#[cfg(test)]
pub(crate) mod strategies;
mod strip;
mod symbols;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use append::AppendedSymbols;
pub(super) use build::{Interner, put_exemplar, put_metadata, put_refs, put_value_and_time};
pub use build::{LabelPairs, SeriesV2, WriteRequestV2Builder};
pub(super) use intern::{InternedSeries, has_unknown_fields};
pub use keep::{keep_series_v2, validate_v2};
pub(super) use series::start_of_histogram;
pub use series::{ExemplarV2View, LabelRef, MetadataV2View, SampleV2, SeriesV2View};
pub(crate) use splice::put_rewritten;
pub use symbols::SymbolTable;
pub use view::{EntriesV2, EntryV2, WriteRequestV2View};

// Field numbers of proto/io/prometheus/write/v2.proto.
pub(super) const SYMBOLS: u32 = 4;
pub(crate) const SERIES: u32 = 5;
pub(super) const LABEL_REFS: u32 = 1;
pub(super) const SAMPLES: u32 = 2;
pub(super) const HISTOGRAMS: u32 = 3;
pub(super) const EXEMPLARS: u32 = 4;
pub(super) const METADATA: u32 = 5;
