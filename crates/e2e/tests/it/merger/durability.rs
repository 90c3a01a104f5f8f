//! What a sender was told is stored arrives in the database, bit by bit, whoever is killed in between.

use std::{collections::BTreeMap, time::Duration};

use e2e::{
    eventually,
    http::{self, Page, block_on},
    note,
    prometheus::Prometheus,
};
use prom_remote::{
    Matcher, Query, STALE_MARKER_BITS, Sample, SeriesSetFingerprint, TimeRange, WriteRequestBuilder,
};
use prom_remote_http::{ClientConfig, ReadClient, WriteClient};

use super::program::{Merger, now_ms};

const SOURCES: [&str; 2] = ["kafka", "kubernetes"];
const SERIES: u64 = 1_000;
const SAMPLES_PER_SERIES: u64 = 100;
const SAMPLES_PER_REQUEST: usize = 500;
const INTERVAL_MS: i64 = 6_000;
/// Kill the merger for the second time when the database has so many of the 200,000 samples.
const HALF_WAY: f64 = 20_000.0;
const NEGATIVE_ZERO_BITS: u64 = 0x8000_0000_0000_0000;

#[test]
fn acknowledged_samples_survive_kill_9_bit_by_bit() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let mut database = Prometheus::new(&folder.path().join("database"));
    let mut merger = Merger::new(folder.path(), &database.url(), "");
    database.start();
    merger.start();
    // Connections that worked once break differently from those that never did.
    database.stop();

    let begin_ms = now_ms() - 600_000;
    let expected: BTreeMap<&str, SeriesSetFingerprint> = SOURCES
        .iter()
        .map(|source| (*source, SeriesSetFingerprint::new()))
        .map(|(source, mut expected)| {
            let acknowledged = block_on(send_all(&merger.write_url(source), source, begin_ms, &mut expected));
            assert_eq!(acknowledged, SERIES * SAMPLES_PER_SERIES, "{source}: not all were acknowledged");
            assert_eq!(expected.sample_count(), acknowledged);
            (source, expected)
        })
        .collect();
    merger.kill();
    merger.start();
    database.start();
    let metrics = format!("{}/metrics", database.url());
    eventually(Duration::from_secs(120), "delivery begins", || {
        match Page::fetch(&metrics)?.sum("prometheus_tsdb_head_samples_appended_total") {
            appended if appended >= HALF_WAY => {
                note(&format!("the merger is killed again after {appended} samples"));
                Ok(())
            }
            appended => Err(format!("{appended} samples")),
        }
    });
    merger.kill();
    merger.start();

    for (source, expected) in &expected {
        eventually(Duration::from_secs(120), "the database has every sample of the source", || {
            let found = block_on(read_all(&database.url(), source, begin_ms))?;
            let differences = expected.differences(&found);
            match differences.first() {
                None => Ok(()),
                Some(first) => Err(format!(
                    "{source}: {} of {} series differ, {} of {} samples are there; the first: {first}",
                    differences.len(),
                    expected.series_count(),
                    found.sample_count(),
                    expected.sample_count(),
                )),
            }
        });
    }
    for source in SOURCES {
        let found = negative_zeros(&database.url(), source).expect("the database answers");
        assert_eq!(found, expected_negative_zeros(), "{source}: zeros that are negative");
    }
    merger.kill();
    let letters = merger.dead_letters();
    assert_eq!(letters, "", "nothing here deserves to be a dead letter");
}

/// Sends every sample of a source, oldest first, and returns how many were acknowledged with 204.
async fn send_all(url: &str, source: &str, begin_ms: i64, expected: &mut SeriesSetFingerprint) -> u64 {
    let client = WriteClient::new(ClientConfig::new(url).expect("an http address")).expect("a sound client");
    let mut builder = WriteRequestBuilder::new();
    let mut acknowledged = 0;
    for time in 0..SAMPLES_PER_SERIES {
        let timestamp_ms = begin_ms + time as i64 * INTERVAL_MS;
        let numbers: Vec<u64> = (0..SERIES).collect();
        for numbers in numbers.chunks(SAMPLES_PER_REQUEST) {
            for number in numbers {
                let text = number.to_string();
                let labels = [("__name__", "e2e_value"), ("number", &text[..]), ("origin", source)];
                let sample = Sample { timestamp_ms, value_bits: value_bits(*number, time) };
                builder.series(labels, [sample]);
                expected.add(labels, [as_read_back(sample)]);
            }
            let request = builder.finish_compressed().expect("the request is small");
            let written =
                client.send_v1(request.into()).await.expect("the merger takes it without the database");
            assert_eq!(written.status, 204);
            acknowledged += numbers.len() as u64;
        }
    }
    acknowledged
}

/// Values whose bits get lost easily, between ordinary ones.
fn value_bits(number: u64, time: u64) -> u64 {
    const ODD: [u64; 9] = [
        STALE_MARKER_BITS,
        // NaN as Go writes it, and two others.
        0x7ff8_0000_0000_0001,
        0x7ff8_0000_dead_beef,
        0xfff8_0000_0000_0000,
        // -0.0, the infinities, the smallest subnormal, the smallest normal number.
        NEGATIVE_ZERO_BITS,
        0x7ff0_0000_0000_0000,
        0xfff0_0000_0000_0000,
        0x0000_0000_0000_0001,
        0x0010_0000_0000_0000,
    ];
    let mixed = (number * SAMPLES_PER_SERIES + time).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let odd = usize::try_from(mixed >> 59).ok().and_then(|index| ODD.get(index));
    odd.copied().unwrap_or_else(|| (mixed as i64 as f64 / 1e6).to_bits())
}

/// Reads a source back; what stands twice or outside would show.
async fn read_all(database: &str, source: &str, begin_ms: i64) -> Result<SeriesSetFingerprint, String> {
    let config = ClientConfig::new(&format!("{database}/api/v1/read")).expect("an http address");
    let client = ReadClient::new(config).expect("a sound client");
    let range = TimeRange::new(begin_ms - 3_600_000, begin_ms + 7_200_000).expect("not empty");
    let query = Query { range, matchers: vec![Matcher::equal("source", source)] };
    let results = client.read_samples(&[query]).await.map_err(|error| error.to_string())?;
    let mut found = SeriesSetFingerprint::without_labels(["source"]);
    results.iter().flatten().for_each(|series| found.add_series(series));
    Ok(found)
}

/// Prometheus stores `-0.0`, but its remote-read answer leaves it out like any zero, which reads as `0.0`.
fn as_read_back(sample: Sample) -> Sample {
    let value_bits = if sample.value_bits == NEGATIVE_ZERO_BITS { 0 } else { sample.value_bits };
    Sample { value_bits, ..sample }
}

/// How many samples of a source are `-0.0` in the database, told by the one interface that shows it.
fn negative_zeros(database: &str, source: &str) -> Result<usize, String> {
    let matrix = http::raw_query(database, &format!("e2e_value{{source=\"{source}\"}}[1h]"))?;
    let series = matrix.as_array().into_iter().flatten();
    let samples = series.flat_map(|series| series["values"].as_array().into_iter().flatten());
    Ok(samples.filter(|sample| sample[1] == "-0").count())
}

fn expected_negative_zeros() -> usize {
    let all =
        (0..SERIES).flat_map(|number| (0..SAMPLES_PER_SERIES).map(move |time| value_bits(number, time)));
    all.filter(|bits| *bits == NEGATIVE_ZERO_BITS).count()
}
