//! Several requests of a sender as one.

use prom_remote::{Sample, WriteRequestBuilder};

use crate::support::{Answer, Destination, Series, TestMerger, eventually, label};

const T: i64 = 1_700_000_000_000;

fn request(series: &[(&str, &[i64])]) -> Vec<u8> {
    let mut builder = WriteRequestBuilder::new();
    for (name, times) in series {
        builder.series([("__name__", *name)], times.iter().map(|time| Sample::new(T + time, 1.0)));
    }
    builder.finish_compressed().unwrap()
}

fn show(request: &[Series]) -> String {
    let show = |series: &Series| {
        let times: Vec<_> = series.1.iter().map(|(time, _)| (time - T).to_string()).collect();
        format!("{}@{}", label(series, "__name__"), times.join(","))
    };
    request.iter().map(show).collect::<Vec<_>>().join(" ")
}

/// What comes of requests that were all journalled before the destination came up.
async fn check(keys: &str, requests: &[&[(&str, &[i64])]], expected: &[&str]) {
    let data = tempfile::tempdir().unwrap();
    let mut destination = Destination::start_down().await;
    let merger = TestMerger::start_with_destination(data.path(), &destination.url, keys).await;
    for series in requests {
        merger.send("a", request(series)).await.unwrap();
    }
    // The first goes out alone, perhaps with what has come until then: begin anew with all of them there.
    merger.shutdown().await;
    destination.up().await;
    let merger = TestMerger::start_with_destination(data.path(), &destination.url, keys).await;
    eventually("the lane is done", || async {
        merger.metric("prom_merger_journal_pending_records{source=\"a\"}").await == 0.0
    })
    .await;
    let found: Vec<_> = destination.requests().iter().map(|request| show(request)).collect();
    assert_eq!(found, expected);
    merger.shutdown().await;
}

#[tokio::test]
async fn what_waits_goes_out_together_where_no_series_runs_backwards() {
    check("", &[&[("a", &[1])], &[("a", &[2])], &[("a", &[3])]], &["a@1 a@2 a@3"]).await;
    // Another series may be older.
    check("", &[&[("a", &[5])], &[("b", &[1])], &[("a", &[6])]], &["a@5 b@1 a@6"]).await;
    check("", &[&[("a", &[5]), ("b", &[1])], &[("b", &[4])], &[("b", &[2])]], &["a@5 b@1 b@4", "b@2"]).await;
    // One that runs backwards in itself goes out in the order of time, and alone.
    check("", &[&[("a", &[1])], &[("b", &[5, 2])], &[("c", &[1])]], &["a@1", "b@2", "b@5", "c@1"]).await;
}

#[tokio::test]
async fn a_batch_has_bounds() {
    let five: [&[(&str, &[i64])]; 5] =
        [&[("a", &[1])], &[("a", &[2])], &[("a", &[3])], &[("a", &[4])], &[("a", &[5])]];
    check("batch: {max_samples: 2}", &five, &["a@1 a@2", "a@3 a@4", "a@5"]).await;
    check("batch: {max_samples: 1}", &five, &["a@1", "a@2", "a@3", "a@4", "a@5"]).await;
    // A request of a sender that is larger goes out as it is.
    check("batch: {max_samples: 2}", &[&[("a", &[1, 2, 3])], &[("a", &[4])]], &["a@1,2,3", "a@4"]).await;
    let length = {
        let mut builder = WriteRequestBuilder::new();
        builder.series([("__name__", "a")], [Sample::new(T, 1.0)]);
        builder.finish().len()
    };
    let keys = format!("batch: {{max_bytes: {}}}", 2 * length);
    check(&keys, &five, &["a@1 a@2", "a@3 a@4", "a@5"]).await;
}

#[tokio::test]
async fn of_requests_that_went_out_together_only_the_culprit_is_set_aside() {
    let data = tempfile::tempdir().unwrap();
    let mut destination = Destination::start_down().await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    for index in 0..20 {
        let name = if index == 13 { "bad".to_owned() } else { format!("s{index}") };
        merger.send("a", request(&[(&name, &[index])])).await.unwrap();
    }
    destination.rule(|request, _| {
        let is_bad = request.iter().any(|series| label(series, "__name__") == "bad");
        if is_bad { Answer::Refuse(400, "no") } else { Answer::Take }
    });
    merger.shutdown().await;
    destination.up().await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    eventually("the good ones arrive", || async { destination.names().len() == 19 }).await;
    let names: Vec<_> = (0..20).filter(|index| *index != 13).map(|index| format!("s{index}")).collect();
    assert_eq!(destination.names(), names, "in order");
    assert_eq!(merger.metric("prom_merger_dead_letter_records{source=\"a\"}").await, 1.0);
    assert!(merger.metric("prom_merger_coalesced_requests_total{source=\"a\"}").await >= 20.0);
    merger.shutdown().await;
}

#[tokio::test]
async fn several_requests_are_under_way_where_order_does_not_matter() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|request, _| match label(&request[0], "__name__") {
        "s0" => Answer::Hang,
        _ => Answer::Take,
    })
    .await;
    let keys = "order: parallel, lanes: 3, batch: {max_samples: 1}";
    let merger = TestMerger::start_with_destination(data.path(), &destination.url, keys).await;
    for index in 0..6 {
        merger.send("a", request(&[(&format!("s{index}"), &[index])])).await.unwrap();
    }
    // The first hangs: two more are sent beside it, and no more, as the place does not move.
    eventually("two others arrive", || async { destination.names().len() == 2 }).await;
    let mut names = destination.names();
    names.sort();
    assert_eq!(names, ["s1", "s2"]);
    assert_eq!(merger.metric("prom_merger_journal_pending_records{source=\"a\"}").await, 6.0);
    merger.shutdown().await;

    destination.rule(|_, _| Answer::Take);
    let merger = TestMerger::start_with_destination(data.path(), &destination.url, keys).await;
    eventually("all arrive", || async { destination.names().len() == 6 }).await;
    merger.shutdown().await;
}
