//! The replicas of a source: how they are told apart, and their bounds.

use std::{str::FromStr, time::Duration};

use prom_remote::{InvalidLabel, LabelEdit, LabelSplicer};
use yaml_source::{ValueReader, value};

use crate::replicas::is_replica_name;

/// Several senders with the same series, of which one at a time is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicasConfig {
    /// The label that tells them apart and is dropped; kube-prometheus has `prometheus_replica`.
    pub label: Option<String>,
    /// Each writes to a path of its own, `/api/v1/write/SOURCE/REPLICA`.
    pub path: bool,
    /// Their names; any name will do where there are none.
    pub names: Vec<String>,
    /// The most replicas at a time; default 4.
    pub maximum: usize,
    /// How long the elected replica may be silent until another one takes over; default 30 s. It should be longer than the
    /// longest scrape interval.
    pub freshness: Duration,
    /// How long is kept what was not delivered; default 2 h. Less where a replica's journal has no room for so much.
    pub spare_retention: Duration,
    /// Of so many series is known how far they are; default 1,000,000. Each takes 40 bytes of memory.
    pub active_series: usize,
}

pub(super) fn read_replicas(value: ValueReader<'_>) -> Option<ReplicasConfig> {
    let mut reader = value.mapping()?;
    let label = reader.optional("label", value::parsed::<ReplicaLabel>("a label name")).map(|label| label.0);
    let path = reader.or("path", value::boolean, false);
    let names =
        reader.optional("names", value::non_empty_list(value::parsed::<ReplicaName>("a replica name")));
    let names: Vec<_> = names.into_iter().flatten().map(|name| name.0).collect();
    let maximum = reader.or("maximum", value::integer_in(1..=64), DEFAULT_MAXIMUM.max(names.len()));
    let freshness = reader.or("freshness", value::positive_duration, DEFAULT_FRESHNESS);
    let spare_retention = reader.or("spare_retention", value::positive_duration, DEFAULT_SPARE_RETENTION);
    let active_series = reader.or("active_series", value::integer_in(1..=50_000_000), DEFAULT_ACTIVE_SERIES);
    if label.is_none() && !path {
        reader.error_at("label", "replicas need `label` or `path: true`, or nothing tells them apart");
    }
    if names.len() > maximum {
        reader.error_at("maximum", "less than there are `names`");
    }
    reader.finish();
    Some(ReplicasConfig { label, path, names, maximum, freshness, spare_retention, active_series })
}

struct ReplicaLabel(String);

impl FromStr for ReplicaLabel {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        LabelSplicer::with_edits([LabelEdit::drop(text)]).map(|_| Self(text.to_owned()))
    }
}

struct ReplicaName(String);

#[derive(Debug, thiserror::Error)]
#[error("1 to 180 bytes, of which each that is no letter, digit or - counts three times")]
struct InvalidReplicaName;

impl FromStr for ReplicaName {
    type Err = InvalidReplicaName;

    fn from_str(text: &str) -> Result<Self, InvalidReplicaName> {
        if is_replica_name(text) { Ok(Self(text.to_owned())) } else { Err(InvalidReplicaName) }
    }
}

const DEFAULT_MAXIMUM: usize = 4;
const DEFAULT_FRESHNESS: Duration = Duration::from_secs(30);
const DEFAULT_SPARE_RETENTION: Duration = Duration::from_secs(7_200);
const DEFAULT_ACTIVE_SERIES: usize = 1_000_000;
