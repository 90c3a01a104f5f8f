//! Tokens and certificates, which can be read anew while the merger runs.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::ServerConfig;

use super::tls;
use crate::{
    config::Config,
    merger::StartError,
    token::{Access, Token},
};

/// All that the files named by the configuration hold.
pub(crate) struct Secrets {
    /// Who may see metrics and dead letters.
    pub(crate) web: Access,
    /// Who may write, by source.
    pub(crate) sources: BTreeMap<String, Access>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// A digest of each file, by the key that names it.
    files: BTreeMap<String, [u8; 32]>,
}

impl Secrets {
    /// Reads all files. Blocks on them.
    pub(crate) fn read(config: &Config) -> Result<Self, StartError> {
        let mut files = BTreeMap::new();
        let token = |path: &PathBuf| {
            Token::read(path).map_err(|source| StartError::Token { path: path.clone(), source })
        };
        let mut note = |key: String, path: &PathBuf| {
            let digest = tls::contents(path).map(|contents| Sha256::digest(contents).into());
            files.insert(key, digest.unwrap_or_default());
        };
        let mut web = Access::default();
        if let Some(path) = &config.web.token_file {
            note("web.token_file".to_owned(), path);
            web.token = Some(token(path)?);
        }
        let mut sources = BTreeMap::new();
        for source in &config.sources {
            let mut access = Access { token: None, cert_names: source.client_cert_names.clone() };
            if let Some(path) = &source.token_file {
                note(format!("sources[{}].token_file", source.name), path);
                access.token = Some(token(path)?);
            }
            sources.insert(source.name.clone(), access);
        }
        let mut server = None;
        if let Some(config) = &config.web.tls {
            note("web.tls.cert_file".to_owned(), &config.cert_file);
            note("web.tls.key_file".to_owned(), &config.key_file);
            if let Some(path) = &config.client_ca_file {
                note("web.tls.client_ca_file".to_owned(), path);
            }
            let read = tls::read(config);
            server = Some(read.map_err(|(path, source)| StartError::Tls { path, source })?);
        }
        Ok(Self { web, sources, tls: server, files })
    }
}

/// The secrets of now.
pub(crate) struct SharedSecrets(RwLock<Arc<Secrets>>);

impl std::fmt::Debug for SharedSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedSecrets(…)")
    }
}

impl SharedSecrets {
    pub(crate) fn new(secrets: Secrets) -> Self {
        Self(RwLock::new(Arc::new(secrets)))
    }

    pub(crate) fn current(&self) -> Arc<Secrets> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes others from now on; returns the keys whose files have changed.
    pub(crate) fn replace(&self, secrets: Secrets) -> Vec<String> {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = secrets.files.iter().filter(|(key, digest)| current.files.get(*key) != Some(*digest));
        let changed = changed.map(|(key, _)| key.clone()).collect();
        *current = Arc::new(secrets);
        changed
    }
}
