use std::fmt;

/// The value bits by which Prometheus marks the end of a series (remote write 1.0, "Stale Markers").
///
/// It is one NaN of many: compare bits, never values.
pub const STALE_MARKER_BITS: u64 = 0x7ff0_0000_0000_0002;

/// One measured value: a timestamp and the bits of a double.
///
/// The value is kept as bits, so that NaN payloads and `-0.0` survive and equality means what it says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sample {
    /// Milliseconds since the Unix epoch; may be negative.
    pub timestamp_ms: i64,
    /// The value as IEEE 754 bits.
    pub value_bits: u64,
}

impl Sample {
    /// Makes a sample from a number; `timestamp_ms` is milliseconds since the Unix epoch.
    pub fn new(timestamp_ms: i64, value: f64) -> Self {
        Self { timestamp_ms, value_bits: value.to_bits() }
    }

    /// Makes the sample that says "this series has ended".
    pub fn stale(timestamp_ms: i64) -> Self {
        Self { timestamp_ms, value_bits: STALE_MARKER_BITS }
    }

    /// Returns the value as a number.
    pub fn value(self) -> f64 {
        f64::from_bits(self.value_bits)
    }

    /// Tells whether the sample is a stale marker: exactly [`STALE_MARKER_BITS`], no other NaN.
    pub fn is_stale(self) -> bool {
        self.value_bits == STALE_MARKER_BITS
    }
}

impl fmt::Debug for Sample {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{} ({:#018x})", self.value(), self.timestamp_ms, self.value_bits)
    }
}

/// A sample and when its counting started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StartedSample {
    /// The sample.
    pub sample: Sample,
    /// Milliseconds since the Unix epoch; 0 means that the start is not known.
    pub start_timestamp_ms: i64,
}

impl From<Sample> for StartedSample {
    /// The start is not known.
    fn from(sample: Sample) -> Self {
        Self { sample, start_timestamp_ms: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_marker_is_its_bits_only() {
        assert!(Sample::stale(1).is_stale());
        assert!(!Sample::new(1, f64::NAN).is_stale());
    }
}
