//! Servers on free ports and small payloads.

use std::{net::SocketAddr, sync::Mutex};

use axum::Router;
use prom_remote::{Sample, WriteRequestBuilder};
use prom_remote_http::{WriteBody, WriteOutcome, WriteSink};
use tokio::net::TcpListener;

/// Serves on a free port until the test's runtime ends.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A request of one series and one sample.
pub(crate) fn small_request() -> Vec<u8> {
    let mut builder = WriteRequestBuilder::new();
    builder.series([("__name__", "up"), ("job", "kafka")], [Sample::new(1_700_000_000_000, 1.0)]);
    builder.finish()
}

pub(crate) fn compress(message: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    prom_remote::Compressor::new().compress(message, &mut block).unwrap();
    block
}

/// Keeps what it is given and answers the same to each.
pub(crate) struct Recorder {
    pub(crate) outcome: WriteOutcome,
    pub(crate) received: Mutex<Vec<(String, WriteBody)>>,
}

impl Recorder {
    pub(crate) fn answering(outcome: WriteOutcome) -> Self {
        Self { outcome, received: Mutex::default() }
    }
}

impl WriteSink for Recorder {
    async fn write(&self, source: &str, body: WriteBody) -> WriteOutcome {
        self.received.lock().unwrap().push((source.to_owned(), body));
        self.outcome.clone()
    }
}
