//! Jars through Maven: people's mirrors and credentials are in its settings.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{JarError, io_error};
use crate::provision::{
    download::sha256,
    helper::{Helpers, Job},
    pins::Pin,
};

/// Long enough for a slow line: the whole set is 37 MB.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// How long Maven may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Without a line of output, or of an answer from a repository.
    pub(super) silence: Duration,
}

/// Lets Maven fetch `pins` and moves each into `folder` once it is checked; what is there stays, so an interrupted
/// run goes on where it was, and so does the direct way after a failure.
pub(super) async fn fetch(
    pins: &[Pin],
    folder: &Path,
    maven: &Path,
    limits: Limits,
    helpers: &mut Helpers<'_>,
    mut on_jar: impl FnMut(u64),
) -> Result<(), JarError> {
    let work = folder.join("fetching");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(io_error("creating", &work))?;
    let pom = work.join("pom.xml");
    fs::write(&pom, project(pins)).map_err(io_error("writing", &pom))?;
    let output = work.join("jars");
    let milliseconds = limits.silence.as_millis();
    let arguments = [
        "-B".into(),
        "-f".into(),
        pom.into_os_string(),
        format!("-Daether.connector.connectTimeout={}", milliseconds.min(10_000)).into(),
        format!("-Daether.connector.requestTimeout={milliseconds}").into(),
        "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies".into(),
        format!("-DoutputDirectory={}", output.display()).into(),
    ];
    let job = Job {
        what: "fetching jars",
        program: maven,
        arguments: arguments.into(),
        folder: &work,
        limit: LIMIT,
        silence: Some(limits.silence),
    };
    let mut fetched = 0;
    let ran = helpers
        .run(job, |line| {
            if line.contains("Downloaded from") && line.contains(".jar ") {
                fetched += 1;
                on_jar(fetched);
            }
        })
        .await;
    let kept = keep(pins, &output, folder);
    // After a failure too: what is left of it takes space, and is of no use.
    let removed = fs::remove_dir_all(&work);
    ran?;
    match kept? {
        Some(path) => Err(JarError::Absent(path)),
        None => removed.map_err(io_error("removing", &work)),
    }
}

/// Moves the jars that are right into `folder`; returns the first that is not there.
fn keep(pins: &[Pin], output: &Path, folder: &Path) -> Result<Option<PathBuf>, JarError> {
    let (mut missing, mut other) = (None, None);
    for pin in pins {
        let from = output.join(pin.file_name());
        match sha256(&from) {
            Ok(found) if found == pin.sha256 => {
                let to = folder.join(pin.file_name());
                fs::rename(&from, &to).map_err(io_error("moving into the cache", &to))?;
            }
            Ok(found) => {
                other.get_or_insert_with(|| JarError::Other {
                    coordinate: pin.coordinate(),
                    found,
                    expected: pin.sha256,
                    repository_path: pin.repository_path(),
                });
            }
            Err(_) => {
                missing.get_or_insert(from);
            }
        }
    }
    other.map_or(Ok(missing), Err)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pins() -> Vec<Pin> {
        let pin = |artifact, sha256| Pin { group: "g.h", artifact, version: "1", sha256 };
        vec![
            pin("empty", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            pin("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ]
    }

    #[test]
    fn the_project_names_each_jar_without_its_dependencies() {
        let text = project(&pins());
        assert_eq!(text.matches("<exclusion><groupId>*</groupId>").count(), 2);
        assert!(text.contains("<groupId>g.h</groupId><artifactId>abc</artifactId><version>1</version>"));
    }

    #[test]
    fn what_is_right_is_kept_whatever_else_came() {
        let place = tempfile::tempdir().expect("folder");
        let (output, folder) = (place.path().join("output"), place.path().join("folder"));
        fs::create_dir_all(&output).expect("creates");
        fs::create_dir_all(&folder).expect("creates");
        fs::write(output.join("abc-1.jar"), "abc").expect("writes");
        let missing = keep(&pins(), &output, &folder).expect("nothing is wrong");
        assert_eq!(missing, Some(output.join("empty-1.jar")));
        assert_eq!(fs::read(folder.join("abc-1.jar")).expect("kept"), b"abc");

        fs::write(output.join("abc-1.jar"), "abc").expect("writes");
        fs::write(output.join("empty-1.jar"), "not so").expect("writes");
        let error = keep(&pins(), &output, &folder).expect_err("another jar").to_string();
        assert!(
            error.contains("another g.h:empty:1") && error.contains("g/h/empty/1/empty-1.jar"),
            "{error}"
        );
    }
}
