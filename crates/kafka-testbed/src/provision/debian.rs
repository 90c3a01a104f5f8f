//! Programs out of Debian packages: downloaded and unpacked into the cache, never installed.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use super::helper::{HelperError, Helpers, Job};

const LIMIT: Duration = Duration::from_secs(10 * 60);

/// Why a package is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebianError {
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
    /// apt-get or dpkg did not do its work.
    #[error(transparent)]
    Program(#[from] HelperError),
    /// The download left no package file.
    #[error("apt-get left no file of the package {0}")]
    NoFile(String),
    /// The package does not hold the program.
    #[error("the package {package} holds no {wanted}")]
    NoProgram {
        /// The package.
        package: String,
        /// What was looked for.
        wanted: String,
    },
}

/// The programs that this needs.
#[derive(Debug, Clone)]
pub(super) struct Apt {
    pub(super) apt_get: PathBuf,
    pub(super) dpkg: PathBuf,
    /// How long an archive may say nothing.
    pub(super) silence: Duration,
}

/// Downloads `package` and unpacks it to `folder` (which must not exist yet), with those of `companions` that are to be
/// had: packages that it uses the files of, but starts without.
///
/// The system's package lists are used where they know the package, else lists of our own beside the cache, so
/// that neither root nor a change of the system is needed.
pub(super) async fn unpack(
    package: &str,
    companions: &[&str],
    folder: &Path,
    apt: &Apt,
    helpers: &mut Helpers<'_>,
) -> Result<(), DebianError> {
    let work = folder.with_extension("fetching");
    if work.exists() {
        fs::remove_dir_all(&work).map_err(io_error("removing the rest of an interrupted try", &work))?;
    }
    fs::create_dir_all(&work).map_err(io_error("creating", &work))?;
    let outcome = unpack_through(&work, package, companions, folder, apt, helpers).await;
    // After a failure too: what is left of it takes space, and is of no use.
    let removed = fs::remove_dir_all(&work);
    outcome?;
    removed.map_err(io_error("removing", &work))
}

async fn unpack_through(
    work: &Path,
    package: &str,
    companions: &[&str],
    folder: &Path,
    apt: &Apt,
    helpers: &mut Helpers<'_>,
) -> Result<(), DebianError> {
    let mut lists = Vec::new();
    if download(&[package], work, apt, helpers, &lists).await.is_err() {
        let partial = work.join("lists/partial");
        fs::create_dir_all(&partial).map_err(io_error("creating", &partial))?;
        let cache = work.join("archives/partial");
        fs::create_dir_all(&cache).map_err(io_error("creating", &cache))?;
        lists = vec![
            format!("-oDir::State::Lists={}", work.join("lists").display()),
            format!("-oDir::Cache={}", work.display()),
        ];
        let arguments =
            patience(apt).into_iter().chain(lists.iter().map(Into::into)).chain(["update".into()]).collect();
        let job = Job {
            what: "reading the lists of Debian packages",
            program: &apt.apt_get,
            arguments,
            folder: work,
            limit: LIMIT,
            silence: None,
        };
        // Lists of other archives may fail; whether ours did shows at the download.
        let _ = helpers.run(job, |_| {}).await;
        download(&[package], work, apt, helpers, &lists).await?;
    }
    if !companions.is_empty() {
        // Without them only a page looks poor.
        let _ = download(companions, work, apt, helpers, &lists).await;
    }
    let files: Vec<PathBuf> = fs::read_dir(work)
        .map_err(io_error("reading", work))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    if files.is_empty() {
        return Err(DebianError::NoFile(package.to_owned()));
    }
    let root = work.join("root");
    for file in files {
        let job = Job {
            what: "unpacking a Debian package",
            program: &apt.dpkg,
            arguments: vec!["-x".into(), file.into_os_string(), root.clone().into_os_string()],
            folder: work,
            limit: LIMIT,
            silence: None,
        };
        helpers.run(job, |_| {}).await?;
    }
    stay_inside(&root, &root).map_err(io_error("mending the links of", &root))?;
    fs::rename(&root, folder).map_err(io_error("moving into the cache", folder))
}

