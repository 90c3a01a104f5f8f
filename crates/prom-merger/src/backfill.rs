//! Reads the history of a source by remote read and delivers it like everything else.
//!
//! The range is read window by window. What a window holds goes into a journal of its own, and from there, by lanes of its own,
//! to the destinations: old data never stands before live data. Only when all of a window is durable is it written down as done, so
//! that a backfill that was interrupted goes on with the next one; of the window at hand the same samples may be delivered
//! twice.
//!
//! Memory is bounded by one series of one window and one request: a window that is too much for the source, or for the limits, is
//! read in halves.

mod append;
mod encode;
mod read;
mod state;

use std::{path::PathBuf, sync::Arc, time::Duration};

use prom_remote::TimeRange;
use prom_remote_http::{Authorization, ClientConfig, ClientConfigError, ReadClient, ReadError, Secret};
use sample_journal::AppendError;
use thiserror::Error;
use tokio::{
    select,
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::error;

pub use self::state::Counts;
use self::{
    read::{Reading, WindowError},
    state::{State, StateError},
};
use crate::{
    StartError,
    config::Config,
    deliver::{Destination, Lanes},
    machine::Machine,
    source::{Kinds, SourceState},
};

/// What to read, and how much at once.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BackfillPlan {
    /// The name of the source.
    pub source: String,
    /// Its full remote-read address.
    pub url: String,
    /// The file with the bearer token to read with.
    pub token_file: Option<PathBuf>,
    /// Authorities to trust beside those of the system, as a PEM file.
    pub ca_file: Option<PathBuf>,
    /// What to read.
    pub range: TimeRange,
    /// How much of it at once, at most; default 1 h.
    pub window: Duration,
    /// The longest time for one window; default 5 min.
    pub timeout: Duration,
}

/// How far a backfill is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackfillProgress {
    /// Everything before this, in milliseconds since the epoch, is read and durable.
    pub read_until_ms: i64,
    /// The range of the plan.
    pub range: TimeRange,
    /// What was read since the backfill was begun, runs before this one included.
    pub counts: Counts,
    /// Records that wait for a destination, of the slowest one.
    pub undelivered_records: u64,
    /// For how long this run has read.
    pub elapsed: Duration,
    /// Where this run began.
    pub began_at_ms: i64,
}

impl BackfillProgress {
    /// How long it takes until all is read, at the speed so far; `None` before anything was read.
    pub fn remaining(&self) -> Option<Duration> {
        let done = u64::try_from(self.read_until_ms.saturating_sub(self.began_at_ms))
            .ok()
            .filter(|done| *done > 0)?;
        let left = u64::try_from(self.range.end_ms().saturating_sub(self.read_until_ms)).unwrap_or(0);
        Some(self.elapsed.mul_f64(left as f64 / done as f64))
    }
}

