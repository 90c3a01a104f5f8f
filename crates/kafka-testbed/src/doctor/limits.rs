//! Limits of this process and of the control groups that hold it.

use std::{fs, path::Path};

use super::text;

/// A limit of a control group and what is used of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupLimit {
    pub(super) limit: u64,
    pub(super) used: u64,
}

/// The tightest limit of our control group and those above it, for `controller`. The names of the files of limit
/// and use differ between version 2 and 1.
pub(super) fn of_groups(
    root: &Path,
    controller: &str,
    version_2: (&str, &str),
    version_1: (&str, &str),
) -> Option<GroupLimit> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let lines = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        if controllers.is_empty() {
            Some(("sys/fs/cgroup".to_owned(), path, version_2))
        } else if controllers.split(',').any(|name| name == controller) {
            Some((format!("sys/fs/cgroup/{controller}"), path, version_1))
        } else {
            None
        }
    });
    lines
        .flat_map(|(mount, path, (limit, used))| {
            let path = Path::new(path.trim_start_matches('/'));
            path.ancestors()
                .filter_map(|group| {
                    let folder = Path::new(&mount).join(group);
                    let read = |name: &str| text::number(root, &folder.join(name).to_string_lossy());
                    Some(GroupLimit { limit: read(limit)?, used: read(used).unwrap_or(0) })
                })
                .collect::<Vec<_>>()
        })
        .min_by_key(|group| group.limit.saturating_sub(group.used))
}

/// Soft and hard limit of this process, as `/proc/self/limits` names it; nothing means no limit.
pub(super) fn of_process(root: &Path, name: &str) -> Option<(Option<u64>, Option<u64>)> {
    let limits = fs::read_to_string(root.join("proc/self/limits")).ok()?;
    let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
    let mut numbers = rest.split_whitespace().map(|word| word.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_a_process_as_the_kernel_writes_them() {
        let root = tempfile::tempdir().expect("folder");
        fs::create_dir_all(root.path().join("proc/self")).expect("creates");
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             96365                unlimited            processes \n\
                    Max open files            1024                 20000                files     \n";
        fs::write(root.path().join("proc/self/limits"), text).expect("writes");
        assert_eq!(of_process(root.path(), "Max open files"), Some((Some(1024), Some(20000))));
        assert_eq!(of_process(root.path(), "Max processes"), Some((Some(96365), None)));
        assert_eq!(of_process(root.path(), "Max other"), None);
    }

    #[test]
    fn groups_of_both_versions_count() {
        let root = tempfile::tempdir().expect("folder");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("has one")).expect("creates");
            fs::write(path, text).expect("writes");
        };
        let read =
            || of_groups(root.path(), "pids", ("pids.max", "pids.current"), ("pids.max", "pids.current"));
        write("proc/self/cgroup", "8:pids,cpu:/user\n0::/\n");
        assert_eq!(read(), None);
        write("sys/fs/cgroup/pids/user/pids.max", "500\n");
        write("sys/fs/cgroup/pids/user/pids.current", "40\n");
        assert_eq!(read(), Some(GroupLimit { limit: 500, used: 40 }));
        write("sys/fs/cgroup/pids/pids.max", "100\n");
        assert_eq!(read(), Some(GroupLimit { limit: 100, used: 0 }));
    }
}
