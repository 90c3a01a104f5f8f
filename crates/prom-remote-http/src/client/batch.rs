//! Batches made of messages that are there already.

use bytes::Bytes;
use prom_remote::{CompressionError, Compressor};
use thiserror::Error;

use super::{WriteBatch, WriteForm};

/// A batch as messages, not yet compressed: of 1.0, of 2.0 or both.
///
/// A form is compressed when it is asked for, so that what is never sent costs nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageBatch {
    v1: Option<Bytes>,
    v2: Option<Bytes>,
}

/// A batch has no such form.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MessageBatchError {
    /// The message of this version was not given.
    #[error("batch has no message for {form:?}")]
    Missing {
        /// The form.
        form: WriteForm,
    },
    /// The message is too long for its compression.
    #[error("message cannot be compressed")]
    Snappy(#[from] CompressionError),
    /// zstd failed.
    #[error("message cannot be compressed")]
    Zstd {
        /// What the library said.
        reason: String,
    },
}

impl MessageBatch {
    /// A batch with a `prometheus.WriteRequest` alone.
    pub fn v1(message: impl Into<Bytes>) -> Self {
        Self { v1: Some(message.into()), v2: None }
    }

    /// A batch with an `io.prometheus.write.v2.Request` alone.
    pub fn v2(message: impl Into<Bytes>) -> Self {
        Self { v1: None, v2: Some(message.into()) }
    }

    /// A batch with both, which should hold the same.
    pub fn both(v1: impl Into<Bytes>, v2: impl Into<Bytes>) -> Self {
        Self { v1: Some(v1.into()), v2: Some(v2.into()) }
    }
}

impl WriteBatch for MessageBatch {
    type Error = MessageBatchError;

    fn encode(&self, form: WriteForm) -> Result<Bytes, MessageBatchError> {
        let message = match form.protocol_version() {
            ProtocolVersion::V1 => &self.v1,
            ProtocolVersion::V2 => &self.v2,
        };
        compress(form, message.as_ref().ok_or(MessageBatchError::Missing { form })?)
    }
}

/// Which message a form carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProtocolVersion {
    V1,
    V2,
}

impl WriteForm {
    pub(super) fn protocol_version(self) -> ProtocolVersion {
        match self {
            Self::V2 => ProtocolVersion::V2,
            Self::V1 | Self::V1Zstd => ProtocolVersion::V1,
        }
    }
}

pub(super) fn compress(form: WriteForm, message: &[u8]) -> Result<Bytes, MessageBatchError> {
    let mut block = Vec::new();
    match form {
        WriteForm::V2 | WriteForm::V1 => Compressor::new().compress(message, &mut block)?,
        WriteForm::V1Zstd => {
            // VictoriaMetrics' own senders use this level.
            block = zstd::bulk::compress(message, 1)
                .map_err(|error| MessageBatchError::Zstd { reason: error.to_string() })?;
        }
    }
    Ok(block.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_there_or_missing() {
        let message = b"message message message".to_vec();
        let v1 = MessageBatch::v1(message.clone());
        let zstd = zstd::bulk::decompress(&v1.encode(WriteForm::V1Zstd).unwrap(), 100).unwrap();
        assert_eq!(zstd, message);
        let mut snappy = Vec::new();
        prom_remote::decompress(
            &v1.encode(WriteForm::V1).unwrap(),
            &prom_remote::Limits::default(),
            &mut snappy,
        )
        .unwrap();
        assert_eq!(snappy, message);
        assert_eq!(v1.encode(WriteForm::V2), Err(MessageBatchError::Missing { form: WriteForm::V2 }));
        assert!(MessageBatch::v2(message.clone()).encode(WriteForm::V1).is_err());
        assert!(MessageBatch::both(message.clone(), message).encode(WriteForm::V2).is_ok());
    }
}
