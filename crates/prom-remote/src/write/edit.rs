//! Edits of a label set, as values, and the plan of what they make of a series.

use std::{borrow::Cow, cmp::Ordering, ops::Range};

use thiserror::Error;

/// One change to the labels of every series.
///
/// An empty label is an absent one, as everywhere in Prometheus.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LabelEdit {
    /// Adds the label. What stands under the name is kept under the name with `exported_` in front, as a Prometheus
    /// scrape with `honor_labels: false` does; see [`LabelSplicer`](crate::LabelSplicer).
    Add {
        /// The name of the label.
        name: String,
        /// Its value.
        value: String,
    },
    /// Sets the label. What stands under the name is dropped.
    Replace {
        /// The name of the label.
        name: String,
        /// Its value.
        value: String,
    },
    /// Gives the label another name. If it is there, what stands under the other name is dropped.
    Rename {
        /// The name that it has.
        from: String,
        /// The name that it gets.
        to: String,
    },
    /// Drops the label.
    Drop {
        /// The name of the label.
        name: String,
    },
}

impl LabelEdit {
    /// Adds a label; see [`LabelEdit::Add`].
    pub fn add(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Add { name: name.into(), value: value.into() }
    }

    /// Sets a label; see [`LabelEdit::Replace`].
    pub fn replace(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Replace { name: name.into(), value: value.into() }
    }

    /// Renames a label; see [`LabelEdit::Rename`].
    pub fn rename(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self::Rename { from: from.into(), to: to.into() }
    }

    /// Drops a label; see [`LabelEdit::Drop`].
    pub fn drop(name: impl Into<String>) -> Self {
        Self::Drop { name: name.into() }
    }

    /// The label that the edit puts into every series.
    pub(super) fn new_label(&self) -> Option<(&[u8], &[u8])> {
        match self {
            Self::Add { name, value } | Self::Replace { name, value } => {
                Some((name.as_bytes(), value.as_bytes()))
            }
            Self::Rename { .. } | Self::Drop { .. } => None,
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Self::Add { name, .. } | Self::Replace { name, .. } | Self::Drop { name } => (name, None),
            Self::Rename { from, to } => (from, Some(to)),
        };
        std::iter::once(first).chain(second).map(String::as_str)
    }

    fn check(&self) -> Result<(), InvalidLabel> {
        match self {
            Self::Add { name, value } | Self::Replace { name, value } => {
                let is_metric_name = matches!(self, Self::Replace { .. }) && name == METRIC_NAME;
                if !is_metric_name && !is_free_name(name) {
                    return Err(InvalidLabel::Name { name: name.clone() });
                }
                if value.is_empty() {
                    return Err(InvalidLabel::EmptyValue { name: name.clone() });
                }
            }
            Self::Rename { from, to } => {
                if from.is_empty() || (to != METRIC_NAME && !is_free_name(to)) {
                    return Err(InvalidLabel::Name { name: to.clone() });
                }
            }
            Self::Drop { name } => {
                if name.is_empty() {
                    return Err(InvalidLabel::Name { name: name.clone() });
                }
            }
        }
        Ok(())
    }
}

/// The label to add is not one that every receiver takes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidLabel {
    /// The name is not `[a-zA-Z_][a-zA-Z0-9_]*`, or begins with the reserved `__`.
    #[error("label name {name:?} is not [a-zA-Z_][a-zA-Z0-9_]* or begins with __")]
    Name {
        /// The name.
        name: String,
    },
    /// The value is empty, which would mean no label.
    #[error("label {name} has an empty value")]
    EmptyValue {
        /// The name.
        name: String,
    },
    /// Two edits name the same label, so that the later would edit what the earlier made.
    #[error("label {name} is named by two edits")]
    NamedTwice {
        /// The name.
        name: String,
    },
}

/// Checks each edit, and that no label is named twice.
pub(super) fn check(edits: &[LabelEdit]) -> Result<(), InvalidLabel> {
    let mut names: Vec<&str> = Vec::new();
    for edit in edits {
        edit.check()?;
        for name in edit.names() {
            if names.contains(&name) {
                return Err(InvalidLabel::NamedTwice { name: name.to_owned() });
            }
            names.push(name);
        }
    }
    Ok(())
}

fn is_free_name(name: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(is_first)
        && name.bytes().all(|byte| is_first(byte) || byte.is_ascii_digit())
        && !name.starts_with("__")
}

/// A label while it is edited: its name and where its bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item<'a> {
    pub(super) name: Cow<'a, [u8]>,
    pub(super) is_empty: bool,
    pub(super) origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The label of this number in the series, as it is.
    Kept(usize),
    /// The label of this number in the series, under another name.
    Renamed(usize),
    /// The label of the edit of this number.
    New(usize),
}

