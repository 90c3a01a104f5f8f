//! What commands changed on top of the specification, kept beside the ledger: the number of the run, the workers
//! after `scale`, ports after `--any-port`, and whether a `reset` is under way.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::spec::Spec;

/// Changes of a testbed that its specification does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adjustments {
    /// Number of the present run, from 1.
    pub run: u32,
    /// The data of brokers and ZooKeeper is being removed; it must be gone before they start again.
    #[serde(default)]
    pub resetting: bool,
    /// The running services are on their way to another plan, which is written already.
    #[serde(default)]
    pub applying: bool,
    /// Another address of the EXTERNAL listeners than the specification's.
    #[serde(default)]
    pub host: Option<Ipv4Addr>,
    /// Another number of workers.
    #[serde(default)]
    pub workers: Option<Scaled>,
    /// Other ports, by the key of the specification that has the wanted one.
    #[serde(default)]
    pub ports: BTreeMap<String, MovedPort>,
}

/// A number of workers that holds as long as the specification says what it said then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaled {
    /// What the specification said.
    pub instead_of: u32,
    /// How many there shall be.
    pub count: u32,
}

/// A port that was chosen because the wanted one was taken; holds as long as the specification wants the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedPort {
    /// What the specification said.
    pub instead_of: u16,
    /// The port.
    pub port: u16,
}

impl Default for Adjustments {
    fn default() -> Self {
        Self { run: 1, resetting: false, applying: false, host: None, workers: None, ports: BTreeMap::new() }
    }
}

impl Adjustments {
    /// Name of the file in a testbed's folder.
    pub const FILE_NAME: &'static str = "adjustments.json";

    /// Reads the file in `folder`; without one, nothing was adjusted.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(folder: &Path) -> io::Result<Self> {
        match fs::read(folder.join(Self::FILE_NAME)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the file in `folder`: after a power cut there is the old one or the new one.
    ///
    /// # Errors
    /// When the file system refuses; the old file stays then.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let path = folder.join(Self::FILE_NAME);
        let new = Self::path_of_new(folder);
        let mut bytes = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        bytes.push(b'\n');
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()
    }

    fn path_of_new(folder: &Path) -> PathBuf {
        folder.join(Self::NEW_FILE_NAME)
    }

    /// Name under which a new file is written before it takes the place of the old one.
    pub const NEW_FILE_NAME: &'static str = "adjustments.json.new";

    /// Puts the changes into `spec`, those that still fit it.
    pub fn apply(&self, spec: &mut Spec) {
        spec.host_address = self.host.or(spec.host_address);
        if let Some(scaled) = self.workers.filter(|scaled| scaled.instead_of == spec.workers.count) {
            spec.workers.count = scaled.count;
        }
        for (key, port) in spec.ports_mut() {
            if let Some(moved) = self.ports.get(&key).filter(|moved| moved.instead_of == *port) {
                *port = moved.port;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_is_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        assert_eq!(Adjustments::read(folder.path()).expect("reads"), Adjustments::default());
        let adjustments = Adjustments {
            run: 3,
            resetting: true,
            applying: false,
            host: Some(Ipv4Addr::LOCALHOST),
            workers: Some(Scaled { instead_of: 2, count: 5 }),
            ports: BTreeMap::from([("tsdb.port".to_owned(), MovedPort { instead_of: 9092, port: 9192 })]),
        };
        adjustments.write(folder.path()).expect("writes");
        assert_eq!(Adjustments::read(folder.path()).expect("reads"), adjustments);
        fs::write(folder.path().join(Adjustments::FILE_NAME), "{").expect("damages");
        assert!(Adjustments::read(folder.path()).is_err());
    }

    #[test]
    fn a_changed_specification_wins() {
        let adjustments = Adjustments {
            workers: Some(Scaled { instead_of: 2, count: 5 }),
            ports: BTreeMap::from([
                ("tsdb.port".to_owned(), MovedPort { instead_of: 9092, port: 9192 }),
                ("kafka.brokers[2].port".to_owned(), MovedPort { instead_of: 10_002, port: 10_012 }),
            ]),
            ..Adjustments::default()
        };
        let mut spec = Spec::default();
        adjustments.apply(&mut spec);
        assert_eq!((spec.workers.count, spec.tsdb.port, spec.kafka.brokers[1].port), (5, 9192, 10_012));
        let mut spec = Spec::default();
        spec.workers.count = 3;
        spec.tsdb.port = 9093;
        adjustments.apply(&mut spec);
        assert_eq!((spec.workers.count, spec.tsdb.port), (3, 9093));
    }
}
