//! Finds out which form of remote write a receiver understands, and remembers it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use prom_remote::Loss;
use tokio::time::Instant;

use super::write::{WriteClient, WriteError, WriteForm, WriteRequest, Written};

/// A batch of series that can be encoded in more than one form.
pub trait WriteBatch {
    /// Why a form cannot be had.
    type Error;

    /// Returns the compressed message in this form.
    ///
    /// # Errors
    /// The batch cannot be encoded so; it is then not sent.
    fn encode(&self, form: WriteForm) -> Result<Bytes, Self::Error>;

    /// Returns what [`encode`](Self::encode) leaves out of the message in this form, because the form cannot express
    /// it. Nothing, unless the batch says otherwise.
    fn losses(&self, form: WriteForm) -> Vec<Loss> {
        let _ = form;
        Vec::new()
    }
}

/// How a [`WriteNegotiator`] goes about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NegotiationConfig {
    /// The forms to try, the best first; the last is taken without proof. Default 2.0, then 1.0.
    pub forms: Vec<WriteForm>,
    /// How long a lesser form is used before the better ones are tried again. Default 1 h.
    pub probe_again_after: Duration,
}

impl Default for NegotiationConfig {
    fn default() -> Self {
        Self { forms: vec![WriteForm::V2, WriteForm::V1], probe_again_after: Duration::from_secs(3_600) }
    }
}

/// Sends batches in the best form that the receiver understands, and remembers which one that is.
///
/// A form is given up for the next one when the receiver says
///
/// - 415;
/// - 400 without 2.0's Written headers to a form that has never succeeded here: receivers of 1.0 answer so. If the
///   next form fares no better the fault is the data's, and nothing is learnt;
/// - 2xx to 2.0 without any Written header: the receiver took the message for an empty one of 1.0 and threw it away
///   (Prometheus before 2.54 and VictoriaMetrics do).
///
/// The same batch is then sent in the next form at once: nothing is lost by finding out.
#[derive(Debug)]
pub struct WriteNegotiator {
    client: WriteClient,
    config: NegotiationConfig,
    memory: Mutex<Memory>,
}

#[derive(Debug, Clone, Copy)]
struct Memory {
    /// The place in the list of forms that is used now.
    current: usize,
    /// Whether it has succeeded.
    is_proven: bool,
    /// Since when it is used.
    since: Instant,
}

/// A batch that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "the receiver may lack what its form cannot express"]
#[non_exhaustive]
pub struct Sent {
    /// The form in which the receiver took it.
    pub form: WriteForm,
    /// What the receiver said.
    pub written: Written,
    /// What the batch left out of the message in this form; see [`ConvertingBatch`](super::ConvertingBatch).
    pub losses: Vec<Loss>,
}

/// A batch has not arrived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiationError<EncodeError> {
    /// The receiver does not have it.
    #[error(transparent)]
    Write(WriteError),
    /// It cannot be encoded in the form that the receiver understands.
    #[error("batch cannot be encoded as {form:?}")]
    Encode {
        /// The form.
        form: WriteForm,
        /// Why.
        #[source]
        error: EncodeError,
    },
}

impl WriteNegotiator {
    /// Makes a negotiator that knows nothing of its receiver yet. No forms mean 1.0.
    pub fn new(client: WriteClient, mut config: NegotiationConfig) -> Self {
        if config.forms.is_empty() {
            config.forms.push(WriteForm::V1);
        }
        let memory = Memory { current: 0, is_proven: false, since: Instant::now() };
        Self { client, config, memory: Mutex::new(memory) }
    }

    /// Returns the form that the next batch goes out in.
    pub fn form(&self) -> WriteForm {
        self.form_at(self.recall().current)
    }

    /// Sends a batch; `attempt` is how often it was sent before (see [`WriteRequest::attempt`]).
    ///
    /// # Errors
    /// What the receiver said to the last form that was tried, or a form that the batch cannot be encoded in.
    pub async fn send<Batch: WriteBatch>(
        &self,
        batch: &Batch,
        attempt: u32,
    ) -> Result<Sent, NegotiationError<Batch::Error>> {
        let start = self.recall();
        let mut place = start.current;
        // What an unproven form was told when it may have been the data's fault.
        let mut doubt = None;
        loop {
            let form = self.form_at(place);
            let body = batch.encode(form).map_err(|error| NegotiationError::Encode { form, error })?;
            let result = self.client.send(WriteRequest { form, body, attempt }).await;
            let is_last = place + 1 >= self.config.forms.len();
            let is_proven = start.is_proven && place == start.current;
            match (Judgement::of(form, is_proven, &result), result) {
                (Judgement::Understood, Ok(written)) => {
                    self.learn(place, true);
                    return Ok(Sent { form, written, losses: batch.losses(form) });
                }
                (Judgement::Understood, Err(error)) => {
                    self.learn(place, true);
                    return Err(NegotiationError::Write(error));
                }
                (Judgement::NotUnderstood, Err(error)) if is_last => {
                    return Err(NegotiationError::Write(error));
                }
                (Judgement::NotUnderstood, Ok(_)) if is_last => {
                    return Err(NegotiationError::Write(swallowed()));
                }
                (Judgement::NotUnderstood, _) => {
                    place += 1;
                    // Later batches do not lose the same round trip, whatever becomes of this one.
                    self.learn(place, false);
                }
                (Judgement::Doubtful, Err(error)) if is_last => {
                    return Err(NegotiationError::Write(doubt.unwrap_or(error)));
                }
                (Judgement::Doubtful, Err(error)) => {
                    doubt = Some(error);
                    place += 1;
                }
                (Judgement::Unknown, Err(error)) => {
                    return Err(NegotiationError::Write(error));
                }
                (Judgement::Unknown | Judgement::Doubtful, Ok(written)) => {
                    return Ok(Sent { form, written, losses: batch.losses(form) });
                }
            }
        }
    }

    fn form_at(&self, place: usize) -> WriteForm {
        self.config.forms.get(place).copied().unwrap_or(WriteForm::V1)
    }

    /// What is known now; after a while of a lesser form, as if nothing were.
    fn recall(&self) -> Memory {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.current > 0 && memory.since.elapsed() >= self.config.probe_again_after {
            *memory = Memory { current: 0, is_proven: false, since: Instant::now() };
        }
        *memory
    }

    fn learn(&self, current: usize, is_proven: bool) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = memory.current == current;
        memory.is_proven = is_proven || is_same && memory.is_proven;
        memory.current = current;
        if !is_same {
            memory.since = Instant::now();
        }
    }
}

/// What an answer tells about a form.
enum Judgement {
    Understood,
    NotUnderstood,
    /// Either the form is not understood or the data is bad.
    Doubtful,
    Unknown,
}

impl Judgement {
    fn of(form: WriteForm, is_proven: bool, result: &Result<Written, WriteError>) -> Self {
        match result {
            Ok(written) if form == WriteForm::V2 && written.counts.is_none() => Self::NotUnderstood,
            Ok(_) | Err(WriteError::Partial { .. }) => Self::Understood,
            Err(WriteError::Rejected { status: 415, .. }) => Self::NotUnderstood,
            Err(WriteError::Rejected { status: 400, .. }) if !is_proven => Self::Doubtful,
            Err(_) => Self::Unknown,
        }
    }
}

/// Only where 2.0 is the last form: the receiver has nothing, and will never have.
fn swallowed() -> WriteError {
    WriteError::Rejected {
        status: 415,
        message: "receiver answered as to remote write 1.0 and stored nothing".to_owned(),
    }
}
