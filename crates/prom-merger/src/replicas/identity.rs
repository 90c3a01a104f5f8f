//! What a series and a replica are called, whichever replica sends.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;
use prom_remote::LabelView;

/// A series without the label of its replica. Two of one key are taken for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SeriesKey(pub(crate) u64);

/// Makes the keys of series.
#[derive(Debug, Clone)]
pub(crate) struct SeriesKeys {
    hasher: FixedState,
    /// The label that tells replicas apart, where there is one.
    replica_label: Option<Vec<u8>>,
}

impl SeriesKeys {
    pub(crate) fn new(replica_label: Option<&str>) -> Self {
        let hasher = FixedState::with_seed(SEED);
        Self { hasher, replica_label: replica_label.map(|label| label.as_bytes().to_vec()) }
    }

    pub(crate) fn key<'a>(&self, labels: impl Iterator<Item = LabelView<'a>>) -> SeriesKey {
        let mut hasher = self.hasher.build_hasher();
        for LabelView { name, value } in labels {
            let is_of_replica = self.replica_label.as_deref() == Some(name);
            if is_of_replica || value.is_empty() {
                continue;
            }
            for bytes in [name, value] {
                hasher.write_usize(bytes.len());
                hasher.write(bytes);
            }
        }
        SeriesKey(hasher.finish())
    }

    /// Changes where keys of former runs would mean something else: another label, or a hash that has changed.
    pub(crate) fn version(&self) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(
            b"a text long enough to go through every part of the hash, whatever its block size may be",
        );
        hasher.write(self.replica_label.as_deref().unwrap_or_default());
        hasher.write_usize(1);
        hasher.finish()
    }

    pub(crate) fn replica_label(&self) -> Option<&[u8]> {
        self.replica_label.as_deref()
    }
}

/// A name as a folder: letters, digits and `-` stay, every other byte becomes `%` and two digits.
pub(crate) fn folder_name(replica: &str) -> String {
    let mut folder = String::with_capacity(replica.len());
    for byte in replica.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            folder.push(char::from(byte));
        } else {
            folder.push_str(&format!("%{byte:02x}"));
        }
    }
    folder
}

/// The name that has this folder; `None` if no name has it.
pub(crate) fn replica_of_folder(folder: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(folder.len());
    let mut rest = folder.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    (is_replica_name(&name) && folder_name(&name) == folder).then_some(name)
}

/// Whether a replica may have this name: its folder must have one that every file system takes.
pub(crate) fn is_replica_name(name: &str) -> bool {
    !name.is_empty() && folder_name(name).len() <= MAX_FOLDER_BYTES
}

/// With the name of the source, and a dot, below 255.
const MAX_FOLDER_BYTES: usize = 180;
const SEED: u64 = 0x7072_6f6d_6d65_7267;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(keys: &SeriesKeys, labels: &[(&str, &str)]) -> SeriesKey {
        keys.key(
            labels.iter().map(|(name, value)| LabelView { name: name.as_bytes(), value: value.as_bytes() }),
        )
    }

    #[test]
    fn replicas_have_the_same_series() {
        let keys = SeriesKeys::new(Some("replica"));
        let a = key(&keys, &[("__name__", "up"), ("job", "x"), ("replica", "a")]);
        let b = key(&keys, &[("__name__", "up"), ("job", "x"), ("replica", "b")]);
        assert_eq!(a, b);
        assert_eq!(a, key(&keys, &[("__name__", "up"), ("empty", ""), ("job", "x")]));
        assert_ne!(a, key(&keys, &[("__name__", "up"), ("job", "xreplica")]));
        assert_ne!(key(&keys, &[("a", "bc")]), key(&keys, &[("ab", "c")]));
        assert_ne!(keys.version(), SeriesKeys::new(None).version());
    }

    #[test]
    fn every_name_has_a_folder_of_its_own() {
        for name in ["prometheus-k8s-0", "A_b.c/..", "%41", "ä", "."] {
            let folder = folder_name(name);
            assert!(
                folder.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-%".contains(&byte)),
                "{folder}"
            );
            assert_eq!(replica_of_folder(&folder).as_deref(), Some(name));
        }
        for folder in ["", "%4", "%zz", "%41", "a_b", "%FF", "%ff"] {
            assert_eq!(replica_of_folder(folder), None, "{folder}");
        }
    }
}
