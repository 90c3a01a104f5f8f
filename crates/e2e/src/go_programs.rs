//! Programs of the Go world, built from their modules once for all tests of this machine.
//!
//! They lie in the folder `go` of the shared cache. The first build of Prometheus takes some minutes, the others one.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use crate::{note, programs, testbed::shared_cache};

/// A program with its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoProgram {
    /// Name of the file in the cache.
    name: &'static str,
    module: &'static str,
    version: &'static str,
    /// The package of the program, below the module.
    package: &'static str,
}

/// Prometheus 3.16.
pub const PROMETHEUS_3: GoProgram = GoProgram {
    name: "prometheus-3.16",
    module: "github.com/prometheus/prometheus",
    version: "v0.316.0",
    package: "cmd/prometheus",
};

/// VictoriaMetrics 1.130, the single program.
pub const VICTORIA_METRICS: GoProgram = GoProgram {
    name: "victoria-metrics-1.130",
    module: "github.com/VictoriaMetrics/VictoriaMetrics",
    version: "v1.130.0",
    package: "app/victoria-metrics",
};

/// Its agent.
pub const VMAGENT: GoProgram =
    GoProgram { name: "vmagent-1.130", package: "app/vmagent", ..VICTORIA_METRICS };

impl GoProgram {
    /// The path of the program, which is built when it is not there.
    ///
    /// # Panics
    /// When there is no Go or the build fails.
    pub fn path(self) -> PathBuf {
        let folder = shared_cache().join("go");
        fs::create_dir_all(&folder).expect("the cache can be written");
        let program = folder.join(self.name);
        // Whoever comes while it is built waits, in other processes too.
        let lock = File::create(folder.join("lock")).expect("the cache can be written");
        flock(&lock, FlockOperation::LockExclusive).expect("a lock can be had");
        if !program.is_file() {
            note(&format!("building {}", self.name));
            let work =
                tempfile::Builder::new().prefix("build-").tempdir_in(&folder).expect("a folder can be made");
            fs::rename(self.build(work.path()), &program).expect("the cache can be written");
        }
        program
    }

    /// Builds in `folder`, as a package of a module of ours: `go install` refuses modules that replace others.
    fn build(self, folder: &Path) -> PathBuf {
        let Self { module, version, .. } = self;
        let package = format!("{module}/{}", self.package);
        let printed = go(folder, &["mod", "download", "-json", &format!("{module}@{version}")], "");
        let described: Value = serde_json::from_str(&printed).expect("go describes the module in JSON");
        let manifest = described["GoMod"].as_str().expect("the module has a go.mod");
        let manifest = fs::read_to_string(manifest).expect("go has fetched it");
        let tools = format!("//go:build tools\n\npackage wrap\n\nimport _ \"{package}\"\n");
        fs::write(folder.join("go.mod"), wrap(&manifest, module, version))
            .expect("the folder can be written");
        fs::write(folder.join("tools.go"), tools).expect("the folder can be written");
        go(folder, &["build", "-trimpath", "-o", self.name, &package], "-mod=mod");
        folder.join(self.name)
    }
}

/// The manifest of a module that needs `module` and replaces what that replaces, but for its own folders.
fn wrap(manifest: &str, module: &str, version: &str) -> String {
    let own_folder = |line: &&str| line.contains("=> ./") || line.contains("=> ../");
    let mut wrapped = String::new();
    for line in manifest.lines().filter(|line| !own_folder(line)) {
        wrapped += if line.starts_with("module ") { "module wrap" } else { line };
        wrapped.push('\n');
    }
    wrapped + &format!("\nrequire {module} {version}\n")
}

/// Runs Go in `folder` and returns what it prints.
fn go(folder: &Path, arguments: &[&str], flags: &str) -> String {
    let program = programs::on_search_path("go").unwrap_or_else(|| "/usr/local/go/bin/go".into());
    let output = Command::new(&program)
        .current_dir(folder)
        .args(arguments)
        // Fetches the tool chain that a module asks for.
        .env("GOTOOLCHAIN", "auto")
        .env("GOFLAGS", flags)
        .output()
        .unwrap_or_else(|error| {
            panic!("cannot start {}, which builds the peers: {error}", program.display())
        });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "go {arguments:?} failed:\n{stderr}");
    String::from_utf8(output.stdout).expect("go prints text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_module_keeps_its_replacements_but_not_its_folders() {
        let manifest = "module a/b\n\ngo 1.26\n\nreplace x/y => x/z v1.0.0\n\nreplace a/c => ./c\n";
        let wrapped = "module wrap\n\ngo 1.26\n\nreplace x/y => x/z v1.0.0\n\n\nrequire a/b v1.2.3\n";
        assert_eq!(wrap(manifest, "a/b", "v1.2.3"), wrapped);
    }
}
