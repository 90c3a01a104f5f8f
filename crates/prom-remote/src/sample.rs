//! Samples and times, shared by writing and reading.

use thiserror::Error;

pub use prom_chunks::{STALE_MARKER_BITS, Sample, StartedSample};

/// A half-open range of time `[start, end)` in milliseconds since the Unix epoch; never empty.
///
/// Remote read speaks of closed ranges; the conversion is in this type and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    start_ms: i64,
    end_ms: i64,
}

/// The end of a time range is not after its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("time range [{start_ms}, {end_ms}) is empty")]
pub struct InvalidTimeRange {
    /// The first millisecond asked for.
    pub start_ms: i64,
    /// The first millisecond not asked for.
    pub end_ms: i64,
}

impl TimeRange {
    /// Makes the range from `start_ms` (inside) to `end_ms` (outside).
    ///
    /// # Errors
    /// An empty range: `start_ms >= end_ms`.
    pub fn new(start_ms: i64, end_ms: i64) -> Result<Self, InvalidTimeRange> {
        if start_ms < end_ms {
            Ok(Self { start_ms, end_ms })
        } else {
            Err(InvalidTimeRange { start_ms, end_ms })
        }
    }

    /// Returns the first millisecond of the range.
    pub fn start_ms(self) -> i64 {
        self.start_ms
    }

    /// Returns the first millisecond after the range.
    pub fn end_ms(self) -> i64 {
        self.end_ms
    }

    /// Tells whether the timestamp is in the range.
    pub fn contains(self, timestamp_ms: i64) -> bool {
        self.start_ms <= timestamp_ms && timestamp_ms < self.end_ms
    }

    /// Takes the protocol's form: both ends inclusive. The very last millisecond of all time is left out.
    ///
    /// # Errors
    /// A range whose end is before its start.
    pub(crate) fn from_closed(first_ms: i64, last_ms: i64) -> Result<Self, InvalidTimeRange> {
        Self::new(first_ms, last_ms.saturating_add(1))
    }

    /// Returns the protocol's form: both ends inclusive.
    pub(crate) fn closed(self) -> (i64, i64) {
        // Not empty, so the end is above the smallest number.
        (self.start_ms, self.end_ms.saturating_sub(1))
    }
}

/// The earliest and the latest timestamp found somewhere; both are real timestamps (closed form).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampBounds {
    /// The earliest, in milliseconds since the Unix epoch.
    pub min_ms: i64,
    /// The latest, in milliseconds since the Unix epoch.
    pub max_ms: i64,
}

impl TimestampBounds {
    #[inline]
    pub(crate) fn merge(bounds: &mut Option<Self>, other: Option<Self>) {
        *bounds = match (*bounds, other) {
            (Some(a), Some(b)) => {
                Some(Self { min_ms: a.min_ms.min(b.min_ms), max_ms: a.max_ms.max(b.max_ms) })
            }
            (a, b) => a.or(b),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_open_becomes_closed_in_one_place() {
        let range = TimeRange::new(1_000, 2_000).unwrap();
        assert_eq!(range.closed(), (1_000, 1_999));
        assert!(range.contains(1_000) && range.contains(1_999) && !range.contains(2_000));
        assert_eq!(TimeRange::new(i64::MIN, i64::MIN + 1).unwrap().closed(), (i64::MIN, i64::MIN));
    }

    #[test]
    fn refuses_an_empty_range() {
        assert!(TimeRange::new(5, 5).is_err());
        assert!(TimeRange::new(6, 5).is_err());
    }
}
