//! The question, as a server reads it.

use thiserror::Error;

use super::{Matcher, MatcherKind, Query, ReadRequest, ResponseType};
use crate::{
    DecodeError, InvalidTimeRange, Limits, TimeRange,
    wire::{Field, Fields},
};

/// A question cannot be read; the answer to it is the status 400.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadRequestError {
    /// The bytes are not a `ReadRequest`.
    #[error("malformed remote-read request")]
    Malformed(#[from] DecodeError),
    /// More queries than [`Limits::max_queries`].
    #[error("more queries than the limit of {limit}")]
    TooManyQueries {
        /// The limit.
        limit: usize,
    },
    /// More matchers in a query than [`Limits::max_matchers_per_query`].
    #[error("query {query} has more matchers than the limit of {limit}")]
    TooManyMatchers {
        /// The query, counted from 0.
        query: usize,
        /// The limit.
        limit: usize,
    },
    /// A query asks for no time at all.
    #[error("query {query} asks for nothing")]
    Range {
        /// The query, counted from 0.
        query: usize,
        /// Its range.
        #[source]
        source: InvalidTimeRange,
    },
    /// A matcher is of a type that does not exist.
    #[error("query {query} has a matcher of unknown type {number}")]
    MatcherType {
        /// The query, counted from 0.
        query: usize,
        /// The number of the type.
        number: u64,
    },
    /// A name or value of a matcher is not UTF-8, so it can match nothing sensible.
    #[error("query {query} has a matcher that is not UTF-8")]
    NotUtf8 {
        /// The query, counted from 0.
        query: usize,
    },
}

impl ReadRequest {
    /// Reads the (no longer compressed) bytes of a `ReadRequest` message. Hints are not read: they are advice.
    ///
    /// # Errors
    /// Not such a message, over a limit, or a query that nobody can answer.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, ReadRequestError> {
        let mut request = Self { queries: Vec::new(), accepted: Vec::new() };
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next()? {
            match field.number {
                QUERIES => {
                    let limit = limits.max_queries;
                    if request.queries.len() >= limit {
                        return Err(ReadRequestError::TooManyQueries { limit });
                    }
                    request.queries.push(query(&field, request.queries.len(), limits)?);
                }
                ACCEPTED => accepted(&field, &mut request.accepted)?,
                _ => {}
            }
        }
        Ok(request)
    }
}

/// The accepted forms, packed or not. More than a few cannot matter: the first known one wins.
fn accepted(field: &Field<'_>, accepted: &mut Vec<ResponseType>) -> Result<(), DecodeError> {
    field.check_repeated_varint()?;
    let Ok(packed) = field.bytes() else {
        push(accepted, field.varint()?);
        return Ok(());
    };
    let mut number = 0_u64;
    let mut shift = 0_u32;
    for byte in packed {
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
        shift += 7;
        if *byte < 0x80 {
            push(accepted, number);
            (number, shift) = (0, 0);
        }
    }
    Ok(())
}

fn push(accepted: &mut Vec<ResponseType>, number: u64) {
    let form = ResponseType::from_wire(number as i32);
    if !accepted.contains(&form) && accepted.len() < MAX_ACCEPTED {
        accepted.push(form);
    }
}

fn query(field: &Field<'_>, index: usize, limits: &Limits) -> Result<Query, ReadRequestError> {
    let (mut first_ms, mut last_ms) = (0, 0);
    let mut matchers = Vec::new();
    let mut fields = field.message()?;
    while let Some(field) = fields.next()? {
        match field.number {
            START => first_ms = field.varint()? as i64,
            END => last_ms = field.varint()? as i64,
            MATCHERS => {
                let limit = limits.max_matchers_per_query;
                if matchers.len() >= limit {
                    return Err(ReadRequestError::TooManyMatchers { query: index, limit });
                }
                matchers.push(matcher(&field, index)?);
            }
            _ => {}
        }
    }
    let range = TimeRange::from_closed(first_ms, last_ms)
        .map_err(|source| ReadRequestError::Range { query: index, source })?;
    Ok(Query { range, matchers })
}

fn matcher(field: &Field<'_>, query: usize) -> Result<Matcher, ReadRequestError> {
    let (mut number, mut name, mut value) = (0, &b""[..], &b""[..]);
    let mut fields = field.message()?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => number = field.varint()?,
            2 => name = field.bytes()?,
            3 => value = field.bytes()?,
            _ => {}
        }
    }
    let kind = match number {
        0 => MatcherKind::Equal,
        1 => MatcherKind::NotEqual,
        2 => MatcherKind::Regex,
        3 => MatcherKind::NotRegex,
        _ => return Err(ReadRequestError::MatcherType { query, number }),
    };
    let text =
        |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| ReadRequestError::NotUtf8 { query });
    Ok(Matcher { kind, name: text(name)?, value: text(value)? })
}

