//! Java and Prometheus: found on the search path or in the cache, else provided.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Begun, Found, Program, ProvisionError, Setup,
    archive::{self, ArchiveError},
    cache_lock::CacheLock,
    debian::{self, Apt, DebianError},
    download::Downloader,
    error::{chain, io_error},
    find,
    helper::{HelperError, Helpers, Job},
    pins,
};
use crate::progress::{Event, Reporter};

/// A program that a testbed needs.
pub(crate) struct Wanted {
    pub(crate) name: &'static str,
    /// Arguments that print the version.
    pub(crate) version: &'static [&'static str],
    pub(crate) packages: &'static [&'static str],
    /// Packages that it uses files of.
    companions: &'static [&'static str],
    /// Where it is below the folder of an unpacked package or archive.
    candidates: &'static [&'static str],
    pub(crate) accepts: fn(&str) -> bool,
    pub(crate) least: &'static str,
    /// About how many bytes it takes in the cache.
    pub(crate) bytes: u64,
}

/// Java, at least of the major version `least`: 11 or 17.
pub(crate) fn java(least: u32) -> &'static Wanted {
    if least > 11 { &JAVA_17 } else { &JAVA_11 }
}

const JAVA_17: Wanted =
    Wanted { accepts: |text| major_version(text).is_some_and(|major| major >= 17), least: "17", ..JAVA_11 };

const JAVA_11: Wanted = Wanted {
    name: "java",
    version: &["-version"],
    packages: &["openjdk-17-jre-headless", "openjdk-21-jre-headless", "openjdk-25-jre-headless"],
    companions: &[],
    candidates: &["usr/lib/jvm/java-*/bin/java", "jdk-*/bin/java"],
    accepts: |text| major_version(text).is_some_and(|major| major >= 11),
    least: "11",
    bytes: 240 << 20,
};

pub(crate) const PROMETHEUS: Wanted = Wanted {
    name: "prometheus",
    version: &["--version"],
    packages: &["prometheus"],
    // What its pages need in a browser.
    companions: &[
        "fonts-glyphicons-halflings",
        "libjs-bootstrap4",
        "libjs-d3",
        "libjs-eonasdan-bootstrap-datetimepicker",
        "libjs-jquery",
        "libjs-jquery-hotkeys",
        "libjs-moment",
        "libjs-moment-timezone",
        "libjs-mustache",
        "libjs-popper.js",
        "libjs-rickshaw",
    ],
    candidates: &["usr/bin/prometheus", "prometheus-*/prometheus"],
    // A binary built from the Go module says nothing after "version": then nothing speaks against it.
    accepts: |text| match prometheus_version(text) {
        Some(version) => version >= (2, 42),
        None => text.starts_with("prometheus, version"),
    },
    least: "2.42",
    bytes: 140 << 20,
};

impl Wanted {
    /// Where the program is: on the search path first, then in the cache.
    pub(crate) fn places(&self, search_path: &OsStr, cache: &Path) -> Vec<PathBuf> {
        let cached = [debian_folder(cache, self), release_folder(cache, self)];
        find(search_path, self.name)
            .into_iter()
            .chain(cached.iter().filter_map(|folder| debian::find_program(folder, self.candidates)))
            .collect()
    }

    /// Whether this system can unpack Debian packages.
    pub(crate) fn has_package(search_path: &OsStr) -> bool {
        find(search_path, "apt-get").is_some() && find(search_path, "dpkg").is_some()
    }

    /// Whether there is any way to fetch it.
    pub(crate) fn can_be_fetched(&self, search_path: &OsStr) -> bool {
        Self::has_package(search_path) || pins::release(self.name, std::env::consts::ARCH).is_some()
    }

    fn describe(&self) -> String {
        format!("{} ({} or newer)", self.name, self.least)
    }
}

fn debian_folder(cache: &Path, wanted: &Wanted) -> PathBuf {
    cache.join("debian").join(wanted.name)
}

fn release_folder(cache: &Path, wanted: &Wanted) -> PathBuf {
    cache.join("releases").join(wanted.name)
}

