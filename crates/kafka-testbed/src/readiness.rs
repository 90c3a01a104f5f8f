//! Proof that a testbed works, step by step: each has a limit, tells what it waits for, and fails with the last reason.

mod query;

use std::{
    collections::HashMap,
    ffi::OsString,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio::process::Command;

use self::query::{Http, HttpError};
use crate::{
    control::{self, Request},
    home::TestbedFolder,
    logs::tail,
    plan::{Expected, ExpectedSource, PROBE_TOPIC},
    process::TOKEN_VARIABLE,
    progress::{Event, Reporter},
    status::{ServiceState, TestbedStatus},
};

/// Why a testbed is not ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadinessError {
    /// A service failed while it was waited for.
    #[error("service {service} failed: {reason}")]
    Failed {
        /// The service.
        service: String,
        /// How it ended, with the last lines of its log.
        reason: String,
    },
    /// A step was not done in time.
    #[error("not ready: {step} was not done within {} s; last seen: {last}", limit.as_secs())]
    TimedOut {
        /// The step.
        step: String,
        /// The limit of all steps together.
        limit: Duration,
        /// What was seen last, with the tail of the log that belongs to it.
        last: String,
    },
}

/// What is asked, and how.
#[derive(Debug)]
pub struct Proof<'a> {
    /// The testbed.
    pub folder: &'a TestbedFolder,
    /// What must be true.
    pub expected: &'a Expected,
    /// The program `kafka-load`.
    pub kafka_load: &'a Path,
    /// The token that our probing process carries.
    pub token: &'a str,
    /// Limit of all steps together.
    pub limit: Duration,
    /// Whether every target must be seen up twice (after a start) or once (when it ran all the time).
    pub scrapes: usize,
}

