//! Receives remote write 1.0 and 2.0 and shows what it got: `receiver --listen 127.0.0.1:9201`.
//!
//! Point a sender at `/api/v1/write`; `/samples` answers what came, one JSON object a series as it was received.

#![expect(clippy::print_stdout, reason = "a program says where it listens")]

use std::{
    error::Error,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::routing::get;
use prom_remote::{Limits, WriteRequestV2View, WriteRequestView};
use prom_remote_http::{WriteBody, WriteOutcome, WriteServer, WriteServerConfig, WriteSink, WriteVersion};
use serde_json::{Value, json};

/// Keeps series in memory, up to a bound.
#[derive(Default)]
struct Store(Mutex<Vec<Value>>);

const MAX_SERIES: usize = 1_000_000;

impl WriteSink for Store {
    async fn write(&self, _source: &str, body: WriteBody) -> WriteOutcome {
        let (judged, series) = match body.judge(&Limits::default()).and_then(|judged| {
            let series = series(body.version, &judged.valid)?;
            Ok((judged, series))
        }) {
            Ok(judged) => judged,
            Err(error) => return WriteOutcome::Invalid { message: error.to_string() },
        };
        let mut kept = self.0.lock().expect("no panic while it is held");
        if kept.len() + series.len() > MAX_SERIES {
            return WriteOutcome::Unavailable {
                retry_after: Duration::from_secs(60),
                message: "full".to_owned(),
            };
        }
        kept.extend(series);
        judged.outcome()
    }
}

fn series(version: WriteVersion, message: &[u8]) -> Result<Vec<Value>, prom_remote::DecodeError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let label = |(name, value): (&[u8], &[u8])| json!([text(name), text(value)]);
    let sample = |time: i64, bits: u64| json!({"t": time, "bits": bits.to_string()});
    let object = |labels: Vec<Value>, samples: Vec<Value>, histograms: Vec<i64>, exemplars: usize| json!({"labels": labels, "samples": samples, "histograms": histograms, "exemplars": exemplars});
    let mut all = Vec::new();
    match version {
        WriteVersion::V1 => {
            for series in WriteRequestView::new(message).series() {
                let series = series?;
                let labels = series.labels().map(|found| label((found.name, found.value))).collect();
                let samples =
                    series.samples().map(|found| sample(found.timestamp_ms, found.value_bits)).collect();
                let histograms = series.histograms().map(|histogram| histogram.timestamp_ms).collect();
                all.push(object(labels, samples, histograms, series.exemplar_count()));
            }
        }
        WriteVersion::V2 => {
            let request = WriteRequestV2View::new(message, &Limits::default())?;
            for series in request.series() {
                let series = series?;
                let labels =
                    series.labels(request.symbols()).map(|found| label((found.name, found.value))).collect();
                let samples =
                    series.samples().map(|found| sample(found.sample.timestamp_ms, found.sample.value_bits));
                let samples = samples.collect();
                let histograms = series.histograms().map(|histogram| histogram.timestamp_ms).collect();
                all.push(object(labels, samples, histograms, series.exemplar_count()));
            }
        }
    }
    Ok(all)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some("--listen"), Some(address)) = (arguments.next().as_deref(), arguments.next()) else {
        return Err("usage: receiver --listen ADDRESS".into());
    };
    let store = Arc::new(Store::default());
    let mut config = WriteServerConfig::default();
    config.accept_v2 = true;
    let router = WriteServer::new(Arc::clone(&store), config).router("/api/v1/write").route(
        "/samples",
        get(move || async move {
            Value::from(store.0.lock().expect("no panic while it is held").clone()).to_string()
        }),
    );
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}
