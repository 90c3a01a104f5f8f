//! Container paths and the paths of this machine that are mounted there.

use std::path::PathBuf;

/// The mounts of one service.
#[derive(Debug, Clone, Default)]
pub(super) struct Mounts(Vec<(String, PathBuf)>);

impl Mounts {
    pub(super) fn add(&mut self, target: &str, source: PathBuf) {
        self.0.push((target.trim_end_matches('/').to_owned(), source));
        // The longest target wins, as it does for mounts inside mounts.
        self.0.sort_by_key(|(target, _)| std::cmp::Reverse(target.len()));
    }

    /// Replaces every container path in `text` that is mounted: a target, or something below one.
    ///
    /// A target counts only as a whole path: `/prometheus` in `/prometheus/wal` and `=/prometheus:` is one, in
    /// `/etc/prometheus` and `/prometheus-old` it is none.
    pub(super) fn translate(&self, text: &str) -> String {
        let mut output = String::with_capacity(text.len());
        let mut rest = text;
        let mut previous = None;
        while let Some(character) = rest.chars().next() {
            let found = (character == '/' && !previous.is_some_and(is_path_character))
                .then(|| self.0.iter().find(|(target, _)| begins_with_path(rest, target)))
                .flatten();
            match found {
                Some((target, source)) => {
                    output.push_str(&source.to_string_lossy());
                    rest = &rest[target.len()..];
                    previous = target.chars().next_back();
                }
                None => {
                    output.push(character);
                    rest = &rest[character.len_utf8()..];
                    previous = Some(character);
                }
            }
        }
        output
    }
}

fn begins_with_path(text: &str, target: &str) -> bool {
    !target.is_empty()
        && text.strip_prefix(target).is_some_and(|after| {
            after.chars().next().is_none_or(|next| next == '/' || !is_path_character(next))
        })
}

fn is_path_character(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '/' | '.' | '-' | '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut mounts = Mounts::default();
        mounts.add("/prometheus", "/h/data".into());
        mounts.add("/etc/prometheus/prometheus.yml", "/h/p.yml".into());
        mounts.add("/usr/app/a.jar", "/h/a.jar".into());
        mounts.add("/prometheus/inner", "/h/inner".into());
        assert_eq!(mounts.translate(text), expected);
    }

    #[test]
    fn whole_paths_only() {
        check("--storage.tsdb.path=/prometheus", "--storage.tsdb.path=/h/data");
        check("/prometheus/wal", "/h/data/wal");
        check("/prometheus/inner/x", "/h/inner/x");
        check("--config.file=/etc/prometheus/prometheus.yml", "--config.file=/h/p.yml");
        check("-javaagent:/usr/app/a.jar=1:/prometheus:", "-javaagent:/h/a.jar=1:/h/data:");
        check("/prometheus-old /etc/prometheus x/prometheus", "/prometheus-old /etc/prometheus x/prometheus");
        check("http://h:1/prometheus", "http://h:1/prometheus");
        check("", "");
    }
}