// Field numbers of `ReadRequest` and `Query` in proto/prometheus/remote.proto.
const QUERIES: u32 = 1;
const ACCEPTED: u32 = 2;
const START: u32 = 1;
const END: u32 = 2;
const MATCHERS: u32 = 3;
const MAX_ACCEPTED: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use prost::Message;

    use super::*;
    use crate::proto::prometheus;

    fn requests() -> impl Strategy<Value = ReadRequest> {
        let kind = prop_oneof![
            Just(MatcherKind::Equal),
            Just(MatcherKind::NotEqual),
            Just(MatcherKind::Regex),
            Just(MatcherKind::NotRegex)
        ];
        let matcher =
            (kind, ".{0,5}", ".{0,8}").prop_map(|(kind, name, value)| Matcher { kind, name, value });
        let query =
            (any::<i64>(), 1..1_000_000_i64, vec(matcher, 0..4)).prop_map(|(start, length, matchers)| {
                let start = start.min(i64::MAX - length);
                Query { range: TimeRange::new(start, start + length).unwrap(), matchers }
            });
        let form = prop_oneof![
            Just(ResponseType::Samples),
            Just(ResponseType::StreamedXorChunks),
            (2..999_i32).prop_map(ResponseType::Other)
        ];
        (vec(query, 0..4), vec(form, 0..4)).prop_map(|(queries, mut accepted)| {
            accepted.dedup();
            ReadRequest { queries, accepted }
        })
    }

    proptest! {
        #[test]
        fn what_is_asked_is_read(request in requests()) {
            let mut expected = request.clone();
            let mut seen = Vec::new();
            expected.accepted.retain(|form| !seen.contains(form) && { seen.push(*form); true });
            prop_assert_eq!(ReadRequest::decode(&request.encode(), &Limits::default()), Ok(expected));
        }

        #[test]
        fn any_bytes_are_an_answer(bytes in vec(any::<u8>(), 0..200)) {
            let read = ReadRequest::decode(&bytes, &Limits::default());
            if prometheus::ReadRequest::decode(&bytes[..]).is_err() {
                prop_assert!(read.is_err());
            }
        }
    }

    #[track_caller]
    fn check(request: prometheus::ReadRequest, expected: ReadRequestError) {
        let limits = Limits { max_queries: 2, max_matchers_per_query: 1, ..Limits::default() };
        assert_eq!(ReadRequest::decode(&request.encode_to_vec(), &limits), Err(expected));
    }

    fn asking(queries: Vec<prometheus::Query>) -> prometheus::ReadRequest {
        prometheus::ReadRequest { queries, accepted_response_types: vec![] }
    }

    #[test]
    fn what_nobody_can_answer() {
        let matcher =
            |number| prometheus::LabelMatcher { r#type: number, name: b"a".to_vec(), value: vec![] };
        let query = |matchers| prometheus::Query { matchers, ..Default::default() };
        check(asking(vec![query(vec![]); 3]), ReadRequestError::TooManyQueries { limit: 2 });
        check(
            asking(vec![query(vec![matcher(0), matcher(0)])]),
            ReadRequestError::TooManyMatchers { query: 0, limit: 1 },
        );
        check(
            asking(vec![query(vec![]), query(vec![matcher(4)])]),
            ReadRequestError::MatcherType { query: 1, number: 4 },
        );
        let range = prometheus::Query { start_timestamp_ms: 2, end_timestamp_ms: 1, ..Default::default() };
        let source = InvalidTimeRange { start_ms: 2, end_ms: 2 };
        check(asking(vec![range]), ReadRequestError::Range { query: 0, source });
        let not_utf8 = prometheus::LabelMatcher { value: vec![0xff], ..matcher(0) };
        check(asking(vec![query(vec![not_utf8])]), ReadRequestError::NotUtf8 { query: 0 });
    }

    #[test]
    fn the_first_supported_form_wins() {
        use ResponseType::{Other, Samples, StreamedXorChunks};
        let choose = |accepted: &[ResponseType], supported: &[ResponseType]| {
            ReadRequest { queries: vec![], accepted: accepted.to_vec() }.choose(supported)
        };
        let both = [Samples, StreamedXorChunks];
        assert_eq!(choose(&[StreamedXorChunks, Samples], &both), Some(StreamedXorChunks));
        assert_eq!(choose(&[Samples, StreamedXorChunks], &both), Some(Samples));
        assert_eq!(choose(&[Other(5), StreamedXorChunks], &both), Some(StreamedXorChunks));
        assert_eq!(choose(&[StreamedXorChunks, Samples], &[Samples]), Some(Samples));
        assert_eq!(choose(&[], &both), Some(Samples));
        assert_eq!(choose(&[Other(5)], &both), None);
        assert_eq!(choose(&[], &[StreamedXorChunks]), None);
    }
}
