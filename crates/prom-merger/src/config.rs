//! The configuration file `merger.yaml`: read once, all faults told with their places.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use prom_remote::{InvalidLabel, LabelSplicer, Limits};
use prom_remote_http::{ClientConfig, ClientConfigError};
use sample_journal::{JournalConfig, JournalId};
use sha2::{Digest, Sha256};
use yaml_source::{Diagnostic, Diagnostics, MappingReader, Source, Spanned, ValueReader, parse, value};

/// What a merger does, valid in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen; default `127.0.0.1:9099`.
    pub listen: SocketAddr,
    /// The folder of journals and dead letters; created if absent.
    pub data: PathBuf,
    /// The name of the label that tells sources apart; default `source`.
    pub label: String,
    /// The sources, at least one; names and label values are unique.
    pub sources: Vec<SourceConfig>,
    /// Where everything goes.
    pub destination: DestinationConfig,
    /// Bounds of each source's journal, and of its dead letters.
    pub journal: JournalLimits,
    /// Bounds on each request.
    pub limits: IngestLimits,
    /// How delivery waits between attempts.
    pub retry: RetryConfig,
}

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
}

/// The receiving database.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DestinationConfig {
    /// The full remote-write address, `http` or `https`.
    pub url: String,
    /// The longest time for one request; default 30 s.
    pub timeout: Duration,
    /// Its remote-read address, where it has one: a refusal of what it has already is recognised by it.
    pub read_url: Option<String>,
    /// How often parts of one request may be refused before what is left of it is not cut any further; default 10,000.
    pub split_attempts: usize,
}

/// Bounds of one journal; see [`JournalConfig`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalLimits {
    /// The largest segment file in bytes; default 64 MiB.
    pub segment_bytes: u64,
    /// The most bytes on disk, then senders are told to wait; default 1 GiB.
    pub max_bytes: u64,
    /// The most bytes waiting for a sync, then senders are told to wait; default 64 MiB.
    pub max_pending_bytes: u64,
    /// How long a commit waits for company; default 0 s.
    pub commit_window: Duration,
}

/// Bounds on each request of a sender.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IngestLimits {
    /// The largest compressed body in bytes; default 32 MiB.
    pub body: u64,
    /// The largest decoded message in bytes; default 32 MiB.
    pub decoded: u64,
    /// The most series in a request; default 100,000.
    pub series: usize,
    /// The most labels of a series; default 256. A series with more is refused, not the request.
    pub labels: usize,
    /// The most requests of one source at a time; with `body` and `decoded` it bounds the memory. Default 64.
    pub in_flight: usize,
}

/// How delivery waits between attempts: doubling from `minimum` to `maximum`, with jitter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryConfig {
    /// The first wait; default 100 ms.
    pub minimum: Duration,
    /// The longest wait that the receiver did not ask for; default 5 s.
    pub maximum: Duration,
}

impl Default for JournalLimits {
    fn default() -> Self {
        let defaults = JournalConfig::new(JournalId([0; 16]));
        Self {
            segment_bytes: defaults.segment_bytes,
            max_bytes: defaults.max_bytes,
            max_pending_bytes: defaults.max_pending_bytes,
            commit_window: defaults.commit_window,
        }
    }
}

impl Default for IngestLimits {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            body: limits.max_compressed_bytes as u64,
            decoded: limits.max_decoded_bytes as u64,
            series: limits.max_series,
            labels: limits.max_labels_per_series,
            in_flight: 64,
        }
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { minimum: Duration::from_millis(100), maximum: Duration::from_secs(5) }
    }
}

impl Config {
    /// Reads the text of a configuration file; `name` is what faults are told under, usually its path.
    ///
    /// # Errors
    /// All faults of the text, each with line and column.
    pub fn parse(name: &str, text: impl Into<String>) -> Result<Self, Diagnostics> {
        let source = Source::new(name, text);
        let parsed = parse(&source, &yaml_source::Limits::default());
        let mut diagnostics = parsed.diagnostics;
        let Some(root) = parsed.root else {
            if !diagnostics.has_errors() {
                diagnostics.push(Diagnostic::error(source.span(0..0), "the configuration is empty"));
            }
            return Err(diagnostics);
        };
        let config = read_config(MappingReader::new(&root, &mut diagnostics));
        match config {
            Some(config) => diagnostics.into_result(config),
            None => Err(diagnostics),
        }
    }

