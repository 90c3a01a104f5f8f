//! Log files of services: bounded, and read from their end.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

/// A log larger than this is put aside (`.1`, replacing the one before) when its service starts.
const MAX_BYTES: u64 = 64 << 20;
/// How much of a log's end is looked at for its last lines.
const TAIL_BYTES: u64 = 64 << 10;

/// Opens a log for appending.
pub(super) fn open(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|data| data.len() > MAX_BYTES) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    File::options().create(true).append(true).open(path)
}

/// The last `lines` lines of the log at `path`, oldest first; none when there is no log.
pub fn tail(path: &Path, lines: usize) -> Vec<String> {
    let Ok(mut file) = File::open(path) else { return Vec::new() };
    let length = file.metadata().map_or(0, |data| data.len());
    let mut bytes = Vec::new();
    let start = length.saturating_sub(TAIL_BYTES);
    let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.take(TAIL_BYTES).read_to_end(&mut bytes));
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_last_lines_and_bounds_the_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.log");
        assert_eq!(tail(&path, 3), Vec::<String>::new());
        fs::write(&path, "1\n2\n3\n4\n").expect("writes");
        assert_eq!(tail(&path, 2), ["3", "4"]);
        assert_eq!(tail(&path, 9).len(), 4);
        open(&path).expect("opens").set_len(MAX_BYTES + 1).expect("grows");
        let fresh = open(&path).expect("opens anew");
        assert_eq!(fresh.metadata().expect("is there").len(), 0);
        assert!(folder.path().join("a.log.1").exists());
    }
}
