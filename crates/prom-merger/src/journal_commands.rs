//! `prom-merger journal`: of a merger that does not run.

use std::{
    error::Error,
    io::{self, Write},
    str::FromStr,
};

use clap::{Subcommand, ValueEnum};
use prom_merger::{
    Config,
    stored_journal::{Contents, JournalKind, JournalReport, Place, StoredJournal, Verified},
};

use crate::Common;

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Show what lies in the journals: segments, records, the times of their samples, and what each destination has not got yet
    Inspect {
        #[command(flatten)]
        look: Look,
    },
    /// Check every checksum and decode every record, of dead letters too; exit code 1 and FILE:OFFSET of each fault
    Verify {
        #[command(flatten)]
        look: Look,
    },
    /// Let records be delivered again at the next start: what is still in the journal, delivered or not
    ///
    /// Without --through the cursor moves back, and everything from there on comes again in its order. With it, the records
    /// of the range are appended once more, behind what waits already, and go to every destination. A database takes the same
    /// sample with the same value again; one that takes nothing out of order refuses what is older than what it has.
    Replay {
        #[command(flatten)]
        common: Common,
        #[arg(long)]
        source: String,
        /// Only for this cursor, as `inspect` shows it; without it for all
        #[arg(long, value_name = "CURSOR", conflicts_with = "through")]
        destination: Option<String>,
        /// The first record: a position as `inspect` shows it, or a time as in 2026-01-31T12:00:00Z
        #[arg(long, value_name = "POSITION|TIME")]
        from: Bound,
        /// The last record, in the same form
        #[arg(long, value_name = "POSITION|TIME")]
        through: Option<Bound>,
    },
}

#[derive(clap::Args)]
pub(crate) struct Look {
    #[command(flatten)]
    common: Common,
    /// Only that of this source
    #[arg(long)]
    source: Option<String>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

/// A position or a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound(Place);

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(position) = text.parse() {
            return Ok(Self(Place::Position(position)));
        }
        match text.parse::<jiff::Timestamp>() {
            Ok(time) => Ok(Self(Place::Time(time.as_millisecond()))),
            Err(error) => Err(format!("neither a position nor a time as in 2026-01-31T12:00:00Z ({error})")),
        }
    }
}

impl Action {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Inspect { look } | Self::Verify { look } => &look.common,
            Self::Replay { common, .. } => common,
        }
    }

    pub(crate) fn run(&self, config: &Config) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Inspect { look } => inspect(config, look),
            Self::Verify { look } => verify(config, look),
            Self::Replay { source, destination, from, through, .. } => {
                replay(config, source, destination.as_deref(), from.0, through.map(|bound| bound.0))
            }
        }
    }
}

fn inspect(config: &Config, look: &Look) -> Result<(), Box<dyn Error>> {
    let mut reports = Vec::new();
    for name in names(config, look, JournalKind::Journal)? {
        if let Some(journal) = StoredJournal::open(config, JournalKind::Journal, &name)? {
            reports.push(journal.inspect()?);
        }
    }
    let mut out = io::stdout().lock();
    if look.format == Format::Json {
        serde_json::to_writer_pretty(&mut out, &reports)?;
        writeln!(out)?;
        return Ok(());
    }
    for report in &reports {
        show(&mut out, report)?;
    }
    Ok(())
}

