//! The commands of this repository: parses arguments and calls the libraries.

mod bench;
mod docs;
mod e2e;
mod faults;
mod http;
mod pins;
mod programs;
mod show;
mod testbed;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Commands of the Kafka testbed
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring the testbed up, look at it, take it down
    Testbed(testbed::Arguments),
    /// Measure
    Bench(bench::Arguments),
    /// Run the tests that start the real programs
    E2e(e2e::Arguments),
    /// Break everything between senders and database, and compare what was acknowledged with what arrived
    Faults(faults::Arguments),
    /// Write the pages of docs/ that follow from the code
    Docs,
    /// Write the list of jars of a version of Kafka
    Pins(pins::Arguments),
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        match command {
            Command::Testbed(arguments) => testbed::run(arguments).await,
            Command::Bench(arguments) => bench::run(arguments).await,
            Command::E2e(arguments) => e2e::run(&arguments),
            Command::Faults(arguments) => faults::run(&arguments),
            Command::Docs => docs::run(),
            Command::Pins(arguments) => pins::run(&arguments),
        }
    })
}
