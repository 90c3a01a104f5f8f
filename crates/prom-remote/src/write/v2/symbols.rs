//! The table of symbols of one request.

use super::{SERIES, SYMBOLS};
use crate::{DecodeError, DecodeErrorKind, Limits, wire::Fields, write::judge::is_utf8};

/// The symbols of a remote-write 2.0 request, borrowed; labels refer to them by their numbers.
///
/// Memory: 24 bytes for each symbol, and at most [`Limits::max_symbols`] of them.
#[derive(Debug, Clone, Default)]
pub struct SymbolTable<'a> {
    symbols: Vec<Symbol<'a>>,
    /// Where the field of the last symbol ends in the request; 0 if there is none.
    pub(super) end: usize,
    /// Symbols behind series are among them.
    pub(super) is_complete: bool,
}

#[derive(Debug, Clone, Copy)]
struct Symbol<'a> {
    bytes: &'a [u8],
    is_clean: bool,
}

impl<'a> SymbolTable<'a> {
    /// Reads all symbols of a request, wherever they stand.
    pub(super) fn read(request: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
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
        while let Some(field) = fields.next()? {
            if Some(field.number) == stop {
                break;
            }
            if field.number != SYMBOLS {
                continue;
            }
            let bytes = field.bytes()?;
            if self.symbols.len() >= limits.max_symbols {
                let kind = DecodeErrorKind::TooManySymbols { limit: limits.max_symbols };
                return Err(DecodeError::new(kind, field.offset()));
            }
            let is_clean = !bytes.is_empty() && bytes.len() <= limits.max_label_bytes && is_utf8(bytes);
            self.symbols.push(Symbol { bytes, is_clean });
            self.end = field.end;
        }
        Ok(())
    }

    /// Returns a symbol, or `None` if there is none of this number.
    #[inline]
    pub fn get(&self, reference: u32) -> Option<&'a [u8]> {
        self.symbols.get(reference as usize).map(|symbol| symbol.bytes)
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
        self.symbols.iter().map(|symbol| symbol.bytes)
    }

    /// Whether the symbol exists and can be a label name or value: not empty, UTF-8, within the limits.
    #[inline]
    pub(super) fn is_clean(&self, reference: u32) -> bool {
        self.symbols.get(reference as usize).is_some_and(|symbol| symbol.is_clean)
    }

    /// The number of the first symbol with these bytes.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<u32> {
        let position = self.symbols.iter().position(|symbol| symbol.bytes == bytes)?;
        u32::try_from(position).ok()
    }
}
