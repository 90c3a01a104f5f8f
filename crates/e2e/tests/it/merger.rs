//! `prom-merger` before a real Prometheus.

mod durability;
mod faults;
mod poison;
mod preflight;
mod program;
