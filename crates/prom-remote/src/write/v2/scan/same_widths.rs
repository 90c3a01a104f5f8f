//! The common case of consecutive series of one exporter: other values, but none that takes more bytes or fewer.

use super::{SeriesV2Scanner, read_ref};

impl<'a> SeriesV2Scanner<'a, '_> {
    /// Takes in references that differ from those of the series before in values only, and in no width: nothing moves.
    /// `Some(false)`: they do not, and nothing is done. `None`: a value is not clean.
    #[inline]
    pub(super) fn scan_same_widths(&mut self, refs: &'a [u8]) -> Option<bool> {
        if refs.len() != self.refs.len() || self.labels.is_empty() {
            return Some(false);
        }
        // Worth it where series of the same names follow one another.
        if self.label_of_byte.is_empty() && !(self.has_same_names && self.place_bytes()) {
            return Some(false);
        }
        let ((words, _), (known_words, _)) = (refs.as_chunks::<8>(), self.refs.as_chunks::<8>());
        let mut start = 0;
        for (word, known) in words.iter().zip(known_words) {
            let difference = u64::from_le_bytes(*word) ^ u64::from_le_bytes(*known);
            if difference != 0 && !self.has_clean_values(refs, start, difference)? {
                return Some(false);
            }
            start += 8;
        }
        if start == refs.len() {
            return Some(true);
        }
        let (Some(word), Some(known)) = (refs.last_chunk::<8>(), self.refs.last_chunk::<8>()) else {
            return Some(false);
        };
        // The last word overlaps the one before it.
        let difference = u64::from_le_bytes(*word) ^ u64::from_le_bytes(*known);
        if difference == 0 {
            return Some(true);
        }
        self.has_clean_values(refs, refs.len() - 8, difference)
    }

    /// Whether all references that differ within these 8 bytes are values, as wide as before and clean; `None` if one is
    /// not clean.
    #[inline]
    fn has_clean_values(&self, refs: &[u8], start: usize, mut difference: u64) -> Option<bool> {
        if difference & 0x8080_8080_8080_8080 != 0 {
            return Some(false);
        }
        while difference != 0 {
            let place = start + difference.trailing_zeros() as usize / 8;
            let label = self.labels.get(usize::from(*self.label_of_byte.get(place)?))?;
            if place < label.value_at {
                return Some(false);
            }
            let (value, _) = read_ref(refs.get(label.value_at..)?)?;
            if !self.symbols.is_clean(value) {
                return None;
            }
            let end = label.end - start;
            difference = if end < 8 { difference >> (8 * end) << (8 * end) } else { 0 };
        }
        Some(true)
    }

    /// Fills `label_of_byte`; tells whether there are few enough labels for it.
    fn place_bytes(&mut self) -> bool {
        if self.labels.len() > usize::from(u8::MAX) {
            return false;
        }
        for (label, known) in (0..=u8::MAX).zip(&self.labels) {
            self.label_of_byte.resize(known.end, label);
        }
        true
    }
}
