use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::Router;
use e2e::http::block_on;
use prom_remote_http::{WriteBody, WriteOutcome, WriteServer, WriteServerConfig, WriteSink, WriteVersion};
use tokio::net::TcpListener;

/// Samples of a full request: Prometheus' own default.
pub(crate) const SAMPLES: usize = 2_000;
/// So many requests are kept of each exporter and version.
const KEPT: usize = 3;
/// So many come before, while everything starts.
const SKIPPED: usize = 2;

/// Keeps the last full requests of each sender as they came.
pub(crate) struct Recorder {
    address: SocketAddr,
    sink: Arc<Sink>,
}

#[derive(Default)]
struct Sink(Mutex<HashMap<(String, WriteVersion), Seen>>);

#[derive(Default)]
struct Seen {
    full: usize,
    all: usize,
    last: VecDeque<Vec<u8>>,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        let sink = Arc::new(Sink::default());
        let mut config = WriteServerConfig::default();
        config.accept_v2 = true;
        let server: Router = WriteServer::new(Arc::clone(&sink), config).router("/{source}");
        let address = block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
            let address = listener.local_addr().expect("it is bound");
            tokio::spawn(async move { axum::serve(listener, server).await.expect("it serves") });
            address
        });
        Self { address, sink }
    }

    pub(crate) fn url(&self, exporter: &str) -> String {
        format!("http://{}/{exporter}", self.address)
    }

    /// The last full requests, once enough have come.
    pub(crate) fn full(&self, exporter: &str, version: WriteVersion) -> Result<Vec<Vec<u8>>, String> {
        let seen = self.sink.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (exporter.to_owned(), version);
        let Some(seen) = seen.get(&key) else { return Err(format!("{exporter}: no request of {version:?}")) };
        if seen.full < SKIPPED + KEPT {
            return Err(format!("{exporter}: {} full of {} requests of {version:?}", seen.full, seen.all));
        }
        Ok(seen.last.iter().cloned().collect())
    }
}

impl WriteSink for Sink {
    async fn write(&self, source: &str, body: WriteBody) -> WriteOutcome {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.entry((source.to_owned(), body.version)).or_default();
        seen.all += 1;
        if (body.summary.samples, body.summary.series) == (SAMPLES, SAMPLES) {
            seen.full += 1;
            seen.last.push_back(body.compressed.to_vec());
            if seen.last.len() > KEPT {
                seen.last.pop_front();
            }
        }
        WriteOutcome::Stored
    }
}
