//! A remote-write 2.0 request with its series relabelled on the wire bytes.

use super::{
    relabeler::{Relabeled, Relabeler},
    rewrite::{RelabelReport, RelabelRequestError},
};
use crate::{
    DecodeError, DecodeErrorKind, LabelRef, LabelView, Limits, SeriesV2View, Summary, SymbolTable,
    wire::{Fields, put_varint},
    write::{AppendedSymbols, SERIES_V2, put_rewritten_v2},
};

impl Relabeler {
    /// Copies an `io.prometheus.write.v2.Request` with its series relabelled. Symbols that the rules make are appended
    /// behind the last one, and none is renumbered; everything else in the request is copied byte for byte. Labels come
    /// first in a changed series.
    ///
    /// Symbols of which no series is left that uses them stay. `output` is replaced; its growth is bounded by the labels
    /// that the rules make.
    ///
    /// # Errors
    /// See [`RelabelRequestError`]; also label references that are not pairs of symbols. `output` then holds nothing
    /// useful.
    pub fn rewrite_v2(
        &mut self,
        request: &[u8],
        limits: &Limits,
        output: &mut Vec<u8>,
    ) -> Result<RelabelReport, RelabelRequestError> {
        output.clear();
        let symbols = SymbolTable::read(request, limits)?;
        let mut appended = AppendedSymbols::new(&symbols);
        let mut report = RelabelReport::default();
        let mut summary = Summary::default();
        let mut fields = Fields::new(request);
        while let Some(field) = fields.next()? {
            if field.number == SERIES_V2 {
                let series = SeriesV2View::new(&field, summary.series)?;
                summary.include_series_v2(&series, limits)?;
                let labels = labels(&series, &symbols, limits)?;
                let in_series = |error| RelabelRequestError::Series { series: series.index(), error };
                let pairs = labels.iter().map(|(label, _)| (label.name, label.value));
                match self.apply(pairs).map_err(in_series)? {
                    Relabeled::Keep => report.kept += 1,
                    Relabeled::Drop => {
                        report.dropped += 1;
                        continue;
                    }
                    Relabeled::Changed(changed) => {
                        report.changed += 1;
                        let mut refs = Vec::new();
                        for (name, value) in changed.iter() {
                            let known = labels.iter().find(|(label, _)| label.name == name);
                            let name = match known {
                                Some((_, reference)) => reference.name,
                                None => appended.number(name, &symbols),
                            };
                            let value = match known {
                                Some((label, reference)) if label.value == value => reference.value,
                                _ => appended.number(value, &symbols),
                            };
                            put_varint(&mut refs, u64::from(name));
                            put_varint(&mut refs, u64::from(value));
                        }
                        put_rewritten_v2(output, &refs, &field)?;
                        continue;
                    }
                }
            }
            output.extend_from_slice(request.get(field.start..field.end).unwrap_or_default());
            if field.end == symbols.end() {
                appended.set_place(output);
            }
        }
        appended.flush(output);
        Ok(report)
    }
}

/// The labels of a series, each with its references.
fn labels<'a>(
    series: &SeriesV2View<'a>,
    symbols: &SymbolTable<'a>,
    limits: &Limits,
) -> Result<Vec<(LabelView<'a>, LabelRef)>, DecodeError> {
    let error = |kind| DecodeError::new(kind, series.byte_range().start).in_series(series.index());
    if series.ref_count() / 2 > limits.max_labels_per_series {
        return Err(error(DecodeErrorKind::TooManyLabels { limit: limits.max_labels_per_series }));
    }
    let labels: Vec<_> = series.labels(symbols).zip(series.label_refs()).collect();
    if labels.len() * 2 != series.ref_count() {
        return Err(error(DecodeErrorKind::BadLabelRefs));
    }
    Ok(labels)
}

#[cfg(test)]
mod tests;
