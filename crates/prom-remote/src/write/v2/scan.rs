//! The fast walk over a 2.0 series as real senders write it; see the scanner of 1.0.

mod same_names;
mod same_widths;
mod shapes;

pub(super) use self::shapes::MAX_SHAPES;
use self::shapes::Shapes;

use super::{
    EXEMPLARS, HISTOGRAMS, LABEL_REFS, METADATA, MetadataV2View, SAMPLES, SymbolTable,
    series::{exemplar, include_metadata, sample, start_of_histogram},
};
use crate::{
    Limits,
    wire::Fields,
    write::{
        bytes::is_same,
        scan::{Content, canonical_sample, differs_in_value_only, has_value},
        view::HistogramView,
    },
};

/// Scans the series of one request, one after the other.
#[derive(Debug)]
pub(super) struct SeriesV2Scanner<'a, 's> {
    symbols: &'s SymbolTable<'a>,
    /// The series before, and its packed label references.
    body: &'a [u8],
    refs: &'a [u8],
    refs_at: usize,
    labels: Vec<KnownRefs>,
    /// For each byte of the references the label that it belongs to; empty until it is needed.
    label_of_byte: Vec<u8>,
    /// What stands behind its labels, if that is but one sample with a value and a timestamp, and perhaps known
    /// metadata; else empty.
    known_rest: &'a [u8],
    /// The same without a value, as a value of 0 is written. What holds of the one holds of the other.
    known_zero: &'a [u8],
    /// The label that was last found to differ.
    differing: usize,
    has_metric_name: bool,
    shapes: Shapes,
    /// That of the last clean series.
    shape: usize,
    /// The last clean series had the names of the one before it.
    has_same_names: bool,
    /// The last metadata whose references were found good.
    known_metadata: &'a [u8],
    has_metadata: bool,
    content: Content,
}

/// A series whose labels are clean, as in 1.0.
#[derive(Debug, Clone, Copy)]
pub(super) struct CleanSeries {
    /// Which of the remembered shapes its labels have: below [`MAX_SHAPES`], the same for the same names.
    pub(super) shape: usize,
    /// The shape was not remembered before, so the number may have meant another one.
    pub(super) is_new_shape: bool,
}

#[derive(Debug, Clone, Copy)]
struct KnownRefs {
    /// Where its references end in the packed field.
    end: usize,
    /// Where the reference of its value begins.
    value_at: usize,
    name: u32,
}

impl<'a, 's> SeriesV2Scanner<'a, 's> {
    pub(super) fn new(symbols: &'s SymbolTable<'a>) -> Self {
        Self {
            symbols,
            body: b"",
            refs: b"",
            refs_at: 0,
            labels: Vec::new(),
            label_of_byte: Vec::new(),
            known_rest: b"",
            known_zero: b"",
            differing: 0,
            has_metric_name: false,
            shapes: Shapes::default(),
            shape: 0,
            has_same_names: false,
            known_metadata: b"",
            has_metadata: false,
            content: Content::default(),
        }
    }

    /// Scans the body of a `TimeSeries`; `None` if the series is not clean or not well formed, which the slow way
    /// must then tell. Clean is: one packed field of references at its beginning, its labels clean as in 1.0, the
    /// references of its metadata good.
    #[inline]
    pub(super) fn scan(&mut self, body: &'a [u8], limits: &Limits) -> Option<CleanSeries> {
        let scanned = self.scan_known(body, limits);
        self.body = body;
        if scanned.is_none() {
            self.refs = b"";
            self.labels.clear();
            self.label_of_byte.clear();
            (self.known_rest, self.known_zero) = (b"", b"");
        }
        scanned
    }

    /// What the last clean series holds besides its labels.
    #[inline]
    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    /// Whether the last clean series has a label `__name__`.
    #[inline]
    pub(super) fn has_metric_name(&self) -> bool {
        self.has_metric_name
    }

    /// Whether the last clean series has metadata.
    #[inline]
    pub(super) fn has_metadata(&self) -> bool {
        self.has_metadata
    }

    /// The packed references of the last clean series, and what stands behind them.
    #[inline]
    pub(super) fn refs_and_rest(&self) -> (&'a [u8], &'a [u8]) {
        (self.refs, self.body.get(self.refs_at + self.refs.len()..).unwrap_or_default())
    }

