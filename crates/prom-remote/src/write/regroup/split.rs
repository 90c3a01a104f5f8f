//! One request as several.

use crate::{
    DecodeError, Entry, EntryV2, Limits, SeriesV2View, SeriesView, WriteRequestV2View, WriteRequestView,
    wire::put_bytes,
    write::{
        v2::{self, InternedSeries, Interner},
        view,
    },
};

/// How large each part of a request may be. By default there are no bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitSize {
    /// The most series in a part.
    pub max_series: usize,
    /// The most samples and histograms in a part.
    pub max_samples: usize,
    /// The longest part, in bytes before compression.
    pub max_bytes: usize,
}

impl Default for SplitSize {
    fn default() -> Self {
        Self { max_series: usize::MAX, max_samples: usize::MAX, max_bytes: usize::MAX }
    }
}

/// What a split made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SplitReport {
    /// How many parts.
    pub parts: usize,
    /// Parts that are over the size because they hold one thing that cannot be cut: a single sample, histogram,
    /// exemplar, metadata entry or unknown field, or a series with unknown fields.
    pub oversized: usize,
}

/// Splits a 1.0 request into parts of a size; `part` is called with each, in their order.
///
/// Everything is in exactly one part, byte for byte and in its order. A series that is too large for a part is cut
/// between its samples, and each piece has all its labels. One part is held at a time.
///
/// # Errors
/// Malformed bytes; parts before them have been given out by then.
pub fn split(request: &[u8], size: &SplitSize, part: impl FnMut(&[u8])) -> Result<SplitReport, DecodeError> {
    let mut parts = Parts { size, give: part, report: SplitReport::default(), part: Part::default() };
    for entry in WriteRequestView::new(request).entries() {
        let (place, count) = match entry? {
            Entry::Series(series) => {
                let count = series.sample_count() + series.histogram_count();
                let is_small = parts.can_be_whole(series.byte_range().len(), count);
                if !is_small && series.unknown_field_count() == 0 {
                    parts.cut(&series)?;
                    continue;
                }
                (series.byte_range(), Some(count))
            }
            Entry::Metadata(metadata) => (metadata.field, None),
            Entry::Unknown(unknown) => (unknown.field, None),
        };
        parts.add(request.get(place).unwrap_or_default(), count);
    }
    Ok(parts.finish())
}

struct Parts<'a, Give> {
    size: &'a SplitSize,
    give: Give,
    report: SplitReport,
    part: Part,
}

#[derive(Default)]
struct Part {
    bytes: Vec<u8>,
    series: usize,
    samples: usize,
}

impl<Give: FnMut(&[u8])> Parts<'_, Give> {
    fn can_be_whole(&self, length: usize, samples: usize) -> bool {
        length <= self.size.max_bytes && samples <= self.size.max_samples
    }

    /// Adds a field of the request: a series with its number of samples, or another.
    fn add(&mut self, field: &[u8], samples: Option<usize>) {
        let (series, samples) = (usize::from(samples.is_some()), samples.unwrap_or(0));
        let is_full = self.part.bytes.len() + field.len() > self.size.max_bytes
            || self.part.series + series > self.size.max_series
            || self.part.samples + samples > self.size.max_samples;
        if is_full {
            self.give();
        }
        self.part.bytes.extend_from_slice(field);
        self.part.series += series;
        self.part.samples += samples;
    }

    fn give(&mut self) {
        let part = std::mem::take(&mut self.part);
        if part.bytes.is_empty() {
            return;
        }
        let is_over = part.bytes.len() > self.size.max_bytes
            || part.samples > self.size.max_samples
            || part.series > self.size.max_series;
        self.report.parts += 1;
        self.report.oversized += usize::from(is_over);
        (self.give)(&part.bytes);
    }

    fn finish(mut self) -> SplitReport {
        self.give();
        self.report
    }

    /// Adds a series in pieces that each fit into a part.
    fn cut(&mut self, series: &SeriesView<'_>) -> Result<(), DecodeError> {
        let mut labels = Vec::new();
        for field in series.fields_of(view::LABELS) {
            put_bytes(&mut labels, view::LABELS as u8, field.bytes()?);
        }
        let mut content = Vec::new();
        for number in [view::SAMPLES, view::HISTOGRAMS, view::EXEMPLARS] {
            for field in series.fields_of(number) {
                let mut bytes = Vec::new();
                put_bytes(&mut bytes, number as u8, field.bytes()?);
                content.push((bytes, usize::from(number != view::EXEMPLARS)));
            }
        }
        for (body, samples) in pieces(self.size, &labels, &content, labels.len() + MAX_HEADER) {
            let mut field = Vec::new();
            put_bytes(&mut field, view::SERIES as u8, &body);
            self.add(&field, Some(samples));
        }
        Ok(())
    }
}

/// Cuts the content of a series into bodies that fit a part of which `overhead` bytes are taken.
fn pieces<'a>(
    size: &SplitSize,
    labels: &'a [u8],
    content: &'a [(Vec<u8>, usize)],
    overhead: usize,
) -> impl Iterator<Item = (Vec<u8>, usize)> + use<'a> {
    let room = size.max_bytes.saturating_sub(overhead);
    let max_samples = size.max_samples;
    let mut rest = content.iter().peekable();
    let mut is_first = true;
    std::iter::from_fn(move || {
        if rest.peek().is_none() && !is_first {
            return None;
        }
        is_first = false;
        let mut body = labels.to_vec();
        let (mut samples, mut length) = (0, 0);
        while let Some((field, count)) = rest.next_if(|(field, count)| {
            length == 0 || (length + field.len() <= room && samples + count <= max_samples)
        }) {
            body.extend_from_slice(field);
            length += field.len();
            samples += count;
        }
        Some((body, samples))
    })
}

