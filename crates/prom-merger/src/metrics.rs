//! What is counted, and the page that shows it.
//!
//! All names begin with `prom_merger_`; the only labels of unbounded origin are `source` and `destination`, which the
//! configuration bounds.

mod lane;

use std::{
    fmt::{Display, Write},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

pub(crate) use lane::{LaneMetrics, NotTaken};

/// A counter that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A time in milliseconds since the epoch, or none.
#[derive(Debug)]
pub(crate) struct Timestamp(AtomicI64);

impl Default for Timestamp {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Timestamp {
    pub(crate) fn set(&self, milliseconds: Option<i64>) {
        self.0.store(milliseconds.unwrap_or(i64::MIN), Ordering::Relaxed);
    }

    pub(crate) fn raise(&self, milliseconds: i64) {
        self.0.fetch_max(milliseconds, Ordering::Relaxed);
    }

    fn seconds(&self) -> Option<f64> {
        let milliseconds = self.0.load(Ordering::Relaxed);
        (milliseconds != i64::MIN).then_some(milliseconds as f64 / 1000.0)
    }
}

/// The counters of one source.
#[derive(Debug, Default)]
pub(crate) struct SourceMetrics {
    pub(crate) responses: Responses,
    pub(crate) received_requests: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) received_series: Counter,
    pub(crate) received_samples: Counter,
    pub(crate) rejected_series: Counter,
    pub(crate) acknowledged_requests: Counter,
    pub(crate) acknowledged_samples: Counter,
    pub(crate) dead_letters_at_ingest: Counter,
    pub(crate) future_samples: Counter,
}

/// Why a delivery attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureClass {
    /// No answer: the network or a timeout.
    Network,
    /// 429.
    Throttled,
    /// 5xx, or another status that may pass.
    Server,
    /// The destination is not what the configuration says: 401, 403, 404, 405, 407, 415, a redirect.
    Destination,
    /// The data is refused for good.
    Rejected,
}

impl FailureClass {
    pub(crate) const ALL: [Self; 5] =
        [Self::Network, Self::Throttled, Self::Server, Self::Destination, Self::Rejected];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Throttled => "throttled",
            Self::Server => "server",
            Self::Destination => "destination",
            Self::Rejected => "rejected",
        }
    }
}

/// Answers to senders, by status.
#[derive(Debug, Default)]
pub(crate) struct Responses([Counter; STATUSES.len() + 1]);

impl Responses {
    pub(crate) fn count(&self, status: u16) {
        let index = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len());
        if let Some(counter) = self.0.get(index) {
            counter.add(1);
        }
    }

    fn by_name(&self) -> impl Iterator<Item = (String, u64)> {
        let names = STATUSES.iter().map(u16::to_string).chain(["other".to_owned()]);
        names.zip(self.0.iter().map(Counter::get))
    }
}

/// One lane as the page shows it.
#[derive(Debug)]
pub(crate) struct LaneState {
    pub(crate) destination: String,
    pub(crate) metrics: Arc<LaneMetrics>,
    pub(crate) undelivered_records: u64,
}

/// What the journals say at the time of the page.
#[derive(Debug)]
pub(crate) struct JournalSizes {
    pub(crate) disk_bytes: u64,
    pub(crate) max_bytes: u64,
    pub(crate) queued_bytes: u64,
    pub(crate) failed_commits: u64,
    pub(crate) commits: u64,
    pub(crate) dead_letter_bytes: u64,
    pub(crate) dead_letter_max_bytes: u64,
    pub(crate) dead_letter_records: u64,
    pub(crate) lanes: Vec<LaneState>,
}

