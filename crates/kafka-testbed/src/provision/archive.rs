//! Programs out of the release archives of their projects, for systems without Debian packages.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;

use super::{
    download::{DownloadError, Downloader, Remote},
    pins::PinnedArchive,
};

/// Most bytes of an archive: the largest pinned one has about 140 MB.
const MAX_ARCHIVE: u64 = 512 << 20;
/// Most bytes that an archive may hold.
const MAX_UNPACKED: u64 = 2 << 30;

/// Why a program could not come from its project's release.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// No release is pinned for this machine.
    #[error("no release is pinned for machines of the kind {architecture}")]
    NoPin {
        /// Architecture as the compiler names it.
        architecture: &'static str,
    },
    /// The archive could not be fetched, or is not the pinned one.
    #[error(transparent)]
    Download(#[from] DownloadError),
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
    /// The archive holds more than it can.
    #[error("the archive {} holds more than {limit} bytes", path.display())]
    TooLarge {
        /// The archive.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The program is there but does not run on this machine.
    #[error("{} does not run on this machine: {why}", path.display())]
    DoesNotRun {
        /// The program.
        path: PathBuf,
        /// What it said.
        why: String,
    },
    /// The archive does not hold the program.
    #[error("the archive {url} holds no {program}")]
    NoProgram {
        /// The archive.
        url: String,
        /// What was looked for.
        program: &'static str,
    },
}

impl ArchiveError {
    /// Whether other bytes came than the pinned ones.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::Download(DownloadError::Checksum { .. }))
    }
}

