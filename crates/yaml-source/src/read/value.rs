//! Reading functions for single values: pass them to the getters of [`MappingReader`](crate::MappingReader).
//!
//! Each takes a [`ValueReader`] and returns the value, or `None` after it has reported what is wrong. Functions with
//! parameters (`integer_in`, `one_of`, `list`, …) return such a function.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr, time::Duration};

use super::mapping::{MappingReader, joined, listed};
use crate::{
    Diagnostic, Diagnostics, Mapping, Node, Resolved, ScalarRules, Span, Value,
    suggest::{closest, shown},
    units,
};

/// A value that a reading function turns into a type.
pub struct ValueReader<'v> {
    pub(super) node: Node,
    pub(super) path: String,
    pub(super) rules: ScalarRules,
    /// Where the `<<` stands that brought the value here.
    pub(super) merged: Option<Span>,
    pub(super) diagnostics: &'v mut Diagnostics,
}

/// A value with its place, for checks that come after reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it is written.
    pub span: Span,
}

impl<'v> ValueReader<'v> {
    /// Starts at a node that has no path, such as the root of a document.
    pub fn new(node: &Node, rules: ScalarRules, diagnostics: &'v mut Diagnostics) -> Self {
        Self { node: node.clone(), path: String::new(), rules, merged: None, diagnostics }
    }

    /// Returns the node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Returns the path of keys, such as `kafka.brokers[1].port`; empty at the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the scalar rules.
    pub fn rules(&self) -> ScalarRules {
        self.rules
    }

    /// Returns the diagnostics, to add one by hand.
    pub fn diagnostics(&mut self) -> &mut Diagnostics {
        self.diagnostics
    }