fn show(out: &mut impl Write, report: &JournalReport) -> io::Result<()> {
    writeln!(out, "source {}", report.source)?;
    let mut rows =
        vec![["segment", "file bytes", "positions", "records", "samples", "from", "to"].map(str::to_owned)];
    rows.extend(report.segments.iter().map(|segment| {
        let contents = &segment.contents;
        [
            file_name(&segment.file),
            segment.file_bytes.to_string(),
            format!("{}..{}", segment.first, segment.end),
            contents.records.to_string(),
            contents.samples.to_string(),
            time(contents.earliest_ms),
            time(contents.latest_ms),
        ]
    }));
    table(out, &rows)?;
    let mut rows =
        vec![["destination", "position", "undelivered", "samples", "bytes", "from", "to"].map(str::to_owned)];
    rows.extend(report.cursors.iter().map(|cursor| {
        let Contents { records, bytes, samples, earliest_ms, latest_ms, .. } = &cursor.undelivered;
        [
            if cursor.is_intact { cursor.cursor.clone() } else { format!("{} (damaged)", cursor.cursor) },
            cursor.position.to_string(),
            records.to_string(),
            samples.to_string(),
            bytes.to_string(),
            time(*earliest_ms),
            time(*latest_ms),
        ]
    }));
    table(out, &rows)?;
    let unreadable: u64 = report.segments.iter().map(|segment| segment.contents.unreadable).sum();
    if report.damaged_places > 0 || unreadable > 0 {
        writeln!(
            out,
            "  damaged: {} places, {unreadable} records that cannot be decoded; `journal verify` tells them",
            report.damaged_places
        )?;
    }
    if report.torn_bytes > 0 {
        writeln!(
            out,
            "  {} bytes of an unfinished commit, never acknowledged, are cut off at the next start",
            report.torn_bytes
        )?;
    }
    Ok(())
}

fn verify(config: &Config, look: &Look) -> Result<(), Box<dyn Error>> {
    let mut all: Vec<Verified> = Vec::new();
    for kind in [JournalKind::Journal, JournalKind::DeadLetters] {
        for name in names(config, look, kind)? {
            if let Some(journal) = StoredJournal::open(config, kind, &name)? {
                all.push(journal.verify()?);
            }
        }
    }
    let mut out = io::stdout().lock();
    if look.format == Format::Json {
        serde_json::to_writer_pretty(&mut out, &all)?;
        writeln!(out)?;
    } else {
        for Verified { source, kind, records, faults, .. } in &all {
            let kind = if *kind == JournalKind::Journal { "journal" } else { "dead letters" };
            writeln!(out, "{source}: {kind}: {records} records are right, {} faults", faults.len())?;
            for fault in faults {
                writeln!(out, "  {}:{}: {}", fault.file.display(), fault.offset, fault.what)?;
            }
        }
    }
    match all.iter().map(|verified| verified.faults.len()).sum::<usize>() {
        0 => Ok(()),
        faults => {
            Err(format!("{faults} faults in the journals; everything else can still be delivered").into())
        }
    }
}

fn replay(
    config: &Config,
    source: &str,
    destination: Option<&str>,
    from: Place,
    through: Option<Place>,
) -> Result<(), Box<dyn Error>> {
    let journal = StoredJournal::open(config, JournalKind::Journal, source)?;
    let journal = journal.ok_or_else(|| format!("source {source} has no journal"))?;
    let done = journal.resend(destination, from, through)?;
    let (from, last) = (done.from, done.end.saturating_sub(1));
    let mut out = io::stdout().lock();
    if through.is_some() {
        let records = done.records;
        writeln!(
            out,
            "{records} records ({from} to {last}) are appended once more and delivered at the next start"
        )?;
    } else if done.cursors.is_empty() {
        writeln!(out, "nothing to do: no destination has got as far as {from}")?;
    } else {
        let cursors = done.cursors.join(", ");
        writeln!(out, "records {from} to {last} are delivered again at the next start, to {cursors}")?;
    }
    Ok(())
}

fn names(config: &Config, look: &Look, kind: JournalKind) -> Result<Vec<String>, Box<dyn Error>> {
    let names = StoredJournal::names(config, kind)?;
    let Some(wanted) = &look.source else { return Ok(names) };
    let is_known = names.contains(wanted) || config.sources.iter().any(|source| source.name == *wanted);
    if !is_known {
        return Err(format!("there is no source {wanted:?}, and no journal of that name").into());
    }
    Ok(names.into_iter().filter(|name| name == wanted).collect())
}

fn file_name(path: &std::path::Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn time(milliseconds: Option<i64>) -> String {
    let Some(milliseconds) = milliseconds else { return "-".to_owned() };
    jiff::Timestamp::from_millisecond(milliseconds)
        .map_or_else(|_| format!("{milliseconds} ms"), |time| time.to_string())
}

fn table<const N: usize>(out: &mut impl Write, rows: &[[String; N]]) -> io::Result<()> {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max();
    let widths: Vec<usize> = (0..N).filter_map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}
