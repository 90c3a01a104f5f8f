//! Jars in the cache, each checked against its pinned SHA-256 before it is used.

mod central;
mod maven;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Begun, Found, ProvisionError, Setup,
    cache_lock::CacheLock,
    download::{DownloadError, sha256},
    error::{chain, io_error as set_up_error},
    find,
    helper::{HelperError, Helpers},
    pins::{Pin, PinnedSet},
};
use crate::progress::{Event, Reporter};

/// Most bytes of a jar; the largest pinned one has 13 MB.
const MAX_JAR: u64 = 64 << 20;

/// Why the jars are not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JarError {
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
    /// Jars in the cache are not the pinned ones. They were moved aside.
    #[error("{}", damaged(.0))]
    Damaged(Vec<DamagedJar>),
    /// Maven delivered other bytes than the pinned ones.
    #[error(
        "Maven delivered another {coordinate} than the pinned one (SHA-256 {found}, expected {expected}); \
         its copy is {repository_path} in the local Maven repository"
    )]
    Other {
        /// The coordinate.
        coordinate: String,
        /// What it has.
        found: String,
        /// What it should have.
        expected: &'static str,
        /// Path below `~/.m2/repository`.
        repository_path: String,
    },
    /// Maven said that it was done, and was not.
    #[error("Maven said that it was done, but {} is not there", .0.display())]
    Absent(PathBuf),
    /// Maven did not deliver.
    #[error(transparent)]
    Maven(#[from] HelperError),
    /// Maven Central or its mirror did not deliver.
    #[error(transparent)]
    Central(#[from] DownloadError),
    /// Neither way did.
    #[error("with Maven: {}; straight from Maven Central: {}", chain(&**maven), chain(&**central))]
    NoWay {
        /// Why Maven did not.
        maven: Box<Self>,
        /// Why the direct way did not.
        central: Box<Self>,
    },
}

impl JarError {
    /// Whether other bytes were found than the pinned ones.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Other { .. } | Self::Central(DownloadError::Checksum { .. }) => true,
            Self::NoWay { maven, central } => maven.is_damage() || central.is_damage(),
            _ => false,
        }
    }

    pub(super) fn hint(&self) -> String {
        match self {
            Self::Damaged(_) => "run the command again: it fetches the jar anew".to_owned(),
            Self::Other { repository_path, .. } => {
                format!("rm ~/.m2/repository/{repository_path}, then run the command again")
            }
            Self::NoWay { maven, .. } if maven.is_damage() => maven.hint(),
            Self::Central(DownloadError::Checksum { .. }) => {
                "name another source with --maven-central, or let Maven fetch the jars (`apt-get install maven`)".to_owned()
            }
            Self::NoWay { .. } | Self::Central(_) | Self::Maven(_) | Self::Absent(_) => {
                "check the network, and that Maven works (`mvn -version`) or a mirror is named with --maven-central; what was fetched is kept, and the command run again goes on".to_owned()
            }
            Self::Io { .. } => "mend the folder's permissions, then run the command again".to_owned(),
        }
    }
}

/// A jar that is not the pinned one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedJar {
    /// The jar.
    pub path: PathBuf,
    /// Its coordinate.
    pub coordinate: String,
    /// What its SHA-256 is.
    pub found: String,
    /// What it should be.
    pub expected: &'static str,
}

impl DamagedJar {
    /// Where it is moved to, so that it is not used and can still be looked at.
    fn aside(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".corrupt");
        name.into()
    }
}

fn damaged(jars: &[DamagedJar]) -> String {
    jars.iter()
        .map(|jar| {
            format!(
                "the jar {} is damaged: its SHA-256 is {}, the pinned one of {} is {}; it was moved to {}",
                jar.path.display(),
                jar.found,
                jar.coordinate,
                jar.expected,
                jar.aside().display()
            )
        })
        .collect::<Vec<_>>()
        .join("; ")
}

