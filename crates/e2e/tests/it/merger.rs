//! `prom-merger` before a real Prometheus.

mod backfill;
mod durability;
mod fan_out;
mod faults;
mod outage;
mod packaging;
mod poison;
mod preflight;
mod program;
mod protocol_2;
mod replicas;
mod rules;
