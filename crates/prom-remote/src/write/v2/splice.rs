//! Edits the labels of every series of a 2.0 request inside the wire bytes.
//!
//! Symbols are appended behind the last one; none is renumbered, so that nothing else changes.

use super::{
    AppendedSymbols, LABEL_REFS, SERIES, SeriesV2View, SymbolTable, keep,
    scan::{LABEL_REFS_KEY, MAX_SHAPES, SeriesV2Scanner, read_ref},
};
use crate::{
    DecodeError, DecodeErrorKind, LabelSplicer, Limits, SpliceReport, ValidationReport,
    wire::{Field, Fields, put_bytes, put_fields_without, put_short, put_varint, varint_length},
    write::edit::{self, Item, LabelEdit, Origin, Piece, Plan},
};

impl LabelSplicer {
    /// Edits every series of a 2.0 `request` and writes the result to `output`, replacing what was there.
    ///
    /// The edits are those of [`splice`](Self::splice). Symbols that the request has are used again; others are
    /// appended behind its last symbol, so that every reference keeps its meaning. All other bytes are kept, unknown
    /// fields included.
    ///
    /// # Errors
    /// Malformed bytes as far as they are walked, label references that are not pairs of symbols, or more symbols,
    /// series or labels than the limits allow; `output` then holds nothing useful.
    pub fn splice_v2(
        &self,
        request: &[u8],
        limits: &Limits,
        output: &mut Vec<u8>,
    ) -> Result<SpliceReport, DecodeError> {
        let (_, report) = self.run_v2(request, limits, output, false)?;
        Ok(report)
    }

    /// Does the work of [`validate_v2`](crate::validate_v2), of [`keep_series_v2`](crate::keep_series_v2) for the
    /// series that are not rejected, and of [`splice_v2`](Self::splice_v2), in one pass.
    ///
    /// # Errors
    /// The bytes are not a `Request`, or it has more symbols, series, labels or samples than the limits allow;
    /// `output` then holds nothing useful.
    pub fn splice_valid_v2(
        &self,
        request: &[u8],
        limits: &Limits,
        output: &mut Vec<u8>,
    ) -> Result<(ValidationReport, SpliceReport), DecodeError> {
        self.run_v2(request, limits, output, true)
    }

    fn run_v2(
        &self,
        request: &[u8],
        limits: &Limits,
        output: &mut Vec<u8>,
        is_validating: bool,
    ) -> Result<(ValidationReport, SpliceReport), DecodeError> {
        let symbols = SymbolTable::read_leading(request, limits)?;
        match Run::new(self, &symbols, request, limits, output).all(request, is_validating) {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => {}
            // The symbol may come later.
            Err(error) if error.kind == DecodeErrorKind::BadLabelRefs => {}
            Err(error) => return Err(error),
        }
        // Symbols behind series: read all of them first.
        let mut symbols = SymbolTable::read(request, limits)?;
        symbols.is_complete = true;
        let done = Run::new(self, &symbols, request, limits, output).all(request, is_validating)?;
        Ok(done.unwrap_or_default())
    }
}

/// The splice of one request.
struct Run<'a, 's> {
    edits: &'s [LabelEdit],
    symbols: &'s SymbolTable<'a>,
    limits: &'s Limits,
    output: &'s mut Vec<u8>,
    scanner: SeriesV2Scanner<'a, 's>,
    /// For each shape of series that the scanner remembers.
    plans: [Plan; MAX_SHAPES],
    appended: AppendedSymbols<'a>,
    /// For each edit the references of the label that it adds, encoded. Empty until the first series.
    added: Vec<Vec<u8>>,
    validation: ValidationReport,
    report: SpliceReport,
    seen: usize,
}

impl<'a, 's> Run<'a, 's> {
    fn new(
        splicer: &'s LabelSplicer,
        symbols: &'s SymbolTable<'a>,
        request: &[u8],
        limits: &'s Limits,
        output: &'s mut Vec<u8>,
    ) -> Self {
        output.clear();
        output.reserve(request.len() + (request.len() / 8).min(MAX_RESERVE));
        Self {
            edits: &splicer.edits,
            symbols,
            limits,
            output,
            scanner: SeriesV2Scanner::new(symbols),
            plans: Default::default(),
            appended: AppendedSymbols::new(symbols),
            added: Vec::new(),
            validation: symbols.report(),
            report: SpliceReport::default(),
            seen: 0,
        }
    }

