//! The ledger: what a testbed made, written down before it is made.
//!
//! One JSON object a line, each synced to the disk before the thing it names is created. What is not in the
//! ledger is never removed (invariant 12); a last line that a power cut tore is ignored, since the thing it
//! names was not created yet.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::process::ProcessIdentity;

/// What one line of the ledger says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Entry {
    /// The testbed itself: written first, never twice.
    Testbed {
        /// Its name.
        name: String,
        /// The token that its processes carry.
        token: String,
        /// The first three octets of its loopback block.
        block: [u8; 3],
    },
    /// A folder that holds other things of the ledger; removed only when empty.
    Directory {
        /// Path below the testbed's folder, or absolute.
        path: PathBuf,
    },
    /// A folder that belongs to one service with all that the service puts into it.
    Tree {
        /// Path below the testbed's folder.
        path: PathBuf,
    },
    /// A file that we write.
    File {
        /// Path below the testbed's folder.
        path: PathBuf,
    },
    /// A process is about to be started (its pid is not known yet; it carries the token).
    Spawn {
        /// The service, or what the process does.
        what: String,
    },
    /// The process runs.
    Started {
        /// The service, or what the process does.
        what: String,
        /// Who it is.
        #[serde(flatten)]
        process: ProcessIdentity,
    },
    /// The process has ended and was waited for.
    Ended {
        /// The service, or what the process does.
        what: String,
        /// Who it was.
        #[serde(flatten)]
        process: ProcessIdentity,
        /// `exit code 1`, `signal 9 (SIGKILL)`.
        how: String,
    },
}

/// An open ledger.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
    entries: Vec<Entry>,
}

/// Why a ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The file system refused.
    #[error("{doing} the ledger {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The ledger's path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A line that is not the last one cannot be read.
    #[error("line {line} of the ledger {} is damaged; nothing is removed without a ledger that can be read", path.display())]
    Damaged {
        /// The ledger's path.
        path: PathBuf,
        /// 1-based.
        line: usize,
        /// The cause.
        source: serde_json::Error,
    },
    /// The ledger does not begin with the testbed.
    #[error("the ledger {} does not say which testbed it belongs to", .0.display())]
    NoTestbed(PathBuf),
}

impl Ledger {
    /// The ledger's file name in a testbed's folder.
    pub const FILE_NAME: &'static str = "ledger.jsonl";

    /// Opens the ledger at `path`, or begins it with `first`.
    ///
    /// # Errors
    /// When it cannot be read, written or is damaged before its last line.
    pub fn open_or_begin(path: &Path, first: impl FnOnce() -> Entry) -> Result<Self, LedgerError> {
        let entries = if path.exists() { read(path)? } else { Vec::new() };
        let mut ledger = Self::with_entries(path, entries)?;
        if ledger.entries.is_empty() {
            let first = first();
            ledger.record(first)?;
        }
        Ok(ledger)
    }

