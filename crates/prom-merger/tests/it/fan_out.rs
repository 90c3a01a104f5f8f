//! Several destinations, each with its own fate.

use std::time::Duration;

use prom_merger::Config;

use crate::support::{Answer, Destination, TestMerger, eventually, label, one};

fn both(first: &Destination, second: &Destination) -> String {
    format!("[{{name: first, url: '{}'}}, {{name: second, url: '{}'}}]", first.url, second.url)
}

fn arrived(destination: &Destination, count: usize) -> impl Future<Output = ()> + '_ {
    eventually("all arrive", move || async move { destination.names().len() == count })
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|index| format!("s{index}")).collect()
}

#[tokio::test]
async fn a_dead_destination_does_not_hold_another_and_gets_everything_later() {
    let data = tempfile::tempdir().unwrap();
    let first = Destination::start(|_, _| Answer::Take).await;
    let mut second = Destination::start_down().await;
    let merger = TestMerger::start_with_destinations(data.path(), &both(&first, &second), "").await;
    for name in names(0..10) {
        merger.send("a", one(&name)).await.unwrap();
    }
    arrived(&first, 10).await;
    let pending = "prom_merger_journal_pending_records{source=\"a\",destination";
    eventually("the first lane is done", || async {
        merger.metric(&format!("{pending}=\"first\"}}")).await == 0.0
    })
    .await;
    assert_eq!(merger.metric(&format!("{pending}=\"second\"}}")).await, 10.0);
    assert_eq!(merger.metric("prom_merger_destination_down{source=\"a\",destination=\"second\"}").await, 1.0);
    merger.shutdown().await;

    // Each goes on at its own place, also after a restart.
    let attempts = first.attempts();
    let merger = TestMerger::start_with_destinations(data.path(), &both(&first, &second), "").await;
    second.up().await;
    arrived(&second, 10).await;
    assert_eq!(second.names(), names(0..10), "in order");
    assert_eq!(first.attempts(), attempts);
    merger.shutdown().await;
}

#[tokio::test]
async fn a_refusing_destination_does_not_hold_another_and_its_letters_name_it() {
    let data = tempfile::tempdir().unwrap();
    let first = Destination::start(|_, _| Answer::Take).await;
    let second = Destination::start(|request, _| match label(&request[0], "__name__") {
        "s1" => Answer::Refuse(400, "not this one"),
        _ => Answer::Take,
    })
    .await;
    let merger = TestMerger::start_with_destinations(data.path(), &both(&first, &second), "").await;
    for name in names(0..3) {
        merger.send("a", one(&name)).await.unwrap();
        arrived(&first, name[1..].parse::<usize>().unwrap() + 1).await;
    }
    arrived(&second, 2).await;
    assert_eq!(second.names(), ["s0", "s2"]);
    let (_, letters) = merger.get("/api/v1/dead-letters/a").await;
    let letter: serde_json::Value = serde_json::from_str(letters.trim()).unwrap();
    assert_eq!(letter["letter"]["destination"], "second");
    assert_eq!(letter["letter"]["format"], 1);
    let counted = |destination: &str| {
        let line = format!("prom_merger_dead_letters_total{{source=\"a\",destination=\"{destination}\"}}");
        let merger = &merger;
        async move { merger.metric(&line).await }
    };
    assert_eq!((counted("first").await, counted("second").await), (0.0, 1.0));
    merger.shutdown().await;
}

#[tokio::test]
async fn a_wrong_tenant_stops_its_own_lane_alone_and_costs_nothing() {
    let data = tempfile::tempdir().unwrap();
    let first = Destination::start(|_, _| Answer::Take).await;
    let second = Destination::start(|_, _| Answer::Refuse(400, "unknown tenant")).await;
    let merger = TestMerger::start_with_destinations(data.path(), &both(&first, &second), "").await;
    for name in names(0..5) {
        merger.send("a", one(&name)).await.unwrap();
    }
    arrived(&first, 5).await;
    let blocked = "prom_merger_destination_misconfigured{source=\"a\",destination=\"second\"}";
    eventually("the lane says so", || async { merger.metric(blocked).await == 1.0 }).await;
    second.rule(|_, _| Answer::Take);
    arrived(&second, 5).await;
    assert_eq!(merger.metric("prom_merger_dead_letter_records{source=\"a\"}").await, 0.0);
    merger.shutdown().await;
}

#[tokio::test]
async fn a_destination_that_is_forgotten_no_longer_keeps_the_journal() {
    let data = tempfile::tempdir().unwrap();
    let first = Destination::start(|_, _| Answer::Take).await;
    let second = Destination::start_down().await;
    let merger = TestMerger::start_with_destinations(data.path(), &both(&first, &second), "").await;
    merger.send("a", one("s0")).await.unwrap();
    arrived(&first, 1).await;
    merger.shutdown().await;
    let cursors = || {
        let files = data.path().join("journal/a").read_dir().unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("cursor-second")).count()
    };

    let only_first = format!("[{{name: first, url: '{}'}}]", first.url);
    let merger = TestMerger::start_with_destinations(data.path(), &only_first, "").await;
    merger.shutdown().await;
    assert!(cursors() > 0, "kept until the configuration says otherwise");

    let more = "forgotten_destinations: [second]";
    let merger = TestMerger::start_with_destinations(data.path(), &only_first, more).await;
    merger.shutdown().await;
    assert_eq!(cursors(), 0);
}

