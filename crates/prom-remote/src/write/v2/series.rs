//! One series of a 2.0 request.

use std::ops::Range;

use super::{EXEMPLARS, HISTOGRAMS, LABEL_REFS, METADATA, SAMPLES, SymbolTable};
use crate::{
    DecodeError, Sample, TimestampBounds,
    wire::{Field, Fields},
    write::{
        scan::Content,
        view::{HistogramView, LabelView},
    },
};

/// One `TimeSeries` of a 2.0 request: well formed, its references not yet judged.
#[derive(Debug, Clone)]
pub struct SeriesV2View<'a> {
    index: usize,
    field: Range<usize>,
    body: &'a [u8],
    ref_count: usize,
    content: Content,
    started: usize,
    metadata: Option<MetadataV2View>,
}

/// The references of a label into the [`SymbolTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LabelRef {
    /// The number of the symbol that is its name.
    pub name: u32,
    /// The number of the symbol that is its value.
    pub value: u32,
}

/// A sample of a 2.0 series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SampleV2 {
    /// Timestamp and value.
    pub sample: Sample,
    /// When the counter began to count, in milliseconds since the Unix epoch; 0 is unset.
    pub start_timestamp_ms: i64,
}

/// An exemplar of a 2.0 series.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExemplarV2View<'a> {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The value as IEEE 754 bits.
    pub value_bits: u64,
    message: &'a [u8],
}

/// What a metric is, as it stands in a 2.0 series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct MetadataV2View {
    /// The number of the metric type; see [`MetricType`](crate::MetricType) for the known ones.
    pub metric_type: i32,
    /// The symbol of the help text; 0 is none.
    pub help: u32,
    /// The symbol of the unit; 0 is none.
    pub unit: u32,
}

impl<'a> SeriesV2View<'a> {
    /// Checks the whole series; `index` is its number in the message.
    pub(crate) fn new(field: &Field<'a>, index: usize) -> Result<Self, DecodeError> {
        let body = field.bytes().map_err(|error| error.in_series(index))?;
        let mut series = Self {
            index,
            field: field.offset()..field.content_offset(body) + body.len(),
            body,
            ref_count: 0,
            content: Content::default(),
            started: 0,
            metadata: None,
        };
        series.check(Fields::at(body, field.content_offset(body))).map_err(|error| error.in_series(index))?;
        Ok(series)
    }

    fn check(&mut self, mut fields: Fields<'a>) -> Result<(), DecodeError> {
        while let Some(field) = fields.next()? {
            match field.number {
                LABEL_REFS => field.for_each_varint(|_| self.ref_count += 1)?,
                SAMPLES => {
                    let sample = sample(&field)?;
                    self.started += usize::from(sample.start_timestamp_ms != 0);
                    self.content.include_sample(sample.sample.timestamp_ms);
                }
                HISTOGRAMS => {
                    let histogram = HistogramView::new(&field)?;
                    self.started += usize::from(start_of_histogram(&field)? != 0);
                    self.content.include_histogram(histogram.timestamp_ms);
                }
                EXEMPLARS => {
                    exemplar(&field)?;
                    self.content.exemplars += 1;
                }
                // A message that stands twice is one message.
                METADATA => include_metadata(&field, self.metadata.get_or_insert_default())?,
                _ => self.content.unknown_fields += 1,
            }
        }
        Ok(())
    }

    /// Returns the number of the series in its message, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns the place of the series in the decoded message, field key and length included.
    pub fn byte_range(&self) -> Range<usize> {
        self.field.clone()
    }

    /// Returns the bytes of the `TimeSeries` message, without field key and length.
    pub fn message_bytes(&self) -> &'a [u8] {
        self.body
    }

    /// Walks the label references in the order of the wire, as single numbers.
    pub(super) fn refs(&self) -> Refs<'a> {
        Refs { fields: Fields::new(self.body), packed: Fields::new(b"") }
    }

    /// Walks the labels as references; an odd one at the end is left out.
    pub fn label_refs(&self) -> impl Iterator<Item = LabelRef> + Clone + use<'a> {
        pairs(self.refs())
    }

    /// Walks the labels in the order of the wire, which the specification wants sorted by name.
    ///
    /// A label with a reference that points nowhere is left out; [`faults`](Self::faults) names it.
    pub fn labels<'s>(
        &self,
        symbols: &'s SymbolTable<'a>,
    ) -> impl Iterator<Item = LabelView<'a>> + Clone + use<'a, 's> {
        resolve(self.refs(), symbols)
    }

    /// Returns the value of the first label of this name; `None` also for an empty one.
    pub fn label(&self, name: &[u8], symbols: &SymbolTable<'a>) -> Option<&'a [u8]> {
        self.labels(symbols)
            .find(|label| label.name == name)
            .map(|label| label.value)
            .filter(|value| !value.is_empty())
    }

    /// Walks the samples in the order of the wire, which the specification wants in the order of time.
    pub fn samples(&self) -> impl Iterator<Item = SampleV2> + use<'a> {
        self.fields_of(SAMPLES).filter_map(|field| sample(&field).ok())
    }

    /// Walks the native histograms in the order of the wire.
    pub fn histograms(&self) -> impl Iterator<Item = HistogramView<'a>> + use<'a> {
        self.fields_of(HISTOGRAMS).filter_map(|field| HistogramView::new(&field).ok())
    }

    /// Walks the exemplars in the order of the wire.
    pub fn exemplars(&self) -> impl Iterator<Item = ExemplarV2View<'a>> + use<'a> {
        self.fields_of(EXEMPLARS).filter_map(|field| exemplar(&field).ok())
    }

    /// Returns what the metric is, if the series tells.
    pub fn metadata(&self) -> Option<MetadataV2View> {
        self.metadata
    }

    /// Returns the number of label references: twice the number of labels.
    pub fn ref_count(&self) -> usize {
        self.ref_count
    }

    /// Returns the number of samples, stale markers included.
    pub fn sample_count(&self) -> usize {
        self.content.samples
    }

    /// Returns the number of native histograms.
    pub fn histogram_count(&self) -> usize {
        self.content.histograms
    }

    /// Returns the number of exemplars.
    pub fn exemplar_count(&self) -> usize {
        self.content.exemplars
    }

    /// Returns the number of samples and histograms with a start timestamp.
    pub fn start_timestamp_count(&self) -> usize {
        self.started
    }

    /// Returns the number of fields of the series itself that this crate does not know; every edit keeps them.
    pub fn unknown_field_count(&self) -> usize {
        self.content.unknown_fields
    }

    /// Returns the earliest and latest timestamp of the samples and histograms; exemplars do not count.
    pub fn timestamps(&self) -> Option<TimestampBounds> {
        self.content.timestamps()
    }

    /// Tells whether time goes strictly forward through the samples, and through the histograms.
    pub fn is_in_time_order(&self) -> bool {
        self.content.in_order
    }

    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    /// The constructor has walked all of it, so that no error is left to meet here.
    pub(in crate::write) fn fields_of(&self, number: u32) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let mut fields = Fields::new(self.body);
        std::iter::from_fn(move || fields.next().ok().flatten()).filter(move |field| field.number == number)
    }
}

