//! `prom-merger` before a real Prometheus.

mod durability;
mod faults;
mod packaging;
mod poison;
mod preflight;
mod program;
mod rules;
