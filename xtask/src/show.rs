//! What people see: progress on stderr, data on stdout.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    time::{Duration, Instant},
};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use kafka_testbed::{
    lifecycle::Listed,
    progress::{Event, Reporter},
    status::{Endpoints, ServiceState, ServiceStatus, TestbedState, TestbedStatus},
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

/// Writes data to stdout; a reader that went away (`| head`) is no error. Colours reach terminals only, and none where
/// `NO_COLOR` is set.
pub fn print(text: &str) -> io::Result<()> {
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other,
    }
}

/// Writes `value` as JSON for people and scripts alike.
pub fn print_json(value: &impl serde::Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    print(&format!("{text}\n"))
}

/// Writes `value` as one line of JSON.
pub fn print_json_line(value: &impl serde::Serialize) -> io::Result<()> {
    let text = serde_json::to_string(value).map_err(io::Error::other)?;
    print(&format!("{text}\n"))
}

/// Tells what went wrong, under which name the documentation has it, and what to do.
pub fn failure(name: Option<&str>, message: &str, hint: Option<&str>) {
    let (red, cyan) = (paint(AnsiColor::Red), paint(AnsiColor::Cyan));
    let name = name.map(|name| format!("[{name}]")).unwrap_or_default();
    anstream::eprintln!("{red}error{name}:{red:#} {message}");
    if let Some(hint) = hint {
        anstream::eprintln!("{cyan}hint:{cyan:#} {hint}");
    }
}

fn paint(color: AnsiColor) -> Style {
    Style::new().fg_color(Some(color.into())).bold()
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

/// The table of `status`; with the status of a moment before, processor time is shown as a share of one processor.
pub fn status(status: &TestbedStatus, before: Option<&TestbedStatus>) -> String {
    let style = style_of(status.state);
    let mut text = format!(
        "testbed {}: {style}{}{style:#}, run {}, backend {}, {}\n",
        status.name,
        word(&status.state),
        status.run,
        status.backend,
        status.folder.display()
    );
    if status.services.is_empty() {
        return text;
    }
    let widest = status.services.iter().map(|service| service.name.len()).max().unwrap_or(0);
    text.push_str(&format!(
        "{:<widest$}  {:<11} {:<5} {:>7} {:>8} {:>8} {:>6}  {}\n",
        "SERVICE", "STATE", "READY", "PID", "CPU", "MEMORY", "STARTS", "ADDRESSES"
    ));
    for service in &status.services {
        let pid = service.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let cpu = match (service.cpu_seconds, before) {
            (None, _) => "-".to_owned(),
            (Some(seconds), None) => format!("{seconds:.1} s"),
            (Some(seconds), Some(before)) => {
                let same = |other: &&ServiceStatus| other.name == service.name && other.pid == service.pid;
                let earlier = before.services.iter().find(same).and_then(|other| other.cpu_seconds);
                earlier
                    .map_or_else(|| "-".to_owned(), |earlier| format!("{:.0} %", (seconds - earlier) * 100.0))
            }
        };
        let memory =
            service.memory_bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
        let style = style_of_service(service);
        text.push_str(&format!(
            "{:<widest$}  {style}{:<11}{style:#} {:<5} {pid:>7} {cpu:>8} {memory:>8} {:>6}  {}\n",
            service.name,
            word(&service.state),
            if service.ready { "yes" } else { "no" },
            service.starts,
            service.addresses.join(" ")
        ));
        if let Some(error) = &service.last_error {
            let red = Style::new().fg_color(Some(AnsiColor::Red.into()));
            for line in error.lines() {
                text.push_str(&format!("{:widest$}  {red}! {line}{red:#}\n", ""));
            }
        }
        for end in &service.ends {
            let is_told = service.last_error.as_ref().is_some_and(|error| error.starts_with(&end.how));
            let line = end.log.first().filter(|_| !is_told);
            let says = line.map(|line| format!(": {}", line.trim())).unwrap_or_default();
            text.push_str(&format!("{:widest$}  ! {} at {}{says}\n", "", end.how, end.at));
        }
    }
    let memory: u64 = status.services.iter().filter_map(|service| service.memory_bytes).sum();
    text.push_str(&format!("all services: {} MiB\n{}", memory >> 20, endpoints(&status.endpoints)));
    text
}

/// The table of `list`.
pub fn list(all: &[Listed]) -> String {
    if all.is_empty() {
        return "no testbeds\n".to_owned();
    }
    let widest = all.iter().map(|testbed| testbed.name.len()).max().unwrap_or(0).max(4);
    let mut text = format!(
        "{:<widest$}  {:<12} {:>4} {:>9} {:>10}  {:<24}  {}\n",
        "NAME", "STATE", "RUN", "RUNNING", "DISK", "LAST USED", "FOLDER"
    );
    for testbed in all {
        let state = testbed.state.map_or_else(|| "unknown".to_owned(), |state| word(&state));
        let style = testbed.state.map(style_of).unwrap_or_default();
        text.push_str(&format!(
            "{:<widest$}  {style}{state:<12}{style:#} {:>4} {:>9} {:>10}  {:<24}  {}\n",
            testbed.name,
            testbed.run,
            format!("{}/{}", testbed.running, testbed.services),
            format!("{} MiB", testbed.disk_bytes >> 20),
            testbed.last_used,
            testbed.folder.display()
        ));
        if let Some(fault) = &testbed.fault {
            text.push_str(&format!("{:widest$}  ! {fault}\n", ""));
        }
    }
    text
}

fn style_of(state: TestbedState) -> Style {
    match state {
        TestbedState::Running => paint(AnsiColor::Green),
        TestbedState::Degraded | TestbedState::Unsupervised => paint(AnsiColor::Red),
        TestbedState::Starting | TestbedState::Stopping => paint(AnsiColor::Yellow),
        TestbedState::Absent | TestbedState::Stopped => Style::new(),
    }
}

fn style_of_service(service: &ServiceStatus) -> Style {
    match service.state {
        ServiceState::Running | ServiceState::Completed if service.ready => paint(AnsiColor::Green),
        ServiceState::Failed | ServiceState::Running | ServiceState::BackingOff => paint(AnsiColor::Red),
        ServiceState::Waiting | ServiceState::Starting | ServiceState::Stopping => paint(AnsiColor::Yellow),
        ServiceState::Completed | ServiceState::Stopped => Style::new(),
    }
}

/// The word that the JSON form has for a state.
pub fn word(state: &impl serde::Serialize) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
