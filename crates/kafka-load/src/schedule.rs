//! Intended send times of an open loop: when each message *should* leave, whatever the system under test does.
//!
//! The schedule is a pure value: it is asked with a time and answers with the oldest slot that is due. A slot stays due until
//! it is taken, so a stall makes later messages late and never drops one. All times are nanoseconds on one monotonic
//! scale chosen by the caller.
//!
//! ```
//! use kafka_load::schedule::{MessagesPerSecond, Schedule};
//!
//! let mut schedule = Schedule::new(0, MessagesPerSecond::new(1000.0)?);
//! assert_eq!(schedule.take_due(0).map(|slot| slot.intended_ns), Some(0));
//! assert_eq!(schedule.take_due(999_999), None);
//! // The sender stalls for 10 ms: ten slots are waiting, each with its own intended time.
//! assert_eq!(schedule.take_due(11_000_000).map(|slot| slot.intended_ns), Some(1_000_000));
//! assert_eq!(schedule.lag_ns(11_000_000), 9_000_000);
//! # Ok::<(), kafka_load::schedule::RateError>(())
//! ```

use std::collections::VecDeque;

const NANOSECONDS_PER_SECOND: f64 = 1e9;

/// How many rate changes may wait behind unsent slots before further changes are refused.
const MAXIMUM_SEGMENTS: usize = 1024;

/// A finite rate of zero or more; zero means paused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MessagesPerSecond(f64);

impl MessagesPerSecond {
    /// The highest rate accepted, messages per second.
    pub const MAXIMUM: f64 = 10_000_000.0;

    /// The rate that sends nothing.
    pub const PAUSED: Self = Self(0.0);

    /// Checks a rate.
    ///
    /// # Errors
    /// The rate is negative, not a number, or above [`Self::MAXIMUM`].
    pub fn new(rate: f64) -> Result<Self, RateError> {
        if (0.0..=Self::MAXIMUM).contains(&rate) {
            Ok(Self(rate))
        } else {
            Err(RateError::OutOfRange { rate })
        }
    }

    /// Returns the number itself.
    pub fn as_f64(self) -> f64 {
        self.0
    }
}

/// Why a rate, or a change of rate, was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RateError {
    /// The number is no usable rate.
    #[error("rate {rate} is not between 0 and {} messages per second", MessagesPerSecond::MAXIMUM)]
    OutOfRange {
        /// The number given.
        rate: f64,
    },
    /// The sender is so far behind that it has not finished the last thousand rate changes.
    #[error("{MAXIMUM_SEGMENTS} rate changes are still waiting behind late messages")]
    TooManyChanges,
}

/// One message's place in the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Counts slots from 0 over the schedule's whole life, without a gap.
    pub index: u64,
    /// When the message should be sent.
    pub intended_ns: u64,
}

/// The sequence of slots, with the rate changes that shape it.
#[derive(Debug, Clone)]
pub struct Schedule {
    segments: VecDeque<Segment>,
    taken: u64,
}

/// A stretch of constant rate. Its slot `k` is at `start + (k + lead) / rate`.
#[derive(Debug, Clone)]
struct Segment {
    start_ns: u64,
    end_ns: Option<u64>,
    rate: f64,
    /// The part of one interval, in `[0, 1]`, that was still to wait for when the segment began.
    lead: f64,
    taken: u64,
}

impl Schedule {
    /// Makes a schedule whose first slot is at `start_ns`.
    pub fn new(start_ns: u64, rate: MessagesPerSecond) -> Self {
        let first = Segment { start_ns, end_ns: None, rate: rate.0, lead: 0.0, taken: 0 };
        Self { segments: VecDeque::from([first]), taken: 0 }
    }

    /// Returns the oldest slot not yet taken, if it exists by now; it may lie in the future, and `None` means paused.
    pub fn next_slot(&mut self) -> Option<Slot> {
        while self.segments.len() > 1 && self.segments[0].next_ns().is_none() {
            self.segments.pop_front();
        }
        let intended_ns = self.segments.front()?.next_ns()?;
        Some(Slot { index: self.taken, intended_ns })
    }

