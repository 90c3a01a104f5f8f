//! Where a user's testbeds lie.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::ledger::{self, Entry, Ledger, LedgerError};

/// The folder of all testbeds of a user, and of the cache that they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(PathBuf);

/// The folder of one testbed and the names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestbedFolder(PathBuf);

/// Why a testbed cannot be worked on now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another command works on it.
    #[error("another command works on this testbed: {holder}")]
    Busy {
        /// What the other command wrote about itself.
        holder: String,
    },
    /// The file system refused.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock's path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl Home {
    /// The home below `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What is downloaded, shared by all testbeds.
    pub fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }

    /// The folder of the testbed `name`.
    pub fn testbed(&self, name: &str) -> TestbedFolder {
        TestbedFolder(self.0.join("testbeds").join(name))
    }

    /// The names of all testbeds that have a ledger, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.join("testbeds"))
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().join(Ledger::FILE_NAME).exists())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// The loopback blocks that testbeds have, dead or alive.
    ///
    /// # Errors
    /// When a ledger cannot be read: its block is unknown then.
    pub fn taken_blocks(&self) -> Result<BTreeSet<[u8; 3]>, LedgerError> {
        let mut blocks = BTreeSet::new();
        for entry in fs::read_dir(self.0.join("testbeds")).into_iter().flatten().flatten() {
            let path = entry.path().join(Ledger::FILE_NAME);
            if path.exists()
                && let Some(Entry::Testbed { block, .. }) = ledger::read(&path)?.first()
            {
                blocks.insert(*block);
            }
        }
        Ok(blocks)
    }
}

impl TestbedFolder {
    /// The testbed that lies in `folder`.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The ledger.
    pub fn ledger(&self) -> PathBuf {
        self.0.join(Ledger::FILE_NAME)
    }

    /// The plan as Compose YAML: what the supervisor runs.
    pub fn plan(&self) -> PathBuf {
        self.0.join("compose.yaml")
    }

    /// What the supervisor needs beside the plan.
    pub fn runtime(&self) -> PathBuf {
        self.0.join("runtime.json")
    }

    /// The specification that the last `up` was given.
    pub fn spec(&self) -> PathBuf {
        self.0.join(Self::SPEC)
    }

    /// Name of the specification's copy.
    pub const SPEC: &'static str = "spec.yaml";

    /// Name of the supervisor's socket.
    pub const SOCKET: &'static str = "supervisor.sock";

    /// Held by the supervisor as long as it lives.
    pub fn supervisor_lock(&self) -> PathBuf {
        self.0.join("supervisor.lock")
    }

    /// Log of a service.
    pub fn log(&self, service: &str) -> PathBuf {
        self.0.join("logs").join(format!("{service}.log"))
    }

    /// Takes the lock that a command holds while it changes the testbed.
    ///
    /// # Errors
    /// [`LockError::Busy`] names the holder when another command has it.
    pub fn lock(&self, holder: &str) -> Result<File, LockError> {
        let path = self.0.join("lock");
        let failed = |source| LockError::Io { path: path.clone(), source };
        let file = File::options().create(true).read(true).append(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(LockError::Busy { holder: fs::read_to_string(&path).unwrap_or_default() });
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        io::Write::write_all(&mut (&file), holder.as_bytes()).map_err(failed)?;
        Ok(file)
    }

    /// Tells whether a supervisor lives.
    pub fn is_supervised(&self) -> bool {
        File::options()
            .read(true)
            .open(self.supervisor_lock())
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_command_is_told_who_works() {
        let folder = tempfile::tempdir().expect("folder");
        let testbed = TestbedFolder(folder.path().to_owned());
        let first = testbed.lock("`down` (pid 7)").expect("free");
        let error = testbed.lock("`up` (pid 8)").expect_err("taken");
        assert!(error.to_string().ends_with("`down` (pid 7)"), "{error}");
        drop(first);
        testbed.lock("`up` (pid 8)").expect("free again");
    }

    #[test]
    fn a_supervisor_is_alive_as_long_as_it_holds_its_lock() {
        let folder = tempfile::tempdir().expect("folder");
        let testbed = TestbedFolder(folder.path().to_owned());
        assert!(!testbed.is_supervised());
        let file = File::create(testbed.supervisor_lock()).expect("creates");
        assert!(!testbed.is_supervised());
        file.lock().expect("locks");
        assert!(testbed.is_supervised());
        drop(file);
        assert!(!testbed.is_supervised());
    }
}
