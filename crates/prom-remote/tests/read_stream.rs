//! Streamed answers of real servers (`tests/data/read/README.md`), and what can happen to a stream on its way.

use std::collections::BTreeMap;

use prom_remote::{
    FrameErrorKind, Label, LabelMatchers, Limits, Matcher, ReadStream, ReadStreamError, Sample,
    SeriesContent, SeriesSetFingerprint, StartedSample, StreamWriter, StreamedSeries, TimeRange,
    chunk_histograms, chunk_samples,
    prom_chunks::{BucketCounts, Histogram},
};
use proptest::{collection::vec, prelude::*};
use serde_json::Value;

fn data(file: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/read/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn truth(file: &str) -> Value {
    serde_json::from_slice(&data(file)).unwrap()
}

fn read(stream: &mut ReadStream, piece: &[u8]) -> Result<Vec<StreamedSeries>, ReadStreamError> {
    stream.push(piece);
    let mut series = Vec::new();
    while let Some(next) = stream.next_series()? {
        series.push(next);
    }
    Ok(series)
}

/// Reads an answer to one query in the given pieces.
fn read_all<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<StreamedSeries>, ReadStreamError> {
    let mut stream = ReadStream::new(1, &Limits::default());
    let mut series = Vec::new();
    for piece in pieces {
        series.extend(read(&mut stream, piece)?);
    }
    series.extend(stream.finish()?);
    Ok(series)
}

fn everything() -> TimeRange {
    TimeRange::new(i64::MIN, i64::MAX).unwrap()
}

fn decode(series: &StreamedSeries) -> SeriesContent {
    let content = series.decode(everything(), &Limits::default()).unwrap();
    assert_eq!(content.conflicts, 0);
    content
}

fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap()
}

