//! A merger in a runtime of its own, and a destination that does what a test tells it.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::post,
};
use prom_merger::{Config, Merger, Running};
use prom_remote::{
    LabelView, Limits, Sample, SeriesV2View, SeriesView, WriteRequestBuilder, WriteRequestV2View,
    WriteRequestView, decompress,
};
use prom_remote_http::{ClientConfig, WriteClient, WriteError};
use sample_journal::{DiskStorage, Journal, JournalConfig, JournalHooks, JournalId, Position};
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, runtime::Runtime, task::JoinHandle};

/// Labels in wire order, and time with the bits of each value.
pub(crate) type Series = (Vec<(String, String)>, Vec<(i64, u64)>);

/// What the destination says to a request.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    Take,
    Refuse(u16, &'static str),
    RetryAfter(u16),
    RetryAfterSeconds(u16, &'static str),
    Hang,
}

type Rule = Box<dyn Fn(&[Series], usize) -> Answer + Send + Sync>;

/// Records what it takes; `rule` is given a request and how many came before it. Probe writes are put to the rule too, but
/// neither counted nor recorded.
pub(crate) struct Destination {
    pub(crate) url: String,
    state: Arc<State>,
    server: Option<JoinHandle<()>>,
}

struct State {
    rule: Mutex<Rule>,
    attempts: Mutex<usize>,
    taken: Mutex<Vec<Vec<Series>>>,
    /// The decoded messages that were taken, and whether each is of 2.0.
    messages: Mutex<Vec<(bool, Vec<u8>)>>,
    takes_v2: AtomicBool,
    refuses_v1: AtomicBool,
    judges_v2_alone: AtomicBool,
    headers: Mutex<HeaderMap>,
}

impl Destination {
    pub(crate) async fn start(rule: impl Fn(&[Series], usize) -> Answer + Send + Sync + 'static) -> Self {
        let mut destination = Self {
            url: String::new(),
            state: Arc::new(State {
                rule: Mutex::new(Box::new(rule)),
                attempts: Mutex::default(),
                taken: Mutex::default(),
                messages: Mutex::default(),
                takes_v2: AtomicBool::new(false),
                refuses_v1: AtomicBool::new(false),
                judges_v2_alone: AtomicBool::new(false),
                headers: Mutex::default(),
            }),
            server: None,
        };
        destination.listen("127.0.0.1:0").await;
        destination
    }

    async fn listen(&mut self, address: &str) {
        let listener = TcpListener::bind(address).await.unwrap();
        self.url = format!("http://{}/api/v1/write", listener.local_addr().unwrap());
        let state = Arc::clone(&self.state);
        let handler = move |headers: HeaderMap, body: Bytes| {
            let state = Arc::clone(&state);
            async move { state.receive(&headers, &body).await }
        };
        let router = Router::new().route("/api/v1/write", post(handler));
        self.server = Some(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
    }

    /// From now on it takes remote write 2.0 too; before, it answers 415.
    pub(crate) fn take_v2(&self) {
        self.state.takes_v2.store(true, Ordering::Relaxed);
    }

    /// From now on the rule is for 2.0; what comes as 1.0 is taken.
    pub(crate) fn judge_v2_alone(&self) {
        self.state.judges_v2_alone.store(true, Ordering::Relaxed);
    }

    /// From now on it takes remote write 2.0 alone.
    pub(crate) fn take_v2_alone(&self) {
        self.take_v2();
        self.state.refuses_v1.store(true, Ordering::Relaxed);
    }

    /// The decoded messages that were taken, and whether each is of 2.0.
    pub(crate) fn messages(&self) -> Vec<(bool, Vec<u8>)> {
        self.state.messages.lock().unwrap().clone()
    }

    /// A header of the last request with content.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let headers = self.state.headers.lock().unwrap();
        headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    pub(crate) async fn down(&mut self) {
        let server = self.server.take().unwrap();
        server.abort();
        let _ = server.await;
    }

    /// An address at which nobody listens until [`up`](Self::up).
    pub(crate) async fn start_down() -> Self {
        let mut destination = Self::start(|_, _| Answer::Take).await;
        destination.down().await;
        destination
    }

    pub(crate) async fn up(&mut self) {
        let address = self.url.trim_start_matches("http://").trim_end_matches("/api/v1/write").to_owned();
        self.listen(&address).await;
    }

    pub(crate) fn rule(&self, rule: impl Fn(&[Series], usize) -> Answer + Send + Sync + 'static) {
        *self.state.rule.lock().unwrap() = Box::new(rule);
    }

    pub(crate) fn attempts(&self) -> usize {
        *self.state.attempts.lock().unwrap()
    }

    /// All requests taken, in order.
    pub(crate) fn requests(&self) -> Vec<Vec<Series>> {
        self.state.taken.lock().unwrap().clone()
    }

    /// All series taken, in order, without repetitions.
    pub(crate) fn series(&self) -> Vec<Series> {
        let mut all: Vec<Series> = Vec::new();
        for series in self.state.taken.lock().unwrap().iter().flatten() {
            if !all.contains(series) {
                all.push(series.clone());
            }
        }
        all
    }

    /// The metric names of all series taken.
    pub(crate) fn names(&self) -> Vec<String> {
        self.series().iter().map(|series| label(series, "__name__").to_owned()).collect()
    }
}

impl State {
    async fn receive(&self, headers: &HeaderMap, body: &[u8]) -> Response {
        let of = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
        let is_v2 = of("content-type").contains("v2");
        let refused = if is_v2 {
            !self.takes_v2.load(Ordering::Relaxed)
        } else {
            self.refuses_v1.load(Ordering::Relaxed)
        };
        if refused {
            return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
        }
        let mut message = Vec::new();
        match of("content-encoding") {
            "snappy" => decompress(body, &Limits::default(), &mut message).unwrap(),
            encoding => panic!("{encoding}"),
        }
        if message.is_empty() {
            // Asks whether anybody is there.
            return StatusCode::NO_CONTENT.into_response();
        }
        self.headers.lock().unwrap().clone_from(headers);
        let request = decode(is_v2, &message);
        let answer = {
            let mut attempts = self.attempts.lock().unwrap();
            let answer = (self.rule.lock().unwrap())(&request, *attempts);
            *attempts += usize::from(!is_probe(&request));
            if !is_v2 && self.judges_v2_alone.load(Ordering::Relaxed) { Answer::Take } else { answer }
        };
        match answer {
            Answer::Take => {
                let written = written(is_v2, &message);
                if !is_probe(&request) {
                    self.taken.lock().unwrap().push(request);
                    self.messages.lock().unwrap().push((is_v2, message));
                }
                (StatusCode::NO_CONTENT, written).into_response()
            }
            Answer::Refuse(status, words) => {
                let mut written = written(is_v2, &message);
                written.values_mut().for_each(|count| *count = 0.into());
                (StatusCode::from_u16(status).unwrap(), written, words).into_response()
            }
            Answer::RetryAfter(status) => {
                (StatusCode::from_u16(status).unwrap(), [(RETRY_AFTER, "0")], "later").into_response()
            }
            Answer::RetryAfterSeconds(status, seconds) => {
                (StatusCode::from_u16(status).unwrap(), [(RETRY_AFTER, seconds)], "later").into_response()
            }
            Answer::Hang => std::future::pending().await,
        }
    }
}

/// What a receiver of 2.0 says that it has written.
fn written(is_v2: bool, message: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if is_v2 {
        let limits = Limits::default();
        let summary = WriteRequestV2View::new(message, &limits).unwrap().summary(&limits).unwrap();
        let counts = [
            ("x-prometheus-remote-write-samples-written", summary.samples),
            ("x-prometheus-remote-write-histograms-written", summary.histograms),
            ("x-prometheus-remote-write-exemplars-written", summary.exemplars),
        ];
        for (name, count) in counts {
            headers.insert(name, count.into());
        }
    }
    headers
}

pub(crate) fn is_probe(request: &[Series]) -> bool {
    request.iter().any(|series| label(series, "__name__") == "prom_merger_probe")
}

fn decode(is_v2: bool, message: &[u8]) -> Vec<Series> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let owned = |label: LabelView<'_>| (text(label.name), text(label.value));
    if is_v2 {
        let view = WriteRequestV2View::new(message, &Limits::default()).unwrap();
        let read = |series: SeriesV2View<'_>| {
            let samples = series.samples().map(|s| (s.sample.timestamp_ms, s.sample.value_bits)).collect();
            (series.labels(view.symbols()).map(owned).collect(), samples)
        };
        return view.series().map(|series| read(series.unwrap())).collect();
    }
    let read = |series: SeriesView<'_>| {
        let samples = series.samples().map(|sample| (sample.timestamp_ms, sample.value_bits)).collect();
        (series.labels().map(owned).collect(), samples)
    };
    WriteRequestView::new(message).series().map(|series| read(series.unwrap())).collect()
}

