//! The destinations: where everything goes.

use std::{str::FromStr, time::Duration};

use prom_remote_http::{ClientConfig, ClientConfigError};
use yaml_source::{ValueReader, value};

/// The receiving database.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DestinationConfig {
    /// The full remote-write address, `http` or `https`.
    pub url: String,
    /// The longest time for one request; default 30 s.
    pub timeout: Duration,
    /// Its remote-read address, where it has one: a refusal of what it has already is recognised by it.
    pub read_url: Option<String>,
    /// How often parts of one request may be refused before what is left of it is not cut any further; default 10,000.
    pub split_attempts: usize,
}

/// How delivery waits between attempts: doubling from `minimum` to `maximum`, with jitter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryConfig {
    /// The first wait; default 100 ms.
    pub minimum: Duration,
    /// The longest wait that the receiver did not ask for; default 5 s.
    pub maximum: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { minimum: Duration::from_millis(100), maximum: Duration::from_secs(5) }
    }
}

pub(super) fn read_destination(value: ValueReader<'_>) -> Option<DestinationConfig> {
    let mut reader = value.mapping()?;
    let url = reader.required("url", value::parsed::<RemoteUrl>("a remote-write address"));
    let timeout = reader.or("timeout", value::positive_duration, Duration::from_secs(30));
    let read_url = reader.optional("read_url", value::parsed::<RemoteUrl>("a remote-read address"));
    let split_attempts = reader.or("split_attempts", value::integer_in(1..=10_000_000), 10_000);
    reader.finish();
    Some(DestinationConfig { url: url?.0, timeout, read_url: read_url.map(|url| url.0), split_attempts })
}

pub(super) fn read_retry(value: ValueReader<'_>) -> Option<RetryConfig> {
    let defaults = RetryConfig::default();
    let mut reader = value.mapping()?;
    let minimum = reader.or("minimum", value::positive_duration, defaults.minimum);
    let maximum = reader.or("maximum", value::positive_duration, defaults.maximum.max(minimum));
    if maximum < minimum {
        reader.error_at("maximum", "less than `minimum`");
    }
    reader.finish();
    Some(RetryConfig { minimum, maximum })
}

struct RemoteUrl(String);

impl FromStr for RemoteUrl {
    type Err = ClientConfigError;

    fn from_str(text: &str) -> Result<Self, ClientConfigError> {
        ClientConfig::new(text).map(|_| Self(text.to_owned()))
    }
}
