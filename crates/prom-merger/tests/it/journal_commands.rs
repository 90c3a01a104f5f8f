//! `prom-merger journal`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use prom_remote::{Sample, WriteRequestBuilder};
use serde_json::Value;

use crate::{
    commands::run,
    support::{Answer, Destination, TestMerger, eventually, label},
};

/// Ten requests of two samples each, one second after another, journalled and not delivered; then the merger is stopped.
async fn prepare(folder: &Path, destination: &Destination) -> PathBuf {
    let merger = TestMerger::start(folder, &destination.url, "").await;
    for number in 0..10 {
        let mut builder = WriteRequestBuilder::new();
        let text = number.to_string();
        let sample = |number: i64| Sample::new(1_700_000_000_000 + number * 1_000, number as f64);
        builder.series([("__name__", "one"), ("number", &text)], [sample(number)]);
        builder.series([("__name__", "two"), ("number", &text)], [sample(number)]);
        merger.send("a", builder.finish_compressed().unwrap()).await.unwrap();
    }
    merger.shutdown().await;
    let file = folder.join("merger.yaml");
    let text = format!(
        "data: {}\nsources: [{{name: a}}, {{name: b}}]\ndestination: {{url: '{}'}}\n",
        folder.display(),
        destination.url
    );
    fs::write(&file, text).unwrap();
    file
}

async fn deliver(folder: &Path, destination: &Destination) {
    let merger = TestMerger::start(folder, &destination.url, "").await;
    eventually("all is delivered", || async {
        merger.metric("prom_merger_journal_pending_records{source=\"a\"}").await == 0.0
    })
    .await;
    merger.shutdown().await;
}

/// The numbers of the requests that arrived, in their order.
fn arrived(destination: &Destination) -> Vec<String> {
    destination
        .requests()
        .iter()
        .flatten()
        .filter(|series| label(series, "__name__") == "one")
        .map(|series| label(series, "number").to_owned())
        .collect()
}

fn segment(folder: &Path) -> PathBuf {
    folder.join("journal/a/segment-00000000000000000000.sj")
}

