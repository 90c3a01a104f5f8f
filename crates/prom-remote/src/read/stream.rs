//! A streamed answer: frames become series.

use thiserror::Error;

use super::{Chunk, FrameError, FrameReader, Label, StreamedSeries, series::SelectorOf};
use crate::{
    DecodeError, DecodeErrorKind, LabelView, Limits,
    wire::{Field, Fields},
};

/// Takes a streamed answer in pieces of any size and gives back its series, one at a time.
///
/// Parts of a series in consecutive frames become one series, so a series is there when the next one begins, or at
/// the end. Holds one frame, one series and the piece given last.
///
/// ```
/// use prom_remote::{Label, Limits, ReadStream, Sample, StreamWriter, TimeRange, chunk_samples};
///
/// let samples: Vec<Sample> = (0..500).map(|second| Sample::new(second * 1_000, 1.0)).collect();
/// let labels = [Label { name: b"__name__".to_vec(), value: b"up".to_vec() }];
/// let mut body = Vec::new();
/// StreamWriter::default().series(0, &labels, chunk_samples(&samples), &mut body);
///
/// let limits = Limits::default();
/// let mut stream = ReadStream::new(1, &limits);
/// let range = TimeRange::new(100_000, 200_000)?;
/// for piece in body.chunks(100) {
///     stream.push(piece);
///     while let Some(series) = stream.next_series()? {
///         unreachable!("the only series ends with the stream, not before: {series:?}");
///     }
/// }
/// let series = stream.finish()?.expect("a series");
/// assert_eq!(series.decode(range, &limits)?.samples.len(), 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ReadStream {
    frames: FrameReader,
    limits: Limits,
    query_count: usize,
    /// The series that frames are still added to, and the bytes that it holds.
    open: Option<(StreamedSeries, usize)>,
    /// Series of one frame that are whole, last first. A frame has one series as a rule.
    whole: Vec<StreamedSeries>,
    frame: u64,
}

