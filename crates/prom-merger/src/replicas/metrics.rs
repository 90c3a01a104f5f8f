//! What a group tells about itself.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::group::ReplicaGroup;
use crate::metrics::Counter;

/// The counters of one group.
#[derive(Debug, Default)]
pub(crate) struct ReplicaMetrics {
    /// Takeovers but the first.
    pub(crate) failovers: Counter,
    /// Made durable and not delivered.
    pub(crate) spare_samples: Counter,
    /// Of these, from the elected replica: not later than what another one delivered.
    pub(crate) late_samples: Counter,
    /// Spare samples delivered by takeovers.
    pub(crate) takeover_samples: Counter,
    /// Spare samples released by their age.
    pub(crate) released_samples: Counter,
    /// Spare samples released for want of room.
    pub(crate) released_early_samples: Counter,
    pub(crate) checkpoint_failures: Counter,
    pub(crate) series: AtomicU64,
    pub(crate) forgotten_series: AtomicU64,
    replicas: Mutex<BTreeMap<String, ReplicaGauges>>,
}

/// What is told of each replica.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ReplicaGauges {
    pub(crate) is_elected: bool,
    pub(crate) is_fresh: bool,
    pub(crate) held_samples: u64,
    pub(crate) held_bytes: u64,
}

impl ReplicaMetrics {
    pub(crate) fn set_role(&self, replica: &str, is_elected: bool, is_fresh: bool) {
        let mut replicas = self.lock();
        let gauges = replicas.entry(replica.to_owned()).or_default();
        (gauges.is_elected, gauges.is_fresh) = (is_elected, is_fresh);
    }

    pub(crate) fn set_held(&self, replica: &str, held_samples: u64, held_bytes: u64) {
        let mut replicas = self.lock();
        let gauges = replicas.entry(replica.to_owned()).or_default();
        (gauges.held_samples, gauges.held_bytes) = (held_samples, held_bytes);
    }

    pub(crate) fn forget(&self, replica: &str) {
        self.lock().remove(replica);
    }

    pub(crate) fn replicas(&self) -> Vec<(String, ReplicaGauges)> {
        self.lock().iter().map(|(name, gauges)| (name.clone(), *gauges)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, ReplicaGauges>> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the part of the page that is about replicas; empty without any.
pub(crate) fn page<'a>(groups: impl Iterator<Item = &'a ReplicaGroup>) -> String {
    let groups: Vec<_> =
        groups.map(|group| (&group.source[..], &group.metrics, group.metrics.replicas())).collect();
    let mut text = String::new();
    if groups.is_empty() {
        return text;
    }
    for (name, kind, help, number) in OF_SOURCE {
        heading(&mut text, name, kind, help);
        for (source, metrics, _) in &groups {
            line(&mut text, name, &[("source", source)], number(metrics));
        }
    }
    for (name, help, gauge) in OF_REPLICA {
        heading(&mut text, name, "gauge", help);
        for (source, _, replicas) in &groups {
            for (replica, gauges) in replicas {
                let replica = replica.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                line(&mut text, name, &[("source", source), ("replica", &replica)], gauge(gauges));
            }
        }
    }
    text
}

fn heading(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP prom_merger_{name} {help}\n# TYPE prom_merger_{name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: impl Display) {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let _ = writeln!(text, "prom_merger_{name}{{{}}} {value}", labels.join(","));
}

type OfSource = fn(&ReplicaMetrics) -> u64;
type OfReplica = fn(&ReplicaGauges) -> u64;

const OF_SOURCE: [(&str, &str, &str, OfSource); 9] = [
    ("replica_failovers_total", "counter", "A replica took over from another one.", |m| m.failovers.get()),
    ("replica_spare_samples_total", "counter", "Samples made durable as spare data, not delivered.", |m| {
        m.spare_samples.get()
    }),
    (
        "replica_late_samples_total",
        "counter",
        "Spare samples of the elected replica: not later than what another one had delivered.",
        |m| m.late_samples.get(),
    ),
    (
        "replica_takeover_samples_total",
        "counter",
        "Spare samples delivered when their replica took over.",
        |m| m.takeover_samples.get(),
    ),
    ("replica_released_samples_total", "counter", "Spare samples released after `spare_retention`.", |m| {
        m.released_samples.get()
    }),
    (
        "replica_released_early_samples_total",
        "counter",
        "Spare samples released before, for want of room or as their replica was replaced.",
        |m| m.released_early_samples.get(),
    ),
    ("replica_checkpoint_failures_total", "counter", "Failures to write down how far the series are.", |m| {
        m.checkpoint_failures.get()
    }),
    ("replica_known_series", "gauge", "Series of which is known how far they are delivered.", |m| {
        m.series.load(Ordering::Relaxed)
    }),
    ("replica_forgotten_series_total", "counter", "Series forgotten, as there were too many.", |m| {
        m.forgotten_series.load(Ordering::Relaxed)
    }),
];

const OF_REPLICA: [(&str, &str, OfReplica); 4] = [
    ("replica_fresh", "1 for a replica that was heard within the freshness limit.", |gauges| {
        u64::from(gauges.is_fresh)
    }),
    ("replica_elected", "1 for the replica that is delivered.", |gauges| u64::from(gauges.is_elected)),
    ("replica_held_samples", "Samples of spare data that are kept.", |gauges| gauges.held_samples),
    ("replica_held_bytes", "Bytes of spare data on disk.", |gauges| gauges.held_bytes),
];
