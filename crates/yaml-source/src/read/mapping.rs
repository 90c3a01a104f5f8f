//! One mapping, read key by key.

use crate::{
    Diagnostic, Diagnostics, Entry, Mapping, Node, ScalarRules, Span, ValueReader,
    suggest::{closest, shown},
};

/// Reads the keys of one mapping and reports at the end which ones nobody asked for.
///
/// Every getter takes a *reading function*: one of [`value`](crate::value), or your own `fn(ValueReader<'_>) -> Option<T>`.
/// A getter that finds a fault reports it and returns `None` or the fallback, so that one run shows all faults of a file.
/// Whether the result may be used is then a single question to the diagnostics. A key whose value is null (nothing written)
/// counts as absent.
#[must_use = "call finish() to report unknown keys"]
pub struct MappingReader<'v> {
    /// `None` when the node is no mapping: that has been reported, and nothing more will be.
    mapping: Option<Mapping>,
    span: Span,
    path: String,
    rules: ScalarRules,
    asked: Vec<&'static str>,
    /// Which entries have been read, by index.
    read: Vec<bool>,
    diagnostics: &'v mut Diagnostics,
}

impl<'v> MappingReader<'v> {
    /// Starts at the root of a document, with the core rules. A node that is not a mapping is reported; null counts as an
    /// empty mapping.
    pub fn new(node: &Node, diagnostics: &'v mut Diagnostics) -> Self {
        Self::with_rules(node, ScalarRules::Core, diagnostics)
    }

    /// Starts at the root of a document, with the scalar rules of another reader.
    pub fn with_rules(node: &Node, rules: ScalarRules, diagnostics: &'v mut Diagnostics) -> Self {
        ValueReader::new(node, rules, diagnostics).into_mapping()
    }

    pub(super) fn from_parts(
        mapping: Option<Mapping>,
        span: Span,
        path: String,
        rules: ScalarRules,
        diagnostics: &'v mut Diagnostics,
    ) -> Self {
        let read = vec![false; mapping.as_ref().map_or(0, |mapping| mapping.len())];
        Self { mapping, span, path, rules, asked: Vec::new(), read, diagnostics }
    }

    pub(super) fn is_mapping(&self) -> bool {
        self.mapping.is_some()
    }

