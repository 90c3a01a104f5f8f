//! The sources: who sends, and under which label value.

use std::{path::PathBuf, str::FromStr, time::Duration};

use prom_remote::RelabelRule;
use prom_remote_http::{ClientConfig, ClientConfigError};
use yaml_source::{Diagnostic, Diagnostics, Spanned, ValueReader, value};

use super::{
    JournalLimits,
    journal::check_fit,
    limits::{IngestLimits, read_limits},
    relabel::read_relabel,
    replicas::{ReplicasConfig, read_replicas},
};

/// One sender.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceConfig {
    /// The last segment of the path that it writes to: 1 to 64 of `a-z 0-9 -`.
    pub name: String,
    /// The label value that its series get; default the name.
    pub value: String,
    /// The file with the bearer token that its requests must carry; none asked for when absent.
    pub token_file: Option<PathBuf>,
    /// The names of client certificates that may write to it: a DNS name, e-mail address or URI of the certificate, or its
    /// common name. Where there is a token too, either is enough. Needs [`WebTls::client_ca_file`](super::WebTls).
    pub client_cert_names: Vec<String>,
    /// Samples further ahead of the merger's clock become dead letters; no limit if zero. Default 10 min, as Prometheus.
    pub future_limit: Duration,
    /// What becomes of a series that has the label of the merger already.
    pub on_conflict: OnConflict,
    /// Rules for each series before it gets the label of the merger.
    pub relabel: Vec<RelabelRule>,
    /// Bounds on what it sends; default those of all sources.
    pub limits: IngestLimits,
    /// Where its history can be read.
    pub pull: Option<PullConfig>,
    /// Several senders with the same series.
    pub replicas: Option<ReplicasConfig>,
}

/// What becomes of a series that has the label of the merger already when it comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Its label is kept under the name with `exported_` in front, as a Prometheus scrape does.
    #[default]
    Export,
    /// Its label is dropped.
    Replace,
    /// The series becomes a dead letter.
    Refuse,
}

/// Where the history of a source can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PullConfig {
    /// Its full remote-read address, `http` or `https`.
    pub url: String,
    /// The file with the bearer token to read with.
    pub token_file: Option<PathBuf>,
    /// Authorities to trust beside those of the system, as a PEM file.
    pub ca_file: Option<PathBuf>,
    /// The longest time for one question; default 60 s.
    pub timeout: Duration,
}

pub(super) fn read_source(value: ValueReader<'_>, defaults: &IngestLimits) -> Option<SourceConfig> {
    let mut reader = value.mapping()?;
    let name = reader.required("name", value::parsed::<SourceName>("a source name"));
    let value = reader.optional("value", value::non_empty_text);
    let token_file = reader.optional("token_file", value::non_empty_text).map(PathBuf::from);
    let client_cert_names = reader.or_default("client_cert_names", value::list(value::non_empty_text));
    let future_limit = reader.or("future_limit", value::duration, DEFAULT_FUTURE_LIMIT);
    let on_conflict = reader.or("on_conflict", value::one_of(CONFLICT_POLICIES), OnConflict::default());
    let relabel = reader.or_default("relabel", read_relabel);
    let limits = reader.or("limits", |value| read_limits(value, defaults), defaults.clone());
    let pull = reader.optional("pull", read_pull);
    let replicas = reader.optional("replicas", read_replicas);
    reader.finish();
    let name = name?.0;
    Some(SourceConfig {
        value: value.unwrap_or_else(|| name.clone()),
        name,
        token_file,
        client_cert_names,
        future_limit,
        on_conflict,
        relabel,
        limits,
        pull,
        replicas,
    })
}

fn read_pull(value: ValueReader<'_>) -> Option<PullConfig> {
    let mut reader = value.mapping()?;
    let url = reader.required("url", value::parsed::<ReadUrl>("a remote-read address"));
    let token_file = reader.optional("token_file", value::non_empty_text).map(PathBuf::from);
    let ca_file = reader.optional("ca_file", value::non_empty_text).map(PathBuf::from);
    let timeout = reader.or("timeout", value::positive_duration, Duration::from_secs(60));
    reader.finish();
    Some(PullConfig { url: url?.0, token_file, ca_file, timeout })
}

/// Whether the journals can take what the sources' own limits allow.
pub(super) fn check_fit_of_sources(
    sources: &[Spanned<SourceConfig>],
    defaults: &IngestLimits,
    journal: &JournalLimits,
    diagnostics: &mut Diagnostics,
) {
    for source in sources.iter().filter(|source| source.value.limits != *defaults) {
        if let Err(message) = check_fit(journal, &source.value.limits) {
            let message = format!("source {}: {message}", source.value.name);
            diagnostics.push(Diagnostic::error(source.span.clone(), message));
        }
    }
}

/// Client certificates can be asked for only where there is an authority to check them by.
pub(super) fn check_certificates(
    sources: &[Spanned<SourceConfig>],
    has_client_ca: bool,
    diagnostics: &mut Diagnostics,
) {
    for source in sources.iter().filter(|source| !source.value.client_cert_names.is_empty()) {
        if !has_client_ca {
            let name = &source.value.name;
            let message = format!("source {name}: `client_cert_names` needs `web.tls.client_ca_file`");
            diagnostics.push(Diagnostic::error(source.span.clone(), message));
        }
    }
}

pub(super) fn distinct_sources(
    sources: Vec<Spanned<SourceConfig>>,
    diagnostics: &mut Diagnostics,
) -> Vec<SourceConfig> {
    let mut distinct: Vec<Spanned<SourceConfig>> = Vec::new();
    for source in sources {
        let SourceConfig { name, value, .. } = &source.value;
        let twin =
            distinct.iter().find(|earlier| earlier.value.name == *name || earlier.value.value == *value);
        if let Some(twin) = twin {
            let message = if twin.value.name == *name {
                format!("the source name `{name}` stands twice")
            } else {
                format!("the label value `{value}` stands twice: nobody could tell the sources apart")
            };
            let error = Diagnostic::error(source.span.clone(), message);
            diagnostics.push(error.with_label(twin.span.clone(), "the first one"));
        }
        distinct.push(source);
    }
    distinct.into_iter().map(|source| source.value).collect()
}

pub(super) struct SourceName(pub(super) String);

#[derive(Debug, thiserror::Error)]
#[error("it becomes a path segment and a folder: 1 to 64 of a-z, 0-9 and -")]
pub(super) struct InvalidSourceName;

impl FromStr for SourceName {
    type Err = InvalidSourceName;

    fn from_str(text: &str) -> Result<Self, InvalidSourceName> {
        let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_valid = (1..=64).contains(&text.len()) && text.bytes().all(is_good);
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidSourceName) }
    }
}

struct ReadUrl(String);

impl FromStr for ReadUrl {
    type Err = ClientConfigError;

    fn from_str(text: &str) -> Result<Self, ClientConfigError> {
        ClientConfig::new(text).map(|_| Self(text.to_owned()))
    }
}

const CONFLICT_POLICIES: &[(&str, OnConflict)] =
    &[("export", OnConflict::Export), ("replace", OnConflict::Replace), ("refuse", OnConflict::Refuse)];
const DEFAULT_FUTURE_LIMIT: Duration = Duration::from_secs(600);
