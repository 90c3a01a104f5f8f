//! One series and its labels.

use std::ops::Range;

use super::{
    EXEMPLARS, HISTOGRAMS, HistogramView, LABEL_NAME, LABEL_VALUE, LABELS, SAMPLES,
    leaves::{check_exemplar, sample},
};
use crate::{
    DecodeError, Sample, TimestampBounds,
    wire::{Field, Fields},
    write::scan::Content,
};

/// One `TimeSeries` of a request or of a remote-read answer: well formed, not yet judged.
#[derive(Debug, Clone)]
pub struct SeriesView<'a> {
    index: usize,
    field: Range<usize>,
    body: &'a [u8],
    label_count: usize,
    content: Content,
}

impl<'a> SeriesView<'a> {
    /// Checks the whole series; `index` is its number in the message.
    pub(crate) fn new(field: &Field<'a>, index: usize) -> Result<Self, DecodeError> {
        let body = field.bytes().map_err(|error| error.in_series(index))?;
        let place = field.offset()..field.content_offset(body) + body.len();
        let mut series = Self { index, field: place, body, label_count: 0, content: Content::default() };
        series.check(Fields::at(body, field.content_offset(body))).map_err(|error| error.in_series(index))?;
        Ok(series)
    }

    fn check(&mut self, mut fields: Fields<'a>) -> Result<(), DecodeError> {
        while let Some(field) = fields.next()? {
            match field.number {
                LABELS => {
                    LabelView::new(&field)?;
                    self.label_count += 1;
                }
                SAMPLES => self.content.include_sample(sample(&field)?.timestamp_ms),
                EXEMPLARS => {
                    check_exemplar(&field)?;
                    self.content.exemplars += 1;
                }
                HISTOGRAMS => self.content.include_histogram(HistogramView::new(&field)?.timestamp_ms),
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

    /// Walks the labels in the order of the wire, which the specification wants sorted by name.
    pub fn labels(&self) -> Labels<'a> {
        Labels { fields: Fields::new(self.body) }
    }

    /// Returns the value of the first label of this name; an empty value is returned as `None`, as Prometheus
    /// takes an empty label for an absent one.
    pub fn label(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.labels()
            .find(|label| label.name == name)
            .map(|label| label.value)
            .filter(|value| !value.is_empty())
    }

    /// Walks the samples in the order of the wire, which the specification wants in the order of time.
    pub fn samples(&self) -> impl Iterator<Item = Sample> + use<'a> {
        self.fields_of(SAMPLES).filter_map(|field| sample(&field).ok())
    }

    /// Walks the native histograms in the order of the wire.
    pub fn histograms(&self) -> impl Iterator<Item = HistogramView<'a>> + use<'a> {
        self.fields_of(HISTOGRAMS).filter_map(|field| HistogramView::new(&field).ok())
    }

    /// Returns the number of labels.
    pub fn label_count(&self) -> usize {
        self.label_count
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

    /// Returns the number of fields of the series itself that this crate does not know; every edit keeps them.
    pub fn unknown_field_count(&self) -> usize {
        self.content.unknown_fields
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    /// Returns the earliest and latest timestamp of the samples and histograms; exemplars do not count.
    pub fn timestamps(&self) -> Option<TimestampBounds> {
        self.content.timestamps()
    }

    /// Tells whether time goes strictly forward through the samples, and through the histograms.
    pub fn is_in_time_order(&self) -> bool {
        self.content.in_order
    }

    /// The constructor has walked all of it, so that no error is left to meet here.
    pub(crate) fn fields_of(&self, number: u32) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let mut fields = Fields::new(self.body);
        std::iter::from_fn(move || fields.next().ok().flatten()).filter(move |field| field.number == number)
    }
}

/// Walks the labels of a series; see [`SeriesView::labels`].
#[derive(Debug, Clone)]
pub struct Labels<'a> {
    fields: Fields<'a>,
}

impl<'a> Iterator for Labels<'a> {
    type Item = LabelView<'a>;

    fn next(&mut self) -> Option<LabelView<'a>> {
        while let Ok(Some(field)) = self.fields.next() {
            if field.number == LABELS {
                return LabelView::new(&field).ok();
            }
        }
        None
    }
}

/// A label: two strings of bytes, not necessarily UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelView<'a> {
    /// Its name; may be empty in a bad request.
    pub name: &'a [u8],
    /// Its value; empty is the same as an absent label.
    pub value: &'a [u8],
}

impl<'a> LabelView<'a> {
    #[inline]
    pub(crate) fn new(field: &Field<'a>) -> Result<Self, DecodeError> {
        let message = field.bytes()?;
        match Self::canonical(message) {
            Some(label) => Ok(label),
            None => Self::any_order(field.message()?),
        }
    }

    /// The form that every encoder writes: name, value; the name shorter than 128 bytes, the value than 16,384.
    #[inline]
    pub(crate) fn canonical(message: &'a [u8]) -> Option<Self> {
        let [0x0a, name_length @ 0..0x80, rest @ ..] = message else { return None };
        let (name, rest) = rest.split_at_checked(usize::from(*name_length))?;
        let (length, value) = match rest {
            [0x12, length @ 0..0x80, value @ ..] => (usize::from(*length), value),
            [0x12, low, high @ 0..0x80, value @ ..] => {
                (usize::from(*low & 0x7f) | usize::from(*high) << 7, value)
            }
            _ => return None,
        };
        (value.len() == length).then_some(Self { name, value })
    }

    /// Of a field that stands twice the last one counts, as in any protobuf decoder.
    pub(crate) fn any_order(mut fields: Fields<'a>) -> Result<Self, DecodeError> {
        let mut label = Self { name: b"", value: b"" };
        while let Some(field) = fields.next()? {
            match field.number {
                LABEL_NAME => label.name = field.bytes()?,
                LABEL_VALUE => label.value = field.bytes()?,
                _ => {}
            }
        }
        Ok(label)
    }
}
