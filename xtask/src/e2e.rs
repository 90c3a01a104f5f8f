//! `cargo xtask e2e`: the tests of the crate `e2e`.

use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
};

use clap::Args;

#[derive(Args)]
pub struct Arguments {
    /// Only tests whose name contains this
    filter: Option<String>,
    /// The long forms too: twenty resets, every version of Kafka
    #[arg(long)]
    long: bool,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(workspace)
        .args(["test", "-p", "e2e"])
        .args(&arguments.filter)
        .args(["--", "--nocapture"])
        .args(arguments.long.then_some("--include-ignored"))
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
