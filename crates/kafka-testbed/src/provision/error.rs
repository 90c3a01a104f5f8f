//! Why set-up failed, and what the user can do.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
};

use super::{archive::ArchiveError, debian::DebianError, jars::JarError};
use crate::ledger::LedgerError;

/// Why the testbed has not all it runs on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// The file system refused.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// What set-up starts cannot be written down.
    #[error("cannot write down what set-up starts in {}", path.display())]
    Ledger {
        /// The ledger.
        path: PathBuf,
        /// The cause.
        source: LedgerError,
    },
    /// A program is neither there nor to be had.
    #[error(
        "there is no {program} ({least} or newer) on the search path or in the cache, and it cannot be provided: {}",
        ways(debian, archive)
    )]
    Program {
        /// Its name.
        program: &'static str,
        /// The oldest version that does.
        least: &'static str,
        /// Why it cannot come from a Debian package; nothing where the system has no such packages.
        debian: Option<Box<DebianError>>,
        /// Why it cannot come from the project's release.
        archive: Box<ArchiveError>,
    },
    /// The jars are not right.
    #[error("cannot provide the jars of {set}")]
    Jars {
        /// The set.
        set: &'static str,
        /// The cause.
        source: Box<JarError>,
    },
    /// Things are missing, and nothing may be fetched.
    #[error("nothing may be fetched (offline), and these are neither on the search path nor in the cache: {}", missing.join("; "))]
    Offline {
        /// What is missing.
        missing: Vec<String>,
    },
    /// Things are missing, and the cache is read-only.
    #[error("the cache {} cannot be written, and these are neither on the search path nor in it: {}", cache.display(), missing.join("; "))]
    ReadOnly {
        /// The cache.
        cache: PathBuf,
        /// What is missing.
        missing: Vec<String>,
    },
    /// A program of ours is missing.
    #[error("the program {} is missing", .0.display())]
    Own(PathBuf),
}

impl ProvisionError {
    /// Whether something was found that is not what it should be (as opposed to not found at all).
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Jars { source, .. } => source.is_damage(),
            Self::Program { archive, .. } => archive.is_damage(),
            _ => false,
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> String {
        if self.is_full_disk() {
            return "free some space there, or move the testbeds to another disk with --home; what was fetched is kept, and the command run again goes on"
                .to_owned();
        }
        match self {
            Self::Jars { source, .. } => source.hint(),
            Self::Program { program, archive, .. } if archive.is_damage() => format!(
                "run the command again; if it stays so, something between here and the release changes files: install {program} yourself so that it is on the search path"
            ),
            Self::Program { program, .. } => {
                format!(
                    "install {program} so that it is on the search path, or run the command again when the network is back"
                )
            }
            Self::Offline { .. } => {
                "`cargo xtask testbed doctor --fix` with a network fetches all of it once".to_owned()
            }
            Self::ReadOnly { cache, .. } => {
                format!("make {} writable, or choose another home with --home", cache.display())
            }
            Self::Own(_) => "build it: `cargo build --release`".to_owned(),
            Self::Io { .. } | Self::Ledger { .. } => {
                "mend the folder's permissions or choose another home with --home, then run the command again"
                    .to_owned()
            }
        }
    }

    /// Whether the file system is full, anywhere down the chain of causes.
    fn is_full_disk(&self) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
                    || error.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error());
            }
            cause = match error.downcast_ref::<Self>() {
                Some(Self::Program { archive, .. }) => Some(&**archive),
                Some(Self::Jars { source, .. }) => Some(&**source),
                _ => match error.downcast_ref::<JarError>() {
                    Some(JarError::NoWay { central, .. }) => Some(&**central),
                    _ => error.source(),
                },
            };
        }
        false
    }
}

fn ways(debian: &Option<Box<DebianError>>, archive: &ArchiveError) -> String {
    let debian = match debian {
        Some(error) => format!("from a Debian package: {}", chain(&**error)),
        None => "this system has no apt-get and dpkg to unpack a Debian package with".to_owned(),
    };
    format!("{debian}; from the project's release: {}", chain(archive))
}

/// An error with all its causes, where several errors stand in one message.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ProvisionError {
    let path = path.to_owned();
    move |source| ProvisionError::Io { doing, path, source }
}