impl<'a> ExemplarV2View<'a> {
    /// Walks the labels; one with a reference that points nowhere is left out.
    pub fn labels<'s>(
        &self,
        symbols: &'s SymbolTable<'a>,
    ) -> impl Iterator<Item = LabelView<'a>> + Clone + use<'a, 's> {
        resolve(self.refs(), symbols)
    }

    /// Returns the number of label references: twice the number of labels.
    pub fn ref_count(&self) -> usize {
        self.refs().count()
    }

    /// Returns timestamp and value.
    pub fn sample(&self) -> Sample {
        Sample { timestamp_ms: self.timestamp_ms, value_bits: self.value_bits }
    }

    pub(super) fn refs(&self) -> Refs<'a> {
        Refs { fields: Fields::new(self.message), packed: Fields::new(b"") }
    }
}

/// The numbers of a repeated field 1, packed or not.
#[derive(Debug, Clone)]
pub(super) struct Refs<'a> {
    fields: Fields<'a>,
    packed: Fields<'a>,
}

impl Iterator for Refs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        loop {
            if !self.packed.is_at_end() {
                return self.packed.read_varint().ok().map(|number| number as u32);
            }
            let field = self.fields.next().ok()??;
            if field.number != LABEL_REFS {
                continue;
            }
            match (field.varint(), field.bytes()) {
                (Ok(number), _) => return Some(number as u32),
                (_, Ok(packed)) => self.packed = Fields::new(packed),
                _ => return None,
            }
        }
    }
}

pub(super) fn pairs<'a>(mut refs: Refs<'a>) -> impl Iterator<Item = LabelRef> + Clone + use<'a> {
    std::iter::repeat_with(move || Some(LabelRef { name: refs.next()?, value: refs.next()? }))
        .map_while(|pair| pair)
}

fn resolve<'a, 's>(
    refs: Refs<'a>,
    symbols: &'s SymbolTable<'a>,
) -> impl Iterator<Item = LabelView<'a>> + Clone + use<'a, 's> {
    pairs(refs).filter_map(|label| {
        Some(LabelView { name: symbols.get(label.name)?, value: symbols.get(label.value)? })
    })
}

pub(super) fn sample(field: &Field<'_>) -> Result<SampleV2, DecodeError> {
    let mut sample = SampleV2 { sample: Sample { timestamp_ms: 0, value_bits: 0 }, start_timestamp_ms: 0 };
    let mut fields = field.message()?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => sample.sample.value_bits = field.fixed64()?,
            2 => sample.sample.timestamp_ms = field.varint()? as i64,
            3 => sample.start_timestamp_ms = field.varint()? as i64,
            _ => {}
        }
    }
    Ok(sample)
}

/// The start timestamp of a histogram, which 1.0 does not know; 0 is unset.
pub(in crate::write) fn start_of_histogram(field: &Field<'_>) -> Result<i64, DecodeError> {
    let mut start = 0;
    let mut fields = field.message()?;
    while let Some(field) = fields.next()? {
        if field.number == 17 {
            start = field.varint()? as i64;
        }
    }
    Ok(start)
}

pub(super) fn exemplar<'a>(field: &Field<'a>) -> Result<ExemplarV2View<'a>, DecodeError> {
    let mut exemplar = ExemplarV2View { timestamp_ms: 0, value_bits: 0, message: field.bytes()? };
    let mut fields = field.message()?;
    while let Some(field) = fields.next()? {
        match field.number {
            LABEL_REFS => field.check_repeated_varint()?,
            2 => exemplar.value_bits = field.fixed64()?,
            3 => exemplar.timestamp_ms = field.varint()? as i64,
            _ => {}
        }
    }
    Ok(exemplar)
}

pub(super) fn include_metadata(field: &Field<'_>, metadata: &mut MetadataV2View) -> Result<(), DecodeError> {
    let mut fields = field.message()?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => metadata.metric_type = field.varint()? as i32,
            3 => metadata.help = field.varint()? as u32,
            4 => metadata.unit = field.varint()? as u32,
            _ => {}
        }
    }
    Ok(())
}
