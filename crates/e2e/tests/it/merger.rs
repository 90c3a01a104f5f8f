//! `prom-merger` before a real Prometheus.

mod backfill;
mod durability;
mod fan_out;
mod outage;
mod poison;
mod preflight;
mod program;
mod protocol_2;
mod replicas;
