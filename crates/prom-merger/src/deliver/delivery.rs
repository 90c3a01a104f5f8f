//! One batch on its way: sent until the destination has it, or what is left of it is a dead letter.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use prom_remote_http::{Sent, WriteError};
use tokio::{select, task::spawn_blocking, time::timeout};
use tracing::{debug, error, info, warn};

use super::{
    Refusal, SEND_GRACE, Verdict,
    backoff::Backoff,
    bare,
    bench::{Prepared, Raw},
    destination::SendError,
    isolate::{Culprits, halves},
    judge,
    lane::{Lane, LaneError},
    message::Message,
    outgoing::{EncodeError, Outgoing},
    probe::ProbeOutcome,
    read_back,
};
use crate::metrics::FailureClass;

/// The state of one batch.
pub(super) struct Delivery<'a> {
    lane: &'a Lane,
    backoff: &'a mut Backoff,
    /// An attempt whose answer did not come, or an earlier run, may have stored a part.
    may_be_stored: bool,
    /// How often a part of the record was refused.
    refusals: usize,
    /// Refused, and not proven yet: the destination has taken nothing since.
    suspects: Vec<(Message, Refusal)>,
    culprits: Culprits,
}

/// What the destination says at last.
enum Judged {
    Taken,
    Refused(Refusal),
}

/// A part of a record, without the label.
struct Part {
    message: Message,
    /// Set if the destination has judged it already.
    refusal: Option<Refusal>,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(lane: &'a Lane, backoff: &'a mut Backoff, may_be_stored: bool) -> Self {
        let (refusals, suspects, culprits) = (0, Vec::new(), Culprits::default());
        Self { lane, backoff, may_be_stored, refusals, suspects, culprits }
    }

    /// Sends a request of the batch at hand.
    pub(super) async fn send(&mut self, prepared: Prepared) -> Result<(), LaneError> {
        let Prepared { outgoing, raw } = prepared;
        match self.until_judged(&outgoing, SERVER_TRIES).await? {
            Judged::Taken => Ok(()),
            Judged::Refused(refusal) => {
                drop(outgoing);
                self.isolate(raw, refusal).await
            }
        }
    }

