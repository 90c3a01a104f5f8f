//! What those who run it see: metrics, log lines, the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use prom_remote::{Sample, WriteRequestBuilder};
use serde_json::Value;

use crate::{
    commands::run,
    support::{Answer, Destination, TestMerger, eventually, one},
};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/merger-metrics.md");

/// Name with labels but `source`, and type, of each line of the table in the documentation.
fn documented() -> BTreeMap<String, String> {
    let page = fs::read_to_string(PAGE).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(name, rest)| (name.to_owned(), rest.split(' ').next().unwrap().to_owned())).collect()
}

/// The same of a page of metrics.
fn exported(page: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in page.lines() {
        let Some((name, kind)) =
            line.strip_prefix("# TYPE prom_merger_").and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let mut labels = BTreeSet::new();
        for line in page.lines().filter_map(|line| line.strip_prefix("prom_merger_")?.strip_prefix(name)) {
            let Some(inside) = line.strip_prefix('{').and_then(|line| line.split_once('}')) else { continue };
            labels
                .extend(inside.0.split(',').filter_map(|pair| pair.split_once('=')).map(|(label, _)| label));
        }
        labels.remove("source");
        let labels: Vec<_> = labels.into_iter().collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        found.insert(format!("{name}{labels}"), kind.to_owned());
    }
    found
}

#[tokio::test]
async fn every_metric_is_documented_and_every_documented_one_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let sources = "[{name: a}, {name: pair, replicas: {path: true}}]";
    let merger = TestMerger::start_with(folder.path(), sources, &destination.url, "").await;
    merger.send("a", one("up")).await.unwrap();
    merger.send("pair/first", one("up")).await.unwrap();
    eventually("both arrive", || async { destination.series().len() == 2 }).await;
    let shows_replica = || async { merger.get("/metrics").await.1.contains("replica_elected{source") };
    eventually("the replica is shown", shows_replica).await;
    let (_, page) = merger.get("/metrics").await;
    assert_eq!(exported(&page), documented(), "the page of a merger, and docs/merger-metrics.md");
    for line in page.lines().filter(|line| line.starts_with("# HELP ")) {
        assert!(line.ends_with('.'), "{line}");
    }
    merger.shutdown().await;
}

/// Whatever senders name their series, jobs and labels: a source has the same lines.
#[tokio::test]
async fn the_number_of_metrics_does_not_depend_on_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let destination = Destination::start(|_, _| Answer::Take).await;
    let merger = TestMerger::start(folder.path(), &destination.url, "").await;
    merger.send("a", one("first")).await.unwrap();
    eventually("it arrives", || async { !destination.series().is_empty() }).await;
    let lines = |page: String| page.lines().filter(|line| !line.contains("timestamp_seconds{")).count();
    let before = lines(merger.get("/metrics").await.1);
    let mut builder = WriteRequestBuilder::new();
    for number in 0..500 {
        let name = format!("name_{number}");
        builder.series([("__name__", &name[..]), ("job", &name)], [Sample::new(1_700_000_000_000, 1.0)]);
    }
    merger.send("a", builder.finish_compressed().unwrap()).await.unwrap();
    for path in ["/api/v1/write/nobody", "/nowhere"] {
        merger.post(path, None, one("x")).await;
    }
    eventually("it arrives", || async { destination.series().len() > 500 }).await;
    assert_eq!(lines(merger.get("/metrics").await.1), before);
    merger.shutdown().await;
}

fn config(folder: &Path) -> std::path::PathBuf {
    let file = folder.join("merger.yaml");
    let text = format!(
        "listen: 127.0.0.1:0\ndata: {}\nsources: [{{name: a}}]\n\
         destination: {{url: 'http://127.0.0.1:9/api/v1/write'}}\n",
        folder.join("data").display()
    );
    fs::write(&file, text).unwrap();
    file
}

#[test]
fn log_lines_are_json_when_asked_and_a_signal_ends_it_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_prom-merger"))
        .arg("--config")
        .arg(config(folder.path()))
        .args(["--log-format", "json", "--drain-deadline", "5s"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut messages = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for key in ["timestamp", "level", "target", "message"] {
            assert!(line[key].is_string(), "{key} in {line}");
        }
        if line["message"] == "journal open" {
            assert_eq!(line["source"], "a", "{line}");
        }
        if line["message"] == "listening" {
            let killed = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap();
            assert!(killed.success());
        }
        messages.push(line["message"].as_str().unwrap().to_owned());
    }
    assert_eq!(child.wait().unwrap().code(), Some(0), "{messages:?}");
    for message in ["journal open", "listening", "stopping", "stopped"] {
        assert!(messages.iter().any(|told| told == message), "{message} in {messages:?}");
    }
}

#[test]
fn a_bad_form_or_deadline_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path());
    for arguments in [["--log-format", "xml"], ["--drain-deadline", "soon"]] {
        let (code, _, errors) = run(&arguments, Some(&file));
        assert!(code == 2 && errors.contains(arguments[0]), "{errors}");
    }
}

/// The status of a write under a token, from a program that listens at `address`.
fn write_status(address: &str, token: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    let body = one("up");
    let head = format!(
        "POST /api/v1/write/a HTTP/1.1\r\nHost: merger\r\nContent-Type: application/x-protobuf\r\n\
         Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

/// The real program, all its threads, every log line: SIGHUP changes the token, and no line shows one.
#[test]
fn a_token_is_changed_by_a_signal_and_never_logged() {
    const TOKENS: [&str; 3] = ["first-secret-1f3a", "second-secret-9b2c", "wrong-secret-77d0"];
    let folder = tempfile::tempdir().unwrap();
    let (config, token) = (folder.path().join("merger.yaml"), folder.path().join("a.token"));
    fs::write(&token, TOKENS[0]).unwrap();
    let text = format!(
        "listen: 127.0.0.1:0\ndata: {}\nsources: [{{name: a, token_file: {}}}]\n\
         destination: {{url: 'http://127.0.0.1:9/api/v1/write'}}\n",
        folder.path().join("data").display(),
        token.display()
    );
    fs::write(&config, text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_prom-merger"))
        .arg("--config")
        .arg(&config)
        .args(["--log-format", "json", "--log", "trace"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let process = child.id().to_string();
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &process]).status().unwrap();
        assert!(sent.success());
    };
    let (mut address, mut lines) = (String::new(), Vec::new());
    // Read all the time: nobody who logs waits for the requests below.
    let (sender, told) = mpsc::channel();
    let reader = BufReader::new(child.stderr.take().unwrap());
    let reading =
        thread::spawn(move || reader.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    for line in told {
        let told: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        match told["message"].as_str() {
            Some("listening") => {
                address = told["address"].as_str().unwrap().to_owned();
                let statuses = [0, 2].map(|token| write_status(&address, TOKENS[token]));
                assert_eq!(statuses, [204, 403]);
                fs::write(&token, TOKENS[1]).unwrap();
                signal("-HUP");
            }
            Some("tokens and certificates are read anew") => {
                let statuses = [0, 1].map(|token| write_status(&address, TOKENS[token]));
                assert_eq!(statuses, [403, 204]);
                signal("-TERM");
            }
            _ => {}
        }
        lines.push(line);
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    reading.join().unwrap().unwrap();
    assert!(lines.iter().any(|line| line.contains("TRACE")), "trace lines are there");
    for line in &lines {
        assert!(!TOKENS.iter().any(|token| line.contains(token)), "{line}");
    }
}
