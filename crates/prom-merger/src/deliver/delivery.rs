//! One record on its way: sent until the destination has it, or what is left of it is a dead letter.

use bytes::Bytes;
use prom_remote::{Summary, WriteRequestView};
use prom_remote_http::{WriteError, Written};
use tokio::{select, time::timeout};
use tracing::{debug, error, info, warn};

use super::{
    Refusal, SEND_GRACE, Verdict,
    backoff::Backoff,
    bench::{Outgoing, decode},
    isolate::{Culprits, halves},
    judge,
    lane::{Lane, LaneError},
    probe::ProbeOutcome,
    read_back,
};
use crate::{ingest::sample_count, metrics::FailureClass};

/// The state of one record.
pub(super) struct Delivery<'a> {
    lane: &'a Lane,
    backoff: &'a mut Backoff,
    /// An attempt whose answer did not come, or an earlier run, may have stored a part.
    may_be_stored: bool,
    /// How often a part of the record was refused.
    refusals: usize,
    /// Refused, and not proven yet: the destination has taken nothing since.
    suspects: Vec<(Vec<u8>, Refusal)>,
    culprits: Culprits,
}

/// What the destination says at last.
enum Judged {
    Taken,
    Refused(Refusal),
}

/// A part of a record, without the label.
struct Part {
    message: Vec<u8>,
    /// Set if the destination has judged it already.
    refusal: Option<Refusal>,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(lane: &'a Lane, backoff: &'a mut Backoff, may_be_stored: bool) -> Self {
        let (refusals, suspects, culprits) = (0, Vec::new(), Culprits::default());
        Self { lane, backoff, may_be_stored, refusals, suspects, culprits }
    }

    /// Sends a request of the record at hand.
    pub(super) async fn send(&mut self, outgoing: Outgoing, payload: &[u8]) -> Result<(), LaneError> {
        let Outgoing { body, summary, raw } = outgoing;
        match self.until_judged(&body, &summary, SERVER_TRIES).await? {
            Judged::Taken => Ok(()),
            Judged::Refused(refusal) => {
                let message = match raw {
                    Some(raw) => raw,
                    None => {
                        let mut message = Vec::new();
                        // It was decoded before it was sent.
                        decode(payload, &self.lane.source.limits, &mut message).map_err(LaneError::Part)?;
                        message
                    }
                };
                self.isolate(message, refusal).await
            }
        }
    }

    /// Sends until the destination takes the request or refuses it for good. A server that fails so many `tries` at it,
    /// and takes a probe, refuses it.
    async fn until_judged(
        &mut self,
        body: &Bytes,
        summary: &Summary,
        tries: usize,
    ) -> Result<Judged, LaneError> {
        let (source, metrics) = (self.lane.source.name.as_str(), &self.lane.source.metrics);
        let mut server_failures = 0;
        loop {
            let Some(sent) = self.attempt(body.clone()).await else { return Err(LaneError::Stopped) };
            let Err(error) = sent else {
                if self.backoff.failures() > 0 {
                    info!(source, failures = self.backoff.failures(), "destination takes requests again");
                    self.backoff.reset();
                }
                metrics.is_blocked.set(false);
                metrics.delivered_requests.add(1);
                metrics.delivered_samples.add(sample_count(summary));
                if let Some(bounds) = summary.timestamps {
                    metrics.last_delivered.raise(bounds.max_ms);
                }
                return Ok(Judged::Taken);
            };
            match judge(&error) {
                Verdict::Again { class, after, failure } => {
                    metrics.count_failure(class);
                    metrics.is_blocked.set(class == FailureClass::Destination);
                    self.may_be_stored |= matches!(class, FailureClass::Network | FailureClass::Server);
                    server_failures += usize::from(failure.is_some());
                    if let Some(refusal) = failure
                        && server_failures >= tries
                        && matches!(self.probe().await?, ProbeOutcome::Taken)
                    {
                        return Ok(Judged::Refused(refusal));
                    }
                    let wait = self.backoff.next(after);
                    match self.backoff.failures() {
                        1 if class == FailureClass::Destination => {
                            error!(source, %error, "destination is misconfigured, keeping everything");
                        }
                        1 => warn!(source, %error, "delivery failed, trying again"),
                        failures => debug!(source, %error, failures, "delivery failed again"),
                    }
                    self.lane.pause(wait).await?;
                    metrics.retries.add(1);
                }
                Verdict::Refused(refusal) => {
                    metrics.count_failure(FailureClass::Rejected);
                    self.refusals += 1;
                    return Ok(Judged::Refused(refusal));
                }
            }
        }
    }

