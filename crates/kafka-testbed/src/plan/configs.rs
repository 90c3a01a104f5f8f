//! The configuration files that planned services mount.

use std::{net::Ipv4Addr, time::Duration};

use serde_json::json;
use yaml_source::{Tree, emit};

use super::{
    Placement, PlannedFile, SCRAPER,
    addresses::Addresses,
    services::{KUBELET_PORT, LOAD_PORT, broker_name, pod_token, worker_name},
};
use crate::spec::{Prometheus, Spec};

/// Rules of the Prometheus beside Kafka: file name and text.
pub(super) const RULES: &[(&str, &str)] = &[
    ("recording.yml", include_str!("../../../../compose/configs/rules/recording.yml")),
    ("alerts.yml", include_str!("../../../../compose/configs/rules/alerts.yml")),
    ("merger.yml", include_str!("../../../../compose/configs/rules/merger.yml")),
];

/// Logging of the command-line tools, for log4j 1 (or its replacement) and log4j 2: warnings, on stderr.
pub(super) const TOOLS_LOG4J: &str = "configs/tools-log4j.properties";
pub(super) const TOOLS_LOG4J2: &str = "configs/tools-log4j2.properties";

/// Where a scraping Prometheus has its write token.
pub(super) const TOKEN_TARGET: &str = "/etc/prometheus/merger.token";

pub(super) fn files(spec: &Spec, addresses: Addresses, placement: &Placement) -> Vec<PlannedFile> {
    let file = |path: &str, content: String| PlannedFile { path: path.into(), content, is_secret: false };
    let mut files = vec![
        file("configs/kafka_scraper.yml", SCRAPER.to_owned()),
        file("configs/kafka-prometheus.yml", emit(&kafka_prometheus(spec, addresses, placement.run))),
        file(
            "configs/kubernetes-prometheus.yml",
            emit(&kubernetes_prometheus(spec, addresses, placement.run)),
        ),
        file("configs/tsdb.yml", emit(&tsdb(spec))),
        file("configs/merger.yaml", emit(&merger(spec, addresses))),
        file("configs/pods.json", pods(spec, addresses)),
        file(
            TOOLS_LOG4J,
            "log4j.rootLogger=WARN, stderr\n\
             log4j.appender.stderr=org.apache.log4j.ConsoleAppender\n\
             log4j.appender.stderr.Target=System.err\n\
             log4j.appender.stderr.layout=org.apache.log4j.PatternLayout\n\
             log4j.appender.stderr.layout.ConversionPattern=[%d] %p %m (%c)%n\n"
                .to_owned(),
        ),
        file(
            TOOLS_LOG4J2,
            "status=warn\nappender.stderr.type=Console\nappender.stderr.name=stderr\n\
             appender.stderr.target=SYSTEM_ERR\nappender.stderr.layout.type=PatternLayout\n\
             appender.stderr.layout.pattern=[%d] %p %m (%c)%n\nrootLogger.level=warn\n\
             rootLogger.appenderRef.stderr.ref=stderr\n"
                .to_owned(),
        ),
    ];
    files.extend(RULES.iter().map(|(name, text)| file(&format!("configs/rules/{name}"), (*text).to_owned())));
    files.extend(["kafka", "kubernetes"].map(|source| PlannedFile {
        path: format!("configs/{source}.token").into(),
        content: format!("{}\n", placement.write_token(source)),
        is_secret: true,
    }));
    files
}

/// Writes a duration in the one unit that Prometheus' flags and files always take.
pub(super) fn prometheus_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds % 86_400, duration.subsec_millis()) {
        (_, milliseconds @ 1..) => format!("{}ms", seconds * 1000 + u64::from(milliseconds)),
        (0, _) if seconds > 0 => format!("{}d", seconds / 86_400),
        _ => format!("{seconds}s"),
    }
}

