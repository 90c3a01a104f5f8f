//! `prom-merger` before a real Prometheus.

mod durability;
mod poison;
mod preflight;
mod program;
mod replicas;
