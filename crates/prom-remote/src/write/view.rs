//! A borrowed walk over a `WriteRequest`: nothing is copied, nothing is allocated.

use std::ops::Range;

use crate::{
    DecodeError, DecodeErrorKind, Limits, Sample, TimestampBounds,
    wire::{Field, Fields},
};

/// A decoded (no longer compressed) `prometheus.WriteRequest`, borrowed.
///
/// The walk accepts exactly what a protobuf decoder accepts, except that labels and metadata may hold any bytes:
/// whether these are UTF-8 is for [`validate`](crate::validate()) to say, series by series.
#[derive(Debug, Clone, Copy)]
pub struct WriteRequestView<'a> {
    bytes: &'a [u8],
}

impl<'a> WriteRequestView<'a> {
    /// Looks at the bytes of a request; they are checked while walking, not here.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Walks everything in the request in the order of the wire.
    ///
    /// After the first error the walk ends.
    pub fn entries(&self) -> Entries<'a> {
        Entries { fields: Some(Fields::new(self.bytes)), next_series: 0 }
    }

    /// Walks the series of the request, passing over metadata and unknown fields.
    pub fn series(&self) -> impl Iterator<Item = Result<SeriesView<'a>, DecodeError>> + use<'a> {
        self.entries().filter_map(|entry| match entry {
            Ok(Entry::Series(series)) => Some(Ok(series)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// Walks the whole request once and counts what is in it.
    ///
    /// An `Ok` means that the whole message is well formed.
    ///
    /// # Errors
    /// Malformed bytes, or more series or samples than the limits allow.
    pub fn summary(&self, limits: &Limits) -> Result<Summary, DecodeError> {
        let mut summary = Summary::default();
        for entry in self.entries() {
            summary.include(&entry?, limits)?;
        }
        Ok(summary)
    }
}

/// What a request holds, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Series, empty ones included; the same label set twice counts twice.
    pub series: usize,
    /// Samples of all series, stale markers included.
    pub samples: usize,
    /// Native histograms of all series.
    pub histograms: usize,
    /// Exemplars of all series.
    pub exemplars: usize,
    /// Metadata entries.
    pub metadata: usize,
    /// Fields of the request that this crate does not know.
    pub unknown_fields: usize,
    /// The earliest and latest timestamp of all samples and histograms; `None` when there are none.
    pub timestamps: Option<TimestampBounds>,
}

impl Summary {
    /// Counts one more entry.
    ///
    /// # Errors
    /// More series or samples than the limits allow.
    pub(crate) fn include(&mut self, entry: &Entry<'_>, limits: &Limits) -> Result<(), DecodeError> {
        match entry {
            Entry::Series(series) => self.include_series(series, limits)?,
            Entry::Metadata(_) => self.metadata += 1,
            Entry::Unknown(_) => self.unknown_fields += 1,
        }
        Ok(())
    }

    pub(crate) fn include_series(
        &mut self,
        series: &SeriesView<'_>,
        limits: &Limits,
    ) -> Result<(), DecodeError> {
        self.series += 1;
        self.samples += series.sample_count;
        self.histograms += series.histogram_count;
        self.exemplars += series.exemplar_count;
        TimestampBounds::merge(&mut self.timestamps, series.timestamps);
        let over_limit = if self.series > limits.max_series {
            DecodeErrorKind::TooManySeries { limit: limits.max_series }
        } else if self.samples + self.histograms > limits.max_samples {
            DecodeErrorKind::TooManySamples { limit: limits.max_samples }
        } else {
            return Ok(());
        };
        Err(DecodeError::new(over_limit, series.field.start).in_series(series.index))
    }
}

/// Walks the entries of a request; see [`WriteRequestView::entries`].
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    fields: Option<Fields<'a>>,
    next_series: usize,
}

impl<'a> Entries<'a> {
    fn next_entry(&mut self) -> Result<Option<Entry<'a>>, DecodeError> {
        let Some(fields) = &mut self.fields else { return Ok(None) };
        let Some(field) = fields.next()? else { return Ok(None) };
        let entry = match field.number {
            SERIES => {
                let series = SeriesView::new(&field, self.next_series)?;
                self.next_series += 1;
                Entry::Series(series)
            }
            METADATA => Entry::Metadata(MetadataView::new(&field)?),
            number => Entry::Unknown(UnknownFieldView { number, field: field.start..field.end }),
        };
        Ok(Some(entry))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.next_entry();
        if entry.is_err() {
            self.fields = None;
        }
        entry.transpose()
    }
}

/// One field of a request.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Entry<'a> {
    /// A series (field 1).
    Series(SeriesView<'a>),
    /// What a metric is (field 3); real senders send it in requests of its own.
    Metadata(MetadataView<'a>),
    /// A field that this crate does not know; it is well formed and is kept by every edit.
    Unknown(UnknownFieldView),
}

/// A field of a request that this crate does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownFieldView {
    /// The number of the field.
    pub number: u32,
    /// Its place in the request, key included.
    pub field: Range<usize>,
}

