//! Shows what a captured request or answer holds, one JSON object for each series and line:
//!
//! ```text
//! dump --kind write-1|write-2|read-samples|read-stream FILE
//! ```
//!
//! `FILE` is the body as it was sent. Where snappy belongs to the protocol, a body that was already decompressed is
//! taken too. Values of samples are the bits of a double in decimal; counts of buckets are absolute. A double of a
//! histogram that JSON has no number for is a string; a sum then has its bits beside it (`sum_bits`).

use std::{error::Error, io::Write, process::ExitCode};

use prom_remote::{
    Limits, ReadResponseView, ReadStream, SampleV2, SeriesView, StartedSample, StreamedSeries, TimeRange,
    WriteRequestV2View, WriteRequestView, decompress,
    prom_chunks::{BucketCounts, Buckets, Histogram, Span},
};
use serde_json::{Value, json};

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A remote-write 1.0 request.
    Write1,
    /// A remote-write 2.0 request.
    Write2,
    /// A remote-read answer of type SAMPLES.
    ReadSamples,
    /// A streamed remote-read answer.
    ReadStream,
}

#[allow(dead_code, reason = "tests call `dump` themselves")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (kind, file) = match &arguments[..] {
        [option, kind, file] if option == "--kind" => (kind, file),
        [file, option, kind] if option == "--kind" => (kind, file),
        _ => return usage(),
    };
    let kind = match kind.as_str() {
        "write-1" => Kind::Write1,
        "write-2" => Kind::Write2,
        "read-samples" => Kind::ReadSamples,
        "read-stream" => Kind::ReadStream,
        _ => return usage(),
    };
    let dumped = std::fs::read(file)
        .map_err(Into::into)
        .and_then(|body| dump(kind, &body, &mut std::io::stdout().lock()));
    match dumped {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut cause = Some(&*error as &dyn Error);
            let mut message = String::from("dump failed");
            while let Some(error) = cause {
                message = format!("{message}: {error}");
                cause = error.source();
            }
            let _ = writeln!(std::io::stderr(), "{message}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    let text = "usage: dump --kind write-1|write-2|read-samples|read-stream FILE";
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(2)
}

/// Writes a line for each series of a body.
///
/// # Errors
/// A body that is not of this kind; the series before the fault are written.
pub fn dump(kind: Kind, body: &[u8], output: &mut impl Write) -> Result<(), Box<dyn Error>> {
    match kind {
        Kind::Write1 => {
            for series in WriteRequestView::new(&message(body)).series() {
                view(&series?, output)?;
            }
        }
        Kind::Write2 => write_2(&message(body), output)?,
        Kind::ReadSamples => {
            for series in ReadResponseView::new(&message(body)).series() {
                view(&series?.series, output)?;
            }
        }
        Kind::ReadStream => read_stream(body, output)?,
    }
    Ok(())
}

/// The body without compression.
fn message(body: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    match decompress(body, &limits(), &mut message) {
        Ok(()) => message,
        Err(_) => body.to_vec(),
    }
}

/// Those of a file that fits into memory.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_compressed_bytes = 1 << 30;
    limits.max_decoded_bytes = 1 << 30;
    limits.max_series_bytes = 1 << 30;
    limits.max_frame_bytes = 1 << 30;
    limits.max_samples = 1 << 30;
    limits
}

fn view(series: &SeriesView<'_>, output: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let labels = series.labels().map(|label| (label.name, label.value));
    let samples = series.samples().map(StartedSample::from);
    let histograms = series.histograms().map(|histogram| histogram.decode(&limits()));
    print(labels, samples, &histograms.collect::<Result<Vec<_>, _>>()?, output)
}

fn write_2(message: &[u8], output: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let request = WriteRequestV2View::new(message, &limits())?;
    for series in request.series() {
        let series = series?;
        let labels: Vec<_> =
            series.labels(request.symbols()).map(|label| (label.name, label.value)).collect();
        if labels.len() * 2 != series.ref_count() {
            let index = series.index();
            return Err(format!("the labels of series {index} are not pairs of symbols that exist").into());
        }
        let samples = series
            .samples()
            .map(|SampleV2 { sample, start_timestamp_ms }| StartedSample { sample, start_timestamp_ms });
        let histograms = series.histograms().map(|histogram| {
            let start_timestamp_ms = histogram.start_timestamp_ms();
            histogram.decode(&limits()).map(|decoded| Histogram { start_timestamp_ms, ..decoded })
        });
        print(labels, samples, &histograms.collect::<Result<Vec<_>, _>>()?, output)?;
    }
    Ok(())
}

