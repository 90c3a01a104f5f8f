//! A database that is away for longer than any wait grows.

use std::{
    thread,
    time::{Duration, Instant},
};

use e2e::{eventually, http::block_on, note, prometheus::Prometheus};
use prom_remote::SeriesSetFingerprint;

use super::{
    poison::{read_all, send},
    program::{Merger, now_ms},
};

/// Samples from before the merger's start too, which an agent of Prometheus would not pass on.
#[test]
fn samples_older_than_the_start_and_after_70_s_of_outage_all_arrive() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let mut database = Prometheus::strict(&folder.path().join("database"));
    let mut merger = Merger::new(folder.path(), &database.url(), "");
    database.start();
    merger.start();
    let begin_ms = now_ms() - 600_000;
    let mut expected = SeriesSetFingerprint::new();
    assert_eq!(send(&merger, "kafka", begin_ms, 0, None, &mut expected), 204);
    merger.wait_until_done("kafka");
    database.stop();
    for request in 1..=10 {
        assert_eq!(send(&merger, "kafka", begin_ms, request, None, &mut expected), 204);
    }
    thread::sleep(Duration::from_secs(70));
    database.start();
    let back = Instant::now();
    let before = merger.metric("delivered_requests_total", "kafka").expect("it is there");
    eventually(Duration::from_secs(60), "the first request is delivered", || {
        let delivered = merger.metric("delivered_requests_total", "kafka")?;
        if delivered > before || delivered > 1.0 { Ok(()) } else { Err(delivered.to_string()) }
    });
    note(&format!("the first delivery came {} ms after the database was ready", back.elapsed().as_millis()));
    merger.wait_until_done("kafka");
    let found = block_on(read_all(&database.url(), "kafka", begin_ms)).expect("the database answers");
    assert!(expected.differences(&found).is_empty(), "{:?}", expected.differences(&found).first());
    merger.kill();
    assert_eq!(merger.dead_letters(), "");
}
