//! Receives remote-write requests, and answers remote reads.

mod answer;
mod body;
mod judge;
mod receive;
mod write;

pub use judge::JudgedWrite;
pub use receive::{WriteRejection, read_write_body};
pub use write::{WriteBody, WriteOutcome, WriteServer, WriteServerConfig, WriteSink, WriteVersion};
