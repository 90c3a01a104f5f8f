//! From events to nodes: anchors, aliases, `<<` merges, duplicate keys, and the limits that keep all of it bounded.

use std::{collections::HashMap, sync::Arc};

use crate::{
    Diagnostic, Diagnostics, Entry, Mapping, Node, Scalar, ScalarStyle, Sequence, Source, Span, Value,
    event::{Event, SyntaxError, read_events},
    node::{Collection, Size},
    suggest::shown,
};

/// How much a text may hold. Each limit is checked before memory is taken for what lies beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of text.
    pub text_bytes: usize,
    /// Nodes (keys, values and collections) of all documents together when every alias and merge is followed.
    pub nodes: usize,
    /// Collections inside each other when every alias is followed. At most 250 are possible.
    pub depth: usize,
    /// Bytes of all scalars when every alias and merge is followed.
    pub expanded_bytes: usize,
    /// Diagnostics kept; the rest is counted.
    pub diagnostics: usize,
}

impl Default for Limits {
    /// 4 MiB of text, 200 000 nodes, 100 levels, 16 MiB of expanded text, 100 diagnostics.
    fn default() -> Self {
        Self { text_bytes: 4 << 20, nodes: 200_000, depth: 100, expanded_bytes: 16 << 20, diagnostics: 100 }
    }
}

/// A text with one document.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The document. `None` when the text is empty or when it could not be read to its end. When `diagnostics` has errors
    /// it shows what could be understood: an unknown alias reads as null, the first of two equal keys counts.
    pub root: Option<Node>,
    /// What was found on the way, in the order of the text.
    pub diagnostics: Diagnostics,
}

/// A text with any number of documents.
#[derive(Clone, Debug)]
pub struct ParsedDocuments {
    /// The documents in order, as far as the text could be read.
    pub roots: Vec<Node>,
    /// What was found on the way, in the order of the text.
    pub diagnostics: Diagnostics,
}

/// Reads a text that holds one document; a second one is an error.
pub fn parse(source: &Source, limits: &Limits) -> Parsed {
    let ParsedDocuments { roots, mut diagnostics } = parse_documents(source, limits);
    let mut roots = roots.into_iter();
    let root = roots.next();
    if let Some(second) = roots.next() {
        let diagnostic =
            Diagnostic::error(second.span, "a second document begins here, but only one is read")
                .with_hint("remove the line `---` or put the documents into files of their own");
        diagnostics.push(diagnostic);
        diagnostics.sort();
    }
    Parsed { root, diagnostics }
}

/// Reads a text that holds any number of documents separated by `---`.
pub fn parse_documents(source: &Source, limits: &Limits) -> ParsedDocuments {
    let limits = Limits { depth: limits.depth.min(GREATEST_DEPTH), ..limits.clone() };
    let mut composer = Composer {
        diagnostics: Diagnostics::with_limit(limits.diagnostics),
        limits,
        roots: Vec::new(),
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        bytes: 0,
        stopped: false,
    };
    if source.text().len() > composer.limits.text_bytes {
        let message = format!(
            "the text has {} bytes, but at most {} are read",
            source.text().len(),
            composer.limits.text_bytes
        );
        composer.diagnostics.push(Diagnostic::error(source.span(0..0), message));
        return ParsedDocuments { roots: Vec::new(), diagnostics: composer.diagnostics };
    }
    let depth = composer.limits.depth;
    if let Err((error, span)) = read_events(source, depth, |event, span| composer.receive(event, span)) {
        composer.syntax_error(error, span);
    }
    composer.diagnostics.sort();
    ParsedDocuments { roots: composer.roots, diagnostics: composer.diagnostics }
}

struct Composer {
    limits: Limits,
    diagnostics: Diagnostics,
    roots: Vec<Node>,
    open: Vec<Open>,
    /// Finished anchored nodes; `None` while the node is still open (an alias to it would be endless).
    anchors: HashMap<usize, Option<Node>>,
    /// Expanded nodes so far.
    nodes: usize,
    /// Expanded bytes of scalars so far.
    bytes: usize,
    stopped: bool,
}

