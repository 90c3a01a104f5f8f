//! Data folders outside the testbed's own: on a disk that the user chose.
//!
//! In the user's folder the testbed makes one of its own, `kafka-testbed-NAME`, with a file in it that carries the
//! testbed's token. Nothing outside such a folder is ever removed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::ledger::{Entry, Ledger, LedgerError};

/// Name of the file that says whose the folder is.
pub const MARKER: &str = ".kafka-testbed";

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The user's folder is not there.
    #[error("the storage folder {} does not exist; create it, so that its disk and its rights are what you want", .0.display())]
    Missing(PathBuf),
    /// The folder is another testbed's.
    #[error("{} belongs to another testbed", .0.display())]
    Foreign(PathBuf),
    /// The ledger is not usable.
    #[error("cannot write down that {} is created", path.display())]
    Ledger {
        /// What was to be created.
        path: PathBuf,
        /// The cause.
        source: LedgerError,
    },
    /// The file system refused.
    #[error("creating {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Makes the data folder `tree`, `STORAGE/kafka-testbed-NAME/SERVICE`; each part is written down first.
///
/// # Errors
/// When the storage folder is missing, belongs to another testbed, or cannot be written.
pub fn create(tree: &Path, ledger: &mut Ledger) -> Result<(), StorageError> {
    let own = tree.parent().unwrap_or(tree);
    let storage = own.parent().unwrap_or(own);
    if !storage.is_dir() {
        return Err(StorageError::Missing(storage.to_owned()));
    }
    let marker = own.join(MARKER);
    if own.exists() && fs::read_to_string(&marker).ok().as_deref() != Some(ledger.token()) {
        let is_empty = fs::read_dir(own).is_ok_and(|mut entries| entries.next().is_none());
        if !is_empty {
            return Err(StorageError::Foreign(own.to_owned()));
        }
    }
    let entries = [
        Entry::Directory { path: own.to_owned() },
        Entry::File { path: marker.clone() },
        Entry::Tree { path: tree.to_owned() },
    ];
    for entry in entries {
        ledger.record_once(entry).map_err(|source| StorageError::Ledger { path: tree.to_owned(), source })?;
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| StorageError::Io { path, source }
    };
    fs::create_dir_all(own).map_err(failed(own))?;
    fs::write(&marker, ledger.token()).map_err(failed(&marker))?;
    fs::create_dir_all(tree).map_err(failed(tree))
}

/// Whether an absolute path of the ledger is part of a storage folder of this testbed.
pub(crate) fn is_ours(path: &Path, entry: &Entry, ledger: &Ledger) -> bool {
    let plain = |part| matches!(part, std::path::Component::RootDir | std::path::Component::Normal(_));
    if !path.is_absolute() || !path.components().all(plain) {
        return false;
    }
    let name = match ledger.entries().first() {
        Some(Entry::Testbed { name, .. }) => format!("kafka-testbed-{name}"),
        _ => return false,
    };
    let own = match entry {
        // Only an empty folder is removed, so its name is enough: its marker has gone before it.
        Entry::Directory { .. } => return path.file_name().is_some_and(|own| *own == *name),
        _ => path.parent(),
    };
    own.is_some_and(|own| {
        own.file_name().is_some_and(|found| *found == *name)
            && fs::read_to_string(own.join(MARKER)).ok().as_deref() == Some(ledger.token())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(folder: &Path, token: &str) -> Ledger {
        let first = Entry::Testbed { name: "a".to_owned(), token: token.to_owned(), block: [127, 64, 1] };
        Ledger::open_or_begin(&folder.join(token), || first).expect("begins")
    }

    #[test]
    fn only_a_folder_with_our_token_is_ours() {
        let folder = tempfile::tempdir().expect("folder");
        let mut own = ledger(folder.path(), "own");
        let other = ledger(folder.path(), "other");
        let tree = folder.path().join("kafka-testbed-a/kafka-prometheus");
        create(&tree, &mut own).expect("creates");
        create(&tree, &mut own).expect("is there already");
        let entry = Entry::Tree { path: tree.clone() };
        assert!(own.entries().contains(&entry));
        assert!(is_ours(&tree, &entry, &own));
        assert!(!is_ours(&tree, &entry, &other));
        for foreign in ["/etc/passwd", "/", "/tmp/kafka-testbed-a/../x", "kafka-testbed-a/x"] {
            for entry in [Entry::Tree { path: foreign.into() }, Entry::File { path: foreign.into() }] {
                assert!(!is_ours(Path::new(foreign), &entry, &own), "{foreign}");
            }
        }
    }

    #[test]
    fn a_missing_and_a_foreign_storage_folder_are_told() {
        let folder = tempfile::tempdir().expect("folder");
        let mut own = ledger(folder.path(), "own");
        let missing = folder.path().join("no/kafka-testbed-a/x");
        assert!(matches!(create(&missing, &mut own), Err(StorageError::Missing(_))));
        let tree = folder.path().join("kafka-testbed-a/x");
        fs::create_dir_all(tree.parent().expect("has one").join("somebodys")).expect("creates");
        assert!(matches!(create(&tree, &mut own), Err(StorageError::Foreign(_))));
    }
}