#[tokio::test]
async fn a_sole_destination_without_a_name_keeps_its_place_when_it_becomes_one_of_several() {
    let data = tempfile::tempdir().unwrap();
    let first = Destination::start(|_, _| Answer::Take).await;
    let merger = TestMerger::start(data.path(), &first.url, "").await;
    merger.send("a", one("s0")).await.unwrap();
    arrived(&first, 1).await;
    merger.shutdown().await;

    let second = Destination::start(|_, _| Answer::Take).await;
    let list = format!("[{{name: tsdb, url: '{}'}}, {{name: new, url: '{}'}}]", first.url, second.url);
    let merger = TestMerger::start_with_destinations(data.path(), &list, "").await;
    merger.send("a", one("s1")).await.unwrap();
    arrived(&first, 2).await;
    arrived(&second, 2).await;
    assert_eq!(first.attempts(), 2);
    merger.shutdown().await;
}

#[tokio::test]
async fn one_lane_is_stopped_and_goes_on_at_its_place() {
    let data = tempfile::tempdir().unwrap();
    let first = Destination::start(|_, _| Answer::Take).await;
    let second = Destination::start(|_, _| Answer::Take).await;
    let merger = TestMerger::start_with_destinations(data.path(), &both(&first, &second), "").await;
    merger.send("a", one("s0")).await.unwrap();
    arrived(&second, 1).await;
    assert!(merger.running().stop_lane("a", "second", Duration::from_secs(10)).await);
    merger.send("a", one("s1")).await.unwrap();
    arrived(&first, 2).await;
    assert_eq!(second.names(), ["s0"]);
    {
        let _runtime = merger.enter();
        merger.running().start_lane("a", "second").unwrap();
        // It runs already.
        merger.running().start_lane("a", "second").unwrap();
    }
    arrived(&second, 2).await;
    assert_eq!(second.attempts(), 2);
    merger.shutdown().await;
}

#[tokio::test]
async fn a_destination_is_told_who_asks() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let password = data.path().join("password");
    std::fs::write(&password, "hush\n").unwrap();
    let keys = format!(
        "tenant: team-a, headers: {{X-Extra: 'yes'}}, basic_auth: {{username: me, password_file: '{}'}}",
        password.display()
    );
    let merger = TestMerger::start_with_destination(data.path(), &destination.url, &keys).await;
    merger.send("a", one("up")).await.unwrap();
    arrived(&destination, 1).await;
    assert_eq!(destination.header("x-scope-orgid").as_deref(), Some("team-a"));
    assert_eq!(destination.header("x-extra").as_deref(), Some("yes"));
    assert_eq!(destination.header("authorization").as_deref(), Some("Basic bWU6aHVzaA=="));
    merger.shutdown().await;
}

fn fault_of(destinations: &str) -> String {
    let text = format!("data: d\nsources: [{{name: a}}]\n{destinations}\n");
    let faults = Config::parse("m", text).unwrap_err();
    faults.into_sorted().iter().map(|fault| fault.headline()).collect::<Vec<_>>().join("; ")
}

#[test]
fn faults_of_destinations_are_told_with_their_places() {
    let url = "url: 'http://x/'";
    let cases = [
        ("destinations: []".to_owned(), "m:3:15: error: destinations: the list must not be empty"),
        (format!("destinations: [{{{url}}}]"), "m:3:16: error: destinations[0]: the key `name` is missing"),
        (
            format!("destinations:\n  - {{name: x, {url}}}\n  - {{name: x, {url}}}"),
            "m:5:5: error: the destination name `x` stands twice",
        ),
        (
            format!("destination: {{{url}, protocol: 3.0}}"),
            "m:3:43: error: destination.protocol: expected one of `auto`, `1.0`, `2.0`, found `3.0`",
        ),
        (
            format!("destination: {{{url}, lanes: 2}}"),
            "m:3:14: error: destination: `lanes` needs `order: parallel`",
        ),
        (
            format!("destination: {{{url}, protocol: 2.0, compression: zstd}}"),
            "m:3:48: error: destination: compression: remote write 2.0 knows snappy alone",
        ),
        (
            format!("destination: {{{url}, tls: {{cert_file: a}}}}"),
            "m:3:38: error: destination.tls: `cert_file` and `key_file` go together",
        ),
        (
            format!("destination: {{{url}}}\nforgotten_destinations: [tsdb]"),
            "m:4:1: error: forgotten_destinations: one of them is a destination",
        ),
        (
            format!("destination: {{{url}}}\ndestinations: [{{name: a, {url}}}]"),
            "m:3:1: error: destination: there are `destinations` too",
        ),
    ];
    let found: Vec<_> = cases.iter().map(|(text, _)| fault_of(text)).collect();
    assert_eq!(found, cases.map(|(_, expected)| expected));
}
