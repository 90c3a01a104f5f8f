//! What the tests with real programs share: the programs, a testbed that is always taken down, questions over HTTP.
//!
//! The tests stand in `tests/it`. They need Java and Maven for the testbed and Go for peers that are built; what is
//! missing fails them, nothing is skipped. Two variables change where things come from:
//!
//! * `E2E_PROGRAMS`: a folder with the release programs; without it they are built once.
//! * `KAFKA_TESTBED_E2E_CACHE`: the cache of downloads; without it the one of the user's own testbeds.

#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod faults;
pub mod go_programs;
pub mod http;
pub mod mirror;
pub mod peer;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod series;
pub mod testbed;
mod wait;

pub use wait::{alone, eventually, note};
