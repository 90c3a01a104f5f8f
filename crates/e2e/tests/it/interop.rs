//! The crates of the remote protocols before real peers: what one side writes is what the other has, bit for bit.

pub(crate) mod data;
mod prometheus_2;
mod prometheus_3;
mod remote_read;
mod victoria_metrics;

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    now.as_millis().try_into().expect("it is before the year 292277026")
}
