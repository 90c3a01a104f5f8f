//! Edits the labels of every series of a request inside the wire bytes.
//!
//! One pass, one output buffer. A series with clean labels (every real sender's) is copied in pieces around the
//! edits; which pieces is planned once for all consecutive series with the same label names. Any other series is taken
//! apart into labels and the rest, which is copied.

mod strip;
#[cfg(test)]
pub(super) mod tests;

use std::borrow::Cow;

use super::{
    edit::{self, InvalidLabel, Item, LabelEdit, Origin, Piece, Plan},
    scan::{CleanSeries, SeriesScanner},
    validate::ValidationReport,
    view::{LABEL_NAME, LABELS, LabelView, METADATA, SERIES},
};
use crate::{
    DecodeError, DecodeErrorKind, Limits,
    wire::{Field, Fields, put_bytes, put_fields_without, put_short, put_varint},
};

/// Edits the labels of every series of a request; everything else is kept byte for byte.
///
/// Made for one label that is added ([`new`](Self::new)), and for lists of edits ([`with_edits`](Self::with_edits)),
/// for both versions of the protocol. The labels stay sorted by the bytes of their names. Samples, histograms,
/// exemplars, metadata and unknown fields are copied, never decoded; only the length of each series is written anew.
///
/// # When a series already has a label that is added
///
/// The rule is that of a Prometheus scrape with `honor_labels: false`: the new label wins, and the value that was
/// there stays under the name with `exported_` in front, once more for each such name that the series already
/// has: `source` becomes `exported_source`, or `exported_exported_source` if there is an `exported_source`. The
/// renamed label goes to its sorted place.
///
/// An empty label is an absent one, as everywhere in Prometheus: an existing `source=""` is dropped, and an
/// `exported_source=""` does not count as taken and is replaced. If the label stands twice (which is against the
/// specification, see [`Fault::DuplicateLabelName`](crate::Fault)), each of them is renamed in turn, so that
/// nothing is lost.
///
/// # Series with unsorted labels
///
/// Their labels are sorted, and stand before the rest of the series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSplicer {
    pub(super) edits: Vec<LabelEdit>,
    /// For each edit the label that it adds, as a field of a 1.0 series, key and length included; empty for an edit
    /// that adds none.
    encoded: Vec<Vec<u8>>,
}

/// What a splice met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpliceReport {
    /// Series of the result.
    pub series: usize,
    /// Series that had an added label already, with another or the same value, and keep it under an `exported_` name.
    pub conflicts: usize,
    /// Series whose labels were unsorted and were sorted.
    pub sorted: usize,
}

impl LabelSplicer {
    /// Prepares to add one label.
    ///
    /// # Errors
    /// A name that is not a classic label name or is reserved, or an empty value.
    pub fn new(name: &str, value: &str) -> Result<Self, InvalidLabel> {
        Self::with_edits([LabelEdit::add(name, value)])
    }

    /// Prepares edits, which are applied to each series in the order given.
    ///
    /// # Errors
    /// A name that is not a classic label name or is reserved, an empty value, or a name in two of the edits.
    pub fn with_edits(edits: impl IntoIterator<Item = LabelEdit>) -> Result<Self, InvalidLabel> {
        let edits: Vec<_> = edits.into_iter().collect();
        edit::check(&edits)?;
        let encoded =
            edits.iter().map(|edit| edit.new_label().map(encode_label).unwrap_or_default()).collect();
        Ok(Self { edits, encoded })
    }

    /// Edits every series of a 1.0 `request` and writes the result to `output`, replacing what was there.
    ///
    /// The output is longer than the request by at most the added labels and 10 bytes for each series, plus renamed
    /// names. The bytes are checked as far as they are walked: the request, its series and their labels, not the
    /// samples; [`validate`](crate::validate()) checks all.
    ///
    /// # Errors
    /// Malformed bytes, or more series or labels than the limits allow; `output` then holds nothing useful.
    pub fn splice(
        &self,
        request: &[u8],
        limits: &Limits,
        output: &mut Vec<u8>,
    ) -> Result<SpliceReport, DecodeError> {
        let mut run = Run::new(self, request, limits, output);
        let mut fields = Fields::new(request);
        loop {
            while let Some(field) = fields.next_short(SERIES_KEY) {
                let index = run.seen;
                run.splice_series(&field).map_err(|error| error.in_series(index))?;
            }
            let Some(field) = fields.next()? else { break };
            if field.number == SERIES {
                let index = run.seen;
                run.splice_series(&field).map_err(|error| error.in_series(index))?;
            } else {
                run.output.extend_from_slice(request.get(field.start..field.end).unwrap_or_default());
            }
        }
        Ok(run.report)
    }

