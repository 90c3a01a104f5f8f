//! Tests with the real programs, in one binary.

mod interop;
mod merger;
mod structure;
mod testbed;
