use prom_remote::{
    MetricType, SampleV2, SeriesV2, WriteRequestBuilder, WriteRequestV2Builder, encode_histogram,
};
use prom_remote_http::{
    ClientConfig, MessageBatch, NegotiationConfig, WriteBatch as _, WriteClient, WriteForm, WriteNegotiator,
    WriteRequest,
};

use crate::series::Series;

/// A client that writes to `url`.
///
/// # Panics
/// When the address is not sound.
pub fn client(url: &str) -> WriteClient {
    let config = ClientConfig::new(url).expect("the address is sound");
    WriteClient::new(config).expect("the client is sound")
}

/// A negotiator for `url` that tries `forms` in order.
///
/// # Panics
/// When the address is not sound.
pub fn negotiator(url: &str, forms: &[WriteForm]) -> WriteNegotiator {
    let mut config = NegotiationConfig::default();
    config.forms = forms.to_vec();
    WriteNegotiator::new(client(url), config)
}

/// All of `series` as messages of both versions.
pub fn batch(series: &[Series]) -> MessageBatch {
    MessageBatch::both(message_v1(series), message_v2(series))
}

/// All of `series` as one request.
///
/// # Panics
/// When they are too many.
pub fn request(form: WriteForm, series: &[Series]) -> WriteRequest {
    WriteRequest::new(form, batch(series).encode(form).expect("it can be compressed"))
}

fn message_v1(series: &[Series]) -> Vec<u8> {
    let mut builder = WriteRequestBuilder::new();
    for series in series {
        let samples = series.samples.iter().map(|sample| sample.sample);
        builder.series_with_histograms(&series.labels, samples, histograms(series));
    }
    builder.finish()
}

fn message_v2(series: &[Series]) -> Vec<u8> {
    let mut builder = WriteRequestV2Builder::new();
    for series in series {
        let samples = series
            .samples
            .iter()
            .map(|sample| SampleV2 { sample: sample.sample, start_timestamp_ms: sample.start_timestamp_ms });
        let histograms = histograms(series);
        let labels = series.labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        builder.full_series(&SeriesV2 {
            labels: labels.collect(),
            samples: samples.collect(),
            histograms: histograms.iter().map(|message| &message[..]).collect(),
            metadata: Some((MetricType::Gauge, b"Written by a test.", b"")),
            ..SeriesV2::default()
        });
    }
    builder.finish()
}

fn histograms(series: &Series) -> Vec<Vec<u8>> {
    let encode = |histogram| {
        let mut message = Vec::new();
        encode_histogram(histogram, &mut message);
        message
    };
    series.histograms.iter().map(encode).collect()
}
