//! Where sources would collide in one database.

use std::{
    collections::{BTreeMap, HashSet},
    hash::BuildHasher,
};

use foldhash::quality::FixedState;

use super::{Finding, SourceReport, SourceToCheck, report::Span, source_api::RECENT_S};
use crate::{config::OnConflict, machine::now_ms};

pub(super) async fn judge(
    label: &str,
    sources: &[SourceToCheck],
    reports: &[SourceReport],
    findings: &mut Vec<Finding>,
) {
    for report in reports {
        if let Some(source) = sources.iter().find(|source| source.name == report.name) {
            judge_one(label, report, source, findings);
        }
    }
    for (index, one) in reports.iter().enumerate() {
        for other in reports.iter().skip(index + 1) {
            judge_two(one, other, findings);
            match common_series(sources, one, other).await {
                Ok(common) => tell_common(one, other, &common, findings),
                Err(message) => findings.push(Finding::note(
                    format!("sources {} and {}", one.name, other.name),
                    format!("their series were not compared: {message}"),
                    "",
                )),
            }
        }
    }
}

fn judge_one(label: &str, report: &SourceReport, source: &SourceToCheck, findings: &mut Vec<Finding>) {
    let about = || format!("source {}", report.name);
    let future_limit_ms = source.future_limit_ms;
    if !report.own_label_values.is_empty() {
        let values: Vec<_> =
            report.own_label_values.iter().take(5).map(|value| format!("{value:?}")).collect();
        let what = format!(
            "its own series have the label `{label}` already ({} values: {})",
            report.own_label_values.len(),
            values.join(", ")
        );
        findings.push(of_conflict(about(), what, label, source.on_conflict));
    }
    if let Some(value) = report.external_labels.get(label) {
        let what = format!("its external label `{label}` is {value:?}");
        findings.push(of_conflict(about(), what, label, source.on_conflict));
    }
    let skew_ms = report.clock_skew_ms.abs() - report.clock_uncertainty_ms;
    let words = format!(
        "its clock is {:.3} s {} of this machine's",
        report.clock_skew_ms.abs() / 1e3,
        if report.clock_skew_ms > 0.0 { "ahead" } else { "behind" }
    );
    if future_limit_ms > 0 && report.clock_skew_ms - report.clock_uncertainty_ms > future_limit_ms as f64 {
        findings.push(Finding::error(
            about(),
            format!("{words}, more than its future_limit: all its samples would become dead letters"),
            "set the clocks by NTP",
        ));
    } else if skew_ms > SKEW_MS {
        findings.push(Finding::warning(
            about(),
            format!("{words}: what happened at one time seems not to"),
            "set the clocks by NTP",
        ));
    }
    let path = format!("/api/v1/write/{}", report.name);
    if !report.remote_write_urls.iter().any(|url| url.contains(&path)) {
        findings.push(Finding::note(
            about(),
            format!("its configuration writes to no address with {path}"),
            format!("add remote_write: [{{url: \"http://MERGER:PORT{path}\"}}]"),
        ));
    }
}

/// Nothing is lost where the old label is kept.
fn of_conflict(about: String, what: String, label: &str, policy: OnConflict) -> Finding {
    match policy {
        OnConflict::Export => Finding::note(about, format!("{what}: it becomes `exported_{label}`"), ""),
        OnConflict::Replace => Finding::warning(
            about,
            format!("{what}: it is dropped, and series that differ in it alone become one"),
            "on_conflict: export keeps it",
        ),
        OnConflict::Refuse => Finding::warning(
            about,
            format!("{what}: such series become dead letters"),
            "on_conflict: export lets them pass",
        ),
    }
}

fn judge_two(one: &SourceReport, other: &SourceReport, findings: &mut Vec<Finding>) {
    let about = || format!("sources {} and {}", one.name, other.name);
    if one.scrape_interval_ms != other.scrape_interval_ms {
        let longest = one.scrape_interval_ms.max(other.scrape_interval_ms);
        findings.push(Finding::warning(
            about(),
            format!(
                "they scrape every {} s and every {} s",
                one.scrape_interval_ms as f64 / 1e3,
                other.scrape_interval_ms as f64 / 1e3
            ),
            format!("a range over both needs at least four times the longer one: [{}]", Span(4 * longest)),
        ));
    }
    if !one.external_labels.is_empty() && one.external_labels == other.external_labels {
        findings.push(Finding::warning(
            about(),
            "their external labels are the same: without the source nobody can tell them apart",
            "if they are replicas of one Prometheus, make them one source with `replicas`",
        ));
    }
    for (name, value) in &one.external_labels {
        if let Some(theirs) = other.external_labels.get(name).filter(|theirs| *theirs != value)
            && is_replica_label(name)
        {
            let rest = |labels: &BTreeMap<String, String>| {
                let mut rest = labels.clone();
                rest.remove(name);
                rest
            };
            if rest(&one.external_labels) == rest(&other.external_labels) {
                findings.push(Finding::warning(
                    about(),
                    format!("they differ in the external label `{name}` alone ({value:?} and {theirs:?})"),
                    "replicas of one Prometheus are one source with `replicas`",
                ));
            }
        }
    }
}

fn is_replica_label(name: &str) -> bool {
    name.contains("replica")
}

struct CommonSeries {
    count: usize,
    example: String,
}

