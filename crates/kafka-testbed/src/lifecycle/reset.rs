//! `reset`: a fresh Kafka and a fresh ZooKeeper, always both, while all metrics stay.
//!
//! A broker refuses to start with a ZooKeeper that does not know its cluster id, so neither is ever removed alone: that
//! a reset is under way is on the disk before the first byte goes, and the next `up` or `reset` finishes it.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use compose_model::Service;

use super::{
    Error, Held, Workplace, apply, end_living, io_error, living,
    services::Change,
    up::{prove, write_files},
};
use crate::{
    backend::native,
    control::{self, Request},
    home::TestbedFolder,
    ledger::{Entry, Ledger},
    progress::Reporter,
    spec::Spec,
    status::TestbedStatus,
};

/// Longest time that brokers and their clients may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(180);

/// What `reset` did.
#[derive(Debug, Clone, PartialEq)]
pub struct ResetReport {
    /// The run that begins now.
    pub run: u32,
    /// How the testbed is; nothing when it does not run.
    pub status: Option<TestbedStatus>,
    /// How long it took.
    pub took: Duration,
}

/// Gives the testbed a fresh Kafka and ZooKeeper, and the next run its own label.
///
/// # Errors
/// When there is no testbed, another command works on it, or it does not become ready again.
pub async fn reset(place: &Workplace, reporter: &mut impl Reporter) -> Result<ResetReport, Error> {
    let begun = Instant::now();
    let mut held = Held::take(place, "reset")?;
    let spec = held.spec(place)?;
    if !held.adjustments.resetting {
        held.adjustments.run += 1;
        held.adjustments.resetting = true;
        held.keep_adjustments()?;
    }
    let run = held.adjustments.run;
    let path = held.folder.spec();
    let text = fs::read_to_string(&path).map_err(io_error("reading", &path))?;
    if held.folder.is_supervised() {
        let status = self::run(place, &mut held, &spec, &text, reporter).await?;
        return Ok(ResetReport { run, status: Some(status), took: begun.elapsed() });
    }
    if !living(&held.ledger).is_empty() {
        reporter.note("processes live without their supervisor: ending them");
        end_living(&held.folder, &held.ledger).await?;
    }
    let plan = held.plan(&spec)?;
    remove_data(&held.folder, &held.ledger)?;
    if let Some(runtime) = super::read_runtime(&held.folder) {
        write_files(&mut held, &plan, &runtime.tools, &place.name, &text)?;
    }
    held.adjustments.resetting = false;
    held.keep_adjustments()?;
    Ok(ResetReport { run, status: None, took: begun.elapsed() })
}

/// Resets a supervised testbed whose adjustments say that a reset is under way.
pub(super) async fn run(
    place: &Workplace,
    held: &mut Held,
    spec: &Spec,
    text: &str,
    reporter: &mut impl Reporter,
) -> Result<TestbedStatus, Error> {
    let plan = held.plan(spec)?;
    let running = crate::supervisor::read_plan(&held.folder)?;
    let running = |is_meant: fn(&Service) -> bool| -> Vec<String> {
        let services = running.services.iter().filter(|(_, service)| is_meant(service));
        services.map(|(name, _)| name.to_string()).collect()
    };
    stop(held, "stopping the clients of Kafka", running(native::is_load), false, reporter).await?;
    // Their data goes, so they need not write it out.
    stop(held, "killing Kafka and ZooKeeper", running(native::is_kafka), true, reporter).await?;
    // The supervisor has written into it since.
    held.ledger = Ledger::open(&held.folder.ledger())?;
    remove_data(&held.folder, &held.ledger)?;
    let sources = ["kafka-prometheus", "kubernetes-prometheus"];
    apply::switch(place, held, &plan, text).await?;
    for source in sources {
        apply::reload_configuration(&plan, source).await?;
    }
    control::ask(&held.folder, Request::Start { services: Vec::new() }).await?;
    held.adjustments.resetting = false;
    held.keep_adjustments()?;
    prove(place, held, &plan, 2, reporter).await
}

async fn stop(
    held: &Held,
    what: &str,
    services: Vec<String>,
    at_once: bool,
    reporter: &mut impl Reporter,
) -> Result<(), Error> {
    if services.is_empty() {
        return Ok(());
    }
    let request = Request::StopServices { services: services.clone(), at_once };
    let change = Change { what: what.to_owned(), request, services: &services, limit: STOP_LIMIT };
    change.make(&held.folder, reporter, |service| service.pid.is_none()).await.map(drop)
}

/// Removes what brokers and ZooKeeper have stored, those of an earlier specification too. Nobody of them may run.
pub(super) fn remove_data(folder: &TestbedFolder, ledger: &Ledger) -> Result<(), Error> {
    let is_kafka = |path: &Path| {
        let name = path.strip_prefix("data").ok().and_then(|below| below.components().next());
        name.and_then(|name| name.as_os_str().to_str())
            .is_some_and(|name| name == "zookeeper" || name.starts_with("kafka-broker-"))
    };
    for entry in ledger.entries() {
        let Entry::Tree { path } = entry else { continue };
        if is_kafka(path) {
            let path = folder.path().join(path);
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("removing", &path)(error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
