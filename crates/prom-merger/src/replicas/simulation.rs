//! Replicas that scrape, die, come back, and send late, against a naive merge that keeps everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use prom_remote::{
    Limits, STALE_MARKER_BITS, Sample, WriteRequestBuilder, WriteRequestV2Builder, WriteRequestV2View,
    WriteRequestView,
};
use prom_remote_http::WriteVersion;
use proptest::prelude::*;

use super::{
    election::Role,
    filter::{Message, Part, Selected, select},
    identity::SeriesKeys,
    merge::{Merge, MergeConfig},
};

const INTERVAL_MS: i64 = 5_000;
const FRESHNESS_MS: i64 = 12_000;
/// Requests are this late at most, unless a replica catches up.
const MAX_DELAY_MS: i64 = 2_000;

/// A sample with the series it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Point {
    pub(super) series: usize,
    pub(super) time_ms: i64,
    pub(super) bits: u64,
}

/// What a replica sends at once.
#[derive(Debug, Clone)]
struct Batch {
    replica: usize,
    arrives_ms: i64,
    points: Vec<Point>,
}

#[derive(Debug, Clone)]
struct Plan {
    replicas: usize,
    series: usize,
    /// By how much the clock of each is wrong.
    skew_ms: Vec<i64>,
    /// When each scrapes within the interval.
    phase_ms: Vec<i64>,
    delay_ms: Vec<i64>,
    /// Times in which a replica is dead: replica, from, for how long.
    deaths: Vec<(usize, i64, i64)>,
    /// Times in which a replica cannot scrape a series, and so ends it: replica, series, from, for how long.
    outages: Vec<(usize, usize, i64, i64)>,
    /// Times in which what a replica sends is held up and comes all at once: replica, from, for how long.
    jams: Vec<(usize, i64, i64)>,
    version: WriteVersion,
}

const DURATION_MS: i64 = 300_000;

fn plan() -> impl Strategy<Value = Plan> {
    (1..4_usize, 1..4_usize).prop_flat_map(|(replicas, series)| {
        let time = || 0..DURATION_MS;
        (
            proptest::collection::vec(-1_500..1_500_i64, replicas),
            proptest::collection::vec(0..INTERVAL_MS, replicas),
            proptest::collection::vec(0..MAX_DELAY_MS, replicas),
            proptest::collection::vec((0..replicas, time(), 1_000..90_000_i64), 0..5),
            proptest::collection::vec((0..replicas, 0..series, time(), 1_000..60_000_i64), 0..4),
            proptest::collection::vec((0..replicas, time(), 1_000..40_000_i64), 0..2),
            prop_oneof![Just(WriteVersion::V1), Just(WriteVersion::V2)],
        )
            .prop_map(move |(skew_ms, phase_ms, delay_ms, deaths, outages, jams, version)| Plan {
                replicas,
                series,
                skew_ms,
                phase_ms,
                delay_ms,
                deaths,
                outages,
                jams,
                version,
            })
    })
}

impl Plan {
    fn is_dead(&self, replica: usize, time_ms: i64) -> bool {
        self.deaths
            .iter()
            .any(|(of, from, length)| *of == replica && (*from..from + length).contains(&time_ms))
    }

    fn is_out(&self, replica: usize, series: usize, time_ms: i64) -> bool {
        self.outages.iter().any(|(of, which, from, length)| {
            (*of, *which) == (replica, series) && (*from..from + length).contains(&time_ms)
        })
    }

    /// All requests in the order in which they arrive.
    fn batches(&self) -> Vec<Batch> {
        let mut batches = Vec::new();
        for replica in 0..self.replicas {
            let mut was_up = vec![false; self.series];
            let mut last_arrival = 0;
            for scrape in 0..DURATION_MS / INTERVAL_MS {
                let time_ms = scrape * INTERVAL_MS + self.phase_ms[replica];
                if self.is_dead(replica, time_ms) {
                    // It knows nothing of before when it comes back.
                    was_up.fill(false);
                    continue;
                }
                let mut points = Vec::new();
                for (series, was_up) in was_up.iter_mut().enumerate() {
                    let is_up = !self.is_out(replica, series, time_ms);
                    let bits = if is_up {
                        (replica as f64 + time_ms as f64 / 1e3).to_bits()
                    } else {
                        STALE_MARKER_BITS
                    };
                    if is_up || *was_up {
                        points.push(Point { series, time_ms: time_ms + self.skew_ms[replica], bits });
                    }
                    *was_up = is_up;
                }
                let sent_ms = time_ms + self.delay_ms[replica];
                let jammed = self
                    .jams
                    .iter()
                    .find(|(of, from, length)| *of == replica && (*from..from + length).contains(&sent_ms));
                let arrives_ms = jammed.map_or(sent_ms, |(_, from, length)| from + length).max(last_arrival);
                last_arrival = arrives_ms;
                // What was not sent when it died is gone.
                if !(time_ms..=arrives_ms).step_by(500).any(|time_ms| self.is_dead(replica, time_ms)) {
                    batches.push(Batch { replica, arrives_ms, points });
                }
            }
        }
        batches.sort_by_key(|batch| (batch.arrives_ms, batch.replica));
        batches
    }
}

