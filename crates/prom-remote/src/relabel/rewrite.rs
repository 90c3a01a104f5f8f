//! A remote-write 1.0 request with its series relabelled on the wire bytes.

use thiserror::Error;

use super::relabeler::{RelabelError, Relabeled, Relabeler};
use crate::{
    DecodeError, Limits, WriteRequestView,
    wire::{Fields, put_varint},
    write::Entry,
};

/// How many series [`Relabeler::rewrite`] dropped and changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelabelReport {
    /// Series copied as they were.
    pub kept: usize,
    /// Series with other labels now.
    pub changed: usize,
    /// Series left out.
    pub dropped: usize,
}

/// A request cannot be relabelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RelabelRequestError {
    /// It is no `WriteRequest`, or goes over a limit.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A series has a label that is not UTF-8; [`validate`](crate::validate()) finds such series beforehand.
    #[error("series {series}: {error}")]
    Series {
        /// Which series of the request, from 0.
        series: usize,
        /// Which label.
        error: RelabelError,
    },
}

impl Relabeler {
    /// Copies a `WriteRequest` with its series relabelled. Everything else in it, samples, histograms, exemplars and
    /// unknown fields of a changed series too, is copied byte for byte; the labels come first.
    ///
    /// `output` is replaced; its growth is bounded by the labels that the rules make.
    ///
    /// # Errors
    /// See [`RelabelRequestError`]; `output` then holds nothing useful.
    pub fn rewrite(
        &mut self,
        request: &[u8],
        limits: &Limits,
        output: &mut Vec<u8>,
    ) -> Result<RelabelReport, RelabelRequestError> {
        output.clear();
        let mut report = RelabelReport::default();
        let mut summary = crate::Summary::default();
        let mut series_bytes = Vec::new();
        for entry in WriteRequestView::new(request).entries() {
            let entry = entry?;
            let place = match &entry {
                Entry::Metadata(metadata) => metadata.field.clone(),
                Entry::Unknown(unknown) => unknown.field.clone(),
                Entry::Series(series) => {
                    summary.include_series(series, limits)?;
                    let in_series = |error| RelabelRequestError::Series { series: series.index(), error };
                    match self.apply_to_series(series).map_err(in_series)? {
                        Relabeled::Keep => {
                            report.kept += 1;
                            series.byte_range()
                        }
                        Relabeled::Drop => {
                            report.dropped += 1;
                            continue;
                        }
                        Relabeled::Changed(labels) => {
                            report.changed += 1;
                            series_bytes.clear();
                            series_bytes.extend_from_slice(labels.as_fields());
                            put_all_but_labels(series.message_bytes(), &mut series_bytes)?;
                            output.push(SERIES_KEY);
                            put_varint(output, series_bytes.len() as u64);
                            output.extend_from_slice(&series_bytes);
                            continue;
                        }
                    }
                }
            };
            output.extend_from_slice(request.get(place).unwrap_or_default());
        }
        Ok(report)
    }
}

fn put_all_but_labels(series: &[u8], output: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut fields = Fields::new(series);
    while let Some(field) = fields.next()? {
        if field.number != LABELS {
            output.extend_from_slice(series.get(field.start..field.end).unwrap_or_default());
        }
    }
    Ok(())
}

const LABELS: u32 = 1;
/// Field 1, length-delimited.
const SERIES_KEY: u8 = 0x0a;
