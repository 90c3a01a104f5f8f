//! The bytes of records: those of the spare data, and those of the ledger.

use prom_remote_http::WriteVersion;

use super::{identity::SeriesKey, memory::Progress, spare::SpareHeader};
use crate::source::{FORMAT_V1, FORMAT_V2};

/// The first byte of a record of the journal of a source, by version of the protocol.
pub(crate) fn format_of(version: WriteVersion) -> u8 {
    match version {
        WriteVersion::V1 => FORMAT_V1,
        WriteVersion::V2 => FORMAT_V2,
    }
}

pub(crate) fn version_of(format: u8) -> Option<WriteVersion> {
    match format {
        FORMAT_V1 => Some(WriteVersion::V1),
        FORMAT_V2 => Some(WriteVersion::V2),
        _ => None,
    }
}

pub(crate) fn spare_header(header: &SpareHeader) -> [u8; SPARE_HEADER_BYTES] {
    let mut bytes = [0; SPARE_HEADER_BYTES];
    let fields =
        [&header.arrival_ms.to_le_bytes(), &header.latest_ms.to_le_bytes(), &header.samples.to_le_bytes()];
    let all = std::iter::once(format_of(header.version)).chain(fields.into_iter().flatten().copied());
    bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from);
    bytes
}

/// Reads header and body; `None` if it is no record of spare data.
pub(crate) fn read_spare(payload: &[u8]) -> Option<(SpareHeader, &[u8])> {
    let mut bytes = payload;
    let version = version_of(take::<1>(&mut bytes)?[0])?;
    let arrival_ms = i64::from_le_bytes(take(&mut bytes)?);
    let latest_ms = i64::from_le_bytes(take(&mut bytes)?);
    let samples = u64::from_le_bytes(take(&mut bytes)?);
    Some((SpareHeader { version, arrival_ms, latest_ms, samples }, bytes))
}

/// A record of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LedgerRecord {
    /// A replica was elected.
    Elected { term: u64, replica: String },
    /// A checkpoint begins.
    Begin(CheckpointHead),
    /// Some of its series.
    Series { id: u64, progress: Vec<Progress> },
    /// It is whole.
    End { id: u64 },
}

/// What is known of a checkpoint before its series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckpointHead {
    /// Tells one checkpoint from another.
    pub(crate) id: u64,
    /// The first record of the journal of the source that it does not know.
    pub(crate) position: u64,
    /// How keys are made.
    pub(crate) keys_version: u64,
    /// The latest timestamp of a forgotten series.
    pub(crate) forgotten_ms: i64,
    /// How many series follow.
    pub(crate) series: u64,
    /// Who is elected; empty if nobody.
    pub(crate) elected: String,
    pub(crate) term: u64,
}

impl LedgerRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Elected { term, replica } => {
                bytes.push(1);
                bytes.extend_from_slice(&term.to_le_bytes());
                bytes.extend_from_slice(replica.as_bytes());
            }
            Self::Begin(head) => {
                bytes.push(2);
                for number in [head.id, head.position, head.keys_version, head.series, head.term] {
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
                bytes.extend_from_slice(&head.forgotten_ms.to_le_bytes());
                bytes.extend_from_slice(head.elected.as_bytes());
            }
            Self::Series { id, progress } => {
                bytes.reserve(9 + progress.len() * 17);
                bytes.push(3);
                bytes.extend_from_slice(&id.to_le_bytes());
                for Progress { key, last_ms, has_ended } in progress {
                    bytes.extend_from_slice(&key.0.to_le_bytes());
                    bytes.extend_from_slice(&last_ms.to_le_bytes());
                    bytes.push(u8::from(*has_ended));
                }
            }
            Self::End { id } => {
                bytes.push(4);
                bytes.extend_from_slice(&id.to_le_bytes());
            }
        }
        bytes
    }

    /// `None` for what no version so far has written.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let [kind] = take(bytes)?;
        let first = u64::from_le_bytes(take(bytes)?);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        Some(match kind {
            1 => Self::Elected { term: first, replica: text(bytes)? },
            2 => {
                let [position, keys_version, series, term] =
                    [take(bytes)?, take(bytes)?, take(bytes)?, take(bytes)?].map(u64::from_le_bytes);
                let forgotten_ms = i64::from_le_bytes(take(bytes)?);
                let elected = text(bytes)?;
                Self::Begin(CheckpointHead {
                    id: first,
                    position,
                    keys_version,
                    forgotten_ms,
                    series,
                    elected,
                    term,
                })
            }
            3 => {
                let mut progress = Vec::with_capacity(bytes.len() / 17);
                while !bytes.is_empty() {
                    let key = SeriesKey(u64::from_le_bytes(take(bytes)?));
                    let last_ms = i64::from_le_bytes(take(bytes)?);
                    let [has_ended] = take(bytes)?;
                    progress.push(Progress { key, last_ms, has_ended: has_ended != 0 });
                }
                Self::Series { id: first, progress }
            }
            4 => Self::End { id: first },
            _ => return None,
        })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

pub(crate) const SPARE_HEADER_BYTES: usize = 25;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = LedgerRecord> {
        let progress = (any::<u64>(), any::<i64>(), any::<bool>())
            .prop_map(|(key, last_ms, has_ended)| Progress { key: SeriesKey(key), last_ms, has_ended });
        prop_oneof![
            (any::<u64>(), ".{0,20}").prop_map(|(term, replica)| LedgerRecord::Elected { term, replica }),
            (any::<[u64; 5]>(), any::<i64>(), ".{0,20}").prop_map(|(numbers, forgotten_ms, elected)| {
                let [id, position, keys_version, series, term] = numbers;
                LedgerRecord::Begin(CheckpointHead {
                    id,
                    position,
                    keys_version,
                    forgotten_ms,
                    series,
                    elected,
                    term,
                })
            }),
            (any::<u64>(), proptest::collection::vec(progress, 0..5))
                .prop_map(|(id, progress)| LedgerRecord::Series { id, progress }),
            any::<u64>().prop_map(|id| LedgerRecord::End { id }),
        ]
    }

    proptest! {
        #[test]
        fn records_of_the_ledger_come_back(record in record()) {
            prop_assert_eq!(LedgerRecord::decode(&record.encode()), Some(record));
        }

        #[test]
        fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (LedgerRecord::decode(&bytes), read_spare(&bytes));
        }
    }

    #[test]
    fn spare_headers_come_back() {
        let header =
            SpareHeader { version: WriteVersion::V2, arrival_ms: -5, latest_ms: i64::MAX, samples: 7 };
        let record = [&spare_header(&header)[..], b"body"].concat();
        assert_eq!(read_spare(&record), Some((header, &b"body"[..])));
        assert_eq!(read_spare(&record[..SPARE_HEADER_BYTES - 1]), None);
    }
}
