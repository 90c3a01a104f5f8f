//! `simulated-kubelet`: serves `/metrics/cadvisor` and `/metrics/kube-state` for plain worker processes.

use std::{
    error::Error,
    io::{IsTerminal, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex},
};

use kafka_testbed::simulated_kubelet::{observer::Observer, proc_reader::ProcReader, server};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

const USAGE: &str = "\
Shows worker processes under the names of cAdvisor and kube-state-metrics.

Usage: simulated-kubelet --listen ADDRESS:PORT --pods FILE

  --listen  address to serve on
  --pods    JSON file that says which processes are which pods; read again when it changes

Logs go to stderr, filtered by RUST_LOG. Exit codes: 0 done, 1 failed, 2 wrong usage.";

struct Arguments {
    listen: SocketAddr,
    pods: PathBuf,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut listen, mut pods) = (None, None);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--listen" => {
                    let text = value()?;
                    listen = Some(text.parse().map_err(|error| format!("--listen {text}: {error}"))?);
                }
                "--pods" => pods = Some(PathBuf::from(value()?)),
                other => return Err(format!("unknown argument {other}")),
            }
        }
        Ok(Self { listen: listen.ok_or("--listen is missing")?, pods: pods.ok_or("--pods is missing")? })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            tracing::error!("{text}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let reader = ProcReader::new(Path::new("/proc"))?;
    let observer = Arc::new(Mutex::new(Observer::open(&arguments.pods, reader)?));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = tokio::net::TcpListener::bind(arguments.listen)
        .await
        .map_err(|error| format!("failed to listen on {}: {error}", arguments.listen))?;
    tracing::info!(address = %listener.local_addr()?, "serving simulated Kubernetes metrics");
    let serving = axum::serve(listener, server::routes(observer.clone()));
    tokio::select! {
        result = async { serving.await } => result?,
        () = server::look_regularly(observer) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
