//! Where a source of series puts them: into frames, or into one block of samples.

use bytes::Bytes;
use prom_remote::{
    Label, ReadResponseBuilder, Sample, StreamWriter, chunk_histograms, chunk_samples, prom_chunks::Histogram,
};
use tokio::sync::mpsc;

use super::read::ReadFailure;

/// Takes the series that answer a query; see [`ReadSource`](crate::ReadSource).
#[derive(Debug)]
pub struct SeriesSink {
    form: Form,
    query: usize,
}

#[derive(Debug)]
enum Form {
    Streamed { writer: StreamWriter, frames: mpsc::Sender<Bytes> },
    Samples { builder: ReadResponseBuilder, count: usize, limit: usize },
}

impl SeriesSink {
    pub(super) fn streamed(frames: mpsc::Sender<Bytes>) -> Self {
        Self { form: Form::Streamed { writer: StreamWriter::default(), frames }, query: 0 }
    }

    pub(super) fn samples(limit: usize) -> Self {
        Self { form: Form::Samples { builder: ReadResponseBuilder::new(), count: 0, limit }, query: 0 }
    }

    /// Adds a series. Samples and histograms are in the order of time and within the range of the query; labels are
    /// sorted by name. The series of a query should come sorted by labels.
    ///
    /// Waits while the client has not yet taken what came before.
    ///
    /// # Errors
    /// More samples than the server allows in an answer of type SAMPLES, a histogram that cannot be encoded, or a
    /// client that has gone away. Pass it on.
    pub async fn series(
        &mut self,
        labels: &[Label],
        samples: &[Sample],
        histograms: &[Histogram],
    ) -> Result<(), ReadFailure> {
        match &mut self.form {
            Form::Samples { builder, count, limit } => {
                *count = count.saturating_add(samples.len()).saturating_add(histograms.len());
                if *count > *limit {
                    return Err(ReadFailure::Invalid { message: format!("exceeded sample limit ({limit})") });
                }
                let labels = labels.iter().map(|label| (&label.name, &label.value));
                builder.series(labels, samples.iter().copied(), histograms);
                Ok(())
            }
            Form::Streamed { writer, frames } => {
                let mut chunks = chunk_samples(samples);
                let histograms = chunk_histograms(histograms).map_err(|error| ReadFailure::Failed {
                    message: format!("histogram cannot be encoded: {error}"),
                })?;
                chunks.extend(histograms);
                let mut stream = Vec::new();
                writer.series(self.query, labels, chunks, &mut stream);
                if stream.is_empty() {
                    return Ok(());
                }
                let gone = ReadFailure::Failed { message: "client has gone away".to_owned() };
                frames.send(stream.into()).await.map_err(|_| gone)
            }
        }
    }

    /// The next series answer the next query.
    pub(super) fn end_query(&mut self) {
        self.query += 1;
        if let Form::Samples { builder, .. } = &mut self.form {
            builder.end_result();
        }
    }

    /// Returns the message of an answer of type SAMPLES.
    pub(super) fn finish(self) -> Vec<u8> {
        match self.form {
            Form::Samples { mut builder, .. } => builder.finish(),
            Form::Streamed { .. } => Vec::new(),
        }
    }
}
