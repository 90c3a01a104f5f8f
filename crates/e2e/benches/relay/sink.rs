use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::post,
};
use e2e::prometheus::free_address;
use prom_remote::{Limits, WriteRequestView, decompress};
use tokio::{net::TcpListener, runtime::Runtime};

/// Takes every request of 1.0, counts its samples and answers 204.
pub(crate) struct Sink {
    address: SocketAddr,
    counts: Arc<Counts>,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Counts {
    samples: AtomicU64,
    requests: AtomicU64,
    without_source: AtomicU64,
    first: Mutex<Option<Instant>>,
}

impl Sink {
    pub(crate) fn start() -> Self {
        let mut sink = Self { address: free_address(), counts: Arc::default(), runtime: None };
        sink.start_again();
        sink
    }

    pub(crate) fn start_again(&mut self) {
        *self.counts.first.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("the runtime starts");
        let router = Router::new()
            .route("/api/v1/write", post(take))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&self.counts));
        let listener = runtime.block_on(TcpListener::bind(self.address)).expect("the address is free");
        runtime.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        self.runtime = Some(runtime);
    }

    /// Closes the socket and every connection.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// The samples taken so far, each series with the label `source`.
    pub(crate) fn samples(&self) -> u64 {
        assert_eq!(self.counts.without_source.load(Ordering::SeqCst), 0, "series without source=\"bench\"");
        self.counts.samples.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::SeqCst)
    }

    /// When the first request came since it was started.
    pub(crate) fn first_delivery(&self) -> Option<Instant> {
        *self.counts.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn take(State(counts): State<Arc<Counts>>, block: Bytes) -> StatusCode {
    let mut limits = Limits::default();
    limits.max_decoded_bytes = 64 << 20;
    let mut message = Vec::new();
    if decompress(&block, &limits, &mut message).is_err() {
        return StatusCode::BAD_REQUEST;
    }
    let (mut samples, mut without_source) = (0, 0);
    for series in WriteRequestView::new(&message).series() {
        let Ok(series) = series else { return StatusCode::BAD_REQUEST };
        samples += series.sample_count() as u64;
        without_source += u64::from(series.label(b"source") != Some(b"bench"));
    }
    counts.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    counts.without_source.fetch_add(without_source, Ordering::SeqCst);
    counts.requests.fetch_add(1, Ordering::SeqCst);
    counts.samples.fetch_add(samples, Ordering::SeqCst);
    StatusCode::NO_CONTENT
}
