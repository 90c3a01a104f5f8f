//! A borrowed walk over a 2.0 request.

use super::{SERIES, SYMBOLS, SeriesV2View, SymbolTable, scan::SeriesV2Scanner};
use crate::{DecodeError, Limits, UnknownFieldView, wire::Fields, write::view::Summary};

/// A decoded (no longer compressed) `io.prometheus.write.v2.Request`, borrowed: one table of symbols, nothing else
/// copied or allocated.
///
/// The walk accepts exactly what a protobuf decoder accepts, except that symbols may hold any bytes.
#[derive(Debug, Clone)]
pub struct WriteRequestV2View<'a> {
    bytes: &'a [u8],
    symbols: SymbolTable<'a>,
}

impl<'a> WriteRequestV2View<'a> {
    /// Reads the symbols; the series are checked while walking.
    ///
    /// # Errors
    /// Malformed bytes at the level of the request, or more symbols than [`Limits::max_symbols`].
    pub fn new(bytes: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        Ok(Self { bytes, symbols: SymbolTable::read(bytes, limits)? })
    }

    /// Returns the symbols.
    pub fn symbols(&self) -> &SymbolTable<'a> {
        &self.symbols
    }

    /// Walks everything in the request in the order of the wire.
    ///
    /// After the first error the walk ends.
    pub fn entries(&self) -> EntriesV2<'a> {
        EntriesV2 { fields: Some(Fields::new(self.bytes)), next_series: 0 }
    }

    /// Walks the series of the request.
    pub fn series(&self) -> impl Iterator<Item = Result<SeriesV2View<'a>, DecodeError>> + use<'a> {
        self.entries().filter_map(|entry| match entry {
            Ok(EntryV2::Series(series)) => Some(Ok(series)),
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
        let mut scanner = SeriesV2Scanner::new(&self.symbols);
        let mut fields = Fields::new(self.bytes);
        while let Some(field) = fields.next()? {
            match field.number {
                SERIES => {
                    let scanned = field.bytes().ok().and_then(|body| scanner.scan(body, limits));
                    if scanned.is_some() {
                        summary.metadata += usize::from(scanner.has_metadata());
                        summary.include_content(scanner.content(), field.start, limits)?;
                    } else {
                        let series = SeriesV2View::new(&field, summary.series)?;
                        summary.include_series_v2(&series, limits)?;
                    }
                }
                SYMBOLS => {}
                _ => summary.unknown_fields += 1,
            }
        }
        Ok(summary)
    }
}

impl Summary {
    /// Counts one more series of 2.0.
    pub(crate) fn include_series_v2(
        &mut self,
        series: &SeriesV2View<'_>,
        limits: &Limits,
    ) -> Result<(), DecodeError> {
        self.metadata += usize::from(series.metadata().is_some());
        self.include_content(series.content(), series.byte_range().start, limits)
    }
}

/// Walks the entries of a 2.0 request; see [`WriteRequestV2View::entries`].
#[derive(Debug, Clone)]
pub struct EntriesV2<'a> {
    fields: Option<Fields<'a>>,
    next_series: usize,
}

/// One field of a 2.0 request.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EntryV2<'a> {
    /// A symbol (field 4).
    Symbol(&'a [u8]),
    /// A series (field 5).
    Series(SeriesV2View<'a>),
    /// A field that this crate does not know; it is well formed and is kept by every edit.
    Unknown(UnknownFieldView),
}

impl<'a> EntriesV2<'a> {
    fn next_entry(&mut self) -> Result<Option<EntryV2<'a>>, DecodeError> {
        let Some(fields) = &mut self.fields else { return Ok(None) };
        let Some(field) = fields.next()? else { return Ok(None) };
        let entry = match field.number {
            SYMBOLS => EntryV2::Symbol(field.bytes()?),
            SERIES => {
                let series = SeriesV2View::new(&field, self.next_series)?;
                self.next_series += 1;
                EntryV2::Series(series)
            }
            number => EntryV2::Unknown(UnknownFieldView { number, field: field.start..field.end }),
        };
        Ok(Some(entry))
    }
}

impl<'a> Iterator for EntriesV2<'a> {
    type Item = Result<EntryV2<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.next_entry();
        if entry.is_err() {
            self.fields = None;
        }
        entry.transpose()
    }
}