    /// A file with every key, commented.
    pub const EXAMPLE: &str = include_str!("../merger.example.yaml");

    pub(crate) fn remote_limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.max_compressed_bytes = to_usize(self.limits.body);
        limits.max_decoded_bytes = to_usize(self.limits.decoded);
        limits.max_series = self.limits.series;
        limits.max_labels_per_series = self.limits.labels;
        limits
    }

    /// The journal of a source, or of its dead letters: `kind` keeps the files of one from being taken for the other's.
    pub(crate) fn journal_config(&self, kind: &str, source: &str) -> JournalConfig {
        let digest = Sha256::digest(format!("prom-merger/{kind}/{source}"));
        let mut id = [0; 16];
        id.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
        let mut config = JournalConfig::new(JournalId(id));
        config.segment_bytes = self.journal.segment_bytes;
        config.max_bytes = self.journal.max_bytes;
        config.max_pending_bytes = self.journal.max_pending_bytes;
        config.commit_window = self.journal.commit_window;
        config.max_record_bytes = longest_record(&self.limits);
        config
    }
}

fn read_config(mut reader: MappingReader<'_>) -> Option<Config> {
    let listen = reader.or("listen", value::parsed("an address and a port"), DEFAULT_LISTEN);
    let data = reader.required("data", value::non_empty_text);
    let label = reader.optional("label", value::parsed::<LabelName>("a label name"));
    let sources = reader.required("sources", value::non_empty_list(value::spanned(read_source)));
    let destination = reader.required("destination", read_destination);
    let limits: IngestLimits = reader.or_default("limits", read_limits);
    let journal: JournalLimits = reader.or_default("journal", read_journal);
    let retry = reader.or_default("retry", read_retry);
    if let Err(message) = check_fit(&journal, &limits) {
        let key = if reader.has("journal") { "journal" } else { "limits" };
        reader.error_at(key, &message);
    }
    let sources = sources.map(|sources| distinct_sources(sources, reader.diagnostics()));
    reader.finish();
    Some(Config {
        listen,
        data: data?.into(),
        label: label.map_or_else(|| "source".to_owned(), |label| label.0),
        sources: sources?,
        destination: destination?,
        journal,
        limits,
        retry,
    })
}

fn read_source(value: ValueReader<'_>) -> Option<SourceConfig> {
    let mut reader = value.mapping()?;
    let name = reader.required("name", value::parsed::<SourceName>("a source name"));
    let value = reader.optional("value", value::non_empty_text);
    let token_file = reader.optional("token_file", value::non_empty_text).map(PathBuf::from);
    let future_limit = reader.or("future_limit", value::duration, DEFAULT_FUTURE_LIMIT);
    reader.finish();
    let name = name?.0;
    Some(SourceConfig { value: value.unwrap_or_else(|| name.clone()), name, token_file, future_limit })
}

