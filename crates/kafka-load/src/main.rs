//! `kafka-load`: produces open-loop load, works as a measured consumer, creates topics and probes a Kafka cluster.

use std::{
    error::Error, future::Future, io::IsTerminal, net::SocketAddr, process::ExitCode, sync::Arc,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use kafka_load::{
    client::{BootstrapServers, ClientSetting},
    http,
    payload::Identifier,
    probe::{self, Listener, ProbeConfig},
    producer::{self, ProducerConfig, ProducerState},
    schedule::MessagesPerSecond,
    topic::{self, TopicSpec},
    worker::{self, Begin, WorkerConfig, WorkerState},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
};
use tracing_subscriber::EnvFilter;

/// How long a worker may take to leave its group.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(20);
/// What a producer may take on top of its flush timeout.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// Open-loop Kafka load with exact sequence and latency accounts
///
/// Logs go to stderr, filtered by RUST_LOG. Exit codes: 0 done, 1 failed, 2 wrong usage.
#[derive(Parser)]
#[command(name = "kafka-load", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send messages at a fixed rate until SIGTERM
    Produce(ProduceArguments),
    /// Consume as a member of a group and verify every message until SIGTERM
    Work(WorkArguments),
    /// Create a topic if it is absent; print what was found as JSON
    Topic(TopicArguments),
    /// Look at every listener and send one message through every partition
    Probe(ProbeArguments),
}

#[derive(Args)]
struct ProduceArguments {
    /// First brokers, host:port separated by commas
    #[arg(long)]
    bootstrap: BootstrapServers,
    /// Topic; waited for until it exists
    #[arg(long)]
    topic: String,
    /// Messages per second over all partitions
    #[arg(long, value_parser = parse_rate)]
    rate: MessagesPerSecond,
    /// Size of each message's value, bytes
    #[arg(long, default_value_t = 1000)]
    message_bytes: usize,
    /// Name of this producer
    #[arg(long)]
    producer_id: Identifier,
    /// Name of the run
    #[arg(long)]
    run_id: Identifier,
    /// Address of /metrics, /-/healthy, /-/ready, /latency.hdr and POST /pause, /resume, /rate
    #[arg(long)]
    metrics_listen: SocketAddr,
    /// Acknowledgements wanted; anything but "all" switches idempotence off
    #[arg(long, default_value = "all", value_parser = ["all", "1", "0"])]
    acks: String,
    /// Time to fill a batch
    #[arg(long, default_value = "5ms", value_parser = parse_duration)]
    linger: Duration,
    /// Time after which an unacknowledged message has failed; 0s means never
    #[arg(long, default_value = "300s", value_parser = parse_duration)]
    message_timeout: Duration,
    /// Most messages waiting for acknowledgement
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    maximum_in_flight: u32,
    /// Most memory for messages waiting for acknowledgement, KiB
    #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..=2_097_151))]
    maximum_in_flight_kibibytes: u32,
    /// Time to wait for acknowledgements after SIGTERM
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    flush_timeout: Duration,
    /// librdkafka setting, key=value; may be repeated
    #[arg(long = "client-setting", value_name = "KEY=VALUE", value_parser = parse_setting)]
    client_settings: Vec<ClientSetting>,
}

#[derive(Args)]
struct WorkArguments {
    /// First brokers, host:port separated by commas
    #[arg(long)]
    bootstrap: BootstrapServers,
    /// Topic
    #[arg(long)]
    topic: String,
    /// Consumer group
    #[arg(long)]
    group: String,
    /// Name of this worker
    #[arg(long)]
    worker_id: Identifier,
    /// Address of /metrics, /-/healthy, /-/ready and /latency.hdr
    #[arg(long)]
    metrics_listen: SocketAddr,
    /// How often processed offsets are committed
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    commit_interval: Duration,
    /// Simulated work per message
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    processing_time: Duration,
    /// Time without heartbeat after which the group takes the partitions away
    #[arg(long, default_value = "45s", value_parser = parse_duration)]
    session_timeout: Duration,
    /// How the group divides the partitions
    #[arg(long, default_value = "range", value_parser = ["range", "roundrobin", "cooperative-sticky"])]
    assignment_strategy: String,
    /// Where to begin without a committed offset
    #[arg(long, default_value = "earliest")]
    begin: BeginArgument,
    /// librdkafka setting, key=value; may be repeated
    #[arg(long = "client-setting", value_name = "KEY=VALUE", value_parser = parse_setting)]
    client_settings: Vec<ClientSetting>,
}

