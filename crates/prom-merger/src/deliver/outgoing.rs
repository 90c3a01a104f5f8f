//! A request as it goes out, in the form that its destination takes.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use prom_remote::{Compressor, Limits, Loss, Summary, decompress};
use prom_remote_http::{ConvertingBatch, ConvertingBatchError, WriteBatch, WriteForm};

use super::message::Version;

/// A request, encoded in one form; another is made of it when the destination turns out to want that.
pub(super) struct Outgoing {
    pub(super) version: Version,
    pub(super) summary: Summary,
    encoded: Encoded,
    /// The last other form that was asked for.
    other: Mutex<Option<Encoded>>,
    /// The message, if it cannot be had from the encoded one.
    message: Option<Bytes>,
    limits: Limits,
}

#[derive(Clone)]
struct Encoded {
    form: WriteForm,
    body: Result<Bytes, EncodeError>,
    losses: Vec<Loss>,
}

/// A request cannot be sent in a form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum EncodeError {
    /// Nothing of it can be said in that version of the protocol.
    #[error("nothing of the request is left in the other version")]
    NothingLeft(Vec<Loss>),
    #[error("{0}")]
    Failed(String),
}

impl Outgoing {
    pub(super) fn new(
        version: Version,
        message: &[u8],
        form: WriteForm,
        summary: Summary,
        limits: &Limits,
        compressor: &mut Compressor,
    ) -> Result<Self, String> {
        let is_snappy =
            matches!((version, form), (Version::V1, WriteForm::V1) | (Version::V2, WriteForm::V2));
        let (encoded, message) = if is_snappy {
            let mut body = Vec::new();
            compressor.compress(message, &mut body).map_err(|error| error.to_string())?;
            (Encoded { form, body: Ok(body.into()), losses: Vec::new() }, None)
        } else {
            let message = Bytes::copy_from_slice(message);
            let encoded = encode(version, message.clone(), form, limits);
            if let Err(EncodeError::Failed(reason)) = encoded.body {
                return Err(reason);
            }
            (encoded, Some(message))
        };
        Ok(Self { version, summary, encoded, other: Mutex::default(), message, limits: *limits })
    }

    /// The length of the body as it went out in a form.
    pub(super) fn body_length(&self, form: WriteForm) -> usize {
        self.in_form(form).body.map_or(0, |body| body.len())
    }

    /// The body in a form, and what it leaves out.
    fn in_form(&self, form: WriteForm) -> Encoded {
        if form == self.encoded.form {
            return self.encoded.clone();
        }
        let mut other = self.other.lock().unwrap_or_else(PoisonError::into_inner);
        match &*other {
            Some(encoded) if encoded.form == form => encoded.clone(),
            _ => other.insert(self.encode(form)).clone(),
        }
    }

    fn encode(&self, form: WriteForm) -> Encoded {
        let message = match (&self.message, &self.encoded.body) {
            (Some(message), _) => Ok(message.clone()),
            (None, Ok(body)) => {
                let mut message = Vec::new();
                // The label has made it longer than what came in.
                let mut limits = self.limits;
                limits.max_compressed_bytes = usize::MAX;
                limits.max_decoded_bytes = usize::MAX;
                let done = decompress(body, &limits, &mut message);
                done.map(|()| message.into()).map_err(|error| EncodeError::Failed(error.to_string()))
            }
            (None, Err(error)) => Err(error.clone()),
        };
        match message {
            Ok(message) => encode(self.version, message, form, &self.limits),
            Err(error) => Encoded { form, body: Err(error), losses: Vec::new() },
        }
    }
}

fn encode(version: Version, message: Bytes, form: WriteForm, limits: &Limits) -> Encoded {
    let mut limits = *limits;
    limits.max_decoded_bytes = usize::MAX;
    let batch = match version {
        Version::V1 => ConvertingBatch::from_v1(message, limits),
        Version::V2 => ConvertingBatch::from_v2(message, limits),
    };
    let body = batch.encode(form).map_err(|error| match error {
        ConvertingBatchError::NothingLeft { losses } => EncodeError::NothingLeft(losses),
        error => EncodeError::Failed(super::chain(&error)),
    });
    let losses = batch.losses(form);
    Encoded { form, body, losses }
}

impl WriteBatch for Outgoing {
    type Error = EncodeError;

    fn encode(&self, form: WriteForm) -> Result<Bytes, EncodeError> {
        self.in_form(form).body
    }

    fn losses(&self, form: WriteForm) -> Vec<Loss> {
        self.in_form(form).losses
    }
}
