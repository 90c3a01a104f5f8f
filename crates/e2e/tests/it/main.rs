//! Tests with the real programs, in one binary.

mod merger;
mod structure;
mod testbed;
