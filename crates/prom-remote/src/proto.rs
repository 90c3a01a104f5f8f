//! The generated messages, private: callers meet our own types. prost is the oracle of the tests and writes the
//! small messages; the hot path walks bytes.
//!
//! `tests/codegen.rs` regenerates the text and fails on a difference.

#![allow(dead_code, unreachable_pub, clippy::all, reason = "generated, and not every message has a user yet")]

pub(crate) mod prometheus {
    include!("generated/prometheus.rs");
}

/// Remote write 2.0.
pub(crate) mod write_v2 {
    include!("generated/io.prometheus.write.v2.rs");
}