/// What a look at a folder of jars found.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) missing: Vec<Pin>,
    pub(crate) damaged: Vec<DamagedJar>,
}

/// Looks which jars of `set` are missing in `folder`, and which are not the pinned ones. Changes nothing.
pub(crate) fn survey(set: &PinnedSet, folder: &Path) -> Result<Survey, JarError> {
    let mut survey = Survey::default();
    for pin in &set.jars {
        let path = folder.join(pin.file_name());
        match sha256(&path) {
            Ok(found) if found == pin.sha256 => {}
            Ok(found) => survey.damaged.push(DamagedJar {
                path,
                coordinate: pin.coordinate(),
                found,
                expected: pin.sha256,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => survey.missing.push(pin.clone()),
            Err(source) => return Err(JarError::Io { doing: "reading", path, source }),
        }
    }
    Ok(survey)
}

/// Folder of a set in the cache.
pub(crate) fn folder(cache: &Path, set: &PinnedSet) -> PathBuf {
    cache.join("jars").join(set.name)
}

/// Finds or fetches the jars of `set`; returns their folder.
pub(super) async fn provide(
    set: &PinnedSet,
    setup: &Setup<'_>,
    lock: &CacheLock,
    helpers: &mut Helpers<'_>,
    reporter: &mut impl Reporter,
) -> Result<Found<PathBuf>, ProvisionError> {
    let folder = folder(&setup.cache, set);
    let failed = |source| ProvisionError::Jars { set: set.name, source: Box::new(source) };
    let mut survey = survey(set, &folder).map_err(failed)?;
    let may_fetch = lock.is_writable() && !setup.fetching.offline;
    if !survey.damaged.is_empty() && lock.is_writable() {
        if !setup.mend {
            set_aside(&survey.damaged).map_err(failed)?;
            return Err(failed(JarError::Damaged(survey.damaged)));
        }
        for jar in &survey.damaged {
            fs::remove_file(&jar.path).map_err(set_up_error("removing", &jar.path))?;
            reporter.note(format!("{} was damaged and is removed", jar.path.display()));
        }
        survey = self::survey(set, &folder).map_err(failed)?;
    }
    if setup.mend && lock.is_writable() {
        remove_set_aside(&folder, reporter)?;
    }
    let wrong = survey.missing.len() + survey.damaged.len();
    if wrong == 0 {
        reporter.note(format!(
            "{}: {} jars in {}, checksums right",
            set.name,
            set.jars.len(),
            folder.display()
        ));
        return Ok(Found::Here(folder));
    }
    if !may_fetch {
        let bad = if survey.damaged.is_empty() { "" } else { " (some are damaged)" };
        return Ok(Found::Missing(format!("{wrong} of {} jars of {}{bad}", set.jars.len(), set.name)));
    }
    fs::create_dir_all(&folder).map_err(set_up_error("creating", &folder))?;
    fetch(set, survey.missing, &folder, setup, helpers, reporter).await.map_err(failed)?;
    Ok(Found::Here(folder))
}

/// Through Maven where there is one; what Maven does not deliver comes straight from Maven Central.
async fn fetch(
    set: &PinnedSet,
    missing: Vec<Pin>,
    folder: &Path,
    setup: &Setup<'_>,
    helpers: &mut Helpers<'_>,
    reporter: &mut impl Reporter,
) -> Result<(), JarError> {
    let (mut missing, mut by_maven) = (missing, None);
    match find(setup.search_path, "mvn") {
        Some(program) => {
            let wanted = missing.len() as u64;
            let begun =
                Begun::new(reporter, format!("fetching {wanted} of {} jars of {}", set.jars.len(), set.name));
            let limits = maven::Limits { silence: setup.fetching.silence };
            let fetched = maven::fetch(&missing, folder, &program, limits, helpers, |done| {
                let parts = Some((done.min(wanted), wanted));
                reporter.event(Event::Going { detail: "downloading".to_owned(), parts });
            })
            .await;
            match fetched {
                Ok(()) => {
                    begun.done(reporter, "checksums right".to_owned());
                    return Ok(());
                }
                Err(error @ JarError::Io { .. }) => {
                    begun.failed(reporter);
                    return Err(error);
                }
                Err(error) => {
                    begun.failed(reporter);
                    reporter.note(format!("Maven did not deliver: {}", first_line(&chain(&error))));
                    // What it did deliver is in place.
                    missing = survey(set, folder)?.missing;
                    by_maven = Some(error);
                }
            }
        }
        None => reporter.note("there is no Maven on the search path, which is no loss".to_owned()),
    }
    let wanted = missing.len() as u64;
    let base = &setup.fetching.maven_central;
    let what = format!("fetching {wanted} of {} jars of {} from {base}", set.jars.len(), set.name);
    let begun = Begun::new(reporter, what);
    let fetched = central::fetch(&missing, folder, setup, |done, name| {
        reporter.event(Event::Going { detail: name.to_owned(), parts: Some((done, wanted)) });
    })
    .await;
    match (fetched, by_maven) {
        (Ok(()), _) => {
            begun.done(reporter, "checksums right".to_owned());
            Ok(())
        }
        (Err(central), None) => {
            begun.failed(reporter);
            Err(central)
        }
        (Err(central), Some(maven)) => {
            begun.failed(reporter);
            Err(JarError::NoWay { maven: Box::new(maven), central: Box::new(central) })
        }
    }
}

fn set_aside(jars: &[DamagedJar]) -> Result<(), JarError> {
    for jar in jars {
        fs::rename(&jar.path, jar.aside()).map_err(io_error("moving away", &jar.path))?;
    }
    Ok(())
}

fn remove_set_aside(folder: &Path, reporter: &mut impl Reporter) -> Result<(), ProvisionError> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "corrupt") {
            fs::remove_file(&path).map_err(set_up_error("removing", &path))?;
            reporter.note(format!("{} is removed", path.display()));
        }
    }
    Ok(())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_end_matches("; its last words:")
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JarError {
    let path = path.to_owned();
    move |source| JarError::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> PinnedSet {
        let pin = |artifact, sha256| Pin { group: "g.h", artifact, version: "1", sha256 };
        PinnedSet {
            name: "test",
            jars: vec![
                pin("empty", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
                pin("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            ],
        }
    }

    #[test]
    fn tells_what_is_missing_and_what_is_damaged_and_changes_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join("abc-1.jar"), "abd").expect("writes");
        for _ in 0..2 {
            let survey = survey(&set(), folder.path()).expect("readable");
            assert_eq!(survey.missing.iter().map(Pin::file_name).collect::<Vec<_>>(), ["empty-1.jar"]);
            assert_eq!(survey.damaged[0].coordinate, "g.h:abc:1");
        }
        assert_eq!(survey(&set(), Path::new("/nowhere")).expect("no folder, no jar").missing.len(), 2);
    }

    #[test]
    fn damaged_jars_are_named_and_moved_away_so_that_the_next_try_fetches_them() {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join("abc-1.jar"), "abd").expect("writes");
        fs::write(folder.path().join("empty-1.jar"), "").expect("writes");
        let found = survey(&set(), folder.path()).expect("readable");
        set_aside(&found.damaged).expect("moves");
        let error = JarError::Damaged(found.damaged).to_string();
        assert!(error.contains("abc-1.jar is damaged") && error.contains("g.h:abc:1"), "{error}");
        assert_eq!(fs::read(folder.path().join("abc-1.jar.corrupt")).expect("kept"), b"abd");
        let survey = survey(&set(), folder.path()).expect("readable");
        assert_eq!(survey.missing.iter().map(Pin::file_name).collect::<Vec<_>>(), ["abc-1.jar"]);
        assert!(survey.damaged.is_empty());
    }
}
