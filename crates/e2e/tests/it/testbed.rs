//! `cargo xtask testbed` with real brokers.

mod bad_input;
mod checks;
mod faults;
mod interrupted;
mod lifecycle;
mod two;
mod versions;
mod whole;
