//! Values without places: what a program writes, and what a document means.

use crate::{Node, Resolved, ScalarRules, Value};

/// A value to be written as YAML, or the meaning of a [`Node`].
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean(bool),
    /// An integer.
    Integer(i128),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    Sequence(Vec<Self>),
    /// A mapping in order. Whoever builds one takes care that no key occurs twice.
    Mapping(Vec<(String, Self)>),
}

impl Tree {
    /// Returns what a node means under the rules of a reader. Keys become text as written; a key that is a collection
    /// becomes empty text. Tags other than YAML's own are lost.
    pub fn from_node(node: &Node, rules: ScalarRules) -> Self {
        match &node.value {
            Value::Scalar(scalar) => match rules.resolve(scalar) {
                Resolved::Null => Self::Null,
                Resolved::Boolean(boolean) => Self::Boolean(boolean),
                Resolved::Integer(integer) => Self::Integer(integer),
                Resolved::Float(float) => Self::Float(float),
                Resolved::Text => Self::Text(scalar.text.clone()),
            },
            Value::Sequence(sequence) => {
                Self::Sequence(sequence.iter().map(|item| Self::from_node(item, rules)).collect())
            }
            Value::Mapping(mapping) => {
                let entry = |entry: &crate::Entry| {
                    (entry.name().unwrap_or_default().to_owned(), Self::from_node(&entry.value, rules))
                };
                Self::Mapping(mapping.iter().map(entry).collect())
            }
        }
    }

    /// Returns the value of a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Mapping(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }
}

impl From<&str> for Tree {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Tree {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Tree {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}

macro_rules! from_integers {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Tree {
            fn from(integer: $integer) -> Self {
                Self::Integer(i128::from(integer))
            }
        }
    )*};
}

from_integers!(u8, u16, u32, u64, i32, i64);

impl<T: Into<Self>> From<Vec<T>> for Tree {
    fn from(items: Vec<T>) -> Self {
        Self::Sequence(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Self>> From<Option<T>> for Tree {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<K: Into<String>, T: Into<Self>> FromIterator<(K, T)> for Tree {
    /// Collects pairs into a mapping.
    fn from_iter<I: IntoIterator<Item = (K, T)>>(pairs: I) -> Self {
        Self::Mapping(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}
