//! `prom-merger`: merges the remote-write streams of several Prometheus servers into one database.

mod backfill_command;
mod dead_letter_commands;
mod journal_commands;
mod preflight_command;

use std::{
    error::Error,
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand, ValueEnum};
use dead_letter_commands::Action;
use prom_merger::{Config, Merger, Running};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;
use yaml_source::parse_duration;

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
    /// When told to stop, have so long to answer what is under way and to store how far delivery is
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "DURATION")]
    drain_deadline: Duration,
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
    log: String,
    /// Write log lines in this form
    #[arg(long, env = "PROM_MERGER_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    log_format: LogFormat,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object each.
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Check a configuration file and say what is wrong with it; the same as `config check`
    Check(Common),
    /// About configuration files
    #[command(subcommand)]
    Config(ConfigAction),
    /// See what the destinations really take, by writing probes to them, and where the sources would collide
    Preflight(preflight_command::Preflight),
    /// The dead letters of a merger that does not run (a running one has /api/v1/dead-letters/SOURCE); without an action:
    /// list
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    DeadLetters {
        #[command(flatten)]
        common: Option<Common>,
        #[command(subcommand)]
        action: Option<Action>,
    },
    /// Read the history of a source by remote read and deliver it under its label, beside a merger that runs
    ///
    /// It goes on where it was when the same command is given again.
    Backfill(backfill_command::Backfill),
    /// The journals of a merger that does not run
    #[command(subcommand)]
    Journal(journal_commands::Action),
}

#[derive(Subcommand)]
enum ConfigAction {
    /// Check a file and say what is wrong with it, all faults with their places
    Check(Common),
    /// Print a file with every key, commented
    Example,
}

fn main() -> ExitCode {
    let Arguments { common, drain_deadline, command } = Arguments::parse();
    match command {
        None => {}
        Some(Command::Config(ConfigAction::Example)) => return example(),
        Some(Command::Check(common) | Command::Config(ConfigAction::Check(common))) => {
            return run(&common, |_| Ok(()));
        }
        Some(Command::Preflight(preflight)) => {
            return run(&preflight.common, |config| preflight.run(&config));
        }
        Some(Command::DeadLetters { action: Some(action), .. }) => {
            return run(action.common(), |config| action.run(&config));
        }
        Some(Command::DeadLetters { common: Some(common), .. }) => {
            return run(&common, |config| dead_letter_commands::list(&config, &config.sources));
        }
        Some(Command::Backfill(backfill)) => return run(&backfill.common, |config| backfill.run(config)),
        Some(Command::Journal(action)) => return run(action.common(), |config| action.run(&config)),
        Some(Command::DeadLetters { .. }) => return talk(NO_CONFIG, USAGE),
    }
    match common {
        Some(common) => run(&common, |config| serve(config, drain_deadline)),
        None => talk(NO_CONFIG, USAGE),
    }
}

/// Reads the configuration and does something with it.
fn run(common: &Common, activity: impl FnOnce(Config) -> Result<(), Box<dyn Error>>) -> ExitCode {
    let Common { config, log, log_format, .. } = common;
    let filter = match log.parse::<EnvFilter>() {
        Ok(filter) => filter,
        Err(error) => return talk(&format!("prom-merger: --log {log:?}: {error}"), USAGE),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match log_format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    let config = match read_config(config) {
        Ok(config) => config,
        Err(faults) => return talk(&faults, BAD_CONFIG),
    };
    match activity(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => talk(&format!("prom-merger: {}", chain(error.as_ref())), FAILED),
    }
}

fn example() -> ExitCode {
    match io::stdout().lock().write_all(Config::EXAMPLE.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => talk(&format!("prom-merger: {error}"), FAILED),
    }
}

fn read_config(path: &Path) -> Result<Config, String> {
    let name = path.display().to_string();
    let text =
        fs::read_to_string(path).map_err(|error| format!("prom-merger: cannot read {name}: {error}"))?;
    Config::parse(&name, text).map_err(|faults| faults.to_string())
}

fn serve(config: Config, drain_deadline: Duration) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let running = Merger::start(config).await?;
        let name = loop {
            tokio::select! {
                _ = terminate.recv() => break "SIGTERM",
                _ = interrupt.recv() => break "SIGINT",
                _ = hangup.recv() => reload_secrets(&running).await,
            }
        };
        info!(signal = name, "stopping");
        running.shutdown(drain_deadline).await?;
        Ok(())
    });
    // Whatever has not ended by now has had its time.
    runtime.shutdown_background();
    served
}

async fn reload_secrets(running: &Running) {
    match running.reload_secrets().await {
        Ok(changed) => info!(changed = changed.join(", "), "tokens and certificates are read anew"),
        Err(error) => error!(error = chain(&error), "tokens and certificates stay as they were"),
    }
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

const NO_CONFIG: &str = "prom-merger: --config is missing";
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const BAD_CONFIG: u8 = 64;
