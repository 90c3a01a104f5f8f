//! Takes added labels away again.

use super::{LabelSplicer, SERIES_KEY};
use crate::{
    DecodeError, DecodeErrorKind, Limits,
    wire::{Field, Fields, put_varint},
    write::view::{LABELS, LabelView, SERIES},
};

impl LabelSplicer {
    /// Takes the added labels of a 1.0 request away again: of every series, for each edit that adds a label the first
    /// label that has its name and its value. Returns how many series it changed.
    ///
    /// For a request that has no such label, none of whose labels was empty or unsorted, and whose lengths are
    /// written in their shortest form, `strip` after [`splice`](Self::splice) of one added label gives back the same
    /// bytes. Labels that were renamed, replaced or dropped stay so. `output` is replaced.
    ///
    /// # Errors
    /// Malformed bytes, or more series than the limits allow; `output` then holds nothing useful.
    pub fn strip(&self, request: &[u8], limits: &Limits, output: &mut Vec<u8>) -> Result<usize, DecodeError> {
        output.clear();
        output.reserve(request.len());
        let (mut stripped, mut series_count) = (0, 0);
        let mut fields = Fields::new(request);
        while let Some(field) = fields.next()? {
            let mut kept = None;
            if field.number == SERIES {
                if series_count >= limits.max_series {
                    let kind = DecodeErrorKind::TooManySeries { limit: limits.max_series };
                    return Err(DecodeError::new(kind, field.offset()).in_series(series_count));
                }
                kept = self.without_added(&field).map_err(|error| error.in_series(series_count))?;
                series_count += 1;
            }
            match kept {
                Some(pieces) => {
                    output.push(SERIES_KEY);
                    put_varint(output, pieces.iter().map(|piece| piece.len() as u64).sum());
                    pieces.iter().for_each(|piece| output.extend_from_slice(piece));
                    stripped += 1;
                }
                None => output.extend_from_slice(request.get(field.start..field.end).unwrap_or_default()),
            }
        }
        Ok(stripped)
    }

    /// The body of the series in pieces around the added labels; `None` if there is none.
    fn without_added<'a>(&self, series: &Field<'a>) -> Result<Option<Vec<&'a [u8]>>, DecodeError> {
        let body = series.bytes()?;
        let mut added: Vec<_> = self.edits.iter().filter_map(|edit| edit.new_label()).collect();
        let mut pieces = Vec::new();
        let mut kept_from = 0;
        let mut fields = series.message()?;
        while let Some(field) = fields.next()? {
            if field.number != LABELS || added.is_empty() {
                continue;
            }
            let label = LabelView::new(&field)?;
            if let Some(found) = added.iter().position(|&(name, value)| label == LabelView { name, value }) {
                added.remove(found);
                pieces.push(body.get(kept_from..field.start).unwrap_or_default());
                kept_from = field.end;
            }
        }
        pieces.push(body.get(kept_from..).unwrap_or_default());
        Ok((pieces.len() > 1).then_some(pieces))
    }
}