pub(super) fn encode(version: WriteVersion, replica: usize, points: &[Point]) -> Vec<u8> {
    let (mut v1, mut v2) = (WriteRequestBuilder::new(), WriteRequestV2Builder::new());
    for point in points {
        let (series, replica) = (point.series.to_string(), format!("r{replica}"));
        let labels = [("__name__", "up"), ("number", &series[..]), ("replica", &replica[..])];
        let sample = Sample { timestamp_ms: point.time_ms, value_bits: point.bits };
        match version {
            WriteVersion::V1 => drop(v1.series(labels, [sample])),
            WriteVersion::V2 => drop(v2.series(labels, [sample])),
        }
    }
    match version {
        WriteVersion::V1 => v1.finish(),
        WriteVersion::V2 => v2.finish(),
    }
}

pub(super) fn decode(version: WriteVersion, message: &[u8]) -> Vec<Point> {
    let number = |text: &[u8]| std::str::from_utf8(text).unwrap().parse().unwrap();
    let mut points = Vec::new();
    match version {
        WriteVersion::V1 => {
            for series in WriteRequestView::new(message).series() {
                let series = series.unwrap();
                let id = number(series.label(b"number").unwrap());
                points.extend(series.samples().map(|sample| Point {
                    series: id,
                    time_ms: sample.timestamp_ms,
                    bits: sample.value_bits,
                }));
            }
        }
        WriteVersion::V2 => {
            let view = WriteRequestV2View::new(message, &Limits::default()).unwrap();
            for series in view.series() {
                let series = series.unwrap();
                let id = number(series.label(b"number", view.symbols()).unwrap());
                points.extend(series.samples().map(|found| Point {
                    series: id,
                    time_ms: found.sample.timestamp_ms,
                    bits: found.sample.value_bits,
                }));
            }
        }
    }
    points
}

/// The merge with journals that are vectors.
struct Run {
    version: WriteVersion,
    merge: Merge,
    keys: SeriesKeys,
    delivered: Vec<Point>,
    spare: Vec<Vec<Vec<u8>>>,
    spare_samples: u64,
    takeovers: u64,
}

impl Run {
    fn new(plan: &Plan, active_series: usize) -> Self {
        let config = MergeConfig {
            maximum: plan.replicas,
            freshness: Duration::from_millis(FRESHNESS_MS as u64),
            spare_retention: Duration::from_secs(7_200),
            active_series,
        };
        Self {
            version: plan.version,
            merge: Merge::new(&config),
            keys: SeriesKeys::new(Some("replica")),
            delivered: Vec::new(),
            spare: vec![Vec::new(); plan.replicas],
            spare_samples: 0,
            takeovers: 0,
        }
    }

    fn deliver(&mut self, whole: &[u8], selected: Selected) {
        let Selected { part, samples, progress, .. } = selected;
        let points = match part {
            Part::All => decode(self.version, whole),
            Part::Some(part) => decode(self.version, &part),
            Part::Nothing => Vec::new(),
        };
        assert_eq!(points.len() as u64, samples);
        self.delivered.extend(points);
        self.merge.advance(&progress);
    }

    fn receive(&mut self, batch: &Batch) {
        let now = batch.arrives_ms;
        let bytes = encode(self.version, batch.replica, &batch.points);
        let message = Message { version: self.version, bytes: &bytes };
        let member = self.merge.admit(&format!("r{}", batch.replica), now).unwrap().member;
        match self.merge.hear(member, &format!("r{}", batch.replica), now).unwrap() {
            Role::Spare => return self.spare[member].push(bytes),
            Role::Elected => {}
            Role::Successor => {
                if let Some(mut takeover) = self.merge.take_over() {
                    for record in self.spare[member].clone() {
                        let message = Message { version: self.version, bytes: &record };
                        let ends = |keys: &mut dyn Iterator<Item = _>| self.merge.ends_ms(&takeover, keys);
                        let selected = select(message, &self.keys, &Limits::default(), ends).unwrap();
                        takeover.go_ahead(&selected.progress);
                        self.deliver(&record, selected);
                    }
                }
                self.merge.elect(member);
                self.takeovers += 1;
            }
        }
        let floors = |keys: &mut dyn Iterator<Item = _>| self.merge.floors_ms(keys);
        let selected = select(message, &self.keys, &Limits::default(), floors).unwrap();
        assert_eq!(selected.samples + selected.rest_samples, batch.points.len() as u64);
        if let Part::Some(rest) = &selected.rest {
            self.spare[member].push(rest.clone());
            self.spare_samples += selected.rest_samples;
        }
        self.deliver(&bytes, selected);
    }
}

