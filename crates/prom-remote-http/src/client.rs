//! What the write and the read client share: configuration, sending, bounded reading.

mod backoff;
mod batch;
mod converting;
mod negotiate;
mod read;
mod retry;
mod stream;
mod tls;
mod write;

use std::{error::Error, time::Duration};

use bytes::Bytes;
use prom_remote::Limits;
use reqwest::{
    Client, Response, Url,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap,
        HeaderName,
    },
    redirect::Policy,
};
use thiserror::Error;

pub use backoff::Backoff;
pub use batch::{MessageBatch, MessageBatchError};
pub use converting::{ConvertingBatch, ConvertingBatchError};
pub use negotiate::{NegotiationConfig, NegotiationError, Sent, WriteBatch, WriteNegotiator};
pub use read::{ReadClient, ReadError};
pub use stream::{SeriesAnswer, SeriesContentError, SeriesStream};
pub use tls::TlsConfig;
pub use write::{WriteClient, WriteError, WriteForm, WriteRequest, Written};

use crate::{Authorization, protocol::VICTORIA_METRICS_VERSION};

/// Where a client sends and how.
///
/// ```
/// use prom_remote_http::{Authorization, ClientConfig, Secret};
///
/// let mut config = ClientConfig::new("https://prometheus.example/api/v1/write")?;
/// config.authorization = Authorization::Bearer(Secret::new("token"));
/// # Ok::<(), prom_remote_http::ClientConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The full address, `http` or `https`.
    pub url: Url,
    /// The longest time for one request, from connecting to the last byte of the answer. Default 30 s.
    pub timeout: Duration,
    /// Further headers for each request; the protocol's own cannot be overridden.
    pub headers: HeaderMap,
    /// How to prove who we are.
    pub authorization: Authorization,
    /// Certificates for `https`.
    pub tls: TlsConfig,
    /// The `User-Agent`, which the specification demands. Default `prom-remote-http/` and the version.
    pub user_agent: String,
    /// Bounds on answers.
    pub limits: Limits,
}

/// A client cannot be made from this configuration.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientConfigError {
    /// The address is not an absolute `http` or `https` one.
    #[error("{url:?} is not an http or https address")]
    InvalidUrl {
        /// The address as given.
        url: String,
    },
    /// A header that the protocol or the HTTP library sets itself.
    #[error("header {name} is reserved")]
    ReservedHeader {
        /// The name of the header.
        name: HeaderName,
    },
    /// A certificate or key is not PEM, or there is none in it.
    #[error("{what} cannot be read")]
    Certificate {
        /// Which setting.
        what: &'static str,
        /// What the TLS library said.
        #[source]
        error: reqwest::Error,
    },
    /// The HTTP client cannot be built, for instance because of an invalid `User-Agent`.
    #[error("HTTP client cannot be built")]
    Client(#[source] reqwest::Error),
}

impl ClientConfig {
    /// Makes a configuration with the defaults.
    ///
    /// # Errors
    /// An address that is not an absolute `http` or `https` one.
    pub fn new(url: &str) -> Result<Self, ClientConfigError> {
        let parsed = Url::parse(url).ok().filter(|parsed| matches!(parsed.scheme(), "http" | "https"));
        let url = parsed.ok_or_else(|| ClientConfigError::InvalidUrl { url: url.to_owned() })?;
        Ok(Self {
            url,
            timeout: Duration::from_secs(30),
            headers: HeaderMap::new(),
            authorization: Authorization::None,
            tls: TlsConfig::default(),
            user_agent: concat!("prom-remote-http/", env!("CARGO_PKG_VERSION")).to_owned(),
            limits: Limits::default(),
        })
    }
}

/// Sends requests to one address.
#[derive(Debug, Clone)]
struct Sender {
    client: Client,
    config: ClientConfig,
}

impl Sender {
    fn new(config: ClientConfig) -> Result<Self, ClientConfigError> {
        if let Some(name) = config.headers.keys().find(|name| is_reserved(name, &config.authorization)) {
            return Err(ClientConfigError::ReservedHeader { name: name.clone() });
        }
        let client = config
            .tls
            .apply(Client::builder())?
            .http1_only()
            // Proxies come from the environment, which is the binaries' business.
            .no_proxy()
            .redirect(Policy::none())
            .timeout(config.timeout)
            .user_agent(&config.user_agent)
            .build()
            .map_err(ClientConfigError::Client)?;
        Ok(Self { client, config })
    }

    /// Posts a body with the protocol's headers and those of the caller.
    async fn post(
        &self,
        body: Bytes,
        protocol_headers: &[(&'static str, String)],
    ) -> reqwest::Result<Response> {
        let request = self.client.post(self.config.url.clone()).headers(self.config.headers.clone());
        let request =
            protocol_headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        self.config.authorization.apply(request).body(body).send().await
    }
}

fn is_reserved(name: &HeaderName, authorization: &Authorization) -> bool {
    let is_double = *name == AUTHORIZATION && *authorization != Authorization::None;
    let is_transport = [CONTENT_ENCODING, CONTENT_TYPE, CONTENT_LENGTH, CONNECTION, HOST].contains(name);
    let is_protocol = ["user-agent", "accept-encoding", "transfer-encoding", "retry-attempt"]
        .contains(&name.as_str())
        || name.as_str().starts_with("x-prometheus-remote-")
        || name.as_str() == VICTORIA_METRICS_VERSION;
    is_double || is_transport || is_protocol
}

/// The beginning of an answer's body as text for a message; a body that breaks off is what came of it.
async fn quote_body(mut response: Response) -> String {
    let mut body = Vec::new();
    while body.len() < MAX_QUOTED_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                body.extend_from_slice(&chunk[..chunk.len().min(MAX_QUOTED_BYTES - body.len())])
            }
            Ok(None) | Err(_) => break,
        }
    }
    String::from_utf8_lossy(&body).trim().to_owned()
}

/// What an error says with all its causes, without the address, which may hold a secret.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Prometheus' own sender quotes 1 KiB.
const MAX_QUOTED_BYTES: usize = 4 << 10;
