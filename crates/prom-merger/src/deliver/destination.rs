//! A destination as all its lanes see it: its clients, and what is known of it.

use std::{
    fs, io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use axum::http::{HeaderName, HeaderValue};
use bytes::Bytes;
use prom_remote_http::{
    Authorization, ClientConfig, ClientConfigError, NegotiationConfig, NegotiationError, ReadClient, Secret,
    Sent, WriteClient, WriteError, WriteForm, WriteNegotiator, WriteRequest,
};
use tokio::time::timeout;

use super::{
    health::Health,
    message::Version,
    outgoing::{EncodeError, Outgoing},
};
use crate::config::{
    Compression, DestinationAuth, DestinationConfig, Protocol, TlsIdentity, destination::TENANT_HEADER,
};

/// One destination.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) config: DestinationConfig,
    writer: WriteClient,
    /// Knows in which form 1.0 goes out, and 2.0.
    v1: WriteNegotiator,
    v2: WriteNegotiator,
    /// For 1.0 that goes out as 2.0.
    v2_alone: WriteNegotiator,
    /// It has refused the form of 1.0 and taken 2.0.
    takes_v2_alone: AtomicBool,
    /// It has refused a series of 2.0 that has exemplars and nothing else.
    pub(super) refuses_bare_exemplars: AtomicBool,
    /// To ask what it has, where it can be asked.
    pub(super) reader: Option<ReadClient>,
}

/// Why a destination cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// A file of a secret or certificate cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The client cannot be made.
    #[error("cannot send to {url}")]
    Client {
        /// The address.
        url: String,
        /// Why.
        source: ClientConfigError,
    },
    /// A header is none.
    #[error("header {name} cannot be sent")]
    Header {
        /// The name.
        name: String,
    },
    /// A rule is none.
    #[error("relabel rules: {0}")]
    Relabel(String),
}

/// A destination has not taken a request.
#[derive(Debug)]
pub(super) enum SendError {
    Write(WriteError),
    Encode(EncodeError),
}

impl From<NegotiationError<EncodeError>> for SendError {
    fn from(error: NegotiationError<EncodeError>) -> Self {
        match error {
            NegotiationError::Write(error) => Self::Write(error),
            NegotiationError::Encode { error, .. } => Self::Encode(error),
            // A kind that is not known yet loses nothing by waiting.
            error => {
                Self::Write(WriteError::Retryable { after: None, status: None, message: error.to_string() })
            }
        }
    }
}

