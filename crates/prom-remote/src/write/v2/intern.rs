//! Writes a 2.0 series anew under another table of symbols.

use super::{EXEMPLARS, HISTOGRAMS, LABEL_REFS, METADATA, SAMPLES, SeriesV2View, SymbolTable, build};
use crate::{
    DecodeError, DecodeErrorKind, LabelView,
    wire::{Field, put_bytes},
    write::v2::Interner,
};

/// A series under another table: its labels and metadata, and its samples, histograms and exemplars as they are in
/// the order of the wire.
pub(in crate::write) struct InternedSeries {
    pub(in crate::write) labels: Vec<u8>,
    /// Fields of the series, and how many samples and histograms each is: 1, or 0 for an exemplar.
    pub(in crate::write) content: Vec<(Vec<u8>, usize)>,
    pub(in crate::write) metadata: Vec<u8>,
}

impl InternedSeries {
    /// Takes the series in; what it refers to gets numbers in `target`.
    pub(in crate::write) fn new<'a>(
        series: &SeriesV2View<'a>,
        symbols: &SymbolTable<'a>,
        target: &mut Interner,
    ) -> Result<Self, DecodeError> {
        let bad_refs = || {
            DecodeError::new(DecodeErrorKind::BadLabelRefs, series.byte_range().start)
                .in_series(series.index())
        };
        let pair = |LabelView { name, value }: LabelView<'a>| (name, value);
        let labels = series.labels(symbols);
        if labels.clone().count() * 2 != series.ref_count() {
            return Err(bad_refs());
        }
        let mut interned = Self { labels: Vec::new(), content: Vec::new(), metadata: Vec::new() };
        build::put_refs(&mut interned.labels, target, labels.map(pair));
        let raw = |number: u32, field: &Field<'_>| {
            let mut bytes = Vec::new();
            put_bytes(&mut bytes, number as u8, field.bytes().unwrap_or_default());
            bytes
        };
        interned.content.extend(series.fields_of(SAMPLES).map(|field| (raw(SAMPLES, &field), 1)));
        interned.content.extend(series.fields_of(HISTOGRAMS).map(|field| (raw(HISTOGRAMS, &field), 1)));
        for exemplar in series.exemplars() {
            let labels = exemplar.labels(symbols);
            if labels.clone().count() * 2 != exemplar.ref_count() {
                return Err(bad_refs());
            }
            let (mut message, mut field) = (Vec::new(), Vec::new());
            build::put_exemplar(&mut message, target, labels.map(pair), exemplar.sample());
            put_bytes(&mut field, EXEMPLARS as u8, &message);
            interned.content.push((field, 0));
        }
        if let Some(metadata) = series.metadata() {
            let help = symbols.get(metadata.help).ok_or_else(bad_refs)?;
            let unit = symbols.get(metadata.unit).ok_or_else(bad_refs)?;
            build::put_metadata(&mut interned.metadata, target, metadata.metric_type, help, unit);
        }
        Ok(interned)
    }
}

/// Whether the series, or anything in it, has a field that this crate does not know: it might refer to symbols.
pub(in crate::write) fn has_unknown_fields(series: &SeriesV2View<'_>) -> bool {
    let has_other = |number: u32, is_known: fn(u32) -> bool| {
        series.fields_of(number).any(|field| {
            let Ok(mut fields) = field.message() else { return true };
            std::iter::from_fn(|| fields.next().ok().flatten()).any(|field| !is_known(field.number))
        })
    };
    let has_odd_span = || {
        series.fields_of(HISTOGRAMS).any(|histogram| {
            let Ok(mut fields) = histogram.message() else { return true };
            std::iter::from_fn(|| fields.next().ok().flatten())
                .filter(|field| matches!(field.number, 8 | 11))
                .filter_map(|span| span.message().ok())
                .any(|mut span| {
                    std::iter::from_fn(|| span.next().ok().flatten()).any(|f| !matches!(f.number, 1 | 2))
                })
        })
    };
    series.unknown_field_count() > 0
        || has_other(SAMPLES, |number| matches!(number, 1..=3))
        || has_other(HISTOGRAMS, |number| matches!(number, 1..=17))
        || has_other(EXEMPLARS, |number| matches!(number, LABEL_REFS..=3))
        || has_other(METADATA, |number| matches!(number, 1 | 3 | 4))
        || has_odd_span()
}
