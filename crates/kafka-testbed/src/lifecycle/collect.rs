//! `list`: every testbed of a home.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, time::SystemTime};

use serde::Serialize;

use super::{Error, Workplace, status};
use crate::status::{Endpoints, TestbedState, timestamp};

/// A testbed as `list` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// All in all; nothing when its ledger cannot be read.
    pub state: Option<TestbedState>,
    /// Number of the run.
    pub run: u32,
    /// How many of its services have a process, and how many there are.
    pub running: usize,
    /// See `running`.
    pub services: usize,
    /// Where it lies.
    pub folder: std::path::PathBuf,
    /// Bytes that all files in that folder take on the disk.
    pub disk_bytes: u64,
    /// When a command or its supervisor wrote into its ledger last (RFC 3339, UTC).
    pub last_used: String,
    /// Seconds since then.
    pub idle_seconds: u64,
    /// Where users reach it.
    pub endpoints: Endpoints,
    /// Why its state is not known.
    pub fault: Option<String>,
}

/// Every testbed in the home of `place`, whatever its name, sorted by name.
pub async fn list(place: &Workplace) -> Vec<Listed> {
    let mut all = Vec::new();
    for name in place.home.names() {
        let place = Workplace { name: name.clone(), ..place.clone() };
        let folder = place.folder();
        let used =
            fs::metadata(folder.ledger()).and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let status: Result<_, Error> = status(&place).await;
        let fault = status.as_ref().err().map(ToString::to_string);
        let status = status.ok();
        let services = status.iter().flat_map(|status| &status.services);
        all.push(Listed {
            name,
            state: status.as_ref().map(|status| status.state),
            run: status.as_ref().map_or(0, |status| status.run),
            running: services.clone().filter(|service| service.pid.is_some()).count(),
            services: services.count(),
            folder: folder.path().to_owned(),
            disk_bytes: disk_bytes(folder.path()),
            last_used: timestamp(used),
            idle_seconds: used.elapsed().map_or(0, |elapsed| elapsed.as_secs()),
            endpoints: status.map(|status| status.endpoints).unwrap_or_default(),
            fault,
        });
    }
    all
}

/// Bytes of all files below `folder`, as far as they can be read; links are not followed.
fn disk_bytes(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(data) if data.is_dir() => bytes += disk_bytes(&entry.path()),
            // What it takes, not how long it says it is: brokers make their index files long and empty.
            Ok(data) => bytes += data.blocks() * 512,
            Err(_) => {}
        }
    }
    bytes
}
