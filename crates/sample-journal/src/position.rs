//! Where a record stands in a journal.

use std::fmt;

/// A record's place in one journal: its sequence number.
///
/// Records are numbered without gaps from 0 for the life of the journal, across segments and restarts; a number once
/// given to an acknowledged record never means another one. Used as the end of something ("up to here"), a position is
/// exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub(crate) u64);

impl Position {
    /// The place of the first record ever appended.
    pub const START: Self = Self(0);

    /// Returns the number, to be stored elsewhere.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Returns the position of that number; any number is a position, if perhaps one past the journal's end.
    pub const fn from_u64(sequence: u64) -> Self {
        Self(sequence)
    }

    /// Returns the place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
