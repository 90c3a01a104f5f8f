//! How long to wait before a request is sent again.

use std::time::Duration;

/// Growing waits between attempts, as Prometheus' sender has them: doubled each time, never shorter than what the
/// receiver asks for.
///
/// ```
/// use std::time::Duration;
/// use prom_remote_http::Backoff;
///
/// let mut backoff = Backoff::default();
/// assert_eq!(backoff.next(None), Duration::from_millis(30));
/// assert_eq!(backoff.next(Some(Duration::from_secs(7))), Duration::from_secs(7));
/// assert_eq!(backoff.next(None), Duration::from_millis(120));
/// backoff.reset();
/// assert_eq!(backoff.attempt(), 0);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    attempt: u32,
}

impl Default for Backoff {
    /// From 30 ms to 5 s, Prometheus' defaults.
    fn default() -> Self {
        Self::new(Duration::from_millis(30), Duration::from_secs(5))
    }
}

impl Backoff {
    /// Makes waits that grow from `min` to `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), attempt: 0 }
    }

    /// Returns how often the request has failed since the last reset: what [`WriteRequest::attempt`](crate::WriteRequest)
    /// wants.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns how long to wait now that the request has failed once more; `after` is what the receiver asked for,
    /// which may be longer than the longest wait. Add jitter where many senders fail at once.
    pub fn next(&mut self, after: Option<Duration>) -> Duration {
        let factor = 2_u32.saturating_pow(self.attempt);
        self.attempt = self.attempt.saturating_add(1);
        let own = self.min.saturating_mul(factor).min(self.max);
        after.map_or(own, |after| after.max(own))
    }

    /// Starts again after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500));
        let waits: Vec<_> = (0..4).map(|_| backoff.next(None).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 500]);
        assert_eq!(backoff.next(Some(Duration::from_secs(60))), Duration::from_secs(60));
        assert_eq!(backoff.next(Some(Duration::ZERO)), Duration::from_millis(500));
        for _ in 0..100 {
            backoff.next(None);
        }
        assert_eq!((backoff.attempt(), backoff.next(None).as_millis()), (106, 500));
    }
}
