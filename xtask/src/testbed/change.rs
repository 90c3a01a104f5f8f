//! Commands that change a testbed: `up`, `down`, `reset`, `purge`, `gc`, single services, and the load.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use clap::Args;
use kafka_testbed::{
    lifecycle::{self, Error, Workplace},
    status::{TestbedState, TestbedStatus},
};

use super::{Common, Failure, Format, Limit, NOT_CONFIRMED, Up, existing, place, read_spec};
use crate::{
    programs,
    show::{self, Progress},
};

#[derive(Args)]
#[group(required = true, multiple = true)]
pub(super) struct Load {
    /// Messages a second
    #[arg(long)]
    rate: Option<f64>,
    /// Stop the schedule; messages already due are still sent
    #[arg(long, conflicts_with = "resume")]
    pause: bool,
    /// Go on
    #[arg(long)]
    resume: bool,
    /// Only show it
    #[arg(long)]
    show: bool,
}

/// What is done to single services.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Start,
    Stop,
    Restart,
}

pub(super) async fn up(common: &Common, arguments: Up) -> Result<(), Failure> {
    let mut place = place(common)?;
    let (spec, text) = read_spec(common)?;
    place.own = programs::build(&place.search_path, place.fetching.offline)
        .map_err(|error| Failure::named("missing", 12, error))?;
    place.limit = Duration::from_secs(arguments.limit.timeout);
    place.host = arguments.host;
    place.any_port = arguments.any_port;
    place.restart_changed = arguments.restart_changed;
    let mut progress = progress(&place);
    progress.line(&format!(
        "testbed `{}` on the native backend: services run as processes of this machine",
        place.name
    ));
    let report = lifecycle::up(&place, &spec, &text, &mut progress).await?;
    progress.save();
    let took = report.took.as_secs_f64();
    let head = match report.changed {
        true => format!("testbed `{}` is ready ({took:.1} s)", place.name),
        false => format!("all is well: testbed `{}` runs, nothing was changed", place.name),
    };
    ready(common, &head, &report.status)
}

fn ready(common: &Common, head: &str, status: &TestbedStatus) -> Result<(), Failure> {
    match common.format {
        Format::Json => show::print_json(status)?,
        Format::Text => show::print(&format!("{head}\n{}", show::endpoints(&status.endpoints)))?,
    }
    Ok(())
}

pub(super) async fn down(common: &Common, dry_run: bool) -> Result<(), Failure> {
    let place = place(common)?;
    if dry_run {
        let processes = lifecycle::would_end(&place)?;
        match common.format {
            Format::Json => {
                let list: Vec<_> = processes
                    .iter()
                    .map(|(what, pid)| serde_json::json!({ "what": what, "pid": pid }))
                    .collect();
                show::print_json(&serde_json::json!({ "name": place.name, "would_end": list }))?;
            }
            Format::Text => {
                let lines: String =
                    processes.iter().map(|(what, pid)| format!("  {pid:>8}  {what}\n")).collect();
                show::print(&format!("`down` would end {} processes\n{lines}", processes.len()))?;
            }
        }
        return Ok(());
    }
    let mut progress = progress(&place);
    let report = lifecycle::down(&place, &mut progress).await?;
    progress.save();
    match common.format {
        Format::Json => show::print_json(&serde_json::json!({
            "name": place.name, "ended_processes": report.ended, "seconds": report.took.as_secs_f64(),
        }))?,
        Format::Text => show::print(&match report.ended {
            0 => format!("testbed `{}` does not run\n", place.name),
            ended => format!("testbed `{}` is down: {ended} processes ended, data is kept\n", place.name),
        })?,
    }
    Ok(())
}