    /// Sends until the destination takes the request or refuses it for good. A server that fails so many `tries` at it,
    /// and takes a probe, refuses it.
    async fn until_judged(&mut self, request: &Outgoing, tries: usize) -> Result<Judged, LaneError> {
        let (source, destination) = self.lane.names();
        let metrics = &self.lane.metrics;
        let mut server_failures = 0;
        loop {
            let start = Instant::now();
            let Some(sent) = self.attempt(request).await else { return Err(LaneError::Stopped) };
            let error = match sent {
                Ok(sent) => {
                    metrics.round_trip.set(start.elapsed());
                    self.taken(request, &sent);
                    return Ok(Judged::Taken);
                }
                Err(SendError::Encode(EncodeError::NothingLeft(losses))) => {
                    self.lane.count_losses(&losses);
                    return Ok(Judged::Taken);
                }
                Err(SendError::Encode(EncodeError::Failed(message))) => {
                    return Ok(Judged::Refused(Refusal { status: 0, message }));
                }
                Err(SendError::Write(error)) => error,
            };
            match judge(&error) {
                Verdict::Again { class, after, failure } => {
                    metrics.count_failure(class);
                    metrics.is_blocked.set(class == FailureClass::Destination);
                    let is_down = matches!(class, FailureClass::Network | FailureClass::Server);
                    metrics.is_down.set(is_down);
                    self.may_be_stored |= is_down;
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
                            error!(source, destination, %error, "destination is misconfigured, keeping everything");
                        }
                        1 => warn!(source, destination, %error, "delivery failed, trying again"),
                        failures => debug!(source, destination, %error, failures, "delivery failed again"),
                    }
                    self.lane.pause_until_back(wait, is_down, after.is_some()).await?;
                    metrics.retries.add(1);
                }
                Verdict::Refused(refusal) => {
                    metrics.count_failure(FailureClass::Rejected);
                    metrics.is_down.set(false);
                    self.refusals += 1;
                    return Ok(Judged::Refused(refusal));
                }
            }
        }
    }

    fn taken(&mut self, request: &Outgoing, sent: &Sent) {
        let (source, destination) = self.lane.names();
        if self.backoff.failures() > 0 {
            let failures = self.backoff.failures();
            info!(source, destination, failures, "destination takes requests again");
            self.backoff.reset();
        }
        self.lane.count_taken(request, sent);
    }

    /// One attempt; `None` when it did not end soon after the lane was told to stop.
    async fn attempt(&self, request: &Outgoing) -> Option<Result<Sent, SendError>> {
        let sending = self.lane.destination.send(request, self.backoff.failures());
        tokio::pin!(sending);
        select! {
            sent = &mut sending => Some(sent),
            () = self.lane.came_back_meanwhile() => Some(Err(SendError::Write(WriteError::Retryable {
                after: None,
                status: None,
                message: "the destination was away and is back, the request under way is given up".to_owned(),
            }))),
            () = self.lane.stop.cancelled() => timeout(SEND_GRACE, sending).await.ok(),
        }
    }

    /// Finds what of a refused request the destination does not take, and delivers the rest, in its order.
    async fn isolate(&mut self, raw: Raw, refusal: Refusal) -> Result<(), LaneError> {
        let (metrics, limits) = (Arc::clone(&self.lane.metrics), self.lane.source.limits);
        metrics.isolated_requests.add(1);
        let waited = self.until_probe_is_taken(&refusal).await?;
        let mut stack = Vec::new();
        let (messages, is_changed) = self.without_bare_exemplars(messages(raw, &limits)?, &refusal);
        for message in messages.into_iter().rev() {
            let rest = self.without_stored(message).await?;
            stack.push((rest.message, rest.is_shorter));
        }
        // What was refused by a destination that refused a probe too was not judged; nor the rest of a stored request, nor
        // one request of several.
        let is_judged = !waited && !is_changed && stack.len() == 1;
        let part = |(message, is_shorter): (Message, bool)| Part {
            message,
            refusal: (is_judged && !is_shorter).then(|| refusal.clone()),
        };
        let mut stack: Vec<_> =
            stack.into_iter().filter(|(message, _)| !message.bytes.is_empty()).map(part).collect();
        loop {
            if stack.is_empty() || self.has_many_suspects() {
                self.prove_suspects(&mut stack).await?;
            }
            let Some(mut part) = stack.pop() else { break };
            let (refusal, is_of_now) = match part.refusal.take() {
                Some(refusal) => (refusal, false),
                None => match self.try_part(&mut part).await? {
                    Judged::Taken => {
                        self.convict();
                        continue;
                    }
                    Judged::Refused(refusal) => (refusal, true),
                },
            };
            let cut = if self.refusals < self.lane.destination.config.split_attempts {
                halves(&part.message, &limits).map_err(|error| LaneError::Part(error.to_string()))?
            } else {
                metrics.unfinished_isolations.add(1);
                None
            };
            match cut {
                Some([left, right]) => {
                    stack.extend([right, left].map(|message| Part { message, refusal: None }));
                }
                // Refused before a probe was taken, perhaps by a destination that was mended in between.
                None if !is_of_now => stack.push(Part { message: part.message, refusal: None }),
                None => self.suspects.push((part.message, refusal)),
            }
            if self.culprits.bytes() > MAX_HELD_BYTES {
                self.bury().await?;
            }
        }
        self.bury().await
    }

    /// Where the destination says so, exemplars that have no sample go out by 1.0, now and from now on; tells whether there
    /// are any.
    fn without_bare_exemplars(&self, messages: Vec<Message>, refusal: &Refusal) -> (Vec<Message>, bool) {
        if !bare::is_meant(&refusal.message) {
            return (messages, false);
        }
        let mut is_changed = false;
        let mut apart = |message: Message| match bare::apart(&message, &self.lane.source.limits) {
            Some(parts) => {
                is_changed = true;
                parts
            }
            None => vec![message],
        };
        let messages = messages.into_iter().flat_map(&mut apart).collect();
        self.lane.destination.refuses_bare_exemplars.fetch_or(is_changed, Ordering::Relaxed);
        (messages, is_changed)
    }

    async fn try_part(&mut self, part: &mut Part) -> Result<Judged, LaneError> {
        self.lane.metrics.isolation_attempts.add(1);
        let made = if part.message.bytes.len() > INLINE_BYTES {
            let (maker, bytes) = (self.lane.maker(), std::mem::take(&mut part.message.bytes));
            let message = Message { version: part.message.version, bytes };
            let (message, made) = spawn_blocking(move || {
                let made = maker.make(&message);
                (message, made)
            })
            .await?;
            part.message = message;
            made
        } else {
            self.lane.maker().make(&part.message)
        };
        // Rules leave nothing of it.
        let Some(request) = made.map_err(LaneError::Part)? else { return Ok(Judged::Taken) };
        // A whole that failed is cut at once; what cannot be cut gets its tries.
        let is_last = request.summary.samples + request.summary.histograms <= 1;
        self.until_judged(&request, if is_last { SERVER_TRIES } else { 1 }).await
    }

    fn has_many_suspects(&self) -> bool {
        let bytes: usize = self.suspects.iter().map(|(message, _)| message.bytes.len()).sum();
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
            self.culprits.add(refusal, message, &self.lane.source.limits);
        }
    }

    /// Waits until the destination takes a probe; tells whether it did not at once.
    async fn until_probe_is_taken(&mut self, refusal: &Refusal) -> Result<bool, LaneError> {
        let (source, destination) = self.lane.names();
        let metrics = &self.lane.metrics;
        let mut waited = false;
        let mut is_told = false;
        loop {
            match self.probe().await? {
                ProbeOutcome::Taken => {
                    metrics.is_blocked.set(false);
                    if waited {
                        info!(source, destination, "destination takes a probe again, the lane goes on");
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
                            destination,
                            status,
                            reason,
                            probe = words,
                            "destination refuses a harmless probe too: the lane stops and keeps everything"
                        );
                        is_told = true;
                    }
                }
                ProbeOutcome::Unknown(error) => {
                    warn!(source, destination, %error, "destination does not judge a probe, trying again");
                }
            }
            waited = true;
            let wait = self.backoff.next(None);
            self.lane.pause(wait).await?;
        }
    }

    async fn probe(&self) -> Result<ProbeOutcome, LaneError> {
        let Lane { probe, destination, source, metrics, .. } = self.lane;
        let sending = probe.send(destination, source, metrics);
        select! {
            outcome = sending => Ok(outcome),
            () = self.lane.stop.cancelled() => Err(LaneError::Stopped),
        }
    }

    /// Takes out what the destination has already, if a former attempt may have stored it.
    async fn without_stored(&self, message: Message) -> Result<Rest, LaneError> {
        let unchanged = |message| Ok(Rest { message, is_shorter: false });
        let Some(reader) = self.lane.destination.reader.as_ref().filter(|_| self.may_be_stored) else {
            return unchanged(message);
        };
        let (source, destination) = self.lane.names();
        let metrics = &self.lane.metrics;
        for _ in 0..READ_TRIES {
            let wanted = {
                let mut pipeline = self.lane.pipeline.lock().unwrap_or_else(PoisonError::into_inner);
                read_back::wanted(&message, &mut pipeline, &self.lane.source.limits)
            };
            let asking = async {
                let wanted = wanted?;
                read_back::missing(reader, &self.lane.source, &message, wanted).await
            };
            let answer = select! {
                answer = asking => answer,
                () = self.lane.stop.cancelled() => return Err(LaneError::Stopped),
            };
            match answer {
                Ok(missing) if missing.stored == 0 => return unchanged(message),
                Ok(missing) => {
                    metrics.already_stored.add(missing.stored as u64);
                    let samples = missing.stored;
                    info!(source, destination, samples, "refused samples are stored already");
                    let message = Message { version: message.version, bytes: missing.rest };
                    return Ok(Rest { message, is_shorter: true });
                }
                Err(error) => {
                    metrics.read_back_failures.add(1);
                    warn!(source, destination, error, "destination cannot be asked what it has");
                    self.lane.pause(READ_PAUSE).await?;
                }
            }
        }
        unchanged(message)
    }

    /// Makes dead letters of the culprits, one for each of the receiver's words.
    async fn bury(&mut self) -> Result<(), LaneError> {
        for (refusal, message) in self.culprits.drain(&self.lane.source.limits) {
            let Rest { message, .. } = self.without_stored(message).await?;
            if !message.bytes.is_empty() {
                self.lane.bury_message(refusal, message).await?;
            }
        }
        Ok(())
    }
}

/// The messages of a request, in their order.
fn messages(raw: Raw, limits: &prom_remote::Limits) -> Result<Vec<Message>, LaneError> {
    match raw {
        Raw::Message(message) => Ok(vec![message]),
        Raw::Records(payloads) => {
            // They were decoded before they were sent.
            let decoded = payloads.iter().map(|payload| Message::decode(payload, limits));
            decoded.collect::<Result<_, _>>().map_err(LaneError::Part)
        }
    }
}

struct Rest {
    message: Message,
    is_shorter: bool,
}

/// A server that fails so often at the same request, and takes a probe in between, fails because of the request.
const SERVER_TRIES: usize = 3;
const READ_TRIES: usize = 3;
const READ_PAUSE: Duration = Duration::from_secs(1);
/// Parts up to this size are made where they are.
const INLINE_BYTES: usize = 256 << 10;
const MAX_SUSPECTS: usize = 16;
/// So many bytes of suspects, and of culprits, are held at most, besides the last one of each.
const MAX_HELD_BYTES: usize = 1 << 20;
