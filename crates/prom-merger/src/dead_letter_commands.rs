//! `prom-merger dead-letters`: of a merger that does not run.

use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Subcommand;
use prom_merger::{
    Config,
    config::SourceConfig,
    dead_letters::{DeadLetter, StoredDeadLetters},
};
use prom_remote::{
    HistogramView, LabelView, Limits, Sample, WriteRequestV2View, WriteRequestView, decompress,
};
use prom_remote_http::WriteVersion;

use crate::Common;

#[derive(Subcommand)]
pub(crate) enum Action {
    /// List them
    List {
        #[command(flatten)]
        common: Common,
        /// Only those of this source
        #[arg(long)]
        source: Option<String>,
    },
    /// Show one with its series and samples
    Show {
        #[command(flatten)]
        common: Common,
        #[arg(long)]
        source: String,
        /// As the list tells it
        #[arg(long)]
        position: u64,
    },
    /// Give them back to delivery, as at ingest, and drop them; what is still invalid stays
    Replay(Range),
    /// Write each as SOURCE-POSITION.json (why, and of which format) and SOURCE-POSITION.snappy (the remote-write body)
    Export {
        #[command(flatten)]
        range: Range,
        /// The folder to write to; created if absent
        #[arg(long, value_name = "FOLDER")]
        output: PathBuf,
    },
    /// Drop them for good
    Drop {
        #[command(flatten)]
        common: Common,
        #[arg(long)]
        source: String,
        /// The last one to drop, as the list tells it
        #[arg(long, value_name = "POSITION")]
        through: u64,
    },
}

#[derive(clap::Args)]
pub(crate) struct Range {
    #[command(flatten)]
    common: Common,
    #[arg(long)]
    source: String,
    /// The last one, as the list tells it; all without it
    #[arg(long, value_name = "POSITION", default_value_t = u64::MAX, hide_default_value = true)]
    through: u64,
}

impl Action {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::List { common, .. } | Self::Show { common, .. } | Self::Drop { common, .. } => common,
            Self::Replay(range) | Self::Export { range, .. } => &range.common,
        }
    }

    pub(crate) fn run(&self, config: &Config) -> Result<(), Box<dyn Error>> {
        match self {
            Self::List { source: None, .. } => list(config, &config.sources),
            Self::List { source: Some(name), .. } => {
                list(config, std::slice::from_ref(source(config, name)?))
            }
            Self::Show { source, position, .. } => show(config, source, *position),
            Self::Replay(range) => replay(config, range),
            Self::Export { range, output } => export(config, range, output),
            Self::Drop { source, through, .. } => Ok(open(config, source)?.drop_through(*through)?),
        }
    }
}

pub(crate) fn list(config: &Config, sources: &[SourceConfig]) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    for source in sources {
        let Some(letters) = StoredDeadLetters::open(config, source)? else { continue };
        for letter in letters.list()? {
            writeln!(out, "{}", line(&source.name, &letter)?)?;
        }
    }
    Ok(())
}

fn line(source: &str, letter: &DeadLetter) -> Result<String, jiff::Error> {
    let position = letter.position;
    Ok(match &letter.header {
        Ok(header) => {
            let time = jiff::Timestamp::from_millisecond(header.time_ms)?;
            let status = header.status.map(|status| format!(" status={status}")).unwrap_or_default();
            let (series, samples, reason) = (header.series, header.samples, &header.reason);
            format!(
                "{time} source={source} position={position}{status} series={series} samples={samples} {reason:?}"
            )
        }
        Err(error) => format!("- source={source} position={position} unreadable: {error}"),
    })
}

fn show(config: &Config, source: &str, position: u64) -> Result<(), Box<dyn Error>> {
    let found = open(config, source)?.letter(position)?;
    let (letter, body) = found.ok_or_else(|| format!("no dead letter of {source} at {position}"))?;
    let mut message = Vec::new();
    decompress(&body, &Limits::default(), &mut message)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", line(source, &letter)?)?;
    let version = letter.header.as_ref().ok().and_then(|header| header.version());
    match version.ok_or("the body is of a format that this version does not know")? {
        WriteVersion::V1 => {
            for series in WriteRequestView::new(&message).series() {
                let series = series?;
                show_series(&mut out, series.labels(), series.samples(), series.histograms())?;
            }
        }
        WriteVersion::V2 => {
            let view = WriteRequestV2View::new(&message, &Limits::default())?;
            for series in view.series() {
                let series = series?;
                let samples = series.samples().map(|sample| sample.sample);
                show_series(&mut out, series.labels(view.symbols()), samples, series.histograms())?;
            }
        }
    }
    Ok(())
}

fn show_series<'a>(
    out: &mut impl Write,
    labels: impl Iterator<Item = LabelView<'a>>,
    samples: impl Iterator<Item = Sample>,
    histograms: impl Iterator<Item = HistogramView<'a>>,
) -> io::Result<()> {
    let text = String::from_utf8_lossy;
    let label = |label: LabelView<'_>| format!("{}={:?}", text(label.name), text(label.value));
    writeln!(out, "{{{}}}", labels.map(label).collect::<Vec<_>>().join(","))?;
    for sample in samples {
        let time = jiff::Timestamp::from_millisecond(sample.timestamp_ms)
            .map_or_else(|_| format!("{} ms", sample.timestamp_ms), |time| time.to_string());
        writeln!(out, "  {time} {} (bits {:#018x})", f64::from_bits(sample.value_bits), sample.value_bits)?;
    }
    for histogram in histograms {
        writeln!(out, "  {} ms native histogram", histogram.timestamp_ms)?;
    }
    Ok(())
}

fn replay(config: &Config, range: &Range) -> Result<(), Box<dyn Error>> {
    let done = open(config, &range.source)?.replay_through(range.through)?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{} dead letters with {} samples are delivered at the next start; {} stay",
        done.letters, done.samples, done.kept
    )?;
    Ok(())
}

fn export(config: &Config, range: &Range, output: &Path) -> Result<(), Box<dyn Error>> {
    let letters = open(config, &range.source)?;
    fs::create_dir_all(output)?;
    let mut count = 0_usize;
    for letter in letters.list()?.iter().filter(|letter| letter.position <= range.through) {
        let (Ok(header), Some((_, body))) = (&letter.header, letters.letter(letter.position)?) else {
            continue;
        };
        let path = |ending| output.join(format!("{}-{}.{ending}", range.source, letter.position));
        fs::write(path("json"), serde_json::to_vec(header)?)?;
        fs::write(path("snappy"), body)?;
        count += 1;
    }
    writeln!(io::stdout().lock(), "{count} dead letters written to {}", output.display())?;
    Ok(())
}

fn source<'a>(config: &'a Config, name: &str) -> Result<&'a SourceConfig, String> {
    let found = config.sources.iter().find(|source| source.name == name);
    found.ok_or_else(|| format!("the configuration has no source {name:?}"))
}

fn open<'a>(config: &'a Config, name: &str) -> Result<StoredDeadLetters<'a>, Box<dyn Error>> {
    let letters = StoredDeadLetters::open(config, source(config, name)?)?;
    Ok(letters.ok_or_else(|| format!("source {name} has never had a dead letter"))?)
}
