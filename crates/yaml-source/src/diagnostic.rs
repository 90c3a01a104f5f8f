//! What is wrong (or doubtful) in a text, and where.

use std::fmt;

use crate::{Span, suggest::shown};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The text cannot be used.
    Error,
    /// The text can be used, but it probably does not say what its writer meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One finding with its place.
///
/// `Display` writes `name:line:column: error: message`, the source line with a caret, the labels, and the hint. The
/// text has no final line break. Lines of the source are cut to a window around the caret, and control characters in them
/// are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong: lower case, no final period; begins with the path of keys where one is known.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What the user can do about it.
    pub hint: Option<String>,
    /// Other places that belong to the finding, such as the first of two equal keys.
    pub labels: Vec<Label>,
}

/// A second place that belongs to a diagnostic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What is there.
    pub message: String,
}

impl Diagnostic {
    /// Creates an error.
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), span, hint: None, labels: Vec::new() }
    }

    /// Creates a warning.
    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message) }
    }

    /// Adds a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a second place.
    #[must_use]
    pub fn with_label(mut self, span: Span, message: impl Into<String>) -> Self {
        self.labels.push(Label { span, message: message.into() });
        self
    }

    /// Returns the first line of the rendering: `name:line:column: error: message`.
    pub fn headline(&self) -> String {
        format!("{}: {}: {}", self.span.location(), self.severity, self.message)
    }

    /// Returns the name of the source.
    pub fn source_name(&self) -> &str {
        self.span.source().name()
    }

    fn excerpt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(line) = self.span.source.line(self.span.start.line) else { return Ok(()) };
        let number = self.span.start.line.to_string();
        let caret = self.span.start.column.saturating_sub(1);
        let skipped = caret.saturating_sub(EXCERPT_BEFORE_CARET);
        let window: String = line.chars().skip(skipped).take(EXCERPT_CHARACTERS).map(visible).collect();
        let on_one_line = self.span.end.line == self.span.start.line;
        let length = if on_one_line {
            self.span.end.column.saturating_sub(self.span.start.column)
        } else {
            line.chars().skip(caret).take(EXCERPT_CHARACTERS).count()
        };
        let room = window.chars().count().saturating_sub(caret - skipped);
        let carets = length.min(room).max(1);
        let (gap, indent) = (" ".repeat(number.len()), " ".repeat(caret - skipped));
        write!(formatter, "\n  {number} | {window}\n  {gap} | {indent}{}", "^".repeat(carets))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.headline())?;
        self.excerpt(formatter)?;
        for label in &self.labels {
            write!(formatter, "\n  {}: {}", label.span.location(), label.message)?;
        }
        match &self.hint {
            Some(hint) => write!(formatter, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Collected findings, bounded in number.
///
/// Reads as a slice. `Display` writes all in the order of their places, then a count; it is also an error type, so that a
/// function can return `Result<T, Diagnostics>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    limit: usize,
    dropped_errors: usize,
    dropped_warnings: usize,
}

impl Diagnostics {
    /// Creates an empty collection that keeps at most `limit` findings and counts the rest.
    pub fn with_limit(limit: usize) -> Self {
        Self { list: Vec::new(), limit, dropped_errors: 0, dropped_warnings: 0 }
    }

    /// Adds a finding, or counts it when the limit is reached. An error takes the place of a warning.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.list.len() < self.limit {
            self.list.push(diagnostic);
            return;
        }
        if diagnostic.severity == Severity::Warning {
            self.dropped_warnings += 1;
            return;
        }
        match self.list.iter_mut().rev().find(|kept| kept.severity == Severity::Warning) {
            Some(warning) => {
                *warning = diagnostic;
                self.dropped_warnings += 1;
            }
            None => self.dropped_errors += 1,
        }
    }

    /// Adds all findings of another collection, its counts too.
    pub fn append(&mut self, other: Self) {
        self.dropped_errors += other.dropped_errors;
        self.dropped_warnings += other.dropped_warnings;
        other.list.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    /// Tells whether further findings are only counted: work that would only improve their text can be saved.
    pub fn is_full(&self) -> bool {
        self.list.len() >= self.limit
    }

    /// Tells whether there is at least one error.
    pub fn has_errors(&self) -> bool {
        self.error_count() > 0
    }

    /// Returns the number of errors, also of those beyond the limit.
    pub fn error_count(&self) -> usize {
        self.list.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
            + self.dropped_errors
    }

    /// Returns the number of findings that were counted but not kept.
    pub fn dropped(&self) -> usize {
        self.dropped_errors + self.dropped_warnings
    }

    /// Sorts by source name, then place; findings at one place keep the order in which they were made.
    pub fn sort(&mut self) {
        self.list.sort_by(|left, right| sort_key(left).cmp(&sort_key(right)));
    }

    /// Returns the findings in the order of their places.
    pub fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.sort();
        self.list
    }

    /// Returns `Ok(value)` when there is no error, else itself, sorted.
    ///
    /// # Errors
    /// The collection, when it holds an error. Warnings beside an `Ok` are lost: read them before.
    pub fn into_result<T>(mut self, value: T) -> Result<T, Self> {
        if self.has_errors() {
            self.sort();
            return Err(self);
        }
        Ok(value)
    }
}

