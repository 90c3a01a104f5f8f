//! Prometheus remote write and remote read over HTTP: clients on reqwest, a server on axum.
//!
//! The bytes are the business of the crate [`prom_remote`]; this one moves them: exact headers, bounded bodies,
//! timeouts, and errors that say whether to try again. It does not retry, queue or merge.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use prom_remote::{Sample, WriteRequestBuilder};
//! use prom_remote_http::{ClientConfig, WriteBody, WriteClient, WriteOutcome, WriteServer, WriteServerConfig, WriteSink};
//!
//! struct Counter(std::sync::atomic::AtomicUsize);
//!
//! impl WriteSink for Counter {
//!     async fn write(&self, _source: &str, body: WriteBody) -> WriteOutcome {
//!         self.0.fetch_add(body.summary.samples, std::sync::atomic::Ordering::Relaxed);
//!         WriteOutcome::Stored
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let counter = Arc::new(Counter(0.into()));
//! let server = WriteServer::new(Arc::clone(&counter), WriteServerConfig::default());
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let address = listener.local_addr()?;
//! tokio::spawn(async move { axum::serve(listener, server.router("/{source}/api/v1/write")).await });
//!
//! let client = WriteClient::new(ClientConfig::new(&format!("http://{address}/kafka/api/v1/write"))?)?;
//! let mut builder = WriteRequestBuilder::new();
//! builder.series([("__name__", "up")], [Sample::new(1_700_000_000_000, 1.0)]);
//! client.send_v1(builder.finish_compressed()?.into()).await?;
//! assert_eq!(counter.0.load(std::sync::atomic::Ordering::Relaxed), 1);
//! # Ok(()) }
//! ```

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod auth;
mod client;
mod protocol;
mod server;

pub use auth::{Authorization, Secret};
pub use client::{
    Backoff, ClientConfig, ClientConfigError, ConvertingBatch, ConvertingBatchError, MessageBatch,
    MessageBatchError, NegotiationConfig, NegotiationError, ReadClient, ReadError, Sent, SeriesAnswer,
    SeriesContentError, SeriesStream, TlsConfig, WriteBatch, WriteClient, WriteError, WriteForm,
    WriteNegotiator, WriteRequest, Written,
};
pub use protocol::WrittenCounts;
pub use server::{
    JudgedWrite, ReadFailure, ReadServer, ReadServerConfig, ReadSource, SeriesSink, WriteBody, WriteOutcome,
    WriteRejection, WriteServer, WriteServerConfig, WriteSink, WriteVersion, read_write_body,
};
