//! The real database at the end, and what it has.

use std::{collections::BTreeSet, path::Path, thread, time::Duration};

use prom_remote::{Matcher, Query, TimeRange};
use prom_remote_http::{ClientConfig, ReadClient};

use super::{
    ledger::{Balance, Found, Ledger},
    load::now_ms,
};
use crate::{go_programs::PROMETHEUS_3, http::block_on, prometheus::Prometheus, series::text};

/// A Prometheus that takes remote write 2.0, and samples out of order; all cases write to it, each under a label of its own.
#[derive(Debug)]
pub(super) struct Database(Prometheus);

impl Database {
    /// Starts one whose data lie in `folder`.
    ///
    /// # Panics
    /// When there is no Prometheus, or it does not start.
    pub(super) fn start(folder: &Path) -> Self {
        let config = "storage: {tsdb: {out_of_order_time_window: 2h}}\n";
        let mut prometheus = Prometheus::configured(folder, PROMETHEUS_3.path(), config, &[]);
        prometheus.start();
        Self(prometheus)
    }

    /// Its base address.
    pub(super) fn url(&self) -> String {
        self.0.url()
    }

    /// Compares what it has of a case with the ledger.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) fn balance(&self, case: &str, ledger: &Ledger) -> Result<Balance, String> {
        self.read(case).map(|found| ledger.balance(found))
    }

    /// The sources and times of which it has something of a case.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) fn times(&self, case: &str) -> Result<BTreeSet<(String, i64)>, String> {
        let mut times = BTreeSet::new();
        for (labels, samples) in self.read(case)? {
            let source = labels.get("source").cloned().unwrap_or_default();
            times.extend(samples.iter().map(|(timestamp_ms, _)| (source.clone(), *timestamp_ms)));
        }
        Ok(times)
    }

    /// Stops it in order, and starts it again after a while.
    ///
    /// # Panics
    /// When it does not stop or start.
    pub(super) fn restart_after(&mut self, pause: Duration) {
        self.0.stop();
        thread::sleep(pause);
        self.0.start();
    }

    /// Everything of a case, as the querier of Prometheus puts it together.
    fn read(&self, case: &str) -> Result<Found, String> {
        let config =
            ClientConfig::new(&format!("{}/api/v1/read", self.url())).map_err(|error| error.to_string())?;
        let client = ReadClient::new(config).map_err(|error| error.to_string())?;
        let now = now_ms();
        let range =
            TimeRange::new(now - 4 * HOUR_MS, now + 4 * HOUR_MS).map_err(|error| error.to_string())?;
        let query = Query { range, matchers: vec![Matcher::equal("case", case)] };
        let results = block_on(client.read_samples(&[query])).map_err(|error| error.to_string())?;
        let series = results.into_iter().flatten().map(|series| {
            let labels = text(series.labels.iter().map(|label| (&label.name[..], &label.value[..])));
            let samples = series.samples.iter().map(|sample| (sample.timestamp_ms, sample.value_bits));
            (labels, samples.collect())
        });
        Ok(series.collect())
    }
}

const HOUR_MS: i64 = 3_600_000;
