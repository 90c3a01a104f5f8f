//! Judges a 2.0 request, and keeps its valid part.

use super::{EntryV2, SERIES, SYMBOLS, SeriesV2View, SymbolTable, WriteRequestV2View, scan::SeriesV2Scanner};
use crate::{
    DecodeError, KeepReport, Limits, ValidationReport,
    wire::{Field, Fields},
};

/// Judges every series of a 2.0 request.
///
/// The report holds one verdict for each series that has a fault, none for a good one: its size is bounded by
/// [`Limits::max_series`]. A first symbol that is not empty is a fault of the request
/// ([`ValidationReport::request_faults`]); a symbol that stands there twice is none.
///
/// # Errors
/// The bytes are not a `Request`, or it has more symbols, series or samples than the limits allow. A bad series is no
/// error but a verdict.
pub fn validate_v2(request: &[u8], limits: &Limits) -> Result<ValidationReport, DecodeError> {
    let symbols = SymbolTable::read(request, limits)?;
    let mut report = symbols.report();
    let mut scanner = SeriesV2Scanner::new(&symbols);
    let mut fields = Fields::new(request);
    while let Some(field) = fields.next()? {
        match field.number {
            SERIES => {
                let clean = field.bytes().ok().and_then(|body| scanner.scan(body, limits));
                judge(&mut report, &field, &symbols, clean.map(|_| &scanner), limits)?;
            }
            SYMBOLS => {}
            _ => report.summary.unknown_fields += 1,
        }
    }
    Ok(report)
}

/// Counts and judges the next series; tells whether it is rejected.
#[inline]
pub(super) fn judge<'a>(
    report: &mut ValidationReport,
    series: &Field<'a>,
    symbols: &SymbolTable<'a>,
    clean: Option<&SeriesV2Scanner<'a, '_>>,
    limits: &Limits,
) -> Result<bool, DecodeError> {
    if let Some(scanner) = clean {
        let content = scanner.content();
        let is_plain = content.samples > 0 && content.histograms == 0 && content.exemplars == 0;
        if scanner.has_metric_name() && content.in_order && is_plain {
            report.summary.metadata += usize::from(scanner.has_metadata());
            report.summary.include_content(content, series.start, limits)?;
            return Ok(false);
        }
    }
    let view = SeriesV2View::new(series, report.summary.series)?;
    report.summary.include_series_v2(&view, limits)?;
    Ok(report.add_faults(series.offset(), view.faults(symbols, limits)))
}

/// Copies a 2.0 request without the series that `keep` refuses; symbols and unknown fields are kept, and what is kept
/// is kept byte for byte.
///
/// `output` is replaced; it never grows over the length of `request`.
///
/// # Errors
/// The bytes are not a `Request`, or it has too many symbols; `output` then holds nothing useful.
pub fn keep_series_v2(
    request: &[u8],
    limits: &Limits,
    mut keep: impl FnMut(&SeriesV2View<'_>) -> bool,
    output: &mut Vec<u8>,
) -> Result<KeepReport, DecodeError> {
    output.clear();
    output.reserve(request.len());
    let mut report = KeepReport::default();
    let view = WriteRequestV2View::new(request, limits)?;
    let mut fields = Fields::new(request);
    for entry in view.entries() {
        // The walk over entries and this one pass the same fields.
        let place = fields.next()?.map_or(0..0, |field| field.start..field.end);
        if let EntryV2::Series(series) = entry? {
            let is_kept = keep(&series);
            report.kept += usize::from(is_kept);
            report.removed += usize::from(!is_kept);
            if !is_kept {
                continue;
            }
        }
        output.extend_from_slice(request.get(place).unwrap_or_default());
    }
    Ok(report)
}