/// Writes the page; `sources` are name, counters and sizes, `now_ms` is what the merger takes for the present.
pub(crate) fn page(sources: &[(&str, &SourceMetrics, JournalSizes)], now_ms: i64) -> String {
    let mut page = Page { text: String::new(), sources };
    page.heading("prom_merger_build_info", "gauge", "The version that runs.");
    page.line("prom_merger_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);

    page.heading("prom_merger_clock_seconds", "gauge", "The merger's clock, seconds since the epoch.");
    page.line("prom_merger_clock_seconds", &[], now_ms as f64 / 1000.0);

    page.heading("prom_merger_ingest_responses_total", "counter", "Answers to senders, by HTTP status.");
    for (source, metrics, _) in sources {
        for (code, count) in metrics.responses.by_name() {
            page.line("prom_merger_ingest_responses_total", &[("source", source), ("code", &code)], count);
        }
    }
    page.counter("received_requests_total", "Well-formed requests received.", |m| &m.received_requests);
    page.counter("received_bytes_total", "Their compressed bytes.", |m| &m.received_bytes);
    page.counter("received_series_total", "Their series.", |m| &m.received_series);
    page.counter("received_samples_total", "Their samples and histograms.", |m| &m.received_samples);
    page.counter("rejected_series_total", "Series set aside as dead letters at ingest.", |m| {
        &m.rejected_series
    });
    page.counter("acknowledged_requests_total", "Requests made durable and answered 204.", |m| {
        &m.acknowledged_requests
    });
    page.counter(
        "acknowledged_samples_total",
        "Samples and histograms made durable, of partly refused requests too.",
        |m| &m.acknowledged_samples,
    );
    page.counter("future_samples_total", "Samples set aside at ingest for the future limit.", |m| {
        &m.future_samples
    });
    page.lanes();
    page.heading(
        "prom_merger_dead_letters_total",
        "counter",
        "Records written to the dead letters, by stage.",
    );
    for (source, metrics, sizes) in sources {
        let name = "prom_merger_dead_letters_total";
        page.line(name, &[("source", source), ("stage", "ingest")], metrics.dead_letters_at_ingest.get());
        for lane in &sizes.lanes {
            let labels = [("source", *source), ("stage", "delivery"), ("destination", &lane.destination)];
            page.line(name, &labels, lane.metrics.dead_letters.get());
        }
    }
    page.gauge("dead_letter_records", "Dead letters on disk.", |_, sizes| Some(sizes.dead_letter_records));
    page.gauge("dead_letter_bytes", "Bytes of dead letters on disk.", |_, sizes| {
        Some(sizes.dead_letter_bytes)
    });
    page.gauge("dead_letter_max_bytes", "The limit of that.", |_, sizes| Some(sizes.dead_letter_max_bytes));
    page.gauge_of("journal_commits_total", "counter", "Successful commits.", |_, sizes| Some(sizes.commits));
    page.gauge_of(
        "journal_failed_commits_total",
        "counter",
        "Failed commits; nothing of them was acknowledged.",
        |_, sizes| Some(sizes.failed_commits),
    );
    page.gauge("journal_bytes", "Bytes of the journal on disk.", |_, sizes| Some(sizes.disk_bytes));
    page.gauge("journal_max_bytes", "The limit of that.", |_, sizes| Some(sizes.max_bytes));
    page.gauge("journal_queued_bytes", "Bytes waiting in memory for a sync.", |_, sizes| {
        Some(sizes.queued_bytes)
    });
    page.text
}

struct Page<'a> {
    text: String,
    sources: &'a [(&'a str, &'a SourceMetrics, JournalSizes)],
}

impl Page<'_> {
    fn heading(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Label values need no escaping: they are names that the configuration has checked, or our own words.
    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        if labels.is_empty() {
            let _ = writeln!(self.text, "{name} {value}");
            return;
        }
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let _ = writeln!(self.text, "{name}{{{}}} {value}", labels.join(","));
    }

    fn counter(&mut self, name: &str, help: &str, counter: impl Fn(&SourceMetrics) -> &Counter) {
        self.gauge_of(name, "counter", help, |metrics, _| Some(counter(metrics).get()));
    }

    fn gauge<V: Display>(
        &mut self,
        name: &str,
        help: &str,
        value: impl Fn(&SourceMetrics, &JournalSizes) -> Option<V>,
    ) {
        self.gauge_of(name, "gauge", help, value);
    }

    fn gauge_of<V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        value: impl Fn(&SourceMetrics, &JournalSizes) -> Option<V>,
    ) {
        let name = format!("prom_merger_{name}");
        self.heading(&name, kind, help);
        for (source, metrics, sizes) in self.sources {
            if let Some(value) = value(metrics, sizes) {
                self.line(&name, &[("source", source)], value);
            }
        }
    }

    fn lane_counter(&mut self, name: &str, help: &str, counter: impl Fn(&LaneMetrics) -> &Counter) {
        self.of_lanes(name, "counter", help, |lane| Some(counter(&lane.metrics).get()));
    }

    fn lane_gauge<V: Display>(&mut self, name: &str, help: &str, value: impl Fn(&LaneState) -> Option<V>) {
        self.of_lanes(name, "gauge", help, value);
    }

    fn of_lanes<V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        value: impl Fn(&LaneState) -> Option<V>,
    ) {
        let name = format!("prom_merger_{name}");
        self.heading(&name, kind, help);
        for (source, _, sizes) in self.sources {
            for lane in &sizes.lanes {
                if let Some(value) = value(lane) {
                    self.line(&name, &[("source", source), ("destination", &lane.destination)], value);
                }
            }
        }
    }

    /// Counters of each lane under one name, told apart by a further label.
    fn per_lane(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[&str],
        counters: impl Fn(&LaneMetrics) -> &[Counter],
    ) {
        let name = format!("prom_merger_{name}");
        self.heading(&name, "counter", help);
        for (source, _, sizes) in self.sources {
            for lane in &sizes.lanes {
                for (value, counter) in values.iter().zip(counters(&lane.metrics)) {
                    let labels = [("source", *source), ("destination", &lane.destination), (label, value)];
                    self.line(&name, &labels, counter.get());
                }
            }
        }
    }
}

/// What the write server and the sink answer.
const STATUSES: [u16; 10] = [204, 400, 401, 403, 404, 405, 413, 415, 500, 503];