/// One `TimeSeries` of a request or of a remote-read answer: well formed, not yet judged.
#[derive(Debug, Clone)]
pub struct SeriesView<'a> {
    index: usize,
    field: Range<usize>,
    body: &'a [u8],
    label_count: usize,
    sample_count: usize,
    histogram_count: usize,
    exemplar_count: usize,
    timestamps: Option<TimestampBounds>,
    in_order: bool,
}

impl<'a> SeriesView<'a> {
    /// Checks the whole series; `index` is its number in the message.
    pub(crate) fn new(field: &Field<'a>, index: usize) -> Result<Self, DecodeError> {
        let body = field.bytes().map_err(|error| error.in_series(index))?;
        let mut series = Self {
            index,
            field: field.offset()..field.content_offset(body) + body.len(),
            body,
            label_count: 0,
            sample_count: 0,
            histogram_count: 0,
            exemplar_count: 0,
            timestamps: None,
            in_order: true,
        };
        series.check(Fields::at(body, field.content_offset(body))).map_err(|error| error.in_series(index))?;
        Ok(series)
    }

    fn check(&mut self, mut fields: Fields<'a>) -> Result<(), DecodeError> {
        let mut last_sample = None;
        let mut last_histogram = None;
        while let Some(field) = fields.next()? {
            match field.number {
                LABELS => {
                    LabelView::new(&field)?;
                    self.label_count += 1;
                }
                SAMPLES => {
                    self.sample_count += 1;
                    self.include_timestamp(sample(&field)?.timestamp_ms, &mut last_sample);
                }
                EXEMPLARS => {
                    check_exemplar(&field)?;
                    self.exemplar_count += 1;
                }
                HISTOGRAMS => {
                    self.histogram_count += 1;
                    self.include_timestamp(HistogramView::new(&field)?.timestamp_ms, &mut last_histogram);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn include_timestamp(&mut self, timestamp_ms: i64, last: &mut Option<i64>) {
        TimestampBounds::include(&mut self.timestamps, timestamp_ms);
        self.in_order &= last.is_none_or(|last| last < timestamp_ms);
        *last = Some(timestamp_ms);
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
        self.sample_count
    }

    /// Returns the number of native histograms.
    pub fn histogram_count(&self) -> usize {
        self.histogram_count
    }

    /// Returns the number of exemplars.
    pub fn exemplar_count(&self) -> usize {
        self.exemplar_count
    }

    /// Returns the earliest and latest timestamp of the samples and histograms; exemplars do not count.
    pub fn timestamps(&self) -> Option<TimestampBounds> {
        self.timestamps
    }

    /// Tells whether time goes strictly forward through the samples, and through the histograms.
    pub fn is_in_time_order(&self) -> bool {
        self.in_order
    }

    /// The constructor has walked all of it, so that no error is left to meet here.
    fn fields_of(&self, number: u32) -> impl Iterator<Item = Field<'a>> + use<'a> {
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

    /// The form that every encoder writes: name, value, each shorter than 128 bytes.
    #[inline]
    fn canonical(message: &'a [u8]) -> Option<Self> {
        let [0x0a, name_length @ 0..0x80, rest @ ..] = message else { return None };
        let (name, rest) = rest.split_at_checked(usize::from(*name_length))?;
        let [0x12, value_length @ 0..0x80, value @ ..] = rest else { return None };
        (value.len() == usize::from(*value_length)).then_some(Self { name, value })
    }

    /// Of a field that stands twice the last one counts, as in any protobuf decoder.
    fn any_order(mut fields: Fields<'a>) -> Result<Self, DecodeError> {
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

/// A native histogram, undecoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistogramView<'a> {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The bytes of the `Histogram` message.
    pub message_bytes: &'a [u8],
}

impl<'a> HistogramView<'a> {
    fn new(field: &Field<'a>) -> Result<Self, DecodeError> {
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
}

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
    fn new(field: &Field<'a>) -> Result<Self, DecodeError> {
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

fn sample(field: &Field<'_>) -> Result<Sample, DecodeError> {
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

fn check_exemplar(field: &Field<'_>) -> Result<(), DecodeError> {
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

fn check_span(field: &Field<'_>) -> Result<(), DecodeError> {
    let mut fields = field.message()?;
    while let Some(field) = fields.next()? {
        if matches!(field.number, 1 | 2) {
            field.varint()?;
        }
    }
    Ok(())
}

// Field numbers of `WriteRequest`, `TimeSeries` and `Label` in proto/prometheus/remote.proto.
pub(super) const SERIES: u32 = 1;
pub(super) const METADATA: u32 = 3;
pub(super) const LABELS: u32 = 1;
pub(super) const SAMPLES: u32 = 2;
pub(super) const EXEMPLARS: u32 = 3;
pub(super) const HISTOGRAMS: u32 = 4;
pub(super) const LABEL_NAME: u32 = 1;
pub(super) const LABEL_VALUE: u32 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::{
        proto::prometheus::{WriteRequest, histogram, metric_metadata},
        write::strategies::{canonical_request, damaged_request, wild_request},
    };

    /// The walk and prost agree on whether the bytes are a request, and on what is in it.
    #[track_caller]
    fn check(bytes: &[u8]) {
        let unlimited = Limits { max_series: usize::MAX, max_samples: usize::MAX, ..Limits::default() };
        let walked = WriteRequestView::new(bytes).summary(&unlimited);
        let decoded = WriteRequest::decode(bytes);
        match (walked, decoded) {
            (Ok(summary), Ok(decoded)) => compare(bytes, &summary, &decoded),
            (Err(_), Err(_)) => {}
            (walked, decoded) => panic!("walk says {walked:?}, prost says {decoded:?}, of {bytes:02x?}"),
        }
    }

    #[track_caller]
    fn compare(bytes: &[u8], summary: &Summary, decoded: &WriteRequest) {
        assert_eq!(summary.series, decoded.timeseries.len());
        assert_eq!(summary.metadata, decoded.metadata.len());
        let mut bounds = None;
        for (view, series) in WriteRequestView::new(bytes).series().zip(&decoded.timeseries) {
            let view = view.unwrap();
            let labels: Vec<_> =
                series.labels.iter().map(|l| LabelView { name: &l.name, value: &l.value }).collect();
            assert_eq!(view.labels().collect::<Vec<_>>(), labels);
            assert_eq!(view.label_count(), labels.len());
            let samples: Vec<_> = series.samples.iter().map(|s| Sample::new(s.timestamp, s.value)).collect();
            assert_eq!(view.samples().collect::<Vec<_>>(), samples);
            assert_eq!(view.sample_count(), samples.len());
            let histograms: Vec<_> = series.histograms.iter().map(|h| h.timestamp).collect();
            assert_eq!(view.histograms().map(|h| h.timestamp_ms).collect::<Vec<_>>(), histograms);
            assert_eq!(view.exemplar_count(), series.exemplars.len());
            let times = samples.iter().map(|s| s.timestamp_ms).chain(histograms);
            times.for_each(|time| TimestampBounds::include(&mut bounds, time));
        }
        assert_eq!(summary.timestamps, bounds);
        assert_eq!(summary.samples, decoded.timeseries.iter().map(|s| s.samples.len()).sum::<usize>());
    }

    proptest! {
        #[test]
        fn agrees_with_prost_on_canonical_requests(bytes in canonical_request()) {
            prop_assert!(WriteRequest::decode(&bytes[..]).is_ok());
            check(&bytes);
        }

        #[test]
        fn agrees_with_prost_on_wild_requests(bytes in wild_request()) {
            prop_assert!(WriteRequest::decode(&bytes[..]).is_ok());
            check(&bytes);
        }

        #[test]
        fn agrees_with_prost_on_damaged_requests(bytes in damaged_request()) {
            check(&bytes);
        }

        #[test]
        fn agrees_with_prost_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            check(&bytes);
        }
    }

    #[test]
    fn an_error_names_its_place_and_series() {
        // Two empty series, then one whose label runs over the end.
        let bytes = [0x0a, 0, 0x0a, 0, 0x0a, 2, 0x0a, 9];
        let error = WriteRequestView::new(&bytes).summary(&Limits::default()).unwrap_err();
        assert_eq!(error, DecodeError { kind: DecodeErrorKind::Truncated, offset: 8, series: Some(2) });
        assert_eq!(error.to_string(), "message ends inside a field at byte 8 (series 2)");
    }

    #[test]
    fn counts_up_to_the_limit_of_series_and_not_over_it() {
        let bytes = [0x0a, 0, 0x0a, 0];
        let view = WriteRequestView::new(&bytes);
        let at = Limits { max_series: 2, ..Limits::default() };
        assert_eq!(view.summary(&at).unwrap().series, 2);
        let over = view.summary(&Limits { max_series: 1, ..at }).unwrap_err();
        assert_eq!(over.kind, DecodeErrorKind::TooManySeries { limit: 1 });
        assert_eq!(over.series, Some(1));
    }

    #[test]
    fn reads_metadata() {
        let request = WriteRequest {
            timeseries: vec![],
            metadata: vec![crate::proto::prometheus::MetricMetadata {
                r#type: metric_metadata::MetricType::Gauge.into(),
                metric_family_name: b"up".to_vec(),
                help: b"whether it is up".to_vec(),
                unit: b"".to_vec(),
            }],
        };
        let bytes = request.encode_to_vec();
        let entries: Vec<_> = WriteRequestView::new(&bytes).entries().collect::<Result<_, _>>().unwrap();
        let [Entry::Metadata(metadata)] = &entries[..] else { panic!("one metadata entry") };
        assert_eq!(
            (metadata.metric_type, metadata.family, metadata.help),
            (2, &b"up"[..], &b"whether it is up"[..])
        );
        assert_eq!(metadata.field, 0..bytes.len());
    }

    #[test]
    fn float_histograms_are_seen() {
        let mut request = WriteRequest::default();
        let mut series = crate::proto::prometheus::TimeSeries::default();
        series.histograms.push(crate::proto::prometheus::Histogram {
            count: Some(histogram::Count::CountFloat(1.5)),
            timestamp: -5,
            ..Default::default()
        });
        request.timeseries.push(series);
        check(&request.encode_to_vec());
    }
}