fn distinct_sources(sources: Vec<Spanned<SourceConfig>>, diagnostics: &mut Diagnostics) -> Vec<SourceConfig> {
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

fn read_destination(value: ValueReader<'_>) -> Option<DestinationConfig> {
    let mut reader = value.mapping()?;
    let url = reader.required("url", value::parsed::<RemoteUrl>("a remote-write address"));
    let timeout = reader.or("timeout", value::positive_duration, Duration::from_secs(30));
    let read_url = reader.optional("read_url", value::parsed::<RemoteUrl>("a remote-read address"));
    let split_attempts = reader.or("split_attempts", value::integer_in(1..=10_000_000), 10_000);
    reader.finish();
    Some(DestinationConfig { url: url?.0, timeout, read_url: read_url.map(|url| url.0), split_attempts })
}

fn read_journal(value: ValueReader<'_>) -> Option<JournalLimits> {
    let defaults = JournalLimits::default();
    let mut reader = value.mapping()?;
    let segment_bytes = reader.or("segment_bytes", value::byte_size, defaults.segment_bytes);
    let max_bytes = reader.or("max_bytes", value::byte_size, defaults.max_bytes);
    let max_pending_bytes = reader.or("max_pending_bytes", value::byte_size, defaults.max_pending_bytes);
    let commit_window = reader.or("commit_window", value::duration, defaults.commit_window);
    reader.finish();
    Some(JournalLimits { segment_bytes, max_bytes, max_pending_bytes, commit_window })
}

fn read_limits(value: ValueReader<'_>) -> Option<IngestLimits> {
    let defaults = IngestLimits::default();
    let mut reader = value.mapping()?;
    let body = reader.or("body", value::byte_size, defaults.body);
    let decoded = reader.or("decoded", value::byte_size, defaults.decoded);
    let series = reader.or("series", value::integer_in(1..=10_000_000), defaults.series);
    let labels = reader.or("labels", value::integer_in(1..=10_000), defaults.labels);
    let in_flight = reader.or("in_flight", value::integer_in(1..=10_000), defaults.in_flight);
    reader.finish();
    Some(IngestLimits { body, decoded, series, labels, in_flight })
}

fn read_retry(value: ValueReader<'_>) -> Option<RetryConfig> {
    let defaults = RetryConfig::default();
    let mut reader = value.mapping()?;
    let minimum = reader.or("minimum", value::positive_duration, defaults.minimum);
    let maximum = reader.or("maximum", value::positive_duration, defaults.maximum.max(minimum));
    if maximum < minimum {
        reader.error_at("maximum", "less than `minimum`");
    }
    reader.finish();
    Some(RetryConfig { minimum, maximum })
}

/// Whether the longest record that the limits allow can be journalled at all.
fn check_fit(journal: &JournalLimits, limits: &IngestLimits) -> Result<(), String> {
    let longest = longest_record(limits);
    let segment = longest.saturating_add(SEGMENT_OVERHEAD);
    let because =
        format!("limits.body ({}) and limits.decoded ({}) allow records of", limits.body, limits.decoded);
    if longest > MAX_RECORD {
        return Err(format!("{because} {longest} bytes, and a journal takes at most {MAX_RECORD}"));
    }
    if journal.segment_bytes < segment {
        let found = journal.segment_bytes;
        return Err(format!(
            "{because} {longest} bytes: segment_bytes is {found}, and must be at least {segment}"
        ));
    }
    if journal.max_bytes < journal.segment_bytes.saturating_mul(2) {
        return Err(format!(
            "max_bytes is {}, and must be at least two segments of {}",
            journal.max_bytes, journal.segment_bytes
        ));
    }
    if journal.max_pending_bytes < segment {
        let found = journal.max_pending_bytes;
        return Err(format!(
            "{because} {longest} bytes: max_pending_bytes is {found}, and must be at least {segment}"
        ));
    }
    Ok(())
}

/// The longest journal record: a body as received, or the valid part of one compressed again (which snappy may make a
/// sixth longer than the message), and room for the header of a dead letter.
fn longest_record(limits: &IngestLimits) -> u64 {
    let compressed_again = limits.decoded.saturating_add(limits.decoded / 6).saturating_add(32);
    limits.body.max(compressed_again).saturating_add(HEADER_ROOM)
}

struct LabelName(String);

impl FromStr for LabelName {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        LabelSplicer::new(text, "any").map(|_| Self(text.to_owned()))
    }
}

struct SourceName(String);

#[derive(Debug, thiserror::Error)]
#[error("it becomes a path segment and a folder: 1 to 64 of a-z, 0-9 and -")]
struct InvalidSourceName;

impl FromStr for SourceName {
    type Err = InvalidSourceName;

    fn from_str(text: &str) -> Result<Self, InvalidSourceName> {
        let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_valid = (1..=64).contains(&text.len()) && text.bytes().all(is_good);
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidSourceName) }
    }
}

struct RemoteUrl(String);

impl FromStr for RemoteUrl {
    type Err = ClientConfigError;

    fn from_str(text: &str) -> Result<Self, ClientConfigError> {
        ClientConfig::new(text).map(|_| Self(text.to_owned()))
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9099);
const DEFAULT_FUTURE_LIMIT: Duration = Duration::from_secs(600);
/// A segment's header and seal, and a record's header.
const SEGMENT_OVERHEAD: u64 = 88 + 24;
const MAX_RECORD: u64 = 1 << 30;
pub(crate) const HEADER_ROOM: u64 = 64 << 10;