pub(crate) fn label<'a>(series: &'a Series, name: &str) -> &'a str {
    series.0.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
}

/// A merger that can be stopped in good order, or by taking its runtime away.
pub(crate) struct TestMerger {
    runtime: Option<Runtime>,
    running: Option<Running>,
    address: String,
    clients: Mutex<BTreeMap<String, WriteClient>>,
}

impl TestMerger {
    /// Starts with sources `a` and `b`; `more` is further configuration.
    pub(crate) async fn start(data: &Path, destination: &str, more: &str) -> Self {
        Self::start_with(data, "[{name: a}, {name: b, value: bee}]", destination, more).await
    }

    /// Starts with sources `a` and `b` and further keys of the destination.
    pub(crate) async fn start_with_destination(data: &Path, destination: &str, keys: &str) -> Self {
        let sources = "[{name: a}, {name: b, value: bee}]";
        Self::start_with_all(data, sources, &format!("url: '{destination}', timeout: 10s, {keys}"), "").await
    }

    /// Starts with `sources`.
    pub(crate) async fn start_with(data: &Path, sources: &str, destination: &str, more: &str) -> Self {
        Self::start_with_all(data, sources, &format!("url: '{destination}', timeout: 10s"), more).await
    }

    async fn start_with_all(data: &Path, sources: &str, destination: &str, more: &str) -> Self {
        let more = format!("destination: {{{destination}}}\nretry: {{minimum: 1ms, maximum: 20ms}}\n{more}");
        Self::start_bare(data, sources, &more).await
    }

