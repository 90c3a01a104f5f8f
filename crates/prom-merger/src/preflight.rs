//! Looks at both ends before the first byte flows: what each destination really takes, and where sources would collide.
//!
//! The destination is asked by writing: a few dozen samples of the series `prom_merger_preflight`, which stay there. A claim
//! is `stored` only when it was read back; an answer of 2xx alone is `accepted`, since there are receivers that answer so
//! and keep nothing. Sources are asked through the HTTP API of Prometheus; nothing is written to them.

mod capability;
mod collision;
mod report;
mod source_api;

use prom_remote_http::{ReadClient, WriteClient};

use crate::config::OnConflict;

pub use self::{
    capability::{Answer, BodyLimit, DestinationReport, Window},
    report::{Finding, PreflightReport, Severity},
    source_api::{SourceApi, SourceApiError, SourceReport},
};

/// A destination to look at.
#[derive(Debug)]
pub struct DestinationToCheck {
    /// What it is called.
    pub name: String,
    /// Where it is, as it is shown: without anything secret.
    pub url: String,
    /// To write to it.
    pub writer: WriteClient,
    /// To read back what was written, where it can be asked.
    pub reader: Option<ReadClient>,
    /// The largest message that the merger may send, in bytes; no larger one is tried.
    pub max_body_bytes: usize,
}

/// A source to look at.
#[derive(Debug)]
pub struct SourceToCheck {
    /// What it is called.
    pub name: String,
    /// Samples further ahead of the merger's clock are set aside, in milliseconds; 0 for no limit.
    pub future_limit_ms: i64,
    /// What becomes of a series that has the label of the merger already.
    pub on_conflict: OnConflict,
    /// Its HTTP API; `None` if nobody said where it is.
    pub api: Option<SourceApi>,
}

/// Looks at all of them, one after the other; `label` is the one that tells the sources apart, and `tell` hears what is
/// being looked at.
///
/// It never fails: what cannot be asked is a finding.
pub async fn preflight(
    label: &str,
    destinations: &[DestinationToCheck],
    sources: &[SourceToCheck],
    mut tell: impl FnMut(&str),
) -> PreflightReport {
    let mut report = PreflightReport::default();
    for destination in destinations {
        tell(&format!("destination {}: writing probes to {}", destination.name, destination.url));
        let found = capability::examine(label, destination).await;
        capability::judge(&found, &mut report.findings);
        report.destinations.push(found);
    }
    for source in sources {
        let Some(api) = &source.api else {
            report.findings.push(Finding::note(
                format!("source {}", source.name),
                "not looked at: its HTTP API is not known",
                "set sources[].pull.url",
            ));
            continue;
        };
        tell(&format!("source {}: asking {}", source.name, api.url()));
        match source_api::examine(label, source, api).await {
            Ok(found) => report.sources.push(found),
            Err(error) => report.findings.push(Finding::error(
                format!("source {}", source.name),
                format!("cannot be asked: {error}"),
                "check its address, or leave sources[].pull.url out",
            )),
        }
    }
    if sources.iter().filter(|source| source.api.is_some()).count() > 1 {
        tell("comparing the series of the sources");
    }
    collision::judge(label, sources, &report.sources, &mut report.findings).await;
    report
}
