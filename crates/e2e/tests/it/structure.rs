//! Who may know whom: what a crate does not depend on, however indirectly.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

const FORBIDDEN: &[(&str, &[&str])] = &[
    ("yaml-source", &["serde", "tokio", "compose-model"]),
    ("compose-model", &["serde", "tokio", "kafka-testbed", "reqwest"]),
    ("prom-chunks", &["prost", "tokio", "serde"]),
    ("prom-remote", &["tokio", "reqwest", "axum"]),
    ("sample-journal", &["prost", "tokio", "reqwest", "axum", "prom-remote"]),
    ("prom-remote-http", &["sample-journal", "prom-merger"]),
    ("prom-merger", &["compose-model", "kafka-testbed", "kafka-load", "rdkafka"]),
    ("kafka-load", &["kafka-testbed", "prom-merger", "prom-remote"]),
    ("kafka-testbed", &["clap", "prom-merger", "kafka-load", "rdkafka"]),
    ("xtask", &["prom-merger", "kafka-load", "rdkafka"]),
];

#[test]
fn crates_know_only_what_they_may() {
    let metadata = MetadataCommand::new()
        .current_dir(e2e::programs::workspace())
        .exec()
        .expect("cargo describes the workspace");
    for (name, forbidden) in FORBIDDEN {
        let known = known(&metadata, name);
        for other in *forbidden {
            assert!(
                !known.contains(*other),
                "{name} must not depend on {other}; it does, perhaps through others"
            );
        }
    }
}

#[test]
fn nothing_depends_on_the_tests_or_the_commands() {
    let metadata = MetadataCommand::new()
        .current_dir(e2e::programs::workspace())
        .exec()
        .expect("cargo describes the workspace");
    for package in metadata.workspace_packages() {
        let known = known(&metadata, &package.name);
        for other in ["e2e", "xtask"] {
            assert!(!known.contains(other), "{} must not depend on {other}", package.name);
        }
    }
}

/// Each test that docs/merger-tests.md names is there.
#[test]
fn every_test_named_for_a_promise_of_the_merger_exists() {
    let workspace = e2e::programs::workspace();
    let page = fs::read_to_string(workspace.join("docs/merger-tests.md")).expect("the page is there");
    let mut count = 0;
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| **")).skip(1) {
        let named: Vec<_> = row.split('`').filter_map(|span| span.split_once(".rs::")).collect();
        assert!(!named.is_empty(), "no test in {row}");
        for (file, name) in named {
            let path = workspace.join(format!("{file}.rs"));
            let text =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(text.contains(&format!("fn {name}(")), "no {name} in {file}.rs");
            count += 1;
        }
    }
    assert!(count > 20, "{count} tests are named");
}

/// A name in docs/troubleshooting.md is one that a program tells and a test of these makes it tell, and the other way.
#[test]
fn every_documented_error_is_told_and_produced() {
    let workspace = e2e::programs::workspace();
    let read =
        |path: &Path| fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let documented = names(&read(&workspace.join("docs/troubleshooting.md")), "Name `");
    let produced: BTreeSet<String> = sources(&workspace.join("crates/e2e/tests"))
        .iter()
        .filter(|path| !path.ends_with("structure.rs"))
        .flat_map(|path| names(&read(path), "error["))
        .collect();
    let lifecycle = read(&workspace.join("crates/kafka-testbed/src/lifecycle.rs"));
    let (_, code) = lifecycle.split_once("pub fn code(&self)").expect("errors have names");
    let (code, _) = code.split_once("/// What the user can do").expect("then come the hints");
    let mut told = names(code, "=> \"");
    for path in sources(&workspace.join("xtask/src")) {
        let text = read(&path).replace(char::is_whitespace, "");
        told.extend(names(&text, "Failure::named(\""));
        told.extend(names(&text, "refused=|message:&str|Failure::named(\""));
    }
    // Processes that outlive SIGKILL hang in the kernel: no test can make one.
    told.remove("survivors");
    assert_eq!(documented, told, "documented and told");
    assert_eq!(documented, produced, "documented and produced by a test");
}

/// Every run of letters and dashes right behind `before`.
fn names(text: &str, before: &str) -> BTreeSet<String> {
    let name =
        |rest: &str| -> String { rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect() };
    text.split(before).skip(1).map(name).filter(|name| !name.is_empty()).collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Names of all packages that `name` is linked with.
fn known(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let names: BTreeMap<&PackageId, &str> =
        metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    let nodes = &metadata.resolve.as_ref().expect("the dependencies are resolved").nodes;
    let linked = |id: &PackageId| -> Vec<&PackageId> {
        let node = nodes.iter().find(|node| node.id == *id).expect("each package is resolved");
        let is_normal = |dependency: &&cargo_metadata::NodeDep| {
            dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
        };
        node.deps.iter().filter(is_normal).map(|dependency| &dependency.pkg).collect()
    };
    let root = metadata.workspace_packages().into_iter().find(|package| *package.name == *name);
    let root = root.unwrap_or_else(|| panic!("no crate {name}"));
    let mut waiting = linked(&root.id);
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if seen.insert(id) {
            waiting.extend(linked(id));
        }
    }
    seen.into_iter().map(|id| names[id].to_owned()).collect()
}
