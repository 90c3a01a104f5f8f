//! An answer to a remote read, series by series, as it arrives.

use std::vec;

use prom_remote::{
    HistogramDecodeError, Label, Limits, ReadSeries, ReadStream, ReadStreamError, ResponseType,
    SeriesContent, SeriesDecodeError, StreamedSeries, TimeRange, prom_chunks::StartedSample,
};
use reqwest::Response;
use thiserror::Error;

use super::read::{ReadError, no_answer};

/// The series of an answer, one at a time.
///
/// Nothing is read ahead: a reader that takes its time holds the server back by the connection's own flow control.
/// Dropping it ends the connection.
#[derive(Debug)]
pub struct SeriesStream {
    ranges: Vec<TimeRange>,
    limits: Limits,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Streamed { response: Response, stream: Box<ReadStream>, is_ended: bool },
    Samples(vec::IntoIter<(usize, ReadSeries)>),
}

/// A series of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeriesAnswer {
    /// The number of the query that it answers, from 0.
    pub query: usize,
    /// The labels as the server sent them: sorted, if it keeps to the protocol.
    pub labels: Vec<Label>,
    /// What it holds in the range of the query, in the order of time; or why this one series cannot be read.
    pub content: Result<SeriesContent, SeriesContentError>,
}

impl SeriesAnswer {
    /// Returns the value of the first label of this name; `None` also for an empty one.
    pub fn label(&self, name: &[u8]) -> Option<&[u8]> {
        let found = self.labels.iter().find(|label| label.name == name);
        found.map(|label| &label.value[..]).filter(|value| !value.is_empty())
    }
}

/// One series cannot be read; the others of the answer can.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SeriesContentError {
    /// A chunk is of an unknown encoding, broken, or over a limit.
    #[error("chunks cannot be decoded")]
    Chunks(#[from] SeriesDecodeError),
    /// A histogram is broken, or over a limit.
    #[error("histogram cannot be decoded")]
    Histogram(#[from] HistogramDecodeError),
}

impl SeriesStream {
    pub(super) fn streamed(response: Response, ranges: Vec<TimeRange>, limits: Limits) -> Self {
        let stream = Box::new(ReadStream::new(ranges.len(), &limits));
        Self { ranges, limits, source: Source::Streamed { response, stream, is_ended: false } }
    }

    pub(super) fn samples(results: Vec<Vec<ReadSeries>>, ranges: Vec<TimeRange>, limits: Limits) -> Self {
        let series = results.into_iter().enumerate();
        let series = series.flat_map(|(query, series)| series.into_iter().map(move |series| (query, series)));
        let series: Vec<_> = series.collect();
        Self { ranges, limits, source: Source::Samples(series.into_iter()) }
    }

    /// Returns the form of answer that the server chose.
    pub fn response_type(&self) -> ResponseType {
        match self.source {
            Source::Streamed { .. } => ResponseType::StreamedXorChunks,
            Source::Samples(_) => ResponseType::Samples,
        }
    }

    /// Returns the next series, or `None` at the end of a whole answer.
    ///
    /// # Errors
    /// The connection broke off, the server gave up half-way, or the answer goes over a limit: it cannot be read
    /// further, and what was read is not all.
    pub async fn next(&mut self) -> Result<Option<SeriesAnswer>, ReadError> {
        let Self { ranges, limits, source } = self;
        match source {
            Source::Samples(series) => {
                let next = series.next();
                Ok(next.map(|(query, series)| answer_of_samples(query, series, ranges, limits)))
            }
            Source::Streamed { response, stream, is_ended } => {
                let next = next_streamed(response, stream, is_ended).await?;
                Ok(next.map(|series| answer_of_chunks(series, ranges, limits)))
            }
        }
    }
}

async fn next_streamed(
    response: &mut Response,
    stream: &mut ReadStream,
    is_ended: &mut bool,
) -> Result<Option<StreamedSeries>, ReadError> {
    loop {
        if *is_ended {
            return Ok(None);
        }
        if let Some(series) = stream.next_series()? {
            return Ok(Some(series));
        }
        match response.chunk().await {
            Ok(Some(piece)) => stream.push(&piece),
            Ok(None) => {
                *is_ended = true;
                return Ok(stream.finish()?);
            }
            Err(error) => {
                *is_ended = true;
                return Err(no_answer(error));
            }
        }
    }
}

fn answer_of_chunks(series: StreamedSeries, ranges: &[TimeRange], limits: &Limits) -> SeriesAnswer {
    let content = match ranges.get(series.query) {
        Some(range) => series.decode(*range, limits).map_err(SeriesContentError::from),
        // Not met: the stream refuses answers to queries that were not asked.
        None => Ok(SeriesContent::default()),
    };
    SeriesAnswer { query: series.query, labels: series.labels, content }
}

fn answer_of_samples(
    query: usize,
    series: ReadSeries,
    ranges: &[TimeRange],
    limits: &Limits,
) -> SeriesAnswer {
    let is_inside = |timestamp_ms| ranges.get(query).is_some_and(|range| range.contains(timestamp_ms));
    let mut content = SeriesContent::default();
    let samples = series.samples.iter().filter(|sample| is_inside(sample.timestamp_ms));
    content.samples = samples.map(|&sample| StartedSample { sample, start_timestamp_ms: 0 }).collect();
    let histograms = series.histograms.iter().filter(|histogram| is_inside(histogram.timestamp_ms));
    let histograms: Result<_, _> = histograms.map(|histogram| histogram.decode(limits)).collect();
    let content = histograms.map(|histograms| {
        content.histograms = histograms;
        content
    });
    SeriesAnswer { query, labels: series.labels, content: content.map_err(SeriesContentError::from) }
}

impl From<ReadStreamError> for ReadError {
    fn from(error: ReadStreamError) -> Self {
        Self::Stream(error)
    }
}
