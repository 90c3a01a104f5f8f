//! Has the merger look at both its ends: what the database takes, and where the sources would collide.

use std::{process::Stdio, time::Duration};

use serde::Deserialize;
use tokio::{process::Command, time::timeout};

use super::{Held, Workplace};
use crate::{
    process::TOKEN_VARIABLE,
    progress::{Event, Reporter},
};

/// What of `prom-merger preflight --format json` is told.
#[derive(Debug, Deserialize)]
struct Report {
    findings: Vec<Finding>,
}

#[derive(Debug, Deserialize)]
struct Finding {
    severity: String,
    about: String,
    what: String,
    advice: String,
}

/// Tells what the merger finds. Data flow already when it is asked, so that nothing of it is an error of the testbed, and
/// neither is a preflight that fails.
pub(super) async fn tell(place: &Workplace, held: &Held, reporter: &mut impl Reporter) {
    let what = "asking the database what it takes and the sources where they collide";
    let begun = std::time::Instant::now();
    reporter.event(Event::Begin { what: what.to_owned(), expected: None });
    match find(place, held).await {
        Ok(findings) => {
            let count = |severity: &str| findings.iter().filter(|found| found.severity == severity).count();
            let result = format!("{} errors, {} warnings", count("error"), count("warning"));
            reporter.event(Event::Done { what: what.to_owned(), result, took: begun.elapsed() });
            for Finding { severity, about, what, advice } in findings {
                if severity != "note" {
                    let separator = if advice.is_empty() { "" } else { "; " };
                    reporter.note(format!("{severity}: {about}: {what}{separator}{advice}"));
                }
            }
        }
        Err(reason) => {
            reporter.event(Event::Abandoned);
            reporter.note(format!("warning: no preflight: {reason}"));
        }
    }
}

async fn find(place: &Workplace, held: &Held) -> Result<Vec<Finding>, String> {
    let mut command = Command::new(&place.own.prom_merger);
    command
        .args(["preflight", "--format", "json", "--config"])
        .arg(held.folder.path().join("configs/merger.yaml"))
        .env_clear()
        .env(TOKEN_VARIABLE, held.ledger.token())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(LIMIT, command.output())
        .await
        .map_err(|_| format!("prom-merger did not end within {} s", LIMIT.as_secs()))?
        .map_err(|error| format!("{}: {error}", place.own.prom_merger.display()))?;
    let report: Report = serde_json::from_slice(&output.stdout).map_err(|error| {
        let words = String::from_utf8_lossy(&output.stderr);
        format!("prom-merger says: {} ({error})", words.lines().last().unwrap_or("nothing"))
    })?;
    Ok(report.findings)
}

const LIMIT: Duration = Duration::from_secs(60);