impl Proof<'_> {
    /// Goes through all steps.
    ///
    /// # Errors
    /// The first step that fails or takes too long.
    pub async fn run(&self, reporter: &mut impl Reporter) -> Result<TestbedStatus, ReadinessError> {
        let deadline = Instant::now() + self.limit;
        let status = self.step("starting the services", deadline, reporter, Services(self)).await?;
        self.step("asking every broker on both listeners", deadline, reporter, Brokers(self)).await?;
        self.step("finding the controller", deadline, reporter, Controller(self, Http::new())).await?;
        let targets = Targets { proof: self, http: Http::new(), seen: HashMap::new() };
        self.step("scraping every target", deadline, reporter, targets).await?;
        self.step(
            "finding fresh samples of every source in the database",
            deadline,
            reporter,
            Fresh(self, Http::new()),
        )
        .await?;
        Ok(status)
    }

    async fn step<S: Step>(
        &self,
        what: &str,
        deadline: Instant,
        reporter: &mut impl Reporter,
        mut step: S,
    ) -> Result<S::Output, ReadinessError> {
        let begun = Instant::now();
        reporter.event(Event::Begin { what: what.to_owned(), expected: None });
        loop {
            let outcome = step.look().await;
            match outcome {
                Look::Done { output, result } => {
                    reporter.event(Event::Done { what: what.to_owned(), result, took: begun.elapsed() });
                    return Ok(output);
                }
                Look::Failed { service, reason } => {
                    reporter.event(Event::Abandoned);
                    return Err(ReadinessError::Failed { service, reason });
                }
                Look::NotYet { reason, parts, .. } if Instant::now() < deadline => {
                    reporter.event(Event::Going { detail: reason, parts });
                }
                Look::NotYet { reason, service, .. } => {
                    reporter.event(Event::Abandoned);
                    let log = service.map(|service| tail(&self.folder.log(&service), 10).join("\n"));
                    let last = match log {
                        Some(log) if !log.is_empty() => {
                            format!("{reason}; the last lines of its log:\n{log}")
                        }
                        _ => reason,
                    };
                    return Err(ReadinessError::TimedOut { step: what.to_owned(), limit: self.limit, last });
                }
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

/// One look at one step.
enum Look<T> {
    Done { output: T, result: String },
    NotYet { reason: String, service: Option<String>, parts: Option<(u64, u64)> },
    Failed { service: String, reason: String },
}

impl<T> Look<T> {
    fn not_yet(reason: impl Into<String>) -> Self {
        Self::NotYet { reason: reason.into(), service: None, parts: None }
    }
}

trait Step {
    type Output;
    async fn look(&mut self) -> Look<Self::Output>;
}

struct Services<'a>(&'a Proof<'a>);

impl Step for Services<'_> {
    type Output = TestbedStatus;

    async fn look(&mut self) -> Look<TestbedStatus> {
        let status = match control::ask(self.0.folder, Request::Status).await {
            Ok(status) => status,
            Err(error) => {
                let words = tail(&self.0.folder.log("supervisor"), 5).join("\n");
                return Look::NotYet {
                    reason: format!("{error}; its log: {words}"),
                    service: None,
                    parts: None,
                };
            }
        };
        if let Some(failed) = status.services.iter().find(|service| service.state == ServiceState::Failed) {
            let reason = failed.last_error.clone().unwrap_or_default();
            return Look::Failed { service: failed.name.clone(), reason };
        }
        let (ready, all) =
            (status.services.iter().filter(|service| service.ready).count(), status.services.len());
        match status.services.iter().find(|service| !service.ready) {
            None => Look::Done { output: status, result: format!("{all} ready") },
            Some(waiting) => {
                let why = waiting
                    .last_error
                    .as_deref()
                    .and_then(|error| error.lines().next())
                    .unwrap_or("not ready yet");
                Look::NotYet {
                    reason: format!("{}: {why}", waiting.name),
                    service: Some(waiting.name.clone()),
                    parts: Some((ready as u64, all as u64)),
                }
            }
        }
    }
}

/// What `kafka-load probe --format json` prints.
#[derive(Debug, Deserialize)]
struct ProbeReport {
    ok: bool,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    listeners: Vec<ProbedListener>,
    topic: Option<ProbedTopic>,
}

#[derive(Debug, Deserialize)]
struct ProbedListener {
    name: String,
    #[serde(default)]
    brokers: Vec<ProbedBroker>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Debug, Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ProbedBroker {
    id: i64,
    host: String,
    port: i64,
}

#[derive(Debug, Deserialize)]
struct ProbedTopic {
    partitions: u64,
    produced: u64,
    consumed: u64,
}

struct Brokers<'a>(&'a Proof<'a>);

impl Brokers<'_> {
    fn arguments(&self) -> Vec<OsString> {
        let brokers = &self.0.expected.brokers;
        let bootstrap: Vec<String> = brokers.iter().map(|broker| broker.external.1.clone()).collect();
        let listeners: Vec<String> = brokers
            .iter()
            .flat_map(|broker| {
                [
                    format!("internal-{}={}", broker.id, broker.internal.0),
                    format!("external-{}={}", broker.id, broker.external.0),
                ]
            })
            .collect();
        let text = [
            "probe".to_owned(),
            "--bootstrap".to_owned(),
            bootstrap.join(","),
            "--expect-brokers".to_owned(),
            brokers.len().to_string(),
            "--topic".to_owned(),
            PROBE_TOPIC.to_owned(),
            "--partitions".to_owned(),
            brokers.len().to_string(),
            "--replication-factor".to_owned(),
            self.0.expected.probe_replication_factor.to_string(),
            "--listener".to_owned(),
            listeners.join(","),
            "--timeout".to_owned(),
            "20s".to_owned(),
            "--format".to_owned(),
            "json".to_owned(),
        ];
        text.into_iter().map(OsString::from).collect()
    }

    /// Compares what each listener says with what it must advertise.
    fn wrong_listener(&self, report: &ProbeReport) -> Option<String> {
        let expected = |internal: bool| {
            let mut all: Vec<ProbedBroker> = self
                .0
                .expected
                .brokers
                .iter()
                .filter_map(|broker| {
                    let address = if internal { &broker.internal.1 } else { &broker.external.1 };
                    let (host, port) = address.rsplit_once(':')?;
                    Some(ProbedBroker {
                        id: broker.id.into(),
                        host: host.to_owned(),
                        port: port.parse().ok()?,
                    })
                })
                .collect();
            all.sort();
            all
        };
        report.listeners.iter().find_map(|listener| {
            let mut found = listener.brokers.clone();
            found.sort();
            let wanted = expected(listener.name.starts_with("internal"));
            if let Some(error) = &listener.error {
                return Some(format!(
                    "listener {}, asked from this machine, where the workers run: {error}",
                    listener.name
                ));
            }
            let shown = |brokers: &[ProbedBroker]| {
                brokers
                    .iter()
                    .map(|b| format!("{} at {}:{}", b.id, b.host, b.port))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            (found != wanted).then(|| {
                format!(
                    "listener {}, asked from this machine, where the workers run, sends clients to {}; expected {}",
                    listener.name,
                    shown(&found),
                    shown(&wanted)
                )
            })
        })
    }
}

impl Step for Brokers<'_> {
    type Output = ();

    async fn look(&mut self) -> Look<()> {
        let output = Command::new(self.0.kafka_load)
            .args(self.arguments())
            .env_clear()
            .env(TOKEN_VARIABLE, self.0.token)
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await;
        let output = match output {
            Ok(output) => output,
            Err(error) => {
                return Look::not_yet(format!("cannot run {}: {error}", self.0.kafka_load.display()));
            }
        };
        let report: ProbeReport = match serde_json::from_slice(&output.stdout) {
            Ok(report) => report,
            Err(_) => {
                let words: String = String::from_utf8_lossy(&output.stderr).chars().take(500).collect();
                return Look::not_yet(format!("kafka-load probe said: {words}"));
            }
        };
        if let Some(wrong) = self.wrong_listener(&report) {
            return Look::not_yet(wrong);
        }
        match (&report.topic, report.ok) {
            (Some(topic), true) => Look::Done {
                output: (),
                result: format!(
                    "{} listeners, {} messages to {} partitions written and {} read back",
                    report.listeners.len(),
                    topic.produced,
                    topic.partitions,
                    topic.consumed
                ),
            },
            _ => Look::not_yet(report.error.unwrap_or_else(|| "the probe failed".to_owned())),
        }
    }
}

struct Controller<'a>(&'a Proof<'a>, Http);

impl Step for Controller<'_> {
    type Output = ();

    async fn look(&mut self) -> Look<()> {
        let mut controllers = Vec::new();
        for broker in self.0.expected.brokers.iter().filter(|broker| broker.may_control) {
            let url = format!("http://{}/metrics", broker.agent);
            let text = match self.1.text(&url).await {
                Ok(text) => text,
                Err(error) => return Look::not_yet(error.to_string()),
            };
            let active = text
                .lines()
                .find_map(|line| line.strip_prefix("kafka_controller_kafkacontroller_activecontrollercount "))
                .and_then(|value| value.trim().parse::<f64>().ok());
            match active {
                Some(value) if value > 0.0 => controllers.push(broker.id),
                Some(_) => {}
                None => {
                    return Look::not_yet(format!(
                        "the agent of broker {} does not tell about the controller yet",
                        broker.id
                    ));
                }
            }
        }
        match controllers[..] {
            [id] => Look::Done { output: (), result: format!("broker {id}") },
            _ => Look::not_yet(format!("{} brokers say that they are the controller", controllers.len())),
        }
    }
}

struct Targets<'a> {
    proof: &'a Proof<'a>,
    http: Http,
    /// By source and target: the times of the scrapes that were up, without one in between that was not.
    seen: HashMap<(&'static str, String), Vec<String>>,
}

impl Targets<'_> {
    async fn look_at(&mut self, source: &ExpectedSource) -> Result<Option<String>, HttpError> {
        let targets = self.http.targets(&source.url).await?;
        if targets.len() != source.targets {
            return Ok(Some(format!(
                "{} has {} targets, expected {}",
                source.name,
                targets.len(),
                source.targets
            )));
        }
        let mut missing = None;
        for target in targets {
            let scrapes = self.seen.entry((source.name, target.scrape_url.clone())).or_default();
            match target.health.as_str() {
                "up" if !scrapes.contains(&target.last_scrape) => scrapes.push(target.last_scrape),
                "up" => {}
                _ => scrapes.clear(),
            }
            if scrapes.len() < self.proof.scrapes {
                let why = if target.last_error.is_empty() {
                    format!("up {} of {} times", scrapes.len(), self.proof.scrapes)
                } else {
                    target.last_error
                };
                missing = Some(format!("{}: {why}", target.scrape_url));
            }
        }
        Ok(missing)
    }
}

