//! Receives remote write 1.0 and 2.0 and shows what it got: `receiver --listen 127.0.0.1:9201`.
//!
//! Point a sender at `/api/v1/write`; `/samples` answers what came, an object for each series as it was received.

#![expect(clippy::print_stdout, reason = "a program says where it listens")]

mod series_json;

use std::{error::Error, sync::Arc, sync::Mutex, time::Duration};

use prom_remote::{DecodeError, Limits};
use prom_remote_http::{WriteBody, WriteOutcome, WriteServer, WriteServerConfig, WriteSink};
use serde_json::Value;

/// Keeps a million series in memory.
#[derive(Default)]
struct Store(Mutex<Vec<Value>>);

impl WriteSink for Store {
    async fn write(&self, _source: &str, body: WriteBody) -> WriteOutcome {
        self.take(&body).unwrap_or_else(|error| WriteOutcome::Invalid { message: error.to_string() })
    }
}

impl Store {
    fn take(&self, body: &WriteBody) -> Result<WriteOutcome, DecodeError> {
        let judged = body.judge(&Limits::default())?;
        let series = series_json::series(body.version, &judged.valid)?;
        let mut kept = self.0.lock().expect("no panic while it is held");
        if kept.len() + series.len() > 1_000_000 {
            let retry_after = Duration::from_secs(60);
            return Ok(WriteOutcome::Unavailable { retry_after, message: "full".to_owned() });
        }
        kept.extend(series);
        Ok(judged.outcome())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(2).ok_or("usage: receiver --listen ADDRESS")?;
    let store = Arc::new(Store::default());
    let mut config = WriteServerConfig::default();
    config.accept_v2 = true;
    let router = WriteServer::new(Arc::clone(&store), config).router("/api/v1/write");
    let samples = move || async move { Value::from(store.0.lock().expect("no panic").clone()).to_string() };
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    Ok(axum::serve(listener, router.route("/samples", axum::routing::get(samples))).await?)
}
