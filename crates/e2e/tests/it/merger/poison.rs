//! Before a Prometheus that takes nothing out of order: what it refuses is set aside, and nothing else.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use e2e::{eventually, http::block_on, note, prometheus::Prometheus};
use prom_remote::{Matcher, Query, Sample, SeriesSetFingerprint, TimeRange, WriteRequestBuilder};
use prom_remote_http::{ClientConfig, ReadClient, WriteClient, WriteError};

use super::program::{Merger, now_ms};

pub(super) const SERIES: usize = 200;
const REQUESTS: i64 = 10;
pub(super) const TIMES_PER_REQUEST: i64 = 10;
const INTERVAL_MS: i64 = 1_000;

/// What goes along with the good samples of `kubernetes`.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Poison {
    Old,
    OldAndFuture,
    OldAndRepeatedLabel,
}

/// One old sample in each of ten requests, and in one of them what else the case wants.
#[track_caller]
fn check(poison: Poison, others: &[&str]) {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let mut database = Prometheus::strict(&folder.path().join("database"));
    let mut merger = Merger::new(folder.path(), &database.url(), "");
    database.start();
    merger.start();
    let begin_ms = now_ms() - 600_000;
    let mut expected = [SeriesSetFingerprint::new(), SeriesSetFingerprint::new()];
    let [kafka, kubernetes] = &mut expected;
    for request in 0..=REQUESTS {
        let statuses = [
            send(&merger, "kafka", begin_ms, request, None, kafka),
            send(&merger, "kubernetes", begin_ms, request, Some(poison), kubernetes),
        ];
        let is_told = request == 5 && poison != Poison::Old;
        assert_eq!(statuses, [204, if is_told { 400 } else { 204 }], "request {request}");
    }
    for (source, expected) in ["kafka", "kubernetes"].iter().zip(&expected) {
        merger.wait_until_done(source);
        assert_eq!(expected.sample_count(), 20_000 + SERIES as u64);
        let found = block_on(read_all(&database.url(), source, begin_ms)).expect("the database answers");
        let differences = expected.differences(&found);
        assert!(differences.is_empty(), "{source}: {} differ; {}", differences.len(), differences[0]);
    }
    merger.kill();
    let letters = merger.dead_letters();
    // Culprits that went out together, and were refused in the same words, are one letter.
    let samples = |text: &str| -> usize {
        let lines = letters.lines().filter(|line| line.contains(text));
        let counts = lines.filter_map(|line| line.split_once(" samples=")?.1.split(' ').next());
        counts.map(|count| count.parse::<usize>().expect("a number")).sum()
    };
    assert_eq!(samples("source=kafka"), 0, "{letters}");
    assert_eq!(samples("source=kubernetes"), REQUESTS as usize + others.len(), "{letters}");
    assert_eq!(samples("\"out of order sample"), REQUESTS as usize, "{letters}");
    for other in others {
        assert_eq!(samples(other), 1, "{other} in {letters}");
    }
}

#[test]
fn ten_old_samples_among_twenty_thousand_good_ones() {
    check(Poison::Old, &[]);
}

#[test]
fn old_samples_and_one_an_hour_ahead() {
    check(Poison::OldAndFuture, &["more than 600 s ahead"]);
}

#[test]
fn old_samples_and_a_repeated_label() {
    check(Poison::OldAndRepeatedLabel, &["repeats a name"]);
}

/// Sends request `number` of a source and returns the status; request 0 begins every series.
pub(super) fn send(
    merger: &Merger,
    source: &str,
    begin_ms: i64,
    number: i64,
    poison: Option<Poison>,
    expected: &mut SeriesSetFingerprint,
) -> u16 {
    let times =
        if number == 0 { 0..1 } else { (number - 1) * TIMES_PER_REQUEST + 1..number * TIMES_PER_REQUEST + 1 };
    let mut builder = WriteRequestBuilder::new();
    for time in times {
        for series in 0..SERIES {
            let text = series.to_string();
            let labels = [("__name__", "e2e_poison"), ("number", &text[..]), ("origin", source)];
            let sample = Sample::new(begin_ms + time * INTERVAL_MS, series as f64 + 0.5);
            builder.series(labels, [sample]);
            expected.add(labels, [sample]);
            let is_middle = series == SERIES / 2 && time % TIMES_PER_REQUEST == 5;
            if let Some(poison) = poison.filter(|_| is_middle) {
                add_poison(&mut builder, source, begin_ms, number, poison);
            }
        }
    }
    let request = builder.finish_compressed().expect("the request is small");
    let client = ClientConfig::new(&merger.write_url(source)).expect("an http address");
    let client = WriteClient::new(client).expect("a sound client");
    match block_on(client.send_v1(request.into())) {
        Ok(written) => written.status,
        Err(WriteError::Rejected { status, .. }) => status,
        Err(error) => panic!("the merger answers: {error}"),
    }
}

fn add_poison(builder: &mut WriteRequestBuilder, source: &str, begin_ms: i64, number: i64, poison: Poison) {
    let text = number.to_string();
    let labels = [("__name__", "e2e_poison"), ("number", &text[..]), ("origin", source)];
    builder.series(labels, [Sample::new(begin_ms - 60_000, 666.0)]);
    if number != 5 {
        return;
    }
    match poison {
        Poison::Old => {}
        Poison::OldAndFuture => {
            builder.series(labels, [Sample::new(now_ms() + 3_600_000, 666.0)]);
        }
        Poison::OldAndRepeatedLabel => {
            let labels = [("__name__", "e2e_twice"), ("a", "1"), ("a", "2")];
            builder.series(labels, [Sample::new(begin_ms, 666.0)]);
        }
    }
}

