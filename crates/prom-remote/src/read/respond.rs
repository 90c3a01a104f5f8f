//! Answers, as a server writes them.

use prom_chunks::{Histogram, Sample};

use super::{Chunk, Label, write_frame};
use crate::{
    WriteRequestBuilder, encode_histogram,
    wire::{put_bytes, put_bytes_unless_empty, put_varint},
};

/// Writes a streamed answer: one series in each frame, a large series in several.
///
/// Series should come query by query, sorted by labels, as every client expects.
#[derive(Debug, Clone, Copy)]
pub struct StreamWriter {
    max_frame_bytes: usize,
}

impl Default for StreamWriter {
    /// Frames of 1 MiB, as Prometheus has it.
    fn default() -> Self {
        Self::with_max_frame_bytes(1 << 20)
    }
}

impl StreamWriter {
    /// Begins a new frame before one goes over `max_frame_bytes` by more than a chunk.
    pub fn with_max_frame_bytes(max_frame_bytes: usize) -> Self {
        Self { max_frame_bytes }
    }

    /// Appends the frames of one series; none if it has no chunks.
    pub fn series(
        &self,
        query: usize,
        labels: &[Label],
        chunks: impl IntoIterator<Item = Chunk>,
        stream: &mut Vec<u8>,
    ) {
        let mut head = Vec::new();
        let mut content = Vec::new();
        for label in labels {
            content.clear();
            put_bytes_unless_empty(&mut content, 1, &label.name);
            put_bytes_unless_empty(&mut content, 2, &label.value);
            put_bytes(&mut head, 1, &content);
        }
        let mut series = head.clone();
        let mut chunks = chunks.into_iter().peekable();
        while let Some(chunk) = chunks.next() {
            content.clear();
            put_chunk(&mut content, &chunk);
            put_bytes(&mut series, 2, &content);
            if series.len() < self.max_frame_bytes && chunks.peek().is_some() {
                continue;
            }
            let mut message = Vec::with_capacity(series.len() + 16);
            put_bytes(&mut message, 1, &series);
            if query > 0 {
                message.push(0x10);
                put_varint(&mut message, query as u64);
            }
            write_frame(&message, stream);
            series.truncate(head.len());
        }
    }
}

fn put_chunk(content: &mut Vec<u8>, chunk: &Chunk) {
    for (key, number) in [
        (0x08, chunk.min_time_ms as u64),
        (0x10, chunk.max_time_ms as u64),
        (0x18, i64::from(chunk.encoding) as u64),
    ] {
        if number != 0 {
            content.push(key);
            put_varint(content, number);
        }
    }
    put_bytes_unless_empty(content, 4, &chunk.data);
}

/// Builds an answer of type SAMPLES: a result for each query, in the order of the queries.
///
/// ```
/// use prom_remote::{Limits, ReadResponseBuilder, Sample, decode_samples};
///
/// let mut builder = ReadResponseBuilder::new();
/// builder.series([("__name__", "up")], [Sample::new(1_000, 1.0)], &[]);
/// builder.end_result();
/// builder.end_result();
/// let results = decode_samples(&builder.finish(), 2, &Limits::default())?;
/// assert_eq!((results[0].len(), results[1].len()), (1, 0));
/// # Ok::<(), prom_remote::ReadDecodeError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ReadResponseBuilder {
    response: Vec<u8>,
    /// A result has its series where a write request has them.
    result: WriteRequestBuilder,
}

impl ReadResponseBuilder {
    /// Starts an empty answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a series to the current result; its labels are sorted.
    pub fn series<Name, Value>(
        &mut self,
        labels: impl IntoIterator<Item = (Name, Value)>,
        samples: impl IntoIterator<Item = Sample>,
        histograms: &[Histogram],
    ) -> &mut Self
    where
        Name: AsRef<[u8]>,
        Value: AsRef<[u8]>,
    {
        let histograms = histograms.iter().map(|histogram| {
            let mut message = Vec::new();
            encode_histogram(histogram, &mut message);
            message
        });
        self.result.series_with_histograms(labels, samples, histograms);
        self
    }

    /// Ends the result of a query; the next series belongs to the next query.
    pub fn end_result(&mut self) -> &mut Self {
        put_bytes(&mut self.response, 1, &self.result.finish());
        self
    }

    /// Returns the bytes of the `ReadResponse` message, and starts a new one. A result that was not ended is lost.
    pub fn finish(&mut self) -> Vec<u8> {
        self.result.finish();
        std::mem::take(&mut self.response)
    }
}
