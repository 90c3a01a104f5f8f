//! What becomes of a message on its way out: relabelled, labelled, relabelled again, compressed.

use std::sync::Arc;

use prom_remote::{
    Compressor, Limits, RelabelReport, RelabelRequestError, RelabelRule, Relabeled, Relabeler, Summary,
    WriteRequestBuilder, WriteRequestView,
};

use super::{
    destination::Destination,
    message::{AnySeries, Version},
    outgoing::Outgoing,
};
use crate::{metrics::LaneMetrics, source::SourceState};

/// The way of the messages of one lane.
pub(super) struct Pipeline {
    source: Arc<SourceState>,
    destination: Arc<Destination>,
    metrics: Arc<LaneMetrics>,
    /// The rules of the source, before its label.
    before: Option<Relabeler>,
    /// The rules of the destination, after it.
    after: Option<Relabeler>,
    /// Reused from message to message.
    relabelled: Vec<u8>,
    labelled: Vec<u8>,
    compressor: Compressor,
}

/// Name and value, sorted by name.
pub(super) type Labels = Vec<(Vec<u8>, Vec<u8>)>;

impl Pipeline {
    pub(super) fn new(
        source: Arc<SourceState>,
        destination: Arc<Destination>,
        metrics: Arc<LaneMetrics>,
    ) -> Result<Self, String> {
        let relabeler = |rules: &[RelabelRule]| match rules {
            [] => Ok(None),
            rules => Relabeler::new(rules).map(Some).map_err(|error| error.to_string()),
        };
        let (before, after) = (relabeler(&source.relabel)?, relabeler(&destination.config.relabel)?);
        let (relabelled, labelled, compressor) = (Vec::new(), Vec::new(), Compressor::new());
        Ok(Self { source, destination, metrics, before, after, relabelled, labelled, compressor })
    }

    /// Makes of a message what goes out; `None` if rules leave nothing of it. `summary` counts the message, and what
    /// rules drop is taken off.
    pub(super) fn outgoing(
        &mut self,
        version: Version,
        message: &[u8],
        summary: Summary,
    ) -> Result<Option<Outgoing>, String> {
        let (limits, metrics) = (&self.source.limits, &self.metrics);
        let mut dropped = 0;
        let mut labelled = message;
        if let Some(rules) = &mut self.before {
            let report = rewrite(rules, version, labelled, limits, &mut self.relabelled)?;
            dropped += report.dropped;
            labelled = &self.relabelled;
        }
        let splicer = &self.source.splicer;
        match version {
            Version::V1 => splicer.splice(labelled, limits, &mut self.labelled),
            Version::V2 => splicer.splice_v2(labelled, limits, &mut self.labelled),
        }
        .map_err(|error| error.to_string())?;
        let mut labelled = &self.labelled;
        if let Some(rules) = &mut self.after {
            let report = rewrite(rules, version, labelled, limits, &mut self.relabelled)?;
            dropped += report.dropped;
            labelled = &self.relabelled;
        }
        let mut summary = summary;
        if dropped > 0 {
            metrics.dropped_series.add(dropped as u64);
            summary = version.summary(labelled, limits).map_err(|error| error.to_string())?;
        }
        let is_empty = match version {
            Version::V1 => labelled.is_empty(),
            Version::V2 => summary.series == 0 && summary.unknown_fields == 0,
        };
        if is_empty {
            return Ok(None);
        }
        let form = self.destination.form_for(version);
        Outgoing::new(version, labelled, form, summary, limits, &mut self.compressor).map(Some)
    }

    /// The labels that a series has when it arrives; `None` if rules drop it.
    pub(super) fn final_labels(&mut self, series: &AnySeries<'_, '_>) -> Result<Option<Labels>, String> {
        let mut labels = Labels::new();
        series.for_each_label(|label| labels.push((label.name.to_vec(), label.value.to_vec())));
        let Some(labels) = relabel(self.before.as_mut(), labels)? else { return Ok(None) };
        // The splicer works on messages: here on one without samples.
        let mut builder = WriteRequestBuilder::new();
        builder.series(labels.iter().map(|(name, value)| (name, value)), []);
        let mut spliced = Vec::new();
        self.source
            .splicer
            .splice(&builder.finish(), &self.source.limits, &mut spliced)
            .map_err(|error| error.to_string())?;
        let mut labels = Labels::new();
        for series in WriteRequestView::new(&spliced).series() {
            let series = series.map_err(|error| error.to_string())?;
            let present = series.labels().filter(|label| !label.value.is_empty());
            labels.extend(present.map(|label| (label.name.to_vec(), label.value.to_vec())));
        }
        let labels = relabel(self.after.as_mut(), labels)?;
        Ok(labels.map(|mut labels| {
            labels.sort();
            labels
        }))
    }

    /// Gives memory back that a message of rare size has taken.
    pub(super) fn shrink(&mut self, bytes: usize) {
        self.relabelled.clear();
        self.labelled.clear();
        self.relabelled.shrink_to(bytes);
        self.labelled.shrink_to(bytes);
    }
}

fn rewrite(
    rules: &mut Relabeler,
    version: Version,
    message: &[u8],
    limits: &Limits,
    output: &mut Vec<u8>,
) -> Result<RelabelReport, String> {
    let done: Result<_, RelabelRequestError> = match version {
        Version::V1 => rules.rewrite(message, limits, output),
        Version::V2 => rules.rewrite_v2(message, limits, output),
    };
    done.map_err(|error| error.to_string())
}

fn relabel(rules: Option<&mut Relabeler>, labels: Labels) -> Result<Option<Labels>, String> {
    let Some(rules) = rules else { return Ok(Some(labels)) };
    let outcome = rules.apply(labels.iter().map(|(name, value)| (name, value)));
    Ok(match outcome.map_err(|error| error.to_string())? {
        Relabeled::Keep => Some(labels),
        Relabeled::Drop => None,
        Relabeled::Changed(changed) => {
            Some(changed.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect())
        }
    })
}
