//! Destinations as they stand in the file.

use std::{path::PathBuf, str::FromStr, time::Duration};

use axum::http::{HeaderName, HeaderValue};
use prom_remote_http::{ClientConfig, ClientConfigError};
use yaml_source::{Diagnostic, Diagnostics, MappingReader, Spanned, ValueReader, value};

use super::{
    BatchConfig, Compression, DEFAULT_NAME, DeliveryOrder, DestinationAuth, DestinationConfig,
    DestinationTls, Protocol, RetryConfig, TlsIdentity,
};
use crate::config::source::SourceName;

/// A destination that may go without a name.
pub(in crate::config) fn read_destination(value: ValueReader<'_>) -> Option<DestinationConfig> {
    let mut reader = value.mapping()?;
    let name = reader.optional("name", value::parsed::<SourceName>("a destination name"));
    let name = name.map_or_else(|| DEFAULT_NAME.to_owned(), |name| name.0);
    read_keys(Some(name), reader)
}

/// A destination among several.
pub(in crate::config) fn read_named_destination(value: ValueReader<'_>) -> Option<DestinationConfig> {
    let mut reader = value.mapping()?;
    let name = reader.required("name", value::parsed::<SourceName>("a destination name"));
    read_keys(name.map(|name| name.0), reader)
}

fn read_keys(name: Option<String>, mut reader: MappingReader<'_>) -> Option<DestinationConfig> {
    let url = reader.required("url", value::parsed::<RemoteUrl>("a remote-write address"));
    let protocol = reader.or("protocol", value::one_of(PROTOCOLS), Protocol::default());
    let compression = reader.or("compression", value::one_of(COMPRESSIONS), Compression::default());
    let timeout = reader.or("timeout", value::positive_duration, Duration::from_secs(30));
    let auth = read_auth(&mut reader);
    let tls = reader.or_default("tls", read_tls);
    let headers = reader.or_default("headers", |value| value.each_entry(read_header));
    let tenant = reader.optional("tenant", value::parsed::<HeaderText>("a tenant"));
    let batch = reader.or_default("batch", read_batch);
    let order = read_order(&mut reader);
    let read_url = reader.optional("read_url", value::parsed::<RemoteUrl>("a remote-read address"));
    let split_attempts = reader.or("split_attempts", value::integer_in(1..=10_000_000), 10_000);
    if compression == Compression::Zstd && protocol == Protocol::V2 {
        reader.error_at("compression", "remote write 2.0 knows snappy alone");
    }
    if tenant.is_some() && headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(TENANT_HEADER)) {
        reader.error_at("tenant", "stands in `headers` too");
    }
    reader.finish();
    Some(DestinationConfig {
        name: name?,
        url: url?.0,
        protocol,
        compression,
        timeout,
        auth,
        tls,
        headers,
        tenant: tenant.map(|tenant| tenant.0),
        relabel: Vec::new(),
        batch,
        order,
        read_url: read_url.map(|url| url.0),
        split_attempts,
    })
}

fn read_auth(reader: &mut MappingReader<'_>) -> DestinationAuth {
    let token = reader.optional("token_file", value::non_empty_text);
    let basic = reader.optional("basic_auth", |value| {
        let mut reader = value.mapping()?;
        let username = reader.required("username", value::non_empty_text);
        let password_file = reader.required("password_file", value::non_empty_text);
        reader.finish();
        Some(DestinationAuth::Basic { username: username?, password_file: password_file?.into() })
    });
    match (token, basic) {
        (Some(_), Some(_)) => {
            reader.error_at("basic_auth", "a request carries a token or a password, not both");
            DestinationAuth::None
        }
        (Some(path), None) => DestinationAuth::TokenFile(path.into()),
        (None, basic) => basic.unwrap_or_default(),
    }
}

fn read_tls(value: ValueReader<'_>) -> Option<DestinationTls> {
    let mut reader = value.mapping()?;
    let mut file = |key| reader.optional(key, value::non_empty_text).map(PathBuf::from);
    let (ca_file, cert_file, key_file) = (file("ca_file"), file("cert_file"), file("key_file"));
    let identity = match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => Some(TlsIdentity { cert_file, key_file }),
        (None, None) => None,
        _ => {
            reader.error("`cert_file` and `key_file` go together");
            None
        }
    };
    reader.finish();
    Some(DestinationTls { ca_file, identity })
}

