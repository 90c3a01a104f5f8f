//! `purge`: removes what the ledger lists, and nothing else.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Error, Workplace, down, io_error};
use crate::{
    ledger::{Entry, Ledger},
    progress::Reporter,
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
        let (path, outcome) = match entry {
            Entry::File { path } => (path, fs::remove_file(inside(folder.path(), path)?)),
            Entry::Tree { path } => (path, fs::remove_dir_all(inside(folder.path(), path)?)),
            Entry::Directory { path } => (path, fs::remove_dir(inside(folder.path(), path)?)),
            _ => continue,
        };
        let path = folder.path().join(path);
        match outcome {
            Ok(()) => report.removed.push(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => report.left.push(path),
            Err(error) => return Err(io_error("removing", &path)(error)),
        }
    }
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

/// A path of the ledger must stay below the testbed's folder, whatever somebody wrote into the ledger.
fn inside(folder: &Path, path: &Path) -> Result<PathBuf, Error> {
    let is_below = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if is_below && path.components().next().is_some() {
        Ok(folder.join(path))
    } else {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "the path leaves the testbed's folder");
        Err(io_error("refusing to remove", path)(source))
    }
}
