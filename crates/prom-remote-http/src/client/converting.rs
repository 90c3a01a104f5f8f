//! A batch given in one version of the protocol, converted when the receiver wants the other.

use std::sync::OnceLock;

use bytes::Bytes;
use prom_remote::{ConversionReport, DecodeError, Limits, Loss, convert_to_v1, convert_to_v2};
use thiserror::Error;

use super::{
    MessageBatchError, WriteBatch, WriteForm,
    batch::{ProtocolVersion, compress},
};

/// A batch as one message, not yet compressed, of 1.0 or of 2.0; the other version is made of it when a receiver turns
/// out to want it.
///
/// The conversion happens at most once, however often the batch is sent. What it leaves out is in
/// [`Sent::losses`](super::Sent::losses) of every batch that arrives so, and in
/// [`conversion`](Self::conversion).
///
/// Metadata of a 2.0 message goes along in the same 1.0 request.
#[derive(Debug)]
pub struct ConvertingBatch {
    version: ProtocolVersion,
    message: Bytes,
    limits: Limits,
    converted: OnceLock<Result<Converted, DecodeError>>,
}

#[derive(Debug)]
struct Converted {
    message: Vec<u8>,
    /// Neither series nor metadata.
    is_empty: bool,
    report: ConversionReport,
}

/// A batch cannot be encoded in a form.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConvertingBatchError {
    /// The message is malformed, or goes over a limit when it is converted.
    #[error("message cannot be converted")]
    Convert(#[from] DecodeError),
    /// The message in its version cannot be compressed.
    #[error(transparent)]
    Compress(#[from] MessageBatchError),
    /// Nothing of the message can be expressed in the other version, so that there is nothing to send.
    #[error("nothing of the message is left in the other version")]
    NothingLeft {
        /// What was left out.
        losses: Vec<Loss>,
    },
}

impl ConvertingBatch {
    /// A batch given as a `prometheus.WriteRequest`.
    pub fn from_v1(message: impl Into<Bytes>, limits: Limits) -> Self {
        Self::new(ProtocolVersion::V1, message.into(), limits)
    }

    /// A batch given as an `io.prometheus.write.v2.Request`.
    pub fn from_v2(message: impl Into<Bytes>, limits: Limits) -> Self {
        Self::new(ProtocolVersion::V2, message.into(), limits)
    }

    fn new(version: ProtocolVersion, message: Bytes, limits: Limits) -> Self {
        Self { version, message, limits, converted: OnceLock::new() }
    }

    /// Returns what the conversion wrote and left out; `None` as long as nobody wanted the other version, or if the
    /// conversion failed.
    pub fn conversion(&self) -> Option<&ConversionReport> {
        let converted = self.converted.get()?.as_ref().ok()?;
        Some(&converted.report)
    }

    fn converted(&self) -> Result<&Converted, ConvertingBatchError> {
        let converted = self.converted.get_or_init(|| match self.version {
            ProtocolVersion::V1 => {
                let mut message = Vec::new();
                let report = convert_to_v2(&self.message, &self.limits, &mut message)?;
                Ok(Converted { message, is_empty: report.series == 0, report })
            }
            ProtocolVersion::V2 => {
                let converted = convert_to_v1(&self.message, &self.limits)?;
                let mut message = converted.request;
                message.extend_from_slice(&converted.metadata);
                Ok(Converted { is_empty: message.is_empty(), message, report: converted.report })
            }
        });
        let converted = converted.as_ref().map_err(|error| ConvertingBatchError::Convert(*error))?;
        let losses = &converted.report.losses;
        if converted.is_empty && !losses.is_empty() {
            return Err(ConvertingBatchError::NothingLeft { losses: losses.clone() });
        }
        Ok(converted)
    }
}

impl WriteBatch for ConvertingBatch {
    type Error = ConvertingBatchError;

    fn encode(&self, form: WriteForm) -> Result<Bytes, ConvertingBatchError> {
        let message = if form.protocol_version() == self.version {
            &self.message[..]
        } else {
            &self.converted()?.message
        };
        Ok(compress(form, message)?)
    }

    fn losses(&self, form: WriteForm) -> Vec<Loss> {
        let is_converted = form.protocol_version() != self.version;
        let report = is_converted.then(|| self.conversion()).flatten();
        report.map(|report| report.losses.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
