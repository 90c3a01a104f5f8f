//! Two real Prometheus servers scrape the same target at different instants; they and the merger are killed in turns.

use std::{
    collections::{BTreeMap, HashSet},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use e2e::{
    eventually,
    go_programs::PROMETHEUS_3,
    http::{Page, block_on},
    note,
    prometheus::{Prometheus, program},
};
use prom_remote::{Matcher, Query, STALE_MARKER_BITS, Sample, TimeRange};
use prom_remote_http::{ClientConfig, ReadClient};

use super::program::{Merger, now_ms};

const INTERVAL_MS: i64 = 1_000;
const FRESHNESS_MS: i64 = 4_000;
const SERIES: usize = 200;

/// A target that says something else at each scrape.
struct Target {
    address: SocketAddr,
    /// It answers nobody otherwise.
    answers: Arc<AtomicBool>,
}

impl Target {
    fn start(scrapes: &Arc<AtomicU64>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let answers = Arc::new(AtomicBool::new(true));
        let (scrapes, is_up) = (Arc::clone(scrapes), Arc::clone(&answers));
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let scrape = scrapes.fetch_add(1, Ordering::Relaxed);
                if is_up.load(Ordering::Relaxed) {
                    let _ = answer(connection, scrape);
                }
            }
        });
        Self { address, answers }
    }

    fn set_answers(&self, answers: bool) {
        self.answers.store(answers, Ordering::Relaxed);
    }
}

fn answer(mut connection: TcpStream, scrape: u64) -> std::io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let mut page = String::from("# TYPE e2e_scrape counter\n");
    (0..SERIES).for_each(|number| page += &format!("e2e_scrape{{number=\"{number}\"}} {scrape}\n"));
    let length = page.len();
    write!(
        connection,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{page}"
    )
}

/// How replicas are told apart, and what they speak.
#[derive(Clone, Copy)]
enum Kind {
    /// Prometheus 2.42, remote write 1.0.
    ByLabel,
    /// Prometheus 3.16, remote write 2.0.
    ByPathIn2,
}

impl Kind {
    fn program(self) -> PathBuf {
        match self {
            Self::ByLabel => program(),
            Self::ByPathIn2 => PROMETHEUS_3.path(),
        }
    }

    fn keys(self) -> &'static str {
        match self {
            Self::ByLabel => "label: prometheus_replica",
            Self::ByPathIn2 => "path: true",
        }
    }
}

/// A replica and the target as it sees it.
struct Replica {
    name: String,
    server: Prometheus,
    target: Target,
}

impl Replica {
    fn new(folder: &Path, number: usize, kind: Kind, write_url: &str, scrapes: &Arc<AtomicU64>) -> Self {
        let target = Target::start(scrapes);
        let name = format!("prometheus-k8s-{number}");
        let (label, write_url, keys) = match kind {
            Kind::ByLabel => (format!(", prometheus_replica: {name}"), write_url.to_owned(), ""),
            Kind::ByPathIn2 => {
                let keys = ", protobuf_message: io.prometheus.write.v2.Request";
                (String::new(), format!("{write_url}/{name}"), keys)
            }
        };
        let config = format!(
            "global:\n  scrape_interval: 1s\n  external_labels: {{prometheus: monitoring/k8s{label}}}\n\
             remote_write: [{{url: '{write_url}', queue_config: {{batch_send_deadline: 500ms}}{keys}}}]\n\
             scrape_configs:\n  - job_name: target\n    static_configs:\n      - targets: ['{}']\n        \
             labels: {{instance: target}}\n",
            target.address
        );
        let server = Prometheus::configured(&folder.join(&name), kind.program(), &config, &[]);
        Self { name, server, target }
    }
}

type Series = BTreeMap<BTreeMap<String, String>, Vec<Sample>>;

/// All series of the target that a server has, without the labels that differ.
fn read(server: &Prometheus, begin_ms: i64, label: (&str, &str)) -> Series {
    let config = ClientConfig::new(&format!("{}/api/v1/read", server.url())).expect("an http address");
    let client = ReadClient::new(config).expect("a sound client");
    let range = TimeRange::new(begin_ms - 60_000, now_ms() + 60_000).expect("not empty");
    let matchers = vec![Matcher::equal("job", "target"), Matcher::equal(label.0, label.1)];
    let results = block_on(client.read_samples(&[Query { range, matchers }])).expect("the server answers");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut all = Series::new();
    for series in results.into_iter().flatten() {
        let labels: BTreeMap<_, _> =
            series.labels.iter().map(|label| (text(&label.name), text(&label.value))).collect();
        let labels = labels.into_iter().filter(|(name, _)| name != "source" && name != "prometheus_replica");
        all.insert(labels.collect(), series.samples);
    }
    all
}

/// The number of the replica that is elected.
fn elected(merger: &Merger, replicas: &[Replica; 2]) -> Result<usize, String> {
    let page = Page::fetch(&merger.metrics_url())?;
    let is_elected = |replica: &&Replica| {
        page.value("prom_merger_replica_elected", ("replica", &replica.name)).is_ok_and(|value| value == 1.0)
    };
    let found: Vec<_> = replicas.iter().enumerate().filter(|(_, replica)| is_elected(replica)).collect();
    match found[..] {
        [(number, _)] => Ok(number),
        _ => Err(format!("{} replicas are elected", found.len())),
    }
}