/// Why a backfill ended before its end. Begun again with the same plan, it goes on where it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BackfillError {
    /// The plan names a source that is none.
    #[error("there is no source {name}; known: {}", known.join(", "))]
    UnknownSource {
        /// The name.
        name: String,
        /// The sources of the configuration.
        known: Vec<String>,
    },
    /// Journals or destinations cannot be opened.
    #[error("backfill cannot begin")]
    Start(#[from] StartError),
    /// The source cannot be read from.
    #[error("cannot make a client for {url}")]
    Client {
        /// Its address.
        url: String,
        /// Why.
        source: ClientConfigError,
    },
    /// The token cannot be read.
    #[error("cannot read the token file {}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The source does not answer, or not what was asked.
    #[error("source {name} cannot be read from {start_ms} to {end_ms} ms")]
    Read {
        /// The source.
        name: String,
        /// The first millisecond that was asked for.
        start_ms: i64,
        /// The first one that was not.
        end_ms: i64,
        /// What it said.
        source: ReadError,
    },
    /// A series of the source cannot be decoded, also not in the other form of answer.
    #[error("source {name} has a series that cannot be decoded: {reason}")]
    Content {
        /// The source.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What was read cannot be made durable.
    #[error("cannot write to the journal of the backfill")]
    Journal(#[source] AppendError),
    /// How far it is cannot be written down or read.
    #[error("cannot keep how far the backfill is: {0}")]
    State(String),
    /// It was told to stop.
    #[error("backfill was stopped")]
    Stopped,
}

impl BackfillPlan {
    /// Makes a plan with the defaults.
    pub fn new(source: &str, url: &str, range: TimeRange) -> Self {
        Self {
            source: source.to_owned(),
            url: url.to_owned(),
            token_file: None,
            ca_file: None,
            range,
            window: Duration::from_secs(3_600),
            timeout: Duration::from_secs(300),
        }
    }
}

/// Reads a range of a source and delivers it; `progress` is called from time to time. Returns what was read, and delivered or set
/// aside.
///
/// # Errors
/// [`BackfillError`]; what was read so far is durable.
pub async fn backfill(
    machine: Machine,
    config: Config,
    plan: BackfillPlan,
    stop: CancellationToken,
    mut progress: impl FnMut(&BackfillProgress),
) -> Result<Counts, BackfillError> {
    let client = read_client(&config, &plan)?;
    let (source, mut state) = open(&machine, &config, &plan).await?;
    let source = Arc::new(source);
    let lanes = Lanes::new();
    for destination in &config.destinations {
        let opened = Destination::open(destination);
        let failed = |source| StartError::Destination { name: destination.name.clone(), source };
        let destination = Arc::new(opened.map_err(failed)?);
        lanes.start(&source, &destination, &config.retry)?;
    }
    let work = async {
        let began = (Instant::now(), state.next_ms());
        let mut report = |state: &State| progress(&progress_of(state, &source, &plan, began));
        let mut reading = Reading::new(&plan, &source, &client);
        report(&state);
        while let Some(window) = reading.next_window(state.next_ms()) {
            let counts = match reading.read(window).await {
                Ok(counts) => counts,
                Err(WindowError::TooLarge) => continue,
                Err(WindowError::Failed(error)) => return Err(error),
            };
            state = done(state, window.end_ms(), counts).await?;
            report(&state);
        }
        while undelivered(&source) > 0 {
            sleep(POLL).await;
            report(&state);
        }
        Ok(state.counts())
    };
    let outcome = select! {
        outcome = work => outcome,
        () = stop.cancelled() => Err(BackfillError::Stopped),
    };
    if !lanes.stop_all(Instant::now() + LANES_DEADLINE).await {
        error!(source = source.name, "deliveries had not ended");
    }
    let closing = spawn_blocking(move || {
        for journal in [&source.journal, &source.dead_letters] {
            if let Err(error) = journal.close() {
                error!(source = source.name, %error, "journal did not close cleanly");
            }
        }
    });
    if let Err(error) = closing.await {
        error!(%error, "closing broke off");
    }
    outcome
}

fn read_client(config: &Config, plan: &BackfillPlan) -> Result<ReadClient, BackfillError> {
    let failed = |source| BackfillError::Client { url: plan.url.clone(), source };
    let mut client = ClientConfig::new(&plan.url).map_err(failed)?;
    client.timeout = plan.timeout;
    client.limits = config.remote_limits_of(&plan.source);
    client.user_agent = concat!("prom-merger/", env!("CARGO_PKG_VERSION")).to_owned();
    if let Some(path) = &plan.token_file {
        let token = std::fs::read_to_string(path)
            .map_err(|source| BackfillError::Token { path: path.clone(), source })?;
        client.authorization = Authorization::Bearer(Secret::new(token.trim()));
    }
    if let Some(path) = &plan.ca_file {
        let pem = std::fs::read_to_string(path)
            .map_err(|source| BackfillError::Token { path: path.clone(), source })?;
        client.tls.extra_roots_pem.push(pem);
    }
    ReadClient::new(client).map_err(failed)
}

async fn open(
    machine: &Machine,
    config: &Config,
    plan: &BackfillPlan,
) -> Result<(SourceState, State), BackfillError> {
    let (machine, config, plan) = (machine.clone(), config.clone(), plan.clone());
    let opening = spawn_blocking(move || {
        let source = config.sources.iter().find(|source| source.name == plan.source);
        let source = source.ok_or_else(|| BackfillError::UnknownSource {
            name: plan.source.clone(),
            known: config.sources.iter().map(|source| source.name.clone()).collect(),
        })?;
        let opened = SourceState::open_as(&config, source, &machine, Kinds::BACKFILL)?;
        let state = State::open(&config, &machine, &plan).map_err(|error| match error {
            StateError::Start(error) => BackfillError::Start(error),
            other => BackfillError::State(other.to_string()),
        })?;
        Ok((opened, state))
    });
    opening.await.map_err(StartError::Broken)?
}

/// Writes down that all before `until_ms` is done.
async fn done(state: State, until_ms: i64, counts: Counts) -> Result<State, BackfillError> {
    let writing = spawn_blocking(move || {
        let mut state = state;
        state.done(until_ms, counts).map(|()| state).map_err(|error| BackfillError::State(error.to_string()))
    });
    writing.await.map_err(StartError::Broken)?
}

fn undelivered(source: &SourceState) -> u64 {
    source.sizes().lanes.iter().map(|lane| lane.undelivered_records).max().unwrap_or(0)
}

fn progress_of(
    state: &State,
    source: &SourceState,
    plan: &BackfillPlan,
    (began, began_at_ms): (Instant, i64),
) -> BackfillProgress {
    BackfillProgress {
        read_until_ms: state.next_ms(),
        range: plan.range,
        counts: state.counts(),
        undelivered_records: undelivered(source),
        elapsed: began.elapsed(),
        began_at_ms,
    }
}

const POLL: Duration = Duration::from_millis(200);
const LANES_DEADLINE: Duration = Duration::from_secs(10);