pub(super) async fn reset(common: &Common, limit: Limit) -> Result<(), Failure> {
    let mut place = existing(common)?;
    place.limit = Duration::from_secs(limit.timeout);
    let mut progress = progress(&place);
    let report = lifecycle::reset(&place, &mut progress).await?;
    progress.save();
    let seconds = report.took.as_secs_f64();
    match (common.format, &report.status) {
        (Format::Json, status) => show::print_json(&serde_json::json!({
            "name": place.name, "run": report.run, "seconds": seconds, "status": status,
        }))?,
        (Format::Text, None) => show::print(&format!(
            "testbed `{}` has no Kafka and ZooKeeper data any more; its next `up` begins run {}\n",
            place.name, report.run
        ))?,
        (Format::Text, Some(_)) => show::print(&format!(
            "testbed `{}` is ready with a fresh Kafka and ZooKeeper ({seconds:.1} s); its metrics are now labelled \
             run=\"{}\"\n",
            place.name, report.run
        ))?,
    }
    Ok(())
}

pub(super) async fn services(
    common: &Common,
    limit: Limit,
    doing: Doing,
    services: &[String],
) -> Result<(), Failure> {
    let mut place = existing(common)?;
    place.limit = Duration::from_secs(limit.timeout);
    let mut progress = progress(&place);
    let status = match doing {
        Doing::Start => lifecycle::start(&place, services, &mut progress).await?,
        Doing::Stop => lifecycle::stop(&place, services, &mut progress).await?,
        Doing::Restart => lifecycle::restart(&place, services, &mut progress).await?,
    };
    progress.save();
    if common.format == Format::Json {
        show::print_json(&status)?;
    }
    Ok(())
}

pub(super) async fn scale(common: &Common, limit: Limit, count: u32) -> Result<(), Failure> {
    let mut place = existing(common)?;
    place.limit = Duration::from_secs(limit.timeout);
    let mut progress = progress(&place);
    let report = lifecycle::scale(&place, count, &mut progress).await?;
    progress.save();
    match report {
        Some(report) => {
            ready(common, &format!("testbed `{}` has {count} workers", place.name), &report.status)
        }
        None => {
            let text = format!("testbed `{}` does not run; its next `up` starts {count} workers", place.name);
            match common.format {
                Format::Text => show::print(&format!("{text}\n"))?,
                Format::Json => {
                    show::print_json(&serde_json::json!({ "name": place.name, "workers": count }))?
                }
            }
            Ok(())
        }
    }
}

pub(super) async fn load(common: &Common, arguments: Load) -> Result<(), Failure> {
    let place = existing(common)?;
    let status = lifecycle::status(&place).await?;
    let producer = status.services.iter().find(|service| service.name == "producer" && service.pid.is_some());
    let Some(address) = producer.and_then(|producer| producer.addresses.first()) else {
        return Err(Error::NotRunning(place.name).into());
    };
    let mut requests = Vec::new();
    if let Some(rate) = arguments.rate {
        requests.push(format!("http://{address}/rate?messages_per_second={rate}"));
    }
    if arguments.pause {
        requests.push(format!("http://{address}/pause"));
    }
    if arguments.resume {
        requests.push(format!("http://{address}/resume"));
    }
    for url in &requests {
        crate::http::post(url).await.map_err(|reason| Failure::named("not-ready", 15, reason))?;
    }
    let page = crate::http::get(&format!("http://{address}/metrics"))
        .await
        .map_err(|reason| Failure::named("not-ready", 15, reason))?;
    let value = |name: &str| {
        let lines = page
            .lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with([' ', '{']));
        lines.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let (rate, lag) =
        (value("kafka_load_intended_messages_per_second"), value("kafka_load_schedule_lag_seconds"));
    let acknowledged = value("kafka_load_acknowledged_messages_total");
    match common.format {
        Format::Json => show::print_json(&serde_json::json!({
            "intended_messages_per_second": rate,
            "schedule_lag_seconds": lag,
            "acknowledged_messages": acknowledged,
        }))?,
        Format::Text => {
            let rate = if rate == 0.0 { "paused".to_owned() } else { format!("{rate} messages a second") };
            show::print(&format!(
                "producer: {rate}, {lag:.3} s behind its schedule, {acknowledged} messages acknowledged\n"
            ))?;
        }
    }
    Ok(())
}

