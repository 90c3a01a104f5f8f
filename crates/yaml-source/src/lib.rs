//! YAML read with positions.
//!
//! [`parse`] turns a [`Source`] into [`Node`]s that know where they stand: anchors and aliases are followed, `<<` is merged,
//! duplicate keys are errors, and [`Limits`] bound what a hostile text can cost. [`MappingReader`] reads such nodes into
//! types and reports every fault with file, line, column and path, so that a user sees all of them at once. [`emit()`] writes a
//! [`Tree`] so that every YAML reader understands it alike.
//!
//! The crate knows no serde, opens no files and reads no environment. What a plain scalar means is the reader's choice
//! ([`ScalarRules`]); the text as written is always kept.
//!
//! # Reading configuration
//!
//! A reading function takes a [`ValueReader`] and returns `Option<T>`; [`value`] has the usual ones. Write your own for each
//! mapping, and nest them:
//!
//! ```
//! use std::time::Duration;
//! use yaml_source::{Diagnostics, Limits, MappingReader, Source, ValueReader, parse, value};
//!
//! struct Spec { name: String, kafka: Kafka, sources: Vec<ScrapeSource> }
//! #[derive(Default)]
//! struct Kafka { brokers: u8, heap_bytes: u64 }
//! struct ScrapeSource { port: u16, interval: Duration, labels: Vec<(String, String)> }
//!
//! fn read_spec(source: &Source) -> Result<Spec, Diagnostics> {
//!     let parsed = parse(source, &Limits::default());
//!     let mut diagnostics = parsed.diagnostics;
//!     let Some(root) = parsed.root else { return Err(diagnostics) };
//!
//!     let mut reader = MappingReader::new(&root, &mut diagnostics);
//!     let name = reader.required("name", value::text);
//!     let kafka = reader.or_default("kafka", read_kafka);
//!     let sources = reader.or_default("sources", value::list(read_scrape_source));
//!     reader.finish();
//!
//!     let spec = name.map(|name| Spec { name, kafka, sources });
//!     match spec {
//!         Some(spec) => diagnostics.into_result(spec),
//!         None => Err(diagnostics),
//!     }
//! }
//!
//! fn read_kafka(value: ValueReader<'_>) -> Option<Kafka> {
//!     let mut reader = value.mapping()?;
//!     let brokers = reader.or("brokers", value::integer_in(1..=9), 3);
//!     let heap_bytes = reader.or("heap", value::byte_size, 512 << 20);
//!     reader.finish();
//!     Some(Kafka { brokers, heap_bytes })
//! }
//!
//! fn read_scrape_source(value: ValueReader<'_>) -> Option<ScrapeSource> {
//!     let mut reader = value.mapping()?;
//!     let port = reader.required("port", value::port);
//!     let interval = reader.or("interval", value::positive_duration, Duration::from_secs(15));
//!     let labels = reader.or_default("labels", value::text_map);
//!     reader.finish();
//!     Some(ScrapeSource { port: port?, interval, labels })
//! }
//!
//! let good = "name: load\nkafka: {heap: 256m}\nsources:\n  - port: 9091\n    interval: 5s\n    labels: {team: 7}\n";
//! let spec = read_spec(&Source::new("testbed.yaml", good)).map_err(|faults| faults.to_string())?;
//! assert_eq!((spec.kafka.brokers, spec.kafka.heap_bytes, spec.sources[0].port), (3, 256 << 20, 9091));
//!
//! let bad = "name: load\nkafka:\n  broker: 5\nsources:\n  - port: 90910\n";
//! let faults = read_spec(&Source::new("testbed.yaml", bad)).err().map(|faults| faults.to_string());
//! assert_eq!(faults.as_deref(), Some("\
//! testbed.yaml:3:3: error: kafka: unknown key `broker`
//!   3 |   broker: 5
//!     |   ^^^^^^
//!   hint: did you mean `brokers`?
//! testbed.yaml:5:11: error: sources[0].port: expected a port number (1 to 65535), found the number `90910`
//!   5 |   - port: 90910
//!     |           ^^^^^
//! 2 errors, 0 warnings"));
//! # Ok::<(), String>(())
//! ```
//!
//! # Writing
//!
//! ```
//! use yaml_source::{Tree, emit};
//!
//! let tree: Tree = [("version", Tree::from("1.10")), ("ports", vec![9091, 9092].into())].into_iter().collect();
//! assert_eq!(emit(&tree), "version: \"1.10\"\nports:\n  - 9091\n  - 9092\n");
//! ```
#![deny(missing_docs)]

mod compose_nodes;
mod diagnostic;
pub mod emit;
mod event;
mod node;
mod read;
mod scalar;
mod source;
mod suggest;
mod tree;
mod units;

pub use compose_nodes::{Limits, Parsed, ParsedDocuments, parse, parse_documents};
pub use diagnostic::{Diagnostic, Diagnostics, Label, Severity};
pub use emit::emit;
pub use node::{Entry, Mapping, Node, Scalar, ScalarStyle, Sequence, Value};
pub use read::{MappingReader, Spanned, ValueReader, value};
pub use scalar::{Resolved, ScalarRules};
pub use source::{Position, Source, Span};
pub use suggest::{closest, shown};
pub use tree::Tree;
pub use units::{ParseByteSizeError, ParseDurationError, format_duration, parse_byte_size, parse_duration};