fn read_header(name: &str, value: ValueReader<'_>) -> Option<String> {
    if let Err(error) = name.parse::<HeaderName>() {
        return value.fail(format_args!("the name of a header: {error}"));
    }
    value::parsed::<HeaderText>("the text of a header")(value).map(|text| text.0)
}

fn read_batch(value: ValueReader<'_>) -> Option<BatchConfig> {
    let defaults = BatchConfig::default();
    let mut reader = value.mapping()?;
    let max_samples = reader.or("max_samples", value::integer_in(1..=10_000_000), defaults.max_samples);
    let max_bytes = reader.or("max_bytes", value::byte_size, defaults.max_bytes as u64);
    let max_wait = reader.or("max_wait", value::duration, defaults.max_wait);
    reader.finish();
    Some(BatchConfig { max_samples, max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX), max_wait })
}

fn read_order(reader: &mut MappingReader<'_>) -> DeliveryOrder {
    let is_parallel = reader.or("order", value::one_of(&[("strict", false), ("parallel", true)]), false);
    let has_lanes = reader.has("lanes");
    let lanes = reader.or("lanes", value::integer_in(1..=64), DEFAULT_LANES);
    match (is_parallel, has_lanes) {
        (true, _) => DeliveryOrder::Parallel { lanes },
        (false, false) => DeliveryOrder::Strict,
        (false, true) => {
            reader.error("`lanes` needs `order: parallel`");
            DeliveryOrder::Strict
        }
    }
}

pub(in crate::config) fn distinct_destinations(
    destinations: Vec<Spanned<DestinationConfig>>,
    diagnostics: &mut Diagnostics,
) -> Vec<DestinationConfig> {
    let mut distinct: Vec<Spanned<DestinationConfig>> = Vec::new();
    for destination in destinations {
        let name = &destination.value.name;
        if let Some(twin) = distinct.iter().find(|earlier| earlier.value.name == *name) {
            let message = format!("the destination name `{name}` stands twice");
            let error = Diagnostic::error(destination.span.clone(), message);
            diagnostics.push(error.with_label(twin.span.clone(), "the first one"));
        }
        distinct.push(destination);
    }
    distinct.into_iter().map(|destination| destination.value).collect()
}

pub(in crate::config) fn read_retry(value: ValueReader<'_>) -> Option<RetryConfig> {
    let defaults = RetryConfig::default();
    let mut reader = value.mapping()?;
    let minimum = reader.or("minimum", value::positive_duration, defaults.minimum);
    let maximum = reader.or("maximum", value::positive_duration, defaults.maximum.max(minimum));
    let health_interval = reader.or("health_interval", value::positive_duration, defaults.health_interval);
    if maximum < minimum {
        reader.error_at("maximum", "less than `minimum`");
    }
    reader.finish();
    Some(RetryConfig { minimum, maximum, health_interval })
}

struct RemoteUrl(String);

impl FromStr for RemoteUrl {
    type Err = ClientConfigError;

    fn from_str(text: &str) -> Result<Self, ClientConfigError> {
        ClientConfig::new(text).map(|_| Self(text.to_owned()))
    }
}

struct HeaderText(String);

impl FromStr for HeaderText {
    type Err = axum::http::header::InvalidHeaderValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        HeaderValue::from_str(text).map(|_| Self(text.to_owned()))
    }
}

const PROTOCOLS: &[(&str, Protocol)] =
    &[("auto", Protocol::Auto), ("1.0", Protocol::V1), ("2.0", Protocol::V2)];
const COMPRESSIONS: &[(&str, Compression)] = &[("snappy", Compression::Snappy), ("zstd", Compression::Zstd)];
const DEFAULT_LANES: usize = 4;
/// By which Mimir, Cortex and Thanos tell tenants apart.
pub(crate) const TENANT_HEADER: &str = "x-scope-orgid";
