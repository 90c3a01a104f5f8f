//! The valid part of a request, and the answer that goes with it.

use std::fmt::Write;

use bytes::Bytes;
use prom_remote::{
    DecodeError, Limits, SeriesVerdict, Severity, Summary, ValidationReport, WriteRequestV2View,
    WriteRequestView, keep_series, keep_series_v2, validate, validate_v2,
};

use super::write::{WriteBody, WriteOutcome, WriteVersion};
use crate::protocol::WrittenCounts;

/// A request, judged series by series: what can be stored, and what must be told about the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JudgedWrite {
    /// The message without its refused series, every other byte as it was; the whole message if none is refused.
    pub valid: Bytes,
    /// What is in it, counted.
    pub summary: Summary,
    /// The verdicts on the series with a fault, the tolerated ones too (see [`SeriesVerdict::is_rejected`]).
    pub verdicts: Vec<SeriesVerdict>,
    /// How many series of the request are refused.
    pub refused: usize,
    /// How many series the request has.
    pub series: usize,
}

impl WriteBody {
    /// Judges every series by [`validate`](prom_remote::validate()) or [`validate_v2`](prom_remote::validate_v2), so
    /// that the valid part can be stored.
    ///
    /// # Errors
    /// The limits are narrower than those that the request was received with.
    pub fn judge(&self, limits: &Limits) -> Result<JudgedWrite, DecodeError> {
        let report = match self.version {
            WriteVersion::V1 => validate(&self.decoded, limits)?,
            WriteVersion::V2 => validate_v2(&self.decoded, limits)?,
        };
        let refused = report.rejected_count();
        let (valid, summary) = if refused == 0 {
            (self.decoded.clone(), report.summary)
        } else {
            self.valid_part(&report, limits)?
        };
        Ok(JudgedWrite { valid, summary, refused, series: report.summary.series, verdicts: report.verdicts })
    }

    fn valid_part(
        &self,
        report: &ValidationReport,
        limits: &Limits,
    ) -> Result<(Bytes, Summary), DecodeError> {
        let mut valid = Vec::new();
        let summary = match self.version {
            WriteVersion::V1 => {
                keep_series(&self.decoded, |series| !report.is_rejected(series.index()), &mut valid)?;
                WriteRequestView::new(&valid).summary(limits)?
            }
            WriteVersion::V2 => {
                let keep = |series: &prom_remote::SeriesV2View<'_>| !report.is_rejected(series.index());
                keep_series_v2(&self.decoded, limits, keep, &mut valid)?;
                WriteRequestV2View::new(&valid, limits)?.summary(limits)?
            }
        };
        Ok((valid.into(), summary))
    }
}

impl JudgedWrite {
    /// Returns what the sender is told once [`valid`](Self::valid) is stored.
    pub fn outcome(&self) -> WriteOutcome {
        if self.refused == 0 {
            return WriteOutcome::Stored;
        }
        let mut message = format!("{} of {} series refused", self.refused, self.series);
        let rejected = self.verdicts.iter().filter(|verdict| verdict.is_rejected());
        for (index, verdict) in rejected.take(MAX_NAMED).enumerate() {
            let fault = verdict.faults.iter().find(|fault| fault.severity() == Severity::Rejected);
            let Some(fault) = fault else { continue };
            let _ =
                write!(message, "{} series {}: {fault}", if index == 0 { ":" } else { ";" }, verdict.series);
        }
        if self.refused > MAX_NAMED {
            message.push_str("; …");
        }
        WriteOutcome::Partial { written: WrittenCounts::of_summary(&self.summary), message }
    }
}

/// How many refused series an answer names.
const MAX_NAMED: usize = 5;
