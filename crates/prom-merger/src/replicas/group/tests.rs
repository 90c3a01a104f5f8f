//! A group on disks that lose what was not synced.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prom_remote::{Compressor, Limits, decompress};
use prom_remote_http::WriteVersion;
use sample_journal::{Journal, JournalConfig, JournalHooks, JournalId, SimulatedStorage, Tear};

use super::{Clock, Incoming, Journals, ReplicaError, ReplicaGroup};
use crate::{
    StartError,
    config::ReplicasConfig,
    replicas::{
        ledger,
        record::{read_spare, version_of},
        simulation::{Point, by_series, decode, encode},
    },
};

const INTERVAL_MS: i64 = 5_000;
const FRESHNESS_MS: i64 = 12_000;
const SERIES: usize = 3;

/// Three kinds of disks, and the clock.
#[derive(Clone, Default)]
struct Machine {
    main: SimulatedStorage,
    ledger: SimulatedStorage,
    spares: Arc<Mutex<BTreeMap<String, SimulatedStorage>>>,
    now_ms: Arc<AtomicU64>,
    spare_bytes: Option<u64>,
    began_ms: i64,
}

impl Machine {
    fn crash(&self, tear: Tear) -> Self {
        let spares = self.spares.lock().unwrap();
        let spares = spares.iter().map(|(name, disk)| (name.clone(), disk.crash(tear))).collect();
        Self {
            main: self.main.crash(tear),
            ledger: self.ledger.crash(tear),
            spares: Arc::new(Mutex::new(spares)),
            now_ms: Arc::clone(&self.now_ms),
            spare_bytes: self.spare_bytes,
            began_ms: self.wall_ms(),
        }
    }

    /// The disk of this number.
    fn disk(&self, number: usize) -> SimulatedStorage {
        let spares = self.spares.lock().unwrap();
        let disks: Vec<_> = [&self.main, &self.ledger].into_iter().chain(spares.values()).collect();
        disks[number % disks.len()].clone()
    }

    fn main(&self) -> Arc<Journal> {
        let (journal, _) =
            Journal::open(self.main.clone(), journal_config(1), JournalHooks::default()).unwrap();
        // Nothing is delivered, and so nothing released.
        journal.cursor("tsdb").unwrap();
        Arc::new(journal)
    }

    fn open(&self, maximum: usize, names: &[&str]) -> (Arc<ReplicaGroup>, Arc<Journal>) {
        let config = ReplicasConfig {
            label: Some("replica".to_owned()),
            path: true,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            maximum,
            freshness: Duration::from_millis(FRESHNESS_MS as u64),
            spare_retention: Duration::from_secs(7_200),
            active_series: 1_000,
        };
        let main = self.main();
        let group = ReplicaGroup::open(
            "kubernetes",
            &config,
            Limits::default(),
            (Arc::clone(&main), 1 << 30),
            Box::new(self.clone()),
            Box::new(self.clone()),
        );
        (Arc::new(group.unwrap()), main)
    }
}

fn journal_config(number: u8) -> JournalConfig {
    JournalConfig::new(JournalId([number; 16]))
}

impl Clock for Machine {
    fn monotonic_ms(&self) -> i64 {
        // A process began later than the machine.
        self.now_ms.load(Ordering::Relaxed) as i64 - self.began_ms
    }

    fn wall_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed) as i64
    }
}

impl Journals for Machine {
    fn ledger(&self) -> Result<Journal, StartError> {
        let (mut config, sizes) = (journal_config(2), ledger::sizes(1_000));
        (config.segment_bytes, config.max_bytes) = (sizes.segment, sizes.total);
        config.max_record_bytes = sizes.record;
        Ok(Journal::open(self.ledger.clone(), config, JournalHooks::default()).unwrap().0)
    }

    fn spare(&self, replica: &str) -> Result<(Journal, u64), StartError> {
        let mut config = journal_config(3);
        if let Some(bytes) = self.spare_bytes {
            (config.max_bytes, config.segment_bytes) = (bytes, bytes / 8);
            config.max_record_bytes = bytes / 16;
        }
        let disk = self.spares.lock().unwrap().entry(replica.to_owned()).or_default().clone();
        let max_bytes = config.max_bytes;
        Ok((Journal::open(disk, config, JournalHooks::default()).unwrap().0, max_bytes))
    }

