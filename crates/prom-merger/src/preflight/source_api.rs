//! What a source says of itself through the HTTP API of Prometheus.

use std::{collections::BTreeMap, time::Duration};

use prom_remote_http::Authorization;
use reqwest::{Client, Url};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;
use yaml_source::{Node, Source, parse};

use super::SourceToCheck;
use crate::machine::now_ms;

/// The HTTP API of a Prometheus.
#[derive(Debug, Clone)]
pub struct SourceApi {
    client: Client,
    base: Url,
    authorization: Authorization,
}

/// What a source says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SourceReport {
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Its version.
    pub version: String,
    /// What it adds to all that it sends.
    pub external_labels: BTreeMap<String, String>,
    /// How often it scrapes unless a job says otherwise, in milliseconds.
    pub scrape_interval_ms: i64,
    /// Its clock minus ours, in milliseconds.
    pub clock_skew_ms: f64,
    /// How much of the skew may be the network's, in milliseconds.
    pub clock_uncertainty_ms: f64,
    /// The metrics that it has.
    pub metric_names: Vec<String>,
    /// Values of the label that tells sources apart, where its own series have that label.
    pub own_label_values: Vec<String>,
    /// The addresses that it writes to.
    pub remote_write_urls: Vec<String>,
}

/// A source cannot be asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceApiError {
    /// Not an address.
    #[error("{url:?} is not an http or https address")]
    Url {
        /// As given.
        url: String,
    },
    /// The HTTP library refuses.
    #[error("HTTP client cannot be built")]
    Client(#[source] reqwest::Error),
    /// No answer, or a broken one.
    #[error("{path}: {message}")]
    Network {
        /// What was asked for.
        path: String,
        /// What went wrong.
        message: String,
    },
    /// An answer that is no success.
    #[error("{path} answers {status}: {message}")]
    Status {
        /// What was asked for.
        path: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        message: String,
    },
    /// An answer that is longer than is worth reading.
    #[error("{path} answers more than {limit} bytes")]
    TooLong {
        /// What was asked for.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// An answer of another shape.
    #[error("{path} does not answer as Prometheus does: {message}")]
    Shape {
        /// What was asked for.
        path: String,
        /// What is odd.
        message: String,
    },
}

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

#[derive(Deserialize)]
struct BuildInfo {
    version: String,
}

#[derive(Deserialize)]
struct StatusConfig {
    yaml: String,
}

#[derive(Deserialize)]
struct Scalar {
    result: (f64, String),
}

impl SourceApi {
    /// Asks at `base`, as in `http://prometheus:9090` or `https://host/prometheus`.
    ///
    /// # Errors
    /// Not an address, or the HTTP library refuses.
    pub fn new(base: &str, authorization: Authorization) -> Result<Self, SourceApiError> {
        let with_slash = format!("{}/", base.trim_end_matches('/'));
        let parsed = Url::parse(&with_slash).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let base = parsed.ok_or_else(|| SourceApiError::Url { url: base.to_owned() })?;
        let client = Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .user_agent(concat!("prom-merger/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(SourceApiError::Client)?;
        Ok(Self { client, base, authorization })
    }

    /// Where it is, without user and password.
    pub fn url(&self) -> String {
        let mut shown = self.base.clone();
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.to_string()
    }

    /// The series of some metrics since a time, in seconds.
    pub(super) async fn series(
        &self,
        names: &[&str],
        since_s: i64,
    ) -> Result<Vec<BTreeMap<String, String>>, SourceApiError> {
        let mut query: Vec<_> =
            names.iter().map(|name| ("match[]", format!("{{__name__={}}}", quoted(name)))).collect();
        query.push(("start", since_s.to_string()));
        self.get("api/v1/series", &query).await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, SourceApiError> {
        let network = |error: reqwest::Error| {
            let message = error.without_url().to_string();
            SourceApiError::Network { path: path.to_owned(), message }
        };
        let url = self
            .base
            .join(path)
            .map_err(|error| SourceApiError::Network { path: path.to_owned(), message: error.to_string() })?;
        let request = self.authorization.apply(self.client.get(url).query(query));
        let mut answer = request.send().await.map_err(network)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(network)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(SourceApiError::TooLong { path: path.to_owned(), limit: MAX_ANSWER });
            }
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let message = String::from_utf8_lossy(&body).chars().take(200).collect();
            return Err(SourceApiError::Status { path: path.to_owned(), status: status.as_u16(), message });
        }
        let envelope: Envelope<T> = serde_json::from_slice(&body)
            .map_err(|error| SourceApiError::Shape { path: path.to_owned(), message: error.to_string() })?;
        Ok(envelope.data)
    }
}

pub(super) async fn examine(
    label: &str,
    source: &SourceToCheck,
    api: &SourceApi,
) -> Result<SourceReport, SourceApiError> {
    let build: BuildInfo = api.get("api/v1/status/buildinfo", &[]).await?;
    let config: StatusConfig = api.get("api/v1/status/config", &[]).await?;
    let since = ("start", (now_ms() / 1000 - RECENT_S).to_string());
    let metric_names = api.get("api/v1/label/__name__/values", std::slice::from_ref(&since)).await?;
    let own_label_values = api.get(&format!("api/v1/label/{label}/values"), &[since]).await?;
    let (clock_skew_ms, clock_uncertainty_ms) = clock(api).await?;
    let config = read_config(&config.yaml);
    Ok(SourceReport {
        name: source.name.clone(),
        url: api.url(),
        version: build.version,
        external_labels: config.external_labels,
        scrape_interval_ms: config.scrape_interval_ms,
        clock_skew_ms,
        clock_uncertainty_ms,
        metric_names,
        own_label_values,
        remote_write_urls: config.remote_write_urls,
    })
}

/// The clock of the source minus ours, and how far that may be off: of several questions the one answered fastest.
async fn clock(api: &SourceApi) -> Result<(f64, f64), SourceApiError> {
    let mut best: Option<(f64, f64)> = None;
    for _ in 0..CLOCK_QUESTIONS {
        let before = now_ms() as f64;
        let answer: Scalar = api.get("api/v1/query", &[("query", "time()".to_owned())]).await?;
        let after = now_ms() as f64;
        let theirs = answer.result.1.parse::<f64>().unwrap_or(answer.result.0) * 1e3;
        // Both clocks are read to the millisecond.
        let uncertainty = (after - before) / 2.0 + 1.0;
        if best.is_none_or(|(_, known)| uncertainty < known) {
            best = Some((theirs - f64::midpoint(before, after), uncertainty));
        }
    }
    Ok(best.unwrap_or_default())
}

#[derive(Debug, Default, PartialEq)]
struct SourceConfiguration {
    external_labels: BTreeMap<String, String>,
    scrape_interval_ms: i64,
    remote_write_urls: Vec<String>,
}

/// Reads what matters of a Prometheus configuration; what is not there has the default.
fn read_config(yaml: &str) -> SourceConfiguration {
    let source = Source::new("prometheus.yml", yaml);
    let root = parse(&source, &yaml_source::Limits::default()).root;
    let text = |node: &Node| node.as_scalar().map(|scalar| scalar.text.clone());
    let global = root.as_ref().and_then(|root| root.get("global"));
    let external_labels = global
        .and_then(|global| global.get("external_labels"))
        .and_then(Node::as_mapping)
        .map(|labels| {
            let pair = |entry: &yaml_source::Entry| Some((entry.name()?.to_owned(), text(&entry.value)?));
            labels.iter().filter_map(pair).collect()
        })
        .unwrap_or_default();
    let interval = global
        .and_then(|global| global.get("scrape_interval"))
        .and_then(text)
        .and_then(|text| yaml_source::parse_duration(&text).ok());
    let writes = root.as_ref().and_then(|root| root.get("remote_write")).and_then(Node::as_sequence);
    let remote_write_urls = writes
        .map(|writes| writes.iter().filter_map(|write| write.get("url").and_then(text)).collect())
        .unwrap_or_default();
    SourceConfiguration {
        external_labels,
        scrape_interval_ms: interval.map_or(DEFAULT_INTERVAL_MS, |interval: Duration| {
            i64::try_from(interval.as_millis()).unwrap_or(i64::MAX)
        }),
        remote_write_urls,
    }
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ANSWER: usize = 64 << 20;
/// Series older than this are history.
pub(super) const RECENT_S: i64 = 600;
const CLOCK_QUESTIONS: usize = 5;
/// Prometheus' own.
const DEFAULT_INTERVAL_MS: i64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(yaml: &str, labels: &[(&str, &str)], interval_ms: i64, urls: &[&str]) {
        let expected = SourceConfiguration {
            external_labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            scrape_interval_ms: interval_ms,
            remote_write_urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        };
        assert_eq!(read_config(yaml), expected);
    }

    #[test]
    fn configuration_of_a_source_is_read_for_what_matters() {
        check("", &[], 60_000, &[]);
        check("global:\n  scrape_interval: 1m30s\n", &[], 90_000, &[]);
        check(
            "global:\n  external_labels:\n    cluster: a\n    replica: \"0\"\n  scrape_interval: 5s\n\
             remote_write:\n- url: http://merger:9099/api/v1/write/k\n  name: m\n",
            &[("cluster", "a"), ("replica", "0")],
            5_000,
            &["http://merger:9099/api/v1/write/k"],
        );
        check("not: [a, config", &[], 60_000, &[]);
    }
}
