//! Symbols that an edit adds to a request.

use std::collections::HashMap;

use super::{SYMBOLS, SymbolTable};
use crate::wire::put_bytes;

/// The symbols of a request and those that an edit appends behind its last one: no reference changes its meaning.
pub(crate) struct AppendedSymbols<'a> {
    /// What was asked for so far.
    numbers: HashMap<Vec<u8>, u32>,
    /// Where the symbols of the request are, once several were asked for.
    known: Option<HashMap<&'a [u8], u32>>,
    count: usize,
    /// As fields of the request, not yet in the output.
    pending: Vec<u8>,
    /// Where in the output they go, once that is known.
    place: Option<usize>,
}

impl<'a> AppendedSymbols<'a> {
    pub(crate) fn new(symbols: &SymbolTable<'a>) -> Self {
        let place = symbols.is_empty().then_some(0);
        Self { numbers: HashMap::new(), known: None, count: 0, pending: Vec::new(), place }
    }

    /// Says that the last symbol of the request is the last thing in the output.
    pub(crate) fn set_place(&mut self, output: &mut Vec<u8>) {
        self.place = Some(output.len());
        self.flush(output);
    }

    /// Puts the symbols where they belong, if that is known.
    pub(crate) fn flush(&mut self, output: &mut Vec<u8>) {
        let Some(place) = self.place else { return };
        if !self.pending.is_empty() {
            self.place = Some(place + self.pending.len());
            output.splice(place..place, self.pending.drain(..));
        }
    }

    /// The number of a symbol, which is appended if the request does not have it.
    pub(crate) fn number(&mut self, bytes: &[u8], symbols: &SymbolTable<'a>) -> u32 {
        if let Some(&number) = self.numbers.get(bytes) {
            return number;
        }
        let number = self.find(bytes, symbols).unwrap_or_else(|| {
            if symbols.is_empty() && self.count == 0 {
                // The first symbol must be the empty one.
                self.append(b"");
            }
            let number = symbols.len() + self.count;
            self.append(bytes);
            u32::try_from(number).unwrap_or(u32::MAX)
        });
        self.numbers.insert(bytes.to_vec(), number);
        number
    }

    fn find(&mut self, bytes: &[u8], symbols: &SymbolTable<'a>) -> Option<u32> {
        if self.numbers.len() < FEW {
            return symbols.find(bytes);
        }
        let known = self.known.get_or_insert_with(|| {
            let mut known = HashMap::with_capacity(symbols.len());
            for (number, symbol) in (0..).zip(symbols.iter()) {
                known.entry(symbol).or_insert(number);
            }
            known
        });
        known.get(bytes).copied()
    }

    fn append(&mut self, bytes: &[u8]) {
        self.count += 1;
        put_bytes(&mut self.pending, SYMBOLS as u8, bytes);
    }
}

/// So many symbols are found sooner by walking through all than by making an index.
const FEW: usize = 8;
