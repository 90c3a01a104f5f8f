//! Remote write: look at a request, judge its series, edit it, build it.

mod build;
mod bytes;
mod convert;
mod edit;
mod fault;
mod histogram;
mod judge;
mod regroup;
mod scan;
mod splice;
mod v2;
mod validate;
mod view;

pub use build::{MetricType, WriteRequestBuilder};
pub use convert::{ConversionReport, ConvertedV1, Loss, LossKind, convert_to_v1, convert_to_v2};
pub use edit::{InvalidLabel, LabelEdit};
pub use fault::{Fault, RequestFault, Severity};
pub use histogram::HistogramFault;
pub use regroup::{
    CoalesceError, CoalesceReport, OtherContent, Point, SplitReport, SplitSize, concatenate, keep_samples,
    keep_samples_v2, merge_v2, split, split_v2,
};
pub use splice::{LabelSplicer, SpliceReport};
pub(crate) use v2::{AppendedSymbols, SERIES as SERIES_V2, put_rewritten as put_rewritten_v2};
pub use v2::{
    EntriesV2, EntryV2, ExemplarV2View, LabelPairs, LabelRef, MetadataV2View, SampleV2, SeriesV2,
    SeriesV2View, SymbolTable, WriteRequestV2Builder, WriteRequestV2View, keep_series_v2, validate_v2,
};
pub use validate::{KeepReport, SeriesVerdict, ValidationReport, keep_series, validate};
pub use view::{
    Entries, Entry, HistogramView, LabelView, Labels, MetadataView, SeriesTimes, SeriesView, Summary,
    UnknownFieldView, WriteRequestView,
};

#[cfg(test)]
pub(crate) mod strategies;
#[cfg(test)]
pub(crate) use v2::strategies as strategies_v2;
