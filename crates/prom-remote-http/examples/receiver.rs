//! Receives remote write 1.0 and 2.0 and shows what it got: `receiver --listen 127.0.0.1:9201`.
//!
//! Point a sender at `/api/v1/write`; `/samples` answers what came, an object for each series as it was received.

#![expect(clippy::print_stdout, reason = "a program says where it listens")]

use std::{error::Error, sync::Arc, sync::Mutex, time::Duration};

use axum::routing::get;
use prom_remote::{
    DecodeError, HistogramView, LabelView, Limits, Sample, WriteRequestV2View, WriteRequestView,
};
use prom_remote_http::{WriteBody, WriteOutcome, WriteServer, WriteServerConfig, WriteSink, WriteVersion};
use serde_json::{Value, json};

/// Keeps series in memory, up to a bound.
#[derive(Default)]
struct Store(Mutex<Vec<Value>>);

const MAX_SERIES: usize = 1_000_000;

impl WriteSink for Store {
    async fn write(&self, _source: &str, body: WriteBody) -> WriteOutcome {
        let limits = Limits::default();
        let judged = body
            .judge(&limits)
            .and_then(|judged| Ok((series(body.version, &judged.valid, &limits)?, judged)));
        let (series, judged) = match judged {
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

fn series(version: WriteVersion, message: &[u8], limits: &Limits) -> Result<Vec<Value>, DecodeError> {
    match version {
        WriteVersion::V1 => WriteRequestView::new(message)
            .series()
            .map(|series| series.map(|series| object(series.labels(), series.samples(), series.histograms())))
            .collect(),
        WriteVersion::V2 => {
            let request = WriteRequestV2View::new(message, limits)?;
            let object = |series: prom_remote::SeriesV2View<'_>| {
                let samples = series.samples().map(|sample| sample.sample);
                object(series.labels(request.symbols()), samples, series.histograms())
            };
            request.series().map(|series| series.map(object)).collect()
        }
    }
}

fn object<'a>(
    labels: impl Iterator<Item = LabelView<'a>>,
    samples: impl Iterator<Item = Sample>,
    histograms: impl Iterator<Item = HistogramView<'a>>,
) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let labels: Vec<_> = labels.map(|label| json!([text(label.name), text(label.value)])).collect();
    let sample = |sample: Sample| json!({"t": sample.timestamp_ms, "bits": sample.value_bits.to_string()});
    let histograms: Vec<_> = histograms.map(|histogram| json!({"t": histogram.timestamp_ms})).collect();
    json!({"labels": labels, "samples": samples.map(sample).collect::<Vec<_>>(), "histograms": histograms})
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let ["--listen", address] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
        return Err("usage: receiver --listen ADDRESS".into());
    };
    let store = Arc::new(Store::default());
    let mut config = WriteServerConfig::default();
    config.accept_v2 = true;
    let server = WriteServer::new(Arc::clone(&store), config);
    let samples = move || async move { Value::from(store.0.lock().expect("not held").clone()).to_string() };
    let router = server.router("/api/v1/write").route("/samples", get(samples));
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}
