//! `purge`: removes what the ledger lists, and nothing else.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use super::{Error, Workplace, down, io_error};
use crate::{
    ledger::{Entry, Ledger},
    progress::Reporter,
    storage,
};

/// What `purge` did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgeReport {
    /// Files and folders removed.
    pub removed: Vec<PathBuf>,
    /// Folders that were left because somebody else's files are in them.
    pub left: Vec<PathBuf>,
}

/// Stops the testbed and removes its files; a folder with foreign files in it stays, with these files.
///
/// # Errors
/// When the testbed cannot be stopped or a file cannot be removed; the ledger is kept then, so that the next try
/// goes on.
pub async fn purge(place: &Workplace, reporter: &mut impl Reporter) -> Result<PurgeReport, Error> {
    let folder = place.folder();
    let mut report = PurgeReport::default();
    if !folder.ledger().exists() {
        return Ok(report);
    }
    down(place, reporter).await?;
    let lock = folder.lock(&format!("`purge`, pid {}", std::process::id()))?;
    let ledger = Ledger::open(&folder.ledger())?;
    for entry in ledger.entries().iter().rev() {
        let Some(path) = ours(folder.path(), entry, &ledger)? else { continue };
        let outcome = match entry {
            Entry::Tree { .. } => fs::remove_dir_all(&path),
            Entry::Directory { .. } => fs::remove_dir(&path),
            _ => fs::remove_file(&path),
        };
        match outcome {
            Ok(()) => report.removed.push(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => report.left.push(path),
            Err(error) => return Err(io_error("removing", &path)(error)),
        }
    }
    // What an interrupted compaction left.
    let _ = fs::remove_file(folder.ledger().with_extension("jsonl.new"));
    let ledger_path = folder.ledger();
    fs::remove_file(&ledger_path).map_err(io_error("removing", &ledger_path))?;
    report.removed.push(ledger_path);
    drop(lock);
    match fs::remove_dir(folder.path()) {
        Ok(()) => report.removed.push(folder.path().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            report.left.push(folder.path().to_owned())
        }
        Err(error) => return Err(io_error("removing", folder.path())(error)),
    }
    Ok(report)
}

/// What `purge` would remove and leave, found out without touching anything.
///
/// # Errors
/// When the ledger cannot be read.
pub fn would_remove(place: &Workplace) -> Result<PurgeReport, Error> {
    let folder = place.folder();
    let mut report = PurgeReport::default();
    if !folder.ledger().exists() {
        return Ok(report);
    }
    let ledger = Ledger::open(&folder.ledger())?;
    let ledger_path = folder.ledger();
    let mut folders = vec![folder.path().to_owned()];
    for entry in ledger.entries().iter().rev() {
        let Some(path) = ours(folder.path(), entry, &ledger)? else { continue };
        match entry {
            Entry::Directory { .. } => folders.push(path),
            _ if path.symlink_metadata().is_ok() => report.removed.push(path),
            _ => {}
        }
    }
    report.removed.push(ledger_path);
    // The deepest first, as a folder goes when all that is in it goes.
    folders.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    for path in folders.into_iter().filter(|path| path.exists()) {
        let entries: Vec<PathBuf> =
            fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        let all_go = entries.iter().all(|entry| report.removed.contains(entry));
        if all_go {
            report.removed.push(path);
        } else {
            report.left.push(path);
        }
    }
    Ok(report)
}

/// The path of an entry that names a thing to remove.
///
/// Below the testbed's folder whatever somebody wrote into the ledger; elsewhere only a storage folder that carries
/// the testbed's token.
fn ours(folder: &Path, entry: &Entry, ledger: &Ledger) -> Result<Option<PathBuf>, Error> {
    let (Entry::File { path } | Entry::Tree { path } | Entry::Directory { path }) = entry else {
        return Ok(None);
    };
    let is_below = path.components().all(|part| matches!(part, Component::Normal(_)));
    if is_below && path.components().next().is_some() {
        return Ok(Some(folder.join(path)));
    }
    if storage::is_ours(path, entry, ledger) {
        return Ok(Some(path.clone()));
    }
    if path.is_absolute() && !path.exists() {
        return Ok(None);
    }
    let source = io::Error::new(io::ErrorKind::InvalidInput, "it is not in the testbed's folder");
    Err(io_error("refusing to remove", path)(source))
}
