//! A tiny store that takes remote write and answers remote read, and a client that uses both.
//!
//! `cargo run` writes three samples in 2.0, reads them back streamed, and prints them.

use std::{collections::BTreeMap, error::Error, sync::Arc, sync::Mutex};

use prom_remote::{
    Label, LabelMatchers, Limits, Matcher, Query, Sample, TimeRange, WriteRequestBuilder,
    WriteRequestV2Builder, WriteRequestV2View, WriteRequestView,
};
use prom_remote_http::{
    ClientConfig, MessageBatch, NegotiationConfig, ReadClient, ReadFailure, ReadServer, ReadServerConfig,
    ReadSource, SeriesSink, WriteBody, WriteClient, WriteNegotiator, WriteOutcome, WriteServer,
    WriteServerConfig, WriteSink, WriteVersion,
};

type Labels = Vec<(Vec<u8>, Vec<u8>)>;

/// Samples by labels, in the order of time.
#[derive(Default)]
struct Store(Mutex<BTreeMap<Labels, BTreeMap<i64, Sample>>>);

impl Store {
    fn insert(&self, labels: Labels, samples: impl Iterator<Item = Sample>) {
        let mut series = self.0.lock().expect("not held by a panic");
        let samples = samples.map(|sample| (sample.timestamp_ms, sample));
        series.entry(labels).or_default().extend(samples);
    }

    fn take(&self, version: WriteVersion, message: &[u8]) -> Result<(), prom_remote::DecodeError> {
        let pair = |label: prom_remote::LabelView<'_>| (label.name.to_vec(), label.value.to_vec());
        match version {
            WriteVersion::V1 => {
                for series in WriteRequestView::new(message).series() {
                    let series = series?;
                    self.insert(series.labels().map(pair).collect(), series.samples());
                }
            }
            WriteVersion::V2 => {
                let request = WriteRequestV2View::new(message, &Limits::default())?;
                for series in request.series() {
                    let series = series?;
                    let labels = series.labels(request.symbols()).map(pair).collect();
                    self.insert(labels, series.samples().map(|sample| sample.sample));
                }
            }
        }
        Ok(())
    }
}

impl WriteSink for Store {
    async fn write(&self, _source: &str, body: WriteBody) -> WriteOutcome {
        let judged = body.judge(&Limits::default());
        let stored =
            judged.and_then(|judged| self.take(body.version, &judged.valid).map(|()| judged.outcome()));
        stored.unwrap_or_else(|error| WriteOutcome::Invalid { message: error.to_string() })
    }
}

impl ReadSource for Store {
    async fn read(&self, query: &Query, sink: &mut SeriesSink) -> Result<(), ReadFailure> {
        let matchers = LabelMatchers::new(&query.matchers)
            .map_err(|error| ReadFailure::Invalid { message: error.to_string() })?;
        let matching: Vec<_> = {
            let series = self.0.lock().expect("not held by a panic");
            let matches =
                |labels: &Labels| matchers.matches(labels.iter().map(|(name, value)| (name, value)));
            series.iter().filter(|(labels, _)| matches(labels)).map(|(a, b)| (a.clone(), b.clone())).collect()
        };
        for (labels, samples) in matching {
            let labels: Vec<_> = labels.into_iter().map(|(name, value)| Label { name, value }).collect();
            let inside = samples.range(query.range.start_ms()..query.range.end_ms());
            sink.series(&labels, &inside.map(|(_, sample)| *sample).collect::<Vec<_>>(), &[]).await?;
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = Arc::new(Store::default());
    let mut config = WriteServerConfig::default();
    config.accept_v2 = true;
    let write = WriteServer::new(Arc::clone(&store), config).router("/api/v1/write");
    let read = ReadServer::new(store, ReadServerConfig::default()).router("/api/v1/read");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/api/v1", listener.local_addr()?);
    let server = tokio::spawn(async move { axum::serve(listener, write.merge(read)).await });

    // The batch in both versions: which one goes out, the receiver decides.
    let labels = [("__name__", "temperature"), ("room", "kitchen")];
    let samples = [Sample::new(1_000, 20.5), Sample::new(2_000, 21.0), Sample::stale(3_000)];
    let (mut v1, mut v2) = (WriteRequestBuilder::new(), WriteRequestV2Builder::new());
    v1.series(labels, samples);
    v2.series(labels, samples);
    let client = WriteClient::new(ClientConfig::new(&format!("{url}/write"))?)?;
    let negotiator = WriteNegotiator::new(client, NegotiationConfig::default());
    let sent = negotiator.send(&MessageBatch::both(v1.finish(), v2.finish()), 0).await?;
    println!("sent as {:?}, written {:?}", sent.form, sent.written.counts);

    let query = Query {
        range: TimeRange::new(0, 10_000)?,
        matchers: vec![Matcher::equal("__name__", "temperature"), Matcher::regex("room", "k.*")],
    };
    let mut series = ReadClient::new(ClientConfig::new(&format!("{url}/read"))?)?.read(&[query]).await?;
    while let Some(answer) = series.next().await? {
        let samples: Vec<_> = answer.content?.samples.iter().map(|sample| sample.sample).collect();
        println!("read {samples:?} as {:?}", series.response_type());
        assert_eq!(samples, [Sample::new(1_000, 20.5), Sample::new(2_000, 21.0), Sample::stale(3_000)]);
    }
    server.abort();
    Ok(())
}
