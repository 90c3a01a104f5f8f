//! Chunks of Prometheus itself, and properties of chunks of our own.

mod captured;
mod golden;
mod hostile;
mod properties;
