//! Programs and jars: there, missing or damaged.

use std::{fs, path::Path, process::Stdio, time::Duration};

use tokio::process::Command;

use super::{Depth, FIX, Finding, Level, Subject, Topic, needs};
use crate::provision::{
    find, jars,
    pins::{self, PinnedSet},
    programs::{self, PROMETHEUS, Wanted},
};

/// Longest time that a program may take to say its version.
const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// What was found of programs and jars.
#[derive(Debug, Default)]
pub(super) struct Programs {
    pub(super) findings: Vec<Finding>,
    /// About how many bytes are to be fetched.
    pub(super) lacking_bytes: u64,
}

pub(super) async fn examine(subject: &Subject<'_>, depth: Depth) -> Programs {
    let mut programs = Programs::default();
    for wanted in [programs::java(subject.spec.kafka.version.least_java()), &PROMETHEUS] {
        program(wanted, subject, depth, &mut programs).await;
    }
    own(subject, &mut programs.findings);
    if depth == Depth::Whole {
        helpers(subject, &mut programs.findings);
    }
    for set in [pins::kafka(subject.spec.kafka.version), pins::jmx_agent()] {
        jar_set(&set, subject, depth, &mut programs);
    }
    programs
}

async fn program(wanted: &Wanted, subject: &Subject<'_>, depth: Depth, programs: &mut Programs) {
    let cache = subject.home.cache();
    for path in wanted.places(subject.search_path, &cache) {
        let place = path.display().to_string();
        if depth == Depth::Quick {
            programs.findings.push(Finding::new(Level::Ok, Topic::Programs, wanted.name, place));
            return;
        }
        let version = version(&path, wanted, subject).await;
        if (wanted.accepts)(&version) {
            let origin = if path.starts_with(&cache) { "in the cache" } else { "on the search path" };
            programs.findings.push(
                Finding::new(Level::Ok, Topic::Programs, wanted.name, place)
                    .why(format!("{origin}: {version}")),
            );
            return;
        }
        programs.findings.push(
            Finding::new(Level::Warning, Topic::Programs, format!("{} is passed over", wanted.name), place)
                .why(format!("it says \"{version}\", and {} or newer is needed", wanted.least)),
        );
    }
    programs.lacking_bytes += wanted.bytes;
    let what = format!("there is no {} ({} or newer)", wanted.name, wanted.least);
    let missing = |level| Finding::new(level, Topic::Programs, what.clone(), "search path and cache");
    let package = wanted.packages.first().copied().unwrap_or(wanted.name);
    programs.findings.push(if subject.fetching.offline {
        missing(Level::Fatal).why("offline, nothing is fetched").mend(FIX)
    } else if wanted.can_be_fetched(subject.search_path) {
        let from = match Wanted::has_package(subject.search_path) {
            true => "from a Debian package, which needs no root",
            false => "from its project's release",
        };
        missing(Level::Warning).why(format!("`up` fetches it {from}")).fixable()
    } else {
        missing(Level::Fatal)
            .why(format!("no release is pinned for machines of the kind {}", std::env::consts::ARCH))
            .mend(format!("sudo apt-get install {package}"))
    });
}

/// The first line that the program prints; what went wrong where it prints none.
async fn version(path: &Path, wanted: &Wanted, subject: &Subject<'_>) -> String {
    let run = Command::new(path)
        .args(wanted.version)
        .env_clear()
        .env("PATH", subject.search_path)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(VERSION_LIMIT, run).await {
        Ok(Ok(output)) => {
            let bytes = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
            let text = String::from_utf8_lossy(bytes);
            text.lines().next().unwrap_or_default().trim().chars().take(200).collect()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("nothing within {} s", VERSION_LIMIT.as_secs()),
    }
}

fn own(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for path in subject.own.all() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let place = path.display().to_string();
        findings.push(if path.is_file() {
            Finding::new(Level::Ok, Topic::Programs, name, place)
        } else {
            Finding::new(Level::Warning, Topic::Programs, format!("{name} is not built"), place)
                .why("`up` builds it")
                .fixable()
        });
    }
}

fn jar_set(set: &PinnedSet, subject: &Subject<'_>, depth: Depth, programs: &mut Programs) {
    let folder = jars::folder(&subject.home.cache(), set);
    let place = folder.display().to_string();
    let all = set.jars.len();
    let (missing, damaged) = match depth {
        // Their checksums are checked when they are used, at the latest.
        Depth::Quick => {
            let is_there = |name: String| fs::metadata(folder.join(name)).is_ok_and(|data| data.is_file());
            (set.jars.iter().filter(|pin| !is_there(pin.file_name())).count(), Vec::new())
        }
        Depth::Whole => match jars::survey(set, &folder) {
            Ok(survey) => (survey.missing.len(), survey.damaged),
            Err(error) => {
                programs.findings.push(
                    Finding::new(
                        Level::Fatal,
                        Topic::Jars,
                        format!("the jars of {} cannot be read", set.name),
                        place,
                    )
                    .why(error.to_string()),
                );
                return;
            }
        },
    };
    programs.lacking_bytes += needs::JAR_BYTES * (missing + damaged.len()) as u64;
    let may_not = subject.fetching.offline;
    let level = if may_not { Level::Fatal } else { Level::Warning };
    for jar in &damaged {
        let what = format!("a jar of {} is damaged", set.name);
        programs.findings.push(
            Finding::new(level, Topic::Jars, what, jar.path.display().to_string())
                .why(format!("its SHA-256 is {}, the pinned one is {}", jar.found, jar.expected))
                .fixable(),
        );
    }
    if missing > 0 {
        let what = format!("{missing} of {all} jars of {} are missing", set.name);
        let why = if may_not { "offline, nothing is fetched" } else { "`up` fetches them" };
        programs.findings.push(Finding::new(level, Topic::Jars, what, place).why(why).fixable());
    } else if damaged.is_empty() {
        let judged = if depth == Depth::Whole { ", checksums right" } else { "" };
        let what = format!("{all} jars of {}{judged}", set.name);
        programs.findings.push(Finding::new(Level::Ok, Topic::Jars, what, place));
    }
}

/// The programs that fetch others. Without them there is another way, so none is ever worse than good.
fn helpers(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for (name, otherwise) in [
        ("mvn", "jars that are missing come straight from Maven Central"),
        ("apt-get", "programs that are missing come from their projects' releases"),
        ("dpkg", "programs that are missing come from their projects' releases"),
    ] {
        findings.push(match find(subject.search_path, name) {
            Some(path) => Finding::new(Level::Ok, Topic::Programs, name, path.display().to_string()),
            None => {
                Finding::new(Level::Ok, Topic::Programs, format!("no {name}"), "search path").why(otherwise)
            }
        });
    }
}
