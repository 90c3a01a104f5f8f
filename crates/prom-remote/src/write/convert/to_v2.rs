//! From 1.0 to 2.0.

use std::collections::HashMap;

use super::{ConversionReport, LossKind, to_v1::family};
use crate::{
    DecodeError, DecodeErrorKind, Limits, MetadataView, SeriesView, WriteRequestView,
    wire::{Field, put_bytes},
    write::{
        v2::{self, Interner},
        view::{self, Entry, LabelView},
    },
};

/// Converts a 1.0 request to 2.0, which is shorter for all but the smallest requests; `output` is replaced.
///
/// Samples and histograms keep all their bytes, unknown fields included, but for one that would become the start
/// timestamp of 2.0: it is left out and reported. A series with samples and histograms becomes
/// two, as 2.0 wants it. Metadata goes to every series of its metric family.
///
/// # Errors
/// Malformed bytes, or more than the limits allow.
pub fn convert_to_v2(
    request: &[u8],
    limits: &Limits,
    output: &mut Vec<u8>,
) -> Result<ConversionReport, DecodeError> {
    let view = WriteRequestView::new(request);
    let mut conversion = Conversion {
        families: read_metadata(&view, limits)?,
        symbols: Interner::default(),
        series: Vec::new(),
        report: ConversionReport::default(),
    };
    for entry in view.entries() {
        match entry? {
            Entry::Series(series) => {
                conversion.series(&series, limits).map_err(|error| error.in_series(series.index()))?;
            }
            Entry::Metadata(_) => {}
            Entry::Unknown(_) => conversion.report.lose(LossKind::UnknownFields, 1, None),
        }
    }
    let Conversion { families, symbols, series, mut report } = conversion;
    let unused = families.values().filter(|family| !family.is_used).count();
    report.lose(LossKind::MetadataWithoutSeries, unused, None);
    *output = symbols.encoded;
    output.extend_from_slice(&series);
    Ok(report)
}

struct Family<'a> {
    metadata: MetadataView<'a>,
    is_used: bool,
}

/// The last entry of a family counts.
fn read_metadata<'a>(
    view: &WriteRequestView<'a>,
    limits: &Limits,
) -> Result<HashMap<&'a [u8], Family<'a>>, DecodeError> {
    let mut families = HashMap::new();
    for entry in view.entries() {
        if let Entry::Metadata(metadata) = entry? {
            if families.len() >= limits.max_series {
                let kind = DecodeErrorKind::TooManySeries { limit: limits.max_series };
                return Err(DecodeError::new(kind, metadata.field.start));
            }
            families.insert(metadata.family, Family { metadata, is_used: false });
        }
    }
    Ok(families)
}

struct Conversion<'a> {
    families: HashMap<&'a [u8], Family<'a>>,
    symbols: Interner,
    /// The series written so far.
    series: Vec<u8>,
    report: ConversionReport,
}

