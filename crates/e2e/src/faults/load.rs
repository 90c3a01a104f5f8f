//! Senders: each sends one request after another, the same one again until it is acknowledged, and notes both in the ledger.
//! Some requests in a row are of remote write 1.0, then as many of 2.0.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use prom_remote::{CompressionError, STALE_MARKER_BITS, Sample, WriteRequestBuilder, WriteRequestV2Builder};
use prom_remote_http::{ClientConfig, WriteClient, WriteError, WriteForm, WriteRequest};

use super::ledger::Ledger;
use crate::{http::block_on, series::Labels};

/// One sender.
#[derive(Debug)]
pub(super) struct Sender {
    client: WriteClient,
    ledger: Arc<Ledger>,
    shape: Shape,
    series: Vec<Labels>,
    next: u64,
    pending: Option<Pending>,
    /// How long answers to acknowledged requests took.
    pub(super) latencies: Vec<Duration>,
}

/// What its requests look like.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// The case, a label of every series.
    pub(super) case: String,
    /// The source, a label too: `origin`.
    pub(super) source: String,
    /// Series in a request, one sample each.
    pub(super) series: u64,
    /// Bytes of a label that does not compress.
    pub(super) noise: usize,
    /// The time of the first request's samples, in milliseconds since the epoch.
    pub(super) begin_ms: i64,
    /// Between one request and the next.
    pub(super) step_ms: i64,
    /// Every so many requests, one more series that no merger takes.
    pub(super) spoiled_every: Option<u64>,
}

#[derive(Debug)]
struct Pending {
    number: u64,
    form: WriteForm,
    body: Vec<u8>,
}

/// What a sender was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// The request is stored, or all of it that is valid.
    Stored,
    /// Try again.
    Again(String),
    /// The request is refused for good, and the sender goes on to the next.
    Refused(String),
}

impl Shape {
    /// Twenty small series, a sample a second from half an hour ago on.
    pub(super) fn new(case: &str, source: &str) -> Self {
        Self {
            case: case.to_owned(),
            source: source.to_owned(),
            series: 20,
            noise: 0,
            begin_ms: now_ms() - 1_800_000,
            step_ms: 100,
            spoiled_every: None,
        }
    }
}

impl Sender {
    /// Sends to the merger at `base`.
    ///
    /// # Panics
    /// When the address is not sound.
    pub(super) fn new(base: &str, shape: Shape, ledger: &Arc<Ledger>) -> Self {
        let series = (0..shape.series).map(|number| shape.labels(number)).collect();
        let ledger = Arc::clone(ledger);
        let client = client(base, &shape.source);
        Self { client, ledger, shape, series, next: 0, pending: None, latencies: Vec::new() }
    }

    /// Sends to another address from now on.
    pub(super) fn move_to(&mut self, base: &str) {
        self.client = client(base, &self.shape.source);
    }

    /// Requests that were acknowledged or refused so far.
    pub(super) fn done(&self) -> u64 {
        self.next - u64::from(self.pending.is_some())
    }

    /// Sends the next request, or once more the one that is not acknowledged yet.
    pub(super) async fn send(&mut self) -> Told {
        let pending = match self.pending.take() {
            Some(pending) => pending,
            None => self.prepare(),
        };
        let begun = Instant::now();
        let request = WriteRequest::new(pending.form, pending.body.clone().into());
        let told = match self.client.send(request).await {
            Ok(written) if written.counts.is_some_and(|counts| counts.samples != self.shape.series) => {
                Told::Refused(format!("of {} samples {:?} are written", self.shape.series, written.counts))
            }
            Ok(_) => Told::Stored,
            Err(
                WriteError::Rejected { status: 400, message }
                | WriteError::Partial { status: 400, message, .. },
            ) if self.shape.is_spoiled(pending.number) && message.contains("the others are stored") => {
                Told::Stored
            }
            Err(
                WriteError::Rejected { status: 400, message }
                | WriteError::Partial { status: 400, message, .. },
            ) => Told::Refused(message),
            Err(error) => Told::Again(error.to_string()),
        };
        match told {
            Told::Stored => {
                self.latencies.push(begun.elapsed());
                let time = self.shape.time(pending.number);
                self.series.iter().for_each(|labels| self.ledger.acknowledge(labels, time));
            }
            Told::Again(_) => self.pending = Some(pending),
            Told::Refused(_) => {}
        }
        told
    }

    /// Counts the request before as acknowledged after all: the merger has it, among its dead letters.
    pub(super) fn note_set_aside(&self) {
        let time = self.shape.time(self.next.saturating_sub(1));
        self.series.iter().for_each(|labels| self.ledger.acknowledge(labels, time));
    }

    /// Sends until so many requests are done.
    ///
    /// # Errors
    /// They were not within `limit`; the last thing that was told.
    pub(super) async fn send_until(&mut self, done: u64, limit: Duration) -> Result<(), String> {
        let end = Instant::now() + limit;
        let mut last = String::new();
        while self.done() < done {
            if Instant::now() > end {
                return Err(format!("{} of {done} requests are done after {limit:?}: {last}", self.done()));
            }
            if let Told::Again(why) = self.send().await {
                last = why;
                tokio::time::sleep(AGAIN).await;
            }
        }
        Ok(())
    }

