//! Jars through Maven into the cache, each checked against its pinned SHA-256 before it is used.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::{
    helper::{HelperError, Helpers, Job},
    pins::{Pin, PinnedSet},
};

/// Long enough for a slow line: the whole set is 37 MB.
const LIMIT: Duration = Duration::from_secs(15 * 60);

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
    /// A jar in the cache is not the pinned one. It was moved aside.
    #[error(
        "the jar {} is damaged: its SHA-256 is {found}, the pinned one of {coordinate} is {expected}; it was moved to {}",
        path.display(),
        moved_to.display()
    )]
    Damaged {
        /// The jar.
        path: PathBuf,
        /// Its coordinate.
        coordinate: String,
        /// What it has.
        found: String,
        /// What it should have.
        expected: &'static str,
        /// Where it lies now.
        moved_to: PathBuf,
    },
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
    /// Maven did not deliver.
    #[error(transparent)]
    Maven(#[from] HelperError),
}

/// Which jars of `set` are missing in `folder`.
///
/// # Errors
/// [`JarError::Damaged`] when one is there but is not the pinned one.
pub(super) fn missing(set: &PinnedSet, folder: &Path) -> Result<Vec<Pin>, JarError> {
    let mut missing = Vec::new();
    for pin in &set.jars {
        let path = folder.join(pin.file_name());
        match sha256(&path) {
            Ok(found) if found == pin.sha256 => {}
            Ok(found) => {
                let moved_to = folder.join(format!("{}.corrupt", pin.file_name()));
                fs::rename(&path, &moved_to).map_err(io_error("moving away", &path))?;
                let coordinate = coordinate(pin);
                return Err(JarError::Damaged { path, coordinate, found, expected: pin.sha256, moved_to });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(pin.clone()),
            Err(source) => return Err(JarError::Io { doing: "reading", path, source }),
        }
    }
    Ok(missing)
}

/// Lets Maven fetch `pins` and moves each into `folder` once it is checked; what is there stays, so an interrupted
/// run goes on where it was.
pub(super) async fn fetch(
    pins: &[Pin],
    folder: &Path,
    maven: &Path,
    helpers: &mut Helpers<'_>,
    mut on_jar: impl FnMut(u64),
) -> Result<(), JarError> {
    let work = folder.join("fetching");
    fs::create_dir_all(&work).map_err(io_error("creating", &work))?;
    let pom = work.join("pom.xml");
    fs::write(&pom, project(pins)).map_err(io_error("writing", &pom))?;
    let output = work.join("jars");
    let arguments = [
        "-B".into(),
        "-f".into(),
        pom.into_os_string(),
        "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies".into(),
        format!("-DoutputDirectory={}", output.display()).into(),
    ];
    let job = Job {
        what: "fetching jars",
        program: maven,
        arguments: arguments.into(),
        folder: &work,
        limit: LIMIT,
    };
    let mut fetched = 0;
    helpers
        .run(job, |line| {
            if line.contains("Downloaded from") && line.contains(".jar ") {
                fetched += 1;
                on_jar(fetched);
            }
        })
        .await?;
    for pin in pins {
        let from = output.join(pin.file_name());
        let found = sha256(&from).map_err(io_error("reading", &from))?;
        if found != pin.sha256 {
            return Err(JarError::Other {
                coordinate: coordinate(pin),
                found,
                expected: pin.sha256,
                repository_path: pin.repository_path(),
            });
        }
        let to = folder.join(pin.file_name());
        fs::rename(&from, &to).map_err(io_error("moving into the cache", &to))?;
    }
    fs::remove_dir_all(&work).map_err(io_error("removing", &work))
}

/// A Maven project that depends on exactly these jars and on nothing that they depend on.
fn project(pins: &[Pin]) -> String {
    let dependencies: String = pins
        .iter()
        .map(|pin| {
            format!(
                "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>\
                 <exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>\
                 </dependency>\n",
                pin.group, pin.artifact, pin.version
            )
        })
        .collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\n\
         <groupId>testbed</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>\n\
         <dependencies>\n{dependencies}</dependencies></project>\n"
    )
}

fn coordinate(pin: &Pin) -> String {
    format!("{}:{}:{}", pin.group, pin.artifact, pin.version)
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = io::Read::read(&mut file, &mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
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
    fn tells_what_is_missing() {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join("abc-1.jar"), "abc").expect("writes");
        let missing = missing(&set(), folder.path()).expect("sound");
        assert_eq!(missing.iter().map(Pin::file_name).collect::<Vec<_>>(), ["empty-1.jar"]);
    }

    #[test]
    fn a_damaged_jar_is_named_and_moved_away_so_that_the_next_try_fetches_it() {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join("abc-1.jar"), "abd").expect("writes");
        fs::write(folder.path().join("empty-1.jar"), "").expect("writes");
        let error = missing(&set(), folder.path()).expect_err("damaged").to_string();
        assert!(error.contains("abc-1.jar is damaged") && error.contains("g.h:abc:1"), "{error}");
        let missing = missing(&set(), folder.path()).expect("moved away");
        assert_eq!(missing.iter().map(Pin::file_name).collect::<Vec<_>>(), ["abc-1.jar"]);
    }

    #[test]
    fn the_project_names_each_jar_without_its_dependencies() {
        let text = project(&set().jars);
        assert_eq!(text.matches("<exclusion><groupId>*</groupId>").count(), 2);
        assert!(text.contains("<groupId>g.h</groupId><artifactId>abc</artifactId><version>1</version>"));
    }
}
