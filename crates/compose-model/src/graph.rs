//! The order in which services start and stop.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use yaml_source::Severity;

use crate::{Finding, Path, Project, ServiceName};

/// Services that wait for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Each service depends on the next one; the last one is the first again.
    pub chain: Vec<ServiceName>,
}

impl Cycle {
    /// Returns the cycle as a finding, at its first dependency, with the other dependencies beside it.
    pub fn finding(&self) -> Finding {
        let edges = self.chain.iter().zip(self.chain.iter().skip(1));
        let mut places =
            edges.map(|(from, to)| (dependency_path(from, to), format!("{from} depends on {to} here")));
        let path = places.next().map_or_else(Path::default, |(path, _)| path);
        Finding {
            severity: Severity::Error,
            path,
            message: self.to_string(),
            hint: None,
            related: places.collect(),
        }
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.chain.iter().map(|name| name.as_str()).collect();
        write!(formatter, "services depend on each other in a circle: {}", names.join(" -> "))
    }
}

/// All circles that were found: nothing in them can start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(Cycle::to_string).collect::<Vec<_>>().join("; "))]
pub struct CycleError(
    /// At least one, none of which shares a service with another.
    pub Vec<Cycle>,
);

/// Returns the services in levels: a service's dependencies are all in earlier levels, and within a level the order is that of
/// the project. Dependencies on services that do not exist are left out; [`check`](crate::check()) reports them.
///
/// # Errors
/// When services depend on each other in a circle.
pub fn start_levels(project: &Project) -> Result<Vec<Vec<ServiceName>>, CycleError> {
    let mut waiting: HashMap<&ServiceName, usize> = HashMap::new();
    let mut dependents: HashMap<&ServiceName, Vec<&ServiceName>> = HashMap::new();
    for (name, service) in project.services.iter() {
        let dependencies =
            service.depends_on.keys().filter(|dependency| project.services.contains_key(*dependency));
        let count =
            dependencies.map(|dependency| dependents.entry(dependency).or_default().push(name)).count();
        waiting.insert(name, count);
    }
    let mut level: Vec<&ServiceName> =
        project.services.keys().filter(|name| waiting.get(name) == Some(&0)).collect();
    let mut levels = Vec::new();
    let position: HashMap<&ServiceName, usize> =
        project.services.keys().enumerate().map(|(at, name)| (name, at)).collect();
    while !level.is_empty() {
        let mut next = Vec::new();
        for name in &level {
            waiting.remove(name);
            for dependent in dependents.get(name).into_iter().flatten() {
                if let Some(count) = waiting.get_mut(dependent) {
                    *count -= 1;
                    if *count == 0 {
                        next.push(*dependent);
                    }
                }
            }
        }
        next.sort_by_key(|name| position.get(name));
        levels.push(level.into_iter().cloned().collect());
        level = next;
    }
    if waiting.is_empty() {
        Ok(levels)
    } else {
        Err(CycleError(cycles(project, &waiting.into_keys().collect())))
    }
}

/// Returns the levels of [`start_levels`] in reverse: a service stops before everything that it depends on.
///
/// # Errors
/// When services depend on each other in a circle.
pub fn stop_levels(project: &Project) -> Result<Vec<Vec<ServiceName>>, CycleError> {
    let mut levels = start_levels(project)?;
    levels.reverse();
    levels.iter_mut().for_each(|level| level.reverse());
    Ok(levels)
}

/// Every service in `stuck` depends on another one there: walking along these edges must come back somewhere.
fn cycles(project: &Project, stuck: &HashSet<&ServiceName>) -> Vec<Cycle> {
    let mut visited: HashSet<&ServiceName> = HashSet::new();
    let mut cycles = Vec::new();
    for start in project.services.keys().filter(|name| stuck.contains(name)) {
        let mut walk: Vec<&ServiceName> = Vec::new();
        let mut position: HashMap<&ServiceName, usize> = HashMap::new();
        let mut here = start;
        while visited.insert(here) {
            position.insert(here, walk.len());
            walk.push(here);
            let next = project
                .services
                .get(here)
                .and_then(|service| service.depends_on.keys().find(|name| stuck.contains(name)));
            let Some(next) = next else { break };
            if let Some(circle) = position.get(next).and_then(|at| walk.get(*at..)) {
                let chain = circle.iter().copied().chain(std::iter::once(next)).cloned().collect();
                cycles.push(Cycle { chain });
            }
            here = next;
        }
    }
    cycles
}

fn dependency_path(from: &ServiceName, to: &ServiceName) -> Path {
    Path::new(["services", from.as_str(), "depends_on", to.as_str()])
}