    /// Sends until told to stop, a request every `pace`; what is not acknowledged then is sent again later.
    pub(super) async fn run(&mut self, stop: &AtomicBool, pace: Duration) {
        while !stop.load(Ordering::Relaxed) {
            if !matches!(self.send().await, Told::Stored) {
                tokio::time::sleep(AGAIN).await;
            }
            tokio::time::sleep(pace).await;
        }
    }

    fn prepare(&mut self) -> Pending {
        let number = self.next;
        self.next += 1;
        let timestamp_ms = self.shape.time(number);
        let mut series = Vec::with_capacity(self.series.len());
        for (index, labels) in self.series.iter().enumerate() {
            let value_bits = value_bits(number * self.shape.series + index as u64);
            self.ledger.attempt(labels, timestamp_ms, value_bits);
            let labels: Vec<_> = labels.iter().map(|(name, value)| (&name[..], &value[..])).collect();
            series.push((labels, Sample { timestamp_ms, value_bits }));
        }
        if self.shape.is_spoiled(number) {
            let labels = vec![("__name__", "faults_spoiled"), ("a", "1"), ("a", "2")];
            series.push((labels, Sample::new(timestamp_ms, 1.0)));
        }
        let form = if (number / IN_A_ROW).is_multiple_of(2) { WriteForm::V1 } else { WriteForm::V2 };
        let body = encode(form, series).expect("the request is small");
        Pending { number, form, body }
    }
}

impl Shape {
    fn labels(&self, number: u64) -> Labels {
        let mut labels: Labels = [
            ("__name__", "faults_value"),
            ("case", &self.case),
            ("origin", &self.source),
            ("number", &number.to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        if self.noise > 0 {
            let mut dice = super::dice::Dice::new(number + 1);
            let noise: String =
                (0..self.noise.div_ceil(16)).map(|_| format!("{:016x}", dice.roll())).collect();
            labels.insert("noise".to_owned(), noise);
        }
        labels
    }

    fn time(&self, number: u64) -> i64 {
        self.begin_ms + i64::try_from(number).unwrap_or(i64::MAX).saturating_mul(self.step_ms)
    }

    fn is_spoiled(&self, number: u64) -> bool {
        self.spoiled_every.is_some_and(|every| number % every == every - 1)
    }
}

/// Runs `work` while senders send in the background, and gives them back.
///
/// # Panics
/// When a sender did.
pub(super) fn under_load<T>(
    senders: Vec<Sender>,
    pace: Duration,
    work: impl FnOnce() -> T,
) -> (Vec<Sender>, T) {
    let stop = Arc::new(AtomicBool::new(false));
    let running: Vec<_> = senders
        .into_iter()
        .map(|mut sender| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                block_on(sender.run(&stop, pace));
                sender
            })
        })
        .collect();
    let result = work();
    stop.store(true, Ordering::Relaxed);
    let senders = running.into_iter().map(|sender| sender.join().expect("a sender ends well")).collect();
    (senders, result)
}

/// Sends what is not acknowledged yet.
///
/// # Errors
/// It is not taken within `limit`.
pub(super) fn finish(senders: &mut [Sender], limit: Duration) -> Result<(), String> {
    for sender in senders {
        let done = sender.next;
        block_on(sender.send_until(done, limit))?;
    }
    Ok(())
}

/// The present time, in milliseconds since the epoch.
///
/// # Panics
/// When the clock is before the epoch.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is right");
    i64::try_from(since.as_millis()).expect("a time of this age")
}

/// Ordinary values, and some whose bits get lost easily. Not -0, which the messages of Go programs do not carry.
fn value_bits(number: u64) -> u64 {
    const ODD: [u64; 6] = [
        STALE_MARKER_BITS,
        0x7ff8_0000_0000_0001,
        0x7ff8_0000_dead_beef,
        0x7ff0_0000_0000_0000,
        0x0000_0000_0000_0001,
        0x0010_0000_0000_0000,
    ];
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let odd = usize::try_from(mixed >> 58).ok().and_then(|index| ODD.get(index));
    odd.copied().unwrap_or_else(|| ((mixed >> 1) as f64 / 1e6).to_bits())
}

fn encode(form: WriteForm, series: Vec<(Vec<(&str, &str)>, Sample)>) -> Result<Vec<u8>, CompressionError> {
    if form == WriteForm::V2 {
        let mut builder = WriteRequestV2Builder::new();
        for (labels, sample) in series {
            builder.series(labels, [sample]);
        }
        return builder.finish_compressed();
    }
    let mut builder = WriteRequestBuilder::new();
    for (labels, sample) in series {
        builder.series(labels, [sample]);
    }
    builder.finish_compressed()
}

fn client(base: &str, source: &str) -> WriteClient {
    let mut config = ClientConfig::new(&format!("{base}/api/v1/write/{source}")).expect("an http address");
    config.timeout = Duration::from_secs(10);
    WriteClient::new(config).expect("a sound client")
}

/// Requests of one version before those of the other come: enough that what waits goes out together.
const IN_A_ROW: u64 = 4;
/// Between two attempts at a request.
const AGAIN: Duration = Duration::from_millis(20);
