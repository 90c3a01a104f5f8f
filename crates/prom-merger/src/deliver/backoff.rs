//! How long to wait before the next attempt.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use crate::config::RetryConfig;

/// Doubles from the minimum to the maximum; each wait is between half and all of that.
#[derive(Debug)]
pub(crate) struct Backoff {
    config: RetryConfig,
    failures: u32,
    jitter: RandomState,
}

impl Backoff {
    pub(crate) fn new(config: RetryConfig) -> Self {
        Self { config, failures: 0, jitter: RandomState::new() }
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
        self.jitter = RandomState::new();
    }

    /// Counts a failure and returns the wait; `asked` is what the receiver wants, which counts up to 30 s.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let factor = 2_u32.saturating_pow(self.failures.min(31));
        let whole = self.config.minimum.saturating_mul(factor).min(self.config.maximum);
        let part = (self.jitter.hash_one(self.failures) % 1024) as u32;
        self.failures = self.failures.saturating_add(1);
        let wait = whole / 2 + whole / 2 * part / 1024;
        wait.max(asked.unwrap_or_default().min(MAX_ASKED))
    }
}

const MAX_ASKED: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_maximum_and_honour_the_receiver_within_bounds() {
        let mut backoff = Backoff::new(RetryConfig::default());
        for expected in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let whole = Duration::from_millis(expected);
            let wait = backoff.next(None);
            assert!(whole / 2 <= wait && wait <= whole, "{wait:?} of {whole:?}");
        }
        assert_eq!(backoff.next(Some(Duration::from_secs(20))), Duration::from_secs(20));
        assert_eq!(backoff.next(Some(Duration::from_secs(3600))), MAX_ASKED);
        backoff.reset();
        assert!(backoff.next(None) <= Duration::from_millis(100));
    }
}
