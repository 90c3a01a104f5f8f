//! Merges the remote-write streams of several Prometheus servers into one time-series database, losing nothing.
//!
//! Data goes one way: [`ingest`] checks a request and appends it to its source's journal; only when that is durable is the
//! sender told so; [`deliver`] reads the journal, gives every series the label of its source, and sends it on until the
//! destination has it. What can never be delivered goes to the [`dead_letters`] with the reason. Sources share nothing but
//! the destinations: each has its own server, journal, lanes and dead letters. Destinations share nothing either: what one
//! has not got is kept for it, and the others go on.
//!
//! Delivery is at least once: after a crash the last few requests are sent again, with the same bits, which a Prometheus takes
//! as the same samples.
//!
//! Of several replicas of a source, which have the same series, one at a time is delivered. [`backfill`] reads the history of a
//! source by remote read and delivers it beside what is live.
//!
//! Not yet here: verification.
//!
//! ```
//! use std::time::Duration;
//! use prom_merger::{Config, Merger};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let data = folder.path().display();
//! let text = format!("
//! listen: 127.0.0.1:0
//! data: {data}
//! sources:
//!   - name: kafka
//!   - name: kubernetes
//! destination: {{url: http://127.0.0.1:9090/api/v1/write}}
//! ");
//! let config = Config::parse("merger.yaml", text)?;
//! let running = Merger::start(config).await?;
//! // Prometheus is told: remote_write: [{url: http://<address>/api/v1/write/kafka}]
//! assert_ne!(running.address().port(), 0);
//! running.shutdown(Duration::from_secs(10)).await?;
//! # Ok(()) }
//! ```

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod backfill;
pub mod config;
pub mod dead_letters;
pub mod deliver;
pub mod ingest;
pub mod machine;
mod merger;
pub mod metrics;
pub mod preflight;
mod replicas;
mod source;
pub mod stored_journal;
mod token;
mod web;

pub use config::Config;
pub use merger::{Merger, Running, ShutdownError, StartError};
pub use web::TlsError;
