//! Consecutive series of the same names, whose values may take more bytes or fewer.

use super::{KnownRefs, SeriesV2Scanner, read_pair};
use crate::write::scan::common_prefix;

impl<'a> SeriesV2Scanner<'a, '_> {
    /// Brings `self.labels` to those of `refs` if these have the same names. `Some(false)`: they do not, and
    /// `self.labels` is of no use. `None`: a value is not clean.
    #[inline]
    pub(super) fn scan_same_names(&mut self, refs: &'a [u8]) -> Option<bool> {
        if self.labels.is_empty() {
            return Some(false);
        }
        // The same place in both, always at the beginning of a label.
        let (mut position, mut known_position) = (0, 0);
        let mut index = 0;
        while index < self.labels.len() {
            let same = common_prefix(refs.get(position..)?, self.refs.get(known_position..)?);
            let same_end = known_position + same;
            if position == known_position {
                index = self.label_at(same_end, index);
                known_position = self.label_start(index);
                position = known_position;
            } else {
                let moved = position.wrapping_sub(known_position);
                while let Some(label) = self.labels.get_mut(index).filter(|label| label.end <= same_end) {
                    known_position = label.end;
                    label.end = label.end.wrapping_add(moved);
                    label.value_at = label.value_at.wrapping_add(moved);
                    index += 1;
                }
                position = known_position.wrapping_add(moved);
            }
            let Some(known) = self.labels.get_mut(index) else { break };
            if position == refs.len() {
                return Some(false);
            }
            let (name, value, [name_length, length]) = read_pair(refs.get(position..)?)?;
            if name != known.name {
                return Some(false);
            }
            if !self.symbols.is_clean(value) {
                return None;
            }
            known_position = known.end;
            position += length;
            *known = KnownRefs { end: position, value_at: position - length + name_length, name };
            self.differing = index;
            index += 1;
        }
        Some(position == refs.len())
    }

    /// The number of the label that holds this place of the series before, not below `from`; the number of labels if it
    /// is behind them.
    #[inline]
    fn label_at(&self, place: usize, from: usize) -> usize {
        if self.labels.last().is_some_and(|last| last.end <= place) {
            return self.labels.len();
        }
        let is_in_same = self.differing >= from
            && self.label_start(self.differing) <= place
            && self.labels.get(self.differing).is_some_and(|label| place < label.end);
        if is_in_same {
            return self.differing;
        }
        let mut index = from;
        while self.labels.get(index).is_some_and(|label| label.end <= place) {
            index += 1;
        }
        index
    }
}