#[tokio::test]
async fn inspect_tells_segments_and_what_is_undelivered() {
    let folder = tempfile::tempdir().unwrap();
    let mut destination = Destination::start_down().await;
    let file = prepare(folder.path(), &destination).await;
    let before = fs::read(segment(folder.path())).unwrap();
    let (code, told, errors) = run(&["journal", "inspect", "--format", "json"], Some(&file));
    assert_eq!((code, errors.as_str()), (0, ""), "{told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told[0]["source"], &told[1]["source"]), (&"a".into(), &"b".into()));
    let found = &told[0]["segments"][0];
    assert_eq!(
        (&found["records"], &found["samples"], &found["series"]),
        (&10.into(), &20.into(), &20.into())
    );
    assert_eq!(found["earliest_ms"], 1_700_000_000_000_i64);
    assert_eq!(found["latest_ms"], 1_700_000_009_000_i64);
    let cursor = &told[0]["cursors"][0];
    assert_eq!((&cursor["position"], &cursor["undelivered"]["records"]), (&0.into(), &10.into()));
    assert_eq!(told[1]["segments"], Value::Array(Vec::new()));
    assert_eq!(fs::read(segment(folder.path())).unwrap(), before, "nothing is changed");

    let (code, text, _) = run(&["journal", "inspect", "--source", "a"], Some(&file));
    assert_eq!(code, 0);
    assert!(text.contains("0..10") && text.contains("2023-11-14T22:13:29Z"), "{text}");
    let (code, _, errors) = run(&["journal", "inspect", "--source", "nope"], Some(&file));
    assert_eq!(
        (code, errors.as_str()),
        (1, "prom-merger: there is no source \"nope\", and no journal of that name\n")
    );

    destination.up().await;
    deliver(folder.path(), &destination).await;
    let (_, told, _) = run(&["journal", "inspect", "--source", "a", "--format", "json"], Some(&file));
    let told: Value = serde_json::from_str(&told).unwrap();
    let cursor = &told[0]["cursors"][0];
    assert_eq!((&cursor["position"], &cursor["undelivered"]["records"]), (&10.into(), &0.into()));
}

#[tokio::test]
async fn verify_tells_file_and_offset_of_damage_and_everything_else_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let mut destination = Destination::start_down().await;
    let file = prepare(folder.path(), &destination).await;
    let (code, told, errors) = run(&["journal", "verify"], Some(&file));
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(told.starts_with("a: journal: 10 records are right, 0 faults\n"), "{told}");

    let path = segment(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    let flipped = bytes.len() / 2;
    bytes[flipped] ^= 0x20;
    fs::write(&path, &bytes).unwrap();
    let (code, json, _) = run(&["journal", "verify", "--format", "json"], Some(&file));
    let json: Value = serde_json::from_str(&json).unwrap();
    let fault = &json[0]["faults"][0];
    let (offset, what) = (fault["offset"].as_u64().unwrap(), fault["what"].as_str().unwrap());
    assert!(code == 1 && (offset as usize..).contains(&flipped), "{fault}");
    let lost: usize = what.split(' ').nth(1).unwrap().parse().unwrap();
    let words = format!("Records {lost} to {} (exclusive) are lost: ", lost + 1);
    assert!(what.starts_with(&words) && [4, 5].contains(&lost), "{what}");

    let (code, told, errors) = run(&["journal", "verify"], Some(&file));
    let place = format!("  {}:{offset}: {what}\n", path.display());
    assert!(told.contains(&place), "{place} in {told}");
    let words = "prom-merger: 1 faults in the journals; everything else can still be delivered\n";
    assert_eq!((code, errors.as_str()), (1, words));

    destination.up().await;
    deliver(folder.path(), &destination).await;
    let others = (0..10).filter(|number| *number != lost).map(|number| number.to_string());
    assert_eq!(arrived(&destination), others.collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_replayed_arrives_again() {
    let folder = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let file = prepare(folder.path(), &destination).await;
    deliver(folder.path(), &destination).await;
    assert_eq!(arrived(&destination).len(), 10);

    let replay = |more: &[&str]| {
        let arguments: Vec<&str> =
            ["journal", "replay", "--source", "a"].iter().chain(more).copied().collect();
        run(&arguments, Some(&file))
    };
    let (code, told, _) = replay(&["--from", "8"]);
    assert_eq!((code, told.as_str()), (0, "records 8 to 9 are delivered again at the next start, to tsdb\n"));
    deliver(folder.path(), &destination).await;
    assert_eq!(arrived(&destination)[10..], ["8", "9"]);

    let (code, told, _) = replay(&["--from", "2023-11-14T22:13:22Z", "--through", "2023-11-14T22:13:24Z"]);
    let appended = "3 records (2 to 4) are appended once more and delivered at the next start\n";
    assert_eq!((code, told.as_str()), (0, appended));
    deliver(folder.path(), &destination).await;
    assert_eq!(arrived(&destination)[12..], ["2", "3", "4"]);

    let (code, _, errors) = replay(&["--from", "77"]);
    assert_eq!(code, 1);
    assert!(errors.contains("no record of the journal is in the range; it holds the positions"), "{errors}");
    let (code, _, errors) = replay(&["--from", "0", "--destination", "nobody"]);
    assert!(code == 1 && errors.contains("the journal has no cursor `nobody`"), "{errors}");
    assert_eq!(replay(&["--from", "yesterday"]).0, 2);
}

#[tokio::test]
async fn a_running_merger_has_its_journal_to_itself() {
    let folder = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let file = prepare(folder.path(), &destination).await;
    let merger = TestMerger::start(folder.path(), &destination.url, "").await;
    for command in [
        &["journal", "inspect"][..],
        &["journal", "verify"],
        &["journal", "replay", "--source", "a", "--from", "0"],
    ] {
        let (code, _, errors) = run(command, Some(&file));
        assert!(code == 1 && errors.contains("in use"), "{errors}");
    }
    merger.shutdown().await;
}