    /// Does the work of [`validate`](crate::validate()), of [`keep_series`](crate::keep_series) for the series that
    /// are not rejected, and of [`splice`](Self::splice), in one pass.
    ///
    /// # Errors
    /// The bytes are not a `WriteRequest`, or it has more series, labels or samples than the limits allow; `output`
    /// then holds nothing useful.
    pub fn splice_valid(
        &self,
        request: &[u8],
        limits: &Limits,
        output: &mut Vec<u8>,
    ) -> Result<(ValidationReport, SpliceReport), DecodeError> {
        let mut validation = ValidationReport::default();
        let mut run = Run::new(self, request, limits, output);
        let mut fields = Fields::new(request);
        loop {
            while let Some(field) = fields.next_short(SERIES_KEY) {
                let index = run.seen;
                run.splice_valid_series(&field, &mut validation).map_err(|error| error.in_series(index))?;
            }
            let Some(field) = fields.next()? else { break };
            match field.number {
                SERIES => {
                    let index = run.seen;
                    run.splice_valid_series(&field, &mut validation)
                        .map_err(|error| error.in_series(index))?;
                    continue;
                }
                METADATA => validation.add_metadata(&field)?,
                _ => validation.summary.unknown_fields += 1,
            }
            run.output.extend_from_slice(request.get(field.start..field.end).unwrap_or_default());
        }
        Ok((validation, run.report))
    }
}

/// The splice of one request.
struct Run<'a> {
    splicer: &'a LabelSplicer,
    limits: &'a Limits,
    output: &'a mut Vec<u8>,
    scanner: SeriesScanner<'a>,
    /// Made for the series before; holds as long as the names stay the same.
    plan: Plan,
    seen: usize,
    report: SpliceReport,
}

impl<'a> Run<'a> {
    fn new(
        splicer: &'a LabelSplicer,
        request: &'a [u8],
        limits: &'a Limits,
        output: &'a mut Vec<u8>,
    ) -> Self {
        output.clear();
        output.reserve(request.len() + (request.len() / 8).min(MAX_RESERVE));
        Self {
            splicer,
            limits,
            output,
            scanner: SeriesScanner::default(),
            plan: Plan::default(),
            seen: 0,
            report: SpliceReport::default(),
        }
    }

    fn splice_series(&mut self, series: &Field<'a>) -> Result<(), DecodeError> {
        let body = series.bytes()?;
        if self.seen >= self.limits.max_series {
            let kind = DecodeErrorKind::TooManySeries { limit: self.limits.max_series };
            return Err(DecodeError::new(kind, series.offset()));
        }
        self.seen += 1;
        match self.scanner.scan(body, self.limits) {
            Some(clean) => self.put_clean(body, &clean),
            None => self.rewrite_series(series),
        }
    }

    #[inline]
    fn splice_valid_series(
        &mut self,
        series: &Field<'a>,
        validation: &mut ValidationReport,
    ) -> Result<(), DecodeError> {
        let body = series.bytes()?;
        self.seen += 1;
        let clean = self.scanner.scan(body, self.limits);
        if let Some(clean) = &clean
            && !clean.has_same_names
        {
            // Also for a series that is rejected: the next one is compared with it.
            self.make_plan();
        }
        if validation.judge(series, clean.map(|_| &self.scanner), self.limits)? {
            return Ok(());
        }
        match clean {
            Some(_) => self.put_planned(body),
            None => self.rewrite_series(series),
        }
    }

    fn put_clean(&mut self, body: &[u8], clean: &CleanSeries) -> Result<(), DecodeError> {
        if !clean.has_same_names {
            self.make_plan();
        }
        self.put_planned(body)
    }

    fn make_plan(&mut self) {
        self.plan = Plan::new(&self.splicer.edits, self.scanner.names());
    }

    /// Writes a clean series by the plan for its label names.
    #[inline]
    fn put_planned(&mut self, body: &[u8]) -> Result<(), DecodeError> {
        self.report.series += 1;
        self.report.conflicts += usize::from(self.plan.had_conflict);
        if let Some((place, edit)) = self.plan.insertion {
            let (before, after) =
                body.split_at_checked(self.scanner.label_start(place)).unwrap_or((body, b""));
            let label = self.splicer.encoded_label(edit);
            self.output.reserve(body.len() + label.len() + MAX_HEADER);
            self.output.push(SERIES_KEY);
            put_varint(self.output, (body.len() + label.len()) as u64);
            self.output.extend_from_slice(before);
            put_short(self.output, label);
            self.output.extend_from_slice(after);
            return Ok(());
        }
        let label_count = self.scanner.label_count();
        let labels_end = self.scanner.label_start(label_count);
        let rest = body.get(labels_end..).unwrap_or_default();
        if !self.plan.is_plain {
            return self.put_renamed(body, rest);
        }
        let pieces = &self.plan.pieces[..];
        let length = pieces.iter().map(|piece| self.piece(body, piece).len()).sum::<usize>() + rest.len();
        self.output.push(SERIES_KEY);
        put_varint(self.output, length as u64);
        // The last labels and the rest stand together: one copy.
        let last = match pieces.split_last() {
            Some((Piece::Kept(kept), before)) if kept.end == label_count => {
                before.iter().for_each(|piece| {
                    self.output.extend_from_slice(piece_of(self.splicer, &self.scanner, body, piece))
                });
                body.get(self.scanner.label_start(kept.start)..).unwrap_or_default()
            }
            _ => {
                pieces.iter().for_each(|piece| {
                    self.output.extend_from_slice(piece_of(self.splicer, &self.scanner, body, piece))
                });
                rest
            }
        };
        self.output.extend_from_slice(last);
        Ok(())
    }

