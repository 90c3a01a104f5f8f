//! The commands of this repository: parses arguments and calls the libraries.

mod programs;
mod show;
mod testbed;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Commands of the Kafka testbed
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring the testbed up, look at it, take it down
    Testbed(testbed::Arguments),
}

fn main() -> ExitCode {
    let Arguments { command: Command::Testbed(arguments) } = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(testbed::run(arguments))
}