/// Splits a 2.0 request into parts of a size; `part` is called with each, in their order.
///
/// Each part has the symbols that it uses, under new numbers. If the request has unknown fields (which might refer to
/// symbols), each part has all symbols under their numbers, and the unknown fields of the request stand in the first
/// part; series are then not cut.
///
/// # Errors
/// Malformed bytes, label references that are not pairs of symbols, or more symbols than the limits allow; parts
/// before them have been given out by then.
pub fn split_v2(
    request: &[u8],
    limits: &Limits,
    size: &SplitSize,
    part: impl FnMut(&[u8]),
) -> Result<SplitReport, DecodeError> {
    let view = WriteRequestV2View::new(request, limits)?;
    let mut has_unknown = false;
    for entry in view.entries() {
        has_unknown |= match entry? {
            EntryV2::Symbol(_) => false,
            EntryV2::Series(series) => v2::has_unknown_fields(&series),
            EntryV2::Unknown(_) => true,
        };
    }
    if has_unknown {
        split_with_all_symbols(request, &view, size, part)
    } else {
        split_interned(&view, size, part)
    }
}

fn split_with_all_symbols(
    request: &[u8],
    view: &WriteRequestV2View<'_>,
    size: &SplitSize,
    mut part: impl FnMut(&[u8]),
) -> Result<SplitReport, DecodeError> {
    let (mut symbols, mut unknown) = (Vec::new(), Vec::new());
    for entry in view.entries() {
        match entry? {
            EntryV2::Symbol(symbol) => put_bytes(&mut symbols, v2::SYMBOLS as u8, symbol),
            EntryV2::Series(_) => {}
            EntryV2::Unknown(field) => {
                unknown.extend_from_slice(request.get(field.field).unwrap_or_default());
            }
        }
    }
    let room = SplitSize { max_bytes: size.max_bytes.saturating_sub(symbols.len()), ..*size };
    let mut whole = Vec::new();
    let with_symbols = |series: &[u8]| {
        whole.clear();
        whole.extend_from_slice(&symbols);
        whole.extend_from_slice(series);
        part(&whole);
    };
    let mut parts =
        Parts { size: &room, give: with_symbols, report: SplitReport::default(), part: Part::default() };
    if !unknown.is_empty() {
        parts.add(&unknown, None);
    }
    for series in view.series() {
        let series = series?;
        let samples = series.sample_count() + series.histogram_count();
        parts.add(request.get(series.byte_range()).unwrap_or_default(), Some(samples));
    }
    Ok(parts.finish())
}

fn split_interned(
    view: &WriteRequestV2View<'_>,
    size: &SplitSize,
    mut part: impl FnMut(&[u8]),
) -> Result<SplitReport, DecodeError> {
    let mut current = InternedPart::default();
    let mut report = SplitReport::default();
    for series in view.series() {
        let series = series?;
        if current.try_add(&series, view, size)? {
            continue;
        }
        current.give(size, &mut report, &mut part);
        if current.try_add(&series, view, size)? {
            continue;
        }
        // Too large for any part: in pieces, each of which begins a part.
        let mut probe = Interner::default();
        let InternedSeries { labels, content, metadata } =
            InternedSeries::new(&series, view.symbols(), &mut probe)?;
        let overhead = probe.encoded.len() + labels.len() + metadata.len() + MAX_HEADER;
        let head = [&labels[..], &metadata].concat();
        for (body, samples) in pieces(size, &head, &content, overhead) {
            current.give(size, &mut report, &mut part);
            current.symbols = probe.clone();
            put_bytes(&mut current.series, v2::SERIES as u8, &body);
            (current.series_count, current.samples) = (1, samples);
        }
    }
    current.give(size, &mut report, &mut part);
    Ok(report)
}

/// A part with a table of symbols of its own.
#[derive(Default)]
struct InternedPart {
    symbols: Interner,
    series: Vec<u8>,
    series_count: usize,
    samples: usize,
}

impl InternedPart {
    /// Adds the series if the part has room for it.
    fn try_add<'a>(
        &mut self,
        series: &SeriesV2View<'a>,
        view: &WriteRequestV2View<'a>,
        size: &SplitSize,
    ) -> Result<bool, DecodeError> {
        let before = (self.symbols.len(), self.symbols.encoded.len(), self.series.len());
        let InternedSeries { labels, content, metadata } =
            InternedSeries::new(series, view.symbols(), &mut self.symbols)?;
        let samples: usize = content.iter().map(|(_, count)| count).sum();
        let content: Vec<u8> = content.into_iter().flat_map(|(field, _)| field).collect();
        put_bytes(&mut self.series, v2::SERIES as u8, &[labels, content, metadata].concat());
        let has_room = self.symbols.encoded.len() + self.series.len() <= size.max_bytes
            && self.series_count < size.max_series
            && self.samples + samples <= size.max_samples;
        if has_room {
            self.series_count += 1;
            self.samples += samples;
        } else {
            self.symbols.truncate(before.0, before.1);
            self.series.truncate(before.2);
        }
        Ok(has_room)
    }

    fn give(&mut self, size: &SplitSize, report: &mut SplitReport, part: &mut impl FnMut(&[u8])) {
        let Self { symbols, series, series_count, samples } = std::mem::take(self);
        if series_count == 0 {
            return;
        }
        let mut bytes = symbols.encoded;
        bytes.extend_from_slice(&series);
        let is_over =
            bytes.len() > size.max_bytes || samples > size.max_samples || series_count > size.max_series;
        report.parts += 1;
        report.oversized += usize::from(is_over);
        part(&bytes);
    }
}

/// The key of a series and the longest length.
const MAX_HEADER: usize = 11;