pub(super) async fn read_all(
    database: &str,
    source: &str,
    begin_ms: i64,
) -> Result<SeriesSetFingerprint, String> {
    let config = ClientConfig::new(&format!("{database}/api/v1/read")).expect("an http address");
    let client = ReadClient::new(config).expect("a sound client");
    let range = TimeRange::new(begin_ms - 3_600_000, begin_ms + 7_200_000).expect("not empty");
    let matchers =
        vec![Matcher::equal("source", source), Matcher::not_equal("__name__", "prom_merger_probe")];
    let results =
        client.read_samples(&[Query { range, matchers }]).await.map_err(|error| error.to_string())?;
    let mut found = SeriesSetFingerprint::without_labels(["source"]);
    results.iter().flatten().for_each(|series| found.add_series(series));
    Ok(found)
}

#[test]
fn a_destination_that_is_not_set_up_costs_nothing() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let mut database = Prometheus::strict(&folder.path().join("database"));
    let mut merger = Merger::new(folder.path(), &database.url(), "");
    database.set_takes_remote_write(false);
    database.start();
    merger.start();
    let begin_ms = now_ms() - 600_000;
    let mut expected = SeriesSetFingerprint::new();
    for request in 0..=2 {
        assert_eq!(send(&merger, "kafka", begin_ms, request, None, &mut expected), 204);
    }
    eventually(Duration::from_secs(60), "the merger tells it", || {
        match merger.metric("destination_misconfigured", "kafka")? {
            1.0 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    database.stop();
    database.set_takes_remote_write(true);
    database.start();
    merger.wait_until_done("kafka");
    let found = block_on(read_all(&database.url(), "kafka", begin_ms)).expect("the database answers");
    assert!(expected.differences(&found).is_empty());
    merger.kill();
    assert_eq!(merger.dead_letters(), "");
}

#[test]
fn what_was_stored_before_the_answer_got_lost_is_recognised() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let mut database = Prometheus::strict(&folder.path().join("database"));
    database.start();
    let address: SocketAddr = database.url().trim_start_matches("http://").parse().expect("an address");
    let proxy = swallow_first_answer(address);
    let keys = format!(", read_url: '{}/api/v1/read'", database.url());
    let mut merger = Merger::new(folder.path(), &format!("http://{proxy}"), &keys);
    merger.start();
    let begin_ms = now_ms() - 600_000;
    let mut expected = SeriesSetFingerprint::new();
    // Several samples of each series: sent again, all but the last are out of order.
    for request in 1..=2 {
        assert_eq!(send(&merger, "kafka", begin_ms, request, None, &mut expected), 204);
    }
    merger.wait_until_done("kafka");
    let found = block_on(read_all(&database.url(), "kafka", begin_ms)).expect("the database answers");
    assert!(expected.differences(&found).is_empty(), "{:?}", expected.differences(&found).first());
    let stored = merger.metric("already_stored_samples_total", "kafka").expect("it is there");
    assert_eq!(stored, (SERIES as i64 * TIMES_PER_REQUEST) as f64);
    merger.kill();
    assert_eq!(merger.dead_letters(), "");
}

#[test]
fn what_a_killed_merger_had_delivered_is_recognised() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let mut database = Prometheus::strict(&folder.path().join("database"));
    database.start();
    let keys = format!(", read_url: '{}/api/v1/read'", database.url());
    let mut merger = Merger::new(folder.path(), &database.url(), &keys);
    let begin_ms = now_ms() - 600_000;
    let mut expected = SeriesSetFingerprint::new();
    let mut sent_again = 0.0;
    for round in 0..3 {
        merger.start();
        for request in round * 3 + 1..=round * 3 + 3 {
            assert_eq!(send(&merger, "kafka", begin_ms, request, None, &mut expected), 204);
        }
        merger.wait_until_done("kafka");
        sent_again += merger.metric("already_stored_samples_total", "kafka").expect("it is there");
        // Mostly before the place of the lane is stored, so that the next one begins further back.
        merger.kill();
    }
    note(&format!("{sent_again} samples were sent again"));
    let found = block_on(read_all(&database.url(), "kafka", begin_ms)).expect("the database answers");
    assert!(expected.differences(&found).is_empty(), "{:?}", expected.differences(&found).first());
    assert_eq!(merger.dead_letters(), "");
}

/// A proxy that breaks its first connection when the answer begins: the request has been done by then.
fn swallow_first_answer(database: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let mut is_first = true;
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(database) else { continue };
            let swallow = std::mem::take(&mut is_first);
            let (to_server, from_client) = (server.try_clone(), client.try_clone());
            thread::spawn(move || pass(from_client, to_server));
            thread::spawn(move || {
                if swallow {
                    let _ = (&server).read(&mut [0; 1]);
                    let _ = client.shutdown(Shutdown::Both);
                    return;
                }
                pass(Ok(server), Ok(client));
            });
        }
    });
    address
}

fn pass(from: io::Result<TcpStream>, to: io::Result<TcpStream>) {
    let (Ok(mut from), Ok(mut to)) = (from, to) else { return };
    let _ = io::copy(&mut from, &mut to);
    let _ = to.flush();
    let _ = to.shutdown(Shutdown::Write);
}
