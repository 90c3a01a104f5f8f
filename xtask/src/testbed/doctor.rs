//! `cargo xtask testbed doctor`

use std::fs;

use kafka_testbed::{
    doctor::{Depth, Finding, Level, Topic, worst},
    lifecycle::{self, Workplace},
    spec::Spec,
};

use super::{Common, Failure, Format, place, read_spec};
use crate::{
    programs,
    show::{self, Progress},
};

/// Exit code of a machine that cannot run the testbed.
const UNFIT: u8 = 18;

pub(super) async fn run(common: &Common, fix: bool) -> Result<(), Failure> {
    let mut place = place(common)?;
    let (spec, _) = read_spec(common)?;
    // What could not be mended is told after the findings, so that they are seen in any case.
    let mended = if fix { mend(&mut place, &spec).await } else { Ok(()) };
    let findings = lifecycle::examine(&place, &spec, Depth::Whole).await;
    let level = worst(&findings);
    match common.format {
        Format::Json => show::print_json(&serde_json::json!({
            "name": place.name, "level": level, "findings": findings,
        }))?,
        Format::Text => show::print(&table(&findings))?,
    }
    mended?;
    if level != Level::Fatal {
        return Ok(());
    }
    let fatal = findings.iter().filter(|finding| finding.level == Level::Fatal);
    let mut failure = Failure::named(
        "unfit",
        UNFIT,
        format!("the testbed `{}` cannot run here: {}", place.name, count(fatal.count(), "fatal finding")),
    );
    failure.hint = findings
        .iter()
        .filter(|finding| finding.level == Level::Fatal)
        .find_map(|finding| finding.mend.clone());
    Err(failure)
}

/// Does what needs no root: builds, makes folders, fetches, removes what is damaged.
async fn mend(place: &mut Workplace, spec: &Spec) -> Result<(), Failure> {
    place.own = programs::build(&place.search_path, place.fetching.offline)
        .map_err(|error| Failure::named("missing", 12, error))?;
    let home = place.home.path();
    fs::create_dir_all(home).map_err(|error| {
        let mut failure =
            Failure::named("unfit", UNFIT, format!("cannot create the home {}: {error}", home.display()));
        failure.hint = Some("name another folder with --home".to_owned());
        failure
    })?;
    let mut progress = Progress::new(place.home.cache().join("durations.json"));
    let tools = lifecycle::set_up(place, spec, &mut progress).await;
    progress.save();
    tools?;
    Ok(())
}

/// The findings as lines, the worse ones marked, each with the command that mends it below.
fn table(findings: &[Finding]) -> String {
    let widest = |column: fn(&Finding) -> &str| {
        findings.iter().map(|finding| column(finding).chars().count()).max().unwrap_or(0)
    };
    let (what, place) = (widest(|finding| &finding.what).min(48), widest(|finding| &finding.place).min(56));
    let mut text = String::new();
    for finding in findings {
        let line = format!(
            "{:<7}  {:<8}  {:<what$}  {:<place$}  {}",
            level(finding.level),
            topic(finding.topic),
            finding.what,
            finding.place,
            finding.why
        );
        text.push_str(line.trim_end());
        text.push('\n');
        if let Some(mend) = &finding.mend {
            text.push_str(&format!("{:9}mend: {mend}\n", ""));
        }
    }
    let of = |wanted: Level| findings.iter().filter(|finding| finding.level == wanted).count();
    text.push_str(&format!(
        "{}, {}, {} ok\n",
        count(of(Level::Fatal), "fatal finding"),
        count(of(Level::Warning), "warning"),
        of(Level::Ok)
    ));
    text
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Fatal => "FATAL",
    }
}

fn topic(topic: Topic) -> String {
    show::word(&topic)
}
