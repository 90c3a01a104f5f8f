//! Set-up under faults: each is told, and the next try goes on. `doctor --fix` is set-up without a testbed.

mod faulty_disk;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use e2e::{
    eventually,
    mirror::{Behaviour, Mirror},
    process::{Output, Running},
    programs,
    testbed::{Testbed, fill_shared_cache, shared_cache},
};
use rustix::process::Signal;

/// Longest time of one set-up.
const LIMIT: Duration = Duration::from_secs(240);
/// Jars of both sets.
const JARS: usize = 50;

/// A testbed with an empty cache, and a search path with nothing on it but what a test puts there.
struct Place {
    testbed: Testbed,
    bin: PathBuf,
}

impl Place {
    /// Prometheus is on the search path always: fetching one takes a network.
    fn new(name: &str) -> Self {
        fill_shared_cache();
        let testbed = Testbed::without_cache(name);
        let bin = testbed.home().join("bin");
        fs::create_dir(&bin).expect("the home can be written");
        let place = Self { testbed, bin };
        let cached = shared_cache().join("debian/prometheus/usr/bin/prometheus");
        let prometheus = programs::on_search_path("prometheus").unwrap_or(cached);
        symlink(prometheus, place.bin.join("prometheus")).expect("the home can be written");
        place
    }

    fn with_java(self) -> Self {
        let java = programs::on_search_path("java").expect("these tests need a Java");
        symlink(java, self.bin.join("java")).expect("the home can be written");
        self
    }

    /// Puts a shell script on the search path.
    fn with_script(self, name: &str, script: &str) -> Self {
        let path = self.bin.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("the home can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        self
    }

    fn prepare(&self, arguments: &[&str]) -> Command {
        let mut command = self.testbed.prepare(arguments);
        command.env("PATH", &self.bin);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Running::start(&mut self.prepare(arguments)).wait(LIMIT)
    }

    /// `doctor --fix` with `mirror` as Maven Central.
    fn set_up(&self, mirror: &Mirror) -> Output {
        self.run(&["doctor", "--fix", "--maven-central", mirror.address()])
    }

    /// Names of all jars in the cache; files of other kinds are told as they are.
    fn cached(&self) -> Vec<String> {
        files(&self.testbed.cache().join("jars"))
    }
}

/// Names of all files below `folder`, sorted.
fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path().is_dir() {
            true => names.extend(files(&entry.path())),
            false => names.push(entry.file_name().to_string_lossy().into_owned()),
        }
    }
    names.sort();
    names
}

#[track_caller]
fn expect_all_jars(place: &Place) {
    let cached = place.cached();
    assert!(cached.len() == JARS && cached.iter().all(|name| name.ends_with(".jar")), "{cached:?}");
}

/// A script that hangs, and that a search of the processes tells from all others.
fn hanging(seconds: u32) -> String {
    let sleep = programs::on_search_path("sleep").expect("every system has `sleep`");
    // Not `exec`: what a script started must not outlive it either.
    format!("{} {seconds}\nexit 1", sleep.display())
}

fn sleepers(seconds: u32) -> usize {
    let wanted = format!("\0{seconds}\0");
    let processes = fs::read_dir("/proc").expect("this is Linux").flatten();
    processes
        .filter(|entry| {
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).into_owned();
            words.contains("sleep") && words.ends_with(&wanted)
        })
        .count()
}

fn closed_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    format!("http://{}", listener.local_addr().expect("it is bound"))
}

#[test]
fn offline_without_java_all_that_is_missing_is_told_at_once() {
    let place = Place::new("offline");
    for command in [&["up", "--offline"][..], &["doctor", "--fix", "--offline"]] {
        place.run(command).expect_code(12).expect_words(&[
            "error[missing]",
            "nothing may be fetched (offline)",
            "java (11 or newer)",
            "49 of 49 jars of kafka-3.3.1",
            "1 of 1 jars of jmx-agent-0.17.2",
            "hint: ",
        ]);
        place.testbed.expect_no_process();
    }
    let findings = place.run(&["doctor", "--offline"]).expect_code(18).stdout;
    assert!(findings.contains("there is no java") && findings.contains("mend: "), "{findings}");

    let place = place.with_java();
    place.set_up(&Mirror::start()).expect_code(0);
    place.run(&["doctor", "--fix", "--offline"]).expect_code(0);
}