    fn replicas(&self) -> io::Result<Vec<String>> {
        Ok(self.spares.lock().unwrap().keys().cloned().collect())
    }

    fn remove(&self, replica: &str) -> io::Result<()> {
        self.spares.lock().unwrap().remove(replica);
        Ok(())
    }
}

fn incoming(version: WriteVersion, message: Vec<u8>) -> Incoming {
    let mut compressed = Vec::new();
    Compressor::new().compress(&message, &mut compressed).unwrap();
    Incoming { version, compressed: compressed.into(), message: message.into() }
}

/// What a replica scrapes at a time, which has its number as phase.
fn scrape(replica: usize, round: i64) -> Vec<Point> {
    let time_ms = round * INTERVAL_MS + replica as i64 * 700;
    (0..SERIES).map(|series| Point { series, time_ms, bits: (time_ms as f64).to_bits() }).collect()
}

fn delivered(main: &Journal) -> Vec<Point> {
    let mut points = Vec::new();
    read(main, |payload| {
        let mut message = Vec::new();
        decompress(&payload[1..], &Limits::default(), &mut message).unwrap();
        points.extend(decode(version_of(payload[0]).unwrap(), &message));
    });
    points
}

fn spare(machine: &Machine) -> Vec<Point> {
    let mut points = Vec::new();
    for name in machine.replicas().unwrap() {
        let (journal, _) = machine.spare(&name).unwrap();
        read(&journal, |payload| {
            let (header, body) = read_spare(payload).unwrap();
            let mut message = Vec::new();
            decompress(body, &Limits::default(), &mut message).unwrap();
            points.extend(decode(header.version, &message));
        });
    }
    points
}

fn read(journal: &Journal, mut each: impl FnMut(&[u8])) {
    let mut reader = journal.reader(journal.oldest());
    let mut payload = Vec::new();
    while reader.next(&mut payload).unwrap().is_some() {
        each(&payload);
    }
}

/// Replica 0 is dead in some rounds, replica 1 in others, never both.
fn is_dead(replica: usize, round: i64) -> bool {
    let dead: [&[std::ops::Range<i64>]; 2] = [&[8..16, 40..43], &[24..30, 50..60]];
    dead[replica].iter().any(|rounds| rounds.contains(&round))
}

