//! What a group tells about itself.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

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
    pub(crate) held_samples: u64,
    pub(crate) held_bytes: u64,
}

impl ReplicaMetrics {
    /// All replicas that there are, and whether each is elected.
    pub(crate) fn set_roles<'a>(&self, roles: impl Iterator<Item = (&'a str, bool)>) {
        let mut replicas = self.lock();
        for (name, is_elected) in roles {
            replicas.entry(name.to_owned()).or_default().is_elected = is_elected;
        }
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