/// Applies the edits in their order and sorts the labels; tells whether a label was kept as `exported_…`.
pub(super) fn apply<'a>(edits: &'a [LabelEdit], items: &mut Vec<Item<'a>>) -> bool {
    let mut had_conflict = false;
    for (index, edit) in edits.iter().enumerate() {
        match edit {
            LabelEdit::Add { name, .. } => {
                had_conflict |= export_existing(name.as_bytes(), items);
                items.push(Item::new_label(name, index));
            }
            LabelEdit::Replace { name, .. } => {
                items.retain(|item| *item.name != *name.as_bytes());
                items.push(Item::new_label(name, index));
            }
            LabelEdit::Rename { from, to } => {
                let (from, to) = (from.as_bytes(), to.as_bytes());
                items.retain(|item| !(*item.name == *from && item.is_empty));
                if items.iter().any(|item| *item.name == *from) {
                    items.retain(|item| *item.name != *to);
                    items
                        .iter_mut()
                        .filter(|item| *item.name == *from)
                        .for_each(|item| item.rename(Cow::Borrowed(to)));
                }
            }
            LabelEdit::Drop { name } => items.retain(|item| *item.name != *name.as_bytes()),
        }
    }
    items.sort_by(|a, b| a.name.cmp(&b.name));
    had_conflict
}

/// Moves what stands under the name to a free `exported_` name; tells whether anything stood there.
fn export_existing(name: &[u8], items: &mut Vec<Item<'_>>) -> bool {
    items.retain(|item| !(*item.name == *name && item.is_empty));
    let mut had_conflict = false;
    while let Some(position) = items.iter().position(|item| *item.name == *name) {
        had_conflict = true;
        let mut new_name = [EXPORTED, name].concat();
        while items.iter().any(|item| *item.name == new_name && !item.is_empty) {
            new_name.splice(0..0, EXPORTED.iter().copied());
        }
        items.retain(|item| !(*item.name == new_name && item.is_empty));
        // The place may have moved; the first label of the name is still the same one.
        let position = items.iter().position(|item| *item.name == *name).unwrap_or(position);
        if let Some(item) = items.get_mut(position) {
            item.rename(Cow::Owned(new_name));
        }
    }
    had_conflict
}

impl<'a> Item<'a> {
    pub(super) fn kept(name: &'a [u8], is_empty: bool, index: usize) -> Self {
        Self { name: Cow::Borrowed(name), is_empty, origin: Origin::Kept(index) }
    }

    fn new_label(name: &'a str, edit: usize) -> Self {
        Self { name: Cow::Borrowed(name.as_bytes()), is_empty: false, origin: Origin::New(edit) }
    }

    /// A new label is never renamed, as no two edits name the same label.
    fn rename(&mut self, name: Cow<'a, [u8]>) {
        self.name = name;
        if let Origin::Kept(index) = self.origin {
            self.origin = Origin::Renamed(index);
        }
    }
}

/// What a series of clean labels becomes: pieces in the order of the new labels.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// May be empty if there is an `insertion`.
    pub(super) pieces: Vec<Piece>,
    pub(super) had_conflict: bool,
    /// No piece changes the bytes of a label.
    pub(super) is_plain: bool,
    /// All that there is to do: the label of this edit goes before the label of this number.
    pub(super) insertion: Option<(usize, usize)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Labels that stand together, by their numbers.
    Kept(Range<usize>),
    /// A label under another name.
    Renamed { label: usize, name: Vec<u8> },
    /// The label of an edit, by its number.
    New(usize),
}

impl Plan {
    /// Plans for a series whose labels have these names: sorted, unique, none with an empty value.
    pub(super) fn new<'a>(edits: &'a [LabelEdit], names: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        if let [LabelEdit::Add { name, .. }] = edits
            && let Some(place) = free_place(name.as_bytes(), names.clone())
        {
            return Self { is_plain: true, insertion: Some((place, 0)), ..Self::default() };
        }
        let mut items: Vec<_> =
            names.enumerate().map(|(index, name)| Item::kept(name, false, index)).collect();
        let count = items.len();
        let had_conflict = apply(edits, &mut items);
        let mut pieces = Vec::new();
        for item in items {
            match (item.origin, pieces.last_mut()) {
                (Origin::Kept(index), Some(Piece::Kept(kept))) if kept.end == index => kept.end += 1,
                (Origin::Kept(index), _) => pieces.push(Piece::Kept(index..index + 1)),
                (Origin::Renamed(label), _) => {
                    pieces.push(Piece::Renamed { label, name: item.name.into_owned() });
                }
                (Origin::New(edit), _) => pieces.push(Piece::New(edit)),
            }
        }
        let is_plain = !pieces.iter().any(|piece| matches!(piece, Piece::Renamed { .. }));
        let insertion = match pieces[..] {
            [Piece::New(edit)] if count == 0 => Some((0, edit)),
            [Piece::New(edit), Piece::Kept(Range { start: 0, end })] if end == count => Some((0, edit)),
            [Piece::Kept(Range { start: 0, end }), Piece::New(edit)] if end == count => Some((end, edit)),
            [
                Piece::Kept(Range { start: 0, end: place }),
                Piece::New(edit),
                Piece::Kept(Range { start, end }),
            ] if place == start && end == count => Some((place, edit)),
            _ => None,
        };
        Self { pieces, had_conflict, is_plain, insertion }
    }
}

/// The number of the label before which one of this name belongs; `None` if there is one of this name.
#[inline]
fn free_place<'a>(name: &[u8], names: impl Iterator<Item = &'a [u8]>) -> Option<usize> {
    let mut place = 0;
    for other in names {
        match other.cmp(name) {
            Ordering::Less => place += 1,
            Ordering::Equal => return None,
            Ordering::Greater => break,
        }
    }
    Some(place)
}

/// Prometheus' `model.ExportedLabelPrefix`.
const EXPORTED: &[u8] = b"exported_";
const METRIC_NAME: &str = "__name__";