    /// Takes the oldest slot whose intended time has come.
    pub fn take_due(&mut self, now_ns: u64) -> Option<Slot> {
        let slot = self.next_slot().filter(|slot| slot.intended_ns <= now_ns)?;
        self.segments[0].taken += 1;
        self.taken += 1;
        Some(slot)
    }

    /// Returns how late the oldest waiting slot is; 0 when nothing waits.
    pub fn lag_ns(&mut self, now_ns: u64) -> u64 {
        self.next_slot().map_or(0, |slot| now_ns.saturating_sub(slot.intended_ns))
    }

    /// Changes the rate from `now_ns` on.
    ///
    /// Slots intended before `now_ns` and not yet taken stay as they are. The part of an interval already waited counts
    /// for the new rate, so frequent changes neither add nor lose messages.
    ///
    /// # Errors
    /// [`RateError::TooManyChanges`]; the rate is then unchanged.
    pub fn set_rate(&mut self, now_ns: u64, rate: MessagesPerSecond) -> Result<(), RateError> {
        self.next_slot();
        if self.segments.len() >= MAXIMUM_SEGMENTS {
            return Err(RateError::TooManyChanges);
        }
        let last = self.segments.back_mut().expect("a schedule always has its current segment");
        let now_ns = now_ns.max(last.start_ns);
        let lead = last.close(now_ns);
        self.segments.push_back(Segment { start_ns: now_ns, end_ns: None, rate: rate.0, lead, taken: 0 });
        Ok(())
    }

    /// Returns the rate in force for new slots.
    pub fn rate(&self) -> MessagesPerSecond {
        MessagesPerSecond(self.segments.back().map_or(0.0, |segment| segment.rate))
    }
}

impl Segment {
    fn slot_ns(&self, index: u64) -> u64 {
        let offset_ns = (index as f64 + self.lead) * NANOSECONDS_PER_SECOND / self.rate;
        self.start_ns.saturating_add(offset_ns as u64)
    }

    fn next_ns(&self) -> Option<u64> {
        if self.rate == 0.0 {
            return None;
        }
        let next_ns = self.slot_ns(self.taken);
        let ended = self.end_ns.is_some_and(|end_ns| next_ns >= end_ns);
        (!ended).then_some(next_ns)
    }

