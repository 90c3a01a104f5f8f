//! What was sent, what was acknowledged, and whether a database has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

use crate::series::Labels;

/// The label that the merger adds.
const SOURCE: &str = "source";

/// The samples of a case, by series and time. All senders of a case write into one.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<BTreeMap<Labels, BTreeMap<i64, Entry>>>);

#[derive(Debug, Clone, Copy)]
struct Entry {
    bits: u64,
    is_acknowledged: bool,
}

/// What a database has of a series: times with the bits of the values, as they were read.
pub(super) type Found = Vec<(Labels, Vec<(i64, u64)>)>;

/// The oracle's word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// Samples that a sender was told are stored.
    pub acknowledged: u64,
    /// Samples that were sent and never acknowledged: they may be there or not.
    pub unacknowledged: u64,
    /// Acknowledged, and not there.
    pub lost: u64,
    /// There more than once.
    pub duplicated: u64,
    /// There with other bits, under another source, or never sent at all.
    pub altered: u64,
    /// The first of these, with its series.
    pub first_difference: Option<String>,
}

impl Balance {
    /// Whether nothing is lost, doubled or altered.
    pub fn is_clean(&self) -> bool {
        (self.lost, self.duplicated, self.altered) == (0, 0, 0)
    }

    /// Adds another one; its difference is kept if there is none yet.
    pub fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.unacknowledged += other.unacknowledged;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.altered += other.altered;
        self.first_difference = self.first_difference.take().or(other.first_difference);
    }

    fn differ(&mut self, what: impl FnOnce() -> String) {
        self.first_difference.get_or_insert_with(what);
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Labels, BTreeMap<i64, Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a sample that is about to be sent.
    pub(super) fn attempt(&self, labels: &Labels, timestamp_ms: i64, bits: u64) {
        let entry = Entry { bits, is_acknowledged: false };
        let mut series = self.lock();
        match series.get_mut(labels) {
            Some(samples) => drop(samples.insert(timestamp_ms, entry)),
            None => drop(series.insert(labels.clone(), BTreeMap::from([(timestamp_ms, entry)]))),
        }
    }

    /// Notes that a sender was told that a sample is stored.
    pub(super) fn acknowledge(&self, labels: &Labels, timestamp_ms: i64) {
        let mut series = self.lock();
        let entry = series.get_mut(labels).and_then(|samples| samples.get_mut(&timestamp_ms));
        if let Some(entry) = entry {
            entry.is_acknowledged = true;
        }
    }

    /// Takes the acknowledgement of samples back, as what became of them is told elsewhere; returns of how many.
    pub(super) fn excuse(&self, mut is_excused: impl FnMut(&Labels, i64) -> bool) -> u64 {
        let mut excused = 0;
        for (labels, samples) in self.lock().iter_mut() {
            for (timestamp_ms, entry) in samples {
                if entry.is_acknowledged && is_excused(labels, *timestamp_ms) {
                    entry.is_acknowledged = false;
                    excused += 1;
                }
            }
        }
        excused
    }

    /// Compares with what a database has, which is told with the label `source`: it must be that of the sender.
    pub(super) fn balance(&self, found: Found) -> Balance {
        let expected = self.lock();
        let mut balance = Balance::default();
        for entry in expected.values().flat_map(BTreeMap::values) {
            balance.acknowledged += u64::from(entry.is_acknowledged);
            balance.unacknowledged += u64::from(!entry.is_acknowledged);
        }
        let mut seen: BTreeMap<Labels, BTreeSet<i64>> = BTreeMap::new();
        for (mut labels, samples) in found {
            let source = labels.remove(SOURCE);
            let sent = expected.get(&labels).filter(|_| source.as_ref() == labels.get("origin"));
            let seen = seen.entry(labels.clone()).or_default();
            for (timestamp_ms, bits) in samples {
                let sent = sent.and_then(|samples| samples.get(&timestamp_ms));
                match sent {
                    Some(entry) if entry.bits == bits => {}
                    other => {
                        balance.altered += 1;
                        balance.differ(|| {
                            let sent = other.map_or_else(
                                || "never sent".to_owned(),
                                |entry| format!("sent as {:#018x}", entry.bits),
                            );
                            format!(
                                "altered: {labels:?} of source {source:?} at {timestamp_ms} ms: {bits:#018x} is there, {sent}"
                            )
                        });
                    }
                }
                if !seen.insert(timestamp_ms) {
                    balance.duplicated += 1;
                    balance.differ(|| {
                        format!("duplicated: {labels:?} at {timestamp_ms} ms, again with {bits:#018x}")
                    });
                }
            }
        }
        for (labels, samples) in expected.iter() {
            let seen = seen.get(labels);
            let is_missing = |time: &i64| seen.is_none_or(|seen| !seen.contains(time));
            for (timestamp_ms, entry) in samples {
                if entry.is_acknowledged && is_missing(timestamp_ms) {
                    balance.lost += 1;
                    let bits = entry.bits;
                    balance.differ(|| format!("lost: {labels:?} at {timestamp_ms} ms: {bits:#018x}"));
                }
            }
        }
        balance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(source: Option<&str>) -> Labels {
        let source = source.map(|source| (SOURCE.to_owned(), source.to_owned()));
        [("origin".to_owned(), "kafka".to_owned())].into_iter().chain(source).collect()
    }

    #[track_caller]
    fn check(found: &[(&str, i64, u64)], expected: (u64, u64, u64)) {
        let ledger = Ledger::default();
        for time in 1..=3 {
            ledger.attempt(&labels(None), time, 7);
        }
        ledger.acknowledge(&labels(None), 1);
        ledger.acknowledge(&labels(None), 2);
        let found =
            found.iter().map(|(source, time, bits)| (labels(Some(source)), vec![(*time, *bits)])).collect();
        let balance = ledger.balance(found);
        assert_eq!((balance.lost, balance.duplicated, balance.altered), expected, "{balance:?}");
        assert_eq!(balance.first_difference.is_none(), balance.is_clean());
        assert_eq!((balance.acknowledged, balance.unacknowledged), (2, 1));
    }

    #[test]
    fn the_oracle_tells_lost_duplicated_and_altered_samples() {
        check(&[("kafka", 1, 7), ("kafka", 2, 7)], (0, 0, 0));
        check(&[("kafka", 1, 7), ("kafka", 2, 7), ("kafka", 3, 7)], (0, 0, 0));
        check(&[("kafka", 1, 7)], (1, 0, 0));
        check(&[], (2, 0, 0));
        check(&[("kafka", 1, 7), ("kafka", 2, 7), ("kafka", 2, 7)], (0, 1, 0));
        check(&[("kafka", 1, 7), ("kafka", 2, 8)], (0, 0, 1));
        check(&[("kafka", 1, 7), ("kafka", 2, 7), ("kafka", 4, 7)], (0, 0, 1));
        check(&[("kafka", 1, 7), ("kubernetes", 2, 7)], (0, 0, 1));
    }

    #[test]
    fn what_is_excused_is_not_lost() {
        let ledger = Ledger::default();
        ledger.attempt(&labels(None), 1, 7);
        ledger.acknowledge(&labels(None), 1);
        assert_eq!(ledger.excuse(|_, time| time == 1), 1);
        assert!(ledger.balance(Vec::new()).is_clean());
    }
}
