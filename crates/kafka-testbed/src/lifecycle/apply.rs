//! From the running plan to another one, with as little as possible started again.

use std::{collections::BTreeSet, fs, time::Instant};

use compose_model::{MountKind, Project, Service};

use super::{
    Error, Held, UpReport, Workplace, read_runtime, reset,
    up::{prove, taken, write_files},
};
use crate::{
    backend::native,
    control::{self, Request},
    plan::Plan,
    progress::Reporter,
    spec::Spec,
    status::TestbedState,
};

/// What becomes of a service whose plan or files have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// It is new.
    New,
    /// It is in the plan no more.
    Gone,
    /// It reads its new files while it runs.
    Reload,
    /// It is started again.
    Restart,
    /// It is started again, and it holds data that others wait for.
    RestartWithData,
}

/// Every service that differs, in the order of the new plan.
pub(super) fn changes(held: &Held, running: &Project, plan: &Plan) -> Vec<(String, Change)> {
    let new_files: BTreeSet<String> = plan
        .files
        .iter()
        .filter(|file| {
            fs::read_to_string(held.folder.path().join(&file.path)).ok().as_ref() != Some(&file.content)
        })
        .map(|file| format!("./{}", file.path.display()))
        .collect();
    let mut changes = Vec::new();
    for (name, service) in plan.project.services.iter() {
        let change = match running.services.get(name) {
            None => Change::New,
            Some(before) if before == service && !mounts_any(service, &new_files) => continue,
            Some(before) if before == service && native::reloads(service) => Change::Reload,
            Some(_) if native::holds_data(service) => Change::RestartWithData,
            Some(_) => Change::Restart,
        };
        changes.push((name.to_string(), change));
    }
    let gone = running.services.keys().filter(|name| plan.project.services.get(*name).is_none());
    changes.extend(gone.map(|name| (name.to_string(), Change::Gone)));
    changes
}

fn mounts_any(service: &Service, files: &BTreeSet<String>) -> bool {
    service
        .volumes
        .iter()
        .filter(|mount| mount.kind == MountKind::Bind)
        .any(|mount| mount.source.as_ref().is_some_and(|source| files.contains(source)))
}

/// `up` on a running testbed: goes over to `spec` where it differs, repairs what is broken, proves.
pub(super) async fn go_over(
    place: &Workplace,
    held: &mut Held,
    spec: &Spec,
    text: &str,
    begun: Instant,
    reporter: &mut impl Reporter,
) -> Result<UpReport, Error> {
    if held.adjustments.resetting {
        reporter.note("an interrupted `reset` is finished");
        let status = reset::run(place, held, spec, text, reporter).await?;
        return Ok(UpReport { status, changed: true, took: begun.elapsed() });
    }
    let plan = held.plan(spec)?;
    let changed = apply(place, held, &plan, text, reporter).await?;
    let status = control::ask(&held.folder, Request::Status).await?;
    let healthy = status.state == TestbedState::Running;
    if !healthy {
        for service in status.services.iter().filter(|service| !service.ready) {
            let why =
                service.last_error.as_deref().and_then(|error| error.lines().next()).unwrap_or("not ready");
            reporter.note(format!("{}: {why}", service.name));
        }
        control::ask(&held.folder, Request::Start { services: Vec::new() }).await?;
    }
    let nothing_to_do = healthy && !changed;
    let status = prove(place, held, &plan, if nothing_to_do { 1 } else { 2 }, reporter).await?;
    Ok(UpReport { status, changed: !nothing_to_do, took: begun.elapsed() })
}

/// Goes over to `plan`; tells whether anything differed.
///
/// # Errors
/// [`Error::PlanChanged`] before anything is changed, when services with data would have to be started again and the
/// user did not allow that.
pub(super) async fn apply(
    place: &Workplace,
    held: &mut Held,
    plan: &Plan,
    text: &str,
    reporter: &mut impl Reporter,
) -> Result<bool, Error> {
    let running = crate::supervisor::read_plan(&held.folder)?;
    let changes = changes(held, &running, plan);
    let was_interrupted = held.adjustments.applying;
    if changes.is_empty() && !was_interrupted {
        return Ok(false);
    }
    let with_data: Vec<String> = changes
        .iter()
        .filter(|(_, change)| *change == Change::RestartWithData)
        .map(|(name, _)| name.clone())
        .collect();
    if !with_data.is_empty() && !place.restart_changed {
        return Err(Error::PlanChanged(with_data));
    }
    let mut new = Project::default();
    for (name, service) in plan.project.services.iter() {
        if changes.iter().any(|(changed, change)| changed == name.as_str() && *change == Change::New) {
            new.services.insert(name.clone(), service.clone());
        }
    }
    let taken = taken(&new);
    if !taken.is_empty() {
        return Err(Error::PortsTaken(taken));
    }
    for (name, change) in &changes {
        reporter.note(match change {
            Change::New => format!("{name}: new"),
            Change::Gone => format!("{name}: not in the specification any more, it is stopped"),
            Change::Reload => format!("{name}: reads its new configuration"),
            Change::Restart | Change::RestartWithData => format!("{name}: changed, it is started again"),
        });
    }
    // Once the plan is written, nothing tells any more what the services have of it.
    held.adjustments.applying = true;
    held.keep_adjustments()?;
    switch(place, held, plan, text).await?;
    for name in plan.project.services.keys().map(|name| name.as_str()) {
        let has_new_files =
            changes.iter().any(|(changed, change)| changed == name && *change == Change::Reload);
        if has_new_files || was_interrupted {
            reload_configuration(plan, name).await?;
        }
    }
    held.adjustments.applying = false;
    held.keep_adjustments()?;
    Ok(true)
}

/// Writes the plan and lets the supervisor go over to it.
pub(super) async fn switch(place: &Workplace, held: &mut Held, plan: &Plan, text: &str) -> Result<(), Error> {
    let runtime = read_runtime(&held.folder).ok_or_else(|| Error::NotRunning(place.name.clone()))?;
    write_files(held, plan, &runtime.tools, &place.name, text)?;
    control::ask(&held.folder, Request::Reload).await?;
    Ok(())
}

/// Asks a Prometheus to read its configuration again. Other services that reload see their new files themselves.
pub(super) async fn reload_configuration(plan: &Plan, name: &str) -> Result<(), Error> {
    let Some(service) = plan.project.services.get(name).filter(|service| native::is_prometheus(service))
    else {
        return Ok(());
    };
    let Some(address) = native::addresses(service).first().copied() else { return Ok(()) };
    let failed = |reason: String| Error::Reload { service: name.to_owned(), reason };
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(std::time::Duration::from_secs(10))
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let answer = client
        .post(format!("http://{address}/-/reload"))
        .send()
        .await
        .map_err(|error| failed(error.to_string()))?;
    if answer.status().is_success() {
        return Ok(());
    }
    let text: String = answer.text().await.unwrap_or_default().chars().take(500).collect();
    Err(failed(text))
}
