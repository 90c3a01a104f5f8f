//! Writes an observation as the two pages that a kubelet and kube-state-metrics would serve.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Write},
};

use crate::simulated_kubelet::{
    observer::{Observation, ObservedPod},
    proc_reader::ProcessUsage,
};

/// The `Content-Type` of both pages: the Prometheus text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const PHASES: [&str; 5] = ["Pending", "Running", "Succeeded", "Failed", "Unknown"];

/// Writes the page of `/metrics/cadvisor`: the containers whose process runs.
pub fn cadvisor_page(observation: &Observation) -> String {
    let mut page = Page::default();
    let mut family = |name, kind, help, extra: &[(&str, &dyn Display)], value: fn(&ProcessUsage) -> f64| {
        page.family(name, kind, help);
        for pod in &observation.pods {
            let Some(usage) = &pod.usage else { continue };
            let labels = [container_labels(observation, pod).as_slice(), extra].concat();
            page.sample(name, &labels, value(usage));
        }
    };
    family(
        "container_cpu_usage_seconds_total",
        "counter",
        "CPU time of the process that plays the container.",
        &[("cpu", &"total")],
        |usage| usage.cpu_seconds,
    );
    family(
        "container_memory_working_set_bytes",
        "gauge",
        "Resident memory of the process (VmRSS), mapped files included.",
        &[],
        |usage| usage.resident_bytes as f64,
    );
    family(
        "container_memory_rss",
        "gauge",
        "Resident anonymous memory of the process (RssAnon).",
        &[],
        |usage| usage.resident_anonymous_bytes as f64,
    );
    family("container_threads", "gauge", "Threads of the process.", &[], |usage| usage.threads as f64);
    family(
        "container_start_time_seconds",
        "gauge",
        "Start of the process, seconds since the Unix epoch.",
        &[],
        |usage| usage.start_time_seconds,
    );
    write_file_state(&mut page, observation);
    page.text
}

/// Writes the page of `/metrics/kube-state`: all pods of the file.
pub fn kube_state_page(observation: &Observation) -> String {
    let mut page = Page::default();
    write_pods(&mut page, observation);
    write_containers(&mut page, observation);
    write_deployments(&mut page, observation);
    write_file_state(&mut page, observation);
    page.text
}

/// A pod of several containers is shown once: running if one of them runs.
fn write_pods(page: &mut Page, observation: &Observation) {
    let mut pods: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for pod in &observation.pods {
        let (runs, was_seen) = pods.entry(&pod.pod.pod).or_default();
        *runs |= pod.usage.is_some();
        *was_seen |= pod.was_seen;
    }
    let Observation { namespace, node, .. } = observation;
    page.family("kube_pod_info", "gauge", "A pod of the pods file; always 1.");
    for pod in pods.keys() {
        page.sample("kube_pod_info", &[("namespace", namespace), ("pod", pod), ("node", node)], 1.0);
    }
    page.family(
        "kube_pod_status_phase",
        "gauge",
        "Running while a process of the pod runs, Pending before the first, Failed after the last.",
    );
    for (pod, (runs, was_seen)) in &pods {
        let current = match (runs, was_seen) {
            (true, _) => "Running",
            (false, false) => "Pending",
            (false, true) => "Failed",
        };
        for phase in PHASES {
            let labels: [(&str, &dyn Display); 3] =
                [("namespace", namespace), ("pod", pod), ("phase", &phase)];
            page.sample("kube_pod_status_phase", &labels, f64::from(u8::from(phase == current)));
        }
    }
}

fn write_containers(page: &mut Page, observation: &Observation) {
    let labels = |pod| container_labels(observation, pod);
    let restarts = "kube_pod_container_status_restarts_total";
    page.family(restarts, "counter", "Changes of the container's process seen since this program's start.");
    for pod in &observation.pods {
        page.sample(restarts, &labels(pod)[..3], pod.restarts as f64);
    }
    let running = "kube_pod_container_status_running";
    page.family(running, "gauge", "Whether the container's process runs.");
    for pod in &observation.pods {
        page.sample(running, &labels(pod)[..3], f64::from(u8::from(pod.usage.is_some())));
    }
    let limits = "kube_pod_container_resource_limits";
    page.family(limits, "gauge", "Limits as declared in the pods file; nothing enforces them here.");
    for pod in &observation.pods {
        let memory = pod.pod.limits.memory_bytes.map(|bytes| ("memory", "byte", bytes as f64));
        let cpu = pod.pod.limits.cpu_cores.map(|cores| ("cpu", "core", cores));
        for (resource, unit, value) in memory.into_iter().chain(cpu) {
            let resource: [(&str, &dyn Display); 2] = [("resource", &resource), ("unit", &unit)];
            page.sample(limits, &[labels(pod).as_slice(), &resource].concat(), value);
        }
    }
}

fn write_deployments(page: &mut Page, observation: &Observation) {
    let mut deployments: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
    for pod in &observation.pods {
        if let Some(deployment) = &pod.pod.deployment {
            let all_run = deployments.entry(deployment).or_default().entry(&pod.pod.pod).or_insert(true);
            *all_run &= pod.usage.is_some();
        }
    }
    let mut family = |name, help, count: fn(&BTreeMap<&str, bool>) -> usize| {
        page.family(name, "gauge", help);
        for (deployment, pods) in &deployments {
            let labels: [(&str, &dyn Display); 2] =
                [("namespace", &observation.namespace), ("deployment", deployment)];
            page.sample(name, &labels, count(pods) as f64);
        }
    };
    family("kube_deployment_status_replicas", "Pods of the deployment in the pods file.", |pods| pods.len());
    family(
        "kube_deployment_status_replicas_available",
        "Pods of the deployment whose processes all run.",
        |pods| pods.values().filter(|all_run| **all_run).count(),
    );
}