    /// How many bytes the references of the last clean series take.
    #[inline]
    pub(super) fn refs_length(&self) -> usize {
        self.refs.len()
    }

    /// The last clean series from its label references on.
    #[inline]
    pub(super) fn refs_and_all(&self) -> &'a [u8] {
        self.body.get(self.refs_at..).unwrap_or_default()
    }

    /// The names of the labels of the last clean series.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a [u8]> + Clone + '_ {
        self.labels.iter().map(|label| self.symbols.get(label.name).unwrap_or_default())
    }

    /// Where the references of label `index` begin; for the number of labels, where they end.
    #[inline]
    pub(super) fn label_start(&self, index: usize) -> usize {
        index.checked_sub(1).and_then(|before| self.labels.get(before)).map_or(0, |label| label.end)
    }

    #[inline]
    fn scan_known(&mut self, body: &'a [u8], limits: &Limits) -> Option<CleanSeries> {
        let (refs, rest) = packed_refs(body)?;
        // Before the labels: a new shape is told of a clean series only, once.
        let is_known_zero = || !rest.is_empty() && rest == self.known_zero;
        if !differs_in_value_only(rest, self.known_rest) && !is_known_zero() {
            self.scan_new_content(rest)?;
        }
        let mut has_same_names = self.scan_same_widths(refs)?;
        if !has_same_names {
            self.label_of_byte.clear();
            has_same_names = self.scan_same_names(refs)?;
        }
        let mut is_new_shape = false;
        if !has_same_names {
            self.read_labels(refs, limits)?;
            let found = self.shapes.find(&self.labels, self.symbols)?;
            self.has_metric_name = found.has_metric_name;
            (self.shape, is_new_shape) = (found.slot, found.is_new);
        }
        self.has_same_names = has_same_names;
        self.refs = refs;
        self.refs_at = body.len() - rest.len() - refs.len();
        Some(CleanSeries { shape: self.shape, is_new_shape })
    }

    /// Scans what stands behind the labels, and remembers it if it is of the common form.
    #[inline]
    fn scan_new_content(&mut self, rest: &'a [u8]) -> Option<()> {
        let before = (self.content, self.has_metadata);
        let is_plain = self.scan_content(rest)?;
        if before != (self.content, self.has_metadata) {
            (self.known_rest, self.known_zero) = (b"", b"");
        }
        if !is_plain || self.content.samples != 1 {
            (self.known_rest, self.known_zero) = (b"", b"");
        } else if has_value(rest) {
            self.known_rest = rest;
        } else {
            self.known_zero = rest;
        }
        Some(())
    }

    /// Reads the labels without regard to the series before; `None` if a value is not clean, or they are too many.
    #[inline]
    fn read_labels(&mut self, refs: &[u8], limits: &Limits) -> Option<()> {
        self.labels.clear();
        let mut position = 0;
        while position < refs.len() {
            let (name, value, [name_length, length]) = read_pair(refs.get(position..)?)?;
            if self.labels.len() >= limits.max_labels_per_series || !self.symbols.is_clean(value) {
                return None;
            }
            let value_at = position + name_length;
            position += length;
            self.labels.push(KnownRefs { end: position, value_at, name });
        }
        (!self.labels.is_empty()).then_some(())
    }

    /// Tells whether there are but canonical samples and known metadata.
    #[inline]
    fn scan_content(&mut self, rest: &'a [u8]) -> Option<bool> {
        self.content = Content::default();
        self.has_metadata = false;
        let mut rest = rest;
        while let [SAMPLE_KEY, length @ 0..0x80, after @ ..] = rest {
            let (message, next) = after.split_at_checked(usize::from(*length))?;
            let Some(sample) = canonical_sample(message) else { break };
            self.content.include_sample(sample.timestamp_ms);
            rest = next;
        }
        if let [METADATA_KEY, length @ 0..0x80, after @ ..] = rest
            && after.len() == usize::from(*length)
            && self.is_good_metadata(after)
        {
            self.has_metadata = true;
            self.known_metadata = after;
            return Some(true);
        }
        if rest.is_empty() {
            return Some(true);
        }
        self.scan_any_content(rest)?;
        Some(false)
    }

    /// Whether the references of the metadata are there; not said of what no encoder writes.
    #[inline]
    fn is_good_metadata(&self, metadata: &[u8]) -> bool {
        if metadata.len() == self.known_metadata.len() && is_same(metadata, self.known_metadata) {
            return true;
        }
        canonical_metadata(metadata)
            .is_some_and(|refs| refs.iter().all(|&reference| self.symbols.get(reference).is_some()))
    }

    #[cold]
    fn scan_any_content(&mut self, rest: &'a [u8]) -> Option<()> {
        let mut metadata = MetadataV2View::default();
        let mut metadata_bytes = None;
        let mut fields = Fields::new(rest);
        while let Some(field) = fields.next().ok()? {
            match field.number {
                LABEL_REFS => return None,
                SAMPLES => self.content.include_sample(sample(&field).ok()?.sample.timestamp_ms),
                HISTOGRAMS => {
                    start_of_histogram(&field).ok()?;
                    self.content.include_histogram(HistogramView::new(&field).ok()?.timestamp_ms);
                }
                EXEMPLARS => {
                    exemplar(&field).ok()?;
                    self.content.exemplars += 1;
                }
                METADATA => {
                    include_metadata(&field, &mut metadata).ok()?;
                    if metadata_bytes.replace(field.bytes().ok()?).is_some() {
                        // In two pieces: for the slow way.
                        return None;
                    }
                }
                _ => self.content.unknown_fields += 1,
            }
        }
        if let Some(bytes) = metadata_bytes {
            self.symbols.get(metadata.help)?;
            self.symbols.get(metadata.unit)?;
            self.known_metadata = bytes;
            self.has_metadata = true;
        }
        Some(())
    }
}