/// A collection whose end has not come yet.
struct Open {
    start: Span,
    tag: Option<String>,
    anchor: Option<usize>,
    size: Size,
    items: Items,
}

enum Items {
    Sequence(Vec<Node>),
    Mapping(Box<OpenMapping>),
}

#[derive(Default)]
struct OpenMapping {
    pairs: Vec<Pair>,
    key: Option<Node>,
    /// The first explicit entry of each scalar key.
    keys: HashMap<String, Span>,
    merge: Option<Span>,
}

enum Pair {
    Entry(Entry),
    Merge { at: Span, value: Node },
}

impl Composer {
    /// Takes one event; returns whether to go on.
    fn receive(&mut self, event: Event, span: Span) -> bool {
        match event {
            Event::DocumentStart => self.anchors.clear(),
            Event::DocumentEnd => {}
            Event::Scalar { scalar, anchor } => {
                let node = Node { span, alias: None, value: Value::Scalar(scalar) };
                self.finish(node, anchor, None);
            }
            Event::SequenceStart { tag, anchor } => {
                self.start(span, tag, anchor, Items::Sequence(Vec::new()))
            }
            Event::MappingStart { tag, anchor } => {
                self.start(span, tag, anchor, Items::Mapping(Box::default()))
            }
            Event::CollectionEnd { flow } => self.end_collection(flow, &span),
            Event::Alias(number) => self.alias(number, span),
            Event::UnknownAlias(name) => {
                let message =
                    format!("no anchor {} stands before this alias", shown::quoted(&format!("&{name}")));
                self.diagnostics.push(Diagnostic::error(span.clone(), message));
                self.finish(null_at(span), None, None);
            }
        }
        !self.stopped
    }

