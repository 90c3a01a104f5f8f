//! Several requests of a sender as one.

use std::ops::Range;

use prom_remote::{Limits, Summary, TimestampBounds, merge_v2};
use sample_journal::Position;

use super::{
    bench::MAX_RECORDS,
    message::{Message, Version},
    order::{Clocks, Direction},
};
use crate::config::BatchConfig;

/// A journal record that was read and decoded.
pub(super) struct Record {
    /// Format byte included.
    pub(super) payload: Vec<u8>,
    pub(super) next: Position,
    pub(super) version: Version,
    pub(super) summary: Summary,
    /// In which requests it goes out, if not as one.
    pub(super) parts: Option<Vec<Message>>,
}

impl Record {
    /// Whether it may become a part of a larger request.
    fn is_plain(&self) -> bool {
        self.parts.is_none() && self.summary.unknown_fields == 0
    }
}

/// The messages of one batch, one behind the other.
#[derive(Default)]
pub(super) struct Gathered {
    version: Option<Version>,
    bytes: Vec<u8>,
    parts: Vec<Range<usize>>,
    pub(super) summary: Summary,
    is_plain: bool,
    /// Empty as long as bounds alone have told that time goes forward.
    clocks: Clocks,
    /// They do not know the messages that are there.
    clocks_are_behind: bool,
    merged: Vec<u8>,
}

impl Gathered {
    /// Begins with a lone record, whose message is taken out of `decoded`.
    pub(super) fn begin(&mut self, records: &[Record], decoded: &mut Vec<u8>) {
        self.clocks.clear();
        self.clocks_are_behind = true;
        self.parts.clear();
        std::mem::swap(&mut self.bytes, decoded);
        self.parts.push(0..self.bytes.len());
        let Some(record) = records.first() else { return };
        self.version = Some(record.version);
        self.summary = record.summary;
        self.is_plain = record.is_plain();
    }

    /// Whether more could be added at all.
    pub(super) fn is_open(&self, records: usize, batch: &BatchConfig) -> bool {
        self.is_plain
            && records < MAX_RECORDS
            && self.bytes.len() < batch.max_bytes
            && points(&self.summary) < batch.max_samples
    }

    /// Adds a record with its message, unless that is not allowed: another version, too large, or time would go
    /// backwards; or, unless the destination `is_far`, not worth it.
    pub(super) fn add(
        &mut self,
        record: &Record,
        decoded: &[u8],
        batch: &BatchConfig,
        limits: &Limits,
        is_far: bool,
    ) -> bool {
        let fits = self.bytes.len() + decoded.len() <= batch.max_bytes
            && points(&self.summary) + points(&record.summary) <= batch.max_samples
            && self.summary.series + record.summary.series <= limits.max_series;
        let is_possible = fits && record.is_plain() && self.version == Some(record.version);
        if !is_possible || !self.goes_forward(record, decoded, limits, is_far) {
            return false;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(decoded);
        self.parts.push(start..self.bytes.len());
        include(&mut self.summary, &record.summary);
        true
    }

    fn goes_forward(&mut self, record: &Record, decoded: &[u8], limits: &Limits, is_far: bool) -> bool {
        let is_later = match (self.summary.timestamps, record.summary.timestamps) {
            (Some(before), Some(new)) => before.max_ms < new.min_ms,
            _ => true,
        };
        // For 2.0 it is found out when the requests become one.
        if record.version == Version::V2 || (is_later && self.clocks.is_empty()) {
            return true;
        }
        // To compare the series of large requests costs more than a request.
        if !is_far && points(&record.summary) > MAX_COMPARED_POINTS {
            return false;
        }
        let Self { clocks, bytes, parts, .. } = self;
        let mut goes_forward =
            |message: &[u8]| matches!(clocks.advance(message, limits), Ok((_, Direction::Forward)));
        if self.clocks_are_behind {
            self.clocks_are_behind = false;
            for part in parts.iter() {
                if !goes_forward(bytes.get(part.clone()).unwrap_or_default()) {
                    return false;
                }
            }
        }
        goes_forward(decoded)
    }

    /// The messages one by one.
    pub(super) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map(|part| self.bytes.get(part.clone()).unwrap_or_default())
    }

    /// All as one message; `None` if they cannot be.
    pub(super) fn message(&mut self, limits: &Limits) -> Option<(Version, &[u8])> {
        let version = self.version?;
        // Of 1.0, one message behind the other is a message.
        if version == Version::V1 || self.parts.len() < 2 {
            return Some((version, &self.bytes));
        }
        let Self { bytes, parts, merged, .. } = self;
        let parts: Vec<_> = parts.iter().map(|part| bytes.get(part.clone()).unwrap_or_default()).collect();
        merge_v2(&parts, limits, merged).ok()?;
        Some((version, merged))
    }

    /// Gives memory back that a message of rare size has taken.
    pub(super) fn shrink(&mut self, bytes: usize) {
        if self.bytes.capacity() > bytes {
            self.bytes = Vec::new();
        }
        if self.merged.capacity() > bytes {
            self.merged = Vec::new();
        }
    }
}

fn points(summary: &Summary) -> usize {
    summary.samples + summary.histograms
}

fn include(whole: &mut Summary, part: &Summary) {
    whole.series += part.series;
    whole.samples += part.samples;
    whole.histograms += part.histograms;
    whole.exemplars += part.exemplars;
    whole.metadata += part.metadata;
    whole.timestamps = match (whole.timestamps, part.timestamps) {
        (Some(one), Some(two)) => {
            Some(TimestampBounds { min_ms: one.min_ms.min(two.min_ms), max_ms: one.max_ms.max(two.max_ms) })
        }
        (one, two) => one.or(two),
    };
}

/// Requests of more samples and histograms go out together where their times alone say that they may.
const MAX_COMPARED_POINTS: usize = 500;
