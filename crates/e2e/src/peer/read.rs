use std::collections::BTreeSet;

use prom_remote::{
    Label, Limits, Matcher, Query, ReadRequest, ReadStream, ResponseType, StreamedSeries, TimeRange,
};
use prom_remote_http::{ClientConfig, ReadClient};

use crate::{
    http::block_on,
    series::{Series, SeriesSet},
};

/// An answer to a remote read.
#[derive(Debug)]
pub struct Answer {
    /// All series.
    pub series: SeriesSet,
    /// The encodings of their chunks; none for samples.
    pub encodings: BTreeSet<i32>,
}

/// Asks the Prometheus at `base` for samples of the metrics that `name` matches.
///
/// # Panics
/// When it gives no right answer.
pub fn read_samples(base: &str, name: &str, range: TimeRange) -> Answer {
    let client = ReadClient::new(config(base)).expect("the client is sound");
    let results = block_on(client.read_samples(&[query(name, range)])).expect("Prometheus answers");
    let series = results.iter().flatten().map(|series| {
        let content = series.decode(range, &Limits::default()).expect("its histograms are sound");
        Series::read(pairs(&series.labels), content)
    });
    Answer { series: series.collect(), encodings: BTreeSet::new() }
}

/// Asks for a stream of chunks twice, by [`capture_stream`] and by the client, of a peer that gets nothing new.
///
/// # Panics
/// When it gives no right answer, or the two ways differ.
pub fn read_streamed(base: &str, name: &str, range: TimeRange) -> Answer {
    let answer = capture_stream(base, name, range);
    assert_eq!(answer.series.is_same(&by_client(base, name, range)), Ok(()), "the client reads the same");
    answer
}

/// Asks for a stream of chunks, takes the body as it comes and decodes it.
///
/// # Panics
/// When it gives no right answer.
pub fn capture_stream(base: &str, name: &str, range: TimeRange) -> Answer {
    let limits = Limits::default();
    let parts = capture_series(base, name, range);
    let encodings = parts.iter().flat_map(|series| &series.chunks).map(|chunk| chunk.encoding).collect();
    let decode = |series: &StreamedSeries| {
        let content = series.decode(range, &limits).expect("the chunks are sound");
        Series::read(pairs(&series.labels), content)
    };
    Answer { series: parts.iter().map(decode).collect(), encodings }
}

/// Asks for a stream of chunks and takes the body as it comes; the chunks stay as they are.
///
/// # Panics
/// When it gives no right answer.
pub fn capture_series(base: &str, name: &str, range: TimeRange) -> Vec<StreamedSeries> {
    let body = capture(base, name, range);
    let mut stream = ReadStream::new(1, &Limits::default());
    let mut parts = Vec::new();
    // Frames do not end where pieces do.
    for piece in body.chunks(1_000) {
        stream.push(piece);
        while let Some(series) = stream.next_series().expect("the frames are sound") {
            parts.push(series);
        }
    }
    parts.extend(stream.finish().expect("the stream is whole"));
    parts
}

fn by_client(base: &str, name: &str, range: TimeRange) -> SeriesSet {
    let client = ReadClient::new(config(base)).expect("the client is sound");
    block_on(async {
        let mut stream = client.read(&[query(name, range)]).await.expect("Prometheus answers");
        assert_eq!(stream.response_type(), ResponseType::StreamedXorChunks);
        let mut set = SeriesSet::default();
        while let Some(series) = stream.next().await.expect("the answer is whole") {
            set.add(Series::read(pairs(&series.labels), series.content.expect("it can be decoded")));
        }
        set
    })
}

/// The body of a streamed answer.
fn capture(base: &str, name: &str, range: TimeRange) -> Vec<u8> {
    let question = ReadRequest::streamed(vec![query(name, range)]).encode_compressed().expect("it is short");
    let client = reqwest::Client::builder().no_proxy().build().expect("the client is sound");
    block_on(async {
        let request = client
            .post(format!("{base}/api/v1/read"))
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-read-version", "0.1.0")
            .body(question);
        let response = request.send().await.expect("Prometheus answers");
        let response = response.error_for_status().expect("with success");
        response.bytes().await.expect("the body is whole").to_vec()
    })
}

fn config(base: &str) -> ClientConfig {
    ClientConfig::new(&format!("{base}/api/v1/read")).expect("the address is sound")
}

fn query(name: &str, range: TimeRange) -> Query {
    Query { range, matchers: vec![Matcher::regex("__name__", name)] }
}

fn pairs(labels: &[Label]) -> impl Iterator<Item = (&[u8], &[u8])> {
    labels.iter().map(|label| (&label.name[..], &label.value[..]))
}
