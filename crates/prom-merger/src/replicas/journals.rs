//! The journals of a group among those of the merger.

use std::{io, time::Instant};

use sample_journal::{Journal, JournalHooks};

use super::{
    group::{Clock, Journals},
    identity::{folder_name, replica_of_folder},
    ledger,
};
use crate::{
    StartError,
    config::{Config, ReplicasConfig},
    machine::Machine,
    source::{failure_hook, open_journal, open_journal_with},
};

/// The journals of the replicas of one source.
pub(crate) struct MachineJournals {
    pub(crate) config: Config,
    pub(crate) machine: Machine,
    pub(crate) source: String,
    pub(crate) active_series: usize,
}

impl MachineJournals {
    pub(crate) fn new(config: &Config, machine: &Machine, source: &str, replicas: &ReplicasConfig) -> Self {
        let (config, machine, source) = (config.clone(), machine.clone(), source.to_owned());
        Self { config, machine, source, active_series: replicas.active_series }
    }

    fn name_of(&self, replica: &str) -> String {
        // A dot stands in neither.
        format!("{}.{}", self.source, folder_name(replica))
    }

    fn hooks(&self, kind: &'static str) -> JournalHooks {
        JournalHooks { on_failure: failure_hook(&self.source, kind), ..JournalHooks::default() }
    }
}

impl Journals for MachineJournals {
    fn ledger(&self) -> Result<Journal, StartError> {
        let mut config = self.config.journal_config(LEDGER_KIND, &self.source);
        let sizes = ledger::sizes(self.active_series);
        (config.segment_bytes, config.max_bytes) = (sizes.segment, sizes.total);
        config.max_record_bytes = sizes.record;
        config.max_pending_bytes = sizes.segment;
        open_journal_with(&self.machine, &self.source, LEDGER_KIND, config, self.hooks(LEDGER_KIND))
    }

    fn spare(&self, replica: &str) -> Result<(Journal, u64), StartError> {
        let name = self.name_of(replica);
        let journal = open_journal(&self.config, &self.machine, &name, SPARE_KIND, self.hooks(SPARE_KIND))?;
        Ok((journal, self.config.journal.max_bytes))
    }

    fn replicas(&self) -> io::Result<Vec<String>> {
        let names = self.machine.disks.names(SPARE_KIND)?;
        let of_source = names.iter().filter_map(|name| name.strip_prefix(&self.source)?.strip_prefix('.'));
        let mut replicas: Vec<_> = of_source.filter_map(replica_of_folder).collect();
        replicas.sort();
        Ok(replicas)
    }

    fn remove(&self, replica: &str) -> io::Result<()> {
        self.machine.disks.remove(SPARE_KIND, &self.name_of(replica))
    }
}

/// The clock of the machine, and that of the process.
pub(crate) struct MachineClock {
    machine: Machine,
    began: Instant,
}

impl MachineClock {
    pub(crate) fn new(machine: &Machine) -> Self {
        Self { machine: machine.clone(), began: Instant::now() }
    }
}

impl Clock for MachineClock {
    fn monotonic_ms(&self) -> i64 {
        super::merge::milliseconds(self.began.elapsed())
    }

    fn wall_ms(&self) -> i64 {
        self.machine.clock.now_ms()
    }
}

pub(crate) const SPARE_KIND: &str = "replicas";
pub(crate) const LEDGER_KIND: &str = "elections";