#[test]
fn a_maven_that_hangs_is_ended_and_the_jars_come_straight_from_central() {
    let place = Place::new("hang").with_java().with_script("mvn", &hanging(36_061));
    let mirror = Mirror::start();
    let arguments = ["doctor", "--fix", "--fetch-timeout", "2", "--maven-central", mirror.address()];
    place.run(&arguments).expect_code(0).expect_words(&[
        "Maven did not deliver: fetching jars",
        "printed nothing for 2 s and was ended",
        mirror.address(),
    ]);
    expect_all_jars(&place);
    assert_eq!(sleepers(36_061), 0, "what the script started lives on");
}

#[test]
fn without_a_network_both_ways_are_told_and_the_next_try_takes_the_mirror() {
    let place = Place::new("closed").with_java();
    let user = place.testbed.home().join("user");
    fs::create_dir_all(user.join(".m2")).expect("the home can be written");
    let settings = format!(
        "<settings><mirrors><mirror><id>closed</id><mirrorOf>*</mirrorOf><url>{}</url></mirror></mirrors></settings>",
        closed_address()
    );
    fs::write(user.join(".m2/settings.xml"), settings).expect("the home can be written");
    // The real Maven, with all that its script calls.
    let path = std::env::join_paths(
        [place.bin.clone()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").expect("is set"))),
    )
    .expect("no colon in paths");
    let run = |central: &str| {
        let mut command = place.prepare(&["doctor", "--fix", "--maven-central", central]);
        // Java takes the home from the list of users, not from HOME.
        let options = format!("-Duser.home={}", user.display());
        Running::start(command.env("PATH", &path).env("MAVEN_OPTS", options)).wait(LIMIT)
    };
    let closed = closed_address();
    run(&closed).expect_code(12).expect_words(&[
        "cannot provide the jars of kafka-3.3.1: with Maven: ",
        &format!("straight from Maven Central: cannot fetch {closed}/"),
        "hint: check the network",
    ]);
    let mirror = Mirror::start();
    run(mirror.address()).expect_code(0).expect_words(&["Maven did not deliver"]);
    expect_all_jars(&place);
}

#[test]
fn another_file_than_the_pinned_one_is_not_kept() {
    let place = Place::new("wrong").with_java();
    let mirror = Mirror::start();
    mirror.behave(Behaviour::Damages("zookeeper-3.6.3.jar".to_owned()));
    place.set_up(&mirror).expect_code(13).expect_words(&[
        "error[damaged-file]",
        "zookeeper-3.6.3.jar is not the pinned file: its SHA-256 is ",
        "hint: name another source with --maven-central",
    ]);
    assert!(place.cached().iter().all(|name| name.ends_with(".jar") && name != "zookeeper-3.6.3.jar"));
    let before = mirror.served().len();
    mirror.behave(Behaviour::Right);
    place.set_up(&mirror).expect_code(0);
    expect_all_jars(&place);
    assert_eq!(mirror.served().len() - before, JARS - (before - 1), "what was there was fetched again");
}

#[test]
fn another_jar_from_maven_is_not_taken_and_the_direct_way_is_tried() {
    let mkdir = programs::on_search_path("mkdir").expect("every system has `mkdir`");
    let script = format!(
        "for word; do case $word in -DoutputDirectory=*) output=${{word#*=}};; esac; done\n\
         {} -p \"$output\"\n\
         echo 'not this one' > \"$output/zookeeper-3.6.3.jar\"",
        mkdir.display()
    );
    let place = Place::new("other").with_java().with_script("mvn", &script);
    place.run(&["doctor", "--fix", "--maven-central", &closed_address()]).expect_code(13).expect_words(&[
        "Maven delivered another org.apache.zookeeper:zookeeper:3.6.3 than the pinned one",
        "hint: rm ~/.m2/repository/org/apache/zookeeper/",
    ]);
    assert_eq!(place.cached(), [""; 0], "nothing of it may be kept");
    place.set_up(&Mirror::start()).expect_code(0);
    expect_all_jars(&place);
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[test]
fn another_release_than_the_pinned_one_is_not_unpacked() {
    let place = Place::new("release");
    let mirror = Mirror::start();
    mirror.behave(Behaviour::Damages(".tar.gz".to_owned()));
    let arguments = ["doctor", "--fix", "--github", mirror.address(), "--maven-central", mirror.address()];
    place.run(&arguments).expect_code(13).expect_words(&[
        "there is no java (11 or newer)",
        "no apt-get and dpkg",
        ".tar.gz is not the pinned file",
    ]);
    assert_eq!(files(&place.testbed.cache().join("releases")), [""; 0]);

    mirror.behave(Behaviour::Right);
    place
        .run(&arguments)
        .expect_code(12)
        .expect_words(&[".tar.gz answered 404 Not Found", "hint: install java"]);
    let place = place.with_java();
    place.run(&arguments).expect_code(0);
}

#[test]
fn a_damaged_jar_is_found_and_only_it_is_fetched_anew() {
    let place = Place::new("damaged").with_java();
    let mirror = Mirror::start();
    place.set_up(&mirror).expect_code(0);
    let jar = place.testbed.cache().join("jars/kafka-3.3.1/zookeeper-3.6.3.jar");
    let sound = fs::read(&jar).expect("it was fetched");
    fs::write(&jar, &sound[..sound.len() / 2]).expect("the cache can be written");
    let findings = place.run(&["doctor"]).expect_code(0).stdout;
    assert!(
        findings.contains("a jar of kafka-3.3.1 is damaged") && findings.contains("doctor --fix"),
        "{findings}"
    );

    place
        .run(&["up", "--offline"])
        .expect_code(13)
        .expect_words(&["zookeeper-3.6.3.jar is damaged", "moved to"]);
    place.testbed.expect_no_process();
    let before = mirror.served().len();
    place.set_up(&mirror).expect_code(0).expect_words(&["zookeeper-3.6.3.jar.corrupt is removed"]);
    assert_eq!(mirror.served()[before..], ["zookeeper-3.6.3.jar"]);
    assert!(fs::read(&jar).expect("it is there again") == sound);
    expect_all_jars(&place);

    fs::write(&jar, "not a jar").expect("the cache can be written");
    place.set_up(&mirror).expect_code(0).expect_words(&["zookeeper-3.6.3.jar was damaged and is removed"]);
    expect_all_jars(&place);
}

#[test]
fn a_killed_set_up_goes_on_where_it_was() {
    let place = Place::new("killed").with_java();
    let mirror = Mirror::start();
    mirror.behave(Behaviour::HangsAfter(7));
    let command = &mut place.prepare(&["doctor", "--fix", "--maven-central", mirror.address()]);
    let running = Running::start(command);
    eventually(LIMIT, "the eighth jar is asked for", || match mirror.asked().len() {
        8 => Ok(()),
        other => Err(format!("{other} are")),
    });
    running.kill();
    mirror.behave(Behaviour::Right);
    place.set_up(&mirror).expect_code(0);
    expect_all_jars(&place);
    let mut asked = mirror.asked();
    assert_eq!(asked.len(), JARS + 1, "only what was under way is asked for twice");
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), JARS);
}

