//! What can be wrong with a series.

use thiserror::Error;

use super::histogram::HistogramFault;

/// What is wrong with a series. `label` is the number of the label in the series, from 0.
///
/// The rules are those of remote write 1.0, "Labels" and "Ordering", of remote write 2.0, and of the native histograms
/// specification. On 1.0 a series without any sample is no fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The series has no label at all. Prometheus 2.42 answers 500, so that a sender retries for ever.
    #[error("no labels")]
    NoLabels,
    /// No `__name__`, or an empty one.
    #[error("no metric name")]
    MissingMetricName,
    /// A label without a name.
    #[error("label {label} has an empty name")]
    EmptyLabelName {
        /// Which label.
        label: usize,
    },
    /// A label name that an earlier label has. Prometheus 2.42 answers 500.
    #[error("label {label} repeats a name")]
    DuplicateLabelName {
        /// Which label, in the order of names if the labels are unsorted.
        label: usize,
    },
    /// A label name that is not UTF-8.
    #[error("label {label} has a name that is not UTF-8")]
    NameNotUtf8 {
        /// Which label.
        label: usize,
    },
    /// A label value that is not UTF-8. Prometheus 2.42 stores it and returns it.
    #[error("label {label} has a value that is not UTF-8")]
    ValueNotUtf8 {
        /// Which label.
        label: usize,
    },
    /// More labels than [`Limits::max_labels_per_series`](crate::Limits::max_labels_per_series).
    #[error("{count} labels, over the limit of {limit}")]
    TooManyLabels {
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A label name or value longer than [`Limits::max_label_bytes`](crate::Limits::max_label_bytes).
    #[error("label {label} is {length} bytes long, over the limit of {limit}")]
    LabelTooLong {
        /// Which label.
        label: usize,
        /// The length of its name or value, whichever is longer, in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Labels that are not sorted by the bytes of their names. [`LabelSplicer`](crate::LabelSplicer) sorts them.
    #[error("label {label} is out of order")]
    UnsortedLabels {
        /// The first label whose name is less than the name before it.
        label: usize,
    },
    /// A label with an empty value; it means the same as no label, and every receiver takes it so.
    #[error("label {label} has an empty value")]
    EmptyLabelValue {
        /// Which label.
        label: usize,
    },
    /// Time stands still or goes backwards within the series. Prometheus answers 204 and loses the later sample.
    #[error("timestamps do not ascend")]
    TimeNotAscending,
    /// A native histogram that Prometheus would refuse; the first one of the series.
    #[error("histogram {histogram}: {fault}")]
    Histogram {
        /// Which histogram of the series, from 0.
        histogram: usize,
        /// What is wrong with it.
        fault: HistogramFault,
    },
    /// 2.0: the label references are not pairs.
    #[error("{count} label references are not pairs")]
    OddLabelRefs {
        /// How many there are.
        count: usize,
    },
    /// 2.0: a label refers to a symbol that does not exist.
    #[error("label {label} refers to symbol {symbol}, which does not exist")]
    LabelRefOutOfRange {
        /// Which label.
        label: usize,
        /// The reference.
        symbol: u32,
    },
    /// 2.0: the labels of an exemplar are not pairs of existing symbols.
    #[error("the labels of exemplar {exemplar} are not pairs of symbols")]
    ExemplarRefs {
        /// Which exemplar of the series, from 0.
        exemplar: usize,
    },
    /// 2.0: help or unit of the metadata refer to a symbol that does not exist.
    #[error("metadata refers to symbol {symbol}, which does not exist")]
    MetadataRefOutOfRange {
        /// The reference.
        symbol: u32,
    },
    /// 2.0: neither a sample nor a histogram nor an exemplar. A series of exemplars alone is no fault: Prometheus
    /// itself sends such series.
    #[error("nothing in the series")]
    NoContent,
    /// 2.0: samples and histograms, which should be two series.
    #[error("both samples and histograms")]
    SamplesAndHistograms,
}

impl Fault {
    /// Returns what the fault means for the series.
    pub fn severity(self) -> Severity {
        match self {
            Self::UnsortedLabels { .. }
            | Self::EmptyLabelValue { .. }
            | Self::TimeNotAscending
            | Self::SamplesAndHistograms => Severity::Tolerated,
            Self::Histogram { fault, .. } if fault.is_tolerated() => Severity::Tolerated,
            _ => Severity::Rejected,
        }
    }
}

/// What a fault means for its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Against the specification, but the series means something and can be delivered (perhaps split or sorted).
    Tolerated,
    /// The series must not reach a destination that others share.
    Rejected,
}

/// What is wrong with a request as a whole. None of it keeps a series from being understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum RequestFault {
    /// 2.0: the first symbol is not the empty one, so that a reference of 0, which stands for nothing in metadata, means
    /// something. Prometheus does not look.
    #[error("the first symbol is not empty")]
    FirstSymbolNotEmpty,
}
