//! Which series a source sends at present, within a bound.

use std::{
    collections::HashSet,
    hash::{BuildHasher, Hash, Hasher},
    sync::Mutex,
    time::Duration,
};

use foldhash::quality::RandomState;
use prom_remote::LabelView;
use tokio::time::Instant;

/// The series seen lately, each as one number: at most as many as the limit that the callers give.
///
/// A series is active for [`WINDOW`] to twice that after it was last seen.
#[derive(Debug)]
pub(crate) struct ActiveSeries {
    hasher: RandomState,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// Since `turned_at`.
    now: HashSet<u64, RandomState>,
    /// In the window before, and not since.
    before: HashSet<u64, RandomState>,
    turned_at: Instant,
}

impl Default for ActiveSeries {
    fn default() -> Self {
        let seen = Seen { now: HashSet::default(), before: HashSet::default(), turned_at: Instant::now() };
        Self { hasher: RandomState::default(), seen: Mutex::new(seen) }
    }
}

impl ActiveSeries {
    /// Notes a series; `false` if it is a new one over the limit.
    pub(crate) fn admit<'a>(
        &self,
        labels: impl Iterator<Item = LabelView<'a>>,
        limit: usize,
        now: Instant,
    ) -> bool {
        let mut hasher = self.hasher.build_hasher();
        labels.for_each(|label| label.hash(&mut hasher));
        let series = hasher.finish();
        let mut seen = self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        seen.turn(now);
        if seen.now.contains(&series) {
            return true;
        }
        let is_known = seen.before.remove(&series);
        if !is_known && seen.len() >= limit {
            return false;
        }
        seen.now.insert(series);
        true
    }

    pub(crate) fn count(&self, now: Instant) -> usize {
        let mut seen = self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        seen.turn(now);
        seen.len()
    }
}

impl Seen {
    fn len(&self) -> usize {
        self.now.len() + self.before.len()
    }

    fn turn(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.turned_at);
        if elapsed < WINDOW {
            return;
        }
        self.before = std::mem::take(&mut self.now);
        if elapsed >= 2 * WINDOW {
            self.before.clear();
        }
        self.turned_at = now;
    }
}

/// Long enough for a series that is scraped every few minutes, short enough for pods that come and go.
const WINDOW: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    /// Each step: seconds, name of the series, whether it is admitted under a limit of two.
    #[track_caller]
    fn check(steps: &[(u64, &str, bool)]) {
        let active = ActiveSeries::default();
        let start = Instant::now();
        for (index, (seconds, name, expected)) in steps.iter().enumerate() {
            let labels = [LabelView { name: b"__name__", value: name.as_bytes() }];
            let now = start + Duration::from_secs(*seconds);
            assert_eq!(active.admit(labels.into_iter(), 2, now), *expected, "step {index}");
            assert!(active.count(now) <= 2);
        }
    }

    #[test]
    fn a_new_series_over_the_limit_is_refused_until_another_one_ends() {
        check(&[(0, "a", true), (0, "b", true), (0, "c", false), (1, "a", true), (1, "b", true)]);
        // `b` ends: its place is free after at most two windows.
        check(&[(0, "a", true), (0, "b", true), (700, "a", true), (700, "c", false), (1_300, "c", true)]);
        // One that goes on keeps its place for ever.
        check(&[(0, "a", true), (590, "b", true), (700, "a", true), (1_190, "b", true), (1_310, "c", false)]);
        check(&[(0, "a", true), (0, "b", true), (5_000, "c", true), (5_000, "d", true), (5_000, "a", false)]);
    }
}
