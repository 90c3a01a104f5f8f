//! Remote write 1.0: look at a request, judge its series, edit it, build it.

mod build;
mod splice;
mod validate;
mod view;

pub use build::{MetricType, WriteRequestBuilder};
pub use splice::{InvalidLabel, LabelSplicer, SpliceReport};
pub use validate::{Fault, KeepReport, SeriesVerdict, Severity, ValidationReport, keep_series, validate};
pub use view::{
    Entries, Entry, HistogramView, LabelView, Labels, MetadataView, SeriesView, Summary, UnknownFieldView,
    WriteRequestView,
};

#[cfg(test)]
pub(crate) mod strategies;
