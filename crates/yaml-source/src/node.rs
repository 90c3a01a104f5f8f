//! The tree that a text means, with a place for every part.

use std::sync::Arc;

use crate::{Resolved, ScalarRules, Span, suggest::shown};

/// One part of a document. A clone is cheap: collections are shared.
///
/// Equality compares places too; to compare what two nodes mean, compare their [`Tree`](crate::Tree)s.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the node is written; for a node reached through an alias, where its anchor stands.
    pub span: Span,
    /// Where the alias stands through which the node is used here.
    pub alias: Option<Span>,
    /// What it is.
    pub value: Value,
}

/// The three kinds of node.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A scalar: null, boolean, number or text, as the reader's [`ScalarRules`] decide.
    Scalar(Scalar),
    /// A list.
    Sequence(Sequence),
    /// A mapping.
    Mapping(Mapping),
}

/// A scalar before it has a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// The text with escapes, folding and line breaks resolved.
    pub text: String,
    /// How it is written.
    pub style: ScalarStyle,
    /// Its tag as in [`Sequence::tag`].
    pub tag: Option<String>,
}

/// How a scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScalarStyle {
    /// Without quotes; only then can it be anything but text.
    Plain,
    /// `'…'`
    SingleQuoted,
    /// `"…"`
    DoubleQuoted,
    /// `|`
    Literal,
    /// `>`
    Folded,
}

/// A list of nodes. Reads as a slice.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    pub(crate) inner: Arc<Collection<Node>>,
}

/// A mapping in the order of the source, `<<` already merged. Reads as a slice of entries.
///
/// A merged entry stands where its `<<` stands. No scalar key occurs twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    pub(crate) inner: Arc<Collection<Entry>>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Collection<T> {
    pub(crate) items: Vec<T>,
    pub(crate) tag: Option<String>,
    pub(crate) size: Size,
}

/// How much a node expands to when every alias is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) nodes: usize,
    pub(crate) depth: usize,
    /// Bytes of all scalars.
    pub(crate) bytes: usize,
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key; nearly always a scalar.
    pub key: Node,
    /// The value; a null scalar when nothing is written.
    pub value: Node,
    /// Where the `<<` stands that brought the entry here.
    pub merged: Option<Span>,
}

impl Node {
    /// Returns the scalar, if it is one.
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// Returns the list, if it is one.
    pub fn as_sequence(&self) -> Option<&Sequence> {
        match &self.value {
            Value::Sequence(sequence) => Some(sequence),
            _ => None,
        }
    }

    /// Returns the mapping, if it is one.
    pub fn as_mapping(&self) -> Option<&Mapping> {
        match &self.value {
            Value::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// Returns the value of a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_mapping()?.get(key)
    }

    /// Returns the tag: `!!str` and the like for tags of YAML itself, else as written (`!reset`).
    pub fn tag(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => scalar.tag.as_deref(),
            Value::Sequence(sequence) => sequence.tag(),
            Value::Mapping(mapping) => mapping.tag(),
        }
    }

    /// Returns what the scalar means, if it is one.
    pub fn resolve(&self, rules: ScalarRules) -> Option<Resolved> {
        self.as_scalar().map(|scalar| rules.resolve(scalar))
    }

    /// Tells whether the node is null under these rules.
    pub fn is_null(&self, rules: ScalarRules) -> bool {
        self.resolve(rules) == Some(Resolved::Null)
    }

    /// Describes the node for "expected …, found …": ``the number `12` ``, `a list`, `nothing`.
    pub fn describe(&self, rules: ScalarRules) -> String {
        let scalar = match &self.value {
            Value::Scalar(scalar) => scalar,
            Value::Sequence(_) => return "a list".to_owned(),
            Value::Mapping(_) => return "a mapping".to_owned(),
        };
        match rules.resolve(scalar) {
            Resolved::Null => "nothing (null)".to_owned(),
            Resolved::Boolean(_) => format!("the boolean {}", shown::quoted(&scalar.text)),
            Resolved::Integer(_) | Resolved::Float(_) => {
                format!("the number {}", shown::quoted(&scalar.text))
            }
            Resolved::Text => format!("the text {}", shown::quoted(&scalar.text)),
        }
    }

    pub(crate) fn size(&self) -> Size {
        match &self.value {
            Value::Scalar(scalar) => Size { nodes: 1, depth: 0, bytes: scalar.text.len() },
            Value::Sequence(sequence) => sequence.inner.size,
            Value::Mapping(mapping) => mapping.inner.size,
        }
    }
}

impl Sequence {
    /// Returns the tag; see [`Node::tag`].
    pub fn tag(&self) -> Option<&str> {
        self.inner.tag.as_deref()
    }
}

impl std::ops::Deref for Sequence {
    type Target = [Node];

    fn deref(&self) -> &[Node] {
        &self.inner.items
    }
}

impl Mapping {
    /// Returns the value of a scalar key with this text. Costs one comparison per entry.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Returns the entry of a scalar key with this text.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.iter().find(|entry| entry.name() == Some(key))
    }

    /// Returns the tag; see [`Node::tag`].
    pub fn tag(&self) -> Option<&str> {
        self.inner.tag.as_deref()
    }
}

impl Default for Mapping {
    /// An empty mapping.
    fn default() -> Self {
        let size = Size { nodes: 1, depth: 0, bytes: 0 };
        Self { inner: Arc::new(Collection { items: Vec::new(), tag: None, size }) }
    }
}

impl std::ops::Deref for Mapping {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        &self.inner.items
    }
}

impl Entry {
    /// Returns the text of the key, if it is a scalar.
    pub fn name(&self) -> Option<&str> {
        self.key.as_scalar().map(|scalar| scalar.text.as_str())
    }
}
