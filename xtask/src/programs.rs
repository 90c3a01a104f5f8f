//! The project's own programs: built beside this one, or an installed copy.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use kafka_testbed::provision::{OwnPrograms, find};

/// Builds the programs in release, like this one, and tells where they are.
///
/// Where there is no workspace (an installed copy), they are taken from the search path.
///
/// `offline` keeps cargo from asking registries.
pub fn build(search_path: &OsStr, offline: bool) -> Result<OwnPrograms, String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
    if !workspace.join("Cargo.toml").exists() {
        let installed = |name: &str| {
            find(search_path, name).ok_or_else(|| format!("the program {name} is not on the search path"))
        };
        return Ok(OwnPrograms {
            prom_merger: installed("prom-merger")?,
            kafka_load: installed("kafka-load")?,
            simulated_kubelet: installed("simulated-kubelet")?,
            testbed_supervisor: installed("testbed-supervisor")?,
        });
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(&cargo)
        .current_dir(workspace)
        .args([
            "build",
            "--release",
            "-p",
            "prom-merger",
            "-p",
            "kafka-load",
            "-p",
            "kafka-testbed",
            "--bins",
        ])
        .args(offline.then_some("--offline"))
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("cannot run {}: {error}", cargo.display()))?;
    if !status.success() {
        return Err("the build of the project's programs failed".to_owned());
    }
    Ok(in_target(workspace))
}

/// Where a build puts the programs.
pub fn in_target(workspace: &Path) -> OwnPrograms {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let target = if target.is_absolute() { target } else { workspace.join(target) };
    let program = |name: &str| target.join("release").join(name);
    OwnPrograms {
        prom_merger: program("prom-merger"),
        kafka_load: program("kafka-load"),
        simulated_kubelet: program("simulated-kubelet"),
        testbed_supervisor: program("testbed-supervisor"),
    }
}