impl Step for Targets<'_> {
    type Output = ();

    async fn look(&mut self) -> Look<()> {
        let mut missing = None;
        for source in &self.proof.expected.sources {
            match self.look_at(source).await {
                Ok(None) => {}
                Ok(Some(reason)) => missing = Some(reason),
                Err(error) => missing = Some(error.to_string()),
            }
        }
        let all: usize = self.proof.expected.sources.iter().map(|source| source.targets).sum();
        match missing {
            None => {
                let times = if self.proof.scrapes == 1 { "once" } else { "twice" };
                Look::Done { output: (), result: format!("{all} targets up {times}") }
            }
            Some(reason) => {
                let done = self.seen.values().filter(|scrapes| scrapes.len() >= self.proof.scrapes).count();
                Look::NotYet { reason, service: None, parts: Some((done as u64, all as u64)) }
            }
        }
    }
}

struct Fresh<'a>(&'a Proof<'a>, Http);

impl Step for Fresh<'_> {
    type Output = ();

    async fn look(&mut self) -> Look<()> {
        let expected = self.0.expected;
        let query = "time() - max by (source) (timestamp(up == 1))";
        let ages = match self.1.query(&expected.tsdb, query).await {
            Ok(ages) => ages,
            Err(error) => return Look::not_yet(error.to_string()),
        };
        let mut shown = Vec::new();
        for source in &expected.sources {
            let age =
                ages.iter().find(|sample| sample.label("source") == source.name).map(|sample| sample.value);
            let limit = source.interval.as_secs_f64() * 3.0 + 5.0;
            match age {
                Some(age) if age <= limit => shown.push(format!("{} {age:.1} s old", source.name)),
                Some(age) => {
                    return Look::not_yet(format!("the newest sample of {} is {age:.1} s old", source.name));
                }
                None => {
                    return Look::NotYet {
                        reason: format!("no sample of {} yet", source.name),
                        service: Some("merger".to_owned()),
                        parts: None,
                    };
                }
            }
        }
        Look::Done { output: (), result: shown.join(", ") }
    }
}
