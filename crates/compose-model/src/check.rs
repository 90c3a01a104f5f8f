//! What is wrong with a project although every part of it is well formed.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use yaml_source::{Severity, closest, shown};

use crate::{Condition, HealthcheckTest, MountKind, Path, Project, Protocol, Service, ServiceName, graph};

/// Something that is wrong or doubtful in a project, by its path. [`Loaded::diagnostics`](crate::Loaded::diagnostics) adds
/// the place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub path: Path,
    /// What is wrong.
    pub message: String,
    /// What can be done.
    pub hint: Option<String>,
    /// Other places that belong to it, with what is there.
    pub related: Vec<(Path, String)>,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}: {}", self.severity, self.path, self.message)
    }
}

/// Finds services, networks and volumes that are used but not defined, circles of dependencies, ports of the host that
/// are published twice, waits for the health of a service that has no check, and services without an image.
///
/// The order is that of the project.
pub fn check(project: &Project) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut published = HashMap::new();
    for (name, service) in project.services.iter() {
        origin(name, service, &mut findings);
        dependencies(project, name, service, &mut findings);
        networks(project, name, service, &mut findings);
        volumes(project, name, service, &mut findings);
        ports(name, service, &mut published, &mut findings);
    }
    if let Err(graph::CycleError(cycles)) = graph::start_levels(project) {
        findings.extend(cycles.iter().map(graph::Cycle::finding));
    }
    findings
}

fn origin(name: &ServiceName, service: &Service, findings: &mut Vec<Finding>) {
    let has_origin = service.image.is_some()
        || service.extra.contains_key("build")
        || service.extra.contains_key("provider");
    if !has_origin {
        findings.push(error(
            Path::new(["services", name.as_str()]),
            "the service has neither `image` nor `build`".to_owned(),
        ));
    }
}

fn dependencies(project: &Project, name: &ServiceName, service: &Service, findings: &mut Vec<Finding>) {
    for (other, dependency) in service.depends_on.iter() {
        let path = Path::new(["services", name.as_str(), "depends_on", other.as_str()]);
        let Some(target) = project.services.get(other) else {
            if dependency.required {
                undefined(
                    path,
                    "service",
                    other.as_str(),
                    project.services.keys().map(|name| name.as_str()),
                    findings,
                );
            }
            continue;
        };
        if dependency.condition != Condition::Healthy {
            continue;
        }
        let check = target.healthcheck.as_ref();
        if check.is_some_and(|check| check.test == Some(HealthcheckTest::Disabled)) {
            findings.push(error(
                path,
                format!("waits for the health of `{other}`, whose health check is disabled"),
            ));
        } else if check.is_none_or(|check| check.test.is_none()) {
            let message = format!("waits for the health of `{other}`, which has no health check here");
            let hint = format!("give `{other}` a `healthcheck`, unless its image brings one");
            findings.push(Finding { severity: Severity::Warning, hint: Some(hint), ..error(path, message) });
        }
    }
}

fn networks(project: &Project, name: &ServiceName, service: &Service, findings: &mut Vec<Finding>) {
    for network in service.networks.keys() {
        if network.as_str() != "default" && !project.networks.contains_key(network) {
            let path = Path::new(["services", name.as_str(), "networks", network.as_str()]);
            undefined(
                path,
                "network",
                network.as_str(),
                project.networks.keys().map(|name| name.as_str()),
                findings,
            );
        }
    }
}

fn volumes(project: &Project, name: &ServiceName, service: &Service, findings: &mut Vec<Finding>) {
    for (index, mount) in service.volumes.iter().enumerate() {
        let Some(source) = mount.source.as_ref().filter(|_| mount.kind == MountKind::Volume) else {
            continue;
        };
        if !project.volumes.contains_key(source.as_str()) {
            let path = Path::new(["services", name.as_str(), "volumes"]).index(index);
            undefined(path, "volume", source, project.volumes.keys().map(|name| name.as_str()), findings);
        }
    }
}

/// Who published a port of the host, by port and protocol.
type Published<'a> = HashMap<(u16, Protocol), Holders<'a>>;

/// The first holder on any address, on all addresses, and on each address.
#[derive(Default)]
struct Holders<'a> {
    any: Option<Holder<'a>>,
    all: Option<Holder<'a>>,
    each: HashMap<IpAddr, Holder<'a>>,
}

#[derive(Clone)]
struct Holder<'a> {
    path: Path,
    service: &'a Service,
}

impl<'a> Holders<'a> {
    /// Enters a holder and returns one that it conflicts with.
    fn enter(&mut self, address: Option<IpAddr>, holder: Holder<'a>) -> Option<Holder<'a>> {
        let address = address.filter(|address| !address.is_unspecified());
        let conflict = match address {
            None => self.any.clone(),
            Some(address) => self.all.as_ref().or_else(|| self.each.get(&address)).cloned(),
        };
        self.any.get_or_insert_with(|| holder.clone());
        match address {
            None => drop(self.all.get_or_insert(holder)),
            Some(address) => drop(self.each.entry(address).or_insert(holder)),
        }
        conflict
    }
}

fn ports<'a>(
    name: &ServiceName,
    service: &'a Service,
    published: &mut Published<'a>,
    findings: &mut Vec<Finding>,
) {
    for (index, port) in service.ports.iter().enumerate() {
        // Of a range the engine takes a free port; 0 lets it choose.
        let Some(number) = port.published.filter(|ports| ports.first == ports.last && ports.first != 0)
        else {
            continue;
        };
        let holder = Holder { path: Path::new(["services", name.as_str(), "ports"]).index(index), service };
        let path = holder.path.clone();
        let holders = published.entry((number.first, port.protocol)).or_default();
        let Some(first) = holders.enter(port.host_ip, holder) else { continue };
        let message = format!("port {number}/{} of the host is published twice", port.protocol.as_str());
        let mut finding = error(path, message);
        finding.related.push((first.path, "also published here".to_owned()));
        if findings.len() < CAREFUL_FINDINGS && !together(first.service, service) {
            finding.severity = Severity::Warning;
            finding.hint = Some("this works only while the profiles are not used together".to_owned());
        }
        findings.push(finding);
    }
}

/// Tells whether two services are certain to run together whenever the second one does.
fn together(left: &Service, right: &Service) -> bool {
    let always = |service: &Service| service.profiles.is_empty();
    let profiles: HashSet<&String> = left.profiles.iter().collect();
    always(left) || always(right) || right.profiles.iter().any(|profile| profiles.contains(profile))
}

fn undefined<'a>(
    path: Path,
    kind: &str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
    findings: &mut Vec<Finding>,
) {
    let compared = if findings.len() < CAREFUL_FINDINGS { NAMES_COMPARED } else { 0 };
    let hint = closest(name, known.take(compared)).map(|near| format!("did you mean `{near}`?"));
    findings
        .push(Finding { hint, ..error(path, format!("the {kind} {} is not defined", shown::quoted(name))) });
}

fn error(path: Path, message: String) -> Finding {
    Finding { severity: Severity::Error, path, message, hint: None, related: Vec::new() }
}

/// Findings that get a second look; beyond them nobody reads.
const CAREFUL_FINDINGS: usize = 100;

/// Names that an undefined one is compared with.
const NAMES_COMPARED: usize = 300;