async fn download(
    packages: &[&str],
    work: &Path,
    apt: &Apt,
    helpers: &mut Helpers<'_>,
    options: &[String],
) -> Result<(), HelperError> {
    let arguments = patience(apt)
        .into_iter()
        .chain(options.iter().map(Into::into))
        .chain(["-q".into(), "download".into()])
        .chain(packages.iter().map(Into::into))
        .collect();
    let what = format!("downloading the Debian package {}", packages.join(", "));
    let job =
        Job { what: &what, program: &apt.apt_get, arguments, folder: work, limit: LIMIT, silence: None };
    helpers.run(job, |_| {}).await
}

/// apt-get's own limits: it would wait longer for an archive that says nothing, and ask it more often.
fn patience(apt: &Apt) -> Vec<OsString> {
    let seconds = apt.silence.as_secs().max(1);
    ["http", "https"]
        .iter()
        .map(|kind| format!("-oAcquire::{kind}::Timeout={seconds}").into())
        .chain(["-oAcquire::Retries=1".into()])
        .collect()
}

/// Turns links to absolute paths into links inside the unpacked tree, where their target is there.
///
/// A Java runtime's configuration is such a link (`conf/…` → `/etc/java-17-openjdk/…`).
fn stay_inside(folder: &Path, root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            stay_inside(&path, root)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path)?;
            let Ok(below) = target.strip_prefix("/") else { continue };
            if fs::symlink_metadata(root.join(below)).is_ok() {
                let depth = path.strip_prefix(root).map_or(0, |path| path.components().count());
                let up: PathBuf = std::iter::repeat_n("..", depth.saturating_sub(1)).collect();
                fs::remove_file(&path)?;
                symlink(up.join(below), &path)?;
            }
        }
    }
    Ok(())
}

/// Finds the file `bin/NAME` or `NAME` below `folder` that can be executed.
pub(super) fn find_program(folder: &Path, candidates: &[&str]) -> Option<PathBuf> {
    candidates.iter().flat_map(|pattern| expand(folder, pattern)).find(|path| path.is_file())
}

/// Expands a path pattern whose parts may end in `*`.
fn expand(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    pattern.split('/').fold(vec![folder.to_owned()], |paths, part| match part.strip_suffix('*') {
        None => paths.into_iter().map(|path| path.join(part)).collect(),
        Some(prefix) => paths
            .iter()
            .filter_map(|path| fs::read_dir(path).ok())
            .flat_map(|entries| entries.flatten())
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path())
            .collect(),
    })
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DebianError {
    let path = path.to_owned();
    move |source| DebianError::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_links_stay_inside_the_tree() {
        let folder = tempfile::tempdir().expect("folder");
        let root = folder.path();
        fs::create_dir_all(root.join("etc/java")).expect("creates");
        fs::create_dir_all(root.join("usr/lib/jvm/conf")).expect("creates");
        fs::write(root.join("etc/java/security"), "yes").expect("writes");
        symlink("/etc/java/security", root.join("usr/lib/jvm/conf/security")).expect("links");
        symlink("/etc/nowhere", root.join("usr/lib/jvm/conf/other")).expect("links");
        stay_inside(root, root).expect("mends");
        assert_eq!(fs::read_to_string(root.join("usr/lib/jvm/conf/security")).expect("reads"), "yes");
        assert_eq!(
            fs::read_link(root.join("usr/lib/jvm/conf/other")).expect("left"),
            Path::new("/etc/nowhere")
        );
    }

    #[test]
    fn finds_a_program_behind_a_versioned_folder() {
        let folder = tempfile::tempdir().expect("folder");
        let bin = folder.path().join("usr/lib/jvm/java-17-openjdk/bin");
        fs::create_dir_all(&bin).expect("creates");
        fs::write(bin.join("java"), "").expect("writes");
        assert_eq!(
            find_program(folder.path(), &["usr/bin/java", "usr/lib/jvm/java-*/bin/java"]),
            Some(bin.join("java"))
        );
        assert_eq!(find_program(folder.path(), &["usr/bin/prometheus"]), None);
    }
}
