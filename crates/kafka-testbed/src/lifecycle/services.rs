//! `start`, `stop`, `restart` of single services, and `scale`.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::{Error, Held, UpReport, Workplace, apply, io_error};
use crate::{
    adjustments::Scaled,
    control::{self, Request},
    home::TestbedFolder,
    progress::{Event, Reporter},
    status::{ServiceState, ServiceStatus, TestbedStatus},
};

/// Starts `services` (all when none is named) and what they need, and waits until they are ready.
///
/// # Errors
/// When the testbed does not run, there is no such service, or one does not become ready within the place's limit.
pub async fn start(
    place: &Workplace,
    services: &[String],
    reporter: &mut impl Reporter,
) -> Result<TestbedStatus, Error> {
    let request = Request::Start { services: services.to_vec() };
    change(place, "start", request, services, reporter, |service| service.ready).await
}

/// Stops `services` (all when none is named) while the supervisor stays; they stay stopped until somebody starts them.
///
/// # Errors
/// When the testbed does not run, there is no such service, or one does not end within the place's limit.
pub async fn stop(
    place: &Workplace,
    services: &[String],
    reporter: &mut impl Reporter,
) -> Result<TestbedStatus, Error> {
    let request = Request::StopServices { services: services.to_vec(), at_once: false };
    change(place, "stop", request, services, reporter, |service| service.pid.is_none()).await
}

/// Stops `services` (all when none is named), starts them again, and waits until they are ready.
///
/// # Errors
/// As [`start`].
pub async fn restart(
    place: &Workplace,
    services: &[String],
    reporter: &mut impl Reporter,
) -> Result<TestbedStatus, Error> {
    let before = control_status(place).await?;
    let starts = |name: &str| {
        before.services.iter().find(|service| service.name == name).map_or(0, |service| service.starts)
    };
    let request = Request::Restart { services: services.to_vec() };
    change(place, "restart", request, services, reporter, |service| {
        service.ready && service.starts > starts(&service.name)
    })
    .await
}

async fn control_status(place: &Workplace) -> Result<TestbedStatus, Error> {
    let folder = place.folder();
    if !folder.ledger().exists() {
        return Err(Error::Absent(place.name.clone()));
    }
    if !folder.is_supervised() {
        return Err(Error::NotRunning(place.name.clone()));
    }
    Ok(control::ask(&folder, Request::Status).await?)
}

async fn change(
    place: &Workplace,
    doing: &str,
    request: Request,
    services: &[String],
    reporter: &mut impl Reporter,
    is_done: impl Fn(&ServiceStatus) -> bool,
) -> Result<TestbedStatus, Error> {
    let held = Held::take(place, doing)?;
    if !held.folder.is_supervised() {
        return Err(Error::NotRunning(place.name.clone()));
    }
    let what =
        format!("{doing} {}", if services.is_empty() { "all".to_owned() } else { services.join(", ") });
    Change { what, request, services, limit: place.limit }.make(&held.folder, reporter, is_done).await
}

/// Something that the supervisor is asked to do with services.
pub(super) struct Change<'a> {
    /// As it is told.
    pub(super) what: String,
    pub(super) request: Request,
    /// Those that it concerns; all if empty.
    pub(super) services: &'a [String],
    /// How long it may take.
    pub(super) limit: Duration,
}

impl Change<'_> {
    /// Asks for it and waits until it is done with every service that it concerns.
    pub(super) async fn make(
        self,
        folder: &TestbedFolder,
        reporter: &mut impl Reporter,
        is_done: impl Fn(&ServiceStatus) -> bool,
    ) -> Result<TestbedStatus, Error> {
        let Self { what, request, services, limit } = self;
        let begun = Instant::now();
        reporter.event(Event::Begin { what: what.clone(), expected: None });
        let mut status = control::ask(folder, request).await?;
        loop {
            let concerned = || {
                let is_concerned =
                    |service: &&ServiceStatus| services.is_empty() || services.contains(&service.name);
                status.services.iter().filter(is_concerned)
            };
            let words = |service: &ServiceStatus| match &service.last_error {
                Some(error) => error.clone(),
                None => format!("is {:?}", service.state).to_lowercase(),
            };
            let failed =
                concerned().find(|service| service.state == ServiceState::Failed && !is_done(service));
            let left: Vec<&ServiceStatus> = concerned().filter(|service| !is_done(service)).collect();
            let late = left.first().filter(|_| begun.elapsed() > limit);
            if let Some(service) = failed.or(late.copied()) {
                reporter.event(Event::Abandoned);
                return Err(Error::Service { service: service.name.clone(), reason: words(service) });
            }
            let Some(first) = left.first() else {
                reporter.event(Event::Done { what, result: String::new(), took: begun.elapsed() });
                return Ok(status);
            };
            let all = concerned().count() as u64;
            let detail = format!("{}: {}", first.name, words(first).lines().next().unwrap_or_default());
            reporter.event(Event::Going { detail, parts: Some((all - left.len() as u64, all)) });
            tokio::time::sleep(Duration::from_millis(100)).await;
            status = control::ask(folder, Request::Status).await?;
        }
    }
}

/// Sets the number of workers: of a running testbed at once, else from its next `up`.
///
/// It holds until the specification says another number than it does now.
///
/// # Errors
/// When there is no testbed, or it does not become ready with so many.
pub async fn scale(
    place: &Workplace,
    workers: u32,
    reporter: &mut impl Reporter,
) -> Result<Option<UpReport>, Error> {
    let begun = Instant::now();
    let mut held = Held::take(place, "scale")?;
    let spec = held.spec(place)?;
    let path = held.folder.spec();
    let text = fs::read_to_string(&path).map_err(io_error("reading", &path))?;
    let instead_of = spec.workers.count;
    held.adjustments.workers = (workers != instead_of).then_some(Scaled { instead_of, count: workers });
    held.keep_adjustments()?;
    if !held.folder.is_supervised() {
        return Ok(None);
    }
    apply::go_over(place, &mut held, &spec, &text, begun, reporter).await.map(Some)
}
