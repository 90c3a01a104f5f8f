//! Reading one Compose file.

mod attributes;
mod reading;
mod service;

use yaml_source::{
    Diagnostic, Diagnostics, Limits, MappingReader, Node, ScalarRules, Source, Span, ValueReader, parse,
};

use crate::{Finding, Network, Path, Project, ProjectName, Volume, dollar, place};
use reading::{boolean, extra, label_map, named, text};
use service::PortBudget;

/// A project with the file that it was read from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The project.
    pub project: Project,
    /// What is doubtful but no error, in the order of the file.
    pub warnings: Diagnostics,
    root: Node,
}

impl Loaded {
    /// Returns where a part of the project stands in the file; the nearest part above it when it was added later.
    pub fn locate(&self, path: &Path) -> Span {
        place::find(&self.root, path)
    }

    /// Gives the findings of [`check`](crate::check()) their places in the file.
    pub fn diagnostics(&self, findings: &[Finding]) -> Diagnostics {
        let mut diagnostics = Diagnostics::default();
        let mut worst_first: Vec<&Finding> = findings.iter().collect();
        worst_first.sort_by_key(|finding| finding.severity);
        for finding in worst_first {
            // Whatever comes when the collection is full is counted only: its place does not matter.
            let is_full = diagnostics.is_full();
            let locate = |path: &Path| if is_full { self.root.span.clone() } else { self.locate(path) };
            let message = format!("{}: {}", finding.path, finding.message);
            let mut diagnostic = Diagnostic::error(locate(&finding.path), message);
            diagnostic.severity = finding.severity;
            diagnostic.hint.clone_from(&finding.hint);
            for (path, message) in &finding.related {
                diagnostic = diagnostic.with_label(locate(path), message.clone());
            }
            diagnostics.push(diagnostic);
        }
        diagnostics.sort();
        diagnostics
    }
}

/// Reads a Compose file with the default limits.
///
/// # Errors
/// All faults of the file: what is no YAML, what has the wrong type, what is not supported yet. Names that are used but not
/// defined are the business of [`check`](crate::check()).
pub fn load(source: &Source) -> Result<Loaded, Diagnostics> {
    load_with_limits(source, &Limits::default())
}

/// Reads a Compose file; see [`load`].
///
/// # Errors
/// As [`load`], and when the file exceeds a limit.
pub fn load_with_limits(source: &Source, limits: &Limits) -> Result<Loaded, Diagnostics> {
    let parsed = parse(source, limits);
    let mut diagnostics = parsed.diagnostics;
    let Some(root) = parsed.root else {
        if !diagnostics.has_errors() {
            diagnostics.push(Diagnostic::error(source.span(0..0), "the file is empty"));
        }
        return Err(diagnostics);
    };
    dollar::survey(&root, &mut diagnostics);
    let reader = MappingReader::with_rules(&root, ScalarRules::Go, &mut diagnostics);
    let project = read_project(reader);
    diagnostics.sort();
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    Ok(Loaded { project, warnings: diagnostics, root })
}

fn read_project(mut reader: MappingReader<'_>) -> Project {
    let budget = PortBudget::default();
    Project {
        name: reader.optional("name", read_name),
        services: reader.or_default("services", |value| named(value, |value| service::read(value, &budget))),
        networks: reader.or_default("networks", |value| named(value, read_network)),
        volumes: reader.or_default("volumes", |value| named(value, read_volume)),
        extra: extra(&mut reader, &attributes::PROJECT),
    }
}

/// The name, made fit as Compose does it.
fn read_name(mut value: ValueReader<'_>) -> Option<ProjectName> {
    let text = text(value.reborrow())?;
    match ProjectName::normalized(&text) {
        Ok(name) => {
            if name.as_str() != text {
                value.warn(format_args!("the name becomes `{name}`"), None);
            }
            Some(name)
        }
        Err(error) => value.fail(error),
    }
}

fn read_network(value: ValueReader<'_>) -> Option<Network> {
    let mut reader = value.mapping()?;
    let (external, external_name) = reader.or_default("external", read_external);
    Some(Network {
        name: reader.optional("name", text).or(external_name),
        driver: reader.optional("driver", text),
        external,
        internal: reader.or_default("internal", boolean),
        labels: reader.or_default("labels", label_map),
        extra: extra(&mut reader, &attributes::NETWORK),
    })
}

fn read_volume(value: ValueReader<'_>) -> Option<Volume> {
    let mut reader = value.mapping()?;
    let (external, external_name) = reader.or_default("external", read_external);
    Some(Volume {
        name: reader.optional("name", text).or(external_name),
        driver: reader.optional("driver", text),
        external,
        labels: reader.or_default("labels", label_map),
        extra: extra(&mut reader, &attributes::VOLUME),
    })
}

/// A boolean, or the old form `{name: …}`.
fn read_external(value: ValueReader<'_>) -> Option<(bool, Option<String>)> {
    if value.node().as_mapping().is_none() {
        return boolean(value).map(|external| (external, None));
    }
    let mut reader = value.mapping()?;
    let name = reader.optional("name", text);
    reader.finish();
    Some((true, name))
}