fn sort_key(diagnostic: &Diagnostic) -> (&str, usize) {
    (diagnostic.source_name(), diagnostic.span.start.offset)
}

impl Default for Diagnostics {
    /// An empty collection for at most 100 findings.
    fn default() -> Self {
        Self::with_limit(100)
    }
}

impl std::ops::Deref for Diagnostics {
    type Target = [Diagnostic];

    fn deref(&self) -> &[Diagnostic] {
        &self.list
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_sorted().into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ordered: Vec<&Diagnostic> = self.list.iter().collect();
        ordered.sort_by(|left, right| sort_key(left).cmp(&sort_key(right)));
        for diagnostic in ordered {
            writeln!(formatter, "{diagnostic}")?;
        }
        let errors = self.error_count();
        let warnings = self.list.len() + self.dropped() - errors;
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        write!(formatter, "{errors} error{}, {warnings} warning{}", plural(errors), plural(warnings))?;
        match self.dropped() {
            0 => Ok(()),
            dropped => write!(formatter, " ({dropped} not shown)"),
        }
    }
}

impl std::error::Error for Diagnostics {}

fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        character if shown::is_safe(character) => character,
        _ => '\u{fffd}',
    }
}

const EXCERPT_CHARACTERS: usize = 100;
const EXCERPT_BEFORE_CARET: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    #[test]
    fn renders_line_caret_label_and_hint() {
        let source = Source::new("testbed.yaml", "kafka:\n\tbroker: 3\n");
        let diagnostic = Diagnostic::error(source.span(8..14), "kafka: unknown key `broker`")
            .with_label(source.span(0..5), "in this mapping")
            .with_hint("did you mean `brokers`?");
        let expected = "testbed.yaml:2:2: error: kafka: unknown key `broker`\n  2 |  broker: 3\n    |  ^^^^^^\n  \
                        testbed.yaml:1:1: in this mapping\n  hint: did you mean `brokers`?";
        assert_eq!(diagnostic.to_string(), expected);
    }

    #[test]
    fn long_lines_are_cut_around_the_caret() {
        let source = Source::new("x", "\u{1b}".repeat(5000));
        let rendered = Diagnostic::error(source.span(4000..5000), "bad").to_string();
        assert!(rendered.len() < 1000, "{}", rendered.len());
        assert!(!rendered.contains('\u{1b}'));
    }

    #[test]
    fn keeps_up_to_the_limit_and_counts_the_rest() {
        let source = Source::new("x", "abcdef");
        let mut diagnostics = Diagnostics::with_limit(2);
        diagnostics.push(Diagnostic::warning(source.span(3..4), "w"));
        diagnostics.push(Diagnostic::error(source.span(2..3), "e1"));
        diagnostics.push(Diagnostic::error(source.span(1..2), "e2"));
        diagnostics.push(Diagnostic::error(source.span(0..1), "e3"));
        assert_eq!((diagnostics.len(), diagnostics.error_count(), diagnostics.dropped()), (2, 3, 2));
        assert!(diagnostics.to_string().ends_with("3 errors, 1 warning (2 not shown)"));
        let order: Vec<_> = diagnostics.into_sorted().into_iter().map(|found| found.message).collect();
        assert_eq!(order, ["e2", "e1"]);
    }
}
