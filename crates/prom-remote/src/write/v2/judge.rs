//! Judges one series of a 2.0 request.

use super::{SeriesV2View, SymbolTable};
use crate::{
    Fault, Limits,
    write::judge::{Faults, judge_histograms, judge_labels},
};

impl<'a> SeriesV2View<'a> {
    /// Returns the faults of the series under remote write 2.0, each kind once at its first place; empty for a good
    /// series.
    ///
    /// Allocates only if there is a fault.
    pub fn faults(&self, symbols: &SymbolTable<'a>, limits: &Limits) -> Vec<Fault> {
        let mut faults = Faults::default();
        let exists = |reference: u32| symbols.get(reference).is_some();
        if !self.ref_count().is_multiple_of(2) {
            faults.add(Fault::OddLabelRefs { count: self.ref_count() });
        }
        let missing = self.refs().enumerate().find(|&(_, reference)| !exists(reference));
        if let Some((index, symbol)) = missing {
            faults.add(Fault::LabelRefOutOfRange { label: index / 2, symbol });
        }
        judge_labels(&mut faults, self.ref_count() / 2, self.labels(symbols), limits);
        if !self.is_in_time_order() {
            faults.add(Fault::TimeNotAscending);
        }
        let (samples, histograms) = (self.sample_count(), self.histogram_count());
        if samples > 0 && histograms > 0 {
            faults.add(Fault::SamplesAndHistograms);
        }
        if samples == 0 && histograms == 0 && self.exemplar_count() == 0 {
            faults.add(Fault::NoContent);
        }
        if histograms > 0 {
            judge_histograms(&mut faults, self.histograms(), false);
        }
        let bad_exemplar = self.exemplars().position(|exemplar| {
            exemplar.refs().any(|reference| !exists(reference)) || !exemplar.refs().count().is_multiple_of(2)
        });
        if let Some(exemplar) = bad_exemplar {
            faults.add(Fault::ExemplarRefs { exemplar });
        }
        if let Some(metadata) = self.metadata() {
            let missing = [metadata.help, metadata.unit].into_iter().find(|&reference| !exists(reference));
            if let Some(symbol) = missing {
                faults.add(Fault::MetadataRefOutOfRange { symbol });
            }
        }
        faults.list
    }
}