    /// Starts with `destinations` (a list), and further configuration.
    pub(crate) async fn start_with_destinations(data: &Path, destinations: &str, more: &str) -> Self {
        let more = format!("destinations: {destinations}\nretry: {{minimum: 1ms, maximum: 20ms}}\n{more}");
        Self::start_bare(data, "[{name: a}, {name: b, value: bee}]", &more).await
    }

    /// Starts with nothing but the address, the folder and the sources given.
    pub(crate) async fn start_bare(data: &Path, sources: &str, more: &str) -> Self {
        let text = format!("listen: 127.0.0.1:0\ndata: {}\nsources: {sources}\n{more}\n", data.display());
        Self::start_config(Config::parse("merger.yaml", text).unwrap()).await
    }

    pub(crate) async fn start_config(config: Config) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let running = runtime.spawn(Merger::start(config)).await.unwrap().unwrap();
        let address = running.address().to_string();
        Self { runtime: Some(runtime), running: Some(running), address, clients: Mutex::default() }
    }

    pub(crate) async fn send(&self, source: &str, body: Vec<u8>) -> Result<(), WriteError> {
        let make = || {
            let url = format!("http://{}/api/v1/write/{source}", self.address);
            WriteClient::new(ClientConfig::new(&url).unwrap()).unwrap()
        };
        let client = self.clients.lock().unwrap().entry(source.to_owned()).or_insert_with(make).clone();
        client.send_v1(body.into()).await.map(|_| ())
    }

    /// Posts a body as a plain client would, and tells the status of the answer.
    pub(crate) async fn post(&self, path: &str, token: Option<&str>, body: Vec<u8>) -> u16 {
        let request = reqwest::Client::new()
            .post(format!("http://{}{path}", self.address))
            .header("Content-Type", "application/x-protobuf")
            .header("Content-Encoding", "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0")
            .body(body);
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        request.send().await.unwrap().status().as_u16()
    }

    /// Posts a 2.0 body; returns the status, the three counts that the answer says are written (-1 for one that it does
    /// not tell), and the text.
    pub(crate) async fn post_v2(&self, source: &str, body: Vec<u8>) -> (u16, [i64; 3], String) {
        let request = reqwest::Client::new()
            .post(format!("http://{}/api/v1/write/{source}", self.address))
            .header("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
            .header("Content-Encoding", "snappy")
            .header("X-Prometheus-Remote-Write-Version", "2.0.0")
            .body(body);
        let response = request.send().await.unwrap();
        let count = |what: &str| {
            let value = response.headers().get(format!("x-prometheus-remote-write-{what}-written"));
            value.map_or(-1, |value| value.to_str().unwrap().parse().unwrap())
        };
        let counts = ["samples", "histograms", "exemplars"].map(count);
        (response.status().as_u16(), counts, response.text().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("http://{}{path}", self.address)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The value of the first line of the metrics page that has this name and these labels, which must be there.
    pub(crate) async fn metric(&self, wanted: &str) -> f64 {
        let (_, page) = self.get("/metrics").await;
        let (name, labels) = wanted.trim_end_matches('}').split_once('{').unwrap_or((wanted, ""));
        let has_all = |line: &&str| {
            let Some(found) = line.strip_prefix(name).and_then(|rest| rest.strip_prefix('{')) else {
                return false;
            };
            labels.split(',').all(|label| found.contains(label))
        };
        let found = page.lines().find(has_all).and_then(|line| line.rsplit_once(' '));
        found.unwrap_or_else(|| panic!("no {wanted} in\n{page}")).1.parse().unwrap()
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    /// Runs a future where the merger runs.
    pub(crate) fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.runtime.as_ref().unwrap().enter()
    }

    pub(crate) async fn shutdown(mut self) {
        let running = self.running.take().unwrap();
        let stopped = self.runtime.as_ref().unwrap().spawn(running.shutdown(Duration::from_secs(10)));
        stopped.await.unwrap().unwrap();
        self.take_runtime();
    }

    /// Ends everything where it stands: nothing is drained, no cursor is stored.
    pub(crate) fn kill(mut self) {
        self.take_runtime();
    }

    fn take_runtime(&mut self) {
        // A runtime may not be dropped inside another one.
        if let Some(runtime) = self.runtime.take() {
            let running = self.running.take();
            let drop = move || {
                runtime.shutdown_timeout(Duration::from_secs(5));
                drop(running);
            };
            std::thread::spawn(drop).join().unwrap();
        }
    }
}

impl Drop for TestMerger {
    fn drop(&mut self) {
        self.take_runtime();
    }
}

/// One series of one sample.
pub(crate) fn one(name: &str) -> Vec<u8> {
    let mut builder = WriteRequestBuilder::new();
    builder.series([("__name__", name)], [Sample::new(1_700_000_000_000, 1.0)]);
    builder.finish_compressed().unwrap()
}

/// Waits, at most 20 s, until something holds.
#[track_caller]
pub(crate) fn eventually<'a, F: Future<Output = bool>>(
    what: &'a str,
    mut holds: impl FnMut() -> F + 'a,
) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let end = Instant::now() + Duration::from_secs(20);
        while !holds().await {
            assert!(Instant::now() < end, "not within 20 s: {what} ({caller})");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The records of a journal of a merger that does not run.
pub(crate) fn records(data: &Path, kind: &str, source: &str) -> Vec<Vec<u8>> {
    let digest = Sha256::digest(format!("prom-merger/{kind}/{source}"));
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    let storage = DiskStorage::open(data.join(kind).join(source)).unwrap();
    let config = JournalConfig::new(JournalId(id));
    let (journal, _) = Journal::open(storage, config, JournalHooks::default()).unwrap();
    let mut reader = journal.reader(Position::START);
    let (mut records, mut payload) = (Vec::new(), Vec::new());
    while reader.next(&mut payload).unwrap().is_some() {
        records.push(payload.clone());
    }
    records
}