#[test]
fn what_a_killed_set_up_left_running_is_ended_by_the_next() {
    let place = Place::new("left").with_java().with_script("mvn", &hanging(36_062));
    let running = Running::start(&mut place.prepare(&["doctor", "--fix"]));
    eventually(LIMIT, "Maven runs", || match sleepers(36_062) {
        1 => Ok(()),
        other => Err(format!("{other} processes do")),
    });
    running.signal(Signal::KILL);
    running.wait(LIMIT);
    assert_eq!(sleepers(36_062), 1, "nobody ended it, so this test shows something");
    let place = place.with_script("mvn", "echo no such thing >&2; exit 1");
    place.set_up(&Mirror::start()).expect_code(0).expect_words(&["Maven did not deliver: fetching jars"]);
    assert_eq!(sleepers(36_062), 0, "it lives on");
    expect_all_jars(&place);
}

#[test]
fn of_two_at_once_the_second_waits_and_says_for_whom() {
    let place = Place::new("two").with_java();
    let mirror = Mirror::start();
    mirror.behave(Behaviour::HangsAfter(3));
    let start =
        || Running::start(&mut place.prepare(&["doctor", "--fix", "--maven-central", mirror.address()]));
    let first = start();
    eventually(LIMIT, "the first fetches", || match mirror.asked().len() {
        4 => Ok(()),
        other => Err(format!("{other} jars are asked for")),
    });
    let holder =
        format!("waiting for `doctor` of testbed `e2e-two-{}` (pid {})", std::process::id(), first.pid());
    let second = start();
    let lock = fs::canonicalize(place.testbed.cache().join("lock")).expect("the first has it");
    eventually(LIMIT, "the second wants the lock", || {
        let open = fs::read_dir(format!("/proc/{}/fd", second.pid())).into_iter().flatten().flatten();
        match open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|path| path == lock) {
            true => Ok(()),
            false => Err("it has not opened it".to_owned()),
        }
    });
    // It has opened the lock and looks at it every tenth of a second.
    std::thread::sleep(Duration::from_millis(500));
    mirror.behave(Behaviour::Right);
    first.wait(LIMIT).expect_code(0);
    second.wait(LIMIT).expect_code(0).expect_words(&[&holder]);
    expect_all_jars(&place);
    assert_eq!(mirror.asked().len(), JARS, "the second fetched what the first had");
}
