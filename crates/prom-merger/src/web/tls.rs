//! The listener's certificates, and those that clients show.

use std::{fs, io, path::Path, sync::Arc};

use thiserror::Error;
use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{NoClientAuth, VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use x509_parser::{extensions::GeneralName, prelude::FromDer, prelude::X509Certificate};

use crate::config::WebTls;

/// Why a PEM file of the listener cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// It cannot be read.
    #[error("the file cannot be read")]
    Read(#[from] io::Error),
    /// It is no PEM of what it should be.
    #[error("the file is not PEM: {0}")]
    Pem(pem::Error),
    /// It holds no certificate.
    #[error("the file holds no certificate")]
    Empty,
    /// The certificate, or its key, is not taken.
    #[error("it is not taken")]
    Refused(#[from] rustls::Error),
    /// The authorities are not taken.
    #[error("the authorities are not taken")]
    Authorities(#[from] VerifierBuilderError),
}

/// Reads the files. The `Err` names the one that is at fault.
pub(super) fn read(config: &WebTls) -> Result<Arc<ServerConfig>, (std::path::PathBuf, TlsError)> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error: TlsError| (path, error)
    };
    let chain = certificates(&config.cert_file).map_err(at(&config.cert_file))?;
    let key = contents(&config.key_file).map_err(|error| at(&config.key_file)(error.into()))?;
    let key =
        PrivateKeyDer::from_pem_slice(&key).map_err(|error| at(&config.key_file)(TlsError::Pem(error)))?;
    let verifier: Arc<dyn ClientCertVerifier> = match &config.client_ca_file {
        None => Arc::new(NoClientAuth),
        Some(path) => verifier(path).map_err(at(path))?,
    };
    let server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| at(&config.cert_file)(error.into()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| at(&config.cert_file)(error.into()))?;
    Ok(Arc::new(server))
}

/// Takes a client without a certificate too: a token may do.
fn verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate)?;
    }
    let provider = Arc::new(default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    Ok(builder.allow_unauthenticated().build()?)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = contents(path)?;
    let all = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(TlsError::Pem)?;
    if all.is_empty() { Err(TlsError::Empty) } else { Ok(all) }
}

/// Reads a file of at most 1 MiB.
pub(super) fn contents(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than 1 MiB"));
    }
    fs::read(path)
}

/// What a client has shown of itself: the names in its certificate, which an authority of ours has signed. `None` if it has
/// shown none.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientCertificate(pub(crate) Option<Arc<[String]>>);

impl ClientCertificate {
    pub(super) fn of(chain: Option<&[CertificateDer<'_>]>) -> Self {
        let own = chain.and_then(<[_]>::first);
        Self(own.map(|certificate| names(certificate).into()))
    }
}

/// DNS names, e-mail addresses, URIs and common names of a certificate; none of one that cannot be read.
fn names(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let mut names = Vec::new();
    if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
        names.extend(alternative.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
                Some((*name).to_owned())
            }
            _ => None,
        }));
    }
    let common = certificate.subject().iter_common_name();
    names.extend(common.filter_map(|name| name.as_str().ok()).map(str::to_owned));
    names
}

const MAX_FILE_BYTES: u64 = 1 << 20;
