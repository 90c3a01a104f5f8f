//! The question.

mod decode;

use prost::Message;

pub use decode::ReadRequestError;

use crate::{
    CompressionError, Compressor, TimeRange,
    proto::prometheus::{self, label_matcher, read_request},
};

/// A remote-read request: some queries, and which forms of answer the client can read.
///
/// ```
/// use prom_remote::{Matcher, Query, ReadRequest, TimeRange};
///
/// let range = TimeRange::new(1_700_000_000_000, 1_700_000_060_000)?;
/// let query = Query { range, matchers: vec![Matcher::equal("__name__", "up"), Matcher::regex("job", "kafka.*")] };
/// let body = ReadRequest::samples(vec![query]).encode_compressed()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRequest {
    /// The queries; the answer has one result for each, in this order.
    pub queries: Vec<Query>,
    /// The accepted forms of answer: the first that the server supports wins; empty means SAMPLES.
    pub accepted: Vec<ResponseType>,
}

/// One query of a remote-read request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The time asked for, half-open; on the wire it becomes the closed range up to one millisecond less.
    pub range: TimeRange,
    /// All of them must match; servers refuse a query without any.
    pub matchers: Vec<Matcher>,
}

/// A condition on one label; a label that a series does not have counts as empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Matcher {
    /// How the label is compared.
    pub kind: MatcherKind,
    /// The name of the label.
    pub name: String,
    /// The text or RE2 expression (matched from end to end) to compare with.
    pub value: String,
}

impl Matcher {
    /// The label has this value.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { kind: MatcherKind::Equal, name: name.into(), value: value.into() }
    }

    /// The label has another value than this.
    pub fn not_equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { kind: MatcherKind::NotEqual, name: name.into(), value: value.into() }
    }

    /// The whole value of the label matches this RE2 expression.
    pub fn regex(name: impl Into<String>, expression: impl Into<String>) -> Self {
        Self { kind: MatcherKind::Regex, name: name.into(), value: expression.into() }
    }

    /// The whole value of the label does not match this RE2 expression.
    pub fn not_regex(name: impl Into<String>, expression: impl Into<String>) -> Self {
        Self { kind: MatcherKind::NotRegex, name: name.into(), value: expression.into() }
    }
}

/// How a [`Matcher`] compares (`LabelMatcher.Type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatcherKind {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// A form of answer (`ReadRequest.ResponseType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResponseType {
    /// One snappy block with all samples.
    Samples,
    /// Frames of compressed chunks.
    StreamedXorChunks,
    /// A form that this crate does not know, by its number.
    Other(i32),
}

impl ReadRequest {
    /// Makes a request that accepts the form SAMPLES only.
    pub fn samples(queries: Vec<Query>) -> Self {
        Self { queries, accepted: vec![ResponseType::Samples] }
    }

    /// Makes a request that accepts streamed chunks first, and SAMPLES from servers that have no other form.
    pub fn streamed(queries: Vec<Query>) -> Self {
        Self { queries, accepted: vec![ResponseType::StreamedXorChunks, ResponseType::Samples] }
    }

    /// Chooses the form of the answer as a server does: the first that the client accepts and that is `supported`.
    /// A client that names none accepts SAMPLES. `None` is for the status 400.
    pub fn choose(&self, supported: &[ResponseType]) -> Option<ResponseType> {
        let accepted = if self.accepted.is_empty() { &[ResponseType::Samples][..] } else { &self.accepted };
        accepted.iter().copied().find(|accepted| supported.contains(accepted))
    }

    /// Returns the bytes of the `ReadRequest` message.
    pub fn encode(&self) -> Vec<u8> {
        let accepted_response_types = self.accepted.iter().map(|accepted| accepted.on_wire()).collect();
        prometheus::ReadRequest {
            queries: self.queries.iter().map(Query::on_wire).collect(),
            accepted_response_types,
        }
        .encode_to_vec()
    }

    /// Returns the request as a snappy block, the body that is sent.
    ///
    /// # Errors
    /// A request of 4 GiB or more.
    pub fn encode_compressed(&self) -> Result<Vec<u8>, CompressionError> {
        let mut block = Vec::new();
        Compressor::new().compress(&self.encode(), &mut block)?;
        Ok(block)
    }
}

impl Query {
    fn on_wire(&self) -> prometheus::Query {
        let (start_timestamp_ms, end_timestamp_ms) = self.range.closed();
        let matchers = self.matchers.iter().map(Matcher::on_wire).collect();
        prometheus::Query { start_timestamp_ms, end_timestamp_ms, matchers, hints: None }
    }
}

impl Matcher {
    fn on_wire(&self) -> prometheus::LabelMatcher {
        let kind = match self.kind {
            MatcherKind::Equal => label_matcher::Type::Eq,
            MatcherKind::NotEqual => label_matcher::Type::Neq,
            MatcherKind::Regex => label_matcher::Type::Re,
            MatcherKind::NotRegex => label_matcher::Type::Nre,
        };
        prometheus::LabelMatcher {
            r#type: kind.into(),
            name: self.name.clone().into(),
            value: self.value.clone().into(),
        }
    }
}

impl ResponseType {
    fn on_wire(self) -> i32 {
        match self {
            Self::Samples => read_request::ResponseType::Samples.into(),
            Self::StreamedXorChunks => read_request::ResponseType::StreamedXorChunks.into(),
            Self::Other(number) => number,
        }
    }

    fn from_wire(number: i32) -> Self {
        match read_request::ResponseType::try_from(number) {
            Ok(read_request::ResponseType::Samples) => Self::Samples,
            Ok(read_request::ResponseType::StreamedXorChunks) => Self::StreamedXorChunks,
            Err(_) => Self::Other(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prost_reads_the_question() {
        let request = ReadRequest {
            queries: vec![Query {
                range: TimeRange::new(1_000, 2_000).unwrap(),
                matchers: vec![
                    Matcher::equal("a", "1"),
                    Matcher::not_equal("b", "2"),
                    Matcher::regex("c", "3"),
                    Matcher::not_regex("d", "4"),
                ],
            }],
            accepted: vec![ResponseType::StreamedXorChunks, ResponseType::Samples],
        };
        let decoded = prometheus::ReadRequest::decode(&request.encode()[..]).unwrap();
        assert_eq!(decoded.accepted_response_types, [1, 0]);
        let query = &decoded.queries[0];
        assert_eq!((query.start_timestamp_ms, query.end_timestamp_ms), (1_000, 1_999));
        assert_eq!(query.matchers.iter().map(|m| m.r#type).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!((&query.matchers[3].name[..], &query.matchers[3].value[..]), (&b"d"[..], &b"4"[..]));
    }
}
