//! What stands inside series and requests: samples, histograms, exemplars, metadata.

use std::ops::Range;

use super::LabelView;
use crate::{
    DecodeError, Sample,
    wire::{Field, Fields},
};

/// A native histogram, undecoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistogramView<'a> {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The bytes of the `Histogram` message (of either version: 2.0 only adds a start timestamp).
    pub message_bytes: &'a [u8],
}

impl<'a> HistogramView<'a> {
    pub(crate) fn new(field: &Field<'a>) -> Result<Self, DecodeError> {
        let mut timestamp_ms = 0;
        let mut fields = field.message()?;
        while let Some(field) = fields.next()? {
            match field.number {
                1 | 4 | 6 | 14 => drop(field.varint()?),
                2 | 3 | 5 | 7 => drop(field.fixed64()?),
                8 | 11 => check_span(&field)?,
                9 | 12 => field.check_repeated_varint()?,
                10 | 13 | 16 => field.check_repeated_fixed64()?,
                15 => timestamp_ms = field.varint()? as i64,
                _ => {}
            }
        }
        Ok(Self { timestamp_ms, message_bytes: field.bytes()? })
    }

    /// Returns when counting began, in milliseconds since the Unix epoch; 0 is unset. Remote write 2.0 alone has it.
    pub fn start_timestamp_ms(&self) -> i64 {
        let mut fields = Fields::new(self.message_bytes);
        std::iter::from_fn(|| fields.next().ok().flatten())
            .filter(|field| field.number == START_TIMESTAMP)
            .filter_map(|field| field.varint().ok())
            .last()
            .unwrap_or_default() as i64
    }
}

const START_TIMESTAMP: u32 = 17;

/// What a metric is, as a sender tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetadataView<'a> {
    /// The number of the metric type; see [`MetricType`](crate::MetricType) for the known ones.
    pub metric_type: i32,
    /// The name of the metric family.
    pub family: &'a [u8],
    /// The help text.
    pub help: &'a [u8],
    /// The unit.
    pub unit: &'a [u8],
    /// The place of the entry in the request, field key and length included.
    pub field: Range<usize>,
}

impl<'a> MetadataView<'a> {
    pub(crate) fn new(field: &Field<'a>) -> Result<Self, DecodeError> {
        let place = field.start..field.end;
        let mut metadata = Self { metric_type: 0, family: b"", help: b"", unit: b"", field: place };
        let mut fields = field.message()?;
        while let Some(field) = fields.next()? {
            match field.number {
                1 => metadata.metric_type = field.varint()? as i32,
                2 => metadata.family = field.bytes()?,
                4 => metadata.help = field.bytes()?,
                5 => metadata.unit = field.bytes()?,
                _ => {}
            }
        }
        Ok(metadata)
    }
}

pub(crate) fn sample(field: &Field<'_>) -> Result<Sample, DecodeError> {
    let mut sample = Sample { timestamp_ms: 0, value_bits: 0 };
    let mut fields = field.message()?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => sample.value_bits = field.fixed64()?,
            2 => sample.timestamp_ms = field.varint()? as i64,
            _ => {}
        }
    }
    Ok(sample)
}

pub(crate) fn check_exemplar(field: &Field<'_>) -> Result<(), DecodeError> {
    let mut fields = field.message()?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => drop(LabelView::new(&field)?),
            2 => drop(field.fixed64()?),
            3 => drop(field.varint()?),
            _ => {}
        }
    }
    Ok(())
}

pub(crate) fn check_span(field: &Field<'_>) -> Result<(), DecodeError> {
    let mut fields = field.message()?;
    while let Some(field) = fields.next()? {
        if matches!(field.number, 1 | 2) {
            field.varint()?;
        }
    }
    Ok(())
}