/// A streamed answer cannot be read further.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadStreamError {
    /// The stream is broken, or was aborted.
    #[error("broken stream")]
    Frame(#[from] FrameError),
    /// A frame does not hold a `ChunkedReadResponse`, or goes over a limit.
    #[error("malformed message in frame {frame}")]
    Malformed {
        /// The frame, counted from 0.
        frame: u64,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A frame answers a query that was not asked.
    #[error("frame {frame} answers query {query}, of {query_count} asked")]
    UnknownQuery {
        /// The frame, counted from 0.
        frame: u64,
        /// The number of the query.
        query: i64,
        /// How many queries were asked.
        query_count: usize,
    },
    /// The chunks of a series, or all that one frame holds, take more than [`Limits::max_series_bytes`]: ask for a
    /// shorter range.
    #[error("series {series} takes more than the limit of {limit} bytes")]
    SeriesTooLarge {
        /// The labels of the series.
        series: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// A label name or value is longer than [`Limits::max_label_bytes`].
    #[error("label of {length} bytes is over the limit of {limit}, in frame {frame}")]
    LabelTooLong {
        /// The frame, counted from 0.
        frame: u64,
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

impl ReadStream {
    /// Starts at the beginning of an answer to so many queries.
    pub fn new(query_count: usize, limits: &Limits) -> Self {
        Self {
            frames: FrameReader::new(limits),
            limits: *limits,
            query_count,
            open: None,
            whole: Vec::new(),
            frame: 0,
        }
    }

    /// Gives the next piece of the body.
    pub fn push(&mut self, piece: &[u8]) {
        self.frames.push(piece);
    }

    /// Returns the next series that is whole, or `None` if more of the stream is needed.
    ///
    /// # Errors
    /// The answer is broken or goes over a limit; it cannot be read further.
    pub fn next_series(&mut self) -> Result<Option<StreamedSeries>, ReadStreamError> {
        loop {
            if let Some(series) = self.whole.pop() {
                return Ok(Some(series));
            }
            let Some(message) = self.frames.next_frame()? else { return Ok(None) };
            let parts = Parts { frame: self.frame, query_count: self.query_count, limits: &self.limits };
            let parts = parts.read(message)?;
            self.frame += 1;
            for part in parts {
                self.add(part)?;
            }
            self.whole.reverse();
        }
    }

    /// Says that the body has ended, after [`next_series`](Self::next_series) has given all it can; returns the last
    /// series.
    ///
    /// # Errors
    /// The body ended inside a frame or with the words of a server that failed. The last series is then not whole
    /// and not returned.
    pub fn finish(&mut self) -> Result<Option<StreamedSeries>, ReadStreamError> {
        self.frames.finish()?;
        Ok(self.open.take().map(|(series, _)| series))
    }

    fn add(&mut self, part: StreamedSeries) -> Result<(), ReadStreamError> {
        let bytes = bytes_of(&part.chunks);
        let total = match &mut self.open {
            Some((open, total)) if (open.query, &open.labels) == (part.query, &part.labels) => {
                *total = total.saturating_add(bytes);
                open.chunks.extend(part.chunks);
                *total
            }
            open => {
                self.whole.extend(open.replace((part, bytes)).map(|(series, _)| series));
                bytes
            }
        };
        match &self.open {
            Some((series, _)) if total > self.limits.max_series_bytes => {
                Err(ReadStreamError::SeriesTooLarge {
                    series: SelectorOf(&series.labels).to_string(),
                    limit: self.limits.max_series_bytes,
                })
            }
            _ => Ok(()),
        }
    }
}

/// What chunks take in memory.
fn bytes_of(chunks: &[Chunk]) -> usize {
    chunks.iter().map(|chunk| size_of::<Chunk>() + chunk.data.len()).sum()
}

/// Reads the series of a frame.
struct Parts<'a> {
    frame: u64,
    query_count: usize,
    limits: &'a Limits,
}

impl Parts<'_> {
    fn read(&self, message: &[u8]) -> Result<Vec<StreamedSeries>, ReadStreamError> {
        let query = self.query(message)?;
        let mut parts = Vec::new();
        let mut bytes = 0_usize;
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next().map_err(|source| self.malformed(source))? {
            if field.number != SERIES {
                continue;
            }
            if parts.len() >= self.limits.max_series {
                let kind = DecodeErrorKind::TooManySeries { limit: self.limits.max_series };
                return Err(self.malformed(DecodeError::new(kind, field.offset())));
            }
            parts.push(self.series(&field, query, &mut bytes)?);
        }
        Ok(parts)
    }

    fn query(&self, message: &[u8]) -> Result<usize, ReadStreamError> {
        let mut number = 0_i64;
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next().map_err(|source| self.malformed(source))? {
            if field.number == QUERY_INDEX {
                number = field.varint().map_err(|source| self.malformed(source))? as i64;
            }
        }
        match usize::try_from(number) {
            Ok(query) if query < self.query_count => Ok(query),
            _ => Err(ReadStreamError::UnknownQuery {
                frame: self.frame,
                query: number,
                query_count: self.query_count,
            }),
        }
    }

    /// `bytes` counts what the labels and chunks of the whole frame take.
    fn series(
        &self,
        field: &Field<'_>,
        query: usize,
        bytes: &mut usize,
    ) -> Result<StreamedSeries, ReadStreamError> {
        let mut part = StreamedSeries { query, labels: Vec::new(), chunks: Vec::new() };
        let mut fields = field.message().map_err(|source| self.malformed(source))?;
        while let Some(field) = fields.next().map_err(|source| self.malformed(source))? {
            match field.number {
                LABELS => {
                    let limit = self.limits.max_labels_per_series;
                    if part.labels.len() >= limit {
                        let kind = DecodeErrorKind::TooManyLabels { limit };
                        return Err(self.malformed(DecodeError::new(kind, field.offset())));
                    }
                    let label = self.label(&field)?;
                    *bytes = bytes.saturating_add(size_of::<Label>() + label.name.len() + label.value.len());
                    part.labels.push(label);
                    self.check_size(*bytes, &part)?;
                }
                CHUNKS => {
                    let chunk = chunk(&field).map_err(|source| self.malformed(source))?;
                    *bytes = bytes.saturating_add(bytes_of(std::slice::from_ref(&chunk)));
                    self.check_size(*bytes, &part)?;
                    part.chunks.push(chunk);
                }
                _ => {}
            }
        }
        Ok(part)
    }

    fn check_size(&self, bytes: usize, part: &StreamedSeries) -> Result<(), ReadStreamError> {
        if bytes <= self.limits.max_series_bytes {
            return Ok(());
        }
        Err(ReadStreamError::SeriesTooLarge {
            series: SelectorOf(&part.labels).to_string(),
            limit: self.limits.max_series_bytes,
        })
    }

    fn label(&self, field: &Field<'_>) -> Result<Label, ReadStreamError> {
        let LabelView { name, value, .. } = LabelView::new(field).map_err(|source| self.malformed(source))?;
        let (length, limit) = (name.len().max(value.len()), self.limits.max_label_bytes);
        if length > limit {
            return Err(ReadStreamError::LabelTooLong { frame: self.frame, length, limit });
        }
        Ok(Label { name: name.to_vec(), value: value.to_vec() })
    }

    fn malformed(&self, source: DecodeError) -> ReadStreamError {
        ReadStreamError::Malformed { frame: self.frame, source }
    }
}

fn chunk(field: &Field<'_>) -> Result<Chunk, DecodeError> {
    let mut chunk = Chunk { min_time_ms: 0, max_time_ms: 0, encoding: 0, data: Vec::new() };
    let mut data = &b""[..];
    let mut fields = field.message()?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => chunk.min_time_ms = field.varint()? as i64,
            2 => chunk.max_time_ms = field.varint()? as i64,
            3 => chunk.encoding = field.varint()? as i32,
            4 => data = field.bytes()?,
            _ => {}
        }
    }
    chunk.data = data.to_vec();
    Ok(chunk)
}

// Field numbers of `ChunkedReadResponse` and `ChunkedSeries` in proto/prometheus/remote.proto.
const SERIES: u32 = 1;
const QUERY_INDEX: u32 = 2;
const LABELS: u32 = 1;
const CHUNKS: u32 = 2;