fn bits(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn xor_of_prometheus_2_42() {
    let truth = truth("prom242_xor.json");
    let series = read_all([&data("prom242_stream_xor.bin")[..]]).unwrap();
    assert_eq!(series.len(), 1);
    for label in truth["labels"].as_array().unwrap() {
        let value = series[0].label(label[0].as_str().unwrap().as_bytes());
        assert_eq!(value, Some(label[1].as_str().unwrap().as_bytes()));
    }
    let expected: Vec<_> = truth["samples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sample| Sample { timestamp_ms: number(&sample[0]), value_bits: bits(&sample[1]) }.into())
        .collect();
    assert!(expected.len() > 100);
    assert_eq!(decode(&series[0]).samples, expected);
}

#[test]
fn histograms_of_prometheus_2_42() {
    let truth = truth("prom242_hist.json");
    let series = read_all([&data("prom242_stream_hist.bin")[..]]).unwrap();
    assert_eq!(series.len(), 1);
    let histograms = decode(&series[0]).histograms;
    let expected = truth["samples"].as_array().unwrap();
    assert_eq!(histograms.len(), expected.len());
    for (histogram, expected) in histograms.iter().zip(expected) {
        let BucketCounts::Integer(buckets) = &histogram.counts else { panic!("whole numbers") };
        let counts = |counts: &[u64]| counts.iter().map(|count| *count as i64).collect::<Vec<_>>();
        let list = |value: &Value| value.as_array().unwrap().iter().map(number).collect::<Vec<_>>();
        assert_eq!(histogram.timestamp_ms, number(&expected["t"]));
        assert_eq!(histogram.is_stale(), expected["stale"] == true);
        if histogram.is_stale() {
            continue;
        }
        assert_eq!(buckets.count as i64, number(&expected["count"]));
        assert_eq!(buckets.zero_count as i64, number(&expected["zero"]));
        assert_eq!(histogram.sum.to_bits(), expected["sum"].as_f64().unwrap().to_bits());
        assert_eq!(counts(&buckets.positive), list(&expected["pos"]));
        assert_eq!(counts(&buckets.negative), list(&expected["neg"]));
        assert_eq!(i64::from(histogram.schema), number(&truth["schema"]));
        assert_eq!(histogram.zero_threshold, truth["zero_threshold"].as_f64().unwrap());
        for (spans, expected) in [
            (&histogram.positive_spans, &truth["pos_spans"]),
            (&histogram.negative_spans, &truth["neg_spans"]),
        ] {
            let spans: Vec<Vec<i64>> =
                spans.iter().map(|span| vec![span.offset.into(), span.length.into()]).collect();
            let expected: Vec<_> = expected.as_array().unwrap().iter().map(list).collect();
            assert_eq!(spans, expected);
        }
    }
}

#[test]
fn xor2_of_prometheus_3_13() {
    let truth = truth("prom313_xor2.json");
    let mut expected = BTreeMap::new();
    for series in truth.as_array().unwrap() {
        let samples: Vec<_> = series["x"]
            .as_array()
            .unwrap()
            .iter()
            .map(|sample| StartedSample {
                sample: Sample { timestamp_ms: number(&sample[1]), value_bits: bits(&sample[2]) },
                start_timestamp_ms: number(&sample[0]),
            })
            .collect();
        let labels = [&series["run"], &series["s"]].map(|value| value.as_str().unwrap().to_owned());
        expected.insert(labels, samples);
    }
    let series = read_all([&data("prom313_stream_xor2.bin")[..]]).unwrap();
    assert_eq!((series.len(), expected.len()), (40, 40));
    for series in series {
        let labels = [b"run".as_slice(), b"s"]
            .map(|name| String::from_utf8(series.label(name).unwrap().to_vec()).unwrap());
        assert_eq!(decode(&series).samples, expected[&labels], "{labels:?}");
    }
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same_series(cuts in vec(any::<prop::sample::Index>(), 0..40)) {
        for file in ["prom242_stream_hist.bin", "prom313_stream_xor2.bin"] {
            let stream = data(file);
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort();
            let pieces = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]);
            prop_assert_eq!(read_all(pieces).unwrap(), read_all([&stream[..]]).unwrap());
        }
    }

    #[test]
    fn a_damaged_stream_gives_no_wrong_series(place in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut stream = data("prom313_stream_xor2.bin");
        let sound = read_all([&stream[..]]).unwrap();
        let place = place.index(stream.len());
        stream[place] ^= flip;
        let mut reader = ReadStream::new(1, &Limits::default());
        reader.push(&stream);
        let mut read = 0;
        let end = loop {
            match reader.next_series() {
                Ok(Some(series)) => {
                    prop_assert_eq!(&series, &sound[read]);
                    read += 1;
                }
                Ok(None) => break reader.finish().map(drop),
                Err(error) => break Err(error),
            }
        };
        prop_assert!(end.is_err());
    }

    /// What a server writes, a client reads; series are split over many frames.
    #[test]
    fn what_is_streamed_is_read(
        series in vec((0..3_usize, 0..4_u8, vec((1..1_000_i64, any::<u64>()), 1..400)), 0..6),
        max_frame_bytes in 1..4_000_usize,
        piece in 1..5_000_usize,
    ) {
        let writer = StreamWriter::with_max_frame_bytes(max_frame_bytes);
        let mut stream = Vec::new();
        let mut expected: Vec<(usize, Vec<Label>, Vec<StartedSample>)> = Vec::new();
        for (query, name, steps) in series {
            let labels = vec![Label { name: b"__name__".to_vec(), value: vec![b'a' + name] }];
            let mut timestamp_ms = 0;
            if let Some((last_query, last_labels, last)) = expected.last()
                && (*last_query, last_labels) == (query, &labels)
            {
                // Would be the same series.
                timestamp_ms = last.last().unwrap().sample.timestamp_ms;
            }
            let samples: Vec<_> = steps
                .into_iter()
                .map(|(step, value_bits)| {
                    timestamp_ms += step;
                    Sample { timestamp_ms, value_bits }
                })
                .collect();
            writer.series(query, &labels, chunk_samples(&samples), &mut stream);
            let samples = samples.into_iter().map(StartedSample::from);
            match expected.last_mut() {
                Some((last_query, last_labels, last)) if (*last_query, &*last_labels) == (query, &labels) => last.extend(samples),
                _ => expected.push((query, labels, samples.collect())),
            }
        }
        let mut reader = ReadStream::new(3, &Limits::default());
        let mut found = Vec::new();
        for piece in stream.chunks(piece) {
            found.extend(read(&mut reader, piece).unwrap());
        }
        found.extend(reader.finish().unwrap());
        let found: Vec<_> = found.iter().map(|series| (series.query, series.labels.clone(), decode(series).samples)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_frames_are_an_answer(messages in vec(vec(any::<u8>(), 0..60), 0..6)) {
        let mut stream = Vec::new();
        messages.iter().for_each(|message| prom_remote::write_frame(message, &mut stream));
        if let Ok(series) = read_all([&stream[..]]) {
            for series in series {
                let _ = series.decode(everything(), &Limits::default());
            }
        }
    }
}

fn labels() -> Vec<Label> {
    vec![Label { name: b"__name__".to_vec(), value: b"up".to_vec() }]
}

fn samples(count: i64) -> Vec<Sample> {
    (0..count).map(|time| Sample::new(time, f64::from(time as i32))).collect()
}

#[test]
fn queries_that_were_not_asked_are_refused() {
    let mut stream = Vec::new();
    StreamWriter::default().series(1, &labels(), chunk_samples(&samples(3)), &mut stream);
    assert_eq!(
        read_all([&stream[..]]),
        Err(ReadStreamError::UnknownQuery { frame: 0, query: 1, query_count: 1 })
    );
}

#[test]
fn the_bytes_of_a_series_are_bounded_over_all_its_frames() {
    let mut stream = Vec::new();
    let chunks = chunk_samples(&samples(2_000));
    let total: usize = chunks.iter().map(|chunk| chunk.data.len() + size_of_val(chunk)).sum();
    StreamWriter::with_max_frame_bytes(1).series(0, &labels(), chunks, &mut stream);
    let read = |limit| {
        let mut reader = ReadStream::new(1, &{
            let mut limits = Limits::default();
            limits.max_series_bytes = limit;
            limits
        });
        read(&mut reader, &stream)
    };
    assert_eq!(read(total), Ok(vec![]));
    let series = r#"{__name__="up"}"#.to_owned();
    assert_eq!(read(total - 1), Err(ReadStreamError::SeriesTooLarge { series, limit: total - 1 }));
}

#[test]
fn the_words_of_a_server_that_fails_come_after_the_series() {
    let mut stream = Vec::new();
    StreamWriter::default().series(0, &labels(), chunk_samples(&samples(3)), &mut stream);
    stream.extend_from_slice(b"remote read: query timed out\n");
    let Err(ReadStreamError::Frame(error)) = read_all(stream.chunks(10)) else { panic!("a failed stream") };
    assert_eq!(error.kind, FrameErrorKind::Aborted { message: "remote read: query timed out".to_owned() });
}

/// A server's whole work: choose series, clip, encode, stream; and the client's proof that nothing was lost.
#[test]
fn a_selected_series_arrives_whole() {
    let histograms: Vec<_> =
        (0..200).map(|time| Histogram { timestamp_ms: time, sum: 0.5, ..Histogram::float() }).collect();
    let matchers = LabelMatchers::new(&[Matcher::regex("__name__", "u.")]).unwrap();
    let labels = labels();
    assert!(matchers.matches(labels.iter().map(|label| (&label.name, &label.value))));
    let mut chunks = chunk_samples(&samples(500));
    chunks.extend(chunk_histograms(&histograms).unwrap());
    let mut stream = Vec::new();
    StreamWriter::with_max_frame_bytes(100).series(0, &labels, chunks, &mut stream);
    let series = read_all(stream.chunks(33)).unwrap();
    let content = series[0].decode(TimeRange::new(50, 150).unwrap(), &Limits::default()).unwrap();
    assert_eq!((content.samples.len(), content.histograms.len()), (100, 100));

    let name = [("__name__", "up")];
    let mut sent = SeriesSetFingerprint::new();
    sent.add(name, samples(500)[50..150].iter().copied());
    sent.add_histograms(name, &histograms[50..150]);
    let mut received = SeriesSetFingerprint::new();
    received.add(name, content.samples.iter().map(|started| started.sample));
    received.add_histograms(name, &content.histograms);
    assert_eq!(sent.differences(&received), []);
}
