//! What becomes of a request of a replica: the decisions, without clock and I/O.

use std::{collections::HashMap, time::Duration};

use super::{
    election::{Admission, Election, Role, TooManyReplicas},
    identity::SeriesKey,
    memory::{Progress, SeriesMemory},
};

/// The replicas of one source and what was delivered of them.
#[derive(Debug)]
pub(crate) struct Merge {
    pub(crate) election: Election,
    pub(crate) memory: SeriesMemory,
    /// Spare data older than the latest delivered sample by more than this is never delivered.
    horizon_ms: i64,
}

/// The bounds of a merge.
#[derive(Debug, Clone)]
pub(crate) struct MergeConfig {
    pub(crate) maximum: usize,
    pub(crate) freshness: Duration,
    pub(crate) spare_retention: Duration,
    pub(crate) active_series: usize,
}

/// Spare data on its way: what the records before have put behind the last delivered sample, not yet durable.
#[derive(Debug)]
pub(crate) struct Takeover {
    /// Nothing up to this is needed.
    pub(crate) resume_ms: i64,
    ahead: HashMap<SeriesKey, i64>,
}

impl Merge {
    pub(crate) fn new(config: &MergeConfig) -> Self {
        Self {
            election: Election::new(milliseconds(config.freshness), config.maximum),
            memory: SeriesMemory::new(config.active_series),
            horizon_ms: milliseconds(config.spare_retention),
        }
    }

    pub(crate) fn admit(&mut self, replica: &str, now_ms: i64) -> Result<Admission, TooManyReplicas> {
        self.election.admit(replica, now_ms)
    }

    pub(crate) fn hear(&mut self, member: usize, name: &str, now_ms: i64) -> Option<Role> {
        self.election.hear(member, name, now_ms)
    }

    /// What the elected replica delivers of each series must be later.
    pub(crate) fn floors_ms(&self, keys: &mut dyn Iterator<Item = SeriesKey>) -> Vec<i64> {
        keys.map(|key| self.memory.floor_ms(key)).collect()
    }

    /// Notes what was delivered and is durable.
    pub(crate) fn advance<'a>(&mut self, progress: impl IntoIterator<Item = &'a Progress>) {
        progress.into_iter().for_each(|progress| self.memory.advance(progress));
    }

    /// Begins to deliver the spare data of a successor; `None` if nothing was ever delivered, so that none is needed.
    pub(crate) fn take_over(&self) -> Option<Takeover> {
        let resume_ms = self.memory.resume_ms(self.horizon_ms)?;
        Some(Takeover { resume_ms, ahead: HashMap::new() })
    }

    /// What a successor delivers of each series of its spare data must be later.
    pub(crate) fn ends_ms(&self, takeover: &Takeover, keys: &mut dyn Iterator<Item = SeriesKey>) -> Vec<i64> {
        let end_ms = |key| {
            let delivered = takeover.ahead.get(&key).copied().unwrap_or_else(|| self.memory.last_ms(key));
            delivered.max(takeover.resume_ms)
        };
        keys.map(end_ms).collect()
    }

    /// The successor is elected.
    pub(crate) fn elect(&mut self, member: usize) {
        self.election.elect(member);
        self.memory.begin_term();
    }
}

impl Takeover {
    /// Notes what is on its way.
    pub(crate) fn go_ahead(&mut self, progress: &[Progress]) {
        for Progress { key, last_ms, .. } in progress {
            let ahead = self.ahead.entry(*key).or_insert(*last_ms);
            *ahead = (*ahead).max(*last_ms);
        }
    }
}

pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
