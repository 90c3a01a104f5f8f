//! Receives remote-write requests.

mod write;

pub use write::{
    WriteBody, WriteOutcome, WriteRejection, WriteServer, WriteServerConfig, WriteSink, read_write_body,
};
