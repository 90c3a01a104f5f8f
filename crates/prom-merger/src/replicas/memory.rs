//! What was delivered last of each series, so that another replica can go on from there: no clock, no I/O.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::identity::SeriesKey;

/// The last timestamp of each series, for a bounded number of series.
///
/// Of the replica that is elected everything is delivered that is later than what another one delivered before: also what
/// comes late or once more, as if it were the only one. Where there are more series than may be, those that have been
/// silent for longest are forgotten.
#[derive(Debug, Clone)]
pub(crate) struct SeriesMemory {
    entries: HashMap<SeriesKey, Entry, BuildHasherDefault<KeyIsHash>>,
    capacity: usize,
    term: u32,
    /// The latest timestamp of a forgotten series.
    forgotten_ms: i64,
    /// That at the beginning of the term: the bound for series that are not known.
    term_floor_ms: i64,
    forgotten: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    last_ms: i64,
    /// What was delivered before `term`.
    floor_ms: i64,
    term: u32,
    has_ended: bool,
}

/// How far a series has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) key: SeriesKey,
    /// The latest timestamp.
    pub(crate) last_ms: i64,
    /// That is a stale marker.
    pub(crate) has_ended: bool,
}

impl SeriesMemory {
    /// `capacity` is at least 1.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            entries: HashMap::default(),
            capacity: capacity.max(1),
            term: 0,
            forgotten_ms: i64::MIN,
            term_floor_ms: i64::MIN,
            forgotten: 0,
        }
    }

    /// What the elected replica delivers must be later.
    pub(crate) fn floor_ms(&self, key: SeriesKey) -> i64 {
        match self.entries.get(&key) {
            Some(entry) if entry.term == self.term => entry.floor_ms,
            Some(entry) => entry.last_ms,
            None => self.term_floor_ms,
        }
    }

    /// What a replica that takes over delivers must be later.
    pub(crate) fn last_ms(&self, key: SeriesKey) -> i64 {
        self.entries.get(&key).map_or(self.forgotten_ms, |entry| entry.last_ms)
    }

    /// Notes what was delivered. Progress that goes back changes nothing.
    pub(crate) fn advance(&mut self, progress: &Progress) {
        let Progress { key, last_ms, has_ended } = *progress;
        if let Some(entry) = self.entries.get_mut(&key) {
            if entry.term != self.term {
                entry.floor_ms = entry.last_ms;
                entry.term = self.term;
            }
            if last_ms >= entry.last_ms {
                entry.last_ms = last_ms;
                entry.has_ended = has_ended;
            }
            return;
        }
        if self.entries.len() >= self.capacity {
            self.forget_the_silent();
        }
        let entry = Entry { last_ms, floor_ms: self.term_floor_ms, term: self.term, has_ended };
        self.entries.insert(key, entry);
    }

    /// Forgets a tenth of the series, at least one: so the cost for each new series stays small.
    fn forget_the_silent(&mut self) {
        let mut times: Vec<_> = self.entries.values().map(|entry| entry.last_ms).collect();
        let index = times.len().div_ceil(10).min(times.len()).saturating_sub(1);
        let (_, cut, _) = times.select_nth_unstable(index);
        let cut = *cut;
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.last_ms > cut);
        self.forgotten_ms = self.forgotten_ms.max(cut);
        self.forgotten += (before - self.entries.len()) as u64;
    }

    /// From now on another replica is elected: what was delivered so far bounds what it delivers.
    pub(crate) fn begin_term(&mut self) {
        self.term = self.term.wrapping_add(1);
        self.term_floor_ms = self.forgotten_ms;
    }

    /// From where on the spare data of another replica is needed: the earliest end of a series that was not ended by a stale
    /// marker, at most `horizon_ms` before the latest one. `None` if nothing was ever delivered.
    pub(crate) fn resume_ms(&self, horizon_ms: i64) -> Option<i64> {
        let latest = self.latest_ms()?;
        let earliest = latest.saturating_sub(horizon_ms);
        let open = self.entries.values().filter(|entry| !entry.has_ended).map(|entry| entry.last_ms);
        Some(open.filter(|last_ms| *last_ms >= earliest).min().unwrap_or(latest))
    }

    /// The latest timestamp that was delivered.
    pub(crate) fn latest_ms(&self) -> Option<i64> {
        self.entries.values().map(|entry| entry.last_ms).max()
    }

    /// All that is known, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Progress> + '_ {
        self.entries.iter().map(|(key, entry)| Progress {
            key: *key,
            last_ms: entry.last_ms,
            has_ended: entry.has_ended,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many series were forgotten since the beginning.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(crate) fn forgotten_ms(&self) -> i64 {
        self.forgotten_ms
    }

    /// Takes over what a former run had forgotten.
    pub(crate) fn raise_forgotten(&mut self, forgotten_ms: i64) {
        self.forgotten_ms = self.forgotten_ms.max(forgotten_ms);
    }
}

/// The keys are hashes already.
#[derive(Debug, Default, Clone)]
struct KeyIsHash(u64);

impl Hasher for KeyIsHash {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(key: u64, last_ms: i64) -> Progress {
        Progress { key: SeriesKey(key), last_ms, has_ended: false }
    }

    #[test]
    fn late_data_of_the_elected_is_bounded_by_what_another_one_delivered() {
        let mut memory = SeriesMemory::new(10);
        memory.advance(&progress(1, 100));
        memory.advance(&progress(1, 90));
        assert_eq!((memory.floor_ms(SeriesKey(1)), memory.last_ms(SeriesKey(1))), (i64::MIN, 100));
        memory.begin_term();
        assert_eq!(memory.floor_ms(SeriesKey(1)), 100);
        memory.advance(&progress(1, 120));
        assert_eq!((memory.floor_ms(SeriesKey(1)), memory.last_ms(SeriesKey(1))), (100, 120));
        // Nothing was delivered of it in a term: its end stays the bound.
        memory.begin_term();
        memory.begin_term();
        assert_eq!(memory.floor_ms(SeriesKey(1)), 120);
    }

    #[test]
    fn the_silent_are_forgotten_at_the_limit_and_bound_what_is_unknown_from_the_next_term_on() {
        let mut memory = SeriesMemory::new(20);
        (0..20).for_each(|key| memory.advance(&progress(key, key as i64)));
        assert_eq!((memory.len(), memory.forgotten()), (20, 0));
        memory.advance(&progress(20, 20));
        assert_eq!((memory.len(), memory.forgotten()), (19, 2));
        assert_eq!(memory.last_ms(SeriesKey(0)), 1);
        // The elected one itself is not bounded by what was forgotten of it.
        assert_eq!(memory.floor_ms(SeriesKey(0)), i64::MIN);
        memory.begin_term();
        assert_eq!(memory.floor_ms(SeriesKey(0)), 1);
        (0..1_000).for_each(|key| memory.advance(&progress(1_000 + key, 5)));
        assert!(memory.len() <= 20);
    }

    #[test]
    fn spare_data_is_needed_from_the_earliest_open_end() {
        let mut memory = SeriesMemory::new(10);
        assert_eq!(memory.resume_ms(50), None);
        memory.advance(&progress(1, 100));
        memory.advance(&progress(2, 95));
        memory.advance(&Progress { has_ended: true, ..progress(3, 80) });
        memory.advance(&progress(4, 10));
        assert_eq!(memory.resume_ms(50), Some(95));
        assert_eq!(memory.resume_ms(1_000), Some(10));
        let mut ended = SeriesMemory::new(10);
        ended.advance(&Progress { has_ended: true, ..progress(3, 80) });
        assert_eq!(ended.resume_ms(50), Some(80));
    }
}