fn wait_for(seconds: u64) {
    thread::sleep(Duration::from_secs(seconds));
}

#[test]
fn two_replicas_killed_in_turns_make_one_series_without_gaps() {
    kill_in_turns(Kind::ByLabel, 4);
}

#[test]
fn two_replicas_of_prometheus_3_killed_in_turns_make_one_series_without_gaps() {
    kill_in_turns(Kind::ByPathIn2, 3);
}

fn kill_in_turns(kind: Kind, rounds: u32) {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    // What runs backwards in time, it would refuse.
    let mut database =
        Prometheus::configured(&folder.path().join("database"), kind.program(), "global: {}\n", &[]);
    database.start();
    let url = database.url();
    let destination = format!("destination: {{url: '{url}/api/v1/write', read_url: '{url}/api/v1/read'}}");
    let sources = format!("[{{name: kubernetes, replicas: {{{}, freshness: 4s}}}}]", kind.keys());
    let mut merger = Merger::with_sources(folder.path(), &destination, &sources);
    let scrapes = Arc::new(AtomicU64::new(1));
    let write_url = merger.write_url("kubernetes");
    let mut replicas = [0, 1].map(|number| Replica::new(folder.path(), number, kind, &write_url, &scrapes));
    let begin_ms = now_ms();
    merger.start();
    replicas.iter_mut().for_each(|replica| replica.server.start());

    for round in 0..rounds {
        wait_for(5);
        let mut first = 0;
        eventually(Duration::from_secs(60), "one replica is elected", || {
            first = elected(&merger, &replicas)?;
            Ok(())
        });
        let second = 1 - first;
        // The other one loses the target: it ends all series, for itself.
        replicas[second].target.set_answers(false);
        wait_for(3);
        replicas[second].target.set_answers(true);
        wait_for(3);
        if round % 2 == 1 {
            merger.kill();
            merger.start();
        }
        replicas[first].server.kill();
        if round == 2 {
            // Before anybody has taken over.
            wait_for(1);
            merger.kill();
            merger.start();
        }
        eventually(Duration::from_secs(60), "the other replica takes over", || {
            match elected(&merger, &replicas)? {
                number if number == second => Ok(()),
                _ => Err("the dead one is elected".to_owned()),
            }
        });
        wait_for(2);
        replicas[first].server.start();
    }
    wait_for(5);
    let end_ms = now_ms();
    let own = [0, 1].map(|number| {
        let label = ("instance", "target");
        read(&replicas[number].server, begin_ms, label)
    });
    replicas.iter_mut().for_each(|replica| replica.server.stop());
    merger.wait_until_done("kubernetes");
    let merged = read(&database, begin_ms, ("source", "kubernetes"));
    check(&merged, &own, end_ms, u64::from(rounds));
    let failovers = merger.metric("replica_failovers_total", "kubernetes").expect("it is there");
    note(&format!("{} series, {failovers} failovers since the merger was killed last", merged.len()));
    merger.kill();
    assert_eq!(merger.dead_letters(), "", "the database has refused nothing");
}

/// Every sample of the merged series is one of a replica; there is no gap where somebody has scraped, and no end.
fn check(merged: &Series, own: &[Series; 2], end_ms: i64, rounds: u64) {
    let scraped: Vec<_> = merged.keys().filter(|labels| labels["__name__"] == "e2e_scrape").collect();
    assert_eq!(scraped.len(), SERIES);
    let mut switches = 0;
    for (labels, samples) in merged {
        let none = Vec::new();
        let [first, second] = [0, 1].map(|number| own[number].get(labels).unwrap_or(&none));
        let [of_first, of_second] =
            [first, second].map(|samples| samples.iter().copied().collect::<HashSet<_>>());
        let mut before = None;
        for sample in samples {
            assert_ne!(
                sample.value_bits, STALE_MARKER_BITS,
                "{labels:?} was ended at {}",
                sample.timestamp_ms
            );
            let owner = (of_first.contains(sample), of_second.contains(sample));
            assert_ne!(owner, (false, false), "{labels:?}: {sample:?} is of no replica");
            if labels["__name__"] == "e2e_scrape" {
                switches += u64::from(before.is_some_and(|before| before != owner));
                before = Some(owner);
            }
        }
        let scrapes = || first.iter().chain(second).filter(|sample| sample.value_bits != STALE_MARKER_BITS);
        let ends = samples.iter().map(|sample| sample.timestamp_ms).chain([end_ms]);
        for (from, to) in samples.iter().map(|sample| sample.timestamp_ms).zip(ends.skip(1)) {
            let is_long = to - from > INTERVAL_MS + FRESHNESS_MS;
            let missed =
                scrapes().filter(|sample| from < sample.timestamp_ms && sample.timestamp_ms < to).count();
            assert!(!is_long || missed == 0, "{labels:?}: {missed} scrapes are missing from {from} to {to}");
        }
        let first_scrape = scrapes().map(|sample| sample.timestamp_ms).min().expect("it was scraped");
        let first_merged = samples.first().map_or(end_ms, |sample| sample.timestamp_ms);
        assert!(first_merged - first_scrape <= INTERVAL_MS + FRESHNESS_MS, "{labels:?} begins late");
    }
    let for_each = switches / SERIES as u64;
    assert!(
        (rounds..=3 * rounds).contains(&for_each),
        "{for_each} changes from one replica to the other in each series"
    );
}
