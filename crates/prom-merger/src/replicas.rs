//! Several replicas of one source, of which one at a time is delivered.
//!
//! Two Prometheus servers with the same configuration scrape the same targets at different instants: their samples have other
//! timestamps and other values, so they must not be mixed. One replica is elected for as long as it is heard from
//! ([`election`]); what it sends goes into the journal of the source and on to every destination. What the others send is made
//! durable too, each in a journal of its own ([`spare`]), and is released after a while. When the elected one has been silent
//! for longer than the freshness limit, the next one that is heard takes over: of its spare data, and then of what it sends, every
//! series goes on behind the last timestamp that was delivered of it ([`memory`]). So time never runs backwards, there is no gap
//! but of what nobody has scraped, and a stale marker of a replica that is not elected ends nothing.
//!
//! The journal of the source is what counts: what was delivered last of each series is what stands in it. After a restart that is
//! read from a checkpoint and from the records behind it ([`ledger`]).

mod by_label;
mod election;
mod filter;
mod group;
mod identity;
mod journals;
mod ledger;
mod memory;
mod merge;
mod metrics;
mod record;
#[cfg(test)]
mod simulation;
mod spare;

use std::sync::Arc;

use prom_remote::LabelEdit;
use sample_journal::Journal;

use self::journals::{MachineClock, MachineJournals};
pub(crate) use self::{
    group::{Incoming, ReplicaError, ReplicaGroup},
    identity::is_replica_name,
    metrics::page,
};
use crate::{
    StartError,
    config::{Config, SourceConfig},
    machine::Machine,
    source::REPLICAS_CURSOR,
};

/// Opens the replicas of a source, where it has any. Blocks on files.
pub(crate) fn open(
    config: &Config,
    source: &SourceConfig,
    machine: &Machine,
    journal: &Arc<Journal>,
) -> Result<Option<Arc<ReplicaGroup>>, StartError> {
    let failed = |error| StartError::Replicas { name: source.name.clone(), source: error };
    let Some(replicas) = &source.replicas else {
        // Nothing is held for replicas that there were.
        journal.remove_cursor(REPLICAS_CURSOR).map_err(|error| failed(error.into()))?;
        return Ok(None);
    };
    let group = ReplicaGroup::open(
        &source.name,
        replicas,
        config.remote_limits(),
        (Arc::clone(journal), config.journal.max_bytes),
        Box::new(MachineJournals::new(config, machine, &source.name, replicas)),
        Box::new(MachineClock::new(machine)),
    );
    Ok(Some(Arc::new(group.map_err(|error| failed(error.into()))?)))
}

/// What must be done to the labels of a series on its way out.
pub(crate) fn label_edits(source: &SourceConfig) -> Option<LabelEdit> {
    let label = source.replicas.as_ref()?.label.as_ref()?;
    Some(LabelEdit::drop(label))
}
