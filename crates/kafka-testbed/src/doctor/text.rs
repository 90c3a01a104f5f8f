//! Numbers and small files of the kernel, read and shown.

use std::{fs, path::Path};

/// `1610612736` → `1.5 GiB`.
pub(super) fn bytes(number: u64) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    let mib = number as f64 / MIB;
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

/// The number in the file `path` below `root`; nothing where it is absent or says `max`.
pub(super) fn number(root: &Path, path: &str) -> Option<u64> {
    fs::read_to_string(root.join(path.trim_start_matches('/'))).ok()?.trim().parse().ok()
}

/// A path as a shell takes it.
pub(super) fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    if is_plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_the_unit_that_fits() {
        for (number, expected) in
            [(0, "0 MiB"), (256 << 20, "256 MiB"), (1 << 30, "1.0 GiB"), (1_610_612_736, "1.5 GiB")]
        {
            assert_eq!(bytes(number), expected);
        }
    }

    #[test]
    fn paths_are_quoted_for_a_shell() {
        for (path, expected) in [("/a/b-c_1.d", "/a/b-c_1.d"), ("/a b", "'/a b'"), ("/it's", "'/it'\\''s'")] {
            assert_eq!(shell_word(Path::new(path)), expected);
        }
    }
}
