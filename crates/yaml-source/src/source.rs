//! The text of one file, and places in it.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, OnceLock},
};

/// A YAML text with the name that diagnostics show for it.
///
/// A clone is cheap (the text is shared). A byte-order mark at the beginning is dropped: offsets count from the
/// first byte after it. Line breaks may be `\n`, `\r\n` or `\r`.
#[derive(Clone)]
pub struct Source {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    text: String,
    /// Byte offset at which each line begins; built when a line is first asked for.
    line_starts: OnceLock<Vec<usize>>,
}

impl Source {
    /// Creates a source; `name` is usually the path as the user wrote it. Nothing is read from disk.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        Self { inner: Arc::new(Inner { name: name.into(), text, line_starts: OnceLock::new() }) }
    }

    /// Returns the name shown in diagnostics.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns the text without a byte-order mark.
    pub fn text(&self) -> &str {
        &self.inner.text
    }

    /// Returns the line with this 1-based number, without its line break.
    pub fn line(&self, number: usize) -> Option<&str> {
        let starts = self.line_starts();
        let start = *starts.get(number.checked_sub(1)?)?;
        let end = starts.get(number).copied().unwrap_or(self.text().len());
        Some(self.text().get(start..end)?.trim_end_matches(['\n', '\r']))
    }

    /// Returns the position of a byte offset; an offset past the end, or inside a character, is moved back to the
    /// nearest place that exists. Costs the length of the line.
    pub fn position(&self, offset: usize) -> Position {
        let mut offset = offset.min(self.text().len());
        while !self.text().is_char_boundary(offset) {
            offset -= 1;
        }
        let starts = self.line_starts();
        let line = starts.partition_point(|start| *start <= offset);
        let line_start = starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.text().get(line_start..offset).map_or(0, |before| before.chars().count());
        Position { offset, line, column: column + 1 }
    }

    /// Returns the span of a byte range of this source.
    pub fn span(&self, range: Range<usize>) -> Span {
        let start = self.position(range.start);
        let end = self.position(range.end.max(range.start));
        Span { source: self.clone(), start, end }
    }

    fn line_starts(&self) -> &[usize] {
        self.inner.line_starts.get_or_init(|| {
            let bytes = self.inner.text.as_bytes();
            let breaks = bytes.iter().enumerate().filter(|(index, byte)| {
                **byte == b'\n' || (**byte == b'\r' && bytes.get(index + 1) != Some(&b'\n'))
            });
            std::iter::once(0).chain(breaks.map(|(index, _)| index + 1)).collect()
        })
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner) || (self.name() == other.name() && self.text() == other.text())
    }
}

impl Eq for Source {}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Source({:?}, {} bytes)", self.name(), self.text().len())
    }
}

/// A place in a text: the byte offset, and the line and column (in characters), both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Bytes before this place.
    pub offset: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// A half-open range of a [`Source`].
#[derive(Clone, PartialEq, Eq)]
pub struct Span {
    pub(crate) source: Source,
    /// First place of the range.
    pub start: Position,
    /// First place after the range.
    pub end: Position,
}

impl Span {
    /// Returns the source that the span lies in.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Returns the range in bytes.
    pub fn bytes(&self) -> Range<usize> {
        self.start.offset..self.end.offset
    }

    /// Returns the text of the span as it stands in the source (with quotes, if it has some).
    pub fn text(&self) -> &str {
        self.source.text().get(self.bytes()).unwrap_or("")
    }

    /// Returns a smaller span inside this one: `range` counts bytes from this span's start and is cut at its end.
    pub fn within(&self, range: Range<usize>) -> Self {
        let at = |offset: usize| self.start.offset.saturating_add(offset).min(self.end.offset);
        self.source.span(at(range.start)..at(range.end))
    }

    /// Returns `name:line:column` of the start.
    pub fn location(&self) -> String {
        format!("{}:{}:{}", self.source.name(), self.start.line, self.start.column)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}:{}", self.location(), self.end.line, self.end.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_with_any_line_break() {
        let source = Source::new("x", "\u{feff}a\r\nü=b\rc\n");
        assert_eq!(source.line(1), Some("a"));
        assert_eq!(source.line(2), Some("ü=b"));
        assert_eq!(source.line(3), Some("c"));
        assert_eq!(source.line(4), Some(""));
        assert_eq!(source.line(5), None);
        assert_eq!(source.line(0), None);
        let at_b = source.text().find('b').map(|offset| source.position(offset));
        assert_eq!(at_b, Some(Position { offset: 6, line: 2, column: 3 }));
        assert_eq!(source.position(4).column, 1, "inside a character is moved back");
        assert_eq!(source.position(1000).line, 4);
    }

    #[test]
    fn spans_within_are_cut() {
        let source = Source::new("x", "abcdef");
        assert_eq!(source.span(1..4).within(1..100).text(), "cd");
        assert_eq!(source.span(1..4).location(), "x:1:2");
    }
}
