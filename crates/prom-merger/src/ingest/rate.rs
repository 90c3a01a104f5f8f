//! How many samples a second a source may send.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

use crate::config::IngestLimits;

/// A bucket that fills with the rate up to the burst. A request is admitted whole as long as the bucket is not empty, and
/// may leave it in debt: so no request is too large to be ever admitted, and over time the rate holds.
#[derive(Debug)]
pub(crate) struct RateLimit {
    /// 0 for no limit.
    per_second: u64,
    burst: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    samples: f64,
    filled_at: Instant,
}

impl RateLimit {
    pub(crate) fn new(limits: &IngestLimits) -> Self {
        let burst = limits.burst_samples as f64;
        let bucket = Mutex::new(Bucket { samples: burst, filled_at: Instant::now() });
        Self { per_second: limits.samples_per_second, burst, bucket }
    }

    pub(crate) fn per_second(&self) -> u64 {
        self.per_second
    }

    /// Takes the samples out of the bucket; an `Err` tells when there is something in it again.
    pub(crate) fn admit(&self, samples: u64, now: Instant) -> Result<(), Duration> {
        if self.per_second == 0 {
            return Ok(());
        }
        let rate = self.per_second as f64;
        let mut bucket = self.bucket.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let elapsed = now.saturating_duration_since(bucket.filled_at);
        bucket.filled_at = now;
        bucket.samples = (bucket.samples + elapsed.as_secs_f64() * rate).min(self.burst);
        if bucket.samples <= 0.0 {
            let wait = (1.0 - bucket.samples) / rate;
            return Err(Duration::try_from_secs_f64(wait).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT));
        }
        bucket.samples -= samples as f64;
        Ok(())
    }
}

/// What a sender is told at most; it may come again too early.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_over_time_and_no_request_is_too_large() {
        let mut limits = IngestLimits::default();
        (limits.samples_per_second, limits.burst_samples) = (100, 1_000);
        let rate = RateLimit::new(&limits);
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(rate.admit(900, at(0)), Ok(()));
        assert_eq!(rate.admit(600, at(0)), Ok(()), "more than is left, once");
        let wait = rate.admit(1, at(0)).unwrap_err();
        assert!(wait > Duration::from_secs(4) && wait < Duration::from_secs(7), "{wait:?}");
        assert!(rate.admit(1, at(4)).is_err());
        assert_eq!(rate.admit(1_000_000, at(7)), Ok(()));
        assert_eq!(rate.admit(1, at(8)), Err(LONGEST_WAIT));
        assert_eq!(rate.admit(1_000, at(1_000_000)), Ok(()), "full, not fuller");
        assert!(rate.admit(1, at(1_000_000)).is_err());
    }

    #[test]
    fn no_limit_admits_everything() {
        let rate = RateLimit::new(&IngestLimits::default());
        for _ in 0..3 {
            assert_eq!(rate.admit(u64::MAX, Instant::now()), Ok(()));
        }
    }
}