    /// Returns a second reader of the same value, for a reading function that looks twice.
    pub fn reborrow(&mut self) -> ValueReader<'_> {
        ValueReader {
            node: self.node.clone(),
            path: self.path.clone(),
            rules: self.rules,
            merged: self.merged.clone(),
            diagnostics: &mut *self.diagnostics,
        }
    }

    /// Reports an error at this value and returns `None`, so that a reading function can end with it.
    pub fn fail<T>(self, message: impl Display) -> Option<T> {
        self.report(message, None)
    }

    /// Reports an error with a hint at this value and returns `None`.
    pub fn fail_with_hint<T>(self, message: impl Display, hint: impl Into<String>) -> Option<T> {
        self.report(message, Some(hint.into()))
    }

    /// Reports "expected …, found …" and returns `None`.
    pub fn expected<T>(self, expected: &str) -> Option<T> {
        let found = self.node.describe(self.rules);
        self.fail(format_args!("expected {expected}, found {found}"))
    }

    /// Reports a warning at this value.
    pub fn warn(&mut self, message: impl Display, hint: Option<String>) {
        let mut diagnostic = self.diagnostic(message);
        diagnostic.severity = crate::Severity::Warning;
        diagnostic.hint = hint;
        self.diagnostics.push(diagnostic);
    }

    /// Reads the value as a mapping; reports anything else. Null counts as an empty mapping.
    pub fn mapping(self) -> Option<MappingReader<'v>> {
        let reader = self.into_mapping();
        reader.is_mapping().then_some(reader)
    }

    /// Like [`mapping`](Self::mapping), but after a fault a reader that reports nothing more.
    pub(super) fn into_mapping(self) -> MappingReader<'v> {
        let Self { node, path, rules, diagnostics, .. } = self;
        let span = node.alias.as_ref().unwrap_or(&node.span).clone();
        let mapping = match &node.value {
            Value::Mapping(mapping) => Some(mapping.clone()),
            Value::Scalar(_) if node.is_null(rules) => Some(Mapping::default()),
            _ => {
                let place = ValueReader {
                    node,
                    path: path.clone(),
                    rules,
                    merged: None,
                    diagnostics: &mut *diagnostics,
                };
                place.expected::<()>("a mapping");
                None
            }
        };
        MappingReader::from_parts(mapping, span, path, rules, diagnostics)
    }

    /// Calls `read` for every element of a list; reports anything else. A faulty element is left out.
    pub fn each<T>(self, read: impl Fn(ValueReader<'_>) -> Option<T>) -> Option<Vec<T>> {
        let Some(sequence) = self.node.as_sequence().cloned() else { return self.expected("a list") };
        let mut items = Vec::new();
        for (index, node) in sequence.iter().enumerate() {
            let path = format!("{}[{index}]", self.path);
            items.extend(read(ValueReader {
                node: node.clone(),
                path,
                rules: self.rules,
                merged: None,
                diagnostics: &mut *self.diagnostics,
            }));
        }
        Some(items)
    }

    /// Calls `read` for every value of a mapping whose keys are free, with the key; reports anything else. Null counts as
    /// an empty mapping, a faulty value is left out. The order is that of the file.
    pub fn each_entry<T>(
        self,
        read: impl Fn(&str, ValueReader<'_>) -> Option<T>,
    ) -> Option<Vec<(String, T)>> {
        if self.node.is_null(self.rules) {
            return Some(Vec::new());
        }
        let Some(mapping) = self.node.as_mapping().cloned() else { return self.expected("a mapping") };
        let mut items = Vec::new();
        for entry in mapping.iter() {
            let Some(name) = entry.name() else {
                let key = ValueReader {
                    node: entry.key.clone(),
                    path: self.path.clone(),
                    rules: self.rules,
                    merged: None,
                    diagnostics: &mut *self.diagnostics,
                };
                key.expected::<()>("text as key");
                continue;
            };
            let value = ValueReader {
                node: entry.value.clone(),
                path: joined(&self.path, name),
                rules: self.rules,
                merged: entry.merged.clone(),
                diagnostics: &mut *self.diagnostics,
            };
            items.extend(read(name, value).map(|item| (name.to_owned(), item)));
        }
        Some(items)
    }

    fn report<T>(self, message: impl Display, hint: Option<String>) -> Option<T> {
        let mut diagnostic = self.diagnostic(message);
        diagnostic.hint = hint;
        self.diagnostics.push(diagnostic);
        None
    }

    fn diagnostic(&self, message: impl Display) -> Diagnostic {
        let message =
            if self.path.is_empty() { message.to_string() } else { format!("{}: {message}", self.path) };
        let mut diagnostic = Diagnostic::error(self.node.span.clone(), message);
        if let Some(alias) = &self.node.alias {
            diagnostic = diagnostic.with_label(alias.clone(), "used through this alias");
        }
        if let Some(merged) = &self.merged {
            diagnostic = diagnostic.with_label(merged.clone(), "merged into the mapping here");
        }
        diagnostic
    }

    fn resolved(&self) -> Option<Resolved> {
        self.node.resolve(self.rules)
    }

    fn scalar_text_or_empty(&self) -> &str {
        self.node.as_scalar().map_or("", |scalar| &scalar.text)
    }
}

/// Text. A number, boolean or null that is not quoted is refused with the hint to quote it.
pub fn text(value: ValueReader<'_>) -> Option<String> {
    let text = value.scalar_text_or_empty().to_owned();
    match value.resolved() {
        Some(Resolved::Text) => Some(text),
        Some(Resolved::Null) | None => value.expected("text"),
        Some(_) => {
            let (found, hint) = (value.node.describe(value.rules), format!("write it in quotes: \"{text}\""));
            value.fail_with_hint(format_args!("expected text, found {found}"), hint)
        }
    }
}

/// Text with at least one character that is not white space.
pub fn non_empty_text(value: ValueReader<'_>) -> Option<String> {
    let is_blank = value.resolved() == Some(Resolved::Text) && value.scalar_text_or_empty().trim().is_empty();
    if is_blank { value.fail("expected text, found nothing but white space") } else { text(value) }
}

/// Any scalar as the text that stands in the file: `1.10` stays `1.10`, `True` stays `True`; null is empty text.
pub fn scalar_text(value: ValueReader<'_>) -> Option<String> {
    match value.resolved() {
        Some(Resolved::Null) => Some(String::new()),
        Some(_) => Some(value.scalar_text_or_empty().to_owned()),
        None => value.expected("a single value"),
    }
}

/// `true` or `false`.
pub fn boolean(value: ValueReader<'_>) -> Option<bool> {
    match value.resolved() {
        Some(Resolved::Boolean(boolean)) => Some(boolean),
        _ => {
            let meant = match value.scalar_text_or_empty().to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" | "1" | "true" => "true",
                "no" | "off" | "n" | "0" | "false" => "false",
                _ => return value.expected("`true` or `false`"),
            };
            let found = value.node.describe(value.rules);
            value.fail_with_hint(
                format_args!("expected `true` or `false`, found {found}"),
                format!("write {meant}, without quotes"),
            )
        }
    }
}

