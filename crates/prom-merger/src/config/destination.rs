//! The destinations: where everything goes.

mod read;

use std::{path::PathBuf, time::Duration};

use prom_remote::RelabelRule;

pub(crate) use self::read::TENANT_HEADER;
pub(super) use self::read::{distinct_destinations, read_destination, read_named_destination, read_retry};

/// A receiving database.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DestinationConfig {
    /// Its name in metrics and dead letters, and that of its cursors: 1 to 64 of `a-z 0-9 -`. Default `tsdb`, of a sole
    /// destination.
    pub name: String,
    /// The full remote-write address, `http` or `https`.
    pub url: String,
    /// Which version of the protocol it is sent.
    pub protocol: Protocol,
    /// How bodies of 1.0 are compressed.
    pub compression: Compression,
    /// The longest time for one request; default 30 s.
    pub timeout: Duration,
    /// How the merger proves who it is.
    pub auth: DestinationAuth,
    /// Certificates for `https`.
    pub tls: DestinationTls,
    /// Further headers of each request, name and value.
    pub headers: Vec<(String, String)>,
    /// The tenant: the header `X-Scope-OrgID`.
    pub tenant: Option<String>,
    /// Rules for each series after it has got the label of its source.
    pub relabel: Vec<RelabelRule>,
    /// How large a request may become that is made of several.
    pub batch: BatchConfig,
    /// Whether requests follow one after the other.
    pub order: DeliveryOrder,
    /// Its remote-read address, where it has one: a refusal of what it has already is recognised by it.
    pub read_url: Option<String>,
    /// How often parts of one request may be refused before what is left of it is not cut any further; default 10,000.
    pub split_attempts: usize,
}

/// Which version of remote write a destination is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// What came as 1.0 goes out as 1.0, and what came as 2.0 as 2.0 where the destination takes it.
    #[default]
    Auto,
    /// Everything as 1.0.
    V1,
    /// Everything as 2.0.
    V2,
}

/// How bodies of remote write 1.0 are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// As the specification has it.
    #[default]
    Snappy,
    /// VictoriaMetrics' own form, half the bytes; snappy where the destination does not take it.
    Zstd,
}

/// How the merger proves to a destination who it is. The files are read at the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DestinationAuth {
    /// Not at all.
    #[default]
    None,
    /// By the bearer token in a file.
    TokenFile(PathBuf),
    /// By name and password.
    Basic {
        /// The name.
        username: String,
        /// The file with the password.
        password_file: PathBuf,
    },
}

/// Certificates for a destination, as PEM files, which are read at the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DestinationTls {
    /// Authorities to trust beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// The merger's own certificate and private key: mutual TLS.
    pub identity: Option<TlsIdentity>,
}

/// A certificate with its private key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsIdentity {
    /// The certificate chain.
    pub cert_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

/// How large a request may become that is made of several of a sender's; one of a sender's may be larger.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchConfig {
    /// The most samples and histograms; default 10,000.
    pub max_samples: usize,
    /// The most bytes before compression; default 4 MiB.
    pub max_bytes: usize,
    /// How long delivery waits for company once there is something; default not at all.
    pub max_wait: Duration,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { max_samples: 10_000, max_bytes: 4 << 20, max_wait: Duration::ZERO }
    }
}

/// Whether requests of one source follow one after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeliveryOrder {
    /// The next only when the destination has the one before.
    #[default]
    Strict,
    /// So many at a time, for a destination that takes samples out of order.
    Parallel {
        /// The most requests of a source under way, at least 1.
        lanes: usize,
    },
}

impl DeliveryOrder {
    pub(crate) fn window(self) -> usize {
        match self {
            Self::Strict => 1,
            Self::Parallel { lanes } => lanes.max(1),
        }
    }
}

/// How delivery waits between attempts: doubling from `minimum` to `maximum`, with jitter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryConfig {
    /// The first wait; default 100 ms.
    pub minimum: Duration,
    /// The longest wait that the receiver did not ask for; default 5 s.
    pub maximum: Duration,
    /// How often a destination that does not answer is asked whether it is back; default 1 s.
    pub health_interval: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            minimum: Duration::from_millis(100),
            maximum: Duration::from_secs(5),
            health_interval: Duration::from_secs(1),
        }
    }
}

/// The name of a sole destination, and of its cursors.
pub(crate) const DEFAULT_NAME: &str = "tsdb";
