//! `down`: everything stops, in order; all data stays.

use std::time::{Duration, Instant};

use super::{Error, Workplace, end_living, living};
use crate::{
    control::{self, Request},
    ledger::Ledger,
    progress::{Event, Reporter},
};

/// Longest time that a whole testbed may take to end in order.
const LIMIT: Duration = Duration::from_secs(240);

/// What `down` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownReport {
    /// How many processes were ended.
    pub ended: usize,
    /// How long it took.
    pub took: Duration,
}

/// The processes that `down` would end: name of the service or other purpose, and pid.
///
/// # Errors
/// When the ledger cannot be read.
pub fn would_end(place: &Workplace) -> Result<Vec<(String, u32)>, Error> {
    let folder = place.folder();
    if !folder.ledger().exists() {
        return Ok(Vec::new());
    }
    let ledger = Ledger::open(&folder.ledger())?;
    let running = ledger.running();
    let name = |pid: u32| {
        let known = running.iter().rev().find(|(_, process)| process.pid == pid);
        known.map_or_else(|| "started by the testbed".to_owned(), |(what, _)| what.clone())
    };
    Ok(living(&ledger).iter().map(|process| (name(process.pid), process.pid)).collect())
}

/// Stops the testbed; a testbed that does not run stays as it is.
///
/// # Errors
/// When another command works on it, or a process survives every signal.
pub async fn down(place: &Workplace, reporter: &mut impl Reporter) -> Result<DownReport, Error> {
    let folder = place.folder();
    let begun = Instant::now();
    if !folder.ledger().exists() {
        return Ok(DownReport { ended: 0, took: begun.elapsed() });
    }
    let _lock = folder.lock(&format!("`down`, pid {}", std::process::id()))?;
    let ledger = Ledger::open(&folder.ledger())?;
    let at_first = living(&ledger).len();
    if at_first == 0 {
        return Ok(DownReport { ended: 0, took: begun.elapsed() });
    }
    let what = "stopping the services".to_owned();
    reporter.event(Event::Begin { what: what.clone(), expected: None });
    if folder.is_supervised() && control::ask(&folder, Request::Stop).await.is_ok() {
        while folder.is_supervised() && begun.elapsed() < LIMIT {
            if let Ok(status) = control::ask(&folder, Request::Status).await {
                let left: Vec<&str> = status
                    .services
                    .iter()
                    .filter(|service| service.pid.is_some())
                    .map(|service| service.name.as_str())
                    .collect();
                let all = status.services.len() as u64;
                let parts = Some((all - left.len() as u64, all));
                reporter.event(Event::Going { detail: format!("still running: {}", left.join(", ")), parts });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    // Whatever the supervisor did not know or could not end.
    let ledger = Ledger::open(&folder.ledger())?;
    end_living(&folder, &ledger).await?;
    reporter.event(Event::Done {
        what,
        result: format!("{at_first} processes ended"),
        took: begun.elapsed(),
    });
    Ok(DownReport { ended: at_first, took: begun.elapsed() })
}
