//! The project's programs, built once for all tests.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use cargo_metadata::MetadataCommand;

/// The programs that the tests start.
const PROGRAMS: &[&str] = &["xtask", "prom-merger", "kafka-load", "simulated-kubelet", "testbed-supervisor"];

/// The folder of this workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("this crate is crates/e2e")
}

/// The folder of the release programs: `E2E_PROGRAMS`, or they are built.
///
/// # Panics
/// When the build fails or a program is missing.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = env::var_os("E2E_PROGRAMS").map_or_else(build, PathBuf::from);
        for name in PROGRAMS {
            let path = folder.join(name);
            assert!(path.is_file(), "the program {} is missing", path.display());
        }
        folder
    })
}

/// The path of one program.
pub fn path(name: &str) -> PathBuf {
    folder().join(name)
}

/// Finds `name` on the search path.
pub fn on_search_path(name: &str) -> Option<PathBuf> {
    let search_path = env::var_os("PATH")?;
    env::split_paths(&search_path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn build() -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let packages = ["xtask", "prom-merger", "kafka-load", "kafka-testbed"];
    let status = Command::new(cargo)
        .current_dir(workspace())
        .args(["build", "--release", "--bins"])
        .args(packages.iter().flat_map(|package| ["-p", package]))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the build of the programs failed");
    let metadata = MetadataCommand::new()
        .current_dir(workspace())
        .no_deps()
        .exec()
        .expect("cargo describes the workspace");
    metadata.target_directory.into_std_path_buf().join("release")
}
