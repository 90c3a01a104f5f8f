//! The series of a request as JSON.

use prom_remote::{
    DecodeError, HistogramView, LabelView, Limits, SampleV2, SeriesV2View, SeriesView, WriteRequestV2View,
    WriteRequestView,
    prom_chunks::{BucketCounts, Span},
};
use prom_remote_http::WriteVersion;
use serde_json::{Value, json};

/// An object for each series: labels, samples and histograms as they were received.
pub(crate) fn series(version: WriteVersion, message: &[u8]) -> Result<Vec<Value>, DecodeError> {
    match version {
        WriteVersion::V1 => {
            let object = |series: SeriesView<'_>| {
                let samples = series.samples().map(|sample| SampleV2 { sample, start_timestamp_ms: 0 });
                object(series.labels(), samples, series.histograms())
            };
            WriteRequestView::new(message).series().map(|series| series.map(object)).collect()
        }
        WriteVersion::V2 => {
            let request = WriteRequestV2View::new(message, &Limits::default())?;
            let object = |series: SeriesV2View<'_>| {
                object(series.labels(request.symbols()), series.samples(), series.histograms())
            };
            request.series().map(|series| series.map(object)).collect()
        }
    }
}

fn object<'a>(
    labels: impl Iterator<Item = LabelView<'a>>,
    samples: impl Iterator<Item = SampleV2>,
    histograms: impl Iterator<Item = HistogramView<'a>>,
) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let labels: Value = labels.map(|label| json!([text(label.name), text(label.value)])).collect();
    let samples: Value = samples.map(sample).collect();
    json!({"labels": labels, "samples": samples, "histograms": histograms.map(histogram).collect::<Value>()})
}

fn sample(SampleV2 { sample, start_timestamp_ms }: SampleV2) -> Value {
    let mut object = json!({"t": sample.timestamp_ms, "bits": sample.value_bits.to_string()});
    if start_timestamp_ms != 0 {
        object["st"] = json!(start_timestamp_ms);
    }
    object
}

fn histogram(view: HistogramView<'_>) -> Value {
    let value = match view.decode(&Limits::default()) {
        Ok(value) => value,
        Err(error) => return json!({"t": view.timestamp_ms, "error": error.to_string()}),
    };
    let spans =
        |spans: &[Span]| spans.iter().map(|span| json!([span.offset, span.length])).collect::<Value>();
    let (count, zero_count, positive, negative) = match &value.counts {
        BucketCounts::Integer(buckets) => (
            json!(buckets.count),
            json!(buckets.zero_count),
            json!(buckets.positive),
            json!(buckets.negative),
        ),
        BucketCounts::Float(buckets) => (
            json!(buckets.count),
            json!(buckets.zero_count),
            json!(buckets.positive),
            json!(buckets.negative),
        ),
    };
    json!({
        "t": value.timestamp_ms, "st": view.start_timestamp_ms(), "schema": value.schema,
        "count": count, "sum_bits": value.sum.to_bits().to_string(), "reset_hint": value.reset_hint.number(),
        "zero_threshold": value.zero_threshold, "zero_count": zero_count, "custom_values": value.custom_values,
        "positive_spans": spans(&value.positive_spans), "positive_buckets": positive,
        "negative_spans": spans(&value.negative_spans), "negative_buckets": negative,
    })
}
