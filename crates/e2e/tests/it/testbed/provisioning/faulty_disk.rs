//! A disk that is full or cannot be written.
//!
//! As root a small file system of its own is mounted. Where that is not allowed, a limit of the size of files, and
//! folders without the right to write, do as well.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use e2e::{mirror::Mirror, note, process::Running, testbed::shared_cache};

use super::{LIMIT, Place, expect_all_jars};

/// A file system in memory, unmounted at the end.
struct Mounted(PathBuf);

impl Mounted {
    /// Nothing where this user may not mount.
    fn at(folder: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(folder).expect("the home can be written");
        let mounted = Self::mount(folder, options);
        if !mounted {
            note("this user may not mount: the substitute is used");
        }
        mounted.then(|| Self(folder.to_owned()))
    }

    fn remount(&self, options: &str) {
        assert!(Self::mount(&self.0, &format!("remount,{options}")), "cannot remount {}", self.0.display());
    }

    fn mount(folder: &Path, options: &str) -> bool {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder);
        command.output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let ended = Command::new("umount").arg("-l").arg(&self.0).status();
        if !ended.is_ok_and(|status| status.success()) {
            note(&format!("{} stays mounted", self.0.display()));
        }
    }
}

#[test]
fn a_full_disk_stops_up_before_it_begins_and_what_set_up_fetched_is_kept() {
    let place = Place::new("full").with_java();
    let mirror = Mirror::start();
    let mounted = Mounted::at(&place.testbed.cache(), "size=16m");
    let set_up = ["doctor", "--fix", "--maven-central", mirror.address()];
    match &mounted {
        Some(_) => {
            place.run(&["up"]).expect_code(18).expect_words(&[
                "are free for what is to be fetched",
                "at least ",
                "hint: du ",
            ]);
            assert!(!place.testbed.folder().exists(), "up made something before it looked");
            place
                .run(&set_up)
                .expect_code(12)
                .expect_words(&["No space left on device", "hint: free some space"]);
        }
        None => {
            let limited = "trap '' XFSZ; ulimit -f 4000; exec \"$0\" \"$@\"";
            let command = place.prepare(&set_up);
            let mut limit = Command::new("/bin/sh");
            limit.args(["-c", limited]).arg(command.get_program()).args(command.get_args());
            for (key, value) in command.get_envs() {
                limit.env(key, value.unwrap_or_default());
            }
            limit.current_dir(place.testbed.home());
            Running::start(&mut limit)
                .wait(LIMIT)
                .expect_code(12)
                .expect_words(&["File too large", "hint: "]);
        }
    }
    let kept = place.cached();
    assert!(!kept.is_empty() && kept.iter().all(|name| name.ends_with(".jar")), "{kept:?}");
    if let Some(mounted) = &mounted {
        mounted.remount("size=200m");
    }
    let before = mirror.served().len();
    place.run(&set_up).expect_code(0);
    expect_all_jars(&place);
    assert_eq!(mirror.served().len() - before, super::JARS - kept.len(), "what was kept was fetched again");
}

#[test]
fn a_home_that_cannot_be_written_is_told_before_anything_is_made() {
    let place = Place::new("unwritable").with_java();
    let mirror = Mirror::start();
    let home = place.testbed.home().join("other");
    let mounted = Mounted::at(&home, "size=200m,ro");
    if mounted.is_none() {
        fs::set_permissions(&home, fs::Permissions::from_mode(0o555)).expect("it is ours");
    }
    let run = |arguments: &[&str]| {
        let mut command = place.testbed.prepare_in(&home, arguments);
        Running::start(command.env("PATH", &place.bin)).wait(LIMIT)
    };
    let path = home.display().to_string();
    let up = run(&["up"]).expect_code(18);
    up.expect_words(&["the home of the testbeds cannot be written", &path, "hint: "]);
    assert!(run(&["doctor"]).expect_code(18).stdout.contains("the home of the testbeds cannot be written"));
    let set_up = ["doctor", "--fix", "--maven-central", mirror.address()];
    assert_eq!(fs::read_dir(&home).expect("it can be read").count(), 0);

    match &mounted {
        Some(mounted) => mounted.remount("size=300m,rw"),
        None => fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).expect("it is ours"),
    }
    let findings = run(&set_up).expect_code(0).stdout;
    assert!(findings.contains("the home of the testbeds can be written"), "{findings}");
}

#[test]
fn a_read_only_cache_does_where_it_has_everything() {
    let place = Place::new("read-only").with_java();
    let cache = place.testbed.cache();
    let mounted = Mounted::at(&cache, "size=1m");
    let make_read_only = || match &mounted {
        Some(mounted) => mounted.remount("size=1m,ro"),
        None => fs::set_permissions(&cache, fs::Permissions::from_mode(0o555)).expect("it is ours"),
    };
    let make_writable = || match &mounted {
        Some(mounted) => mounted.remount("size=1m,rw"),
        None => fs::set_permissions(&cache, fs::Permissions::from_mode(0o755)).expect("it is ours"),
    };
    make_read_only();
    place.run(&["doctor", "--fix"]).expect_code(12).expect_words(&[
        &format!("the cache {} cannot be written", cache.display()),
        "49 of 49 jars of kafka-3.3.1",
        "hint: make ",
    ]);
    make_writable();
    symlink(shared_cache().join("jars"), cache.join("jars")).expect("the cache can be written");
    make_read_only();
    let findings = place.run(&["doctor", "--fix"]).expect_code(0).stdout;
    assert!(findings.contains("the cache cannot be written"), "{findings}");
    make_writable();
}
