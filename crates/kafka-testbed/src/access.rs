//! Where a testbed is reached: variables for programs, pages for people.

use serde::Serialize;

use crate::{status::TestbedStatus, supervisor::Runtime};

/// A page of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    /// What it is.
    pub title: String,
    /// Its address.
    pub url: String,
}

/// Variables for a program that uses the testbed.
pub fn variables(runtime: &Runtime) -> Vec<(&'static str, String)> {
    let endpoints = &runtime.endpoints;
    vec![
        ("TESTBED_NAME", runtime.name.clone()),
        ("TESTBED_RUN", runtime.run.to_string()),
        ("KAFKA_BOOTSTRAP_SERVERS", endpoints.kafka.clone()),
        ("PROMETHEUS_URL", endpoints.tsdb.clone()),
        ("KAFKA_PROMETHEUS_URL", endpoints.kafka_prometheus.clone()),
        ("KUBERNETES_PROMETHEUS_URL", endpoints.kubernetes_prometheus.clone()),
        ("PROM_MERGER_URL", endpoints.merger.clone()),
    ]
}

/// The pages that people look at; `prometheus` is the version of that program.
pub fn pages(status: &TestbedStatus, prometheus: &str) -> Vec<Page> {
    let endpoints = &status.endpoints;
    // Debian builds it with the pages of before React, which have another path.
    let below = if prometheus.contains("+ds") { "/classic" } else { "" };
    let page = |title: &str, url: String| Page { title: title.to_owned(), url };
    let mut pages = vec![
        page("database: all metrics", format!("{}{below}/graph", endpoints.tsdb)),
        page("Prometheus beside Kafka: targets", format!("{}{below}/targets", endpoints.kafka_prometheus)),
        page("Prometheus beside Kafka: alerts", format!("{}{below}/alerts", endpoints.kafka_prometheus)),
        page(
            "Prometheus in Kubernetes: targets",
            format!("{}{below}/targets", endpoints.kubernetes_prometheus),
        ),
        page("merger: metrics", format!("{}/metrics", endpoints.merger)),
    ];
    for service in &status.services {
        let is_load = service.name == "producer" || service.name.starts_with("worker-");
        let agent = service.name.starts_with("kafka-broker-");
        if is_load && let Some(address) = service.addresses.first() {
            pages.push(page(&format!("{}: metrics", service.name), format!("http://{address}/metrics")));
        }
        if agent && let Some(address) = service.addresses.last() {
            pages.push(page(&format!("{}: metrics", service.name), format!("http://{address}/metrics")));
        }
    }
    pages
}