/// The references of help and unit, from the form that every encoder writes: type, help, unit, what is 0 left out.
#[inline]
fn canonical_metadata(metadata: &[u8]) -> Option<[u32; 2]> {
    let mut rest = match metadata {
        [0x08, 0..0x80, rest @ ..] => rest,
        rest => rest,
    };
    let mut refs = [0; 2];
    for (key, reference) in [HELP_KEY, UNIT_KEY].into_iter().zip(&mut refs) {
        if let [first, after @ ..] = rest
            && *first == key
        {
            let (number, length) = read_ref(after)?;
            *reference = number;
            rest = after.get(length..)?;
        }
    }
    rest.is_empty().then_some(refs)
}

/// The packed references that a canonical series begins with, and the rest.
#[inline]
pub(super) fn packed_refs(body: &[u8]) -> Option<(&[u8], &[u8])> {
    match body {
        [LABEL_REFS_KEY, length @ 0..0x80, after @ ..] => after.split_at_checked(usize::from(*length)),
        [LABEL_REFS_KEY, low, high @ 0..0x80, after @ ..] => {
            after.split_at_checked(usize::from(*low & 0x7f) | usize::from(*high) << 7)
        }
        _ => None,
    }
}

/// Reads name and value, and how many bytes the name takes and both; `None` also for what no table that is allowed can
/// hold.
#[inline]
fn read_pair(bytes: &[u8]) -> Option<(u32, u32, [usize; 2])> {
    let (name, name_length) = read_ref(bytes)?;
    let (value, value_length) = read_ref(bytes.get(name_length..)?)?;
    Some((name, value, [name_length, name_length + value_length]))
}

#[inline]
pub(super) fn read_ref(bytes: &[u8]) -> Option<(u32, usize)> {
    match *bytes {
        [byte @ 0..0x80, ..] => Some((u32::from(byte), 1)),
        [low, high @ 0..0x80, ..] => Some((u32::from(low & 0x7f) | u32::from(high) << 7, 2)),
        [low, middle, high @ 0..0x80, ..] => {
            Some((u32::from(low & 0x7f) | u32::from(middle & 0x7f) << 7 | u32::from(high) << 14, 3))
        }
        _ => None,
    }
}

pub(super) const LABEL_REFS_KEY: u8 = (LABEL_REFS as u8) << 3 | 2;
const SAMPLE_KEY: u8 = (SAMPLES as u8) << 3 | 2;
const HELP_KEY: u8 = 3 << 3;
const UNIT_KEY: u8 = 4 << 3;
const METADATA_KEY: u8 = (METADATA as u8) << 3 | 2;
