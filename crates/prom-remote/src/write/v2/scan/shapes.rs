//! The shapes of series that were met: exporters write a few in turn, for instance a container, its pod, its sandbox.

use super::{KnownRefs, SymbolTable};

/// The names of the labels of a few series: in order, clean, and judged once.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    shapes: Vec<Shape>,
    /// The one to be forgotten next.
    oldest: usize,
}

#[derive(Debug)]
struct Shape {
    names: Vec<u32>,
    has_metric_name: bool,
}

/// A shape that was looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) slot: usize,
    pub(super) is_new: bool,
    pub(super) has_metric_name: bool,
}

impl Shapes {
    /// Finds the shape of these labels, or remembers it; `None` if their names are not clean or not in order.
    #[inline]
    pub(super) fn find(&mut self, labels: &[KnownRefs], symbols: &SymbolTable<'_>) -> Option<Found> {
        for (slot, shape) in self.shapes.iter().enumerate() {
            let is_same = shape.names.len() == labels.len()
                && shape.names.iter().zip(labels).all(|(name, label)| *name == label.name);
            if is_same {
                return Some(Found { slot, is_new: false, has_metric_name: shape.has_metric_name });
            }
        }
        self.add(labels, symbols)
    }

    fn add(&mut self, labels: &[KnownRefs], symbols: &SymbolTable<'_>) -> Option<Found> {
        let mut previous: Option<&[u8]> = None;
        let mut has_metric_name = false;
        for label in labels {
            let name = symbols.get(label.name).filter(|_| symbols.is_clean(label.name))?;
            if previous.is_some_and(|previous| previous >= name) {
                return None;
            }
            has_metric_name |= name == b"__name__";
            previous = Some(name);
        }
        let shape = Shape { names: labels.iter().map(|label| label.name).collect(), has_metric_name };
        let slot = if self.shapes.len() < MAX_SHAPES {
            self.shapes.push(shape);
            self.shapes.len() - 1
        } else {
            let slot = self.oldest;
            self.oldest = (slot + 1) % MAX_SHAPES;
            *self.shapes.get_mut(slot)? = shape;
            slot
        };
        Some(Found { slot, is_new: true, has_metric_name })
    }
}

/// So many shapes are remembered.
pub(in crate::write::v2) const MAX_SHAPES: usize = 8;
