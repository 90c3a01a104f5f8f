//! Judges the labels and the content of one series, for both versions of the protocol.

use super::{
    fault::Fault,
    histogram::HistogramFault,
    view::{HistogramView, LabelView, SeriesView},
};
use crate::Limits;

impl SeriesView<'_> {
    /// Returns the faults of the series under remote write 1.0, each kind once at its first place; empty for a good
    /// series.
    ///
    /// Allocates only if there is a fault.
    pub fn faults(&self, limits: &Limits) -> Vec<Fault> {
        let mut faults = Faults::default();
        judge_labels(&mut faults, self.label_count(), self.labels(), limits);
        if !self.is_in_time_order() {
            faults.add(Fault::TimeNotAscending);
        }
        if self.histogram_count() > 0 {
            judge_histograms(&mut faults, self.histograms(), true);
        }
        faults.list
    }
}

pub(super) fn judge_histograms<'a>(
    faults: &mut Faults,
    histograms: impl Iterator<Item = HistogramView<'a>>,
    is_v1: bool,
) {
    for (index, histogram) in histograms.enumerate() {
        let custom_in_v1 =
            || (is_v1 && histogram.has_custom_buckets()).then_some(HistogramFault::CustomBucketsInV1);
        if let Some(fault) = histogram.fault().or_else(custom_in_v1) {
            faults.add_histogram(index, fault);
        }
    }
}

/// Judges `count` labels; more than the limits allow are not looked at, as what follows may sort them.
pub(super) fn judge_labels<'a>(
    faults: &mut Faults,
    count: usize,
    labels: impl Iterator<Item = LabelView<'a>> + Clone,
    limits: &Limits,
) {
    if count == 0 {
        faults.add(Fault::NoLabels);
        return;
    }
    if count > limits.max_labels_per_series {
        faults.add(Fault::TooManyLabels { count, limit: limits.max_labels_per_series });
        return;
    }
    let mut previous_name: Option<&[u8]> = None;
    let mut has_metric_name = false;
    let mut is_unsorted = false;
    for (index, label) in labels.clone().enumerate() {
        judge_label(faults, index, label, limits);
        has_metric_name |= label.name == b"__name__" && !label.value.is_empty();
        match previous_name {
            Some(previous) if label.name < previous => {
                is_unsorted = true;
                faults.add(Fault::UnsortedLabels { label: index });
            }
            Some(previous) if label.name == previous => {
                faults.add(Fault::DuplicateLabelName { label: index });
            }
            _ => {}
        }
        previous_name = Some(label.name);
    }
    if !has_metric_name {
        faults.add(Fault::MissingMetricName);
    }
    if is_unsorted {
        let mut names: Vec<_> = labels.map(|label| label.name).collect();
        names.sort_unstable();
        let mut pairs = names.iter().zip(names.iter().skip(1));
        if let Some(index) = pairs.position(|(a, b)| a == b) {
            faults.add(Fault::DuplicateLabelName { label: index + 1 });
        }
    }
}

fn judge_label(faults: &mut Faults, index: usize, label: LabelView<'_>, limits: &Limits) {
    let length = label.name.len().max(label.value.len());
    if length > limits.max_label_bytes {
        faults.add(Fault::LabelTooLong { label: index, length, limit: limits.max_label_bytes });
    }
    if label.name.is_empty() {
        faults.add(Fault::EmptyLabelName { label: index });
    }
    if label.value.is_empty() {
        faults.add(Fault::EmptyLabelValue { label: index });
    }
    if !is_utf8(label.name) {
        faults.add(Fault::NameNotUtf8 { label: index });
    }
    if !is_utf8(label.value) {
        faults.add(Fault::ValueNotUtf8 { label: index });
    }
}

#[inline]
pub(super) fn is_utf8(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}

/// Faults with each kind once, so that a series of a million bad labels has a short list.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) list: Vec<Fault>,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        let is_known =
            self.list.iter().any(|known| std::mem::discriminant(known) == std::mem::discriminant(&fault));
        if !is_known {
            self.list.push(fault);
        }
    }

    /// A histogram that rejects the series is told rather than one before it that is tolerated.
    fn add_histogram(&mut self, histogram: usize, fault: HistogramFault) {
        if !fault.is_tolerated() {
            self.list
                .retain(|known| !matches!(known, Fault::Histogram { fault, .. } if fault.is_tolerated()));
        }
        self.add(Fault::Histogram { histogram, fault });
    }
}
