//! `cargo xtask faults`: the program `faults` of the crate `e2e`, which no crate may depend on.

use std::{
    env,
    ffi::OsString,
    path::Path,
    process::{Command, ExitCode},
};

use clap::Args;

#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// `--help` shows them: --kills N, --only NAME, --format json, …
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(workspace)
        .args(["run", "--quiet", "--release", "-p", "e2e", "--bin", "faults", "--"])
        .args(&arguments.arguments)
        .status();
    match status {
        // The program's own code, of which 0, 1 and 2 mean something.
        Ok(status) => {
            status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Err(error) => {
            eprintln!("error: cannot start cargo: {error}");
            ExitCode::FAILURE
        }
    }
}
