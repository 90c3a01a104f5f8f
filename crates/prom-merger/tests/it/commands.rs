//! The program's commands.

use std::{fs, path::Path, process::Command};

use prom_remote::{Sample, WriteRequestBuilder};

use crate::support::{Answer, Destination, TestMerger, eventually};

/// Runs the program and returns exit code, stdout and stderr.
pub(crate) fn run(arguments: &[&str], config: Option<&Path>) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prom-merger"));
    command.args(arguments);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn dead_letters_are_listed_shown_exported_replayed_and_dropped() {
    let data = tempfile::tempdir().unwrap();
    let destination =
        Destination::start(|request, _| match request.iter().any(|series| series.1.len() > 1) {
            true => Answer::Refuse(400, "too many"),
            false
                if request
                    .iter()
                    .any(|series| series.1.iter().any(|(_, bits)| *bits == 2.5_f64.to_bits())) =>
            {
                Answer::Refuse(400, "no halves")
            }
            false => Answer::Take,
        })
        .await;
    let merger = TestMerger::start(data.path(), &destination.url, "").await;
    for name in ["one", "two"] {
        let mut builder = WriteRequestBuilder::new();
        let samples = [Sample::new(1_700_000_000_000, 1.0), Sample::new(1_700_000_001_000, 2.5)];
        builder.series([("__name__", name)], samples);
        merger.send("a", builder.finish_compressed().unwrap()).await.unwrap();
    }
    eventually("two dead letters", || async {
        merger.metric("prom_merger_dead_letter_records{source=\"a\"}").await == 2.0
    })
    .await;
    merger.shutdown().await;

    let file = data.path().join("merger.yaml");
    let text = format!(
        "data: {}\nsources: [{{name: a}}, {{name: b}}]\ndestination: {{url: '{}'}}\n",
        data.path().display(),
        destination.url
    );
    fs::write(&file, text).unwrap();
    let file = Some(file.as_path());
    let (code, listed, _) = run(&["dead-letters", "list"], file);
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!((code, lines.len()), (0, 2), "{listed}");
    let position = lines[0].split("position=").nth(1).unwrap().split(' ').next().unwrap();
    assert!(lines[0].ends_with("status=400 series=1 samples=1 \"no halves\""), "{listed}");
    assert_eq!(run(&["dead-letters"], file).1, listed, "the old form");
    assert_eq!(run(&["dead-letters", "list", "--source", "b"], file), (0, String::new(), String::new()));

    let (code, shown, _) = run(&["dead-letters", "show", "--source", "a", "--position", position], file);
    let expected = "{__name__=\"one\"}\n  2023-11-14T22:13:21Z 2.5 (bits 0x4004000000000000)\n";
    assert_eq!((code, shown), (0, format!("{}\n{expected}", lines[0])));

    let folder = data.path().join("exported");
    let output = folder.to_str().unwrap();
    let (code, told, _) = run(&["dead-letters", "export", "--source", "a", "--output", output], file);
    assert_eq!((code, told), (0, format!("2 dead letters written to {output}\n")));
    let header = fs::read_to_string(folder.join(format!("a-{position}.json"))).unwrap();
    assert!(header.contains("\"reason\":\"no halves\""), "{header}");
    assert!(folder.join(format!("a-{position}.snappy")).is_file());

    let (code, told, _) = run(&["dead-letters", "replay", "--source", "a", "--through", position], file);
    assert_eq!(
        (code, told.as_str()),
        (0, "1 dead letters with 1 samples are delivered at the next start; 0 stay\n")
    );
    let (code, left, _) = run(&["dead-letters", "list"], file);
    assert_eq!((code, left), (0, format!("{}\n", lines[1])));
    let drop = ["dead-letters", "drop", "--source", "a", "--through", &u64::MAX.to_string()];
    assert_eq!(run(&drop, file), (0, String::new(), String::new()));
    assert_eq!(run(&["dead-letters", "list"], file), (0, String::new(), String::new()));

    let (code, _, told) = run(&["dead-letters", "drop", "--source", "nope", "--through", "1"], file);
    assert_eq!((code, told.as_str()), (1, "prom-merger: the configuration has no source \"nope\"\n"));
}

#[test]
fn a_configuration_is_shown_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let (code, example, _) = run(&["config", "example"], None);
    assert_eq!(code, 0);
    let file = folder.path().join("merger.yaml");
    fs::write(&file, &example).unwrap();
    for check in [&["config", "check"][..], &["check"]] {
        assert_eq!(run(check, Some(&file)), (0, String::new(), String::new()));
    }
    fs::write(&file, example.replace("future_limit: 10m", "future_limit: soon")).unwrap();
    for check in [&["config", "check"][..], &["check"]] {
        let (code, _, faults) = run(check, Some(&file));
        assert_eq!(code, 64);
        assert!(faults.contains("merger.yaml:15:"), "{faults}");
    }
}
