//! `cargo xtask testbed` with real brokers.

mod bad_input;
mod checks;
mod doctor;
mod faults;
mod interrupted;
mod lifecycle;
mod provisioning;
mod two;
mod versions;
mod whole;
