//! The history of a real Prometheus, read by remote read, arrives bit by bit, also when it is killed in between.

use std::time::Duration;

use e2e::{
    eventually,
    go_programs::PROMETHEUS_3,
    http::{Page, block_on},
    note,
    peer::{batch, negotiator, read_streamed},
    process::Running,
    prometheus::{Prometheus, program},
    series::SeriesSet,
};
use prom_remote::{
    Matcher, Query, STALE_MARKER_BITS, Sample, SeriesSetFingerprint, TimeRange, WriteRequestBuilder,
};
use prom_remote_http::{ClientConfig, ReadClient, WriteClient, WriteForm};

use super::program::{Merger, now_ms};
use crate::interop::data;

const SERIES: usize = 200;
const TIMES: i64 = 360;
const INTERVAL_MS: i64 = 10_000;

fn value_bits(series: usize, time: i64) -> u64 {
    match (series as i64 * 7 + time) % 31 {
        0 => STALE_MARKER_BITS,
        1 => 0x7ff8_0000_0000_0001,
        2 => 0x7ff8_0000_dead_beef,
        3 => (-0.0_f64).to_bits(),
        4 => f64::NEG_INFINITY.to_bits(),
        5 => 1,
        other => (other as f64 * 1.1 + time as f64).to_bits(),
    }
}

/// Writes samples of all series for the given times.
fn write(url: &str, begin_ms: i64, times: std::ops::Range<i64>) {
    let client = WriteClient::new(ClientConfig::new(url).expect("an http address")).expect("a sound client");
    let mut builder = WriteRequestBuilder::new();
    for series in 0..SERIES {
        let number = series.to_string();
        let samples = times.clone().map(|time| Sample {
            timestamp_ms: begin_ms + time * INTERVAL_MS,
            value_bits: value_bits(series, time),
        });
        builder.series([("__name__", "e2e_history"), ("number", &number)], samples);
    }
    let request = builder.finish_compressed().expect("the request is small");
    block_on(client.send_v1(request.into())).expect("it is taken");
}

/// What a server has of the metric, without the label of the source. Chunks keep what a list of samples does not: -0.
fn read(server: &Prometheus, range: TimeRange) -> SeriesSetFingerprint {
    let config = ClientConfig::new(&format!("{}/api/v1/read", server.url())).expect("an http address");
    let client = ReadClient::new(config).expect("a sound client");
    let query = Query { range, matchers: vec![Matcher::equal("__name__", "e2e_history")] };
    let mut found = SeriesSetFingerprint::without_labels(["source"]);
    block_on(async {
        let mut stream = client.read(&[query]).await.expect("the server answers");
        while let Some(series) = stream.next().await.expect("the answer is whole") {
            let content = series.content.expect("it can be decoded");
            let labels = series.labels.iter().map(|label| (&label.name[..], &label.value[..]));
            found.add(labels, content.samples.iter().map(|sample| sample.sample));
        }
    });
    found
}

fn appended(server: &Prometheus) -> Result<f64, String> {
    Ok(Page::fetch(&format!("{}/metrics", server.url()))?.sum("prometheus_tsdb_head_samples_appended_total"))
}

#[test]
fn an_hour_of_history_arrives_bit_by_bit_though_the_backfill_is_killed() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let config =
        "global: {external_labels: {cluster: e2e}}\nstorage: {tsdb: {out_of_order_time_window: 2h}}\n";
    let mut source = Prometheus::configured(&folder.path().join("source"), program(), config, &[]);
    let mut database = Prometheus::new(&folder.path().join("database"));
    let mut merger = Merger::new(folder.path(), &database.url(), "");
    source.start();
    database.start();
    merger.start();

    let begin_ms = now_ms() - 75 * 60_000;
    for from in (0..TIMES).step_by(30) {
        write(&format!("{}/api/v1/write", source.url()), begin_ms, from..from + 30);
    }
    let range = TimeRange::new(begin_ms, begin_ms + TIMES * INTERVAL_MS).expect("not empty");
    // What is live is there already, and the merger goes on.
    write(&merger.write_url("kafka"), begin_ms, TIMES + 30..TIMES + 31);
    merger.wait_until_done("kafka");
    assert_eq!(read(&database, range).sample_count(), 0);

    let before = appended(&database).expect("it answers");
    let mut killed = merger.backfill("kafka", &format!("{}/api/v1/read", source.url()), range, 20);
    let whole = (SERIES as i64 * TIMES) as f64;
    eventually(Duration::from_secs(120), "a part has arrived", || match appended(&database)? - before {
        arrived if arrived >= whole / 5.0 => Ok(()),
        arrived => Err(format!("{arrived} samples")),
    });
    assert!(killed.is_running(), "it was done before it could be killed");
    killed.kill();
    let arrived = read(&database, range).sample_count();
    note(&format!("killed after {arrived} of {whole} samples"));
    assert!((arrived as f64) < whole);

    let again: Running = merger.backfill("kafka", &format!("{}/api/v1/read", source.url()), range, 20);
    let output = again.wait(Duration::from_secs(300)).expect_code(0);
    assert!(
        output.stdout.starts_with(&format!("backfilled kafka: {whole} samples, 0 histograms")),
        "{}",
        output.stdout
    );
    output.expect_words(&["backfill goes on where it was", "100.0 % read"]);
    let (expected, found) = (read(&source, range), read(&database, range));
    assert_eq!(expected.sample_count() as f64, whole);
    let differences = expected.differences(&found);
    assert!(differences.is_empty(), "{} differ; {}", differences.len(), differences[0]);
    // The live data is untouched.
    let live = TimeRange::new(range.end_ms(), now_ms() + 1).expect("not empty");
    assert_eq!(read(&database, live).sample_count(), SERIES as u64);
}

/// Prometheus 3.16 stores these in chunks of every encoding, when counting started included.
#[test]
fn histograms_and_starts_of_counting_arrive_bit_by_bit() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let server = |name: &str| {
        let config = "storage: {tsdb: {chunk_encoding: {floats: xor2}}}\n";
        let arguments = ["--enable-feature=st-storage"];
        Prometheus::configured(&folder.path().join(name), PROMETHEUS_3.path(), config, &arguments)
    };
    let (mut source, mut database) = (server("source"), server("database"));
    source.start();
    database.start();
    let base = now_ms() - 600_000;
    let series = [
        data::floats(base),
        data::histograms(base),
        data::custom_histograms(base),
        data::started_floats(base),
    ]
    .concat();
    let negotiator = negotiator(&format!("{}/api/v1/write", source.url()), &[WriteForm::V2]);
    for part in data::requests(&series) {
        let sent = block_on(negotiator.send(&batch(&part), 0)).expect("Prometheus takes it");
        assert!(sent.losses.is_empty(), "{:?}", sent.losses);
    }
    let range = data::range(base);
    let expected = read_streamed(&source.url(), data::NAMES, range).series;
    assert_eq!(expected.is_same(&series.into_iter().collect()), Ok(()));

    let merger = Merger::new(folder.path(), &database.url(), "");
    let backfill = merger.backfill("kafka", &format!("{}/api/v1/read", source.url()), range, 60);
    backfill.wait(Duration::from_secs(120)).expect_code(0);
    let labelled: SeriesSet = expected
        .iter()
        .map(|(labels, content)| {
            let mut labels = labels.clone();
            labels.insert("source".to_owned(), "kafka".to_owned());
            (labels, content.clone())
        })
        .collect();
    let found = read_streamed(&database.url(), data::NAMES, range).series;
    assert_eq!(found.is_same(&labelled), Ok(()));
}
