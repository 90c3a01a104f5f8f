//! What is shipped beside the program.

use std::{fs, process::Command};

use e2e::{note, programs};

/// With the program of this build in place of the installed one.
#[test]
fn systemd_takes_the_unit() {
    if programs::on_search_path("systemd-analyze").is_none() {
        note("there is no systemd-analyze: only the program's arguments are looked at");
    }
    let unit = programs::workspace().join("packaging/prom-merger.service");
    let unit = fs::read_to_string(unit).expect("the unit is there");
    let merger = programs::path("prom-merger");
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let path = folder.path().join("prom-merger.service");
    let installed = "/usr/local/bin/prom-merger";
    fs::write(&path, unit.replace(installed, &merger.display().to_string())).expect("it can be written");
    if programs::on_search_path("systemd-analyze").is_some() {
        let output = Command::new("systemd-analyze").arg("verify").arg(&path).output().expect("it runs");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && words.is_empty(), "{words}");
    }
    // The arguments are ones that the program knows: it comes as far as its configuration.
    let starts: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix("ExecStart")).collect();
    assert_eq!(starts.len(), 2, "one before, and the start");
    for line in starts {
        let (_, command) = line.split_once(installed).expect("it starts the merger");
        let output = Command::new(&merger).args(command.split_whitespace()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(64), "{command}: no configuration is there");
    }
}

/// The image has the same program with the same arguments.
#[test]
fn the_image_starts_what_the_unit_starts() {
    let file = fs::read_to_string(programs::workspace().join("packaging/Containerfile"));
    let file = file.expect("the file is there");
    let line = |start: &str| {
        let line = file.lines().find_map(|line| line.strip_prefix(start)).expect("the line is there");
        serde_json::from_str::<Vec<String>>(line).expect("the form of a list")
    };
    assert_eq!(line("ENTRYPOINT "), ["/usr/local/bin/prom-merger"]);
    let output = Command::new(programs::path("prom-merger")).args(line("CMD ")).output().expect("it runs");
    assert_eq!(output.status.code(), Some(64), "no configuration is there");
    assert!(file.contains("\nUSER 65532\n"), "it is not root");
}
