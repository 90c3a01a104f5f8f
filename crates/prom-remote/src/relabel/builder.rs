//! The labels of one series while rules change them.

/// Labels with their changes beside them, as Prometheus' `labels.Builder` keeps them: the order in which `labelmap`
/// meets the labels, and so which of two wins, depends on it.
#[derive(Debug, Clone, Default)]
pub(super) struct LabelBuilder<'a> {
    /// Sorted by name, names unique, no empty values.
    base: Vec<Base<'a>>,
    /// In the order in which they were first set; no empty values.
    added: Vec<Added>,
}

type Added = (Box<[u8]>, Box<[u8]>);

#[derive(Debug, Clone, Copy)]
struct Base<'a> {
    name: &'a [u8],
    value: &'a [u8],
    is_removed: bool,
}

impl<'a> LabelBuilder<'a> {
    /// Takes the labels of a series; of a repeated name the first counts.
    pub(super) fn new(labels: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let present = labels.filter(|(_, value)| !value.is_empty());
        let mut base: Vec<_> = present.map(|(name, value)| Base { name, value, is_removed: false }).collect();
        base.sort_by_key(|label| label.name);
        base.dedup_by_key(|label| label.name);
        Self { base, added: Vec::new() }
    }

    /// Returns the value of a label, empty if there is none.
    pub(super) fn value(&self, name: &[u8]) -> &[u8] {
        if let Some((_, value)) = self.added.iter().find(|(added, _)| **added == *name) {
            return value;
        }
        match self.position(name).and_then(|position| self.base.get(position)) {
            Some(label) if !label.is_removed => label.value,
            _ => b"",
        }
    }

    /// Sets a label; an empty value removes it.
    pub(super) fn set(&mut self, name: &[u8], value: &[u8]) {
        if value.is_empty() {
            return self.remove(name);
        }
        match self.added.iter_mut().find(|(added, _)| **added == *name) {
            Some((_, old)) => *old = value.into(),
            None => self.added.push((name.into(), value.into())),
        }
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        self.added.retain(|(added, _)| **added != *name);
        if let Some(label) = self.position(name).and_then(|position| self.base.get_mut(position)) {
            label.is_removed = true;
        }
    }

    /// Calls `visit` with each label as they are now; what it changes is not met again.
    pub(super) fn for_each(&mut self, mut visit: impl FnMut(&mut Self, &[u8], &[u8])) {
        let base: Vec<_> = self.untouched().collect();
        let added = self.added.clone();
        for (name, value) in base {
            visit(self, name, value);
        }
        for (name, value) in added {
            visit(self, &name, &value);
        }
    }

    /// Returns the labels sorted by name, or `None` if they are what they were.
    pub(super) fn finish(&self) -> Option<Vec<(&[u8], &[u8])>> {
        let is_base = |(name, value): &Added| {
            let label = self.position(name).and_then(|position| self.base.get(position));
            label.is_some_and(|label| *label.value == **value)
        };
        let is_present = |label: &Base<'_>| {
            !label.is_removed || self.added.iter().any(|(added, _)| **added == *label.name)
        };
        if self.base.iter().all(is_present) && self.added.iter().all(is_base) {
            return None;
        }
        let added = self.added.iter().map(|(name, value)| (&**name, &**value));
        let mut labels: Vec<_> = self.untouched().chain(added).collect();
        labels.sort_unstable();
        Some(labels)
    }

    /// The labels of the series that no rule has touched, sorted.
    fn untouched(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'_, 'a> {
        let is_added = |name: &[u8]| self.added.iter().any(|(added, _)| **added == *name);
        let left = self.base.iter().filter(move |label| !label.is_removed && !is_added(label.name));
        left.map(|label| (label.name, label.value))
    }

    fn position(&self, name: &[u8]) -> Option<usize> {
        self.base.binary_search_by(|label| label.name.cmp(name)).ok()
    }
}
