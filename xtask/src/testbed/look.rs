//! Commands that only look: `status`, `logs`, `list`, `plan`.

use std::{collections::BTreeMap, io::IsTerminal as _, time::Duration};

use clap::Args;
use kafka_testbed::{
    address::LoopbackBlock,
    adjustments::Adjustments,
    ledger::{self, Entry},
    lifecycle::{self, Error},
    logs::{self, Follower, Line},
    plan::{self, Placement},
};

use super::{Common, Failure, Format, duration, existing, place, read_spec};
use crate::show;

#[derive(Args)]
pub(super) struct Logs {
    /// Services (`supervisor` is one); all when none is named
    services: Vec<String>,
    /// Number of last lines of each log
    #[arg(short = 'n', long, default_value_t = 50)]
    lines: usize,
    /// Lines of the last `10m`, `1h30m`, …, instead of a number of lines
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Duration>,
    /// Go on showing what is added
    #[arg(short, long)]
    follow: bool,
}

pub(super) async fn status(common: &Common, watch: bool) -> Result<(), Failure> {
    let place = place(common)?;
    let is_terminal = std::io::stdout().is_terminal();
    let mut before: Option<kafka_testbed::status::TestbedStatus> = None;
    loop {
        let status = lifecycle::status(&place).await?;
        match (common.format, watch) {
            (Format::Json, false) => show::print_json(&status)?,
            // One object a line, for programs that read along.
            (Format::Json, true) => show::print_json_line(&status)?,
            (Format::Text, false) => show::print(&show::status(&status, None))?,
            (Format::Text, true) => {
                let clear = if is_terminal { "\x1b[H\x1b[2J" } else { "" };
                show::print(&format!("{clear}{}", show::status(&status, before.as_ref())))?;
            }
        }
        if !watch {
            return Ok(());
        }
        before = Some(status);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

pub(super) async fn logs(common: &Common, arguments: &Logs) -> Result<(), Failure> {
    let folder = existing(common)?.folder();
    let mut names: Vec<String> = std::fs::read_dir(folder.path().join("logs"))
        .map_err(|_| Failure::new(1, format!("there are no logs in {}", folder.path().display())))?
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".log")?.to_owned()))
        .collect();
    names.sort();
    for wanted in &arguments.services {
        if !names.contains(wanted) {
            return Err(Failure::new(
                1,
                format!("no log of `{wanted}`; there are logs of {}", names.join(", ")),
            ));
        }
    }
    let wanted = |name: &String| arguments.services.is_empty() || arguments.services.contains(name);
    let chosen: Vec<String> = names.into_iter().filter(wanted).collect();
    let widest = chosen.iter().map(String::len).max().unwrap_or(0);
    let print = |lines: Vec<(&str, Line)>| -> Result<(), Failure> {
        for (name, line) in lines {
            let (service, text) = (name, line.text);
            match (common.format, chosen.len() > 1) {
                (Format::Json, _) => {
                    let at = line.at.map(|at| at.to_string());
                    show::print_json_line(
                        &serde_json::json!({ "service": service, "at": at, "line": text }),
                    )?;
                }
                (Format::Text, true) => show::print(&format!("{service:<widest$} | {text}\n"))?,
                (Format::Text, false) => show::print(&format!("{text}\n"))?,
            }
        }
        Ok(())
    };
    let mut followers = Vec::new();
    let mut lines = Vec::new();
    for name in &chosen {
        let path = folder.log(name);
        followers.push((name.as_str(), Follower::from_end(path.clone())));
        let found = match arguments.since {
            None => logs::last(&path, arguments.lines),
            Some(since) => logs::since(&path, jiff::Timestamp::now() - since)?,
        };
        lines.extend(found.into_iter().map(|line| (name.as_str(), line)));
    }
    // What happened first comes first; lines of one log keep their order.
    lines.sort_by_key(|(_, line)| line.at);
    print(lines)?;
    if !arguments.follow {
        return Ok(());
    }
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut lines = Vec::new();
        for (name, follower) in &mut followers {
            lines.extend(follower.added()?.into_iter().map(|line| (*name, line)));
        }
        lines.sort_by_key(|(_, line)| line.at);
        print(lines)?;
    }
}

pub(super) async fn list(common: &Common) -> Result<(), Failure> {
    let place = place(common)?;
    let all = lifecycle::list(&place).await;
    match common.format {
        Format::Json => show::print_json(&all)?,
        Format::Text => show::print(&show::list(&all))?,
    }
    Ok(())
}

pub(super) fn plan(common: &Common) -> Result<(), Failure> {
    let place = place(common)?;
    let (mut spec, _) = read_spec(common)?;
    let first = ledger::read(&place.folder().ledger()).ok().and_then(|entries| entries.into_iter().next());
    let (block, token) = match first {
        Some(Entry::Testbed { block, token, .. }) => (LoopbackBlock::from_octets(block), token),
        _ => {
            let taken = place.home.taken_blocks().map_err(Error::from)?;
            let block = LoopbackBlock::allot(&place.name, &taken).ok_or(Error::NoBlock)?;
            (block, String::new())
        }
    };
    let adjustments = Adjustments::read(place.folder().path())?;
    adjustments.apply(&mut spec);
    let placement = Placement { run: adjustments.run, ..Placement::new(block, token) };
    let plan = plan::plan(&spec, &placement);
    let yaml = compose_model::render(&plan.project);
    let files: BTreeMap<String, &str> = plan
        .files
        .iter()
        .map(|file| {
            let text = if file.is_secret { "(secret)" } else { file.content.as_str() };
            (file.path.display().to_string(), text)
        })
        .collect();
    match common.format {
        Format::Text => show::print(&yaml)?,
        Format::Json => show::print_json(&serde_json::json!({
            "compose": yaml, "files": files, "endpoints": plan.endpoints,
        }))?,
    }
    Ok(())
}
