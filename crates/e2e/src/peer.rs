//! Our side of remote write and remote read, as the tests with real peers use it.

mod read;
mod receiver;
mod store;
mod write;

pub use read::{Answer, capture_series, capture_stream, read_samples, read_streamed};
pub use receiver::{Received, Receiver};
pub use store::Store;
pub use write::{batch, client, negotiator, request};
