//! The table of symbols of one request.

use super::{SERIES, SYMBOLS};
use crate::{
    DecodeError, DecodeErrorKind, Limits, RequestFault, ValidationReport, wire::Fields, write::judge::is_utf8,
};

/// The symbols of a remote-write 2.0 request, borrowed; labels refer to them by their numbers.
///
/// A symbol that stands there twice, against the specification, has two numbers that mean the same; that is tolerated,
/// as every receiver does, and costs nothing but its bytes.
///
/// Memory: 17 bytes for each symbol, and at most [`Limits::max_symbols`] of them.
#[derive(Debug, Clone, Default)]
pub struct SymbolTable<'a> {
    symbols: Vec<&'a [u8]>,
    /// For each symbol whether it can be a label name or value. Apart, so that it stays in the nearest memory.
    is_clean: Vec<bool>,
    pub(super) end: usize,
    /// The request has nothing but symbols up to there.
    pub(super) is_leading: bool,
    /// Symbols behind series are among them.
    pub(super) is_complete: bool,
}

impl<'a> SymbolTable<'a> {
    /// Reads all symbols of a request, wherever they stand.
    pub(crate) fn read(request: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        let mut table = Self::default();
        table.read_until(request, limits, None)?;
        Ok(table)
    }

    /// Reads the symbols up to the first series, where every encoder has them.
    pub(super) fn read_leading(request: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        let mut table = Self::default();
        table.read_until(request, limits, Some(SERIES))?;
        Ok(table)
    }

    fn read_until(
        &mut self,
        request: &'a [u8],
        limits: &Limits,
        stop: Option<u32>,
    ) -> Result<(), DecodeError> {
        let mut fields = Fields::new(request);
        let expected = (request.len() / BYTES_FOR_A_SYMBOL).min(limits.max_symbols).min(MAX_RESERVE);
        self.symbols.reserve(expected);
        self.is_clean.reserve(expected);
        self.is_leading = true;
        loop {
            let field = match fields.next_short(SYMBOL_KEY) {
                Some(field) => field,
                None => match fields.next()? {
                    Some(field) if Some(field.number) != stop => field,
                    _ => break,
                },
            };
            if field.number != SYMBOLS {
                self.is_leading = false;
                continue;
            }
            let bytes = field.bytes()?;
            if self.symbols.len() >= limits.max_symbols {
                let kind = DecodeErrorKind::TooManySymbols { limit: limits.max_symbols };
                return Err(DecodeError::new(kind, field.offset()));
            }
            let is_clean = !bytes.is_empty() && bytes.len() <= limits.max_label_bytes && is_utf8(bytes);
            self.symbols.push(bytes);
            self.is_clean.push(is_clean);
            self.end = field.end;
        }
        Ok(())
    }

    /// Returns a symbol, or `None` if there is none of this number.
    #[inline]
    pub fn get(&self, reference: u32) -> Option<&'a [u8]> {
        self.symbols.get(reference as usize).copied()
    }

    /// Returns the number of symbols.
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Tells whether there is no symbol, not even the empty one.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// Walks the symbols in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.symbols.iter().copied()
    }

    /// Where the field of the last symbol ends in the request; 0 if there is none.
    pub(crate) fn end(&self) -> usize {
        self.end
    }

    /// Whether the symbol exists and can be a label name or value: not empty, UTF-8, within the limits.
    #[inline]
    pub(super) fn is_clean(&self, reference: u32) -> bool {
        self.is_clean.get(reference as usize).copied().unwrap_or_default()
    }

    /// A report that holds but the faults of the table.
    pub(super) fn report(&self) -> ValidationReport {
        let mut report = ValidationReport::default();
        if self.symbols.first().is_some_and(|first| !first.is_empty()) {
            report.request_faults.push(RequestFault::FirstSymbolNotEmpty);
        }
        report
    }

    /// The number of the first symbol with these bytes.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<u32> {
        let position = self.symbols.iter().position(|symbol| *symbol == bytes)?;
        u32::try_from(position).ok()
    }
}

/// A request has a symbol for about so many of its bytes.
const BYTES_FOR_A_SYMBOL: usize = 64;
/// The most symbols that memory is taken for before they are there.
const MAX_RESERVE: usize = 4_096;
const SYMBOL_KEY: u8 = (SYMBOLS as u8) << 3 | 2;
