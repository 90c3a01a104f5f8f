//! The little of Prometheus' HTTP API that readiness asks.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};

/// Largest answer that is read.
const MAX_ANSWER: usize = 16 << 20;

/// A client with limits.
#[derive(Debug, Clone, Default)]
pub(super) struct Http(reqwest::Client);

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("{url}: {reason}")]
    Request { url: String, reason: String },
    #[error("{url} answers {status}: {text}")]
    Status { url: String, status: u16, text: String },
    #[error("{url}: the answer is larger than {MAX_ANSWER} bytes")]
    TooLarge { url: String },
    #[error("{url}: the answer cannot be read: {source}")]
    Json { url: String, source: serde_json::Error },
}

/// A target as `/api/v1/targets` has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Target {
    pub(super) scrape_url: String,
    pub(super) health: String,
    pub(super) last_scrape: String,
    #[serde(default)]
    pub(super) last_error: String,
}

/// An element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Element {
    labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

impl Element {
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ActiveTargets {
    active_targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Vector {
    result: Vec<VectorElement>,
}

#[derive(Deserialize)]
struct VectorElement {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

impl Http {
    pub(super) fn new() -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
        Self(client.unwrap_or_default())
    }

    pub(super) async fn text(&self, url: &str) -> Result<String, HttpError> {
        let failed = |error: reqwest::Error| HttpError::Request {
            url: url.to_owned(),
            reason: if error.is_connect() {
                "cannot connect".to_owned()
            } else {
                error.without_url().to_string()
            },
        };
        let mut answer = self.0.get(url).send().await.map_err(failed)?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err(HttpError::TooLarge { url: url.to_owned() });
            }
            bytes.extend_from_slice(&chunk);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if status.is_success() {
            Ok(text)
        } else {
            let text = text.chars().take(300).collect();
            Err(HttpError::Status { url: url.to_owned(), status: status.as_u16(), text })
        }
    }

    pub(super) async fn targets(&self, base: &str) -> Result<Vec<Target>, HttpError> {
        let answer: Answer<ActiveTargets> = self.json(&format!("{base}/api/v1/targets?state=active")).await?;
        Ok(answer.data.active_targets)
    }

    pub(super) async fn query(&self, base: &str, query: &str) -> Result<Vec<Element>, HttpError> {
        let encoded: String = query
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect();
        let answer: Answer<Vector> = self.json(&format!("{base}/api/v1/query?query={encoded}")).await?;
        let element = |element: VectorElement| Element {
            labels: element.metric,
            value: element.value.1.parse().unwrap_or(f64::NAN),
        };
        Ok(answer.data.result.into_iter().map(element).collect())
    }

    async fn json<T: DeserializeOwned>(&self, url: &str) -> Result<T, HttpError> {
        let text = self.text(url).await?;
        serde_json::from_str(&text).map_err(|source| HttpError::Json { url: url.to_owned(), source })
    }
}
