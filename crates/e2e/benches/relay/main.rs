//! `cargo xtask bench relay`: prom-merger and vmagent side by side, with the same bodies, the same sink and the same cores.
//!
//! What is measured is the relay's process alone: its processor time and its memory as the kernel counts them. Sender
//! and sink are threads of this program.

#![expect(clippy::print_stdout, reason = "a bench talks to whoever runs it")]

mod figures;
mod load;
mod payload;
mod relay;
mod sink;

use std::{
    thread,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use e2e::{eventually, note};

use crate::{
    figures::{Acks, Backlog, Figures, Round},
    load::Sender,
    payload::Payload,
    relay::{Kind, Relay},
    sink::Sink,
};

/// Measure prom-merger and vmagent side by side
#[derive(Parser)]
struct Arguments {
    /// Fewer samples, one round, a short outage
    #[arg(long)]
    quick: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Only the payloads of this exporter: kafka, node, kubernetes
    #[arg(long)]
    exporter: Option<String>,
    /// Throughput alone: no latency, no outage
    #[arg(long)]
    only_rounds: bool,
    /// What `cargo bench` passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// How much is sent, and how long is waited.
struct Amounts {
    requests: usize,
    rounds: usize,
    acks: Duration,
    backlog_requests: usize,
    outage: Duration,
}

impl Amounts {
    const WHOLE: Self = Self {
        requests: 1_000,
        rounds: 3,
        acks: Duration::from_secs(20),
        backlog_requests: 5_000,
        outage: Duration::from_secs(70),
    };
    const QUICK: Self = Self {
        requests: 200,
        rounds: 1,
        acks: Duration::from_secs(5),
        backlog_requests: 500,
        outage: Duration::from_secs(10),
    };
}

fn main() {
    let arguments = Arguments::parse();
    let amounts = if arguments.quick { Amounts::QUICK } else { Amounts::WHOLE };
    let mut figures = Figures::default();
    for exporter in ["node", "kubernetes", "kafka"] {
        if arguments.exporter.as_deref().is_none_or(|only| only == exporter) {
            let payload = Payload::new(exporter, amounts.requests);
            for round in 0..amounts.rounds {
                for kind in Kind::in_turn(round) {
                    note(&format!("{exporter}, round {} of {}: {}", round + 1, amounts.rounds, kind.name()));
                    figures.rounds.push(throughput(kind, &payload));
                }
            }
        }
    }
    if !arguments.only_rounds {
        let exporter = arguments.exporter.as_deref().unwrap_or("node");
        let payload = Payload::new(exporter, amounts.backlog_requests);
        for kind in Kind::in_turn(0) {
            note(&format!("acknowledgements: {}", kind.name()));
            figures.acks.push(acknowledgements(kind, &payload, amounts.acks));
        }
        for kind in Kind::in_turn(0) {
            note(&format!("outage of {} s: {}", amounts.outage.as_secs(), kind.name()));
            figures.backlogs.push(outage(kind, &payload, amounts.outage));
        }
    }
    match arguments.format {
        Format::Text => print!("{figures}"),
        Format::Json => println!("{:#}", figures.json()),
    }
}

/// All requests as fast as they are acknowledged, by four senders, until everything is delivered.
fn throughput(kind: Kind, payload: &Payload) -> Round {
    let sink = Sink::start();
    let relay = Relay::start(kind, &sink.url());
    let before = relay.processor_time();
    let begun = Instant::now();
    Sender::new(relay.write_url()).send_all(&payload.requests);
    wait_for(&sink, payload.samples());
    let seconds = begun.elapsed().as_secs_f64();
    Round {
        kind,
        exporter: payload.exporter.clone(),
        labels: payload.mean_labels,
        samples: payload.samples(),
        delivered: sink.samples(),
        sent_requests: sink.requests(),
        processor_seconds: relay.processor_time() - before,
        seconds,
        peak_memory_bytes: relay.peak_memory(),
        command: relay.command(),
    }
}

/// A fixed rate of 100,000 samples a second, each request sent at its time whatever became of those before it.
fn acknowledgements(kind: Kind, payload: &Payload, length: Duration) -> Acks {
    let sink = Sink::start();
    let relay = Relay::start(kind, &sink.url());
    let interval = Duration::from_secs(1) * u32::try_from(payload::SAMPLES).expect("2,000") / 100_000;
    let count = usize::try_from(length.as_micros() / interval.as_micros()).expect("some thousands");
    let requests = &payload.requests[..count.min(payload.requests.len())];
    let histogram = Sender::new(relay.write_url()).send_at_rate(requests, interval);
    wait_for(&sink, (requests.len() * payload::SAMPLES) as u64);
    let micros = |quantile: f64| histogram.value_at_quantile(quantile) as f64;
    Acks {
        kind,
        requests: requests.len(),
        p50_ms: micros(0.5) / 1e3,
        p99_ms: micros(0.99) / 1e3,
        max_ms: histogram.max() as f64 / 1e3,
    }
}

/// The sink is away while everything is sent; then it comes back.
fn outage(kind: Kind, payload: &Payload, length: Duration) -> Backlog {
    let mut sink = Sink::start();
    let relay = Relay::start(kind, &sink.url());
    let sender = Sender::new(relay.write_url());
    // It has delivered before.
    sender.send_all(&payload.requests[..2]);
    wait_for(&sink, 2 * payload::SAMPLES as u64);
    sink.stop();
    let begun = Instant::now();
    let before = relay.processor_time();
    sender.send_all(&payload.requests[2..]);
    thread::sleep(length.saturating_sub(begun.elapsed()));
    let peak_away = relay.peak_memory();
    let returned = Instant::now();
    sink.start_again();
    eventually(Duration::from_secs(180), "the first delivery after the outage", || {
        sink.first_delivery().ok_or_else(|| "none".to_owned())
    });
    let first = sink.first_delivery().map_or(Duration::MAX, |first| first.duration_since(returned));
    wait_for(&sink, payload.samples());
    Backlog {
        kind,
        samples: payload.samples(),
        delivered: sink.samples(),
        outage_seconds: begun.elapsed().as_secs_f64() - returned.elapsed().as_secs_f64(),
        first_delivery_seconds: first.as_secs_f64(),
        all_seconds: returned.elapsed().as_secs_f64(),
        processor_seconds: relay.processor_time() - before,
        peak_memory_away_bytes: peak_away,
        peak_memory_bytes: relay.peak_memory(),
    }
}

fn wait_for(sink: &Sink, samples: u64) {
    eventually(Duration::from_secs(180), "everything is delivered", || match sink.samples() {
        delivered if delivered >= samples => Ok(()),
        delivered => Err(format!("{delivered} of {samples} samples")),
    });
}
