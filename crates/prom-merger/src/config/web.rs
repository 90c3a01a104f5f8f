//! Where and how the merger listens.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use yaml_source::{MappingReader, ValueReader, value};

/// Where and how the merger listens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebConfig {
    /// Where to listen; default `127.0.0.1:9099`.
    pub listen: SocketAddr,
    /// The file with the bearer token that `/metrics` and the dead letters ask for; none asked for when absent.
    pub token_file: Option<PathBuf>,
    /// The longest time for the head of a request, and again for its body; also how long an idle connection stays open.
    /// Default 30 s.
    pub read_timeout: Duration,
    /// The most connections at a time; further ones wait. Default 512, as in Prometheus.
    pub max_connections: usize,
    /// Certificates; plain HTTP when absent.
    pub tls: Option<WebTls>,
}

/// Certificates of the listener, as PEM files; read at the start and by
/// [`Running::reload_secrets`](crate::Running::reload_secrets).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebTls {
    /// The merger's certificate chain.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// The authorities of the certificates that clients may show: see
    /// [`SourceConfig::client_cert_names`](super::SourceConfig::client_cert_names).
    pub client_ca_file: Option<PathBuf>,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN,
            token_file: None,
            read_timeout: Duration::from_secs(30),
            max_connections: 512,
            tls: None,
        }
    }
}

/// Reads `web`, or `listen` alone as its short form.
pub(super) fn read_web_or_listen(reader: &mut MappingReader<'_>) -> WebConfig {
    let mut web = reader.or_default("web", read_web);
    if reader.has("listen") && reader.has("web") {
        reader.error_at("listen", "there is `web` too: write it there");
    }
    web.listen = reader.or("listen", value::parsed("an address and a port"), web.listen);
    web
}

fn read_web(value: ValueReader<'_>) -> Option<WebConfig> {
    let defaults = WebConfig::default();
    let mut reader = value.mapping()?;
    let listen = reader.or("listen", value::parsed("an address and a port"), defaults.listen);
    let token_file = reader.optional("token_file", value::non_empty_text).map(PathBuf::from);
    let read_timeout = reader.or("read_timeout", value::positive_duration, defaults.read_timeout);
    let max_connections =
        reader.or("max_connections", value::integer_in(1..=100_000), defaults.max_connections);
    let tls = reader.optional("tls", read_tls);
    reader.finish();
    Some(WebConfig { listen, token_file, read_timeout, max_connections, tls })
}

fn read_tls(value: ValueReader<'_>) -> Option<WebTls> {
    let mut reader = value.mapping()?;
    let cert_file = reader.required("cert_file", value::non_empty_text);
    let key_file = reader.required("key_file", value::non_empty_text);
    let client_ca_file = reader.optional("client_ca_file", value::non_empty_text).map(PathBuf::from);
    reader.finish();
    Some(WebTls { cert_file: cert_file?.into(), key_file: key_file?.into(), client_ca_file })
}

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9099);
