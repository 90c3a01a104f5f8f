//! When a service that ended is started again, and when it is given up.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// So many ends within [`WINDOW`] are too many. A broker that comes back before its old ZooKeeper session (18 s) is
/// over refuses to start, so the pauses of all attempts together are longer than that.
pub(super) const MOST_ENDS: usize = 8;
/// How long an end counts.
pub(super) const WINDOW: Duration = Duration::from_secs(5 * 60);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What to do after an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Start it again after this pause.
    Again(Duration),
    /// Leave it.
    GiveUp,
}

/// The unasked ends of one service.
#[derive(Debug, Default)]
pub(super) struct Healing {
    ends: VecDeque<Instant>,
}

impl Healing {
    /// Takes an end at `now`.
    pub(super) fn ended(&mut self, now: Instant) -> Verdict {
        while self.ends.front().is_some_and(|end| now.duration_since(*end) >= WINDOW) {
            self.ends.pop_front();
        }
        self.ends.push_back(now);
        if self.ends.len() >= MOST_ENDS {
            return Verdict::GiveUp;
        }
        let doubled = FIRST_PAUSE * 2_u32.pow(self.ends.len() as u32 - 1);
        Verdict::Again(doubled.min(LONGEST_PAUSE))
    }

    /// Forgets what was: somebody asked for a new start.
    pub(super) fn forget(&mut self) {
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_the_eighth_end_is_the_last() {
        let mut healing = Healing::default();
        let begin = Instant::now();
        let verdicts: Vec<Verdict> =
            (0..8).map(|end| healing.ended(begin + Duration::from_secs(end))).collect();
        let again = |seconds| Verdict::Again(Duration::from_secs(seconds));
        let expected =
            [again(1), again(2), again(4), again(8), again(16), again(30), again(30), Verdict::GiveUp];
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn what_is_long_ago_does_not_count() {
        let mut healing = Healing::default();
        let begin = Instant::now();
        for day in 0..100 {
            let verdict = healing.ended(begin + Duration::from_secs(day * 86_400));
            assert_eq!(verdict, Verdict::Again(FIRST_PAUSE));
        }
        for second in 0..7 {
            healing.ended(begin + Duration::from_secs(100 * 86_400 + second));
        }
        healing.forget();
        assert_eq!(healing.ended(begin + Duration::from_secs(100 * 86_400 + 9)), Verdict::Again(FIRST_PAUSE));
    }
}