    /// Ends the segment and returns the lead of the one that follows.
    fn close(&mut self, end_ns: u64) -> f64 {
        self.end_ns = Some(end_ns);
        if self.rate == 0.0 {
            return self.lead;
        }
        let intervals = (end_ns - self.start_ns) as f64 * self.rate / NANOSECONDS_PER_SECOND;
        let estimate = (intervals - self.lead).ceil().max(0.0) as u64;
        // Rounding may put the estimate one slot off; the comparison of slot times decides, as in `next_ns`.
        let mut following = estimate.saturating_sub(1).max(self.taken.min(estimate));
        while self.slot_ns(following) < end_ns {
            following += 1;
        }
        (following as f64 + self.lead - intervals).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(messages_per_second: f64) -> MessagesPerSecond {
        MessagesPerSecond::new(messages_per_second).expect("a valid rate")
    }

    fn drain(schedule: &mut Schedule, now_ns: u64) -> Vec<u64> {
        std::iter::from_fn(|| schedule.take_due(now_ns)).map(|slot| slot.intended_ns).collect()
    }

    #[test]
    fn a_stall_makes_messages_late_and_drops_none() {
        let mut punctual = Schedule::new(0, rate(500.0));
        let mut stalled = punctual.clone();
        let expected: Vec<u64> =
            (0..=1_000).flat_map(|millisecond| drain(&mut punctual, millisecond * 1_000_000)).collect();
        assert_eq!(stalled.lag_ns(1_000_000_000), 1_000_000_000);
        assert_eq!(drain(&mut stalled, 1_000_000_000), expected);
        assert_eq!(expected.len(), 501);
        assert_eq!(stalled.lag_ns(1_000_000_000), 0);
    }

    #[test]
    fn late_slots_keep_their_times_over_a_rate_change() {
        let mut schedule = Schedule::new(0, rate(10.0));
        schedule.set_rate(250_000_000, rate(100.0)).expect("few changes");
        // Half an interval was waited at the old rate, so half of the new one is left.
        assert_eq!(
            drain(&mut schedule, 270_000_000),
            [0, 100_000_000, 200_000_000, 255_000_000, 265_000_000]
        );
    }

    #[test]
    fn pausing_creates_no_slots() {
        let mut schedule = Schedule::new(0, rate(10.0));
        schedule.set_rate(50_000_000, MessagesPerSecond::PAUSED).expect("few changes");
        assert_eq!(drain(&mut schedule, 10_000_000_000), [0]);
        assert_eq!(schedule.next_slot(), None);
        schedule.set_rate(10_000_000_000, rate(10.0)).expect("few changes");
        assert_eq!(drain(&mut schedule, 10_150_000_000), [10_050_000_000, 10_150_000_000]);
    }

    #[test]
    fn refuses_endless_changes_behind_a_stall() {
        let mut schedule = Schedule::new(0, rate(10.0));
        let refused = (1..5_000).find_map(|now_ns| schedule.set_rate(now_ns, rate(5.0)).err());
        assert_eq!(refused, Some(RateError::TooManyChanges));
    }

    #[test]
    fn refuses_impossible_rates() {
        for number in [-1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(MessagesPerSecond::new(number).is_err(), "{number}");
        }
    }

    proptest! {
        /// However often the sender wakes, the same slots come out, in order, with consecutive indices.
        #[test]
        fn slots_do_not_depend_on_when_they_are_taken(
            changes in prop::collection::vec((1u64..400_000_000, 0u32..2_000), 0..6),
            naps in prop::collection::vec(1u64..300_000_000, 1..40),
        ) {
            let mut once = Schedule::new(0, rate(777.0));
            let mut often = once.clone();
            let (mut now_ns, mut stepwise) = (0, Vec::new());
            for (index, nap) in naps.iter().enumerate() {
                if let Some((after, number)) = changes.get(index) {
                    now_ns += after;
                    once.set_rate(now_ns, rate(f64::from(*number))).expect("few changes");
                    often.set_rate(now_ns, rate(f64::from(*number))).expect("few changes");
                }
                now_ns += nap;
                stepwise.extend(std::iter::from_fn(|| often.take_due(now_ns)));
            }
            let at_the_end: Vec<Slot> = std::iter::from_fn(|| once.take_due(now_ns)).collect();
            prop_assert_eq!(&stepwise, &at_the_end);
            let consecutive = stepwise.windows(2).all(|pair| {
                pair[0].intended_ns <= pair[1].intended_ns && pair[0].index + 1 == pair[1].index
            });
            prop_assert!(consecutive);
        }

        /// Changing to the same rate changes nothing but rounding.
        #[test]
        fn splitting_a_segment_keeps_the_count(cuts in prop::collection::vec(1u64..90_000_000, 1..20)) {
            let end_ns = 2_000_000_000;
            let mut plain = Schedule::new(0, rate(333.0));
            let mut cut = plain.clone();
            let mut now_ns = 0;
            for after in cuts {
                now_ns += after;
                cut.set_rate(now_ns, rate(333.0)).expect("few changes");
            }
            let (plain, cut) = (drain(&mut plain, end_ns), drain(&mut cut, end_ns));
            prop_assert!(plain.len().abs_diff(cut.len()) <= 1);
            prop_assert!(plain.iter().zip(&cut).all(|(a, b)| a.abs_diff(*b) < 1_000));
        }
    }
}
