//! Paths into a project, and where they stand in the file.

use std::fmt;

use yaml_source::{Node, Span, Value};

use crate::short_form::parse_ports;

/// A path of keys and indexes into a project as the file spells it: `services.kafka.ports[0]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path(Vec<Step>);

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A key of a mapping.
    Key(String),
    /// An element of the model's list, from 0.
    Index(usize),
}

impl Path {
    /// Creates a path of keys.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        Self(keys.into_iter().map(|key| Step::Key(key.to_owned())).collect())
    }

    /// Adds an index.
    #[must_use]
    pub fn index(mut self, index: usize) -> Self {
        self.0.push(Step::Index(index));
        self
    }

    /// Returns the steps from the top.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if number == 0 => formatter.write_str(key)?,
                Step::Key(key) => write!(formatter, ".{key}")?,
                Step::Index(index) => write!(formatter, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Returns where a path stands in the file, or the nearest part above it that the file has.
pub(crate) fn find(root: &Node, path: &Path) -> Span {
    let mut node = root;
    let mut span = root.span.clone();
    let mut last_key = "";
    for step in path.steps() {
        let next = match (step, &node.value) {
            (Step::Key(key), Value::Mapping(entries)) => {
                last_key = key;
                entries.entry(key).map(|entry| (&entry.value, entry.key.span.clone()))
            }
            // The short form of a mapping is a list: `[kafka]`, `[KEY=value]`.
            (Step::Key(key), Value::Sequence(items)) => {
                let named = |item: &&Node| {
                    let text = item.as_scalar().map_or("", |scalar| scalar.text.as_str());
                    text.split_once('=').map_or(text, |(name, _)| name) == key
                };
                items.iter().find(named).map(|item| (item, item.span.clone()))
            }
            (Step::Index(index), Value::Sequence(items)) => {
                let item = if last_key == "ports" { port_item(items, *index) } else { items.get(*index) };
                item.map(|item| (item, item.span.clone()))
            }
            _ => None,
        };
        match next {
            Some((below, place)) => (node, span) = (below, place),
            None => return span,
        }
    }
    span
}

/// One item of the file may stand for several ports of the model.
fn port_item(items: &[Node], index: usize) -> Option<&Node> {
    let mut before = 0;
    for item in items {
        let text = item.as_scalar().map_or("", |scalar| scalar.text.as_str());
        // Only a range stands for more than one.
        before += if text.contains('-') { parse_ports(text).map_or(1, |ports| ports.len()) } else { 1 };
        if index < before {
            return Some(item);
        }
    }
    None
}