/// The pinned release of `program` for this machine.
pub(super) fn pinned(pin: Option<&'static PinnedArchive>) -> Result<&'static PinnedArchive, ArchiveError> {
    pin.ok_or(ArchiveError::NoPin { architecture: std::env::consts::ARCH })
}

/// Fetches the archive `pin` from below `base` and unpacks it to `folder` (which must not exist yet).
pub(super) async fn unpack(
    pin: &PinnedArchive,
    base: &str,
    folder: &Path,
    downloader: &Downloader,
    on_progress: impl FnMut(u64, Option<u64>),
) -> Result<(), ArchiveError> {
    let work = folder.with_extension("fetching");
    if work.exists() {
        fs::remove_dir_all(&work).map_err(io_error("removing the rest of an interrupted try", &work))?;
    }
    fs::create_dir_all(&work).map_err(io_error("creating", &work))?;
    let outcome = unpack_through(&work, pin, base, folder, downloader, on_progress).await;
    // After a failure too: a half of it is of no use, and takes space.
    let removed = fs::remove_dir_all(&work);
    outcome?;
    removed.map_err(io_error("removing", &work))
}

async fn unpack_through(
    work: &Path,
    pin: &PinnedArchive,
    base: &str,
    folder: &Path,
    downloader: &Downloader,
    on_progress: impl FnMut(u64, Option<u64>),
) -> Result<(), ArchiveError> {
    let archive = work.join("archive.tar.gz");
    let url = format!("{}/{}", base.trim_end_matches('/'), pin.path);
    let remote = Remote { url: &url, sha256: pin.sha256, limit: MAX_ARCHIVE };
    downloader.fetch(remote, &archive, on_progress).await?;
    let root = work.join("root");
    let (from, to) = (archive, root.clone());
    match tokio::task::spawn_blocking(move || extract(&from, &to, MAX_UNPACKED)).await {
        Ok(outcome) => outcome?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
    fs::rename(&root, folder).map_err(io_error("moving into the cache", folder))
}

/// Unpacks a `.tar.gz`; nothing of it can land outside `root`.
fn extract(archive: &Path, root: &Path, limit: u64) -> Result<(), ArchiveError> {
    fs::create_dir_all(root).map_err(io_error("creating", root))?;
    let file = File::open(archive).map_err(io_error("opening", archive))?;
    let mut tar = tar::Archive::new(GzDecoder::new(io::BufReader::new(file)));
    let mut held = 0_u64;
    for entry in tar.entries().map_err(io_error("unpacking", archive))? {
        let mut entry = entry.map_err(io_error("unpacking", archive))?;
        held = held.saturating_add(entry.size());
        if held > limit {
            return Err(ArchiveError::TooLarge { path: archive.to_owned(), limit });
        }
        entry.unpack_in(root).map_err(io_error("unpacking into", root))?;
    }
    Ok(())
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    let path = path.to_owned();
    move |source| ArchiveError::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::provision::download::{sha256, tests::serve};

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            // Past the crate's own check of names, as a hostile archive would.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, *content).expect("appends");
        }
        builder.into_inner().expect("ends").finish().expect("ends")
    }

    fn leak<T: ?Sized>(value: Box<T>) -> &'static T {
        Box::leak(value)
    }

    /// Serves `bytes` as the pinned archive; with another checksum where `is_right` is not so.
    async fn fetch(bytes: Vec<u8>, is_right: bool, folder: &Path) -> Result<(), ArchiveError> {
        let file = tempfile::NamedTempFile::new().expect("file");
        fs::write(file.path(), &bytes).expect("writes");
        let sha256 = if is_right { sha256(file.path()).expect("reads") } else { "00".repeat(32) };
        let files: Box<[(&str, &[u8])]> = Box::new([("a/b.tar.gz", leak(bytes.into_boxed_slice()))]);
        let base = serve(leak(files)).await;
        let pin = PinnedArchive {
            program: "b",
            version: "1",
            architecture: std::env::consts::ARCH,
            path: "a/b.tar.gz",
            sha256: leak(sha256.into_boxed_str()),
        };
        let downloader = Downloader::new(Duration::from_secs(20), &[]).expect("no proxy");
        unpack(&pin, &base, folder, &downloader, |_, _| {}).await
    }

    #[tokio::test]
    async fn a_pinned_archive_is_unpacked_over_the_rest_of_an_interrupted_try() {
        let cache = tempfile::tempdir().expect("folder");
        let folder = cache.path().join("b");
        fs::create_dir_all(cache.path().join("b.fetching/root/old")).expect("creates");
        fetch(archive(&[("b-1/bin/b", b"yes")]), true, &folder).await.expect("is right");
        assert_eq!(fs::read(folder.join("b-1/bin/b")).expect("is there"), b"yes");
        assert_eq!(fs::read_dir(cache.path()).expect("reads").count(), 1, "nothing else is left");
    }

    #[tokio::test]
    async fn another_archive_than_the_pinned_one_is_not_unpacked() {
        let cache = tempfile::tempdir().expect("folder");
        let error = fetch(archive(&[("b", b"no")]), false, &cache.path().join("b")).await.expect_err("wrong");
        assert!(error.is_damage(), "{error}");
        assert_eq!(fs::read_dir(cache.path()).expect("reads").count(), 0, "nothing is left");
    }

    #[tokio::test]
    async fn a_torn_archive_is_an_error_and_leaves_nothing() {
        let cache = tempfile::tempdir().expect("folder");
        let mut bytes = archive(&[("b", &[7; 4096])]);
        bytes.truncate(bytes.len() / 2);
        let error = fetch(bytes, true, &cache.path().join("b")).await.expect_err("torn");
        assert!(error.to_string().contains("unpacking"), "{error}");
        assert_eq!(fs::read_dir(cache.path()).expect("reads").count(), 0, "nothing is left");
    }

    #[test]
    fn nothing_lands_outside_and_the_limit_holds_at_and_over() {
        let place = tempfile::tempdir().expect("folder");
        let file = place.path().join("a.tar.gz");
        fs::write(&file, archive(&[("../out", b"evil"), ("in", b"good")])).expect("writes");
        let root = place.path().join("root");
        extract(&file, &root, 8).expect("within the limit");
        assert!(!place.path().join("out").exists() && root.join("in").exists());
        let error = extract(&file, &place.path().join("other"), 7).expect_err("over the limit");
        assert!(matches!(error, ArchiveError::TooLarge { limit: 7, .. }), "{error}");
    }
}