    /// One attempt; `None` when it did not end soon after the lane was told to stop.
    async fn attempt(&self, body: Bytes) -> Option<Result<Written, WriteError>> {
        let sending = self.lane.client.send_v1(body);
        tokio::pin!(sending);
        select! {
            sent = &mut sending => Some(sent),
            () = self.lane.stop.cancelled() => timeout(SEND_GRACE, sending).await.ok(),
        }
    }

    /// Finds what of a refused request the destination does not take, and delivers the rest, in its order.
    async fn isolate(&mut self, message: Vec<u8>, refusal: Refusal) -> Result<(), LaneError> {
        let metrics = &self.lane.source.metrics;
        metrics.isolated_requests.add(1);
        let waited = self.until_probe_is_taken(&refusal).await?;
        let whole = self.without_stored(message).await?;
        // What was refused by a destination that refused a probe too was not judged, and the rest of a stored one neither.
        let is_judged = !waited && !whole.is_shorter;
        let refusal = is_judged.then_some(refusal);
        let mut stack = Vec::new();
        if !whole.message.is_empty() {
            stack.push(Part { message: whole.message, refusal });
        }
        loop {
            if stack.is_empty() || self.has_many_suspects() {
                self.prove_suspects(&mut stack).await?;
            }
            let Some(part) = stack.pop() else { break };
            let refusal = match part.refusal {
                Some(refusal) => refusal,
                None => match self.try_part(&part.message).await? {
                    Judged::Taken => {
                        self.convict();
                        continue;
                    }
                    Judged::Refused(refusal) => refusal,
                },
            };
            let cut = if self.refusals < self.lane.split_attempts {
                halves(&part.message).map_err(|error| LaneError::Part(error.to_string()))?
            } else {
                metrics.unfinished_isolations.add(1);
                None
            };
            match cut {
                Some([left, right]) => {
                    stack.extend([right, left].map(|message| Part { message, refusal: None }));
                }
                None => self.suspects.push((part.message, refusal)),
            }
            if self.culprits.bytes() > MAX_HELD_BYTES {
                self.bury().await?;
            }
        }
        self.bury().await
    }

    async fn try_part(&mut self, message: &[u8]) -> Result<Judged, LaneError> {
        let source = &self.lane.source;
        source.metrics.isolation_attempts.add(1);
        let body = source.outgoing_body(message).map_err(LaneError::Part)?;
        let summary = WriteRequestView::new(message)
            .summary(&source.limits)
            .map_err(|error| LaneError::Part(error.to_string()))?;
        // A whole that failed is cut at once; what cannot be cut gets its tries.
        let is_last = summary.samples + summary.histograms <= 1;
        self.until_judged(&body, &summary, if is_last { SERVER_TRIES } else { 1 }).await
    }

    fn has_many_suspects(&self) -> bool {
        let bytes: usize = self.suspects.iter().map(|(message, _)| message.len()).sum();
        self.suspects.len() >= MAX_SUSPECTS || bytes > MAX_HELD_BYTES
    }

    /// A probe tells whether the suspects are culprits. Those of a destination that refuses the probe too are tried again.
    async fn prove_suspects(&mut self, stack: &mut Vec<Part>) -> Result<(), LaneError> {
        let Some((_, refusal)) = self.suspects.first() else { return Ok(()) };
        let refusal = refusal.clone();
        if self.until_probe_is_taken(&refusal).await? {
            let again = self.suspects.drain(..).rev();
            stack.extend(again.map(|(message, _)| Part { message, refusal: None }));
        } else {
            self.convict();
        }
        Ok(())
    }

