use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prom_remote::{
    Entry, HistogramView, Limits, Sample, StartedSample, WriteRequestV2View, WriteRequestView,
};
use prom_remote_http::{WriteBody, WriteOutcome, WriteServer, WriteServerConfig, WriteSink, WriteVersion};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    http::block_on,
    series::{Labels, Series, SeriesSet, text},
};

/// A server that keeps what real senders send it.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    sink: Arc<Sink>,
    server: JoinHandle<()>,
}

/// What came so far.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// All series.
    pub series: SeriesSet,
    /// How many requests came of 1.0 and of 2.0.
    pub requests: [usize; 2],
    /// Type and help by metric: the family in 1.0, the name of the series in 2.0.
    pub metadata: BTreeMap<String, (i32, String)>,
    /// The exemplars of 2.0: the labels of the series, their own, and what they say.
    pub exemplars: Vec<(Labels, Labels, Sample)>,
    /// How many samples and histograms came with the start of their counting.
    pub started: usize,
    /// What was refused or tolerated, which real senders should give no reason for.
    pub faults: Vec<String>,
}

#[derive(Debug, Default)]
struct Sink {
    received: Mutex<Received>,
    /// How many requests more are told to come again.
    refusals: AtomicUsize,
}

impl Receiver {
    /// Starts one for both versions.
    ///
    /// # Panics
    /// When no port is free.
    pub fn start() -> Self {
        let sink = Arc::new(Sink::default());
        let mut config = WriteServerConfig::default();
        config.accept_v2 = true;
        let router = WriteServer::new(Arc::clone(&sink), config).router("/api/v1/write");
        block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
            let address = listener.local_addr().expect("it is bound");
            let server = tokio::spawn(async move {
                axum::serve(listener, router).await.expect("the server runs until the test ends");
            });
            Self { address, sink, server }
        })
    }

    /// Where it takes remote write.
    pub fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// Tells the next `count` requests to come again.
    pub fn refuse(&self, count: usize) {
        self.sink.refusals.store(count, Ordering::SeqCst);
    }

    /// How many requests of those have not come yet.
    pub fn refusals_left(&self) -> usize {
        self.sink.refusals.load(Ordering::SeqCst)
    }

    /// What came so far.
    pub fn received(&self) -> Received {
        self.sink.lock().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl WriteSink for Sink {
    async fn write(&self, _source: &str, body: WriteBody) -> WriteOutcome {
        let one_less = |left: usize| left.checked_sub(1);
        if self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            let retry_after = Duration::from_secs(1);
            return WriteOutcome::Unavailable { retry_after, message: "come again".to_owned() };
        }
        let limits = Limits::default();
        let judged = body.judge(&limits).expect("the server has checked it with the same limits");
        let mut received = self.lock();
        received.faults.extend(judged.verdicts.iter().map(|verdict| format!("{verdict:?}")));
        match body.version {
            WriteVersion::V1 => received.take_v1(&judged.valid),
            WriteVersion::V2 => received.take_v2(&judged.valid),
        }
        judged.outcome()
    }
}

impl Sink {
    fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Received {
    fn take_v1(&mut self, message: &[u8]) {
        self.requests[0] += 1;
        for entry in WriteRequestView::new(message).entries() {
            match entry.expect("the server has checked it") {
                Entry::Series(series) => {
                    self.series.add(Series {
                        labels: text(series.labels().map(|label| (label.name, label.value))),
                        samples: series.samples().map(StartedSample::from).collect(),
                        histograms: histograms(series.histograms()),
                    });
                }
                Entry::Metadata(metadata) => {
                    let (family, help) = (lossy(metadata.family), lossy(metadata.help));
                    self.metadata.insert(family, (metadata.metric_type, help));
                }
                other => self.faults.push(format!("{other:?}")),
            }
        }
    }

    fn take_v2(&mut self, message: &[u8]) {
        self.requests[1] += 1;
        let request =
            WriteRequestV2View::new(message, &Limits::default()).expect("the server has checked it");
        let symbols = request.symbols();
        for series in request.series() {
            let series = series.expect("the server has checked it");
            let labels = text(series.labels(symbols).map(|label| (label.name, label.value)));
            self.exemplars.extend(series.exemplars().map(|exemplar| {
                let own = text(exemplar.labels(symbols).map(|label| (label.name, label.value)));
                (labels.clone(), own, exemplar.sample())
            }));
            self.started += series.start_timestamp_count();
            if let Some(metadata) = series.metadata() {
                let name = series.label(b"__name__", symbols).map(lossy).unwrap_or_default();
                let help = symbols.get(metadata.help).map(lossy).unwrap_or_default();
                self.metadata.insert(name, (metadata.metric_type, help));
            }
            let samples = series.samples().map(|sample| StartedSample {
                sample: sample.sample,
                start_timestamp_ms: sample.start_timestamp_ms,
            });
            self.series.add(Series {
                labels,
                samples: samples.collect(),
                histograms: histograms(series.histograms()),
            });
        }
    }
}

fn histograms<'a>(
    views: impl Iterator<Item = HistogramView<'a>>,
) -> Vec<prom_remote::prom_chunks::Histogram> {
    views.map(|view| view.decode(&Limits::default()).expect("the server has checked it")).collect()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
