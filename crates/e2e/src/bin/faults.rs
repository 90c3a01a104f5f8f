//! `cargo xtask faults`: runs the fault suite and prints what it found.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::SystemTime,
};

use clap::{Parser, ValueEnum};
use e2e::{
    faults::{Options, run},
    note,
};

/// Break everything between senders and database, and compare what was acknowledged with what arrived
///
/// Exit codes: 0 nothing lost, duplicated or altered; 1 something is, or a case could not be judged; 2 usage.
#[derive(Parser)]
#[command(name = "cargo xtask faults", bin_name = "cargo xtask faults")]
struct Arguments {
    /// Kill or end the merger so often at random moments under load
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// Cut the power at every so many operations of each disk
    #[arg(long, value_name = "OPERATIONS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    cut_every: u64,
    /// Try so many ways of tearing what was not synced at each cut
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    tears: u64,
    /// Begin chance with this number; without it, with the time
    #[arg(long)]
    seed: Option<u64>,
    /// Only cases whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn main() -> ExitCode {
    let Arguments { kills, cut_every, tears, seed, only, format } = Arguments::parse();
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = seed.unwrap_or_else(|| since.map_or(1, |since| since.as_secs()));
    let report = run(&Options { kills, cut_every, tears, seed, only }, note);
    let text = match format {
        Format::Text => report.text(),
        Format::Json => serde_json::to_string_pretty(&report).unwrap_or_default() + "\n",
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) if report.is_clean() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