    /// `None` if a symbol stands behind a series and the table does not have it.
    fn all(
        mut self,
        request: &'a [u8],
        is_validating: bool,
    ) -> Result<Option<(ValidationReport, SpliceReport)>, DecodeError> {
        let mut fields = Fields::new(request);
        if self.symbols.is_leading && self.symbols.end > 0 {
            self.output.extend_from_slice(request.get(..self.symbols.end).unwrap_or_default());
            self.appended.set_place(self.output);
            fields.skip_to(self.symbols.end);
        }
        loop {
            while let Some(field) = fields.next_short(SERIES_KEY) {
                let index = self.seen;
                self.series(&field, is_validating).map_err(|error| error.in_series(index))?;
            }
            let Some(field) = fields.next()? else { break };
            if field.number == SERIES {
                let index = self.seen;
                self.series(&field, is_validating).map_err(|error| error.in_series(index))?;
                continue;
            }
            if field.number != super::SYMBOLS {
                self.validation.summary.unknown_fields += 1;
            } else if !self.symbols.is_complete && field.end > self.symbols.end {
                return Ok(None);
            }
            self.output.extend_from_slice(request.get(field.start..field.end).unwrap_or_default());
            if field.end == self.symbols.end {
                self.appended.set_place(self.output);
            }
        }
        self.appended.flush(self.output);
        Ok(Some((self.validation, self.report)))
    }

    #[inline]
    fn series(&mut self, series: &Field<'a>, is_validating: bool) -> Result<(), DecodeError> {
        let body = series.bytes()?;
        if self.seen >= self.limits.max_series {
            let kind = DecodeErrorKind::TooManySeries { limit: self.limits.max_series };
            return Err(DecodeError::new(kind, series.offset()));
        }
        self.seen += 1;
        let clean = self.scanner.scan(body, self.limits);
        if let Some(clean) = &clean
            && clean.is_new_shape
            && let Some(plan) = self.plans.get_mut(clean.shape)
        {
            *plan = Plan::new(self.edits, self.scanner.names());
        }
        if is_validating {
            let scanner = clean.map(|_| &self.scanner);
            if keep::judge(&mut self.validation, series, self.symbols, scanner, self.limits)? {
                return Ok(());
            }
        }
        if self.added.is_empty() {
            self.append_added();
        }
        self.report.series += 1;
        match clean {
            Some(clean) => {
                self.put_planned(clean.shape);
                Ok(())
            }
            None => self.rewrite(series),
        }
    }

    /// Writes a clean series by the plan for its label names.
    #[inline]
    fn put_planned(&mut self, shape: usize) {
        let Some(plan) = self.plans.get(shape) else { return };
        self.report.conflicts += usize::from(plan.had_conflict);
        if let Some((place, edit)) = plan.insertion {
            let label = self.added.get(edit).map(Vec::as_slice).unwrap_or_default();
            let body = self.scanner.refs_and_all();
            let refs_length = self.scanner.refs_length() + label.len();
            put_inserted(self.output, refs_length, body, self.scanner.label_start(place), label);
            return;
        }
        let (refs, rest) = self.scanner.refs_and_rest();
        let mut edited = Vec::with_capacity(refs.len() + 16);
        for piece in &plan.pieces {
            let kept = |start: usize, end: usize| {
                refs.get(self.scanner.label_start(start)..self.scanner.label_start(end)).unwrap_or_default()
            };
            match piece {
                Piece::Kept(labels) => edited.extend_from_slice(kept(labels.start, labels.end)),
                Piece::New(edit) => {
                    edited.extend_from_slice(self.added.get(*edit).map(Vec::as_slice).unwrap_or_default());
                }
                Piece::Renamed { label, name } => {
                    let pair = kept(*label, label + 1);
                    let value = read_ref(pair).and_then(|(_, length)| pair.get(length..)).unwrap_or_default();
                    put_varint(&mut edited, u64::from(self.appended.number(name, self.symbols)));
                    edited.extend_from_slice(value);
                }
            }
        }
        put_series(self.output, &[&edited], rest);
    }

    /// Takes the series apart: label references (edited, sorted) first, then the rest as it was.
    fn rewrite(&mut self, series: &Field<'a>) -> Result<(), DecodeError> {
        let view = SeriesV2View::new(series, self.seen - 1)?;
        let bad_refs = || DecodeError::new(DecodeErrorKind::BadLabelRefs, series.offset());
        let count = view.ref_count() / 2;
        if count > self.limits.max_labels_per_series {
            let kind = DecodeErrorKind::TooManyLabels { limit: self.limits.max_labels_per_series };
            return Err(DecodeError::new(kind, series.offset()));
        }
        let labels: Vec<_> = view.label_refs().collect();
        if labels.len() * 2 != view.ref_count() {
            return Err(bad_refs());
        }
        let mut items = Vec::with_capacity(labels.len());
        for (index, label) in labels.iter().enumerate() {
            let name = self.symbols.get(label.name).ok_or_else(bad_refs)?;
            let value = self.symbols.get(label.value).ok_or_else(bad_refs)?;
            items.push(Item::kept(name, value.is_empty(), index));
        }
        self.report.sorted += usize::from(!items.is_sorted_by(|a, b| a.name <= b.name));
        self.report.conflicts += usize::from(edit::apply(self.edits, &mut items));
        let mut edited = Vec::new();
        for item in &items {
            match item.origin {
                Origin::New(edit) => {
                    edited.extend_from_slice(self.added.get(edit).map(Vec::as_slice).unwrap_or_default());
                }
                Origin::Kept(index) | Origin::Renamed(index) => {
                    let Some(label) = labels.get(index) else { continue };
                    let name = match item.origin {
                        Origin::Renamed(_) => self.appended.number(&item.name, self.symbols),
                        _ => label.name,
                    };
                    put_varint(&mut edited, u64::from(name));
                    put_varint(&mut edited, u64::from(label.value));
                }
            }
        }
        put_rewritten(self.output, &edited, series)
    }

