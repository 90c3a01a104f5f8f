//! Takes added labels of a 2.0 request away again.

use super::{
    SERIES, SYMBOLS, SeriesV2View, SymbolTable, WriteRequestV2View,
    scan::packed_refs,
    splice::{put_rewritten, put_series},
};
use crate::{
    DecodeError, DecodeErrorKind, LabelSplicer, Limits,
    wire::{Field, Fields, put_varint},
};

impl LabelSplicer {
    /// Takes the added labels of a 2.0 request away again: of every series, for each edit that adds a label the first
    /// label that has its name and its value; then, from the end of the symbols, their names and values, as far as
    /// nothing refers to them any more. Returns how many series it changed.
    ///
    /// For a request that has no such label, no symbol that nothing refers to (but the empty one), and no empty or
    /// unsorted labels, and that is written in the shortest form, `strip_v2` after [`splice_v2`](Self::splice_v2) of
    /// one added label gives back the same bytes. `output` is replaced.
    ///
    /// # Errors
    /// Malformed bytes, or more symbols or series than the limits allow; `output` then holds nothing useful.
    pub fn strip_v2(
        &self,
        request: &[u8],
        limits: &Limits,
        output: &mut Vec<u8>,
    ) -> Result<usize, DecodeError> {
        let symbols = SymbolTable::read(request, limits)?;
        let symbols_kept = self.symbols_kept(request, &symbols, limits)?;
        output.clear();
        output.reserve(request.len());
        let (mut stripped, mut series_count, mut symbol_count) = (0, 0, 0);
        let mut fields = Fields::new(request);
        while let Some(field) = fields.next()? {
            match field.number {
                SERIES => {
                    if series_count >= limits.max_series {
                        let kind = DecodeErrorKind::TooManySeries { limit: limits.max_series };
                        return Err(DecodeError::new(kind, field.offset()).in_series(series_count));
                    }
                    let view = SeriesV2View::new(&field, series_count)?;
                    series_count += 1;
                    if let Some(refs) = self.refs_without_added(&view, &symbols) {
                        put_stripped(output, &field, &refs)?;
                        stripped += 1;
                        continue;
                    }
                }
                SYMBOLS => {
                    symbol_count += 1;
                    if symbol_count > symbols_kept {
                        continue;
                    }
                }
                _ => {}
            }
            output.extend_from_slice(request.get(field.start..field.end).unwrap_or_default());
        }
        Ok(stripped)
    }

    /// How many symbols are left when those of the added labels are gone that stand at the end.
    fn symbols_kept(
        &self,
        request: &[u8],
        symbols: &SymbolTable<'_>,
        limits: &Limits,
    ) -> Result<usize, DecodeError> {
        let is_added = |symbol: &[u8]| {
            self.edits
                .iter()
                .filter_map(|edit| edit.new_label())
                .any(|(name, value)| symbol == name || symbol == value)
        };
        let trailing = (0..symbols.len())
            .rev()
            .take_while(|&index| symbols.get(index as u32).is_some_and(is_added))
            .count();
        let mut kept = symbols.len() - trailing;
        for series in WriteRequestV2View::new(request, limits)?.series() {
            let series = series?;
            let refs = self
                .refs_without_added(&series, symbols)
                .unwrap_or_else(|| series.refs().map(u64::from).collect());
            let metadata = series.metadata().unwrap_or_default();
            let used = refs
                .into_iter()
                .chain(series.exemplars().flat_map(|exemplar| exemplar.refs().map(u64::from)))
                .chain([u64::from(metadata.help), u64::from(metadata.unit)])
                .filter(|&reference| reference < symbols.len() as u64)
                .max()
                .unwrap_or(0);
            kept = kept.max((used as usize).saturating_add(1).min(symbols.len()));
        }
        Ok(kept)
    }

    /// The references of the series without the added labels; `None` if it has none of them.
    fn refs_without_added(&self, series: &SeriesV2View<'_>, symbols: &SymbolTable<'_>) -> Option<Vec<u64>> {
        let mut added: Vec<_> = self.edits.iter().filter_map(|edit| edit.new_label()).collect();
        let mut kept: Vec<u64> = Vec::with_capacity(series.ref_count());
        for label in series.label_refs() {
            let found = added.iter().position(|&(name, value)| {
                symbols.get(label.name) == Some(name) && symbols.get(label.value) == Some(value)
            });
            match found {
                Some(found) => drop(added.remove(found)),
                None => kept.extend([u64::from(label.name), u64::from(label.value)]),
            }
        }
        if !series.ref_count().is_multiple_of(2) {
            kept.extend(series.refs().last().map(u64::from));
        }
        (kept.len() < series.ref_count()).then_some(kept)
    }
}

fn put_stripped(output: &mut Vec<u8>, series: &Field<'_>, refs: &[u64]) -> Result<(), DecodeError> {
    let mut encoded = Vec::with_capacity(refs.len() * 2);
    refs.iter().for_each(|&reference| put_varint(&mut encoded, reference));
    match packed_refs(series.bytes()?) {
        Some((_, rest)) if !has_more_refs(rest)? => put_series(output, &[&encoded], rest),
        _ => put_rewritten(output, &encoded, series)?,
    }
    Ok(())
}

fn has_more_refs(rest: &[u8]) -> Result<bool, DecodeError> {
    let mut fields = Fields::new(rest);
    while let Some(field) = fields.next()? {
        if field.number == super::LABEL_REFS {
            return Ok(true);
        }
    }
    Ok(false)
}
