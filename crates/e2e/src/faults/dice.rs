//! Chance that can be repeated.

/// A generator of the xorshift kind: the same seed throws the same numbers.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// One for a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Any number.
    pub(super) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`, 0 if that is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.roll().checked_rem(bound).unwrap_or_default()
    }

    /// Heads or tails.
    pub(super) fn coin(&mut self) -> bool {
        self.roll() & 0x100 != 0
    }

    /// One of them.
    ///
    /// # Panics
    /// When there is none.
    pub(super) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap_or_default()]
    }
}