/// What a merge does that forgets nothing and is not quick: on a takeover it goes through all that the replica ever sent.
fn naive(batches: &[Batch]) -> Vec<Point> {
    let mut delivered: Vec<Point> = Vec::new();
    let mut elected: Option<(usize, i64)> = None;
    let mut sent: BTreeMap<usize, Vec<Point>> = BTreeMap::new();
    for batch in batches {
        let is_elected = elected.is_some_and(|(replica, _)| replica == batch.replica);
        let is_fresh = elected.is_some_and(|(_, heard)| batch.arrives_ms - heard <= FRESHNESS_MS);
        let before = sent.entry(batch.replica).or_default();
        if !is_elected && is_fresh {
            before.extend(&batch.points);
            continue;
        }
        let last = |delivered: &[Point], series| {
            delivered.iter().filter(|point| point.series == series).map(|point| point.time_ms).max()
        };
        if !is_elected {
            // The earliest end of a series that no stale marker has ended.
            let series: BTreeSet<_> = delivered.iter().map(|point| point.series).collect();
            let ends = series.iter().filter_map(|series| {
                let of_series = delivered.iter().filter(|point| point.series == *series);
                of_series.max_by_key(|point| point.time_ms)
            });
            let open = ends.clone().filter(|end| end.bits != STALE_MARKER_BITS).map(|end| end.time_ms).min();
            let resume = open.or_else(|| ends.map(|end| end.time_ms).max());
            for point in resume.map(|_| before.clone()).into_iter().flatten() {
                let bound = last(&delivered, point.series).max(resume);
                if Some(point.time_ms) > bound {
                    delivered.push(point);
                }
            }
        }
        elected = Some((batch.replica, batch.arrives_ms));
        for point in &batch.points {
            if last(&delivered, point.series).is_none_or(|last| point.time_ms > last) {
                delivered.push(*point);
            }
        }
        before.extend(&batch.points);
    }
    delivered
}

pub(super) fn by_series(points: &[Point]) -> BTreeMap<usize, Vec<Point>> {
    let mut all: BTreeMap<usize, Vec<Point>> = BTreeMap::new();
    for point in points {
        all.entry(point.series).or_default().push(*point);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn does_what_a_naive_merge_does(plan in plan()) {
        let batches = plan.batches();
        let mut run = Run::new(&plan, 1_000);
        batches.iter().for_each(|batch| run.receive(batch));
        prop_assert_eq!(by_series(&run.delivered), by_series(&naive(&batches)));
    }

    /// Where the memory is too small for all series, time still does not run backwards.
    #[test]
    fn time_never_runs_backwards(plan in plan(), active_series in 1..5_usize) {
        let batches = plan.batches();
        let mut run = Run::new(&plan, active_series);
        batches.iter().for_each(|batch| run.receive(batch));
        prop_assert!(run.merge.memory.len() <= active_series);
        for (series, points) in by_series(&run.delivered) {
            prop_assert!(points.is_sorted_by(|a, b| a.time_ms < b.time_ms), "series {}: {:?}", series, points);
        }
    }

    /// At each time at which some replica lives and has been heard, the series goes on within an interval and the freshness
    /// limit.
    #[test]
    fn no_gap_is_longer_than_an_interval_and_the_freshness_limit(plan in plan()) {
        // One replica never dies and is never held up: the others are killed as it comes.
        let mut plan = Plan { outages: Vec::new(), jams: Vec::new(), ..plan };
        plan.deaths.retain(|(replica, ..)| *replica != 0);
        let batches = plan.batches();
        let mut run = Run::new(&plan, 1_000);
        batches.iter().for_each(|batch| run.receive(batch));
        let skew = plan.skew_ms.iter().max().unwrap() - plan.skew_ms.iter().min().unwrap();
        let longest = INTERVAL_MS + FRESHNESS_MS + skew;
        for (series, points) in by_series(&run.delivered) {
            for pair in points.windows(2) {
                let gap = pair[1].time_ms - pair[0].time_ms;
                prop_assert!(gap <= longest, "series {}: {} ms from {:?}", series, gap, pair);
            }
            let last = points.last().unwrap().time_ms;
            prop_assert!(last > DURATION_MS - longest - INTERVAL_MS, "series {} ends at {}", series, last);
        }
    }

    /// A stale marker is delivered only from a replica whose other samples of that time are delivered too.
    #[test]
    fn no_stale_marker_of_another_replica_ends_a_series(plan in plan()) {
        // No deaths: one replica is elected all the time.
        let plan = Plan { deaths: Vec::new(), jams: Vec::new(), ..plan };
        let batches = plan.batches();
        let mut run = Run::new(&plan, 1_000);
        batches.iter().for_each(|batch| run.receive(batch));
        let elected = batches.first().map(|batch| batch.replica);
        let own: Vec<_> = batches.iter().filter(|batch| Some(batch.replica) == elected).collect();
        let expected: Vec<_> = own.iter().flat_map(|batch| batch.points.clone()).collect();
        prop_assert_eq!(run.delivered, expected);
        prop_assert_eq!((run.takeovers, run.spare_samples), (1, 0));
    }
}
