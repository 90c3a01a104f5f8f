//! What this machine has, lacks and can bear, before a testbed is started on it.
//!
//! A look changes nothing. A finding says what was found, where, why it matters, and the one command that mends it.

mod address;
mod clock;
mod folders;
mod kernel;
mod limits;
mod memory;
mod needs;
mod ports;
mod programs;
mod text;

use std::{ffi::OsStr, path::Path};

use serde::Serialize;

pub use self::address::{Candidate, candidates};
use crate::{
    home::Home,
    ledger::{self, Entry},
    provision::{Fetching, OwnPrograms},
    spec::Spec,
};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// The testbed can run, perhaps badly, or something is fetched first.
    Warning,
    /// The testbed cannot run.
    Fatal,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Topic {
    /// Programs, the project's own and others.
    Programs,
    /// Pinned jars.
    Jars,
    /// Folders that are written to.
    Folders,
    /// Free space.
    Disk,
    /// Memory.
    Memory,
    /// Planned addresses and who has them.
    Ports,
    /// Limits of the kernel.
    Kernel,
    /// The clock.
    Clock,
    /// Addresses for the EXTERNAL listeners.
    Address,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is about.
    pub topic: Topic,
    /// What was found.
    pub what: String,
    /// Where: a path, an address, a setting of the kernel.
    #[serde(rename = "where")]
    pub place: String,
    /// Why it matters, or how it was judged; may be empty.
    pub why: String,
    /// The one command that mends it; nothing where nothing is to be mended or no command does.
    pub mend: Option<String>,
    /// Whether `doctor --fix` mends it.
    pub fixable: bool,
}

/// What `doctor --fix` is called.
pub const FIX: &str = "cargo xtask testbed doctor --fix";

impl Finding {
    fn new(level: Level, topic: Topic, what: impl Into<String>, place: impl Into<String>) -> Self {
        Self {
            level,
            topic,
            what: what.into(),
            place: place.into(),
            why: String::new(),
            mend: None,
            fixable: false,
        }
    }

    fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    fn mend(mut self, command: impl Into<String>) -> Self {
        self.mend = Some(command.into());
        self
    }

    fn fixable(mut self) -> Self {
        self.fixable = true;
        self.mend(FIX)
    }

    /// The finding as one line: what, where, why.
    pub fn line(&self) -> String {
        let why = if self.why.is_empty() { String::new() } else { format!(": {}", self.why) };
        format!("{} ({}){why}", self.what, self.place)
    }
}

/// What is to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Where the testbeds lie.
    pub home: &'a Home,
    /// Name of the testbed.
    pub name: &'a str,
    /// Its specification.
    pub spec: &'a Spec,
    /// The search path for programs.
    pub search_path: &'a OsStr,
    /// Our own programs.
    pub own: &'a OwnPrograms,
    /// Where set-up may fetch from.
    pub fetching: &'a Fetching,
}

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What can be seen without running a program or reading whole files: programs, jars, folders, disk, memory,
    /// kernel limits. Takes some milliseconds.
    Quick,
    /// Versions, checksums, ports, the clock and addresses too.
    Whole,
}

/// Examines this machine for the testbed of `subject`. Changes nothing; findings come in the order of their topics.
pub async fn examine(subject: &Subject<'_>, depth: Depth) -> Vec<Finding> {
    let root = Path::new("/");
    let programs = programs::examine(subject, depth).await;
    let lacking = needs::Lacking::of(&programs);
    let mut findings = programs.findings;
    findings.extend(folders::writable(subject, &lacking));
    findings.extend(folders::disk(subject, &lacking));
    findings.extend(memory::examine(root, subject.spec));
    if depth == Depth::Whole {
        findings.extend(ports::examine(subject));
    }
    findings.extend(kernel::examine(root, subject.spec));
    if depth == Depth::Whole {
        findings.extend(clock::examine(root));
        findings.extend(address::examine(root, subject.spec));
    }
    findings
}

/// The worst level of `findings`.
pub fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

/// Token and loopback block of the testbed, where it exists.
fn known(home: &Home, name: &str) -> Option<(String, [u8; 3])> {
    match ledger::read(&home.testbed(name).ledger()).ok()?.into_iter().next()? {
        Entry::Testbed { token, block, .. } => Some((token, block)),
        _ => None,
    }
}