pub(super) async fn purge(common: &Common, yes: bool, dry_run: bool) -> Result<(), Failure> {
    let place = place(common)?;
    if dry_run {
        let report = lifecycle::would_remove(&place)?;
        let processes = lifecycle::would_end(&place)?;
        match common.format {
            Format::Json => show::print_json(&serde_json::json!({
                "name": place.name, "would_end": processes.len(), "would_remove": report.removed, "would_leave": report.left,
            }))?,
            Format::Text => {
                let mut text = format!(
                    "`purge` would end {} processes and remove {} files and folders\n",
                    processes.len(),
                    report.removed.len()
                );
                for path in &report.removed {
                    text.push_str(&format!("  {}\n", path.display()));
                }
                for path in &report.left {
                    text.push_str(&format!(
                        "it would leave, because it holds files of others: {}\n",
                        path.display()
                    ));
                }
                show::print(&text)?;
            }
        }
        return Ok(());
    }
    let folder = place.folder();
    if folder.ledger().exists() {
        let question =
            format!("remove the testbed `{}` with all its data in {}?", place.name, folder.path().display());
        confirm(yes, &question, "say `purge --yes`")?;
    }
    let mut progress = progress(&place);
    let report = lifecycle::purge(&place, &mut progress).await?;
    match common.format {
        Format::Json => {
            show::print_json(
                &serde_json::json!({ "name": place.name, "removed": report.removed, "left": report.left }),
            )?;
        }
        Format::Text => {
            let mut text =
                format!("testbed `{}`: {} files and folders removed\n", place.name, report.removed.len());
            for left in &report.left {
                text.push_str(&format!(
                    "left, because it holds files that the testbed did not make: {}\n",
                    left.display()
                ));
            }
            show::print(&text)?;
        }
    }
    Ok(())
}

pub(super) async fn gc(
    common: &Common,
    yes: bool,
    dry_run: bool,
    older_than: Duration,
) -> Result<(), Failure> {
    let place = place(common)?;
    let dead: Vec<_> = lifecycle::list(&place)
        .await
        .into_iter()
        .filter(|testbed| testbed.state == Some(TestbedState::Stopped) && testbed.running == 0)
        .filter(|testbed| testbed.idle_seconds >= older_than.as_secs())
        .collect();
    if common.format == Format::Text {
        show::print(&match dead.len() {
            0 => "no testbed that could be removed: all run, or were used since\n".to_owned(),
            _ => show::list(&dead),
        })?;
    }
    let mut removed = Vec::new();
    if !dry_run && !dead.is_empty() {
        confirm(yes, &format!("remove these {} with all their data?", dead.len()), "say `gc --yes`")?;
        for testbed in &dead {
            let place = Workplace { name: testbed.name.clone(), ..place.clone() };
            lifecycle::purge(&place, &mut progress(&place)).await?;
            removed.push(testbed.name.clone());
        }
    }
    match common.format {
        Format::Json => {
            let names: Vec<&str> = dead.iter().map(|testbed| testbed.name.as_str()).collect();
            show::print_json(&serde_json::json!({ "dead": names, "removed": removed }))?;
        }
        Format::Text if !removed.is_empty() => show::print(&format!("removed {}\n", removed.join(", ")))?,
        Format::Text => {}
    }
    Ok(())
}

/// Asks on a terminal; elsewhere only `--yes` will do.
fn confirm(yes: bool, question: &str, hint: &str) -> Result<(), Failure> {
    let refused = |message: &str| Failure::named("not-confirmed", NOT_CONFIRMED, message);
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(refused("nothing was removed: this cannot be undone").hint(hint));
    }
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "yes") { Ok(()) } else { Err(refused("nothing was removed")) }
}

fn progress(place: &Workplace) -> Progress {
    Progress::new(place.home.cache().join("durations.json"))
}