#[derive(Clone, Copy, ValueEnum)]
enum BeginArgument {
    Earliest,
    Latest,
}

#[derive(Args)]
struct TopicSpecArguments {
    /// First brokers, host:port separated by commas
    #[arg(long)]
    bootstrap: BootstrapServers,
    /// Topic
    #[arg(long)]
    topic: String,
    /// Partitions; another number found is an error
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// Replicas of each partition; another number found is an error
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=100))]
    replication_factor: i32,
    /// Topic setting used at creation, key=value; may be repeated
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = parse_setting)]
    settings: Vec<ClientSetting>,
}

#[derive(Args)]
struct TopicArguments {
    #[command(flatten)]
    topic: TopicSpecArguments,
    /// Time to wait for brokers and leaders
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
}

#[derive(Args)]
struct ProbeArguments {
    #[command(flatten)]
    topic: TopicSpecArguments,
    /// Listener address to look at, NAME=host:port; several by commas or repeated; the bootstrap addresses if none
    #[arg(long = "listener", value_name = "NAME=HOST:PORT", value_delimiter = ',')]
    listeners: Vec<Listener>,
    /// Brokers that every listener must name
    #[arg(long)]
    expect_brokers: usize,
    /// Commit the offsets read for this group, so that the group coordinator is probed too
    #[arg(long)]
    group: Option<String>,
    /// Time for all attempts
    #[arg(long, default_value = "20s", value_parser = parse_duration)]
    timeout: Duration,
    /// Form of the report on stdout
    #[arg(long, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.map_err(Failure::from).and_then(|runtime| {
        let result = runtime.block_on(run(arguments.command));
        // A client that does not end in time must not keep the process.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Produce(arguments) => produce(arguments).await,
        Command::Work(arguments) => work(arguments).await,
        Command::Topic(arguments) => create_topic(arguments).await,
        Command::Probe(arguments) => probe_cluster(arguments).await,
    }
}

async fn produce(arguments: ProduceArguments) -> Result<ExitCode, Failure> {
    let listener = bind(arguments.metrics_listen).await?;
    let config = ProducerConfig {
        bootstrap: arguments.bootstrap,
        topic: arguments.topic,
        rate: arguments.rate,
        message_bytes: arguments.message_bytes,
        producer: arguments.producer_id,
        run: arguments.run_id,
        acks: arguments.acks,
        linger: arguments.linger,
        message_timeout: arguments.message_timeout,
        maximum_in_flight_messages: arguments.maximum_in_flight,
        maximum_in_flight_kibibytes: arguments.maximum_in_flight_kibibytes,
        flush_timeout: arguments.flush_timeout,
        settings: arguments.client_settings,
    };
    let state = Arc::new(ProducerState::new(&config));
    let stop_timeout = config.flush_timeout + STOP_MARGIN;
    let task = spawn_blocking({
        let state = state.clone();
        move || producer::run(&config, &state)
    });
    let serving = http::serve(listener, http::producer_routes(state.clone()));
    supervise(task, serving, || state.stop(), stop_timeout).await
}

async fn work(arguments: WorkArguments) -> Result<ExitCode, Failure> {
    let listener = bind(arguments.metrics_listen).await?;
    let state = Arc::new(WorkerState::new(WorkerConfig {
        bootstrap: arguments.bootstrap,
        topic: arguments.topic,
        group: arguments.group,
        worker: arguments.worker_id,
        commit_interval: arguments.commit_interval,
        processing_time: arguments.processing_time,
        session_timeout: arguments.session_timeout,
        assignment_strategy: arguments.assignment_strategy,
        begin: match arguments.begin {
            BeginArgument::Earliest => Begin::Earliest,
            BeginArgument::Latest => Begin::Latest,
        },
        settings: arguments.client_settings,
    }));
    let task = spawn_blocking({
        let state = state.clone();
        move || worker::run(&state)
    });
    let serving = http::serve(listener, http::worker_routes(state.clone()));
    supervise(task, serving, || state.stop(), LEAVE_TIMEOUT).await
}