/// The power goes at some operation of some disk, again and again; each sender tries again what was not acknowledged.
async fn check_crashes(seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let version = if seed.is_multiple_of(2) { WriteVersion::V1 } else { WriteVersion::V2 };
    let mut machine = Machine::default();
    let (mut group, mut main) = machine.open(2, &[]);
    let mut acknowledged = Vec::new();
    for round in 0..70 {
        for replica in 0..2 {
            machine.now_ms.store((round * INTERVAL_MS + replica as i64 * 700) as u64, Ordering::Relaxed);
            if is_dead(replica, round) {
                continue;
            }
            if random(6) == 0 {
                let disk = machine.disk(random(4) as usize);
                disk.cut_power_at(disk.operations() + random(12));
            }
            if random(5) == 0 {
                let position = main.durable_end();
                let checkpoint = group.checkpoint(position);
                let group = Arc::clone(&group);
                let _ = tokio::task::spawn_blocking(move || group.ledger.checkpoint(&checkpoint)).await;
            }
            let points = scrape(replica, round);
            let message = encode(version, replica, &points);
            loop {
                let name = format!("r{replica}");
                let incoming = incoming(version, message.clone());
                // By the path and by the label.
                let path = (random(2) == 0).then_some(&name[..]);
                if group.take(path, incoming).await.is_ok() {
                    acknowledged.extend(points);
                    break;
                }
                let tear = match random(4) {
                    0 => Tear::Lost,
                    1 => Tear::Kept,
                    2 => Tear::Prefix(random(1 << 20)),
                    _ => Tear::Scrambled(random(1 << 20)),
                };
                machine = machine.crash(tear);
                (group, main) = machine.open(2, &[]);
            }
        }
    }
    let found = delivered(&main);
    for (series, points) in by_series(&found) {
        assert!(
            points.is_sorted_by(|a, b| a.time_ms < b.time_ms),
            "seed {seed}, series {series}: {points:?}"
        );
        for pair in points.windows(2) {
            let gap = pair[1].time_ms - pair[0].time_ms;
            assert!(gap <= INTERVAL_MS + FRESHNESS_MS, "seed {seed}, series {series}: {pair:?}");
        }
        assert!(points.last().unwrap().time_ms >= 68 * INTERVAL_MS, "seed {seed}, series {series}");
    }
    drop((group, main));
    let kept: HashSet<_> = found.into_iter().chain(spare(&machine.crash(Tear::Lost))).collect();
    let lost: Vec<_> = acknowledged.iter().filter(|point| !kept.contains(point)).collect();
    assert_eq!(lost, Vec::<&Point>::new(), "seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_merged_on_disks_that_lose_what_was_not_synced() {
    for seed in 0..60 {
        check_crashes(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spare_data_never_refuses_and_keeps_the_latest() {
    let machine = Machine { spare_bytes: Some(64 << 10), ..Machine::default() };
    let (group, main) = machine.open(2, &[]);
    for round in 0..3_000 {
        machine.now_ms.store((round * 10) as u64, Ordering::Relaxed);
        for replica in 0..2 {
            let message = encode(WriteVersion::V1, replica, &scrape(replica, round));
            group.take(None, incoming(WriteVersion::V1, message)).await.unwrap();
        }
        assert!(group.spares.lock().await["r1"].bytes_on_disk() <= 64 << 10);
    }
    assert_eq!(delivered(&main).len(), 3_000 * SERIES);
    let held = group.spares.lock().await["r1"].samples();
    let released = group.metrics.released_early_samples.get();
    assert_eq!(held + released, 3_000 * SERIES as u64);
    assert!(released > 0 && held > 0, "{held} held, {released} released");
    // What is left is the latest.
    drop((group, main));
    let points = spare(&machine);
    assert!(points.contains(&scrape(1, 2_999)[0]) && !points.contains(&scrape(1, 0)[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_mixes_replicas_is_split() {
    let machine = Machine::default();
    let (group, main) = machine.open(2, &[]);
    let message =
        [0, 1, 0].map(|replica| encode(WriteVersion::V1, replica, &scrape(replica, replica as i64)));
    group.take(None, incoming(WriteVersion::V1, message.concat())).await.unwrap();
    drop(group);
    let expected = [scrape(0, 0), scrape(0, 0)].concat();
    assert_eq!(delivered(&main), expected);
    drop(main);
    assert_eq!(spare(&machine), scrape(1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_replicas_is_bounded_and_their_names_may_be() {
    let machine = Machine::default();
    let (group, _main) = machine.open(2, &[]);
    let send = async |group: &Arc<ReplicaGroup>, replica, round| {
        let message = encode(WriteVersion::V1, replica, &scrape(replica, round));
        group.take(None, incoming(WriteVersion::V1, message)).await
    };
    send(&group, 0, 0).await.unwrap();
    send(&group, 1, 0).await.unwrap();
    assert!(matches!(send(&group, 2, 0).await, Err(ReplicaError::TooMany(_))));
    machine.now_ms.store(FRESHNESS_MS as u64 + 1, Ordering::Relaxed);
    send(&group, 0, 3).await.unwrap();
    send(&group, 2, 3).await.unwrap();
    assert_eq!(machine.replicas().unwrap(), ["r0", "r2"]);
    assert_eq!(group.metrics.released_early_samples.get(), SERIES as u64);

    let machine = Machine::default();
    let (group, _main) = machine.open(2, &["r0", "r1"]);
    send(&group, 1, 0).await.unwrap();
    let refused = send(&group, 2, 0).await.unwrap_err();
    assert_eq!(refused.to_string(), "replica \"r2\" is not one of the configured names: r0, r1");
    let long = "x".repeat(181);
    let message = incoming(WriteVersion::V1, encode(WriteVersion::V1, 0, &scrape(0, 0)));
    assert!(matches!(group.take(Some(&long), message).await, Err(ReplicaError::Name { bytes: 181 })));
}
