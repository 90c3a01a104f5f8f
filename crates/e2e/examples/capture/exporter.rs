use std::{fs, path::Path, process::Command};

use e2e::{
    eventually, http,
    process::Running,
    prometheus::free_address,
    testbed::{Testbed, shared_cache},
};

/// What is scraped, and the labels that a user gives it.
pub(crate) struct Exporter {
    pub(crate) name: &'static str,
    external_labels: &'static str,
    scrape_configs: String,
}

impl Exporter {
    /// The JMX agents of three brokers under the project's rules, with the labels that the testbed gives them.
    pub(crate) fn kafka(testbed: &Testbed) -> Self {
        let status = testbed.status();
        let target = |id: usize| {
            let url = status.service(&format!("kafka-broker-{id}")).metrics_url(AGENT_PORT);
            let address = url.trim_start_matches("http://").trim_end_matches("/metrics").to_owned();
            format!(
                "{{targets: ['{address}'], labels: {{broker: kafka-broker-{id}, broker_id: '{id}', run: '1'}}}}"
            )
        };
        let targets: Vec<_> = (1..=3).map(target).collect();
        Self {
            name: "kafka",
            external_labels: "{cluster: performance-testbed, environment: experiment, prometheus: kafka, team: streaming}",
            scrape_configs: format!("{{job_name: kafka, static_configs: [{}]}}", targets.join(", ")),
        }
    }

    /// Node exporters, as one for each host.
    pub(crate) fn node(exporters: &[NodeExporter]) -> Self {
        let targets: Vec<_> = exporters.iter().map(|exporter| format!("'{}'", exporter.address)).collect();
        Self {
            name: "node",
            external_labels: "{cluster: performance-testbed, prometheus: kafka}",
            scrape_configs: format!(
                "{{job_name: node-exporter, static_configs: [{{targets: [{}]}}]}}",
                targets.join(", ")
            ),
        }
    }

    /// The cAdvisor of a kubelet, with the labels that kube-prometheus gives it.
    pub(crate) fn kubernetes(kubelet: &str, token_file: &Path) -> Self {
        let address = kubelet.trim_start_matches("https://");
        Self {
            name: "kubernetes",
            external_labels: "{prometheus: monitoring/k8s, prometheus_replica: prometheus-k8s-0}",
            scrape_configs: format!(
                "{{job_name: kubelet, scheme: https, metrics_path: /metrics/cadvisor, honor_labels: true, \
                 authorization: {{credentials_file: '{}'}}, tls_config: {{insecure_skip_verify: true}}, \
                 static_configs: [{{targets: ['{address}'], labels: {{endpoint: https-metrics, \
                 metrics_path: /metrics/cadvisor, namespace: kube-system, node: node1, service: kubelet}}}}]}}",
                token_file.display()
            ),
        }
    }

    /// The configuration of a Prometheus that scrapes it. Requests wait until they are full, which takes no time where
    /// there are more targets.
    pub(crate) fn config(&self, url: &str, message: &str) -> String {
        format!(
            "global: {{scrape_interval: 5s, external_labels: {}}}\nscrape_configs: [{}]\n\
             remote_write: [{{url: '{url}', {message}queue_config: \
             {{max_samples_per_send: 2000, max_shards: 1, batch_send_deadline: 5m}}}}]\n",
            self.external_labels, self.scrape_configs
        )
    }
}

/// Debian's package, unpacked into the shared cache without being installed.
pub(crate) struct NodeExporter {
    address: std::net::SocketAddr,
    running: Option<Running>,
}

impl NodeExporter {
    pub(crate) fn start() -> Self {
        let program = shared_cache().join("debian/prometheus-node-exporter/usr/bin/prometheus-node-exporter");
        if !program.is_file() {
            unpack("prometheus-node-exporter");
        }
        let address = free_address();
        let mut command = Command::new(&program);
        command.arg(format!("--web.listen-address={address}"));
        let running = Some(Running::start(&mut command));
        let page = format!("http://{address}/metrics");
        eventually(std::time::Duration::from_secs(10), "the node exporter answers", || http::get(&page));
        Self { address, running }
    }
}

impl Drop for NodeExporter {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}

fn unpack(package: &str) {
    let work = tempfile::tempdir().expect("a folder can be made");
    let folder = shared_cache().join("debian").join(package);
    run(Command::new("apt-get").current_dir(work.path()).args(["download", package]));
    let file =
        fs::read_dir(work.path()).expect("it is there").flatten().next().expect("apt-get has fetched a file");
    run(Command::new("dpkg-deb").arg("--extract").arg(file.path()).arg(folder));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{stderr}");
}

const AGENT_PORT: u16 = 11001;
