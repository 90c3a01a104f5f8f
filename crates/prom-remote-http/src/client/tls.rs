//! Certificates for `https`.

use reqwest::{Certificate, ClientBuilder, Identity};

use super::ClientConfigError;
use crate::Secret;

/// Which servers a client trusts, and what it shows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsConfig {
    /// Certificates of authorities to trust beside those of the system, as PEM; one text may hold several.
    pub extra_roots_pem: Vec<String>,
    /// The client's own certificate chain and private key (PKCS #8, PKCS #1 or SEC 1), as one PEM text: mutual TLS.
    pub identity_pem: Option<Secret>,
}

impl TlsConfig {
    pub(super) fn apply(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, ClientConfigError> {
        for pem in &self.extra_roots_pem {
            let what = "extra_roots_pem";
            let certificates = Certificate::from_pem_bundle(pem.as_bytes())
                .map_err(|error| ClientConfigError::Certificate { what, error })?;
            builder = certificates.into_iter().fold(builder, ClientBuilder::add_root_certificate);
        }
        if let Some(pem) = &self.identity_pem {
            let what = "identity_pem";
            let identity = Identity::from_pem(pem.expose().as_bytes())
                .map_err(|error| ClientConfigError::Certificate { what, error })?;
            builder = builder.identity(identity);
        }
        Ok(builder)
    }
}
