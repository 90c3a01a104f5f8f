//! `cargo xtask testbed` with real brokers.

mod bad_input;
mod interrupted;
mod whole;