impl Conversion<'_> {
    fn series(&mut self, series: &SeriesView<'_>, limits: &Limits) -> Result<(), DecodeError> {
        let error = |kind| DecodeError::new(kind, series.byte_range().start);
        if series.index() >= limits.max_series {
            return Err(error(DecodeErrorKind::TooManySeries { limit: limits.max_series }));
        }
        let samples = self.report.samples + self.report.histograms;
        if samples + series.sample_count() + series.histogram_count() > limits.max_samples {
            return Err(error(DecodeErrorKind::TooManySamples { limit: limits.max_samples }));
        }
        if series.label_count() > limits.max_labels_per_series {
            return Err(error(DecodeErrorKind::TooManyLabels { limit: limits.max_labels_per_series }));
        }
        let mut labels = Vec::new();
        let pairs = series.labels().map(|LabelView { name, value }| (name, value));
        v2::put_refs(&mut labels, &mut self.symbols, pairs);
        let mut unknown = series.unknown_field_count();
        let mut samples = Vec::new();
        for field in series.fields_of(view::SAMPLES) {
            unknown += put_without(&mut samples, v2::SAMPLES as u8, &field, START_OF_SAMPLE)?;
        }
        let mut histograms = Vec::new();
        for field in series.fields_of(view::HISTOGRAMS) {
            unknown += put_without(&mut histograms, v2::HISTOGRAMS as u8, &field, START_OF_HISTOGRAM)?;
        }
        let mut exemplars = Vec::new();
        for field in series.fields_of(view::EXEMPLARS) {
            let mut message = Vec::new();
            self.put_exemplar(&mut message, &field)?;
            put_bytes(&mut exemplars, v2::EXEMPLARS as u8, &message);
        }
        let mut metadata = Vec::new();
        self.put_metadata(&mut metadata, series);
        self.report.lose(LossKind::UnknownFields, unknown, Some(series.index()));
        self.report.samples += series.sample_count();
        self.report.histograms += series.histogram_count();
        self.report.exemplars += series.exemplar_count();
        if samples.is_empty() || histograms.is_empty() {
            self.put_series(&[&labels, &samples, &histograms, &exemplars, &metadata]);
        } else {
            self.put_series(&[&labels, &samples, &exemplars, &metadata]);
            self.put_series(&[&labels, &histograms, &metadata]);
        }
        if self.symbols.len() > limits.max_symbols {
            return Err(error(DecodeErrorKind::TooManySymbols { limit: limits.max_symbols }));
        }
        Ok(())
    }

    fn put_series(&mut self, pieces: &[&[u8]]) {
        self.report.series += 1;
        put_bytes(&mut self.series, v2::SERIES as u8, &pieces.concat());
    }

    fn put_exemplar(&mut self, output: &mut Vec<u8>, exemplar: &Field<'_>) -> Result<(), DecodeError> {
        let mut sample = crate::Sample { timestamp_ms: 0, value_bits: 0 };
        let mut labels = Vec::new();
        let mut fields = exemplar.message()?;
        while let Some(field) = fields.next()? {
            match field.number {
                1 => {
                    let LabelView { name, value } = LabelView::new(&field)?;
                    labels.push((name, value));
                }
                2 => sample.value_bits = field.fixed64()?,
                3 => sample.timestamp_ms = field.varint()? as i64,
                _ => {}
            }
        }
        v2::put_exemplar(output, &mut self.symbols, labels, sample);
        Ok(())
    }

    fn put_metadata(&mut self, output: &mut Vec<u8>, series: &SeriesView<'_>) {
        if self.families.is_empty() {
            return;
        }
        let Some(name) = series.label(b"__name__") else { return };
        // A counter, a histogram, a summary: each may have cut something off the name.
        let of_type = |metric_type: i32| {
            let family = family(name, metric_type);
            self.families
                .get(family)
                .filter(|known| family == name || known.metadata.metric_type == metric_type)?;
            Some(family)
        };
        let Some(family) = [0, 3, 4, 5].into_iter().find_map(of_type) else { return };
        let Some(Family { metadata, is_used }) = self.families.get_mut(family) else { return };
        *is_used = true;
        let (metric_type, help, unit) = (metadata.metric_type, metadata.help, metadata.unit);
        v2::put_metadata(output, &mut self.symbols, metric_type, help, unit);
    }
}

/// Writes a message without the fields of this number, which 1.0 does not know and 2.0 gives a meaning; returns how many
/// there were.
fn put_without(output: &mut Vec<u8>, tag: u8, field: &Field<'_>, number: u32) -> Result<usize, DecodeError> {
    let whole = field.bytes()?;
    let mut without: Option<Vec<u8>> = None;
    let mut count = 0;
    let mut fields = field.message()?;
    while let Some(inner) = fields.next()? {
        if inner.number == number {
            without.get_or_insert_with(|| whole.get(..inner.start).unwrap_or_default().to_vec());
            count += 1;
        } else if let Some(kept) = &mut without {
            kept.extend_from_slice(whole.get(inner.start..inner.end).unwrap_or_default());
        }
    }
    put_bytes(output, tag, without.as_deref().unwrap_or(whole));
    Ok(count)
}

/// `start_timestamp` of the messages of 2.0.
const START_OF_SAMPLE: u32 = 3;
const START_OF_HISTOGRAM: u32 = 17;
