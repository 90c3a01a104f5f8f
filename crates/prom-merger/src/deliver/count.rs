//! Counts what a destination has taken, and what it goes without.

use prom_remote::{Loss, Summary};
use prom_remote_http::{Sent, WriteForm};
use tracing::warn;

use super::{lane::Lane, outgoing::Outgoing};
use crate::{ingest::sample_count, metrics::NotTaken};

impl Lane {
    pub(super) fn count_taken(&self, request: &Outgoing, sent: &Sent) {
        let Self { metrics, .. } = self;
        metrics.is_blocked.set(false);
        metrics.is_down.set(false);
        metrics.delivered_requests.add(1);
        metrics.delivered_samples.add(sample_count(&request.summary));
        metrics.delivered_bytes.add(request.body_length(sent.form) as u64);
        if let Some(bounds) = request.summary.timestamps {
            metrics.last_delivered.raise(bounds.max_ms);
        }
        self.count_losses(&sent.losses);
        if let Some(written) = sent.written.counts.filter(|_| sent.form == WriteForm::V2) {
            let Summary { samples, histograms, exemplars, .. } = request.summary;
            let missing = |sent: usize, written: u64| (sent as u64).saturating_sub(written);
            self.count_not_taken(NotTaken::Samples, missing(samples, written.samples));
            self.count_not_taken(NotTaken::Histograms, missing(histograms, written.histograms));
            self.count_not_taken(NotTaken::Exemplars, missing(exemplars, written.exemplars));
        }
    }

    pub(super) fn count_losses(&self, losses: &[Loss]) {
        for loss in losses {
            self.count_not_taken(NotTaken::of_loss(loss), loss.count as u64);
        }
    }

    /// Counts, and tells of the first of its kind.
    fn count_not_taken(&self, kind: NotTaken, count: u64) {
        if self.metrics.count_not_taken(kind, count) {
            let (source, destination) = self.names();
            warn!(
                source,
                destination,
                kind = kind.name(),
                count,
                "destination does not take this kind of data"
            );
        }
    }
}
