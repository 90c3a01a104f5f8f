//! Remote write: look at a request, judge its series, edit it, build it.

mod build;
mod edit;
mod fault;
mod histogram;
mod judge;
mod scan;
mod splice;
mod validate;
mod view;

pub use build::{MetricType, WriteRequestBuilder};
pub use edit::{InvalidLabel, LabelEdit};
pub use fault::{Fault, Severity};
pub use histogram::HistogramFault;
pub use splice::{LabelSplicer, SpliceReport};
pub use validate::{KeepReport, SeriesVerdict, ValidationReport, keep_series, validate};
pub use view::{
    Entries, Entry, HistogramView, LabelView, Labels, MetadataView, SeriesView, Summary, UnknownFieldView,
    WriteRequestView,
};

#[cfg(test)]
pub(crate) mod strategies;