async fn create_topic(arguments: TopicArguments) -> Result<ExitCode, Failure> {
    let (bootstrap, spec) = arguments.topic.split();
    let outcome = topic::ensure(&bootstrap, &spec, arguments.timeout).await?;
    print(&serde_json::to_string(&outcome)?);
    Ok(ExitCode::SUCCESS)
}

async fn probe_cluster(arguments: ProbeArguments) -> Result<ExitCode, Failure> {
    let (bootstrap, topic) = arguments.topic.split();
    let report = probe::probe(&ProbeConfig {
        bootstrap,
        listeners: arguments.listeners,
        expected_brokers: arguments.expect_brokers,
        topic,
        group: arguments.group,
        timeout: arguments.timeout,
    })
    .await;
    match arguments.format {
        Format::Text => print(&report.to_string()),
        Format::Json => print(&serde_json::to_string(&report)?),
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl TopicSpecArguments {
    fn split(self) -> (BootstrapServers, TopicSpec) {
        let settings = self.settings.into_iter().map(|setting| (setting.key, setting.value)).collect();
        let spec = TopicSpec {
            name: self.topic,
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            settings,
        };
        (self.bootstrap, spec)
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("failed to listen on {address}: {error}"))?;
    tracing::info!(address = %listener.local_addr()?, "serving metrics");
    Ok(listener)
}

/// Runs the blocking part and the server until the part ends or a signal comes; then stops the part with a deadline.
async fn supervise<E: Into<Failure>>(
    mut task: tokio::task::JoinHandle<Result<(), E>>,
    serving: impl Future<Output = std::io::Result<()>>,
    stop: impl FnOnce(),
    stop_timeout: Duration,
) -> Result<ExitCode, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::pin!(serving);
    tokio::select! {
        result = &mut task => return result?.map(|()| ExitCode::SUCCESS).map_err(Into::into),
        result = &mut serving => result?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop();
    let stopped = async {
        // The metrics stay readable until the end, so that a last scrape sees the final counts.
        tokio::select! {
            result = &mut task => result,
            _ = async { let _ = serving.await; std::future::pending::<()>().await } => unreachable!("pending never ends"),
        }
    };
    match tokio::time::timeout(stop_timeout, stopped).await {
        Ok(result) => result?.map(|()| ExitCode::SUCCESS).map_err(Into::into),
        Err(_) => Err(format!("not stopped after {stop_timeout:?}").into()),
    }
}

#[expect(clippy::print_stdout, reason = "the report is this program's data")]
fn print(text: &str) {
    println!("{text}");
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn parse_rate(text: &str) -> Result<MessagesPerSecond, String> {
    let rate = text.parse().map_err(|error| format!("{error}"))?;
    MessagesPerSecond::new(rate).map_err(|error| error.to_string())
}

fn parse_setting(text: &str) -> Result<ClientSetting, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            Ok(ClientSetting { key: key.to_owned(), value: value.to_owned() })
        }
        _ => Err("expected key=value".to_owned()),
    }
}

/// Reads a whole number with one of the units ms, s and m; at most a day.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let milliseconds_per_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => 0,
    };
    let milliseconds =
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds_per_unit));
    match milliseconds {
        Some(milliseconds) if milliseconds_per_unit > 0 && milliseconds <= 86_400_000 => {
            Ok(Duration::from_millis(milliseconds))
        }
        _ => Err("expected a duration like 5ms, 20s or 2m, at most a day".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn reads_durations() {
        let check = |text, milliseconds: Option<u64>| {
            assert_eq!(parse_duration(text).ok(), milliseconds.map(Duration::from_millis), "{text}");
        };
        check("5ms", Some(5));
        check("20s", Some(20_000));
        check("2m", Some(120_000));
        check("0s", Some(0));
        for wrong in ["", "5", "s", "5h", "-1s", "1.5s", "99999999999999999999s", "2000m"] {
            check(wrong, None);
        }
    }
}