    /// Gives numbers to the labels that the edits add.
    fn append_added(&mut self) {
        for edit in self.edits {
            let mut refs = Vec::new();
            if let Some((name, value)) = edit.new_label() {
                put_varint(&mut refs, u64::from(self.appended.number(name, self.symbols)));
                put_varint(&mut refs, u64::from(self.appended.number(value, self.symbols)));
            }
            self.added.push(refs);
        }
        self.appended.flush(self.output);
    }
}

/// Writes a series whose label references, of this length when `label` is at its place among them, begin the body.
#[inline]
fn put_inserted(output: &mut Vec<u8>, refs_length: usize, body: &[u8], place: usize, label: &[u8]) {
    let length = body.len() + label.len();
    output.reserve(length + 2 * MAX_HEADER + COPIED_AT_ONCE);
    match (length, refs_length) {
        (0..0x7e, 0..0x80) => {
            output.extend_from_slice(&[SERIES_KEY, length as u8 + 2, LABEL_REFS_KEY, refs_length as u8]);
        }
        _ => {
            let header = 1 + varint_length(refs_length as u64);
            output.push(SERIES_KEY);
            put_varint(output, (header + length) as u64);
            output.push(LABEL_REFS_KEY);
            put_varint(output, refs_length as u64);
        }
    }
    let (before, after) = body.split_at_checked(place).unwrap_or((body, b""));
    match body.first_chunk::<COPIED_AT_ONCE>() {
        // A fixed length costs less; what is too much is written over.
        Some(chunk) if before.len() <= COPIED_AT_ONCE => {
            let start = output.len();
            output.extend_from_slice(chunk);
            output.truncate(start + before.len());
        }
        _ => put_short(output, before),
    }
    put_short(output, label);
    put_short(output, after);
}

/// Writes a series with other label references, which stand first, and the rest of its fields.
pub(crate) fn put_rewritten(
    output: &mut Vec<u8>,
    refs: &[u8],
    series: &Field<'_>,
) -> Result<(), DecodeError> {
    let body = series.bytes()?;
    let mut rest_length = body.len();
    let mut fields = series.message()?;
    while let Some(field) = fields.next()? {
        if field.number == LABEL_REFS {
            rest_length -= field.end - field.start;
        }
    }
    let header = if refs.is_empty() { 0 } else { 1 + varint_length(refs.len() as u64) };
    output.push(SERIES_KEY);
    put_varint(output, (header + refs.len() + rest_length) as u64);
    if !refs.is_empty() {
        put_bytes(output, LABEL_REFS as u8, refs);
    }
    put_fields_without(output, body, LABEL_REFS)
}

/// Writes a series: its references in pieces, and the rest.
#[inline]
pub(super) fn put_series(output: &mut Vec<u8>, refs: &[&[u8]], rest: &[u8]) {
    let refs_length: usize = refs.iter().map(|piece| piece.len()).sum();
    // Without labels there is no field for them.
    let header = if refs_length == 0 { 0 } else { 1 + varint_length(refs_length as u64) };
    output.reserve(header + refs_length + rest.len() + MAX_HEADER);
    output.push(SERIES_KEY);
    put_varint(output, (header + refs_length + rest.len()) as u64);
    if refs_length > 0 {
        output.push(LABEL_REFS_KEY);
        put_varint(output, refs_length as u64);
        refs.iter().for_each(|piece| output.extend_from_slice(piece));
    }
    output.extend_from_slice(rest);
}

pub(super) const SERIES_KEY: u8 = (SERIES as u8) << 3 | 2;

/// The key of a series and the longest length.
const MAX_HEADER: usize = 11;

/// The most that is reserved for what the labels add.
const MAX_RESERVE: usize = 2 << 20;
/// As much as most series have of label references.
const COPIED_AT_ONCE: usize = 32;
