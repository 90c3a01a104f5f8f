//! `cargo xtask pins`: writes the list of jars that a version of Kafka consists of.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use clap::Args;
use sha2::{Digest as _, Sha256};

#[derive(Args)]
pub struct Arguments {
    /// Version of Apache Kafka, such as 4.1.2
    #[arg(value_parser = version)]
    kafka_version: String,
}

/// A Maven coordinate without its version.
type Artifact = (String, String);

/// What Maven resolved: version and file of each artifact.
type Resolved = BTreeMap<Artifact, (String, PathBuf)>;

pub fn run(arguments: &Arguments) -> ExitCode {
    let folder = env::temp_dir().join(format!("testbed-pins-{}", std::process::id()));
    let written = write(&arguments.kafka_version, &folder);
    let removed = fs::remove_dir_all(&folder);
    match written {
        Ok((path, jars)) => {
            eprintln!("{jars} jars in {}; CONTRIBUTING.md says what else a version needs", path.display());
            if let Err(error) = removed {
                eprintln!("warning: cannot remove {}: {error}", folder.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn version(text: &str) -> Result<String, String> {
    let is_version = text.split('.').count() == 3
        && text.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()));
    if is_version { Ok(text.to_owned()) } else { Err("expected three numbers, such as 4.1.2".to_owned()) }
}

fn write(kafka: &str, folder: &Path) -> Result<(PathBuf, usize), String> {
    let mut wanted = vec![
        ("org.apache.kafka", "kafka_2.13", kafka.to_owned()),
        ("org.apache.kafka", "kafka-tools", kafka.to_owned()),
    ];
    let mut resolved = resolve(&wanted, &folder.join("server"))?;
    if let Some(logger) = missing_logger(&resolved) {
        wanted.push(logger);
        resolved = resolve(&wanted, &folder.join("with-logger"))?;
    }
    let text = list(kafka, &resolved)?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
    let path = workspace.join(format!("crates/kafka-testbed/pins/kafka-{kafka}.txt"));
    fs::write(&path, text).map_err(|error| format!("writing {}: {error}", path.display()))?;
    Ok((path, resolved.len()))
}

/// Kafka is compiled against a logger but depends on no binding of slf4j: the one that its release carries.
fn missing_logger(resolved: &Resolved) -> Option<(&'static str, &'static str, String)> {
    let version = |group: &str, artifact: &str| {
        resolved.get(&(group.to_owned(), artifact.to_owned())).map(|(version, _)| version.clone())
    };
    let reload4j = ("org.slf4j", "slf4j-reload4j");
    let log4j2 = ("org.apache.logging.log4j", "log4j-slf4j-impl");
    if version(reload4j.0, reload4j.1).is_some() || version(log4j2.0, log4j2.1).is_some() {
        return None;
    }
    match version(log4j2.0, "log4j-core") {
        Some(core) => Some((log4j2.0, log4j2.1, core)),
        None => Some((reload4j.0, reload4j.1, version("org.slf4j", "slf4j-api")?)),
    }
}

/// Lets Maven resolve `wanted` with all that it needs.
fn resolve(wanted: &[(&str, &str, String)], folder: &Path) -> Result<Resolved, String> {
    fs::create_dir_all(folder).map_err(|error| format!("creating {}: {error}", folder.display()))?;
    let pom = folder.join("pom.xml");
    fs::write(&pom, project(wanted)).map_err(|error| format!("writing {}: {error}", pom.display()))?;
    let jars = folder.join("jars");
    let status = Command::new("mvn")
        .args(["-B", "-q", "-Dstyle.color=never", "-f"])
        .arg(&pom)
        .arg("org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies")
        .arg("-Dmdep.useRepositoryLayout=true")
        .arg(format!("-DoutputDirectory={}", jars.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("cannot run mvn: {error}"))?;
    if !status.success() {
        return Err(format!("Maven ended with {status}; see what it says: mvn -f {} verify", pom.display()));
    }
    let mut resolved = Resolved::new();
    collect(&jars, &jars, &mut resolved)?;
    Ok(resolved)
}

/// The project that Maven resolves. Of the tools, only the one that looks at plug-ins of Kafka Connect needs Connect,
/// which would bring a web server.
fn project(wanted: &[(&str, &str, String)]) -> String {
    let dependencies: String = wanted
        .iter()
        .map(|(group, artifact, version)| {
            format!(
                "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>\
                 <exclusions><exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId>\
                 </exclusion></exclusions></dependency>\n"
            )
        })
        .collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\n\
         <groupId>testbed</groupId><artifactId>pins</artifactId><version>1</version><packaging>pom</packaging>\n\
         <dependencies>\n{dependencies}</dependencies></project>\n"
    )
}

/// Finds the jars below `folder`, whose place below `root` is GROUP/ARTIFACT/VERSION/ARTIFACT-VERSION.jar.
fn collect(root: &Path, folder: &Path, resolved: &mut Resolved) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("reading {}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            collect(root, &path, resolved)?;
        } else if path.extension().is_some_and(|kind| kind == "jar") {
            let below = path.strip_prefix(root).unwrap_or(&path);
            let (artifact, version) = coordinate(below)
                .ok_or_else(|| format!("{} is no plain jar, which a pin cannot name", below.display()))?;
            if let Some((other, _)) = resolved.insert(artifact.clone(), (version.clone(), path)) {
                return Err(format!("{}:{} is there as {other} and {version}", artifact.0, artifact.1));
            }
        }
    }
    Ok(())
}

fn coordinate(below: &Path) -> Option<(Artifact, String)> {
    let parts: Vec<&str> = below.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
    let [group @ .., artifact, version, file] = &parts[..] else { return None };
    let is_plain = !group.is_empty() && *file == format!("{artifact}-{version}.jar");
    is_plain.then(|| ((group.join("."), (*artifact).to_owned()), (*version).to_owned()))
}

fn list(kafka: &str, resolved: &Resolved) -> Result<String, String> {
    let zookeeper = resolved
        .get(&("org.apache.zookeeper".to_owned(), "zookeeper".to_owned()))
        .map(|(version, _)| format!(" with ZooKeeper {version}"))
        .unwrap_or_default();
    let mut lines = Vec::new();
    for ((group, artifact), (version, path)) in resolved {
        let bytes = fs::read(path).map_err(|error| format!("reading {}: {error}", path.display()))?;
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        lines.push(format!("{group}:{artifact}:{version} {hash}\n"));
    }
    lines.sort();
    let header = format!(
        "# Jars of Kafka {kafka}{zookeeper}: Maven coordinate, SHA-256. Written by `cargo xtask pins {kafka}`.\n"
    );
    Ok(header + &lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(artifacts: &[(&str, &str, &str)]) -> Resolved {
        artifacts
            .iter()
            .map(|(group, artifact, version)| {
                (((*group).to_owned(), (*artifact).to_owned()), ((*version).to_owned(), PathBuf::new()))
            })
            .collect()
    }

    #[test]
    fn a_place_in_the_repository_is_a_coordinate() {
        let (artifact, version) =
            coordinate(Path::new("org/apache/kafka/kafka_2.13/4.1.2/kafka_2.13-4.1.2.jar")).expect("plain");
        assert_eq!((artifact.0.as_str(), artifact.1.as_str()), ("org.apache.kafka", "kafka_2.13"));
        assert_eq!(version, "4.1.2");
        assert_eq!(coordinate(Path::new("io/netty/x/1/x-1-linux-x86_64.jar")), None);
        assert_eq!(coordinate(Path::new("x-1.jar")), None);
    }

    #[test]
    fn the_logger_is_the_one_of_the_release() {
        let api = ("org.slf4j", "slf4j-api", "1.7.36");
        let core = ("org.apache.logging.log4j", "log4j-core", "2.25.3");
        let binding = |artifacts: &[_]| missing_logger(&resolved(artifacts)).map(|found| (found.1, found.2));
        assert_eq!(binding(&[api]), Some(("slf4j-reload4j", "1.7.36".to_owned())));
        assert_eq!(binding(&[api, core]), Some(("log4j-slf4j-impl", "2.25.3".to_owned())));
        assert_eq!(binding(&[api, ("org.slf4j", "slf4j-reload4j", "1.7.36")]), None);
    }

    #[test]
    fn only_released_versions_are_taken() {
        assert_eq!(version("4.1.2").as_deref(), Ok("4.1.2"));
        for text in ["4.1", "4.1.2-rc1", "4..2", "../../x", ""] {
            assert!(version(text).is_err(), "{text}");
        }
    }
}