fn kafka_prometheus(spec: &Spec, addresses: Addresses, run: u32) -> Tree {
    let run = ("run", run.to_string());
    let targets = |target: &str, labels: &[(&'static str, String)]| {
        targets(target, &[labels, std::slice::from_ref(&run)].concat())
    };
    let brokers = spec
        .kafka
        .brokers
        .iter()
        .enumerate()
        .map(|(index, broker)| {
            let target = format!("{}:{}", addresses.broker(index), spec.kafka.agent_port);
            let labels = [("broker", broker_name(broker)), ("broker_id", broker.id.to_string())];
            targets(&target, &labels)
        })
        .collect();
    let own = format!("{}:{}", addresses.kafka_prometheus(), spec.kafka_prometheus.port);
    let jobs = vec![
        job("kafka", None, brokers),
        job("kafka-load", None, vec![targets(&format!("{}:{LOAD_PORT}", addresses.producer()), &[])]),
        job("prom-merger", None, vec![targets(&format!("{}:{}", addresses.merger(), spec.merger_port), &[])]),
        job("prometheus", None, vec![targets(&own, &[])]),
    ];
    scraping("kafka", &spec.kafka_prometheus, jobs, spec, addresses)
}

/// Every target carries `simulated="true"`: what is shown from here must say so.
fn kubernetes_prometheus(spec: &Spec, addresses: Addresses, run: u32) -> Tree {
    let run = ("run", run.to_string());
    let targets = |target: &str, labels: &[(&'static str, String)]| {
        targets(target, &[labels, std::slice::from_ref(&run)].concat())
    };
    let simulated = ("simulated", "true".to_owned());
    let workers = (1..=spec.workers.count)
        .map(|number| {
            let labels = [
                ("namespace", "workers".to_owned()),
                ("pod", worker_name(number)),
                ("container", "worker".to_owned()),
                simulated.clone(),
            ];
            targets(&format!("{}:{LOAD_PORT}", addresses.worker(number)), &labels)
        })
        .collect();
    let kubelet = format!("{}:{KUBELET_PORT}", addresses.kubelet());
    let own = format!("{}:{}", addresses.kubernetes_prometheus(), spec.kubernetes_prometheus.port);
    let cadvisor = [("metrics_path", "/metrics/cadvisor".to_owned()), simulated.clone()];
    let jobs = vec![
        job("workers", None, workers),
        job("kubelet", Some("/metrics/cadvisor"), vec![targets(&kubelet, &cadvisor)]),
        job(
            "kube-state-metrics",
            Some("/metrics/kube-state"),
            vec![targets(&kubelet, std::slice::from_ref(&simulated))],
        ),
        job("prometheus", None, vec![targets(&own, &[simulated])]),
    ];
    scraping("kubernetes", &spec.kubernetes_prometheus, jobs, spec, addresses)
}

fn scraping(source: &str, own: &Prometheus, jobs: Vec<Tree>, spec: &Spec, addresses: Addresses) -> Tree {
    let timeout = own.scrape_interval.min(Duration::from_secs(10));
    let url = format!("http://{}:{}/api/v1/write/{source}", addresses.merger(), spec.merger_port);
    let mut global = vec![
        ("scrape_interval", prometheus_duration(own.scrape_interval).into()),
        ("scrape_timeout", prometheus_duration(timeout).into()),
        ("evaluation_interval", prometheus_duration(own.evaluation_interval).into()),
    ];
    if !own.external_labels.is_empty() {
        let labels =
            own.external_labels.iter().map(|(name, value)| (name.clone(), Tree::from(value.as_str())));
        global.push(("external_labels", labels.collect()));
    }
    let has_rules = source == "kafka";
    let rules: Vec<Tree> = RULES
        .iter()
        .filter(|_| has_rules)
        .map(|(file, _)| Tree::from(format!("/etc/prometheus/rules/{file}")))
        .collect();
    map([
        ("global", map(global)),
        ("rule_files", Tree::from(rules)),
        (
            "remote_write",
            Tree::from(vec![map([
                ("url", url.into()),
                ("name", "merger".into()),
                ("authorization", map([("credentials_file", TOKEN_TARGET.into())])),
                // Fresh data within a second; one shard keeps the load on the merger predictable.
                (
                    "queue_config",
                    map([
                        ("batch_send_deadline", "1s".into()),
                        ("max_samples_per_send", 2000.into()),
                        ("capacity", 20_000.into()),
                        ("max_shards", 4.into()),
                    ]),
                ),
            ])]),
        ),
        ("scrape_configs", Tree::from(jobs)),
    ])
}

fn tsdb(spec: &Spec) -> Tree {
    let window = prometheus_duration(spec.tsdb.out_of_order_window);
    map([("storage", map([("tsdb", map([("out_of_order_time_window", window.into())]))]))])
}

fn merger(spec: &Spec, addresses: Addresses) -> Tree {
    let source = |name: &'static str, address: Ipv4Addr, port: u16| {
        map([
            ("name", name.into()),
            ("token_file", format!("/etc/prom-merger/{name}.token").into()),
            ("pull", map([("url", format!("http://{address}:{port}/api/v1/read").into())])),
        ])
    };
    let sources = vec![
        source("kafka", addresses.kafka_prometheus(), spec.kafka_prometheus.port),
        source("kubernetes", addresses.kubernetes_prometheus(), spec.kubernetes_prometheus.port),
    ];
    let tsdb = format!("http://{}:{}", addresses.tsdb(), spec.tsdb.port);
    map([
        ("listen", format!("{}:{}", addresses.merger(), spec.merger_port).into()),
        ("data", "/var/lib/prom-merger".into()),
        ("sources", Tree::from(sources)),
        (
            "destination",
            map([
                ("url", format!("{tsdb}/api/v1/write").into()),
                ("read_url", format!("{tsdb}/api/v1/read").into()),
            ]),
        ),
    ])
}

fn pods(spec: &Spec, addresses: Addresses) -> String {
    let pods: Vec<_> = (1..=spec.workers.count)
        .map(|number| {
            json!({
                "pod": worker_name(number),
                "container": "worker",
                "deployment": "worker",
                "process_token": pod_token(addresses, number),
            })
        })
        .collect();
    let all = json!({ "namespace": "workers", "node": "simulated-node", "pods": pods });
    format!("{all:#}\n")
}

fn job(name: &str, path: Option<&str>, static_configs: Vec<Tree>) -> Tree {
    let mut entries = vec![("job_name", Tree::from(name))];
    if let Some(path) = path {
        entries.push(("metrics_path", path.into()));
    }
    entries.push(("static_configs", Tree::from(static_configs)));
    map(entries)
}

fn targets(target: &str, labels: &[(&'static str, String)]) -> Tree {
    let mut entries = vec![("targets", Tree::from(vec![Tree::from(target)]))];
    if !labels.is_empty() {
        let labels = labels.iter().map(|(name, value)| (*name, Tree::from(value.as_str())));
        entries.push(("labels", map(labels)));
    }
    map(entries)
}

fn map(entries: impl IntoIterator<Item = (&'static str, Tree)>) -> Tree {
    entries.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_prometheus_reads_them() {
        for (seconds, expected) in
            [(5.0, "5s"), (0.5, "500ms"), (86_400.0, "1d"), (7200.0, "7200s"), (1.25, "1250ms")]
        {
            assert_eq!(prometheus_duration(Duration::from_secs_f64(seconds)), expected);
        }
    }
}
