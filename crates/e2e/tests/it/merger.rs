//! `prom-merger` before a real Prometheus.

mod durability;