    fn start(&mut self, start: Span, tag: Option<String>, anchor: Option<usize>, items: Items) {
        if self.open.len() >= self.limits.depth {
            return self.too_deep(start);
        }
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, None);
        }
        self.open.push(Open { start, tag, anchor, size: Size { nodes: 1, depth: 0, bytes: 0 }, items });
    }

    fn alias(&mut self, number: usize, span: Span) {
        match self.anchors.get(&number) {
            Some(Some(target)) => {
                // Checked here too, because the clone of a scalar copies its text.
                if self.bytes.saturating_add(target.size().bytes) > self.limits.expanded_bytes {
                    let size = target.size();
                    self.count(size, &span);
                    return;
                }
                let node = Node { alias: Some(span.clone()), ..target.clone() };
                self.finish(node, None, Some(span));
            }
            _ => {
                self.diagnostics
                    .push(Diagnostic::error(span.clone(), "this alias stands inside its own anchor"));
                self.finish(null_at(span), None, None);
            }
        }
    }

    /// Puts a finished node where it belongs.
    fn finish(&mut self, node: Node, anchor: Option<usize>, alias_site: Option<Span>) {
        let size = node.size();
        let site = alias_site.unwrap_or_else(|| node.span.clone());
        // A collection's children were counted when they came; through an alias they all count again.
        let is_new_collection = node.alias.is_none() && node.as_scalar().is_none();
        let added = if is_new_collection { Size { nodes: 1, depth: 0, bytes: 0 } } else { size };
        if self.open.len() + size.depth > self.limits.depth {
            return self.too_deep(site);
        }
        if !self.count(added, &site) {
            return;
        }
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, Some(node.clone()));
        }
        let Some(parent) = self.open.last_mut() else {
            self.roots.push(node);
            return;
        };
        parent.size.nodes = parent.size.nodes.saturating_add(size.nodes);
        parent.size.bytes = parent.size.bytes.saturating_add(size.bytes);
        parent.size.depth = parent.size.depth.max(size.depth + 1);
        match &mut parent.items {
            Items::Sequence(items) => items.push(node),
            Items::Mapping(mapping) => match mapping.key.take() {
                None => mapping.key = Some(node),
                Some(key) => mapping.add(key, node, &mut self.diagnostics),
            },
        }
    }

    fn end_collection(&mut self, flow: bool, end: &Span) {
        let Some(mut open) = self.open.pop() else { return };
        let mut last = None;
        let items = match open.items {
            Items::Sequence(items) => {
                last = items.last().map(end_of).or(last);
                Value::Sequence(Sequence {
                    inner: Arc::new(Collection { items, tag: open.tag, size: open.size }),
                })
            }
            Items::Mapping(mapping) => {
                last = mapping.pairs.last().map(|pair| match pair {
                    Pair::Entry(entry) => end_of(&entry.value),
                    Pair::Merge { value, .. } => end_of(value),
                });
                let items = match mapping.merge {
                    None => mapping.plain_entries(),
                    Some(_) => self.merge(*mapping, &mut open.size),
                };
                Value::Mapping(Mapping {
                    inner: Arc::new(Collection { items, tag: open.tag, size: open.size }),
                })
            }
        };
        // The foreign parser ends a block collection at the next token; its last child is where it really ends.
        let end = if flow { end.end } else { last.unwrap_or(open.start.end) };
        let span = Span { end: end.max(open.start.end), ..open.start };
        self.finish(Node { span, alias: None, value: items }, open.anchor, None);
    }

    /// Replaces every `<<` by the entries that it brings. An explicit key wins wherever it stands, then the earlier merge.
    fn merge(&mut self, mapping: OpenMapping, size: &mut Size) -> Vec<Entry> {
        let OpenMapping { pairs, keys, .. } = mapping;
        let mut taken: HashMap<String, ()> = keys.into_keys().map(|key| (key, ())).collect();
        let mut entries = Vec::new();
        for pair in pairs {
            let (at, value) = match pair {
                Pair::Entry(entry) => {
                    entries.push(entry);
                    continue;
                }
                Pair::Merge { at, value } => (at, value),
            };
            for base in merge_bases(&value, &mut self.diagnostics) {
                // Every visited entry counts, also one that loses: merging is work even where nothing is added.
                if !self.count(base.inner.size, &at) {
                    return entries;
                }
                for entry in base.iter() {
                    let is_new = match entry.name() {
                        Some(name) if taken.contains_key(name) => false,
                        Some(name) => taken.insert(name.to_owned(), ()).is_none(),
                        None => true,
                    };
                    if is_new {
                        size.nodes =
                            size.nodes.saturating_add(entry.key.size().nodes + entry.value.size().nodes);
                        entries.push(Entry { merged: Some(at.clone()), ..entry.clone() });
                    }
                }
            }
        }
        entries
    }

    /// Counts expanded nodes and text; reports and stops when there is too much.
    fn count(&mut self, added: Size, site: &Span) -> bool {
        self.nodes = self.nodes.saturating_add(added.nodes);
        self.bytes = self.bytes.saturating_add(added.bytes);
        let limit = if self.nodes > self.limits.nodes {
            format!("{} nodes", self.limits.nodes)
        } else if self.bytes > self.limits.expanded_bytes {
            format!("{} bytes", self.limits.expanded_bytes)
        } else {
            return true;
        };
        let message = format!("the text expands to more than {limit} here");
        self.stop(
            Diagnostic::error(site.clone(), message)
                .with_hint("use fewer aliases of aliases, or a smaller file"),
        );
        false
    }

    fn too_deep(&mut self, site: Span) {
        let message =
            format!("more than {} lists and mappings stand inside each other here", self.limits.depth);
        self.stop(Diagnostic::error(site, message));
    }

    fn stop(&mut self, diagnostic: Diagnostic) {
        if !self.stopped {
            self.diagnostics.push(diagnostic);
        }
        self.stopped = true;
        self.roots.clear();
    }

    fn syntax_error(&mut self, error: SyntaxError, span: Span) {
        if error.too_deep {
            return self.too_deep(span);
        }
        let mut diagnostic = Diagnostic::error(span, error.message);
        diagnostic.hint = syntax_hint(&diagnostic);
        if let Some(unfinished) = self.open.last() {
            diagnostic = diagnostic.with_label(unfinished.start.clone(), "inside the part that begins here");
        }
        self.stop(diagnostic);
    }
}