impl Destination {
    /// Reads the files of secrets and certificates and makes the clients. Blocks on files.
    pub(crate) fn open(config: &DestinationConfig) -> Result<Self, DestinationError> {
        let failed = |url: &str| {
            let url = url.to_owned();
            move |source| DestinationError::Client { url, source }
        };
        let writer = WriteClient::new(client_config(config, &config.url)?).map_err(failed(&config.url))?;
        let reader = match &config.read_url {
            Some(url) => Some(ReadClient::new(client_config(config, url)?).map_err(failed(url))?),
            None => None,
        };
        let v1_forms = match config.compression {
            Compression::Snappy => vec![WriteForm::V1],
            Compression::Zstd => vec![WriteForm::V1Zstd, WriteForm::V1],
        };
        let (for_v1, for_v2) = match config.protocol {
            Protocol::Auto => (v1_forms.clone(), [vec![WriteForm::V2], v1_forms].concat()),
            Protocol::V1 => (v1_forms.clone(), v1_forms),
            Protocol::V2 => (vec![WriteForm::V2], vec![WriteForm::V2]),
        };
        let negotiator = |forms| {
            let mut negotiation = NegotiationConfig::default();
            negotiation.forms = forms;
            WriteNegotiator::new(writer.clone(), negotiation)
        };
        Ok(Self {
            config: config.clone(),
            v1: negotiator(for_v1),
            v2: negotiator(for_v2),
            v2_alone: negotiator(vec![WriteForm::V2]),
            takes_v2_alone: AtomicBool::new(false),
            refuses_bare_exemplars: AtomicBool::new(false),
            writer,
            reader,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    /// To write, and to read where it can be asked.
    pub(crate) fn clients(&self) -> (WriteClient, Option<ReadClient>) {
        (self.writer.clone(), self.reader.clone())
    }

    /// The form in which the next request of a version goes out.
    pub(super) fn form_for(&self, version: Version) -> WriteForm {
        match version {
            Version::V1 if self.takes_v2_alone.load(Ordering::Relaxed) => WriteForm::V2,
            Version::V1 => self.v1.form(),
            Version::V2 => self.v2.form(),
        }
    }

    /// Sends a request once, in the form that the destination takes.
    pub(super) async fn send(&self, request: &Outgoing, attempt: u32) -> Result<Sent, SendError> {
        if request.version == Version::V2 {
            return Ok(self.v2.send(request, attempt).await?);
        }
        if !self.takes_v2_alone.load(Ordering::Relaxed) {
            let sent = self.v1.send(request, attempt).await;
            let is_unread =
                matches!(&sent, Err(NegotiationError::Write(WriteError::Rejected { status: 415, .. })));
            if !is_unread || self.config.protocol != Protocol::Auto {
                return Ok(sent?);
            }
        }
        let sent = self.v2_alone.send(request, attempt).await;
        let is_unread =
            matches!(&sent, Err(NegotiationError::Write(WriteError::Rejected { status: 415, .. })));
        if sent.is_ok() || is_unread {
            self.takes_v2_alone.store(sent.is_ok(), Ordering::Relaxed);
        }
        Ok(sent?)
    }

    /// What the destination says within this time to a request without content.
    pub(super) async fn health(&self, longest: Duration) -> Health {
        // An empty snappy block.
        let request = WriteRequest::new(WriteForm::V1, Bytes::from_static(&[0]));
        match timeout(longest, self.writer.send(request)).await {
            Ok(Ok(_)) => Health::Up,
            Ok(Err(error)) => match error.status() {
                None => Health::Away,
                Some(429 | 500..) => Health::Unwell,
                Some(_) => Health::Up,
            },
            Err(_) => Health::Away,
        }
    }
}

fn client_config(config: &DestinationConfig, url: &str) -> Result<ClientConfig, DestinationError> {
    let client = ClientConfig::new(url);
    let mut client = client.map_err(|source| DestinationError::Client { url: url.to_owned(), source })?;
    client.timeout = config.timeout;
    client.user_agent = concat!("prom-merger/", env!("CARGO_PKG_VERSION")).to_owned();
    client.authorization = match &config.auth {
        DestinationAuth::None => Authorization::None,
        DestinationAuth::TokenFile(path) => Authorization::Bearer(Secret::new(read(path)?.trim())),
        DestinationAuth::Basic { username, password_file } => Authorization::Basic {
            user: username.clone(),
            password: Secret::new(read(password_file)?.trim()),
        },
    };
    if let Some(path) = &config.tls.ca_file {
        client.tls.extra_roots_pem.push(read(path)?);
    }
    if let Some(TlsIdentity { cert_file, key_file, .. }) = &config.tls.identity {
        let pem = format!("{}\n{}", read(cert_file)?, read(key_file)?);
        client.tls.identity_pem = Some(Secret::new(pem));
    }
    let tenant = config.tenant.iter().map(|tenant| (TENANT_HEADER, tenant.as_str()));
    let headers = config.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in headers.chain(tenant) {
        let (Ok(header), Ok(text)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) else {
            return Err(DestinationError::Header { name: name.to_owned() });
        };
        client.headers.append(header, text);
    }
    Ok(client)
}

/// Reads a file of at most 1 MiB.
fn read(path: &Path) -> Result<String, DestinationError> {
    let failed = |source| DestinationError::File { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > MAX_FILE_BYTES {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "longer than 1 MiB")));
    }
    fs::read_to_string(path).map_err(failed)
}

const MAX_FILE_BYTES: u64 = 1 << 20;
