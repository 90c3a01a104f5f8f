use std::{net::SocketAddr, sync::Arc};

use prom_remote::{Label, LabelMatchers, Query, Sample, prom_chunks::Histogram};
use prom_remote_http::{ReadFailure, ReadServer, ReadServerConfig, ReadSource, SeriesSink};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{http::block_on, series::Series};

/// A server that answers remote reads out of a list of series.
#[derive(Debug)]
pub struct Store {
    address: SocketAddr,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Source(Vec<Series>);

impl Store {
    /// Starts one for `series`.
    ///
    /// # Panics
    /// When no port is free.
    pub fn start(mut series: Vec<Series>) -> Self {
        series.sort_by(|one, other| one.labels.cmp(&other.labels));
        let server = ReadServer::new(Arc::new(Source(series)), ReadServerConfig::default());
        let router = server.router("/api/v1/read");
        block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
            let address = listener.local_addr().expect("it is bound");
            let server = tokio::spawn(async move {
                axum::serve(listener, router).await.expect("the server runs until the test ends");
            });
            Self { address, server }
        })
    }

    /// Where it takes remote read.
    pub fn url(&self) -> String {
        format!("http://{}/api/v1/read", self.address)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl ReadSource for Source {
    async fn read(&self, query: &Query, sink: &mut SeriesSink) -> Result<(), ReadFailure> {
        let matchers = LabelMatchers::new(&query.matchers)
            .map_err(|error| ReadFailure::Invalid { message: error.to_string() })?;
        for series in &self.0 {
            if !matchers.matches(series.labels.iter()) {
                continue;
            }
            let labels = series.labels.iter().map(|(name, value)| Label {
                name: name.clone().into_bytes(),
                value: value.clone().into_bytes(),
            });
            let labels: Vec<_> = labels.collect();
            let samples = series.samples.iter().map(|sample| sample.sample);
            let samples: Vec<Sample> =
                samples.filter(|sample| query.range.contains(sample.timestamp_ms)).collect();
            let histograms = series.histograms.iter();
            let histograms: Vec<Histogram> = histograms
                .filter(|histogram| query.range.contains(histogram.timestamp_ms))
                .cloned()
                .collect();
            sink.series(&labels, &samples, &histograms).await?;
        }
        Ok(())
    }
}