    #[inline]
    fn piece<'b>(&'b self, body: &'b [u8], piece: &Piece) -> &'b [u8] {
        piece_of(self.splicer, &self.scanner, body, piece)
    }

    fn put_renamed(&mut self, body: &[u8], rest: &[u8]) -> Result<(), DecodeError> {
        let mut edited = Vec::with_capacity(body.len() + body.len() / 8);
        for piece in &self.plan.pieces {
            match piece {
                Piece::Renamed { label, name } => {
                    put_renamed_label(&mut edited, self.piece(body, &Piece::Kept(*label..*label + 1)), name)?;
                }
                piece => edited.extend_from_slice(self.piece(body, piece)),
            }
        }
        edited.extend_from_slice(rest);
        put_bytes(self.output, SERIES as u8, &edited);
        Ok(())
    }

    /// Takes the series apart: labels (edited, sorted) first, then the rest as it was.
    fn rewrite_series(&mut self, series: &Field<'_>) -> Result<(), DecodeError> {
        let body = series.bytes()?;
        let mut labels: Vec<&[u8]> = Vec::new();
        let mut items = Vec::new();
        let mut rest_length = 0;
        let mut fields = series.message()?;
        while let Some(field) = fields.next()? {
            let bytes = body.get(field.start..field.end).unwrap_or_default();
            if field.number != LABELS {
                rest_length += bytes.len();
                continue;
            }
            let LabelView { name, value } = LabelView::new(&field)?;
            items.push(Item::kept(name, value.is_empty(), labels.len()));
            labels.push(bytes);
            if labels.len() > self.limits.max_labels_per_series {
                let kind = DecodeErrorKind::TooManyLabels { limit: self.limits.max_labels_per_series };
                return Err(DecodeError::new(kind, series.offset()));
            }
        }
        self.report.series += 1;
        self.report.sorted += usize::from(!items.is_sorted_by(|a, b| a.name <= b.name));
        self.report.conflicts += usize::from(edit::apply(&self.splicer.edits, &mut items));
        let mut pieces: Vec<Cow<'_, [u8]>> = Vec::with_capacity(items.len());
        for item in &items {
            let label = |index: usize| labels.get(index).copied().unwrap_or_default();
            pieces.push(match item.origin {
                Origin::Kept(index) => Cow::Borrowed(label(index)),
                Origin::Renamed(index) => {
                    let mut renamed = Vec::new();
                    put_renamed_label(&mut renamed, label(index), &item.name)?;
                    Cow::Owned(renamed)
                }
                Origin::New(edit) => Cow::Borrowed(self.splicer.encoded_label(edit)),
            });
        }
        let labels_length: usize = pieces.iter().map(|piece| piece.len()).sum();
        self.output.push(SERIES_KEY);
        put_varint(self.output, (labels_length + rest_length) as u64);
        pieces.iter().for_each(|piece| self.output.extend_from_slice(piece));
        put_fields_without(self.output, body, LABELS)
    }
}

impl LabelSplicer {
    /// The label that the edit adds.
    #[inline]
    fn encoded_label(&self, edit: usize) -> &[u8] {
        self.encoded.get(edit).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The bytes of a piece other than a renamed label.
#[inline]
fn piece_of<'b>(
    splicer: &'b LabelSplicer,
    scanner: &SeriesScanner<'_>,
    body: &'b [u8],
    piece: &Piece,
) -> &'b [u8] {
    match piece {
        Piece::Kept(kept) => {
            body.get(scanner.label_start(kept.start)..scanner.label_start(kept.end)).unwrap_or_default()
        }
        Piece::New(edit) => splicer.encoded_label(*edit),
        Piece::Renamed { .. } => &[],
    }
}

/// Writes the label of the field with another name; its other fields, unknown ones included, are copied.
fn put_renamed_label(output: &mut Vec<u8>, label: &[u8], name: &[u8]) -> Result<(), DecodeError> {
    let Some(field) = Fields::new(label).next()? else { return Ok(()) };
    let message = field.bytes()?;
    let mut renamed = Vec::with_capacity(message.len() + name.len());
    put_bytes(&mut renamed, LABEL_NAME as u8, name);
    let mut fields = field.message()?;
    while let Some(field) = fields.next()? {
        if field.number != LABEL_NAME {
            renamed.extend_from_slice(message.get(field.start..field.end).unwrap_or_default());
        }
    }
    put_bytes(output, LABELS as u8, &renamed);
    Ok(())
}

fn encode_label((name, value): (&[u8], &[u8])) -> Vec<u8> {
    let mut label = Vec::new();
    put_bytes(&mut label, 1, name);
    put_bytes(&mut label, 2, value);
    let mut encoded = Vec::new();
    put_bytes(&mut encoded, LABELS as u8, &label);
    encoded
}

const SERIES_KEY: u8 = (SERIES as u8) << 3 | 2;
/// The key of a series and the longest length.
const MAX_HEADER: usize = 11;
/// The most that is reserved for what the labels add.
const MAX_RESERVE: usize = 2 << 20;
