//! `cargo xtask bench …`: figures for BENCHMARKS.md.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, ExitCode},
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use kafka_testbed::{
    home::Home,
    lifecycle::{self, Workplace},
    process::ProcessIdentity,
    progress::{Reporter as _, Silent},
    provision::Fetching,
    spec::{self, Spec},
    status::TestbedStatus,
};
use serde::Serialize;

use crate::{programs, show, testbed};

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure start to proven-ready, with nothing cached and warm, and the memory of the whole testbed
    Up {
        /// Number of warm starts
        #[arg(long, default_value_t = 3)]
        runs: usize,
        /// Form of the output
        #[arg(long, value_enum, default_value_t = testbed::Format::Text)]
        format: testbed::Format,
    },
    /// Measure prom-merger and vmagent side by side: processor time, memory, acknowledgements, an outage
    Relay {
        /// Fewer samples, one round, a short outage
        #[arg(long)]
        quick: bool,
        /// Only the payloads of this exporter: kafka, node, kubernetes
        #[arg(long)]
        exporter: Option<String>,
        /// Form of the output
        #[arg(long, value_enum, default_value_t = testbed::Format::Text)]
        format: testbed::Format,
    },
}

#[derive(Debug, Serialize)]
struct Figures {
    processors: usize,
    cold_seconds: f64,
    warm_seconds: Vec<f64>,
    memory_bytes: u64,
}

pub async fn run(arguments: Arguments) -> ExitCode {
    let (runs, format) = match arguments.command {
        Command::Up { runs, format } => (runs, format),
        Command::Relay { quick, exporter, format } => return relay(quick, exporter, format),
    };
    let figures = match up(runs.max(1)).await {
        Ok(figures) => figures,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let shown = match format {
        testbed::Format::Json => show::print_json(&figures),
        testbed::Format::Text => show::print(&figures.table()),
    };
    if shown.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the bench of the crate `e2e`, which starts the real programs.
fn relay(quick: bool, exporter: Option<String>, format: testbed::Format) -> ExitCode {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let format = match format {
        testbed::Format::Text => "text",
        testbed::Format::Json => "json",
    };
    let status = process::Command::new(cargo)
        .current_dir(workspace)
        .args(["bench", "--quiet", "-p", "e2e", "--bench", "relay", "--", "--format", format])
        .args(quick.then_some("--quick"))
        .args(exporter.iter().flat_map(|exporter| ["--exporter", exporter]))
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: cannot start cargo: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Figures {
    fn table(&self) -> String {
        let mut warm = self.warm_seconds.clone();
        warm.sort_by(f64::total_cmp);
        let median = warm.get(warm.len() / 2).copied().unwrap_or_default();
        let (least, most) =
            (warm.first().copied().unwrap_or_default(), warm.last().copied().unwrap_or_default());
        format!(
            "| figure ({} processors) | measured | aim |\n|---|---|---|\n\
             | start with nothing cached, programs built | {:.1} s | ≤ 120 s |\n\
             | warm start to proven-ready, median of {} ({least:.1} – {most:.1}) | {median:.1} s | ≤ 30 s |\n\
             | resident memory of all processes, 20 s after ready | {:.2} GB | ≤ 2.2 GB |\n",
            self.processors,
            self.cold_seconds,
            warm.len(),
            self.memory_bytes as f64 / 1e9
        )
    }
}

/// Starts the default testbed in a folder of its own: first with an empty cache and an empty Maven repository, then
/// warm. Each warm start is a whole `up`: set-up is looked through, everything is started and proven.
async fn up(runs: usize) -> Result<Figures, String> {
    let folder = env::temp_dir().join(format!("testbed-bench-{}", std::process::id()));
    let search_path = env::var_os("PATH").unwrap_or_default();
    let own = programs::build(&search_path, false)?;
    let spec: Spec = spec::Spec { name: "bench".to_owned(), ..spec::Spec::default() };
    let mut environment = testbed::passed_environment();
    environment.retain(|(name, _)| name != "MAVEN_OPTS");
    let repository = folder.join("maven");
    environment.push(("MAVEN_OPTS".into(), format!("-Dmaven.repo.local={}", repository.display()).into()));
    let place = Workplace {
        home: Home::new(folder.join("home")),
        name: spec.name.clone(),
        search_path,
        environment,
        own,
        fetching: Fetching::default(),
        limit: Duration::from_secs(300),
        host: None,
        any_port: false,
        restart_changed: false,
    };
    let measured = measure(&place, &spec, runs).await;
    let purged = lifecycle::purge(&place, &mut Silent).await.map_err(|error| error.to_string());
    let removed =
        fs::remove_dir_all(&folder).map_err(|error| format!("removing {}: {error}", folder.display()));
    let figures = measured?;
    purged.map(drop).and(removed)?;
    Ok(figures)
}

async fn measure(place: &Workplace, spec: &Spec, runs: usize) -> Result<Figures, String> {
    let mut progress = show::Progress::new(PathBuf::new());
    progress.note("cold: nothing in the cache, nothing in Maven's repository");
    let begun = Instant::now();
    lifecycle::up(place, spec, spec::DEFAULT, &mut progress).await.map_err(|error| error.to_string())?;
    let cold_seconds = begun.elapsed().as_secs_f64();
    let mut warm_seconds = Vec::new();
    let mut memory_bytes = 0;
    for run in 1..=runs {
        lifecycle::down(place, &mut Silent).await.map_err(|error| error.to_string())?;
        progress.note(format!("warm start {run} of {runs}"));
        let begun = Instant::now();
        let report = lifecycle::up(place, spec, spec::DEFAULT, &mut progress)
            .await
            .map_err(|error| error.to_string())?;
        warm_seconds.push(begun.elapsed().as_secs_f64());
        if run == runs {
            tokio::time::sleep(Duration::from_secs(20)).await;
            let status = lifecycle::status(place).await.unwrap_or(report.status);
            memory_bytes = memory(&status);
        }
    }
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    Ok(Figures { processors, cold_seconds, warm_seconds, memory_bytes })
}

fn memory(status: &TestbedStatus) -> u64 {
    let supervisor = status
        .supervisor_pid
        .and_then(ProcessIdentity::of)
        .and_then(|process| process.usage())
        .map_or(0, |usage| usage.memory_bytes);
    supervisor + status.services.iter().filter_map(|service| service.memory_bytes).sum::<u64>()
}
