use std::{collections::BTreeSet, fmt};

use serde_json::{Value, json};

use crate::relay::Kind;

/// All that was measured.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) rounds: Vec<Round>,
    pub(crate) acks: Vec<Acks>,
    pub(crate) backlogs: Vec<Backlog>,
}

/// One payload through one relay.
pub(crate) struct Round {
    pub(crate) kind: Kind,
    pub(crate) exporter: String,
    pub(crate) labels: f64,
    pub(crate) samples: u64,
    pub(crate) delivered: u64,
    pub(crate) sent_requests: u64,
    pub(crate) processor_seconds: f64,
    pub(crate) seconds: f64,
    pub(crate) peak_memory_bytes: u64,
    pub(crate) command: String,
}

/// How long acknowledgements took at a fixed rate.
pub(crate) struct Acks {
    pub(crate) kind: Kind,
    pub(crate) requests: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// An outage of the destination.
pub(crate) struct Backlog {
    pub(crate) kind: Kind,
    pub(crate) samples: u64,
    pub(crate) delivered: u64,
    pub(crate) outage_seconds: f64,
    pub(crate) first_delivery_seconds: f64,
    pub(crate) all_seconds: f64,
    pub(crate) processor_seconds: f64,
    pub(crate) peak_memory_away_bytes: u64,
    pub(crate) peak_memory_bytes: u64,
}

impl Round {
    fn micros(&self) -> f64 {
        self.processor_seconds * 1e6 / self.samples as f64
    }
}

impl Figures {
    pub(crate) fn json(&self) -> Value {
        let rounds = self.rounds.iter().map(|round| {
            json!({
                "relay": round.kind.name(), "exporter": round.exporter, "labels": round.labels, "samples": round.samples,
                "delivered": round.delivered, "requests_to_sink": round.sent_requests,
                "processor_seconds": round.processor_seconds, "processor_micros_per_sample": round.micros(),
                "seconds": round.seconds, "peak_memory_bytes": round.peak_memory_bytes, "command": round.command,
            })
        });
        let acks = self.acks.iter().map(|acks| {
            json!({
                "relay": acks.kind.name(), "requests": acks.requests, "p50_ms": acks.p50_ms, "p99_ms": acks.p99_ms,
                "max_ms": acks.max_ms,
            })
        });
        let backlogs = self.backlogs.iter().map(|backlog| {
            json!({
                "relay": backlog.kind.name(), "samples": backlog.samples, "delivered": backlog.delivered,
                "outage_seconds": backlog.outage_seconds, "first_delivery_seconds": backlog.first_delivery_seconds,
                "all_delivered_seconds": backlog.all_seconds, "processor_seconds": backlog.processor_seconds,
                "peak_memory_away_bytes": backlog.peak_memory_away_bytes, "peak_memory_bytes": backlog.peak_memory_bytes,
            })
        });
        json!({
            "rounds": rounds.collect::<Vec<_>>(), "acknowledgements": acks.collect::<Vec<_>>(),
            "outages": backlogs.collect::<Vec<_>>(),
        })
    }

    /// The median of a figure over the rounds of a payload.
    fn median(&self, exporter: &str, kind: Kind, figure: impl Fn(&Round) -> f64) -> f64 {
        let of = self.rounds.iter().filter(|round| round.exporter == exporter && round.kind == kind);
        let mut values: Vec<_> = of.map(figure).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commands: BTreeSet<_> = self.rounds.iter().map(|round| without_places(&round.command)).collect();
        commands.iter().try_for_each(|command| writeln!(f, "{command}"))?;
        writeln!(
            f,
            "\n| payload | labels | µs/sample: prom-merger | vmagent | ratio | peak MB: prom-merger | vmagent | delivered |"
        )?;
        writeln!(f, "|---|---:|---:|---:|---:|---:|---:|---|")?;
        let exporters: Vec<_> = self.rounds.iter().map(|round| round.exporter.as_str()).collect();
        let mut seen = BTreeSet::new();
        for exporter in exporters.into_iter().filter(|exporter| seen.insert(*exporter)) {
            let median = |kind, figure: fn(&Round) -> f64| self.median(exporter, kind, figure);
            let memory = |kind| median(kind, |round| round.peak_memory_bytes as f64) / 1e6;
            let (ours, theirs) = (median(Kind::Merger, Round::micros), median(Kind::Vmagent, Round::micros));
            let mut of = self.rounds.iter().filter(|round| round.exporter == exporter);
            let is_equal = of.clone().all(|round| round.delivered == round.samples);
            let samples = of.next().map_or(0, |round| round.samples);
            let equal = if is_equal { "equal" } else { "NOT EQUAL" };
            writeln!(
                f,
                "| {exporter} | {:.1} | {ours:.3} | {theirs:.3} | {:.2} | {:.0} | {:.0} | {samples} each, {equal} |",
                median(Kind::Merger, |round| round.labels),
                ours / theirs,
                memory(Kind::Merger),
                memory(Kind::Vmagent),
            )?;
        }
        if !self.acks.is_empty() {
            writeln!(
                f,
                "\n| acknowledgement at 100,000 samples/s | p50 | p99 | longest |\n|---|---:|---:|---:|"
            )?;
        }
        for acks in &self.acks {
            let durable = if acks.kind == Kind::Merger { "durable" } else { "from memory" };
            writeln!(
                f,
                "| {}, {durable} | {:.1} ms | {:.1} ms | {:.1} ms |",
                acks.kind.name(),
                acks.p50_ms,
                acks.p99_ms,
                acks.max_ms
            )?;
        }
        if !self.backlogs.is_empty() {
            writeln!(
                f,
                "\n| outage | samples waiting | first delivery after | all delivered after | peak MB meanwhile | peak MB |"
            )?;
            writeln!(f, "|---|---:|---:|---:|---:|---:|")?;
        }
        for backlog in &self.backlogs {
            let lost = backlog.samples.saturating_sub(backlog.delivered);
            writeln!(
                f,
                "| {}, {:.0} s | {} ({lost} lost) | {:.2} s | {:.1} s | {:.0} | {:.0} |",
                backlog.kind.name(),
                backlog.outage_seconds,
                backlog.samples,
                backlog.first_delivery_seconds,
                backlog.all_seconds,
                backlog.peak_memory_away_bytes as f64 / 1e6,
                backlog.peak_memory_bytes as f64 / 1e6,
            )?;
        }
        Ok(())
    }
}

/// A command as it is told: without addresses and folders that differ each time.
fn without_places(command: &str) -> String {
    let word = |word: &str| match word.split_once('=') {
        Some((name @ ("-httpListenAddr" | "-remoteWrite.url" | "-remoteWrite.tmpDataPath"), _)) => {
            format!("{name}=…")
        }
        _ if word.ends_with("merger.yaml") => "merger.yaml".to_owned(),
        _ => word.to_owned(),
    };
    command.split(' ').map(word).collect::<Vec<_>>().join(" ")
}
