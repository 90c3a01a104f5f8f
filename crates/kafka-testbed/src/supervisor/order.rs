//! Who waits for whom.

use std::collections::HashMap;

use compose_model::{Condition, Project};

/// For each service, by index into the plan: which services it waits for, and which wait for it.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) needs: Vec<Vec<(usize, Condition)>>,
    pub(super) needed_by: Vec<Vec<usize>>,
}

impl Links {
    /// The links of `project`, where `index` tells the index of each service.
    pub(super) fn of(project: &Project, index: &HashMap<String, usize>) -> Self {
        let mut needs = vec![Vec::new(); index.len()];
        let mut needed_by = vec![Vec::new(); index.len()];
        for (name, service) in project.services.iter() {
            let Some(own) = index.get(name.as_str()).copied() else { continue };
            for (needed, dependency) in service.depends_on.iter() {
                let Some(needed) = index.get(needed.as_str()).copied() else { continue };
                needs[own].push((needed, dependency.condition));
                needed_by[needed].push(own);
            }
        }
        Self { needs, needed_by }
    }

    /// `index` and everything that it waits for, near or far.
    pub(super) fn with_needs(&self, index: usize) -> Vec<usize> {
        let mut found = vec![index];
        let mut next = 0;
        while let Some(current) = found.get(next).copied() {
            for (needed, _) in &self.needs[current] {
                if !found.contains(needed) {
                    found.push(*needed);
                }
            }
            next += 1;
        }
        found
    }
}