/// Finds or provides one program.
pub(super) async fn provide(
    wanted: &Wanted,
    setup: &Setup<'_>,
    lock: &CacheLock,
    helpers: &mut Helpers<'_>,
    reporter: &mut impl Reporter,
) -> Result<Found<Program>, ProvisionError> {
    if let Some(program) = look(wanted, setup, lock, helpers, reporter).await? {
        return Ok(Found::Here(program));
    }
    if setup.fetching.offline || !lock.is_writable() {
        return Ok(Found::Missing(wanted.describe()));
    }
    let debian = match from_package(wanted, setup, helpers, reporter).await? {
        Ok(program) => return Ok(Found::Here(program)),
        Err(reason) => reason,
    };
    if let Some(error) = &debian {
        reporter.note(format!("{}: no Debian package: {}", wanted.name, chain(error)));
    }
    match from_release(wanted, setup, helpers, reporter).await {
        Ok(program) => Ok(Found::Here(program)),
        Err(archive) => Err(ProvisionError::Program {
            program: wanted.name,
            least: wanted.least,
            debian: debian.map(Box::new),
            archive: Box::new(archive),
        }),
    }
}

/// Looks on the search path and in the cache; what is in the cache and does not do is removed.
async fn look(
    wanted: &Wanted,
    setup: &Setup<'_>,
    lock: &CacheLock,
    helpers: &mut Helpers<'_>,
    reporter: &mut impl Reporter,
) -> Result<Option<Program>, ProvisionError> {
    for path in wanted.places(setup.search_path, &setup.cache) {
        let said = version_of(wanted, &path, &setup.cache, helpers).await;
        let version = said.unwrap_or_default();
        if (wanted.accepts)(&version) {
            reporter.note(format!("{}: {} ({version})", wanted.name, path.display()));
            return Ok(Some(Program { path, version }));
        }
        reporter.note(format!(
            "{}: {} is passed over, it says \"{version}\" and {} or newer is needed",
            wanted.name,
            path.display(),
            wanted.least
        ));
        let folders = [debian_folder(&setup.cache, wanted), release_folder(&setup.cache, wanted)];
        for folder in folders.iter().filter(|folder| path.starts_with(folder)) {
            if lock.is_writable() && !setup.fetching.offline {
                fs::remove_dir_all(folder).map_err(io_error("removing", folder))?;
            }
        }
    }
    Ok(None)
}

/// The inner error says why not; it is nothing where the system knows no Debian packages.
async fn from_package(
    wanted: &Wanted,
    setup: &Setup<'_>,
    helpers: &mut Helpers<'_>,
    reporter: &mut impl Reporter,
) -> Result<Result<Program, Option<DebianError>>, ProvisionError> {
    let (Some(apt_get), Some(dpkg)) = (find(setup.search_path, "apt-get"), find(setup.search_path, "dpkg"))
    else {
        return Ok(Err(None));
    };
    let folder = debian_folder(&setup.cache, wanted);
    let parent = setup.cache.join("debian");
    fs::create_dir_all(&parent).map_err(io_error("creating", &parent))?;
    let begun = Begun::new(reporter, format!("providing {} from a Debian package", wanted.name));
    let apt = Apt { apt_get, dpkg, silence: setup.fetching.silence };
    let mut outcome = Err(DebianError::NoFile(wanted.name.to_owned()));
    for package in wanted.packages {
        outcome = debian::unpack(package, wanted.companions, &folder, &apt, helpers).await;
        if outcome.is_ok() {
            break;
        }
    }
    let found = outcome.and_then(|()| {
        debian::find_program(&folder, wanted.candidates).ok_or_else(|| DebianError::NoProgram {
            package: wanted.packages.join(" or "),
            wanted: wanted.name.to_owned(),
        })
    });
    Ok(match found {
        Ok(path) => {
            let version = version_of(wanted, &path, &setup.cache, helpers).await.unwrap_or_default();
            begun.done(reporter, format!("{} ({version})", path.display()));
            Ok(Program { path, version })
        }
        Err(error) => {
            begun.failed(reporter);
            Err(Some(error))
        }
    })
}

