//! Set-up alone: everything that a testbed runs on, without a testbed.

use super::{Error, Workplace};
use crate::{
    doctor::{self, Depth, Finding, Level, Subject, Topic},
    progress::Reporter,
    provision::{self, Setup, Tools, pins},
    spec::Spec,
};

/// Finds or provides what the testbed of `spec` runs on, and removes what is damaged in the cache.
///
/// # Errors
/// When something is missing and cannot be provided; what was provided stays.
pub async fn set_up(place: &Workplace, spec: &Spec, reporter: &mut impl Reporter) -> Result<Tools, Error> {
    let setup = Setup { mend: true, ..setup_of(place, spec, "doctor") };
    Ok(provision::provide_alone(&setup, reporter).await?)
}

/// Examines this machine for the testbed of `spec`; changes nothing.
pub async fn examine(place: &Workplace, spec: &Spec, depth: Depth) -> Vec<Finding> {
    let subject = Subject {
        home: &place.home,
        name: &place.name,
        spec,
        search_path: &place.search_path,
        own: &place.own,
        fetching: &place.fetching,
    };
    doctor::examine(&subject, depth).await
}

/// What `up` looks at before it makes anything: ends it where the machine cannot bear the testbed, and tells what may
/// go wrong. What is missing is set-up's to provide or to refuse.
pub(super) async fn check_machine(
    place: &Workplace,
    spec: &Spec,
    reporter: &mut impl Reporter,
) -> Result<(), Error> {
    if place.folder().is_supervised() {
        // It runs, so the machine bears it, and has given it the memory that seems to lack now.
        return Ok(());
    }
    let mut fatal = Vec::new();
    for finding in examine(place, spec, Depth::Quick).await {
        match (finding.topic, finding.level) {
            (Topic::Programs | Topic::Jars, _) | (_, Level::Ok) => {}
            (_, Level::Warning) => reporter.note(format!("warning: {}", finding.line())),
            (_, Level::Fatal) => fatal.push(finding),
        }
    }
    if fatal.is_empty() { Ok(()) } else { Err(Error::Unfit(fatal)) }
}

/// What set-up needs to know for `command` on the testbed of `spec`.
pub(super) fn setup_of<'a>(place: &'a Workplace, spec: &Spec, command: &str) -> Setup<'a> {
    Setup {
        cache: place.home.cache(),
        search_path: &place.search_path,
        environment: place.environment.clone(),
        kafka: pins::kafka(spec.kafka.version),
        least_java: spec.kafka.version.least_java(),
        agent: pins::jmx_agent(),
        own: place.own.clone(),
        fetching: place.fetching.clone(),
        holder: format!("`{command}` of testbed `{}` (pid {})", place.name, std::process::id()),
        mend: false,
    }
}
