//! What people see: progress on stderr, data on stdout.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use kafka_testbed::{
    progress::{Event, Reporter},
    status::{Endpoints, TestbedStatus},
};

/// Lines that tell how far a command is: a moving one on a terminal, plain ones elsewhere.
pub struct Progress {
    bar: Option<ProgressBar>,
    is_terminal: bool,
    what: String,
    last_detail: String,
    begun: Instant,
    last_line: Instant,
    durations_path: PathBuf,
    /// How long each step took last time, in seconds.
    durations: BTreeMap<String, f64>,
}

impl Progress {
    pub fn new(durations_path: PathBuf) -> Self {
        let durations = fs::read(&durations_path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self {
            bar: None,
            is_terminal: io::stderr().is_terminal(),
            what: String::new(),
            last_detail: String::new(),
            begun: Instant::now(),
            last_line: Instant::now(),
            durations_path,
            durations,
        }
    }

    pub fn line(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Remembers how long the steps took, for the next time.
    pub fn save(&self) {
        if let Ok(bytes) = serde_json::to_vec(&self.durations) {
            // Only a comfort: without it the next run tells no expectation.
            let _ = fs::write(&self.durations_path, bytes);
        }
    }

    fn expectation(&self) -> String {
        match self.durations.get(&self.what) {
            Some(seconds) if *seconds >= 1.0 => format!(" (about {seconds:.0} s last time)"),
            _ => String::new(),
        }
    }
}

impl Reporter for Progress {
    fn event(&mut self, event: Event) {
        match event {
            Event::Note(text) => self.line(&format!("  {text}")),
            Event::Begin { what, .. } => {
                self.what = what;
                self.begun = Instant::now();
                self.last_line = Instant::now();
                self.last_detail.clear();
                if self.is_terminal {
                    let bar = ProgressBar::new_spinner().with_message(format!(
                        "{}{}",
                        self.what,
                        self.expectation()
                    ));
                    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}") {
                        bar.set_style(style);
                    }
                    bar.enable_steady_tick(Duration::from_millis(120));
                    self.bar = Some(bar);
                }
            }
            Event::Going { detail, parts } => {
                let parts = parts.map(|(done, all)| format!(" {done}/{all}")).unwrap_or_default();
                let text = format!("{}{parts}{}: {detail}", self.what, self.expectation());
                let is_due = self.last_line.elapsed() >= Duration::from_secs(5) && detail != self.last_detail;
                match &self.bar {
                    Some(bar) => bar.set_message(text),
                    None if is_due => {
                        eprintln!("  … {:.0} s {text}", self.begun.elapsed().as_secs_f64());
                        self.last_line = Instant::now();
                        self.last_detail = detail;
                    }
                    None => {}
                }
            }
            Event::Done { what, result, took } => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
                let result = if result.is_empty() { String::new() } else { format!(": {result}") };
                self.line(&format!("  {what}{result} ({:.1} s)", took.as_secs_f64()));
                self.durations.insert(what, took.as_secs_f64());
            }
            Event::Abandoned => {
                if let Some(bar) = self.bar.take() {
                    bar.abandon();
                }
            }
            _ => {}
        }
    }
}

/// Writes data to stdout; a reader that went away (`| head`) is no error.
pub fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other,
    }
}

/// Writes `value` as JSON for people and scripts alike.
pub fn print_json(value: &impl serde::Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    print(&format!("{text}\n"))
}

pub fn endpoints(endpoints: &Endpoints) -> String {
    [
        ("database, both sources", &endpoints.tsdb),
        ("Prometheus beside Kafka", &endpoints.kafka_prometheus),
        ("Prometheus in (simulated) Kubernetes", &endpoints.kubernetes_prometheus),
        ("merger", &endpoints.merger),
        ("Kafka bootstrap", &endpoints.kafka),
    ]
    .iter()
    .map(|(what, address)| format!("  {what:<37} {address}\n"))
    .collect()
}

/// The table of `status`.
pub fn status(status: &TestbedStatus) -> String {
    let state = word(&status.state);
    let mut text = format!(
        "testbed {}: {state}, backend {}, {}\n",
        status.name,
        status.backend,
        status.folder.display()
    );
    if status.services.is_empty() {
        return text;
    }
    let widest = status.services.iter().map(|service| service.name.len()).max().unwrap_or(0);
    text.push_str(&format!(
        "{:<widest$}  {:<9} {:<5} {:>7} {:>8} {:>8}  {}\n",
        "SERVICE", "STATE", "READY", "PID", "CPU", "MEMORY", "ADDRESSES"
    ));
    for service in &status.services {
        let pid = service.pid.map(|pid| pid.to_string()).unwrap_or_else(|| "-".to_owned());
        let cpu =
            service.cpu_seconds.map(|seconds| format!("{seconds:.1} s")).unwrap_or_else(|| "-".to_owned());
        let memory = service
            .memory_bytes
            .map(|bytes| format!("{} MiB", bytes >> 20))
            .unwrap_or_else(|| "-".to_owned());
        text.push_str(&format!(
            "{:<widest$}  {:<9} {:<5} {pid:>7} {cpu:>8} {memory:>8}  {}\n",
            service.name,
            word(&service.state),
            if service.ready { "yes" } else { "no" },
            service.addresses.join(" ")
        ));
        if let Some(error) = &service.last_error {
            for line in error.lines() {
                text.push_str(&format!("{:widest$}  ! {line}\n", ""));
            }
        }
    }
    let memory: u64 = status.services.iter().filter_map(|service| service.memory_bytes).sum();
    text.push_str(&format!("all services: {} MiB\n{}", memory >> 20, endpoints(&status.endpoints)));
    text
}

/// The word that the JSON form has for a state.
fn word(state: &impl serde::Serialize) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
