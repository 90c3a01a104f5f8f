//! `prom-merger`: merges the remote-write streams of several Prometheus servers into one database.

use std::{
    error::Error,
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use prom_merger::{Config, Merger, dead_letters};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;

/// Merge the remote-write streams of several Prometheus servers into one database under a source label.
///
/// Without a command: serve until SIGTERM or SIGINT.
///
/// Exit codes: 0 done, 1 failed, 2 usage, 64 invalid configuration.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(flatten)]
    common: Option<Common>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Args)]
struct Common {
    /// Read this configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Show these log lines, as in `info` or `prom_merger=debug`
    #[arg(long, env = "PROM_MERGER_LOG", default_value = "info", value_name = "FILTER")]
    log: EnvFilter,
}

#[derive(Subcommand)]
enum Command {
    /// Check a configuration file and say what is wrong with it
    Check(Common),
    /// List the dead letters of a merger that does not run (a running one has /api/v1/dead-letters/SOURCE)
    DeadLetters(Common),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (common, command) = match arguments {
        Arguments { command: Some(Command::Check(common)), .. } => (common, Activity::Check),
        Arguments { command: Some(Command::DeadLetters(common)), .. } => (common, Activity::DeadLetters),
        Arguments { common: Some(common), .. } => (common, Activity::Serve),
        _ => return talk("prom-merger: --config is missing", USAGE),
    };
    let Common { config, log } = common;
    tracing_subscriber::fmt()
        .with_env_filter(log)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    let config = match read_config(&config) {
        Ok(config) => config,
        Err(faults) => return talk(&faults, BAD_CONFIG),
    };
    let done = match command {
        Activity::Check => Ok(()),
        Activity::DeadLetters => list_dead_letters(&config),
        Activity::Serve => serve(config),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => talk(&format!("prom-merger: {}", chain(error.as_ref())), FAILED),
    }
}

enum Activity {
    Serve,
    Check,
    DeadLetters,
}

fn read_config(path: &Path) -> Result<Config, String> {
    let name = path.display().to_string();
    let text =
        fs::read_to_string(path).map_err(|error| format!("prom-merger: cannot read {name}: {error}"))?;
    Config::parse(&name, text).map_err(|faults| faults.to_string())
}

fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let running = Merger::start(config).await?;
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal = name, "stopping");
        running.shutdown(SHUTDOWN_DEADLINE).await?;
        Ok(())
    });
    // Whatever has not ended by now has had its time.
    runtime.shutdown_background();
    served
}

fn list_dead_letters(config: &Config) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    for (source, letter) in dead_letters::list(config)? {
        let position = letter.position;
        match letter.header {
            Ok(header) => {
                let time = jiff::Timestamp::from_millisecond(header.time_ms)?;
                let status = header.status.map(|status| format!(" status={status}")).unwrap_or_default();
                let (series, samples, reason) = (header.series, header.samples, header.reason);
                writeln!(
                    out,
                    "{time} source={source} position={position}{status} series={series} samples={samples} {reason:?}"
                )?;
            }
            Err(error) => writeln!(out, "- source={source} position={position} unreadable: {error}")?,
        }
    }
    Ok(())
}

fn talk(text: &str, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "{text}");
    ExitCode::from(code)
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const BAD_CONFIG: u8 = 64;
