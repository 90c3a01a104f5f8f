//! The dead letters of a merger that does not run.

use prom_merger::{
    Config,
    dead_letters::{DeadLetter, StoredDeadLetters},
};
use prom_remote::{Limits, Sample, WriteRequestBuilder, WriteRequestView, decompress};

use crate::support::{Answer, Destination, TestMerger, eventually, label, one};

fn config(data: &tempfile::TempDir) -> Config {
    let text =
        format!("data: {}\nsources: [{{name: a}}]\ndestination: {{url: http://x/}}\n", data.path().display());
    Config::parse("m", text).unwrap()
}

fn stored(config: &Config) -> StoredDeadLetters<'_> {
    StoredDeadLetters::open(config, &config.sources[0]).unwrap().unwrap()
}

fn reasons(letters: &[DeadLetter]) -> Vec<String> {
    letters.iter().map(|letter| letter.header.as_ref().unwrap().reason.clone()).collect()
}

/// A merger that has set aside `bad_0` to `bad_2` and then something that no destination may see; stopped.
async fn with_letters(data: &tempfile::TempDir) -> Destination {
    let destination = Destination::start(|request, _| {
        let is_bad = request.iter().any(|series| label(series, "__name__").starts_with("bad"));
        if is_bad { Answer::Refuse(400, "bad, it says") } else { Answer::Take }
    })
    .await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    for index in 0..3 {
        merger.send("a", one(&format!("bad_{index}"))).await.unwrap();
        // One by one: refused together, they would be one letter.
        eventually("a dead letter", || async {
            merger.metric("prom_merger_dead_letter_records{source=\"a\"}").await == f64::from(index) + 1.0
        })
        .await;
    }
    let mut builder = WriteRequestBuilder::new();
    builder.series([("no", "name")], [Sample::new(1, 1.0)]);
    merger.send("a", builder.finish_compressed().unwrap()).await.unwrap_err();
    merger.shutdown().await;
    destination
}

#[tokio::test]
async fn they_are_listed_shown_and_dropped() {
    let data = tempfile::tempdir().unwrap();
    with_letters(&data).await;
    let config = config(&data);
    let letters = stored(&config).list().unwrap();
    let bad = "bad, it says";
    assert_eq!(reasons(&letters), [bad, bad, bad, "series 0: no metric name"]);

    let (letter, body) = stored(&config).letter(letters[1].position).unwrap().unwrap();
    assert_eq!(letter, letters[1]);
    let mut message = Vec::new();
    decompress(&body, &Limits::default(), &mut message).unwrap();
    let series = WriteRequestView::new(&message).series().next().unwrap().unwrap();
    assert_eq!(series.label(b"__name__"), Some(&b"bad_1"[..]));
    assert_eq!(series.label(b"source"), None, "as the sender sent it");
    assert!(stored(&config).letter(u64::MAX).unwrap().is_none());

    stored(&config).drop_through(letters[1].position).unwrap();
    assert_eq!(stored(&config).list().unwrap(), letters[2..]);
    assert!(stored(&config).letter(letters[1].position).unwrap().is_none());
    stored(&config).drop_through(letters[0].position).unwrap();
    assert_eq!(stored(&config).list().unwrap(), letters[2..], "never back");

    // A running merger lists the same.
    let destination = Destination::start(|_, _| Answer::Take).await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    let (_, page) = merger.get("/api/v1/dead-letters/a").await;
    assert_eq!(page.lines().count(), 2);
    assert!(StoredDeadLetters::open(&config, &config.sources[0]).is_err(), "in use");
    merger.shutdown().await;
    stored(&config).drop_through(u64::MAX).unwrap();
    assert_eq!(stored(&config).list().unwrap(), []);
}

#[tokio::test]
async fn what_is_replayed_is_delivered_and_what_is_still_invalid_stays() {
    let data = tempfile::tempdir().unwrap();
    let destination = with_letters(&data).await;
    let config = config(&data);
    let first = stored(&config).list().unwrap()[0].position;
    let done = stored(&config).replay_through(first).unwrap();
    assert_eq!((done.letters, done.samples, done.kept), (1, 1, 0));
    assert_eq!(stored(&config).list().unwrap().len(), 3);
    let done = stored(&config).replay_through(u64::MAX).unwrap();
    assert_eq!((done.letters, done.samples, done.kept), (2, 2, 1));
    assert_eq!(reasons(&stored(&config).list().unwrap()), ["series 0: no metric name"]);

    destination.rule(|_, _| Answer::Take);
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    eventually("all arrive", || async { destination.series().len() == 3 }).await;
    assert_eq!(destination.names(), ["bad_0", "bad_1", "bad_2"]);
    merger.shutdown().await;
}

#[test]
fn a_source_without_any_has_none() {
    let data = tempfile::tempdir().unwrap();
    let config = config(&data);
    assert!(StoredDeadLetters::open(&config, &config.sources[0]).unwrap().is_none());
}

#[test]
fn the_example_holds_the_defaults() {
    let example = Config::parse("example", Config::EXAMPLE).unwrap();
    let least = "data: /var/lib/prom-merger\nsources: [{name: kafka}, {name: kubernetes}]\n\
                 destination: {url: http://127.0.0.1:9092/api/v1/write}\n";
    assert_eq!(example, Config::parse("least", least).unwrap());
}