async fn from_release(
    wanted: &Wanted,
    setup: &Setup<'_>,
    helpers: &mut Helpers<'_>,
    reporter: &mut impl Reporter,
) -> Result<Program, ArchiveError> {
    let pin = archive::pinned(pins::release(wanted.name, std::env::consts::ARCH))?;
    let folder = release_folder(&setup.cache, wanted);
    let what = format!("providing {} {} from its project's release", wanted.name, pin.version);
    let begun = Begun::new(reporter, what);
    let outcome = async {
        let downloader = Downloader::new(setup.fetching.silence, &setup.environment)?;
        archive::unpack(pin, &setup.fetching.github, &folder, &downloader, |done, all| {
            let parts = all.map(|all| (done >> 20, all >> 20));
            reporter.event(Event::Going { detail: "MiB downloaded".to_owned(), parts });
        })
        .await?;
        let path =
            debian::find_program(&folder, wanted.candidates).ok_or_else(|| ArchiveError::NoProgram {
                url: format!("{}/{}", setup.fetching.github, pin.path),
                program: wanted.name,
            })?;
        match version_of(wanted, &path, &setup.cache, helpers).await {
            Ok(version) => Ok(Program { path, version }),
            // Made for another C library, for instance.
            Err(error) => Err(ArchiveError::DoesNotRun { path, why: chain(&error) }),
        }
    }
    .await;
    match &outcome {
        Ok(program) => begun.done(reporter, format!("{} ({})", program.path.display(), program.version)),
        Err(_) => begun.failed(reporter),
    }
    outcome
}

async fn version_of(
    wanted: &Wanted,
    path: &Path,
    folder: &Path,
    helpers: &mut Helpers<'_>,
) -> Result<String, HelperError> {
    let mut first = None;
    let what = format!("asking {} for its version", wanted.name);
    let job = Job {
        what: &what,
        program: path,
        arguments: wanted.version.iter().map(Into::into).collect(),
        folder,
        limit: Duration::from_secs(30),
        silence: None,
    };
    helpers
        .run(job, |line| {
            first.get_or_insert_with(|| line.trim().to_owned());
        })
        .await?;
    Ok(first.unwrap_or_default())
}

/// `openjdk version "17.0.15" 2025-04-15` → 17; `java version "1.8.0_291"` → 8.
fn major_version(text: &str) -> Option<u32> {
    let quoted = text.split('"').nth(1)?;
    let mut parts = quoted.split(['.', '-', '+', '_']).filter_map(|part| part.parse().ok());
    match parts.next()? {
        1 => parts.next(),
        major => Some(major),
    }
}

/// `prometheus, version 2.42.0+ds (branch: …)` → (2, 42).
fn prometheus_version(text: &str) -> Option<(u32, u32)> {
    let version = text.split_once("version ")?.1;
    let mut parts = version.split(['.', '+', ' ', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_the_programs_print_them() {
        for (text, expected) in [
            ("openjdk version \"17.0.15\" 2025-04-15", Some(17)),
            ("openjdk version \"11.0.2\"", Some(11)),
            ("java version \"1.8.0_291\"", Some(8)),
            ("openjdk version \"25\" 2025-09-16", Some(25)),
            ("bash: java: command not found", None),
        ] {
            assert_eq!(major_version(text), expected, "{text}");
        }
        for (text, expected) in [
            ("prometheus, version 2.42.0+ds (branch: debian/sid, revision: 2.42.0+ds-5)", Some((2, 42))),
            ("prometheus, version 3.16.0 (branch: HEAD)", Some((3, 16))),
            ("prometheus, version  (branch: , revision: unknown)", None),
        ] {
            assert_eq!(prometheus_version(text), expected, "{text}");
        }
    }

    #[test]
    fn a_program_is_looked_for_on_the_search_path_then_in_packages_then_in_releases() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("folder");
        let cache = folder.path().join("cache");
        let places = [
            folder.path().join("bin/prometheus"),
            cache.join("debian/prometheus/usr/bin/prometheus"),
            cache.join("releases/prometheus/prometheus-3.13.1.linux-amd64/prometheus"),
        ];
        for place in &places {
            fs::create_dir_all(place.parent().expect("has one")).expect("creates");
            fs::write(place, "").expect("writes");
            fs::set_permissions(place, fs::Permissions::from_mode(0o755)).expect("sets");
        }
        let search_path = folder.path().join("bin").into_os_string();
        assert_eq!(PROMETHEUS.places(&search_path, &cache), places);
        assert_eq!(PROMETHEUS.places(OsStr::new(""), &cache), places[1..]);
        assert!(JAVA_11.places(&search_path, &cache).is_empty());
    }
}
