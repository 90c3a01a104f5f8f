//! Folders that are written to, and the space that is free there.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access, statvfs};

use super::{
    Finding, Level, Subject, Topic,
    needs::{self, Lacking},
    text::{self, shell_word},
};

/// Whether the home and the cache can be written.
pub(super) fn writable(subject: &Subject<'_>, lacking: &Lacking) -> Vec<Finding> {
    let (home, cache) = (subject.home.path(), subject.home.cache());
    let mut findings = vec![folder("the home of the testbeds", home, true)];
    if cache.exists() {
        // A cache that has everything does, even where nothing can be added.
        findings.push(folder("the cache", &cache, lacking.bytes > 0));
    }
    findings
}

fn folder(name: &str, path: &Path, must_be_writable: bool) -> Finding {
    let place = path.display().to_string();
    let there = nearest(path);
    let outcome = match there.is_dir() {
        true => access(&there, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from),
        false => Err(io::ErrorKind::NotADirectory.into()),
    };
    let Err(error) = outcome else {
        let what = if there == path { "can be written" } else { "can be made" };
        return Finding::new(Level::Ok, Topic::Folders, format!("{name} {what}"), place);
    };
    let level = if must_be_writable { Level::Fatal } else { Level::Warning };
    let finding = Finding::new(level, Topic::Folders, format!("{name} cannot be written"), place)
        .why(format!("{}: {error}", there.display()));
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            finding.mend(format!("sudo mount -o remount,rw \"$(stat -c %m {})\"", shell_word(&there)))
        }
        io::ErrorKind::NotADirectory => finding.mend(format!("mv {0} {0}.old", shell_word(&there))),
        _ => finding.mend(format!("sudo chown \"$USER\" {}", shell_word(&there))),
    }
}

/// Free space where the testbed and the cache lie.
pub(super) fn disk(subject: &Subject<'_>, lacking: &Lacking) -> Vec<Finding> {
    let (home, cache) = (subject.home.path(), subject.home.cache());
    let mut findings = Vec::new();
    findings.extend(space("for a testbed", home, needs::LEAST_DISK, needs::disk(subject.spec)));
    if lacking.bytes > 0 {
        findings.extend(space("for what is to be fetched", &cache, lacking.bytes / 2, lacking.bytes * 3 / 2));
    }
    findings
}

/// Below `least` it is impossible, below `comfortable` it may run out.
fn space(purpose: &str, path: &Path, least: u64, comfortable: u64) -> Option<Finding> {
    let stat = statvfs(nearest(path)).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    Some(judge_space(purpose, path, free, least, comfortable))
}

fn judge_space(purpose: &str, path: &Path, free: u64, least: u64, comfortable: u64) -> Finding {
    let what = format!("{} are free {purpose}", text::bytes(free));
    let place = path.display().to_string();
    let level = match free {
        free if free < least => Level::Fatal,
        free if free < comfortable => Level::Warning,
        _ => Level::Ok,
    };
    let finding = Finding::new(level, Topic::Disk, what, place).why(format!(
        "at least {} are needed, {} are comfortable",
        text::bytes(least),
        text::bytes(comfortable)
    ));
    match level {
        Level::Ok => finding,
        _ => finding.mend(format!("du -xh --max-depth=2 {} | sort -h | tail", shell_word(&nearest(path)))),
    }
}

/// The folder itself, or the nearest one above it that exists.
fn nearest(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn space_is_judged_at_and_over_its_bounds() {
        for (free, expected) in
            [(9, Level::Fatal), (10, Level::Warning), (19, Level::Warning), (20, Level::Ok)]
        {
            let finding = judge_space("for a test", Path::new("/x"), free, 10, 20);
            assert_eq!((finding.level, finding.mend.is_some()), (expected, expected != Level::Ok), "{free}");
        }
    }

    #[test]
    fn a_folder_below_a_file_cannot_be_made() {
        let place = tempfile::tempdir().expect("folder");
        assert_eq!(folder("it", place.path(), true).what, "it can be written");
        assert_eq!(folder("it", &place.path().join("a/b"), true).what, "it can be made");
        let file = place.path().join("file");
        fs::write(&file, "").expect("writes");
        let finding = folder("it", &file.join("home"), true);
        assert_eq!((finding.level, finding.what.as_str()), (Level::Fatal, "it cannot be written"));
        assert!(finding.why.contains("file"), "{}", finding.why);
        assert_eq!(folder("it", &file, false).level, Level::Warning);
    }
}
