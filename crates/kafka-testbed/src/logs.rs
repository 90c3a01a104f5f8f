//! The logs of services: bounded files, read by lines with their time.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

/// A log larger than this is put aside (`.1`, replacing the one before) when its service starts.
const MAX_BYTES: u64 = 64 << 20;
/// How much of a log's end is looked at for its last lines.
const TAIL_BYTES: u64 = 256 << 10;
/// Most bytes that are taken from one log at a time.
const MAX_READ: u64 = 16 << 20;
/// A longer line is cut.
const MAX_LINE: usize = 64 << 10;

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its own time, or that of the line before it where it has none (a stack trace).
    pub at: Option<Timestamp>,
    /// Its text.
    pub text: String,
}

/// Opens a log for appending.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|data| data.len() > MAX_BYTES) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    File::options().create(true).append(true).open(path)
}

/// The last `count` lines of the log at `path`, oldest first; none when there is no log.
pub fn tail(path: &Path, count: usize) -> Vec<String> {
    last(path, count).into_iter().map(|line| line.text).collect()
}

/// As [`tail`], with times.
pub fn last(path: &Path, count: usize) -> Vec<Line> {
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
    timed(all[all.len().saturating_sub(count)..].iter().copied(), None)
}

/// The lines of the log at `path` from the first that is not older than `since`; at most the last 16 MiB of them.
///
/// # Errors
/// When the file system refuses; no log is no lines.
pub fn since(path: &Path, since: Timestamp) -> io::Result<Vec<Line>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let start = file.metadata()?.len().saturating_sub(MAX_READ);
    file.seek(SeekFrom::Start(start))?;
    let mut lines = Vec::new();
    let mut at = None;
    let mut reader = BufReader::new(file.take(MAX_READ));
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        bytes.truncate(MAX_LINE);
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches(['\n', '\r']);
        at = time_of(text).or(at);
        if at.is_some_and(|at| at >= since) {
            lines.push(Line { at, text: text.to_owned() });
        }
        bytes.clear();
    }
    Ok(lines)
}

/// A log that is followed from a place on.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    position: u64,
    at: Option<Timestamp>,
}

impl Follower {
    /// Follows the log at `path` from its present end.
    pub fn from_end(path: PathBuf) -> Self {
        let position = fs::metadata(&path).map_or(0, |data| data.len());
        Self { path, position, at: None }
    }

    /// The whole lines that were added since the last time, at most a part of them if there are very many.
    ///
    /// # Errors
    /// When the file system refuses; a log that is not there has no lines.
    pub fn added(&mut self) -> io::Result<Vec<Line>> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        if file.metadata()?.len() < self.position {
            // It was put aside, and a new one begun.
            self.position = 0;
        }
        file.seek(SeekFrom::Start(self.position))?;
        let mut bytes = Vec::new();
        file.take(MAX_READ).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |index| index + 1);
        self.position += whole as u64;
        let text = String::from_utf8_lossy(&bytes[..whole]);
        let lines = timed(text.lines(), self.at);
        self.at = lines.last().and_then(|line| line.at);
        Ok(lines)
    }
}

fn timed<'a>(lines: impl Iterator<Item = &'a str>, before: Option<Timestamp>) -> Vec<Line> {
    let mut at = before;
    lines
        .map(|text| {
            at = time_of(text).or(at);
            Line { at, text: text.to_owned() }
        })
        .collect()
}

/// The time that a line of Kafka, ZooKeeper, Prometheus or our own programs begins with.
fn time_of(line: &str) -> Option<Timestamp> {
    let rest = ["[", "ts=", "time="].iter().find_map(|prefix| line.strip_prefix(prefix)).unwrap_or(line);
    // log4j: `[2026-11-24 10:57:07,123]`, in UTC as the backend sets it.
    if let Some(text) = rest.get(..23).filter(|text| text.as_bytes()[10] == b' ') {
        return format!("{}Z", text.replacen(' ', "T", 1).replace(',', ".")).parse().ok();
    }
    let end = rest.find([' ', ']']).unwrap_or(rest.len());
    rest.get(..end).filter(|text| (20..=40).contains(&text.len()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_time(line: &str, expected: &str) {
        assert_eq!(time_of(line).map(|at| at.to_string()).unwrap_or_default(), expected, "{line}");
    }

    #[test]
    fn times_of_all_programs() {
        check_time(
            "[2026-11-24 10:57:07,123] INFO started (kafka.server.KafkaServer)",
            "2026-11-24T10:57:07.123Z",
        );
        check_time("ts=2026-11-24T10:57:07.123Z caller=main.go:1 level=info", "2026-11-24T10:57:07.123Z");
        check_time("time=2026-11-24T10:57:07.123Z level=INFO source=main.go:1", "2026-11-24T10:57:07.123Z");
        check_time("2026-11-24T10:57:07.123456Z  INFO prom_merger: listening", "2026-11-24T10:57:07.123456Z");
        check_time("\tat kafka.Kafka$.main(Kafka.scala:109)", "");
        check_time("é2026-11-24 10:57:07,1234567 of no program", "");
        check_time("", "");
    }

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

    #[test]
    fn lines_since_a_time_keep_their_stack_traces() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.log");
        let text =
            "no time\n[2026-11-24 10:00:00,000] old\n\tat old\n[2026-11-24 11:00:00,000] new\n\tat new\n";
        fs::write(&path, text).expect("writes");
        let from: Timestamp = "2026-11-24T10:30:00Z".parse().expect("a time");
        let lines = since(&path, from).expect("reads");
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["[2026-11-24 11:00:00,000] new", "\tat new"]);
        assert_eq!(since(&folder.path().join("none"), from).expect("reads"), []);
    }

    #[test]
    fn a_follower_gives_whole_lines_once_and_goes_on_in_a_new_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.log");
        fs::write(&path, "old\n").expect("writes");
        let mut follower = Follower::from_end(path.clone());
        let texts = |follower: &mut Follower| -> Vec<String> {
            follower.added().expect("reads").into_iter().map(|line| line.text).collect()
        };
        fs::write(&path, "old\nnew\nhal").expect("writes");
        assert_eq!(texts(&mut follower), ["new"]);
        fs::write(&path, "old\nnew\nhalf\n").expect("writes");
        assert_eq!(texts(&mut follower), ["half"]);
        fs::write(&path, "x\n").expect("writes");
        assert_eq!(texts(&mut follower), ["x"]);
        fs::remove_file(&path).expect("removes");
        assert_eq!(texts(&mut follower), Vec::<String>::new());
    }
}
