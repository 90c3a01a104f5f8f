use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use e2e::http::block_on;
use hdrhistogram::Histogram;
use tokio::time::{Instant, sleep_until};

/// Senders at a time, where the rate is not fixed.
const SENDERS: usize = 4;
/// A request that a relay has no room for is sent again after this.
const PAUSE: Duration = Duration::from_millis(20);

/// Sends requests of remote write 1.0.
#[derive(Clone)]
pub(crate) struct Sender {
    client: reqwest::Client,
    url: String,
}

impl Sender {
    pub(crate) fn new(url: String) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().expect("the client is sound");
        Self { client, url }
    }

    /// Sends all requests in their order by a few senders, each as soon as the one before it is acknowledged.
    pub(crate) fn send_all(&self, requests: &[Bytes]) {
        let (next, requests): (_, Arc<[Bytes]>) = (Arc::new(AtomicUsize::new(0)), requests.into());
        let senders = (0..SENDERS).map(|_| {
            let (sender, next, requests) = (self.clone(), Arc::clone(&next), Arc::clone(&requests));
            async move {
                while let Some(request) = requests.get(next.fetch_add(1, Ordering::SeqCst)) {
                    sender.send(request).await;
                }
            }
        });
        block_on(async {
            let senders: Vec<_> = senders.map(tokio::spawn).collect();
            for sender in senders {
                sender.await.expect("a sender sends all");
            }
        });
    }

    /// Sends a request each `interval`; the time to its acknowledgement, from when it should have been sent, in
    /// microseconds.
    pub(crate) fn send_at_rate(&self, requests: &[Bytes], interval: Duration) -> Histogram<u64> {
        block_on(async {
            let begin = Instant::now();
            let mut sent = Vec::with_capacity(requests.len());
            for (index, request) in requests.iter().enumerate() {
                let due = begin + interval * u32::try_from(index).expect("some thousands");
                sleep_until(due).await;
                let (sender, request) = (self.clone(), request.clone());
                sent.push(tokio::spawn(async move {
                    sender.send(&request).await;
                    due.elapsed()
                }));
            }
            let mut histogram = Histogram::new(3).expect("three digits can be had");
            for sent in sent {
                let micros = sent.await.expect("a request is acknowledged").as_micros();
                histogram.record(u64::try_from(micros).expect("a short time")).expect("it grows");
            }
            histogram
        })
    }

    /// Sends a request until it is acknowledged.
    async fn send(&self, request: &Bytes) {
        loop {
            let sent = self
                .client
                .post(&self.url)
                .header("content-type", "application/x-protobuf")
                .header("content-encoding", "snappy")
                .header("x-prometheus-remote-write-version", "0.1.0")
                .body(request.clone())
                .send()
                .await
                .expect("the relay answers");
            match sent.status().as_u16() {
                200..300 => return,
                429 | 503 => tokio::time::sleep(PAUSE).await,
                status => panic!("the relay answers {status}: {}", sent.text().await.unwrap_or_default()),
            }
        }
    }
}