    /// Opens an existing ledger.
    ///
    /// # Errors
    /// When it cannot be read, or does not begin with a testbed.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let entries = read(path)?;
        if !matches!(entries.first(), Some(Entry::Testbed { .. })) {
            return Err(LedgerError::NoTestbed(path.to_owned()));
        }
        Self::with_entries(path, entries)
    }

    fn with_entries(path: &Path, entries: Vec<Entry>) -> Result<Self, LedgerError> {
        let failed = |doing| move |source| LedgerError::Io { doing, path: path.to_owned(), source };
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed("opening"))?;
        // A torn last line is cut off, so that the next entry starts on a line of its own.
        file.lock().map_err(failed("locking"))?;
        let length = whole_lines(&fs::read(path).map_err(failed("reading"))?) as u64;
        file.set_len(length).map_err(failed("repairing"))?;
        file.unlock().map_err(failed("unlocking"))?;
        if let Some(folder) = path.parent() {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(failed("syncing the folder of"))?;
        }
        Ok(Self { path: path.to_owned(), file, entries })
    }

    /// Writes `entry` and waits until it is on the disk. Create the thing only after this returned.
    ///
    /// The command line and the supervisor write to the same ledger: each line is written under a lock of the file.
    ///
    /// # Errors
    /// When the file system refuses: then the thing must not be created.
    pub fn record(&mut self, entry: Entry) -> Result<(), LedgerError> {
        let mut line = serde_json::to_vec(&entry).expect("an entry has only strings and numbers");
        line.push(b'\n');
        self.append(&line).map_err(|source| LedgerError::Io {
            doing: "writing",
            path: self.path.clone(),
            source,
        })?;
        self.entries.push(entry);
        Ok(())
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.lock()?;
        let length = self.file.metadata()?.len();
        let written = self.file.write_all(line).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Half a line (a full disk) must not run into the next entry.
            let _ = self.file.set_len(length);
        }
        let unlocked = self.file.unlock();
        written.and(unlocked)
    }

    /// Records `entry` unless the ledger has it already.
    ///
    /// # Errors
    /// As [`Ledger::record`].
    pub fn record_once(&mut self, entry: Entry) -> Result<(), LedgerError> {
        if self.entries.contains(&entry) { Ok(()) } else { self.record(entry) }
    }

    /// Drops what says nothing any more: processes that were started and have ended, and started ones that live no
    /// more. A testbed that is used every day would have a ledger without end otherwise.
    ///
    /// Only for a testbed that nobody else writes the ledger of. After a power cut there is the old ledger or the new.
    ///
    /// # Errors
    /// When the file system refuses; the old ledger stays then.
    pub fn compact(&mut self) -> Result<(), LedgerError> {
        let living: Vec<(String, ProcessIdentity)> =
            self.running().into_iter().filter(|(_, process)| process.is_alive()).collect();
        let is_kept = |entry: &Entry| match entry {
            Entry::Spawn { .. } | Entry::Ended { .. } => false,
            Entry::Started { what, process } => living.contains(&(what.clone(), *process)),
            _ => true,
        };
        let entries: Vec<Entry> = self.entries.iter().filter(|entry| is_kept(entry)).cloned().collect();
        if entries.len() == self.entries.len() {
            return Ok(());
        }
        let failed = |doing| {
            let path = self.path.clone();
            move |source| LedgerError::Io { doing, path, source }
        };
        let new = self.path.with_extension("jsonl.new");
        let mut text = Vec::new();
        for entry in &entries {
            serde_json::to_writer(&mut text, entry).expect("an entry has only strings and numbers");
            text.push(b'\n');
        }
        let mut file = File::create(&new).map_err(failed("compacting"))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed("compacting"))?;
        fs::rename(&new, &self.path).map_err(failed("compacting"))?;
        *self = Self::with_entries(&self.path, entries)?;
        Ok(())
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The token of the testbed's processes.
    pub fn token(&self) -> &str {
        match self.entries.first() {
            Some(Entry::Testbed { token, .. }) => token,
            _ => "",
        }
    }

    /// The first three octets of the testbed's loopback block.
    pub fn block(&self) -> Option<[u8; 3]> {
        match self.entries.first() {
            Some(Entry::Testbed { block, .. }) => Some(*block),
            _ => None,
        }
    }

    /// Processes that were started and not seen to end, in the order of their start.
    pub fn running(&self) -> Vec<(String, ProcessIdentity)> {
        let ended: BTreeSet<(u32, u64)> = self
            .entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Ended { process, .. } => Some((process.pid, process.start_ticks)),
                _ => None,
            })
            .collect();
        self.entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Started { what, process } if !ended.contains(&(process.pid, process.start_ticks)) => {
                    Some((what.clone(), *process))
                }
                _ => None,
            })
            .collect()
    }
}

/// Reads the entries of a ledger without opening it for writing.
///
/// # Errors
/// As [`Ledger::open`].
pub fn read(path: &Path) -> Result<Vec<Entry>, LedgerError> {
    let bytes = fs::read(path).map_err(|source| LedgerError::Io {
        doing: "reading",
        path: path.to_owned(),
        source,
    })?;
    let whole = &bytes[..whole_lines(&bytes)];
    whole
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            serde_json::from_slice(line).map_err(|source| LedgerError::Damaged {
                path: path.to_owned(),
                line: index + 1,
                source,
            })
        })
        .collect()
}

fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn testbed() -> Entry {
        Entry::Testbed { name: "a".to_owned(), token: "t".to_owned(), block: [127, 64, 1] }
    }

    fn process(pid: u32) -> ProcessIdentity {
        ProcessIdentity { pid, start_ticks: 7 }
    }

    #[test]
    fn remembers_who_runs_over_a_restart() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(Ledger::FILE_NAME);
        let mut ledger = Ledger::open_or_begin(&path, testbed).expect("begins");
        for pid in [1, 2] {
            ledger
                .record(Entry::Started { what: format!("s{pid}"), process: process(pid) })
                .expect("records");
        }
        ledger
            .record(Entry::Ended {
                what: "s1".to_owned(),
                process: process(1),
                how: "exit code 0".to_owned(),
            })
            .expect("records");
        drop(ledger);
        let ledger = Ledger::open(&path).expect("opens");
        assert_eq!(ledger.running(), [("s2".to_owned(), process(2))]);
        assert_eq!((ledger.token(), ledger.block()), ("t", Some([127, 64, 1])));
    }

    #[test]
    fn compacting_keeps_what_must_be_removed_and_who_lives() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(Ledger::FILE_NAME);
        let mut ledger = Ledger::open_or_begin(&path, testbed).expect("begins");
        let own = ProcessIdentity::of(std::process::id()).expect("we run");
        let started = |what: &str, process| Entry::Started { what: what.to_owned(), process };
        let ended = Entry::Ended { what: "a".to_owned(), process: process(1), how: String::new() };
        ledger.record(Entry::File { path: "x".into() }).expect("records");
        for entry in [started("a", process(1)), ended, started("b", process(2)), started("c", own)] {
            ledger.record(Entry::Spawn { what: "any".to_owned() }).expect("records");
            ledger.record(entry).expect("records");
        }
        ledger.compact().expect("compacts");
        ledger.record(Entry::File { path: "y".into() }).expect("records");
        let expected = [
            testbed(),
            Entry::File { path: "x".into() },
            started("c", own),
            Entry::File { path: "y".into() },
        ];
        assert_eq!(read(&path).expect("reads"), expected);
        assert_eq!(ledger.entries(), expected);
    }

    #[test]
    fn a_torn_last_line_is_dropped_at_every_length() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(Ledger::FILE_NAME);
        let mut ledger = Ledger::open_or_begin(&path, testbed).expect("begins");
        ledger.record(Entry::File { path: "x".into() }).expect("records");
        let before = fs::read(&path).expect("reads").len();
        ledger.record(Entry::File { path: "y".into() }).expect("records");
        let whole = fs::read(&path).expect("reads");
        for length in before..whole.len() {
            fs::write(&path, &whole[..length]).expect("tears");
            let mut ledger = Ledger::open(&path).expect("opens");
            assert_eq!(ledger.entries().len(), 2, "cut at {length}");
            ledger.record(Entry::File { path: "z".into() }).expect("records");
            assert_eq!(read(&path).expect("reads").len(), 3, "cut at {length}");
        }
    }

    #[test]
    fn damage_in_the_middle_is_an_error_with_its_line() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(Ledger::FILE_NAME);
        let mut ledger = Ledger::open_or_begin(&path, testbed).expect("begins");
        ledger.record(Entry::File { path: "x".into() }).expect("records");
        let mut bytes = fs::read(&path).expect("reads");
        bytes[2] = b'\xff';
        fs::write(&path, bytes).expect("damages");
        let error = Ledger::open(&path).expect_err("damaged");
        assert!(error.to_string().contains("line 1"), "{error}");
    }

    #[test]
    fn a_foreign_ledger_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(Ledger::FILE_NAME);
        fs::write(&path, "").expect("writes");
        assert!(matches!(Ledger::open(&path), Err(LedgerError::NoTestbed(_))));
    }
}
