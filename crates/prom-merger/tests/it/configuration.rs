//! The configuration file.

use std::time::Duration;

use prom_merger::{
    Config,
    config::{OnConflict, SourceConfig},
};
use prom_remote::RelabelAction;

/// A file with the sources given, and further text.
fn file(sources: &str, more: &str) -> String {
    format!("data: d\nsources: {sources}\ndestination: {{url: 'http://tsdb:9090/api/v1/write'}}\n{more}\n")
}

fn source(keys: &str, more: &str) -> SourceConfig {
    Config::parse("m", file(&format!("[{{name: a, {keys}}}]"), more)).unwrap().sources.remove(0)
}

#[track_caller]
fn check_faults(text: &str, expected: &[&str]) {
    let faults = Config::parse("m", text).unwrap_err();
    let headlines: Vec<_> = faults.into_sorted().iter().map(|fault| fault.headline()).collect();
    assert_eq!(headlines, expected);
}

#[test]
fn a_source_has_the_limits_of_all_unless_it_has_its_own() {
    let more = "limits: {labels: 30, samples_per_second: 100}";
    let limits = source("limits: {labels: 40}", more).limits;
    assert_eq!((limits.labels, limits.samples_per_second, limits.burst_samples), (40, 100, 1_000));
    let limits = source("limits: {samples_per_second: 7}", more).limits;
    assert_eq!((limits.labels, limits.samples_per_second, limits.burst_samples), (30, 7, 70));
    let limits = source("future_limit: 0s", "").limits;
    assert_eq!((limits.labels, limits.samples_per_second, limits.active_series), (256, 0, 0));
}

#[test]
fn relabel_rules_are_those_of_prometheus() {
    let keys = "on_conflict: replace, pull: {url: 'http://prometheus:9090/api/v1/read'}, relabel: [\
                {source_labels: [a, b], regex: 'x(.*)', target_label: c, replacement: $1}, \
                {action: labeldrop, regex: tmp_.*}, \
                {source_labels: [a], action: HashMod, modulus: 18446744073709551615, target_label: shard}, \
                {source_labels: [port], regex: 9090, action: keep}]";
    let source = source(keys, "");
    assert_eq!(source.on_conflict, OnConflict::Replace);
    let [replace, drop, hash, keep] = &source.relabel[..] else { panic!("{:?}", source.relabel) };
    assert_eq!((replace.action, replace.separator.as_str()), (RelabelAction::Replace, ";"));
    assert_eq!(replace.source_labels, ["a", "b"]);
    assert_eq!((drop.action, drop.regex.as_str()), (RelabelAction::LabelDrop, "tmp_.*"));
    assert_eq!((hash.action, hash.modulus), (RelabelAction::HashMod, u64::MAX));
    assert_eq!(keep.regex, "9090");
    assert_eq!(source.pull.unwrap().timeout, Duration::from_secs(60));
}

#[test]
fn listen_is_the_short_form_of_web() {
    let listen = |more: &str| Config::parse("m", file("[{name: a}]", more)).unwrap().web.listen.to_string();
    assert_eq!(listen(""), "127.0.0.1:9099");
    assert_eq!(listen("listen: 1.2.3.4:5"), "1.2.3.4:5");
    assert_eq!(listen("web: {listen: '1.2.3.4:6'}"), "1.2.3.4:6");
    check_faults(
        &file("[{name: a}]", "listen: 1.2.3.4:5\nweb: {listen: '1.2.3.4:6'}"),
        &["m:4:1: error: listen: there is `web` too: write it there"],
    );
}

#[test]
fn faults_of_sources_and_web_are_told_with_their_places() {
    let text = "\
data: d
sources:
  - name: a
    limits: {decoded: 1GiB, burst_samples: 5}
    client_cert_names: [a.example]
    on_conflict: renamed
    relabel:
      - {action: labeldrop, regex: '('}
      - {action: hashmod, target_label: x}
      - {action: labelkeep, source_labels: [a]}
      - {target_label: ''}
      - {action: nothing}
      - {surce_labels: [a], target_label: x}
    pull: {}
destination: {url: 'http://x/'}
web:
  max_connections: 0
  read_timeout: 0s
  tls: {cert_file: c}
";
    check_faults(
        text,
        &[
            "m:3:5: error: source a: limits.body (33554432) and limits.decoded (1073741824) allow records of \
             1252764362 bytes, and a journal takes at most 1073741824",
            "m:3:5: error: source a: `client_cert_names` needs `web.tls.client_ca_file`",
            "m:4:29: error: sources[0].limits: burst_samples: needs `samples_per_second`",
            "m:6:18: error: sources[0].on_conflict: expected one of `export`, `replace`, `refuse`, found `renamed`",
            "m:8:29: error: sources[0].relabel[0]: regex: unclosed group at byte 0",
            "m:9:9: error: sources[0].relabel[1]: modulus: modulus must not be 0 (hashmod)",
            "m:10:29: error: sources[0].relabel[2]: source_labels: cannot be set for labelkeep",
            "m:11:9: error: sources[0].relabel[3]: target_label is missing (replace)",
            "m:12:9: error: sources[0].relabel[4]: target_label is missing (replace)",
            "m:12:18: error: sources[0].relabel[4].action: expected a relabel action, found `nothing`: unknown \
             relabel action \"nothing\"",
            "m:13:10: error: sources[0].relabel[5]: unknown key `surce_labels`",
            "m:14:11: error: sources[0].pull: the key `url` is missing",
            "m:17:20: error: web.max_connections: expected an integer from 1 to 100000, found the number `0`",
            "m:18:17: error: web.read_timeout: the duration must be longer than zero",
            "m:19:8: error: web.tls: the key `key_file` is missing",
        ],
    );
}

#[test]
fn the_example_has_every_key_of_sources_limits_and_web() {
    let has = |key: &str| {
        let lines = Config::EXAMPLE.lines().map(|line| line.trim_start_matches([' ', '#', '-']));
        lines.into_iter().any(|line| line.starts_with(&format!("{key}:")))
    };
    let keys = "data sources name value token_file client_cert_names future_limit on_conflict relabel source_labels \
                separator regex modulus target_label replacement action limits pull url ca_file timeout web listen \
                read_timeout max_connections tls cert_file key_file client_ca_file label body decoded series labels \
                label_bytes in_flight samples_per_second burst_samples active_series journal segment_bytes max_bytes \
                max_pending_bytes commit_window retry minimum maximum";
    let missing: Vec<_> = keys.split_whitespace().filter(|key| !has(key)).collect();
    assert_eq!(missing, [""; 0]);
}