fn read_stream(body: &[u8], output: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let mut stream = ReadStream::new(usize::MAX, &limits());
    // A series that cannot be decoded is told after the others were shown.
    let mut failed = None;
    for piece in body.chunks(PIECE) {
        stream.push(piece);
        while let Some(series) = stream.next_series()? {
            failed = streamed(&series, output)?.or(failed);
        }
    }
    if let Some(series) = stream.finish()? {
        failed = streamed(&series, output)?.or(failed);
    }
    failed.map_or(Ok(()), Err)
}

/// Prints a series, or returns why it cannot be decoded.
fn streamed(
    series: &StreamedSeries,
    output: &mut impl Write,
) -> Result<Option<Box<dyn Error>>, Box<dyn Error>> {
    let all_time = TimeRange::new(i64::MIN, i64::MAX)?;
    let content = match series.decode(all_time, &limits()) {
        Ok(content) => content,
        Err(error) => return Ok(Some(error.into())),
    };
    let labels = series.labels.iter().map(|label| (&label.name, &label.value));
    print(labels, content.samples, &content.histograms, output)?;
    Ok(None)
}

fn print<Name: AsRef<[u8]>, Text: AsRef<[u8]>>(
    labels: impl IntoIterator<Item = (Name, Text)>,
    samples: impl IntoIterator<Item = StartedSample>,
    histograms: &[Histogram],
    output: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let labels: Vec<_> =
        labels.into_iter().map(|(name, value)| json!([text(name.as_ref()), text(value.as_ref())])).collect();
    let samples: Vec<_> = samples.into_iter().map(sample).collect();
    let histograms: Vec<_> = histograms.iter().map(histogram).collect();
    let object = json!({ "labels": labels, "samples": samples, "histograms": histograms });
    writeln!(output, "{object}")?;
    Ok(())
}

fn sample(started: StartedSample) -> Value {
    let mut object = json!({
        "t": started.sample.timestamp_ms,
        "bits": started.sample.value_bits.to_string(),
    });
    if started.start_timestamp_ms != 0 {
        object["st"] = json!(started.start_timestamp_ms);
    }
    object
}

fn histogram(histogram: &Histogram) -> Value {
    let spans =
        |spans: &[Span]| spans.iter().map(|span| json!([span.offset, span.length])).collect::<Vec<_>>();
    let (zero_count, count, positive, negative) = match &histogram.counts {
        BucketCounts::Integer(buckets) => counts(buckets, |count| json!(count)),
        BucketCounts::Float(buckets) => counts(buckets, |count| double(*count)),
    };
    let mut object = json!({
        "t": histogram.timestamp_ms,
        "schema": histogram.schema,
        "zero_threshold": double(histogram.zero_threshold),
        "zero_count": zero_count,
        "count": count,
        "sum": double(histogram.sum),
        "positive_spans": spans(&histogram.positive_spans),
        "positive_buckets": positive,
        "negative_spans": spans(&histogram.negative_spans),
        "negative_buckets": negative,
        "custom_values": histogram.custom_values.iter().copied().map(double).collect::<Vec<_>>(),
        "reset_hint": histogram.reset_hint.number(),
    });
    if !histogram.sum.is_finite() {
        object["sum_bits"] = json!(histogram.sum.to_bits().to_string());
    }
    if histogram.start_timestamp_ms != 0 {
        object["st"] = json!(histogram.start_timestamp_ms);
    }
    object
}

fn counts<Count>(
    buckets: &Buckets<Count>,
    number: impl Fn(&Count) -> Value,
) -> (Value, Value, Vec<Value>, Vec<Value>) {
    let all = |counts: &[Count]| counts.iter().map(&number).collect();
    (number(&buckets.zero_count), number(&buckets.count), all(&buckets.positive), all(&buckets.negative))
}

/// A number, or the name of what JSON has no number for.
fn double(double: f64) -> Value {
    match double {
        _ if double.is_finite() => json!(double),
        _ if double.is_nan() => json!("NaN"),
        f64::INFINITY => json!("+Inf"),
        _ => json!("-Inf"),
    }
}

/// Read at once.
const PIECE: usize = 1 << 20;