/// An integer that fits into the type.
pub fn integer<T: TryFrom<i128>>(value: ValueReader<'_>) -> Option<T> {
    match value.resolved() {
        Some(Resolved::Integer(integer)) => match T::try_from(integer) {
            Ok(integer) => Some(integer),
            Err(_) => value.fail(format_args!("the number {integer} is out of range")),
        },
        _ => value.expected("an integer"),
    }
}

/// An integer within a range, both ends included.
pub fn integer_in<T>(range: RangeInclusive<T>) -> impl Fn(ValueReader<'_>) -> Option<T>
where
    T: TryFrom<i128> + PartialOrd + Display + Copy,
{
    move |value| {
        let expected = format!("an integer from {} to {}", range.start(), range.end());
        match value.resolved() {
            Some(Resolved::Integer(integer)) => {
                match T::try_from(integer).ok().filter(|integer| range.contains(integer)) {
                    Some(integer) => Some(integer),
                    None => value.expected(&expected),
                }
            }
            _ => value.expected(&expected),
        }
    }
}

/// A TCP or UDP port, 1 to 65535.
pub fn port(value: ValueReader<'_>) -> Option<u16> {
    match value.resolved() {
        Some(Resolved::Integer(port @ 1..=65_535)) => u16::try_from(port).ok(),
        _ => value.expected("a port number (1 to 65535)"),
    }
}

/// A finite number; integers count too.
pub fn float(value: ValueReader<'_>) -> Option<f64> {
    match value.resolved() {
        Some(Resolved::Float(float)) if float.is_finite() => Some(float),
        Some(Resolved::Integer(integer)) => Some(integer as f64),
        _ => value.expected("a number"),
    }
}

/// A finite number within a range, both ends included.
pub fn float_in(range: RangeInclusive<f64>) -> impl Fn(ValueReader<'_>) -> Option<f64> {
    move |value| {
        let number = match value.resolved() {
            Some(Resolved::Float(float)) => Some(float),
            Some(Resolved::Integer(integer)) => Some(integer as f64),
            _ => None,
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => value.expected(&format!("a number from {} to {}", range.start(), range.end())),
        }
    }
}

/// A duration such as `500ms`, `5s`, `1h30m`, `1d`; see [`parse_duration`](crate::parse_duration).
pub fn duration(value: ValueReader<'_>) -> Option<Duration> {
    parsed_with(value, "a duration such as `500ms`, `15s` or `1h30m`", units::parse_duration)
}

/// A duration that is not zero.
pub fn positive_duration(value: ValueReader<'_>) -> Option<Duration> {
    let is_zero = value
        .node
        .as_scalar()
        .is_some_and(|scalar| units::parse_duration(&scalar.text) == Ok(Duration::ZERO));
    if is_zero { value.fail("the duration must be longer than zero") } else { duration(value) }
}

/// A number of bytes such as `512`, `256m`, `2GiB`; see [`parse_byte_size`](crate::parse_byte_size).
pub fn byte_size(value: ValueReader<'_>) -> Option<u64> {
    parsed_with(value, "a size such as `512`, `256m` or `2GiB`", units::parse_byte_size)
}

/// Text (or a number) that `T` can be parsed from; `expected` names it: `"an IP address"`.
pub fn parsed<T>(expected: &'static str) -> impl Fn(ValueReader<'_>) -> Option<T>
where
    T: FromStr,
    T::Err: Display,
{
    move |value| parsed_with(value, expected, str::parse::<T>)
}

fn parsed_with<T, E: Display>(
    value: ValueReader<'_>,
    expected: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Option<T> {
    match value.resolved() {
        Some(Resolved::Text | Resolved::Integer(_) | Resolved::Float(_)) => {}
        _ => return value.expected(expected),
    }
    match parse(value.scalar_text_or_empty()) {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            let found = shown::quoted(value.scalar_text_or_empty());
            value.fail(format_args!("expected {expected}, found {found}: {error}"))
        }
    }
}

/// One of several words, each with its value; a word that is near to a known one is suggested.
pub fn one_of<T: Clone>(words: &[(&'static str, T)]) -> impl Fn(ValueReader<'_>) -> Option<T> {
    move |value| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let Some(scalar) = value.node.as_scalar() else {
            return value.expected(&format!("one of {}", listed(&known)));
        };
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == scalar.text) {
            return Some(meaning.clone());
        }
        let found = shown::quoted(&scalar.text);
        let message = format!("expected one of {}, found {found}", listed(&known));
        let near = if value.diagnostics.is_full() { None } else { closest(&scalar.text, known) };
        match near {
            Some(near) => value.fail_with_hint(message, format!("did you mean `{near}`?")),
            None => value.fail(message),
        }
    }
}

/// A list whose elements are all read alike.
pub fn list<T>(read: impl Fn(ValueReader<'_>) -> Option<T>) -> impl Fn(ValueReader<'_>) -> Option<Vec<T>> {
    move |value| value.each(&read)
}

/// A list with at least one element.
pub fn non_empty_list<T>(
    read: impl Fn(ValueReader<'_>) -> Option<T>,
) -> impl Fn(ValueReader<'_>) -> Option<Vec<T>> {
    move |value| {
        let is_empty = value.node.as_sequence().is_some_and(|sequence| sequence.is_empty());
        if is_empty { value.fail("the list must not be empty") } else { value.each(&read) }
    }
}

/// A list, or a single value that stands for a list of one.
pub fn list_or_one<T>(
    read: impl Fn(ValueReader<'_>) -> Option<T>,
) -> impl Fn(ValueReader<'_>) -> Option<Vec<T>> {
    move |value| match value.node.value {
        Value::Sequence(_) => value.each(&read),
        _ => read(value).map(|item| vec![item]),
    }
}

/// A mapping with free keys whose values are all read alike, in the order of the file.
pub fn map_of<T>(
    read: impl Fn(ValueReader<'_>) -> Option<T>,
) -> impl Fn(ValueReader<'_>) -> Option<Vec<(String, T)>> {
    move |value| value.each_entry(|_, entry| read(entry))
}

/// A mapping from text to any scalars as they stand in the file: environment variables, labels.
pub fn text_map(value: ValueReader<'_>) -> Option<Vec<(String, String)>> {
    value.each_entry(|_, entry| scalar_text(entry))
}

/// A value together with its place.
pub fn spanned<T>(
    read: impl Fn(ValueReader<'_>) -> Option<T>,
) -> impl Fn(ValueReader<'_>) -> Option<Spanned<T>> {
    move |value| {
        let span = value.node.span.clone();
        read(value).map(|value| Spanned { value, span })
    }
}

/// The node as it is, for a part that somebody else reads.
pub fn node(value: ValueReader<'_>) -> Option<Node> {
    Some(value.node)
}
