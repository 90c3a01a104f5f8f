//! Receives remote-write requests, and answers remote reads.

mod answer;
mod body;
mod judge;
mod read;
mod receive;
mod series_sink;
mod write;

pub use judge::JudgedWrite;
pub use read::{ReadFailure, ReadServer, ReadServerConfig, ReadSource};
pub use receive::{WriteRejection, read_write_body};
pub use series_sink::SeriesSink;
pub use write::{WriteBody, WriteOutcome, WriteServer, WriteServerConfig, WriteSink, WriteVersion};
