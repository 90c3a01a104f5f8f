//! `cargo xtask docs`: writes the pages that follow from the code. A test says when one is out of date.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Command, CommandFactory as _};

/// Writes every generated page.
pub fn run() -> ExitCode {
    for (path, text) in pages() {
        if let Err(error) = fs::write(&path, text) {
            crate::show::failure(None, &format!("cannot write {}: {error}", path.display()), None);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

fn pages() -> Vec<(PathBuf, String)> {
    vec![
        (workspace().join("docs/commands.md"), commands()),
        (workspace().join("docs/testbed-yaml.md"), specification()),
    ]
}

/// Every key of `testbed.yaml`.
fn specification() -> String {
    format!(
        "# testbed.yaml\n\nThe specification of a testbed, key by key. Every key may be left out. What it is for and how it \
         is read: [testbed.md](testbed.md).\nThis page is written by `cargo xtask docs`.\n\nDurations are written with a \
         unit (`500ms`, `5s`, `1h30m`, `15d`), sizes with a power of 1024 (`512m`, `2g`).\n\n{}",
        kafka_testbed::spec::keys::markdown()
    )
}

/// The help of every command, as the program prints it.
fn commands() -> String {
    let mut text = "# Commands\n\nThe help of every command, as `--help` prints it. This page is written by `cargo xtask docs`.\n"
        .to_owned();
    let mut root = crate::Arguments::command();
    root.build();
    append(&root, "cargo xtask", &mut text);
    text
}

fn append(command: &Command, name: &str, text: &mut String) {
    let mut shown = command.clone().term_width(100).bin_name(name);
    let help = shown.render_long_help().to_string();
    let help: String = help.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    text.push_str(&format!("\n## `{name}`\n\n```text\n{}\n```\n", help.trim_end()));
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        append(sub, &format!("{name} {}", sub.get_name()), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_pages_are_up_to_date() {
        for (path, expected) in pages() {
            let found = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                found == expected,
                "{} is not what the code says now: run `cargo xtask docs`",
                path.display()
            );
        }
    }
}
