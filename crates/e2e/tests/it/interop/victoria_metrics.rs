//! VictoriaMetrics and its agent, 1.130.

use std::{fs, process::Command, time::Duration};

use e2e::{
    eventually,
    go_programs::{GoProgram, VICTORIA_METRICS, VMAGENT},
    http::{self, block_on},
    peer::{Receiver, batch, client, negotiator, request},
    process::Running,
    prometheus::free_address,
    series::{Content, Labels, SeriesSet},
};
use prom_remote_http::WriteForm;
use serde_json::Value;
use tempfile::TempDir;

use super::{data, now_ms};

/// 2.0 is answered 204 by it and thrown away: nothing is lost by trying.
#[test]
fn takes_zstd_after_2_0_was_tried() {
    let peer = Peer::start(VICTORIA_METRICS, &[]);
    check_taken(&peer, &[WriteForm::V2, WriteForm::V1Zstd, WriteForm::V1], WriteForm::V1Zstd);
}

#[test]
fn takes_1_0() {
    check_taken(&Peer::start(VICTORIA_METRICS, &[]), &[WriteForm::V1], WriteForm::V1);
}

#[test]
fn the_agent_passes_on_what_it_takes_by_either_compression() {
    let receiver = Receiver::start();
    let to = format!("-remoteWrite.url={}", receiver.url());
    let agent =
        Peer::start(VMAGENT, &[&to, "-remoteWrite.tmpDataPath=queue", "-remoteWrite.flushInterval=100ms"]);
    let series = data::floats(now_ms());
    let expected = series.iter().cloned().collect::<SeriesSet>().without_negative_zeros();
    let client = client(&agent.write_url());
    for (form, part) in [WriteForm::V1, WriteForm::V1Zstd].into_iter().zip(data::requests(&series)) {
        block_on(client.send(request(form, &part))).expect("the agent takes it");
    }
    let received = eventually(Duration::from_secs(60), "everything is passed on", || {
        let received = receiver.received();
        expected.is_within(&received.series).map(|()| received)
    });
    assert_eq!(received.series.is_same(&expected), Ok(()));
    // The agent begins with zstd, which our server refuses so that nothing is lost.
    assert_eq!((received.requests[1], received.faults), (0, Vec::new()));
}

#[test]
fn the_agent_sends_what_it_scrapes_up_to_the_stale_markers() {
    let receiver = Receiver::start();
    // It keeps these and sends them again.
    receiver.refuse(2);
    let to = format!("-remoteWrite.url={}", receiver.url());
    let scrapes = ["-promscrape.config=scrape.yml", "-remoteWrite.flushInterval=100ms"];
    let agent = Peer::start(VMAGENT, &[&to, "-remoteWrite.tmpDataPath=queue", scrapes[0], scrapes[1]]);
    let has_samples = || match receiver.received().series.counts().0 {
        count if count > 500 => Ok(()),
        count => Err(format!("{count} samples")),
    };
    eventually(Duration::from_secs(60), "scrapes are sent", has_samples);

    // A target that is gone ends its series.
    fs::write(agent.folder.path().join("scrape.yml"), "scrape_configs: []")
        .expect("the folder can be written");
    http::post(&format!("http://{}/-/reload", agent.address)).expect("the agent reads it again");
    let is_ended = |content: &Content| {
        let last = content.samples.last_key_value();
        last.is_some_and(|(_, sample)| sample.sample.is_stale())
    };
    let received = eventually(Duration::from_secs(60), "each series ends with a stale marker", || {
        let received = receiver.received();
        let ended = received.series.filtered(|_, content| is_ended(content));
        ended.is_same(&received.series).map(|()| received)
    });
    let up = received.series.filtered(|labels, _| labels["__name__"] == "up");
    let up = up.iter().flat_map(|(_, content)| content.samples.values()).next().expect("it scrapes itself");
    assert_eq!(up.sample.value(), 1.0);
    // It does not sort labels, which nobody refuses.
    let is_unsorted = |fault: &String| fault.contains("faults: [UnsortedLabels");
    assert_eq!(received.faults.iter().find(|fault| !is_unsorted(fault)), None);
    assert_eq!((received.requests[1], receiver.refusals_left()), (0, 0));
}

/// Writes in the best of `forms` that works, which is `form`, and asks for all samples. It keeps decimal numbers of 12
/// places, so only those are asked for.
#[track_caller]
fn check_taken(peer: &Peer, forms: &[WriteForm], form: WriteForm) {
    // It does not tell of the future.
    let series = data::floats(now_ms() - 600_000);
    let negotiator = negotiator(&peer.write_url(), forms);
    for part in data::requests(&series) {
        let sent = block_on(negotiator.send(&batch(&part), 0)).expect("VictoriaMetrics takes it");
        assert_eq!((sent.form, negotiator.form()), (form, form));
    }
    for series in series.iter().filter(|series| !["sine", "special"].contains(&&*series.labels["case"])) {
        let expected: Vec<_> =
            series.samples.iter().map(|sample| (sample.sample.timestamp_ms, sample.sample.value())).collect();
        eventually(Duration::from_secs(30), "all samples can be asked for", || {
            let found = peer.export(&series.labels)?;
            if found == expected { Ok(()) } else { Err(format!("{found:?} and not {expected:?}")) }
        });
    }
}

/// One of the two programs, running.
struct Peer {
    address: String,
    running: Option<Running>,
    folder: TempDir,
}

impl Peer {
    fn start(program: GoProgram, arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder can be made");
        let address = free_address().to_string();
        let scrape = SCRAPE.replace("SELF", &address);
        fs::write(folder.path().join("scrape.yml"), scrape).expect("the folder can be written");
        let running = Running::start(
            Command::new(program.path())
                .current_dir(folder.path())
                .arg(format!("-httpListenAddr={address}"))
                .args(arguments),
        );
        let ready = format!("http://{address}/health");
        eventually(Duration::from_secs(60), "the program becomes ready", || http::get(&ready));
        Self { address, running: Some(running), folder }
    }

    fn write_url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// The samples of one series.
    fn export(&self, labels: &Labels) -> Result<Vec<(i64, f64)>, String> {
        http::post(&format!("http://{}/internal/force_flush", self.address))?;
        let matchers: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let selector = format!("{{{}}}", matchers.join(","));
        let url = reqwest::Url::parse_with_params(
            &format!("http://{}/api/v1/export", self.address),
            [("match[]", selector)],
        );
        let lines = http::get(url.map_err(|error| error.to_string())?.as_str())?;
        let mut samples = Vec::new();
        for line in lines.lines() {
            let block: Value = serde_json::from_str(line).map_err(|error| format!("{error} in {line}"))?;
            let times = block["timestamps"].as_array().into_iter().flatten().filter_map(Value::as_i64);
            samples.extend(
                times.zip(block["values"].as_array().into_iter().flatten().filter_map(Value::as_f64)),
            );
        }
        samples.sort_by_key(|sample| sample.0);
        Ok(samples)
    }
}

const SCRAPE: &str = "scrape_configs: [{job_name: itself, scrape_interval: 1s, \
                      static_configs: [{targets: [SELF]}]}]";

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}
