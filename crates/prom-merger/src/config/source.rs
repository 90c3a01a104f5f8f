//! The sources: who sends, and under which label value.

use std::{path::PathBuf, str::FromStr, time::Duration};

use yaml_source::{Diagnostic, Diagnostics, Spanned, ValueReader, value};

use super::replicas::{ReplicasConfig, read_replicas};

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
    /// Samples further ahead of the merger's clock become dead letters; no limit if zero. Default 10 min, as Prometheus.
    pub future_limit: Duration,
    /// Several senders with the same series.
    pub replicas: Option<ReplicasConfig>,
}

pub(super) fn read_source(value: ValueReader<'_>) -> Option<SourceConfig> {
    let mut reader = value.mapping()?;
    let name = reader.required("name", value::parsed::<SourceName>("a source name"));
    let value = reader.optional("value", value::non_empty_text);
    let token_file = reader.optional("token_file", value::non_empty_text).map(PathBuf::from);
    let future_limit = reader.or("future_limit", value::duration, DEFAULT_FUTURE_LIMIT);
    let replicas = reader.optional("replicas", read_replicas);
    reader.finish();
    let name = name?.0;
    Some(SourceConfig {
        value: value.unwrap_or_else(|| name.clone()),
        name,
        token_file,
        future_limit,
        replicas,
    })
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

const DEFAULT_FUTURE_LIMIT: Duration = Duration::from_secs(600);