    /// The destination takes data: what it refused before is a culprit.
    fn convict(&mut self) {
        for (message, refusal) in self.suspects.drain(..) {
            self.culprits.add(refusal, &message);
        }
    }

    /// Waits until the destination takes a probe; tells whether it did not at once.
    async fn until_probe_is_taken(&mut self, refusal: &Refusal) -> Result<bool, LaneError> {
        let (source, metrics) = (self.lane.source.name.as_str(), &self.lane.source.metrics);
        let mut waited = false;
        let mut is_told = false;
        loop {
            match self.probe().await? {
                ProbeOutcome::Taken => {
                    metrics.is_blocked.set(false);
                    if waited {
                        info!(source, "destination takes a probe again, the lane goes on");
                        self.backoff.reset();
                    }
                    return Ok(waited);
                }
                ProbeOutcome::Refused(words) => {
                    metrics.is_blocked.set(true);
                    if !is_told {
                        let (status, reason) = (refusal.status, &refusal.message);
                        error!(
                            source,
                            status,
                            reason,
                            probe = words,
                            "destination refuses a harmless probe too: the lane stops and keeps everything"
                        );
                        is_told = true;
                    }
                }
                ProbeOutcome::Unknown(error) => {
                    warn!(source, %error, "destination does not judge a probe, trying again");
                }
            }
            waited = true;
            let wait = self.backoff.next(None);
            self.lane.pause(wait).await?;
        }
    }

    async fn probe(&self) -> Result<ProbeOutcome, LaneError> {
        let sending = self.lane.probe.send(&self.lane.client, &self.lane.source);
        select! {
            outcome = sending => Ok(outcome),
            () = self.lane.stop.cancelled() => Err(LaneError::Stopped),
        }
    }

    /// Takes out what the destination has already, if a former attempt may have stored it.
    async fn without_stored(&self, message: Vec<u8>) -> Result<Rest, LaneError> {
        let unchanged = |message| Ok(Rest { message, is_shorter: false });
        let Some(reader) = self.lane.reader.as_ref().filter(|_| self.may_be_stored) else {
            return unchanged(message);
        };
        let source = &self.lane.source;
        for _ in 0..READ_TRIES {
            let asking = read_back::missing(reader, source, &message);
            let answer = select! {
                answer = asking => answer,
                () = self.lane.stop.cancelled() => return Err(LaneError::Stopped),
            };
            match answer {
                Ok(missing) if missing.stored == 0 => return unchanged(message),
                Ok(missing) => {
                    source.metrics.already_stored.add(missing.stored as u64);
                    info!(
                        source = source.name,
                        samples = missing.stored,
                        "refused samples are stored already"
                    );
                    return Ok(Rest { message: missing.rest, is_shorter: true });
                }
                Err(error) => {
                    source.metrics.read_back_failures.add(1);
                    warn!(source = source.name, error, "destination cannot be asked what it has");
                    self.lane.pause(READ_PAUSE).await?;
                }
            }
        }
        unchanged(message)
    }

    /// Makes dead letters of the culprits, one for each of the receiver's words.
    async fn bury(&mut self) -> Result<(), LaneError> {
        for (refusal, message) in self.culprits.drain() {
            let Rest { message, .. } = self.without_stored(message).await?;
            if !message.is_empty() {
                self.lane.bury_message(refusal, message).await?;
            }
        }
        Ok(())
    }
}

struct Rest {
    message: Vec<u8>,
    is_shorter: bool,
}

/// A server that fails so often at the same request, and takes a probe in between, fails because of the request.
const SERVER_TRIES: usize = 3;
const READ_TRIES: usize = 3;
const READ_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
const MAX_SUSPECTS: usize = 16;
/// So many bytes of suspects, and of culprits, are held at most, besides the last one of each.
const MAX_HELD_BYTES: usize = 1 << 20;
