//! What is wrong with a project although every part of it is well formed.

use std::{collections::HashMap, net::IpAddr};

use yaml_source::{Severity, closest};

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
                findings.push(undefined(
                    path,
                    "service",
                    other.as_str(),
                    project.services.keys().map(|name| name.as_str()),
                ));
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
            findings.push(undefined(
                path,
                "network",
                network.as_str(),
                project.networks.keys().map(|name| name.as_str()),
            ));
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
            findings.push(undefined(
                path,
                "volume",
                source,
                project.volumes.keys().map(|name| name.as_str()),
            ));
        }
    }
}

/// Who published a port first, by port and protocol; one entry per address.
type Published<'a> = HashMap<(u16, Protocol), Vec<(Option<IpAddr>, Path, &'a Service)>>;

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
        let path = Path::new(["services", name.as_str(), "ports"]).index(index);
        let holders = published.entry((number.first, port.protocol)).or_default();
        // One conflict per port is enough; this also bounds the work.
        match holders.iter().find(|(address, ..)| overlap(*address, port.host_ip)) {
            None => holders.push((port.host_ip, path, service)),
            Some((_, first, holder)) => {
                let message =
                    format!("port {number}/{} of the host is published twice", port.protocol.as_str());
                let mut finding = error(path, message);
                finding.related.push((first.clone(), "also published here".to_owned()));
                if !together(holder, service) {
                    finding.severity = Severity::Warning;
                    finding.hint =
                        Some("this works only while the profiles are not used together".to_owned());
                }
                findings.push(finding);
            }
        }
    }
}

fn overlap(left: Option<IpAddr>, right: Option<IpAddr>) -> bool {
    let is_all = |address: Option<IpAddr>| address.is_none_or(|address| address.is_unspecified());
    left == right || is_all(left) || is_all(right)
}

/// Tells whether two services are certain to run together whenever the second one does.
fn together(left: &Service, right: &Service) -> bool {
    let always = |service: &Service| service.profiles.is_empty();
    let share = left.profiles.iter().any(|profile| right.profiles.contains(profile));
    always(left) || always(right) || share
}

fn undefined<'a>(path: Path, kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Finding {
    let hint = closest(name, known).map(|near| format!("did you mean `{near}`?"));
    Finding { hint, ..error(path, format!("the {kind} `{name}` is not defined")) }
}

fn error(path: Path, message: String) -> Finding {
    Finding { severity: Severity::Error, path, message, hint: None, related: Vec::new() }
}