fn tell_common(one: &SourceReport, other: &SourceReport, common: &CommonSeries, findings: &mut Vec<Finding>) {
    if common.count == 0 {
        return;
    }
    findings.push(Finding::warning(
        format!("sources {} and {}", one.name, other.name),
        format!("{} series have the same labels in both, as {}", common.count, common.example),
        "they stay apart by the source label; a sum over sources counts them twice",
    ));
}

/// The series that both have had lately, without external labels. Only metrics that both have are fetched, a few at a
/// time; of one source's only hashes are kept, so the memory is that of one answer.
async fn common_series(
    sources: &[SourceToCheck],
    one: &SourceReport,
    other: &SourceReport,
) -> Result<CommonSeries, String> {
    let api = |name: &str| {
        let source = sources.iter().find(|source| source.name == name);
        source.and_then(|source| source.api.as_ref()).ok_or_else(|| format!("{name} has no API"))
    };
    let (first, second) = (api(&one.name)?, api(&other.name)?);
    let names: HashSet<_> = one.metric_names.iter().collect();
    let both: Vec<&str> =
        other.metric_names.iter().filter(|name| names.contains(name)).map(String::as_str).collect();
    let since_s = now_ms() / 1000 - RECENT_S;
    let mut common = CommonSeries { count: 0, example: String::new() };
    for names in both.chunks(NAMES_PER_QUESTION) {
        let hasher = FixedState::default();
        let known = first.series(names, since_s).await.map_err(|error| error.to_string())?;
        let known: HashSet<u64> = known.iter().map(|labels| hasher.hash_one(labels)).collect();
        for labels in second.series(names, since_s).await.map_err(|error| error.to_string())? {
            if known.contains(&hasher.hash_one(&labels)) {
                if common.count == 0 {
                    common.example = shown(&labels);
                }
                common.count += 1;
            }
        }
    }
    Ok(common)
}

fn shown(labels: &BTreeMap<String, String>) -> String {
    let name = labels.get("__name__").map(String::as_str).unwrap_or_default();
    let others = labels.iter().filter(|(name, _)| *name != "__name__");
    let others: Vec<_> = others.map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{name}{{{}}}", others.join(","))
}

/// What NTP keeps easily.
const SKEW_MS: f64 = 500.0;
const NAMES_PER_QUESTION: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Severity;

    fn report(name: &str) -> SourceReport {
        SourceReport {
            name: name.to_owned(),
            url: "http://x/".to_owned(),
            version: "3".to_owned(),
            external_labels: BTreeMap::new(),
            scrape_interval_ms: 15_000,
            clock_skew_ms: 10.0,
            clock_uncertainty_ms: 20.0,
            metric_names: Vec::new(),
            own_label_values: Vec::new(),
            remote_write_urls: vec![format!("http://m/api/v1/write/{name}")],
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut SourceReport, &mut SourceReport), expected: &[(Severity, &str)]) {
        check_with(OnConflict::Export, change, expected);
    }

    #[track_caller]
    fn check_with(
        policy: OnConflict,
        change: impl FnOnce(&mut SourceReport, &mut SourceReport),
        expected: &[(Severity, &str)],
    ) {
        let (mut one, mut other) = (report("a"), report("b"));
        change(&mut one, &mut other);
        let mut findings = Vec::new();
        let source =
            SourceToCheck { name: "a".to_owned(), future_limit_ms: 600_000, on_conflict: policy, api: None };
        judge_one("source", &one, &source, &mut findings);
        judge_two(&one, &other, &mut findings);
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, (severity, words)) in findings.iter().zip(expected) {
            assert_eq!(finding.severity, *severity, "{finding:?}");
            assert!(finding.what.contains(words), "{finding:?}");
        }
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn collisions_are_told_apart_by_how_bad_they_are() {
        use Severity::{Error, Note, Warning};
        check(|_, _| (), &[]);
        check(|one, _| one.clock_skew_ms = -2_000.0, &[(Warning, "2.000 s behind")]);
        check(|one, _| one.clock_skew_ms = 515.0, &[]);
        check(|one, _| one.clock_skew_ms = 700_000.0, &[(Error, "more than its future_limit")]);
        check(|one, _| one.own_label_values = vec!["x".into()], &[(Note, "it becomes `exported_source`")]);
        check(
            |one, _| one.external_labels = labels(&[("source", "x")]),
            &[(Note, "external label `source`")],
        );
        let has_label =
            |one: &mut SourceReport, _: &mut SourceReport| one.own_label_values = vec!["x".into()];
        check_with(OnConflict::Replace, has_label, &[(Warning, "it is dropped")]);
        check_with(OnConflict::Refuse, has_label, &[(Warning, "become dead letters")]);
        check(|one, _| one.remote_write_urls.clear(), &[(Note, "/api/v1/write/a")]);
        check(|_, other| other.scrape_interval_ms = 30_000, &[(Warning, "every 15 s and every 30 s")]);
        let same = labels(&[("cluster", "c")]);
        check(
            |one, other| (one.external_labels, other.external_labels) = (same.clone(), same.clone()),
            &[(Warning, "are the same")],
        );
        check(
            |one, other| {
                one.external_labels = labels(&[("cluster", "c"), ("prometheus_replica", "0")]);
                other.external_labels = labels(&[("cluster", "c"), ("prometheus_replica", "1")]);
            },
            &[(Warning, "differ in the external label `prometheus_replica` alone")],
        );
    }
}