    /// Reads a key that must be there; absence is reported at the mapping.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(ValueReader<'_>) -> Option<T>,
    ) -> Option<T> {
        match self.take(key) {
            Some(entry) if entry.value.is_null(self.rules) => self.error_at(key, "a value is missing"),
            Some(entry) => return self.value(key, &entry, read),
            // Where the node is no mapping at all, that has been reported already.
            None if self.mapping.is_some() => self.error(&format!("the key `{key}` is missing")),
            None => {}
        }
        None
    }

    /// Reads a key that may be absent.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(ValueReader<'_>) -> Option<T>,
    ) -> Option<T> {
        let entry = self.present(key)?;
        self.value(key, &entry, read)
    }

    /// Reads a key that may be absent, with the value that then counts. The fallback is also returned after a fault, which
    /// has been reported.
    pub fn or<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(ValueReader<'_>) -> Option<T>,
        fallback: T,
    ) -> T {
        self.optional(key, read).unwrap_or(fallback)
    }

    /// Reads a key that may be absent; the type's default counts then, and after a fault.
    pub fn or_default<T: Default>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(ValueReader<'_>) -> Option<T>,
    ) -> T {
        self.optional(key, read).unwrap_or_default()
    }

    /// Tells whether the key is written with a value that is not null. The key counts as known from then on, but not as read.
    pub fn has(&mut self, key: &'static str) -> bool {
        self.know(key);
        let rules = self.rules;
        self.entry(key).is_some_and(|entry| !entry.value.is_null(rules))
    }

    /// Returns the entry as it stands, null or not, and counts it as read.
    pub fn take(&mut self, key: &'static str) -> Option<Entry> {
        self.know(key);
        let index = self.mapping.as_ref()?.iter().position(|entry| entry.name() == Some(key))?;
        if let Some(read) = self.read.get_mut(index) {
            *read = true;
        }
        let entries: &[Entry] = self.mapping.as_ref()?;
        entries.get(index).cloned()
    }

    /// Takes every entry that has not been read and whose key the predicate wants, such as `x-*`, in the order of the file.
    pub fn take_where(&mut self, wanted: impl Fn(&str) -> bool) -> Vec<Entry> {
        let Some(mapping) = &self.mapping else { return Vec::new() };
        let mut taken = Vec::new();
        for (entry, read) in mapping.iter().zip(&mut self.read) {
            if !*read && entry.name().is_some_and(&wanted) {
                *read = true;
                taken.push(entry.clone());
            }
        }
        taken
    }

    /// Reports an error about the whole mapping, such as keys that exclude each other.
    pub fn error(&mut self, message: &str) {
        let message = self.at_path(message);
        self.diagnostics.push(Diagnostic::error(self.span.clone(), message));
    }

    /// Reports an error about one key, at the key.
    pub fn error_at(&mut self, key: &'static str, message: &str) {
        let span = self.entry(key).map_or_else(|| self.span.clone(), |entry| entry.key.span.clone());
        let message = self.at_path(&format!("{key}: {message}"));
        self.diagnostics.push(Diagnostic::error(span, message));
    }

    /// Returns where the mapping stands.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Returns the path of keys to this mapping, such as `kafka.brokers[1]`; empty at the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the diagnostics, to add one by hand.
    pub fn diagnostics(&mut self) -> &mut Diagnostics {
        self.diagnostics
    }

    /// Reports every key that was not read, with the nearest known key or, when there are few, all known keys.
    pub fn finish(mut self) {
        let Some(mapping) = self.mapping.take() else { return };
        let unread = mapping.iter().zip(&self.read).filter(|(_, read)| !**read);
        for (entry, _) in unread {
            let site = entry.key.alias.as_ref().unwrap_or(&entry.key.span).clone();
            let Some(name) = entry.name() else {
                let message = self
                    .at_path(&format!("a key must be text, but this is {}", entry.key.describe(self.rules)));
                self.diagnostics.push(Diagnostic::error(site, message));
                continue;
            };
            let message = self.at_path(&format!("unknown key {}", shown::quoted(name)));
            let mut diagnostic = Diagnostic::error(site, message);
            if !self.diagnostics.is_full() {
                diagnostic.hint = self.hint_for(name);
            }
            if let Some(merged) = &entry.merged {
                diagnostic = diagnostic.with_label(merged.clone(), "merged into the mapping here");
            }
            self.diagnostics.push(diagnostic);
        }
    }

    fn hint_for(&self, name: &str) -> Option<String> {
        if let Some(near) = closest(name, self.asked.iter().copied()) {
            return Some(format!("did you mean `{near}`?"));
        }
        let few = !self.asked.is_empty() && self.asked.len() <= KEYS_LISTED;
        few.then(|| format!("known keys here are {}", listed(&self.asked)))
    }

    fn know(&mut self, key: &'static str) {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.mapping.as_ref()?.entry(key)
    }

    /// Takes an entry whose value is not null.
    fn present(&mut self, key: &'static str) -> Option<Entry> {
        let entry = self.take(key)?;
        (!entry.value.is_null(self.rules)).then_some(entry)
    }

    fn value<T>(
        &mut self,
        key: &str,
        entry: &Entry,
        read: impl FnOnce(ValueReader<'_>) -> Option<T>,
    ) -> Option<T> {
        read(ValueReader {
            node: entry.value.clone(),
            path: joined(&self.path, key),
            rules: self.rules,
            merged: entry.merged.clone(),
            diagnostics: &mut *self.diagnostics,
        })
    }

    fn at_path(&self, message: &str) -> String {
        if self.path.is_empty() { message.to_owned() } else { format!("{}: {message}", self.path) }
    }
}

pub(super) fn joined(path: &str, key: &str) -> String {
    // Foreign keys are shown safely and cut, so that a path stays a path.
    let plain = key.chars().count() <= 60 && key.chars().all(shown::is_safe);
    let key = if plain { key.to_owned() } else { shown::quoted(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

pub(super) fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

const KEYS_LISTED: usize = 12;
