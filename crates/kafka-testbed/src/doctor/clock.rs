//! The clock: whether it moves as it should, and whether somebody sets it.
//!
//! All services of a testbed run on this machine and share its clock, so its offset from the world's cannot be
//! told and does not matter to them; it matters to whoever compares the samples with those of other machines.

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{Finding, Level, Topic};

/// 1 January 2025: this program is younger.
const EARLIEST: u64 = 1_735_689_600;
/// Clock sources that are slow or coarse.
const POOR_SOURCES: &[&str] = &["jiffies", "refined-jiffies", "acpi_pm", "hpet"];
/// Programs that set the clock over the network, by the name of their process.
const DAEMONS: &[&str] = &["chronyd", "ntpd", "systemd-timesyn", "openntpd", "ntpsec"];

pub(super) fn examine(root: &Path) -> Vec<Finding> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let source = root.join("sys/devices/system/clocksource/clocksource0/current_clocksource");
    let source = fs::read_to_string(source).ok().map(|text| text.trim().to_owned());
    let mut findings = vec![wall(now)];
    findings.extend(source.map(|source| monotonic(&source, advances(root))));
    findings.push(synchronised(root));
    findings
}

fn wall(now: u64) -> Finding {
    if now < EARLIEST {
        Finding::new(Level::Warning, Topic::Clock, "the clock is wrong", "CLOCK_REALTIME")
            .why(format!("it stands at {now} s after 1970, before this program was written; samples would carry that time"))
            .mend("sudo timedatectl set-ntp true")
    } else {
        Finding::new(Level::Ok, Topic::Clock, "the clock stands in this age", "CLOCK_REALTIME")
    }
}

/// Whether the time since boot goes forward between two looks; nothing where it cannot be read.
fn advances(root: &Path) -> Option<bool> {
    let uptime = || {
        let text = fs::read_to_string(root.join("proc/uptime")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    let (first, second) = (uptime()?, uptime()?);
    Some(second >= first && first > 0.0)
}

fn monotonic(source: &str, advances: Option<bool>) -> Finding {
    let place = format!("clock source {source}");
    if advances == Some(false) {
        return Finding::new(Level::Warning, Topic::Clock, "the monotonic clock goes backwards", place)
            .why("rates and timeouts would be wrong");
    }
    if POOR_SOURCES.contains(&source) {
        return Finding::new(Level::Warning, Topic::Clock, "the monotonic clock is slow or coarse", place)
            .why("latencies are measured with it")
            .mend("cat /sys/devices/system/clocksource/clocksource0/available_clocksource");
    }
    Finding::new(Level::Ok, Topic::Clock, "the monotonic clock goes forward", place)
}

fn synchronised(root: &Path) -> Finding {
    let place = "synchronisation";
    if root.join("run/systemd/timesync/synchronized").exists() {
        return Finding::new(Level::Ok, Topic::Clock, "the clock is synchronised", place)
            .why("systemd-timesyncd says so");
    }
    let names = fs::read_dir(root.join("proc")).into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name();
        let is_process = name.to_str()?.bytes().all(|byte| byte.is_ascii_digit());
        let comm = is_process.then(|| fs::read_to_string(entry.path().join("comm")).ok())??;
        Some(comm.trim().to_owned())
    });
    match names.into_iter().find(|name| DAEMONS.contains(&name.as_str())) {
        Some(name) => Finding::new(Level::Ok, Topic::Clock, format!("{name} runs"), place)
            .why("whether the clock is synchronised only it can tell"),
        None => Finding::new(Level::Ok, Topic::Clock, "it cannot be told whether the clock is synchronised", place)
            .why("no time service is seen; all services here share one clock, so it only matters to comparisons with other machines"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_judged_by_its_age_its_source_and_its_direction() {
        assert_eq!(wall(EARLIEST - 1).level, Level::Warning);
        assert_eq!(wall(EARLIEST).level, Level::Ok);
        for (source, advances, expected) in [
            ("tsc", Some(true), Level::Ok),
            ("kvm-clock", None, Level::Ok),
            ("tsc", Some(false), Level::Warning),
            ("hpet", Some(true), Level::Warning),
        ] {
            assert_eq!(monotonic(source, advances).level, expected, "{source} {advances:?}");
        }
    }

    #[test]
    fn a_time_service_is_found_by_its_mark_or_its_process() {
        let root = tempfile::tempdir().expect("folder");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("has one")).expect("creates");
            fs::write(path, text).expect("writes");
        };
        write("proc/7/comm", "bash\n");
        write("proc/self/comm", "chronyd\n");
        assert!(synchronised(root.path()).what.contains("cannot be told"));
        write("proc/8/comm", "chronyd\n");
        assert_eq!(synchronised(root.path()).what, "chronyd runs");
        write("run/systemd/timesync/synchronized", "");
        assert_eq!(synchronised(root.path()).what, "the clock is synchronised");
    }
}
