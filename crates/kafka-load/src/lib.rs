//! An open-loop Kafka producer and a measured worker.
//!
//! What it measures is what a user of the system would feel: every message has an *intended* send time out of a fixed
//! [`schedule`], and latency counts from there, so a stalled client, broker or worker shows as latency and not as missing
//! samples (no coordinated omission). Every message carries its place in a sequence ([`payload`]), so loss, duplicates and
//! reordering are counted exactly ([`record`]) and shown as Prometheus metrics ([`metrics`], served by [`http`]).
//!
//! [`producer`] and [`worker`] are the two long-running parts, each a blocking `run` over a shared state; [`topic`] creates the
//! topic they use, and [`probe`] tells whether a Kafka cluster really works. The library reads no environment and
//! prints nothing; it does not start Kafka and knows no testbed.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod schedule;

pub mod payload;

pub mod record;

pub mod exposition;

pub mod metrics;

pub mod client;

pub mod producer;

pub mod worker;

pub mod http;

pub mod topic;

pub mod probe;