impl OpenMapping {
    fn add(&mut self, key: Node, value: Node, diagnostics: &mut Diagnostics) {
        if is_merge_key(&key) {
            match &self.merge {
                None => self.merge = Some(key.span.clone()),
                Some(first) => {
                    let diagnostic = Diagnostic::error(key.span.clone(), "a second `<<` in the same mapping")
                        .with_label(first.clone(), "the first one stands here")
                        .with_hint("merge several mappings with one list: `<<: [*first, *second]`");
                    diagnostics.push(diagnostic);
                }
            }
            self.pairs.push(Pair::Merge { at: key.span, value });
            return;
        }
        let site = key.alias.as_ref().unwrap_or(&key.span).clone();
        if let Some(name) = key.as_scalar().map(|scalar| &scalar.text) {
            if let Some(first) = self.keys.get(name) {
                let message = format!("the key {} stands twice in the same mapping", shown::quoted(name));
                let diagnostic =
                    Diagnostic::error(site, message).with_label(first.clone(), "the first one stands here");
                diagnostics.push(diagnostic);
                return;
            }
            self.keys.insert(name.clone(), site);
        }
        self.pairs.push(Pair::Entry(Entry { key, value, merged: None }));
    }

    fn plain_entries(self) -> Vec<Entry> {
        let entries = self.pairs.into_iter().filter_map(|pair| match pair {
            Pair::Entry(entry) => Some(entry),
            Pair::Merge { .. } => None,
        });
        entries.collect()
    }
}

fn is_merge_key(key: &Node) -> bool {
    let plain = |scalar: &Scalar| {
        scalar.style == ScalarStyle::Plain && scalar.tag.as_deref().is_none_or(|tag| tag == "!!merge")
    };
    key.as_scalar().is_some_and(|scalar| scalar.text == "<<" && plain(scalar))
}

/// Returns the mappings that a `<<` names, the strongest first.
fn merge_bases(value: &Node, diagnostics: &mut Diagnostics) -> Vec<Mapping> {
    let mut bases = Vec::new();
    let candidates = match &value.value {
        Value::Mapping(mapping) => return vec![mapping.clone()],
        Value::Sequence(sequence) => &sequence[..],
        Value::Scalar(_) => std::slice::from_ref(value),
    };
    for candidate in candidates {
        match candidate.as_mapping() {
            Some(mapping) => bases.push(mapping.clone()),
            None => {
                let found = candidate.describe(crate::ScalarRules::Core);
                let site = candidate.alias.as_ref().unwrap_or(&candidate.span).clone();
                let message = format!("`<<` merges a mapping or a list of mappings, but this is {found}");
                diagnostics.push(Diagnostic::error(site, message));
            }
        }
    }
    bases
}

fn null_at(span: Span) -> Node {
    let scalar = Scalar { text: String::new(), style: ScalarStyle::Plain, tag: None };
    Node { span, alias: None, value: Value::Scalar(scalar) }
}

fn end_of(node: &Node) -> crate::Position {
    node.alias.as_ref().unwrap_or(&node.span).end
}

fn syntax_hint(diagnostic: &Diagnostic) -> Option<String> {
    let line = diagnostic.span.source.line(diagnostic.span.start.line)?;
    let indentation = line.get(..line.len() - line.trim_start().len())?;
    if indentation.contains('\t') {
        return Some("YAML is indented with spaces, this line begins with a tab".to_owned());
    }
    let mapping_value = diagnostic.message.contains("mapping values are not allowed");
    mapping_value.then(|| "put the text in quotes if it contains `: `, or check the indentation".to_owned())
}

/// The parser's own recursion-free depth bound, and what keeps dropping a tree within any stack.
const GREATEST_DEPTH: usize = 250;
