//! What was found, as data and as text.

use std::fmt::{self, Display, Formatter, Write as _};

use serde::Serialize;

use super::{Answer, DestinationReport, SourceReport, Window};

/// All that was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PreflightReport {
    /// What each destination takes.
    pub destinations: Vec<DestinationReport>,
    /// What each source that could be asked says of itself.
    pub sources: Vec<SourceReport>,
    /// What somebody should know or do; the worst first is not promised.
    pub findings: Vec<Finding>,
}

/// Something that somebody should know or do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Of whom it tells: a destination, a source, or two of them.
    pub about: String,
    /// What was found.
    pub what: String,
    /// What to do about it; empty if nothing.
    pub advice: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Data will be harder to use, or some of it will be set aside.
    Warning,
    /// Data cannot flow.
    Error,
}

impl Finding {
    fn new(severity: Severity, about: String, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { severity, about, what: what.into(), advice: advice.into() }
    }

    pub(super) fn note(about: String, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Severity::Note, about, what, advice)
    }

    pub(super) fn warning(about: String, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Severity::Warning, about, what, advice)
    }

    pub(super) fn error(about: String, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Severity::Error, about, what, advice)
    }
}

impl PreflightReport {
    /// Tells whether data can flow.
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity < Severity::Error)
    }
}

impl Display for Severity {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// As a person reads it.
impl Display for PreflightReport {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        for destination in &self.destinations {
            write_destination(formatter, destination)?;
        }
        for source in &self.sources {
            write_source(formatter, source)?;
        }
        for Finding { severity, about, what, advice } in &self.findings {
            writeln!(formatter, "{severity}: {about}: {what}")?;
            if !advice.is_empty() {
                writeln!(formatter, "    {advice}")?;
            }
        }
        let count = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        writeln!(formatter, "preflight: {errors} errors, {warnings} warnings")
    }
}

fn write_destination(formatter: &mut Formatter<'_>, found: &DestinationReport) -> fmt::Result {
    writeln!(formatter, "destination {}  {}", found.name, found.url)?;
    let mut row = |what: &str, text: String| writeln!(formatter, "  {what:<28} {text}");
    row("remote write 1.0", found.remote_write_1.to_string())?;
    let Some(details) = &found.details else { return writeln!(formatter) };
    row("remote write 2.0", details.remote_write_2.to_string())?;
    row("zstd", details.zstd.to_string())?;
    row("native histograms", details.native_histograms.to_string())?;
    row("floats out of order", details.floats_out_of_order.to_string())?;
    row("histograms out of order", details.histograms_out_of_order.to_string())?;
    row("a new series' first sample", details.oldest.to_string())?;
    row("another value, same time", details.conflict.to_string())?;
    row("largest message", details.body.to_string())?;
    row("one write takes", format!("{:.1} ms", details.round_trip_ms))?;
    writeln!(formatter)
}

fn write_source(formatter: &mut Formatter<'_>, found: &SourceReport) -> fmt::Result {
    writeln!(formatter, "source {}  {}", found.name, found.url)?;
    let mut row = |what: &str, text: String| writeln!(formatter, "  {what:<28} {text}");
    row("version", if found.version.is_empty() { "not told".to_owned() } else { found.version.clone() })?;
    let mut labels = String::new();
    for (name, value) in &found.external_labels {
        let _ = write!(labels, "{}{name}={value:?}", if labels.is_empty() { "" } else { ", " });
    }
    row("external labels", if labels.is_empty() { "none".to_owned() } else { labels })?;
    row("scrape interval", format!("{} s", found.scrape_interval_ms as f64 / 1e3))?;
    row("metrics", found.metric_names.len().to_string())?;
    row(
        "clock against ours",
        format!("{:+.3} s (± {:.3})", found.clock_skew_ms / 1e3, found.clock_uncertainty_ms / 1e3),
    )?;
    writeln!(formatter)
}

impl Display for Answer {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored => formatter.write_str("stored, read back"),
            Self::Accepted => formatter.write_str("accepted (no read_url to prove it by)"),
            Self::Swallowed => formatter.write_str("answered 2xx, but NOT stored"),
            Self::Refused { status, message } => write!(formatter, "refused: {status} {}", one_line(message)),
            Self::Failed { message } => write!(formatter, "not answered: {}", one_line(message)),
        }
    }
}

impl Display for Window {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match (self.accepted_ms, self.refused_ms) {
            (Some(accepted), None) => write!(formatter, "up to {} back and further", Span(accepted)),
            (Some(accepted), Some(refused)) => {
                write!(formatter, "up to {} back, not {}", Span(accepted), Span(refused))
            }
            (None, Some(refused)) => write!(formatter, "none: not even {} back", Span(refused)),
            (None, None) => formatter.write_str("not known"),
        }?;
        let Some(answer) = &self.refusal else { return Ok(()) };
        write!(formatter, " ({answer})")
    }
}

/// Milliseconds as people say them.
pub(super) struct Span(pub(super) i64);

impl Display for Span {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms >= 172_800_000 => write!(formatter, "{} d", ms / 86_400_000),
            ms if ms >= 3_600_000 => write!(formatter, "{} h", ms / 3_600_000),
            ms if ms >= 60_000 => write!(formatter, "{} min", ms / 60_000),
            ms => write!(formatter, "{} s", ms / 1_000),
        }
    }
}

pub(super) fn one_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.chars().take(120).collect()
}
