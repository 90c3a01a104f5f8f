//! `prom-merger` before a real Prometheus.

mod backfill;
mod durability;
mod poison;
mod preflight;
mod program;
mod replicas;
