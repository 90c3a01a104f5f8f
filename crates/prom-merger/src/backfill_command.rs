//! `prom-merger backfill`.

use std::{
    error::Error,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    str::FromStr,
    time::{Duration, Instant},
};

use prom_merger::{
    Config,
    backfill::{BackfillError, BackfillPlan, BackfillProgress, backfill},
    machine::Machine,
};
use prom_remote::TimeRange;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::Common;

#[derive(clap::Args)]
pub(crate) struct Backfill {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The source whose history is read; its series get its label
    #[arg(long)]
    source: String,
    /// Its full remote-read address, as in http://127.0.0.1:9090/api/v1/read
    #[arg(long)]
    url: String,
    /// A file with the bearer token to read with
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The first time, as in 2026-01-31T12:00:00Z or in seconds since the epoch
    #[arg(long, value_name = "TIME")]
    from: Time,
    /// The first time that is not read any more
    #[arg(long, value_name = "TIME")]
    to: Time,
    /// How many seconds of it are read at once, at most
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    window: u64,
}

#[derive(Debug, Clone, Copy)]
struct Time(i64);

impl FromStr for Time {
    type Err = String;

    /// As in 2026-01-31T12:00:00Z, or seconds since the epoch with up to three decimals, as Prometheus writes them.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(time) = from_seconds(text) {
            return Ok(Self(time));
        }
        match text.parse::<jiff::Timestamp>() {
            Ok(time) => Ok(Self(time.as_millisecond())),
            Err(error) => Err(format!(
                "neither a time as in 2026-01-31T12:00:00Z nor seconds since the epoch ({error})"
            )),
        }
    }
}

fn from_seconds(text: &str) -> Option<i64> {
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if seconds.is_empty() || !is_plain(seconds) || !is_plain(decimals) || decimals.len() > 3 {
        return None;
    }
    let milliseconds: i64 = format!("{decimals:0<3}").parse().ok()?;
    seconds.parse::<i64>().ok()?.checked_mul(1_000)?.checked_add(milliseconds)
}

impl Backfill {
    pub(crate) fn run(&self, config: Config) -> Result<(), Box<dyn Error>> {
        let range = TimeRange::new(self.from.0, self.to.0)?;
        let mut plan = BackfillPlan::new(&self.source, &self.url, range);
        plan.token_file = self.token_file.clone();
        plan.window = Duration::from_secs(self.window);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let mut display = Display::new();
        let outcome = runtime.block_on(async {
            let stop = CancellationToken::new();
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let told = stop.clone();
            let waiting = tokio::spawn(async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                told.cancel();
            });
            let machine = Machine::real(&config);
            let outcome = backfill(machine, config, plan, stop, |progress| display.show(progress)).await;
            waiting.abort();
            Ok::<_, io::Error>(outcome)
        })?;
        display.end();
        match outcome {
            Ok(counts) => {
                let mut out = io::stdout().lock();
                writeln!(
                    out,
                    "backfilled {}: {} samples, {} histograms, {} series of {} windows, {} conflicts",
                    self.source,
                    counts.samples,
                    counts.histograms,
                    counts.series,
                    counts.windows,
                    counts.conflicts
                )?;
                Ok(())
            }
            Err(error) => {
                let _ = writeln!(io::stderr(), "hint: the same command goes on where this one ended");
                Err(Box::<BackfillError>::new(error))
            }
        }
    }
}

/// One line that changes on a terminal, else a line from time to time, and the last one.
struct Display {
    is_terminal: bool,
    shown_at: Option<Instant>,
    shown: String,
    latest: String,
}

impl Display {
    fn new() -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { is_terminal, shown_at: None, shown: String::new(), latest: String::new() }
    }

    fn show(&mut self, progress: &BackfillProgress) {
        self.latest = line(progress);
        let pause = if self.is_terminal { REDRAW } else { PAUSE };
        if self.shown_at.is_none_or(|at| at.elapsed() >= pause) {
            self.draw();
        }
    }

    fn draw(&mut self) {
        if self.shown == self.latest {
            return;
        }
        self.shown.clone_from(&self.latest);
        self.shown_at = Some(Instant::now());
        let mut stderr = io::stderr().lock();
        let _ = match self.is_terminal {
            true => write!(stderr, "\r\x1b[K{}", self.shown),
            false => writeln!(stderr, "{}", self.shown),
        };
        let _ = stderr.flush();
    }

    fn end(&mut self) {
        self.draw();
        if self.is_terminal {
            let _ = writeln!(io::stderr());
        }
    }
}

fn line(progress: &BackfillProgress) -> String {
    let BackfillProgress { read_until_ms, range, counts, undelivered_records, .. } = progress;
    let whole = range.end_ms().saturating_sub(range.start_ms());
    let done = read_until_ms.saturating_sub(range.start_ms());
    let percent = done as f64 * 100.0 / whole as f64;
    let until =
        jiff::Timestamp::from_millisecond(*read_until_ms).map(|time| time.to_string()).unwrap_or_default();
    let mut line = format!(
        "{percent:.1} % read, until {until}; {} samples, {} histograms; {undelivered_records} records undelivered",
        counts.samples, counts.histograms
    );
    if let Some(remaining) = progress.remaining().filter(|_| read_until_ms < &range.end_ms()) {
        line += &format!("; {} s left", remaining.as_secs());
    }
    line
}

const REDRAW: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_forms() {
        let check = |text: &str, expected| {
            assert_eq!(text.parse::<Time>().ok().map(|time| time.0), expected, "{text}")
        };
        check("2026-01-31T12:00:00Z", Some(1_769_860_800_000));
        check("1769860800", Some(1_769_860_800_000));
        check("1769860800.5", Some(1_769_860_800_500));
        check("1769860800.025", Some(1_769_860_800_025));
        for text in ["", "x", "1.2345", "-1", ".5", "1e3", "99999999999999999999"] {
            check(text, None);
        }
    }
}
