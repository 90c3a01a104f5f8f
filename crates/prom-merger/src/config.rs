//! The configuration file `merger.yaml`: read once, all faults told with their places.

pub(crate) mod destination;
mod journal;
mod replicas;
mod source;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use prom_remote::{InvalidLabel, LabelSplicer, Limits};
use sample_journal::{JournalConfig, JournalId};
use sha2::{Digest, Sha256};
use yaml_source::{Diagnostic, Diagnostics, MappingReader, Source, parse, value};

pub use self::{
    destination::{
        BatchConfig, Compression, DeliveryOrder, DestinationAuth, DestinationConfig, DestinationTls,
        Protocol, RetryConfig, TlsIdentity,
    },
    journal::{IngestLimits, JournalLimits},
    replicas::ReplicasConfig,
    source::SourceConfig,
};
use self::{
    destination::{distinct_destinations, read_destination, read_named_destination, read_retry},
    journal::{check_fit, longest_record, read_journal, read_limits},
    source::{distinct_sources, read_source},
};

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
    /// Where everything goes, at least one; names are unique.
    pub destinations: Vec<DestinationConfig>,
    /// Destinations that are gone for good: what they have not got yet no longer keeps the journals from being freed.
    pub forgotten_destinations: Vec<String>,
    /// Bounds of each source's journal, and of its dead letters.
    pub journal: JournalLimits,
    /// Bounds on each request.
    pub limits: IngestLimits,
    /// How delivery waits between attempts.
    pub retry: RetryConfig,
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
    let destinations = read_destinations(&mut reader);
    let forgotten = reader.or_default("forgotten_destinations", value::list(value::non_empty_text));
    let limits: IngestLimits = reader.or_default("limits", read_limits);
    let journal: JournalLimits = reader.or_default("journal", read_journal);
    let retry = reader.or_default("retry", read_retry);
    if let Err(message) = check_fit(&journal, &limits) {
        let key = if reader.has("journal") { "journal" } else { "limits" };
        reader.error_at(key, &message);
    }
    let sources = sources.map(|sources| distinct_sources(sources, reader.diagnostics()));
    let in_use = |name: &String| {
        destinations.iter().flatten().any(|destination: &DestinationConfig| destination.name == *name)
    };
    if forgotten.iter().any(in_use) {
        reader.error_at("forgotten_destinations", "one of them is a destination");
    }
    reader.finish();
    Some(Config {
        listen,
        data: data?.into(),
        label: label.map_or_else(|| "source".to_owned(), |label| label.0),
        sources: sources?,
        destinations: destinations?,
        forgotten_destinations: forgotten,
        journal,
        limits,
        retry,
    })
}

/// `destinations`, or `destination` as the short form of a list of one.
fn read_destinations(reader: &mut MappingReader<'_>) -> Option<Vec<DestinationConfig>> {
    if !reader.has("destinations") {
        return reader.required("destination", read_destination).map(|destination| vec![destination]);
    }
    if reader.has("destination") {
        reader.error_at("destination", "there are `destinations` too");
        reader.take("destination");
    }
    let read = value::non_empty_list(value::spanned(read_named_destination));
    let destinations = reader.required("destinations", read);
    destinations.map(|destinations| distinct_destinations(destinations, reader.diagnostics()))
}

struct LabelName(String);

impl FromStr for LabelName {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        LabelSplicer::new(text, "any").map(|_| Self(text.to_owned()))
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9099);
