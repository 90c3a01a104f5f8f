//! Judges a request series by series, so that its valid part can be kept.

use super::{
    fault::{Fault, RequestFault, Severity},
    scan::SeriesScanner,
    view::{Entry, METADATA, MetadataView, SERIES, SeriesView, Summary, WriteRequestView},
};
use crate::{
    DecodeError, Limits,
    wire::{Field, Fields},
};

/// Judges every series of a request.
///
/// The report holds one verdict for each series that has a fault, none for a good one: its size is bounded by
/// [`Limits::max_series`].
///
/// # Errors
/// The bytes are not a `WriteRequest`, or it has more series or samples than the limits allow. A bad series is no
/// error but a verdict.
pub fn validate(request: &[u8], limits: &Limits) -> Result<ValidationReport, DecodeError> {
    let mut report = ValidationReport::default();
    let mut scanner = SeriesScanner::default();
    let mut fields = Fields::new(request);
    loop {
        let field = match fields.next_short(SERIES_KEY) {
            Some(field) => field,
            None => match fields.next()? {
                Some(field) => field,
                None => break,
            },
        };
        match field.number {
            SERIES => {
                let clean = field.bytes().ok().and_then(|body| scanner.scan(body, limits));
                report.judge(&field, clean.map(|_| &scanner), limits)?;
            }
            METADATA => report.add_metadata(&field)?,
            _ => report.summary.unknown_fields += 1,
        }
    }
    Ok(report)
}

/// Copies a request without the series that `keep` refuses; metadata and unknown fields are kept, and what is kept
/// is kept byte for byte.
///
/// `output` is replaced; it never grows over the length of `request`.
///
/// # Errors
/// The bytes are not a `WriteRequest`; `output` then holds nothing useful.
pub fn keep_series(
    request: &[u8],
    mut keep: impl FnMut(&SeriesView<'_>) -> bool,
    output: &mut Vec<u8>,
) -> Result<KeepReport, DecodeError> {
    output.clear();
    output.reserve(request.len());
    let mut report = KeepReport::default();
    for entry in WriteRequestView::new(request).entries() {
        let kept = match entry? {
            Entry::Series(series) if keep(&series) => {
                report.kept += 1;
                series.byte_range()
            }
            Entry::Series(_) => {
                report.removed += 1;
                continue;
            }
            Entry::Metadata(metadata) => metadata.field,
            Entry::Unknown(unknown) => unknown.field,
        };
        output.extend_from_slice(request.get(kept).unwrap_or_default());
    }
    Ok(report)
}

const SERIES_KEY: u8 = (SERIES as u8) << 3 | 2;

/// How many series [`keep_series`] kept and removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeepReport {
    /// Series copied.
    pub kept: usize,
    /// Series left out.
    pub removed: usize,
}

/// What [`validate`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ValidationReport {
    /// The counts of the whole request, bad series included.
    pub summary: Summary,
    /// The series with a fault, in ascending order of [`SeriesVerdict::series`]; good series are absent.
    pub verdicts: Vec<SeriesVerdict>,
    /// The faults of the request itself, each once; always empty for 1.0.
    pub request_faults: Vec<RequestFault>,
}

impl ValidationReport {
    /// Counts and judges the next series; tells whether it is rejected.
    #[inline]
    pub(super) fn judge(
        &mut self,
        series: &Field<'_>,
        clean: Option<&SeriesScanner<'_>>,
        limits: &Limits,
    ) -> Result<bool, DecodeError> {
        if let Some(scanner) = clean {
            let content = scanner.content();
            self.summary.include_content(content, series.start, limits)?;
            if scanner.has_metric_name() && content.in_order && content.histograms == 0 {
                return Ok(false);
            }
            let view = SeriesView::new(series, self.summary.series - 1)?;
            return Ok(self.add_faults(series.offset(), view.faults(limits)));
        }
        let view = SeriesView::new(series, self.summary.series)?;
        self.summary.include_content(view.content(), series.start, limits)?;
        Ok(self.add_faults(series.offset(), view.faults(limits)))
    }

    pub(super) fn add_metadata(&mut self, field: &Field<'_>) -> Result<(), DecodeError> {
        MetadataView::new(field)?;
        self.summary.metadata += 1;
        Ok(())
    }

    /// Adds the verdict on the series that was counted last; tells whether it is rejected.
    pub(super) fn add_faults(&mut self, offset: usize, mut faults: Vec<Fault>) -> bool {
        if faults.is_empty() {
            return false;
        }
        // There may be many verdicts.
        faults.shrink_to_fit();
        let verdict = SeriesVerdict { series: self.summary.series - 1, offset, faults };
        let is_rejected = verdict.is_rejected();
        self.verdicts.push(verdict);
        is_rejected
    }

    /// Returns the verdict on a series, or `None` if it has no fault.
    pub fn verdict(&self, series: usize) -> Option<&SeriesVerdict> {
        let position = self.verdicts.binary_search_by_key(&series, |verdict| verdict.series).ok()?;
        self.verdicts.get(position)
    }

    /// Tells whether a series must be kept from a shared destination.
    pub fn is_rejected(&self, series: usize) -> bool {
        self.verdict(series).is_some_and(SeriesVerdict::is_rejected)
    }

    /// Returns the number of rejected series.
    pub fn rejected_count(&self) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.is_rejected()).count()
    }
}

/// The faults of one series.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeriesVerdict {
    /// The number of the series in the request, from 0.
    pub series: usize,
    /// Where the series starts, as an offset from the start of the decoded request.
    pub offset: usize,
    /// Its faults: each kind once, at its first place; never empty.
    pub faults: Vec<Fault>,
}

impl SeriesVerdict {
    /// Tells whether one of the faults rejects the series.
    pub fn is_rejected(&self) -> bool {
        self.faults.iter().any(|fault| fault.severity() == Severity::Rejected)
    }
}

#[cfg(test)]
mod tests;