fn write_file_state(page: &mut Page, observation: &Observation) {
    let name = "simulated_kubelet_pods_file_valid";
    page.family(
        name,
        "gauge",
        "Whether the pods file could be read at the last look; if not, the last valid one is shown.",
    );
    page.sample(name, &[], f64::from(u8::from(observation.file_is_valid)));
}

/// Returns namespace, pod, container and node, in this order.
fn container_labels<'a>(
    observation: &'a Observation,
    pod: &'a ObservedPod,
) -> [(&'a str, &'a dyn Display); 4] {
    [
        ("namespace", &observation.namespace),
        ("pod", &pod.pod.pod),
        ("container", &pod.pod.container),
        ("node", &observation.node),
    ]
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.write(format_args!("# HELP {name} Simulated: {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: f64) {
        self.text.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let opening = if index == 0 { '{' } else { ',' };
            self.write(format_args!("{opening}{label}=\"{}\"", Escaped(*text)));
        }
        let closing = if labels.is_empty() { "" } else { "}" };
        self.write(format_args!("{closing} {value}\n"));
    }

    fn write(&mut self, arguments: fmt::Arguments<'_>) {
        self.text.write_fmt(arguments).expect("writing to a String cannot fail");
    }
}

struct Escaped<'a>(&'a dyn Display);

impl Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.to_string().chars() {
            match character {
                '\\' => formatter.write_str("\\\\")?,
                '"' => formatter.write_str("\\\"")?,
                '\n' => formatter.write_str("\\n")?,
                other => formatter.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated_kubelet::{
        pods::{Limits, Pod},
        proc_reader::ProcessIdentity,
    };

    fn observed(name: &str, runs: bool, was_seen: bool) -> ObservedPod {
        let usage = runs.then_some(ProcessUsage {
            identity: ProcessIdentity { pid: 1, start_ticks: 2 },
            cpu_seconds: 1.25,
            start_time_seconds: 1_700_000_000.5,
            threads: 3,
            resident_bytes: 4096,
            resident_anonymous_bytes: 1024,
        });
        let pod = Pod {
            pod: name.to_owned(),
            container: "worker".to_owned(),
            deployment: Some("worker".to_owned()),
            pid: Some(1),
            start_time: None,
            process_token: None,
            limits: Limits { memory_bytes: Some(1 << 28), cpu_cores: Some(0.5) },
        };
        ObservedPod { pod, usage, was_seen, restarts: 2 }
    }

    fn observation() -> Observation {
        Observation {
            namespace: "workers".to_owned(),
            node: "n".to_owned(),
            pods: vec![
                observed("a\"b\\c\nd", true, true),
                observed("gone", false, true),
                observed("new", false, false),
            ],
            file_is_valid: true,
        }
    }

    #[track_caller]
    fn check(page: &str, lines: &[&str]) {
        for line in lines {
            assert!(page.lines().any(|shown| shown == *line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn shows_running_containers_only() {
        let page = cadvisor_page(&observation());
        let labels = r#"namespace="workers",pod="a\"b\\c\nd",container="worker",node="n""#;
        check(
            &page,
            &[
                &format!(r#"container_cpu_usage_seconds_total{{{labels},cpu="total"}} 1.25"#),
                &format!("container_memory_working_set_bytes{{{labels}}} 4096"),
                &format!("container_memory_rss{{{labels}}} 1024"),
                &format!("container_threads{{{labels}}} 3"),
                &format!("container_start_time_seconds{{{labels}}} 1700000000.5"),
            ],
        );
        assert!(!page.contains("gone"), "{page}");
    }

    #[test]
    fn shows_the_state_of_all_pods() {
        check(
            &kube_state_page(&observation()),
            &[
                r#"kube_pod_info{namespace="workers",pod="gone",node="n"} 1"#,
                r#"kube_pod_status_phase{namespace="workers",pod="gone",phase="Failed"} 1"#,
                r#"kube_pod_status_phase{namespace="workers",pod="gone",phase="Running"} 0"#,
                r#"kube_pod_status_phase{namespace="workers",pod="new",phase="Pending"} 1"#,
                r#"kube_pod_container_status_restarts_total{namespace="workers",pod="gone",container="worker"} 2"#,
                r#"kube_pod_container_status_running{namespace="workers",pod="new",container="worker"} 0"#,
                r#"kube_pod_container_resource_limits{namespace="workers",pod="new",container="worker",node="n",resource="cpu",unit="core"} 0.5"#,
                r#"kube_deployment_status_replicas{namespace="workers",deployment="worker"} 3"#,
                r#"kube_deployment_status_replicas_available{namespace="workers",deployment="worker"} 1"#,
                "simulated_kubelet_pods_file_valid 1",
            ],
        );
    }

    #[test]
    fn every_help_says_simulated() {
        for page in [cadvisor_page(&observation()), kube_state_page(&observation())] {
            let mut helps = page.lines().filter(|line| line.starts_with("# HELP"));
            assert!(helps.clone().count() > 5);
            assert!(helps.all(|line| line.contains("Simulated")), "{page}");
        }
    }
}
